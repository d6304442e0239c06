"""Files that are sound in themselves and say what cannot be: refused in one sentence, and nothing is written elsewhere."""

import json
import math
import sqlite3

import pandas as pd
import pytest
import sqlalchemy as sa

from models.checkpoint import CARD_FILE, save_checkpoint
from models.transformer import with_weights
from probes.certificate import certify
from probes.subject import subject
from workbench.ablation_map import ablation_map
from workbench.comparison import compare
from workbench.comparison_table import read_table, write_table
from workbench.evaluation import evaluate
from workbench.report import write_figures
from workbench.run import RunError, read_metrics, read_run
from workbench.search_ledger import Ledger
from workbench.search_space import SearchSpace
from workbench.study import read_studies
from workbench.training import train
from workbench.width_bound import sweep

from .test_bad_arguments import require_one_sentence
from .test_bad_checkpoints import config_of

NAME = "set-complement-v16-none-seed0"
SHARES = ("illegal_mass", "illegal_top1", "total_variation", "misordered", "normalised_dispersion")


@pytest.fixture
def checkpoint(tmp_path):
    found = subject(NAME)
    save_checkpoint(tmp_path / "own", found.card.model_copy(update={"sha256": {}}), {"raw": found.model.state_dict()})
    return tmp_path / "own"


@pytest.fixture(scope="module")
def compared():
    return compare([NAME], [1, 5], sequences=4)


@pytest.mark.parametrize("field", ["step", "seed", "train_length", "sequences_seen"])
def test_a_card_with_a_number_that_no_table_holds(checkpoint, field):
    card = json.loads((checkpoint / CARD_FILE).read_text()) | {field: 10**40}
    (checkpoint / CARD_FILE).write_text(json.dumps(card))
    require_one_sentence(lambda: compare([checkpoint], sequences=2))


@pytest.mark.parametrize(("part", "changed"), [("model", {"heads": 2}), ("model", {"layers": 40}), ("task", {"vocab": 17})])
@pytest.mark.parametrize("use", [certify, lambda path: evaluate(path, sequences=2)], ids=["certify", "evaluate"])
def test_a_card_of_other_weights_or_another_vocabulary(checkpoint, part, changed, use):
    card = json.loads((checkpoint / CARD_FILE).read_text())
    card[part] |= changed
    (checkpoint / CARD_FILE).write_text(json.dumps(card))
    require_one_sentence(lambda: use(checkpoint))


def test_weights_of_another_shape_are_named():
    model = subject(NAME).model
    with pytest.raises(ValueError, match=r"weights do not fit the model config: missing \['blocks\.1.*unexpected \[\]"):
        with_weights(model.config.model_copy(update={"layers": 2}), model.state_dict())


SPOILT = {
    "unknown weights": lambda frame: frame.assign(weights="x" * 200_000),
    "a length below 1": lambda frame: frame.assign(length=-5),
    "rows twice": lambda frame: pd.concat([frame, frame]),
    "no value at all": lambda frame: frame.assign(value=float("nan")),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_table_that_says_what_cannot_be(compared, tmp_path, spoil):
    for file in write_table(SPOILT[spoil](compared), tmp_path):
        require_one_sentence(lambda file=file: read_table(file))


IMPOSSIBLE = {
    **{f"{metric} {value:g}": (metric, "value", value, (0, 1)) for metric in SHARES for value in (-5, 1.5, 1e308)},
    "a negative divergence": ("uniformity_kl", "seed_mean", -1, (0, math.inf)),
    "less than one token": ("effective_tokens", "value", 0.5, (1, math.inf)),
    "an interval beyond all shares": ("misordered", "ci_high", 2, (0, 1)),
    "a difference beyond all shares": ("illegal_mass", "difference_low", -1.5, (-1, 1)),
    "a spread beyond all shares": ("illegal_mass", "seed_sd", 7, (0, 1)),
    "a negative spread": ("margin", "seed_sd", -1, (0, math.inf)),
    "certified -7": ("margin", "certified_lengths", -7, (0, 15)),
    "more lengths certified than there are": ("margin", "certified_lengths", 16, (0, 15)),
    "a length beyond the vocabulary": ("margin", "length", 16, (1, 15)),
    "no seed": ("margin", "seeds", -1, (1, 2**32)),
    "fewer than no sequences": ("margin", "sequences", -1, (0, 2**63)),
    "a step before the first": ("margin", "step", -1, (0, 2**63)),
    "two tokens": ("margin", "vocab", 2, (3, 2**20)),
}


@pytest.mark.parametrize(("metric", "column", "value", "limits"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_number_that_its_column_cannot_hold_is_named_with_its_row(compared, tmp_path, metric, column, value, limits):
    frame = compared.copy()
    row = int(frame["metric"].eq(metric).to_numpy().argmax())
    frame.loc[row, column] = value
    told = f"row {row + 1} {column} {value:.10g}", f"{limits[0]:g} .. {limits[1]:.10g}"
    for file in write_table(frame, tmp_path):
        require_one_sentence(lambda file=file: read_table(file), file, *told)
        require_one_sentence(lambda file=file: write_figures(file, tmp_path / "figures", ["html"]), file, *told)
    assert not (tmp_path / "figures").exists()


def test_intervals_upside_down_and_long_names(compared, tmp_path):
    frame = compared
    for changed, told in (
        ({"ci_low": 0.9, "ci_high": 0.5}, "ci_low 0.9, expected at most ci_high, 0.5"),
        ({"checkpoint": "x" * 1_000_000}, "expected at most 8192 characters"),
        ({"metric": "charm"}, "a metric 'charm', none of illegal_mass"),
    ):
        write_table(frame[frame["metric"] == "illegal_mass"].assign(**changed), tmp_path)
        require_one_sentence(lambda: read_table(tmp_path), told)


def test_tables_of_ablations_and_sweeps_hold_to_ranges_too(tmp_path):
    frame = ablation_map(NAME, lengths=[3], sequences=4)
    shares = frame["metric"] == "illegal_mass"
    for changed, told in (
        ({"clean": -1.0}, "clean -1 of illegal_mass"),
        ({"head": -1}, "head -1"),
        ({"layer": 2000}, "layer 2000"),
    ):
        table, _ = write_table(frame[shares].assign(**changed), tmp_path, "ablation")
        require_one_sentence(lambda table=table: write_figures(table, tmp_path / "figures", ["html"]), told)
    numbers = {
        "vocab": 5,
        "width": 2,
        "head_width": 2,
        "seed": 0,
        "steps": 10,
        "lengths": 4,
        "certified_lengths": 0,
        "worst_gap": 1.0,
    }
    shares = {"total_variation": 0.1, "illegal_mass": 1.5, "misordered": 0.1}
    pd.DataFrame([{**numbers, **shares, "weights": "raw"}]).to_csv(tmp_path / "bound-v5.csv", index=False)
    require_one_sentence(lambda: sweep(5, tmp_path, steps=10, seeds=1), "illegal_mass 1.5")


LONG = {
    "name": "x" * 256,
    "name of most of a megabyte": "x" * 900_000,
    "command": "x" * 200_000,
    "source": "x" * 200_000,
    "versions": {str(number): "1" for number in range(1000)},
    "versions that are long": {"torch": "x" * 1000},
    "sha256": {f"{number}.safetensors": "0" for number in range(1000)},
}


@pytest.mark.parametrize("field", LONG)
def test_a_card_whose_texts_are_too_long_to_be_drawn(checkpoint, field):
    name = field.split()[0]
    card = json.loads((checkpoint / CARD_FILE).read_text())
    (checkpoint / CARD_FILE).write_text(json.dumps(card | {name: LONG[field]}))
    require_one_sentence(lambda: compare([checkpoint], sequences=2), name)


@pytest.mark.parametrize("field", ["command", "versions"])
def test_a_record_whose_texts_are_too_long(tmp_path, field):
    run = train(config_of(tmp_path / "run", 1), tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {field: "x" * 200_000 if field == "command" else LONG["versions"]}))
    require_one_sentence(lambda: read_run(run), field)


def test_a_search_whose_name_leads_elsewhere(tmp_path):
    url = f"sqlite:///{tmp_path}/search.db"
    ledger = Ledger(url, SearchSpace(vocab=8, steps=10, seed=0), {"sequences": 8})
    assert ledger.complete(ledger.claim(0), 0.5, {"diverged": 3})
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("update studies set study_name = '../../evil'")
    require_one_sentence(lambda: read_studies(url))


MADE_UP = {
    "generated": "value_json TEXT GENERATED ALWAYS AS (hex(zeroblob(200000000)))",
    "stored": "value_json TEXT GENERATED ALWAYS AS (upper(key)) STORED",
    "a long default": f"value_json TEXT DEFAULT '{'x' * 1_000_000}'",
}


@pytest.mark.parametrize("column", MADE_UP)
def test_a_search_whose_columns_are_made_up_as_they_are_read(tmp_path, column):
    url = f"sqlite:///{tmp_path}/search.db"
    ledger = Ledger(url, SearchSpace(vocab=8, steps=10, seed=0), {"sequences": 8})
    assert ledger.complete(ledger.claim(0), 0.5, {"diverged": 3})
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("drop table trial_user_attributes")
        database.execute(f"create table trial_user_attributes (trial_user_attribute_id, trial_id, key, {MADE_UP[column]})")
    with pytest.raises(ValueError, match="holds no search; give that of `workbench search`"):
        read_studies(url)


def test_values_longer_than_those_of_a_search_are_not_read(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/search.db", SearchSpace(vocab=8, steps=10, seed=0), {"sequences": 8})
    with ledger.storage.engine.connect() as connection, pytest.raises(sa.exc.DataError, match="string or blob too big"):
        connection.exec_driver_sql("select hex(zeroblob(200000000))").all()


def test_metrics_of_more_bytes_than_can_be_metrics(tmp_path):
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunError, match="metrics.jsonl: it has 1099511627776 bytes, expected at most"):
        read_metrics(tmp_path)
