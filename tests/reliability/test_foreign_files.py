"""Files that are sound in themselves and say what cannot be: refused in one sentence, and nothing is written elsewhere."""

import json
import sqlite3

import pandas as pd
import pytest
import sqlalchemy as sa

from models.checkpoint import CARD_FILE, save_checkpoint
from models.transformer import with_weights
from probes.certificate import certify
from probes.subject import subject
from workbench.comparison import compare
from workbench.comparison_table import read_table, write_table
from workbench.evaluation import evaluate
from workbench.run import RunError, read_metrics
from workbench.search_ledger import Ledger
from workbench.search_space import SearchSpace
from workbench.study import read_studies

from .test_bad_arguments import require_one_sentence

NAME = "set-complement-v16-none-seed0"


@pytest.fixture
def checkpoint(tmp_path):
    found = subject(NAME)
    save_checkpoint(tmp_path / "own", found.card.model_copy(update={"sha256": {}}), {"raw": found.model.state_dict()})
    return tmp_path / "own"


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
def test_a_table_that_says_what_cannot_be(tmp_path, spoil):
    for file in write_table(SPOILT[spoil](compare([NAME], [1, 5], sequences=4)), tmp_path):
        require_one_sentence(lambda file=file: read_table(file))


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
