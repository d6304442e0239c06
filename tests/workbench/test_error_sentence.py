import logging

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.config import DropoutRates, TaskConfig
from workbench.cli import run
from workbench.error_sentence import sentence


def test_what_pydantic_says_becomes_a_sentence():
    with pytest.raises(ValidationError) as raised:
        DropoutRates(attention=2)
    assert sentence(raised.value) == "attention 2: Input should be less than 1"
    with pytest.raises(ValidationError) as raised:
        TaskConfig(name="x" * 1_000_000)
    assert len(sentence(raised.value)) < 300


def test_an_error_nobody_expected_is_told_by_its_kind():
    assert sentence(ValueError("3 is too few; give 4")) == "3 is too few; give 4"
    assert sentence(KeyError("x")) == "unexpected KeyError: 'x'"


SEVERAL_LINES = "a\nb\r\x1b[2J\x07\x9b\u2028\u202e\ud800"
ONE_LINE = r"a\nb\r\x1b[2J\x07\x9b\u2028\u202e\ud800"


ERRORS = [
    *(kind(f"{SEVERAL_LINES} is no name; give é, ‖ or \\") for kind in (ValueError, RuntimeError, OSError, KeyError)),
    FileNotFoundError(2, "No such file or directory", SEVERAL_LINES),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_sentence_is_one_line_and_no_control_character_reaches_a_terminal(error):
    assert ONE_LINE in sentence(error) and sentence(error).isprintable()
    assert not isinstance(error, ValueError) or sentence(error) == f"{ONE_LINE} is no name; give é, ‖ or \\"


def test_what_pydantic_was_given_is_in_one_line_too():
    with pytest.raises(ValidationError) as raised:
        TaskConfig(name="a\nb\x1b[2J")
    assert sentence(raised.value).startswith(r"name a\nb\x1b[2J: Input should be")


def test_a_warning_is_one_line_too(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr("workbench.commands.info.PACKAGES", ())
    assert run(["info"]) == 0
    logging.getLogger("workbench").warning("no spread over seeds for %s", SEVERAL_LINES)
    assert capsys.readouterr().err == f"no spread over seeds for {ONE_LINE}\n"


def test_what_the_system_says_of_a_file_has_a_remedy(tmp_path):
    for open_it, remedy in (
        (lambda: (tmp_path / ("x" * 300)).stat(), "a shorter name"),
        (tmp_path.read_text, "another name or folder"),
    ):
        with pytest.raises(OSError) as raised:
            open_it()
        file = raised.value.filename
        assert sentence(raised.value) == f"cannot use {file}: {raised.value.strerror}; give {remedy}"
    assert sentence(OSError("it is full; free space")) == "it is full; free space"


def too_much_for_torch():
    return torch.empty(1 << 46)


def too_much_for_any_machine():
    return torch.empty(1 << 62)


def too_much_for_numpy():
    return np.empty(1 << 46)


@pytest.mark.parametrize("ask", [too_much_for_torch, too_much_for_any_machine, too_much_for_numpy])
def test_where_memory_runs_out_the_remedy_is_named(ask):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        ask()
    assert sentence(raised.value).startswith("this needs more memory than there is; ask for less at once")
