"""What a user's shell does at the Tab key: bash itself asks for the script, takes it in and completes with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IN_BASH = """
eval "$(workbench --show-completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_workbench_completion workbench
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(words: str) -> list[str]:
    """What bash offers in place of the last word."""
    bin_of_this_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", IN_BASH.format(words=words)],
        env=os.environ | {"PATH": bin_of_this_python},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("workbench comp", ["compare"]),
        ("workbench probe disp", ["displacement", "dispersion"]),
        ("workbench evaluate --weights ''", ["raw", "ema", "bema"]),
    ],
)
def test_bash_completes(words, offered):
    assert completed(words) == offered


def test_the_tab_key_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_mtime_ns
    assert completed("workbench compare x --o") == ["--out"]
    assert completed("workbench evaluate x --json e.json --seq") == ["--sequences"]
    assert tmp_path.stat().st_mtime_ns == before
