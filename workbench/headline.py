"""The few numbers of a comparison that a reader looks at first: chosen lengths, means over seeds, paired contrasts.

Everything here is arithmetic on the tidy frame of `compare`; nothing is measured again and nothing is judged.
"""

from collections.abc import Sequence

import pandas as pd

from workbench.comparison_table import CERTIFIED, EQUAL_BUT_SEED

METRICS_SHOWN = ("illegal_mass", "illegal_top1", "total_variation")
DIFFERENCE_NAMES = {"ema": "ema − raw", "bema": "bema − raw", "raw": "dropout − none"}
"""What the paired difference of a row is, by its weights; for raw the reference is the checkpoint without dropout."""


def headline_lengths(frame: pd.DataFrame) -> list[int]:
    """The lengths to look at first: the training length, twice it, and the longest; those that the frame has.

    Where the training length is unknown or differs between rows, the greatest known one counts; without any, the longest only.
    """
    lengths = sorted(frame["length"].unique())
    trained = frame["train_length"].dropna()
    wanted = {int(trained.max()), 2 * int(trained.max())} if len(trained) else set()
    return sorted({int(length) for length in lengths if length in wanted} | {int(lengths[-1])})


def headline(frame: pd.DataFrame, lengths: Sequence[int], metrics: Sequence[str] = METRICS_SHOWN) -> pd.DataFrame:
    """Means over seeds at some lengths: one row a configuration, length and metric.

    Columns: those of `EQUAL_BUT_SEED`, length, metric; seeds; value, the mean over seeds; ci_low and ci_high, the 95 % interval
    over sequences of one seed, its ends averaged over seeds; seed_low and seed_high, the least and greatest seed.
    """
    rows = _at(frame, lengths, metrics)
    groups = rows.groupby([*_keys(rows), "length", "metric"], dropna=False, sort=False)
    return groups.agg(
        seeds=("value", "size"),
        value=("value", "mean"),
        ci_low=("ci_low", "mean"),
        ci_high=("ci_high", "mean"),
        seed_low=("value", "min"),
        seed_high=("value", "max"),
    ).reset_index()


def contrasts(frame: pd.DataFrame, lengths: Sequence[int], metrics: Sequence[str] = METRICS_SHOWN) -> pd.DataFrame:
    """Paired differences at some lengths: one row a contrast, configuration, length and metric.

    Columns: as `headline`, and contrast (`ema − raw`, ...); pairs, how many differences there are (one a seed); difference,
    their mean; ci_low and ci_high, their 95 % intervals over sequences, averaged; low and high, the least and greatest
    difference; below and above, in how many pairs the whole interval is below or above zero. Empty without references.
    """
    rows = _at(frame, lengths, metrics).dropna(subset=["difference"])
    rows = rows.assign(
        contrast=rows["weights"].map(DIFFERENCE_NAMES),
        below=rows["difference_high"] < 0,
        above=rows["difference_low"] > 0,
    )
    groups = rows.groupby(["contrast", *_keys(rows), "length", "metric"], dropna=False, sort=False)
    return groups.agg(
        pairs=("difference", "size"),
        difference=("difference", "mean"),
        ci_low=("difference_low", "mean"),
        ci_high=("difference_high", "mean"),
        low=("difference", "min"),
        high=("difference", "max"),
        below=("below", "sum"),
        above=("above", "sum"),
    ).reset_index()


def certified(frame: pd.DataFrame) -> pd.DataFrame:
    """Certified lengths, one row a configuration: `seeds`, and of `certified_lengths` the `mean`, `low` and `high` over seeds.

    Empty where no model of the frame can be certified. A count of lengths, over all inputs; it has no sampling error.
    """
    rows = frame.dropna(subset=[CERTIFIED])
    rows = rows.drop_duplicates(["checkpoint", "step", "weights"])
    groups = rows.groupby(_keys(rows), dropna=False, sort=False)[CERTIFIED]
    return groups.agg(seeds="size", mean="mean", low="min", high="max").reset_index()


def summary(frame: pd.DataFrame) -> str:
    """The headline as text for a terminal: for each organism, means over seeds, a row a configuration."""
    parts = []
    for (task, vocab), rows in frame.groupby(["task", "vocab"], sort=False):
        table = headline(rows, headline_lengths(rows))
        within = table.groupby(["dropout", "weights"], dropna=False)
        others = [
            key for key in _keys(rows) if key not in ("dropout", "weights") and within[key].nunique(dropna=False).max() > 1
        ]
        apart, places = ["dropout", "weights", *others], ["length", "metric"]
        index = pd.MultiIndex.from_frame(table[apart].drop_duplicates())
        columns = pd.MultiIndex.from_frame(table[places].drop_duplicates().sort_values("length", kind="stable"))
        wide = table.pivot(index=apart, columns=places, values="value").reindex(index=index, columns=columns)
        parts.append(f"{task}, {vocab} tokens, mean over seeds\n{wide.to_string(float_format='{:.3g}'.format)}")
        proved = certified(rows)
        if not proved.empty:
            shown = proved[[*apart, "seeds", "mean", "low", "high"]].to_string(index=False, float_format="{:.3g}".format)
            parts.append(f"{task}, {vocab} tokens, lengths certified on all inputs\n{shown}")
    return "\n\n".join(parts)


def _at(frame: pd.DataFrame, lengths: Sequence[int], metrics: Sequence[str]) -> pd.DataFrame:
    return frame[frame["length"].isin(lengths) & frame["metric"].isin(metrics)]


def _keys(rows: pd.DataFrame) -> list[str]:
    """What tells configurations apart: everything but the seed, or the name too where a seed occurs twice."""
    seeds = rows.groupby([*EQUAL_BUT_SEED, "length", "metric"], dropna=False)["seed"]
    apart = (seeds.nunique() < seeds.size()).any()
    return [*EQUAL_BUT_SEED, *(["checkpoint"] if apart else [])]
