"""`workbench probe`: every probe writes its tables and figures, prints its control, and refuses a model that does not fit."""

import inspect

import pandas as pd
import pytest

from probes import (
    board_state,
    bracket_depth,
    dispersion,
    entropy_at_initialisation,
    exchangeability,
    intervention_score,
    rank_collapse,
    vanishing_variance,
)
from workbench.cli import run
from workbench.commands import probe as commands

from .saved_runs import save_run

SMALL = "set-complement-v16-none-seed0"
OTHELLO = "othello-mini-none"
CASES = {
    "displacement": (
        [SMALL],
        {"displacement", "token-displacement", "added-token", "power-law", "balance"}
        | {"logit-tables", "structure", "two-token-identity"},
        {"displacement-by-length", "added-token", "balance", "structure", "two-token-identity"}
        | {"table-bias", "table-displacement", "table-attention-logits"},
        "with uniform attention up to",
    ),
    "dispersion": (
        [SMALL, "--sequences", "20"],
        {"dispersion", "evaluation"},
        {"dispersion-by-length", "dispersion-by-head", "dispersion-and-errors"},
        "uniform attention",
    ),
    "board-state": (
        [OTHELLO, "--fit-games", "20", "--test-games", "10", "--probes", "closed-form,logistic", "--frames", "to_move"],
        {"board-state"},
        {"board-by-layer", "board-by-layer-and-length", "board-by-square"},
        "guess",
    ),
    "interventions": (
        [OTHELLO, "--fit-games", "20", "--cases", "4", "--layers", "2"],
        {"interventions"},
        {"interventions"},
        "random direction",
    ),
    "vanishing-variance": ([SMALL, "--sequences", "20"], {"vanishing-variance"}, {"vanishing-variance"}, "random weights"),
    "rank-collapse": ([SMALL, "--sequences", "20"], {"rank-collapse"}, {"rank-collapse"}, "random weights"),
    "exchangeability": (
        [SMALL, "--sequences", "20", "--lengths", "4,9"],
        {"exchangeability"},
        {"exchangeability"},
        "another sequence",
    ),
    "entropy-at-initialisation": (
        [SMALL, "--sequences", "10"],
        {"entropy-at-initialisation"},
        {"entropy-at-initialisation"},
        "scale",
    ),
}


@pytest.mark.parametrize("probe", CASES)
def test_a_probe_writes_its_tables_and_figures_and_prints_its_control(probe, tmp_path, capsys):
    words, tables, figures, control = CASES[probe]
    assert run(["probe", probe, *words, "--out", str(tmp_path / "out"), "--format", "html"]) == 0
    written = {path.stem for path in (tmp_path / "out").glob("*.parquet")}
    assert written == tables
    assert {path.stem for path in (tmp_path / "out" / "figures").glob("*.html")} == figures
    for table in (tmp_path / "out").glob("*.parquet"):
        frame, same = pd.read_parquet(table), pd.read_csv(table.with_suffix(".csv"))
        assert len(frame) and list(frame.columns) == list(same.columns) and len(frame) == len(same)
        assert "logit-tables" in table.stem or set(frame["checkpoint"]) == {words[0]}
    assert control in capsys.readouterr().out


def test_a_model_beyond_the_closed_formula_has_no_tables_of_its_weights(tmp_path, capsys):
    save_run(tmp_path, "deep", layers=2)
    words = ["--out", str(tmp_path / "out"), "--format", "html"]
    assert run(["probe", "displacement", str(tmp_path / "deep"), "--sequences", "20", *words]) == 0
    said = capsys.readouterr().out
    assert "not one layer, one head, attention only, without positions and norms: no tables, structure or identity" in said
    assert "structure: gamma" not in said
    written = {path.stem for path in (tmp_path / "out").glob("*.parquet")}
    assert written == {"displacement", "token-displacement", "added-token", "power-law", "balance"}
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.html")}
    assert figures == {"displacement-by-length", "added-token", "balance"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["displacement", OTHELLO], "this probe reads set-complement models"),
        (["board-state", SMALL], "set-complement"),
        (["interventions", OTHELLO, "--layers", "99", "--cases", "4", "--fit-games", "20"], "layer 99 does not exist"),
        (["exchangeability", SMALL, "--lengths", "2"], "length"),
        (["interventions", OTHELLO, "--probe", "nowhere"], "nowhere"),
    ],
)
def test_a_model_or_place_that_does_not_fit_is_refused_in_one_sentence(words, message, tmp_path, capsys):
    assert run(["probe", *words, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert error.startswith("workbench: ")


def test_an_unknown_probe_is_bad_usage(capsys):
    assert run(["probe", "board-state", OTHELLO, "--probes", "quadratic"]) == 2
    assert "expected any of closed-form,logistic,nonlinear" in " ".join(capsys.readouterr().err.split())


def test_a_saved_probe_is_taken_for_interventions_and_a_second_run_replaces_what_the_first_wrote(tmp_path, capsys):
    few = ["--fit-games", "20", "--test-games", "10", "--frames", "to_move", "--format", "html", "--out", str(tmp_path)]
    for _ in range(2):
        assert run(["probe", "board-state", OTHELLO, *few]) == 0
    saved = str(tmp_path / "probes" / "closed-form-to_move")
    few = ["--cases", "4", "--layers", "2", "--fit-games", "20", "--format", "html"]
    assert run(["probe", "interventions", OTHELLO, "--probe", saved, *few, "--out", str(tmp_path / "saved")]) == 0
    assert run(["probe", "interventions", OTHELLO, *few, "--out", str(tmp_path / "fitted")]) == 0
    by_saved, by_fitted = (pd.read_parquet(tmp_path / name / "interventions.parquet") for name in ("saved", "fitted"))
    pd.testing.assert_frame_equal(by_saved, by_fitted)
    assert run(["probe", "interventions", OTHELLO, "--weights", "ema", "--probe", saved, *few]) == 1
    assert "was fitted on weights of sha256" in capsys.readouterr().err


def test_certify_writes_its_table_and_figure(tmp_path):
    assert run(["certify", SMALL, "--out", str(tmp_path)]) == 0
    assert len(pd.read_parquet(tmp_path / "certificate.parquet")) == 15
    assert (tmp_path / "figures" / "worst-gap-by-length.html").is_file()


def test_the_depth_of_a_small_bracket_model(tmp_path, capsys):
    train = ["train", "brackets", "--depth", "3", "--train-length", "6", "--steps", "2", "--batch", "4"]
    assert run([*train, "--out", str(tmp_path / "run")]) == 0
    few = ["--fit-sequences", "20", "--sequences", "10", "--format", "html"]
    assert run(["probe", "bracket-depth", str(tmp_path / "run"), *few, "--out", str(tmp_path / "out")]) == 0
    assert "guess by length" in capsys.readouterr().out
    frame = pd.read_parquet(tmp_path / "out" / "bracket-depth.parquet")
    assert frame["length"].max() == 63 and set(frame["layer"].dropna()) == {0, 1, 2}
    assert (tmp_path / "out" / "figures" / "bracket-depth.html").exists()


LIBRARY = {
    "dispersion": dispersion.dispersion,
    "board_state": board_state.board_state,
    "interventions": intervention_score.board_interventions,
    "bracket_depth": bracket_depth.bracket_depth,
    "vanishing_variance": vanishing_variance.vanishing_variance,
    "rank_collapse": rank_collapse.rank_collapse,
    "exchangeability": exchangeability.exchangeability,
    "entropy_at_initialisation": entropy_at_initialisation.entropy_at_initialisation,
}


@pytest.mark.parametrize("name", LIBRARY)
def test_a_command_measures_as_much_as_its_function(name):
    """A table of one is a table of the other: what is not asked for is the same."""
    command, function = (inspect.signature(each).parameters for each in (getattr(commands, name), LIBRARY[name]))
    sizes = {key for key in command.keys() & function.keys() if type(function[key].default) is int}
    assert sizes and {key: command[key].default for key in sizes} == {key: function[key].default for key in sizes}
