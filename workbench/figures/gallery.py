"""The standard set of figures of a comparison, by file name."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.curves import organisms
from workbench.figures.differences import difference_curves
from workbench.figures.length_curves import length_page
from workbench.figures.timeline import timeline
from workbench.headline import headline_lengths

DIFFERENCES_SHOWN = ("illegal_mass", "total_variation")
TIMELINE_METRIC = "illegal_mass"


def comparison_figures(frame: pd.DataFrame) -> dict[str, go.Figure]:
    """For each organism: the overview by length, paired differences where there are any, and a timeline where steps differ.

    Args:
        frame: rows of `compare`, of any number of organisms. Where a run has several steps, the figures by length show its
            last one and the timeline all of them.

    Returns:
        Figures by name, such as `set-complement-v32-by-length`: names that files can have.
    """
    figures = {}
    for rows in organisms(frame).values():
        start = stem(rows)
        last = last_steps(rows)
        figures[f"{start}-by-length"] = length_page(last)
        if last["difference"].notna().any():
            for metric in DIFFERENCES_SHOWN:
                figures[f"{start}-differences-{metric.replace('_', '-')}"] = difference_curves(last, metric)
        figures |= training_figures(rows)
    return figures


def training_figures(frame: pd.DataFrame) -> dict[str, go.Figure]:
    """For each organism with checkpoints of two steps or more: illegal mass over training at the headline lengths."""
    figures = {}
    for rows in organisms(frame).values():
        several = rows[rows.groupby("checkpoint")["step"].transform("nunique") > 1]
        if not several.empty:
            figures[f"{stem(rows)}-over-training"] = timeline(several, TIMELINE_METRIC, headline_lengths(several))
    return figures


def last_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each checkpoint name's last step; rows whose step is unknown stay."""
    last = frame.groupby("checkpoint")["step"].transform("max")
    return frame[frame["step"].isna() | (frame["step"] == last).fillna(False)]


def stem(rows: pd.DataFrame) -> str:
    """What the names of an organism's figures start with: `set-complement-v32`, `othello`."""
    task, vocab = rows["task"].iloc[0], rows["vocab"].iloc[0]
    return "othello" if (task, vocab) == ("othello", 61) else f"{task}-v{vocab}"
