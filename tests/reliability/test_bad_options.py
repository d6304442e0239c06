"""Junk for every option of every command: exit code 1 or 2 and one sentence, no traceback, and nothing done.

The commands' arguments name what does not exist, so that a value that is fine after all comes to an end there.
"""

import re
import shutil
import time

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workbench.cli import app, run

ABSENT = {
    "train": ["set-complement", "--out", "a-file/run"],
    "evaluate": ["absent"],
    "compare": ["absent"],
    "certify": ["absent"],
    "ablate": ["absent"],
    "search": ["set-complement", "--storage", "sqlite:////nowhere/at/all.db"],
    "study": ["sqlite:////nowhere/at/all.db"],
    "figures": ["absent.csv"],
    "games": ["absent.txt"],
    "import": ["absent.pth", "--out", "x"],
    "bundle": ["absent", "--out", "x"],
    "lab": ["absent"],
    "app": ["absent.ipynb"],
}
LEFT_OUT = {"demo", "zoo", "bound", "info"}
"""What has nothing absent to end at: no argument but a folder to write, or none at all."""


def commands(group, words: tuple[str, ...] = ()) -> dict:
    found = {}
    for name, command in group.commands.items():
        found |= commands(command, (*words, name)) if hasattr(command, "commands") else {" ".join((*words, name)): command}
    return found


COMMANDS = commands(typer.main.get_command(app))
ABSENT |= {name: ["absent"] for name in COMMANDS if name.startswith("probe ")}
OPTIONS = [
    (name, flag)
    for name in ABSENT
    for option in COMMANDS[name].params
    if option.param_type_name == "option" and not option.is_flag and option.name != "help"
    for flag in option.opts[:1]
]
JUNK = st.one_of(
    st.sampled_from(["", " ", "-1", "0", "1", "1e400", "nan", "inf", "9" * 30, "0x10", "1,2", "1:2:3:4", "1:999999999999"]),
    st.sampled_from(["../..", "/dev/null", "none", "raw", "html", "cuda", "--", "-", "'", '"', ";", "$(true)", "%s", "{}"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.integers().map(str),
    st.floats().map(str),
)


def test_every_command_is_tried_or_left_out_by_name():
    assert set(COMMANDS) == set(ABSENT) | LEFT_OUT
    assert len(OPTIONS) > 60


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("precious")
    return tmp_path


def require_orderly_end(elsewhere, capsys, option: tuple[str, str], value: str) -> None:
    name, flag = option
    code = run([*name.split(), *ABSENT[name], f"{flag}={value}"])
    error = capsys.readouterr().err
    assert code in (1, 2), (code, error)
    assert "Traceback" not in error and "unexpected" not in error, error
    last = error.rstrip().splitlines()[-1] if code == 1 else re.sub(r"[│╭╮╰╯─\s]+", " ", error)
    assert last.startswith("workbench: ") if code == 1 else "Error" in last, error
    made = [path.name for path in elsewhere.iterdir() if path.name != "a-file"]
    for path in made:
        shutil.rmtree(elsewhere / path)
    assert not made


def sweep(examples: int):
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(OPTIONS), JUNK)
    @example(("evaluate", "--lengths"), "1:999999999999")
    @example(("search", "--seed"), "4294967296")
    @example(("search", "--vocab"), "9999999999")
    @example(("search", "--trials"), "1000000000000")
    @example(("search", "--storage"), "sqlite://")
    @example(("search", "--storage"), "sqlite:///:memory:")
    def test(elsewhere, capsys, option, value):
        require_orderly_end(elsewhere, capsys, option, value)

    return test


test_junk_for_an_option = sweep(60)
test_much_junk_for_every_option = pytest.mark.slow(sweep(1000))


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("train set-complement --vocab 8 --steps 1 --out run --threads 100000", "1024"),  # torch would take the process down
        ("search set-complement --trials 1000000000000", "100000"),
    ],
)
def test_sizes_that_cannot_be_meant_are_refused_before_anything_is_made(elsewhere, capsys, line, most):
    assert run(line.split()) == 2
    assert f"less than or equal to {most}" in re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().err)
    assert [path.name for path in elsewhere.iterdir()] == ["a-file"]


def test_many_bad_games_take_time_in_proportion(tmp_path, capsys):
    file = tmp_path / "games.txt"

    def seconds(games: int) -> float:
        file.write_text("f5\nf4\nz9\n" * (games // 3))
        began = time.process_time()
        assert run(["games", str(file), "--skip-bad"]) == 0
        assert f"{games} left out" in capsys.readouterr().out
        return time.process_time() - began

    seconds(3)  # imports and compiled kernels
    assert seconds(12_000) < 24 * min(
        seconds(1500), seconds(1500)
    )  # 8 times the games; a square law would take 64 times as long
