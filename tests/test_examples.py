"""Every example runs as a user would run it, on a bundled checkpoint, and writes what it says."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SMALL = "set-complement-v32-none-seed0"


def run(example: Path, arguments: list[str], monkeypatch, capsys) -> str:
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    runpy.run_path(str(example), run_name="__main__")
    return capsys.readouterr().out


def test_there_are_five_of_less_than_sixty_lines():
    assert len(EXAMPLES) == 5
    assert all(len(example.read_text().splitlines()) < 60 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_it_runs_on_othello(example, tmp_path, monkeypatch, capsys):
    checkpoints = ["othello-mini-none"]
    if example.stem == "head_map_by_length":
        checkpoints.append("othello-mini-all-0.1")
    printed = run(example, [*checkpoints, "--sequences", "4", "--out", str(tmp_path)], monkeypatch, capsys)
    assert len(printed.splitlines()) > 3 and "nan" not in printed.lower()
    assert list(tmp_path.glob("*.html")) and list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if example.stem != "head_map_by_length"], ids=lambda example: example.stem
)
def test_it_runs_on_one_layer_of_attention(example, tmp_path, monkeypatch, capsys):
    printed = run(example, [SMALL, "--sequences", "4", "--out", str(tmp_path)], monkeypatch, capsys)
    assert len(printed.splitlines()) > 1
    assert list(tmp_path.glob("*.html"))
