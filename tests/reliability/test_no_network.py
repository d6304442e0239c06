"""Nothing reaches for the network unless a remote address was given: every call of Python's sockets is watched and refused."""

import os
import subprocess
import sys

import pytest

WATCHED = """
import os, sys
reached = []

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto"):
        reached.append((event, arguments[:2]))
        raise OSError("the network is out of bounds here")
    if event in ("socket.connect", "socket.bind") and not isinstance(arguments[1], (str, bytes)):  # those are Unix sockets
        reached.append((event, arguments[1]))
        raise OSError("the network is out of bounds here")

sys.addaudithook(watch)  # before anything of ours, or of others, is imported
from workbench.cli import run

def try_out(*lines):
    for line in lines:
        assert run(line.split()) == 0, line
        assert not reached, (line, reached)

open("games.txt", "w").write("e6f6c4c5c6d6g6e3e2" + chr(10))
train = "--vocab 8 --width 16 --head-width 16 --batch 16 --steps 20 --save-every 20"
"""

QUICK = """
try_out(
    "zoo",
    f"train set-complement --out run {train}",
    "games games.txt --out sound.txt",
)
# and it is seen, and refused in a sentence, where a remote address is asked for
assert run(["import", "hf://nobody/nothing/model.pth", "--out", "m"]) == 1
assert any(name == "socket.getaddrinfo" for name, _ in reached), reached
"""

LONG = """
import torch
from safetensors.torch import save_file
from models.config import ModelConfig
from models.transformer import Transformer
shape = dict(vocab=61, context=59, width=16, head_width=8, heads=2, mlp_width=16, positions="learned", norm="pre")
save_file(Transformer(ModelConfig(**shape, final_norm=True)).state_dict(), "foreign.safetensors")
try_out(
    f"train set-complement --out run {train}",
    "evaluate run --sequences 4 --json e.json",
    "compare run --sequences 4 --format html",
    "certify run",
    "figures comparison/comparison.csv --format html",
    "probe displacement run --sequences 4 --format html",
    "probe dispersion run --sequences 4 --format html",
    "ablate run --what heads --sequences 4 --format html",
    "search set-complement --vocab 8 --steps 5 --trials 2 --sequences 8",
    "import foreign.safetensors --out foreign",
    "demo --out demo",
)
"""


@pytest.mark.parametrize("commands", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)], ids=["quick", "long"])
def test_commands_stay_off_the_network(tmp_path, commands):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, "-c", WATCHED + commands]
    done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
