"""Bad values for every option and argument of every command: one sentence with the value and what is allowed, and nothing done.

Everything else in the command line is sound, and small: where a value is not judged, the command would work.
"""

import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cli import run

from .bad_values import FLAG, OWN, SHARED, Bad, bad_values
from .command_lines import LINES, commands, words, write_inputs

BAD = bad_values()
SERVERS = {"lab", "app"}


def test_every_option_of_every_command_is_tried():
    assert set(LINES) == set(commands())
    assert [place for place, bad in BAD.items() if not bad] == []
    assert len(BAD) > 180
    tabled = {(command, name) for command, own in OWN.items() for name in own}
    assert tabled <= set(BAD), "a table names what no command has"
    assert set(SHARED) <= {name for _, name in BAD}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The folder that commands are run in, with a file of the user."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("precious")
    return tmp_path


def state(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file, and that every folder is there."""
    found = (path for folder in folders for path in folder.rglob("*"))
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else (0, 0) for path in found}


def with_value(command: str, name: str, value: str, inputs: Path) -> list[str]:
    """The sound command line with one value changed."""
    line = words(command, inputs)
    if name.startswith("-"):
        return [*line, f"{name}={value}"]
    at = len(command.split())
    return [*line[:at], value, *line[at + 1 :]]


def refusal(line: list[str], capsys) -> str:
    """What a command says as it refuses a line: one sentence, without a traceback or a bar of work that was begun."""
    code = run(line)
    error = capsys.readouterr().err
    assert code in (1, 2), (line, code, error)
    assert not re.search(r"Traceback|workbench: unexpected|\d%\|", error), (line, error)
    *before, last = error.rstrip().splitlines()
    usage = bool(before) and before[0].startswith("Usage: ")
    assert last.startswith("workbench: ") and not before if code == 1 else last.startswith("Error: "), (line, error)
    assert code == 2 or ("; " in last and not usage), (line, error)
    return last


def require_refused(place: tuple[str, str], bad: Bad, value: str, inputs: Path, here: Path, capsys) -> None:
    before = state(inputs, here)
    line = with_value(*place, value, inputs)
    said = refusal(line, capsys)
    name = place[1].lstrip("-").replace("-", " ")
    assert said.startswith("workbench: ") or name in said.replace("-", " "), (line, said)
    for part in (*bad.told, bad.named(value)):
        assert part in said or repr(part)[1:-1] in said, (line, part, said)  # Python's own quotes double a backslash
    assert state(inputs, here) == before, line


def sweep(examples: int):
    @pytest.mark.parametrize("place", BAD, ids=" ".join)
    def test(inputs, here, capsys, place):
        kinds = BAD[place] or []

        @settings(max_examples=examples)
        @given(st.tuples(*(bad.values for bad in kinds)))
        def each(values):
            for bad, value in zip(kinds, values, strict=True):
                require_refused(place, bad, value, inputs, here, capsys)

        each()

    return test


test_a_bad_value_is_refused = sweep(2)
test_many_bad_values_are_refused = pytest.mark.slow(sweep(20))


@pytest.mark.parametrize("command", LINES)
def test_what_a_command_does_not_take_is_refused(inputs, here, capsys, command):
    before, line = state(inputs, here), words(command, inputs)
    assert "No such option: --nonsense" in refusal([*line, "--nonsense=1"], capsys)
    if command not in ("compare", "app"):  # they take any number
        known = len([parameter for parameter in commands()[command].params if parameter.param_type_name == "argument"])
        surplus = ["surplus"] * (1 + known)
        assert "surplus" in refusal([*line, *surplus], capsys)
    assert state(inputs, here) == before


CONTROL = "\n\x1b[2J\x07\x9bworkbench: all is well\r"
TOLD = r"\n\x1b[2J\x07\x9bworkbench: all is well\r"


def control_values() -> list[tuple[str, str, str]]:
    """Command, option or argument, and a value that is wrong and would make several lines of the sentence."""
    known = {place: [told for bad in kinds or () for told in bad.told] for place, kinds in BAD.items() if kinds != FLAG}
    return [(*place, f"{'a-file/' if 'expected a folder' in told else 'nowhere'}{CONTROL}") for place, told in known.items()]


@pytest.mark.parametrize("command", LINES)
def test_a_value_with_control_characters_is_told_in_one_line(inputs, here, capsys, command):
    for _, name, value in (place for place in control_values() if place[0] == command):
        said = refusal(line := with_value(command, name, value, inputs), capsys)
        assert TOLD in said and said.isprintable(), (line, said)


@pytest.mark.parametrize("line", ["{}", "--{}", "--{}=1 zoo", "--non{} zoo", "probe {}", "probe --{}", "zoo --{}", "zoo {} {}"])
def test_what_no_command_takes_is_told_in_one_line(here, capsys, line):
    said = refusal([word.format(CONTROL) for word in line.split()], capsys)
    assert "workbench: all is well" in said and said.isprintable()


MISFITS = {
    "a table and all tables": ("figures {inputs}/comparison.csv --paper", "expected a TABLE or --paper, one of the two"),
    "no table": ("figures", "expected a TABLE or --paper, one of the two"),
    "an archive of another board": ("games {inputs}/games.wtb --board 6", "leave out --board and --transposed"),
    "an archive transposed": ("games {inputs}/games.wtb --transposed", "leave out --board and --transposed"),
    "an address beyond this machine": ("lab {inputs} --ip 0.0.0.0", "add --i-know"),
    "the size of another task": ("train othello --vocab 8 --out made", "the othello task takes no vocab; give --board"),
    "a task without its size": ("train set-complement --out made", "give vocab (--vocab N, N >= 3)"),
    "heads that do not divide": ("import {inputs}/foreign.safetensors --out made --heads 5", "5"),
    "a probe of another model": ("probe interventions {inputs}/othello --probe {inputs}/run --cases 2", "{inputs}/run"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_options_that_do_not_go_together_are_refused(inputs, here, capsys, misfit):
    before, (line, told) = state(inputs, here), MISFITS[misfit]
    assert told.format(inputs=inputs) in refusal(line.format(inputs=inputs).split(), capsys)
    assert state(inputs, here) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["train", "search"])
def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(inputs, here, capsys, command):
    assert "cuda" in refusal([*words(command, inputs), "--device=cuda"], capsys)
    assert [path.name for path in here.iterdir()] == ["a-file"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in LINES if command not in SERVERS])
def test_the_command_lines_are_sound_but_for_the_bad_value(inputs, here, command):
    assert run(words(command, inputs)) == 0


def test_many_bad_games_take_time_in_proportion(tmp_path, capsys):
    file = tmp_path / "games.txt"

    def seconds(games: int) -> float:
        file.write_text("f5\nf4\nz9\n" * (games // 3))
        began = time.process_time()
        assert run(["games", str(file), "--skip-bad"]) == 0
        assert f"{games} left out" in capsys.readouterr().out
        return time.process_time() - began

    seconds(3)  # imports and compiled kernels
    few = min(seconds(1500), seconds(1500))
    assert seconds(12_000) < 24 * few  # 8 times the games; a square law would take 64 times as long
