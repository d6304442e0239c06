"""Two things that a quick prototype of the search had seen without intervals, asked of a finished one.

That in models trained to v / 4 EMA brings the median share of misordered inputs at length v / 2 from 60 to 24 %, and that in
those trained to v / 2 attention dropout goes with less misordering beyond. Exploratory: intervals are not widened.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from workbench.study import StudyTables
from workbench.study_effects import design, estimate_columns
from workbench.study_intervals import Estimate, mean, median, rank_correlation
from workbench.study_shapes import all_and_by_width

Measures = Callable[[StudyTables], Iterator[tuple[str, Estimate]]]


def lead_table(tables: StudyTables) -> pd.DataFrame:
    """One row a (`question`, `targets`, `width`, `measure`): all targets and sampled ones, all widths and each."""
    short, long = tables.space.train_lengths
    questions: dict[str, tuple[int, Measures]] = {
        f"misordered inputs at length {long}, trained to {short}": (short, lambda chosen: _misordered_at(chosen, long)),
        f"attention dropout and misordered inputs beyond, trained to {long}": (long, _attention_ranks),
    }
    rows = []
    for question, (trained, measures) in questions.items():
        for targets in ("all", "hard"):
            for width, half in all_and_by_width(tables).items():
                drawn = half.trials
                chosen = half.among((drawn["train_length"] == trained) & ((drawn["targets"] == targets) | (targets == "all")))
                labels = {"question": question, "targets": targets, "width": width}
                rows += [labels | {"measure": name} | estimate_columns(one) for name, one in measures(chosen)]
    return pd.DataFrame(rows).dropna(subset="value")


def _misordered_at(tables: StudyTables, length: int) -> Iterator[tuple[str, Estimate]]:
    rows = tables.curves[(tables.curves["metric"] == "misordered") & (tables.curves["length"] == length)]
    raw, ema = (rows[rows["weights"] == weights].set_index("number")["value"] for weights in ("raw", "ema"))
    before, after = median(raw.to_numpy()), median(ema.to_numpy())
    yield from (("median, raw", before), ("median, ema", after))
    yield "median, ema − median, raw", replace(after - before, trials=len(raw))
    yield "mean of ema − raw", mean((ema - raw).to_numpy(), raw.index.to_numpy())


def _attention_ranks(tables: StudyTables) -> Iterator[tuple[str, Estimate]]:
    values = tables.outcome("misordered", "beyond")
    drawn = tables.trials.loc[values.index]
    rates, others = drawn["dropout_attention"].to_numpy(), design(drawn).drop(columns="dropout_attention", errors="ignore")
    yield "rank correlation, as drawn", rank_correlation(rates, values.to_numpy())
    if len(values) >= 2 * np.shape(others)[1]:
        yield "rank correlation, all else held equal", rank_correlation(rates, values.to_numpy(), others.to_numpy())
