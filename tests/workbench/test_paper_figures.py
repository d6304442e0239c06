"""`workbench figures`: which figures there are, what the manifest says of them, and bad usage."""

import json
import time

import pandas as pd
import pytest

from models.checkpoint import find_checkpoint, read_card
from workbench import paper_figures
from workbench.cli import run
from workbench.comparison_table import write_table
from workbench.paper_figures import SET_COMPLEMENT, write_paper_figures

from .made_up_tables import made_up


def test_manifest_names_files_command_data_and_weights(tmp_path, monkeypatch):
    quick = [part for part in paper_figures._parts() if "displacement" in part.command or "certify" in part.command]
    monkeypatch.setattr(paper_figures, "_parts", lambda: quick)  # the whole set takes minutes: it is the slow test below
    manifest = json.loads(write_paper_figures(tmp_path, ["html"], "column").read_text())
    entries = {entry["figure"]: entry for entry in manifest["figures"]}
    assert {"displacement-by-length", "table-displacement", "two-token-identity", "worst-gap-by-length"} <= set(entries)
    for name, entry in entries.items():
        assert entry["files"] == [f"{name}.html"] and (tmp_path / f"{name}.html").is_file()
        assert len(pd.read_csv(tmp_path / entry["data"])) > 0
    card = read_card(find_checkpoint(SET_COMPLEMENT))
    measured = entries["worst-gap-by-length"]["checkpoints"]
    assert measured == {f"{SET_COMPLEMENT}, step {card.step}": {"raw": card.sha256["raw.safetensors"]}}
    assert entries["worst-gap-by-length"]["command"] == f"workbench certify {SET_COMPLEMENT}"
    assert manifest["width"] == {"name": "column", "inches": 3.3}
    assert "trained to 8" in (tmp_path / "worst-gap-by-length.html").read_text()


@pytest.mark.slow
def test_all_figures_of_a_paper_within_three_minutes(tmp_path):
    began = time.monotonic()
    assert run(["figures", "--paper", "--out", str(tmp_path), "--format", "pdf", "--width", "column"]) == 0
    assert time.monotonic() - began < 180
    entries = json.loads((tmp_path / "manifest.json").read_text())["figures"]
    commands = {entry["command"].split(" ")[1] for entry in entries}
    assert commands == {"demo", "probe", "certify", "ablate", "study"}
    assert all((tmp_path / f"{entry['figure']}.pdf").read_bytes().startswith(b"%PDF") for entry in entries)


def test_figures_of_a_table_have_their_data_beside_them(tmp_path):
    write_table(made_up(dropouts=("none",), seeds=(0,)).assign(certified_lengths=float("nan")), tmp_path)
    assert run(["figures", str(tmp_path), "--out", str(tmp_path / "out"), "--format", "html", "--width", "column"]) == 0
    names = {path.stem for path in (tmp_path / "out").glob("*.html")}
    assert names and names == {path.stem for path in (tmp_path / "out").glob("*.csv")}


def test_a_folder_of_ablations_is_drawn_whole(tmp_path):
    few = ["--lengths", "3,9", "--sequences", "4", "--out", str(tmp_path), "--format", "html"]
    for what in ("heads", "mlp"):
        assert run(["ablate", "othello-mini-none", "--what", what, *few]) == 0
    assert run(["figures", str(tmp_path), "--out", str(tmp_path / "out"), "--format", "html"]) == 0
    names = {"heads-zero-by-head", "heads-zero-by-length", "mlp-zero-by-length"}
    assert {path.stem for path in (tmp_path / "out").glob("*.html")} == names


@pytest.mark.parametrize("broken", ["absent", "fails"])
def test_without_the_formats_asked_for_html_is_written_and_the_exit_code_is_1(tmp_path, monkeypatch, caplog, broken):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / broken))
    (tmp_path / "fails").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "fails").chmod(0o755)
    write_table(made_up(dropouts=("none",), seeds=(0,)).assign(certified_lengths=float("nan")), tmp_path)
    words = ["figures", str(tmp_path), "--out", str(tmp_path / "out")]
    assert run([*words, "--format", "pdf"]) == 1
    assert len(caplog.records) == 1 and "HTML" in caplog.text
    assert {path.stem for path in (tmp_path / "out").glob("*.csv")} == {path.stem for path in (tmp_path / "out").glob("*.html")}
    assert run([*words, "--format", "html"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a TABLE or --paper"),
        (["comparison.csv", "--paper"], "a TABLE or --paper"),
        (["comparison.csv", "--format", "gif"], "unknown format 'gif'"),
        (["comparison.csv", "--width", "poster"], "'poster' is not one of"),
    ],
)
def test_bad_usage(words, said, capsys):
    assert run(["figures", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
