"""`workbench probe`: every probe writes its tables and figures, prints its control, and refuses a model that does not fit."""

import pandas as pd
import pytest

from workbench.cli import run

SMALL = "set-complement-v16-none-seed0"
OTHELLO = "othello-mini-none"
CASES = {
    "displacement": (
        [SMALL],
        {"displacement", "token-displacement", "power-law", "balance", "logit-tables", "structure", "two-token-identity"},
        {
            "displacement-by-length",
            "table-bias",
            "table-displacement",
            "table-attention-logits",
            "structure",
            "two-token-identity",
        },
        "with uniform attention up to",
    ),
    "dispersion": (
        [SMALL, "--sequences", "20"],
        {"dispersion", "evaluation"},
        {"dispersion-by-length", "dispersion-by-head", "dispersion-and-errors"},
        "uniform attention",
    ),
    "board-state": (
        [OTHELLO, "--fit-games", "20", "--test-games", "10"],
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
    assert {path.stem for path in (tmp_path / "out").glob("*.html")} == figures
    assert all(len(pd.read_parquet(path)) for path in (tmp_path / "out").glob("*.parquet"))
    assert control in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["displacement", OTHELLO], "this probe reads set-complement models"),
        (["board-state", SMALL], "set-complement"),
        (["interventions", OTHELLO, "--layers", "99", "--cases", "4", "--fit-games", "20"], "layer 99 does not exist"),
        (["exchangeability", SMALL, "--lengths", "2"], "length"),
    ],
)
def test_a_model_or_place_that_does_not_fit_is_refused_in_one_sentence(words, message, tmp_path, capsys):
    assert run(["probe", *words, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert error.startswith("workbench: ")
