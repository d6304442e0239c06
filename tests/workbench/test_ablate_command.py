"""The command writes table and figures, goes on from what it kept, and refuses in one sentence."""

import pandas as pd
import pytest
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from workbench.ablation_map import ablation_map
from workbench.cli import run
from workbench.commands.options import parse_lengths

from .saved_runs import save_run


def test_it_writes_a_table_and_figures_and_goes_on(tmp_path, capsys):
    checkpoint, out = save_run(tmp_path, "tiny", vocab=8, heads=2, head_width=6, layers=2), tmp_path / "out"
    words = ["ablate", str(checkpoint), "--lengths", "1:7:3", "--sequences", "40", "--method", "mean", "--out", str(out)]
    assert run([*words, "--weights", "ema"]) == 0
    printed = capsys.readouterr().out
    assert "illegal mass at length 7" in printed and str(out) in printed
    table = pd.read_csv(out / "heads-mean.csv")
    assert set(table["length"]) == {1, 4, 7} and set(table["weights"]) == {"ema"} and set(table["method"]) == {"mean"}
    assert {"heads-mean-by-length.html", "heads-mean-by-head.html"} <= {file.name for file in (out / "figures").iterdir()}
    assert run([*words, "--what", "layers"]) == 0
    assert {path.stem for path in (out / "figures").glob("layers-*.html")} == {"layers-mean-by-length"}


def test_it_takes_what_an_interrupted_map_kept_and_leaves_the_folder_to_the_next(tmp_path):
    checkpoint, out = save_run(tmp_path, "tiny", vocab=8, heads=2, head_width=6, layers=2), tmp_path / "out"
    ablation_map(checkpoint, method="mean", sequences=32, keep=out / "parts" / "heads-mean-raw")
    [part] = (out / "parts" / "heads-mean-raw").glob("*.safetensors")
    with safe_open(part, "pt") as opened:
        made_with = opened.metadata()
    told_apart_by = {name: torch.full_like(tensor, 1e6) for name, tensor in load_file(part).items()}
    save_file(told_apart_by, part, made_with)
    words = ["--sequences", "40", "--method", "mean", "--out", str(out)]
    assert run(["ablate", str(checkpoint), *words]) == 0
    assert pd.read_csv(out / "heads-mean.csv")["clean"].max() > 1e3
    other = save_run(tmp_path, "other", vocab=8, heads=2, head_width=6, layers=2)
    assert run(["ablate", str(other), *words]) == 0
    assert pd.read_csv(out / "heads-mean.csv")["clean"].max() < 1e3
    assert not (out / "parts").exists()
    (out / "parts" / "heads-mean-raw").mkdir(parents=True)
    mine = {out / "parts" / name for name in ("thesis.txt", "mine.parquet", "settings.json", "heads-mean-raw/mine.safetensors")}
    for file in mine:
        file.write_text("mine")
    save_file({"weight": torch.ones(2)}, out / "parts" / "model.safetensors")
    pd.DataFrame({"x": [1]}).to_parquet(out / "parts" / "table.parquet")
    mine |= {out / "parts" / "model.safetensors", out / "parts" / "table.parquet"}
    assert run(["ablate", str(other), *words]) == 0
    assert run(["compare", str(other), "--sequences", "4", "--format", "html", "--out", str(out)]) == 0
    assert {path for path in (out / "parts").rglob("*") if path.is_file()} == mine


def test_what_does_not_exist_ends_in_one_sentence(tmp_path, capsys):
    checkpoint = save_run(tmp_path, "tiny", vocab=8)
    assert run(["ablate", str(checkpoint), "--method", "noise"]) == 2
    assert run(["ablate", str(checkpoint), "--what", "mlp", "--sequences", "4", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("workbench: the model has no MLPs; choose heads")


def test_lengths_in_steps():
    assert parse_lengths("5:59:18,2") == [5, 23, 41, 59, 2]
    assert parse_lengths("3:5") == [3, 4, 5]
    for wrong in ("1:2:3:4", "a"):
        with pytest.raises(typer.BadParameter, match="expected whole numbers"):
            parse_lengths(wrong)


@pytest.mark.parametrize("part", ["5:1:-1", "5:1:0", "9:1"])
def test_a_range_that_would_leave_lengths_out_is_refused(part):
    with pytest.raises(typer.BadParameter, match=f"{part} holds no length in steps of at least 1; write the least"):
        parse_lengths(f"4,{part}")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_its_table_is_drawn_for_print_by_the_figures_command(suffix, tmp_path):
    few = ["--lengths", "3,9", "--sequences", "4"]
    assert run(["ablate", "othello-mini-none", *few, "--out", str(tmp_path)]) == 0
    drawn = ["figures", str(tmp_path / f"heads-zero.{suffix}"), "--out", str(tmp_path / "print"), "--width", "column"]
    assert run([*drawn, "--format", "html"]) == 0
    assert {path.stem for path in (tmp_path / "print").glob("*.html")} == {"heads-zero-by-length", "heads-zero-by-head"}
