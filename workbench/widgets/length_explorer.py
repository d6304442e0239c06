"""LengthExplorer: metrics of checkpoints by length, and at a chosen length one example's prediction and attention."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.comparison import compare
from workbench.figures.curves import curves, one_organism
from workbench.figures.many_curves import curves_together, number_together
from workbench.figures.theme import INK, MUTED, PALETTE, length_range
from workbench.widgets.choices import Choices
from workbench.widgets.example import Example
from workbench.widgets.explorer import Explorer, dropdown, slider
from workbench.widgets.metric_panels import PANELS, axis, grid, metric_curves, metric_panels, metric_scales, vertical_line
from workbench.widgets.redraw import Json, figure_of
from workbench.widgets.variants import Variants

LEGAL, ILLEGAL = PALETTE[0], PALETTE[1]
NOTE = "line: mean over seeds, band: all seeds"
TOGETHER = "line: mean of {} checkpoints, band: all of them; fewer would be shown apart"
MARKS = "dash-dotted: trained to, solid: chosen length"
SEQUENCES = 500
ALL_SEEDS = "all"
EXAMPLES = 100


class LengthView:
    """What the explorer shows, as pure functions of its state; the slow parts are computed once.

    State: `dropout` labels and `weights` to show; `seed`, or `all` for mean and range; the `length` that is marked and at which
    the example is shown; `model`, the name of the variant that reads the example, and the number of the `example`, from 0.
    """

    def __init__(self, table: pd.DataFrame, variants: Variants):
        """`table` holds rows of `compare` of one organism; `variants` are those that can read the example."""
        self.table = table
        self.range = length_range(table)
        self.variants = variants
        self._curves = lru_cache(64)(self._draw_curves)

    def curves(self, dropout: tuple[str, ...], weights: tuple[str, ...], seed: str, length: int) -> go.Figure:
        """Metrics by length, chosen length and training length marked; raises ValueError where nothing is chosen."""
        traces, layout = self._curves(dropout, weights, seed)
        marks = [vertical_line(panel, length, chosen=True) for panel in range(1, len(PANELS) + 1)]
        return figure_of(traces, layout | {"shapes": [*layout["shapes"], *marks]})

    def example(self, model: str, example: int, length: int) -> go.Figure:
        """Attention and prediction of one model after `length` tokens of one example."""
        read = self.variants.example(model, example)
        figure = example_figure(read, length, f"{model}, example {example}")
        return figure.update_layout(meta=dict(model=model, example=example, length=min(length, read.longest)))

    def _chosen(self, dropout: tuple[str, ...], weights: tuple[str, ...], seed: str) -> pd.DataFrame:
        rows = self.table[self.table["dropout"].isin(dropout) & self.table["weights"].isin(weights)]
        rows = rows if seed == ALL_SEEDS else rows[rows["seed"] == int(seed)]
        if rows.empty:
            raise ValueError(f"no checkpoint has these dropout rates and weights with seed {seed}; check a box in each row")
        return rows

    def _draw_curves(self, dropout: tuple[str, ...], weights: tuple[str, ...], seed: str) -> tuple[list[Json], Json]:
        rows = self._chosen(dropout, weights, seed)
        together = number_together(rows)
        note = TOGETHER.format(together) if together else NOTE
        drawn = metric_curves(rows, "length", curves_together if together else curves)
        traces, layout = metric_panels(drawn, metric_scales(drawn), "length", f"{one_organism(rows)} · {note} · {MARKS}")
        layout["legend"] |= {"maxheight": 0.42}  # many names scroll in the sixth place; else they would cover the third panel
        panels = range(1, len(PANELS) + 1)
        for panel in panels:
            layout[axis("x", panel)] |= {"range": list(self.range)}
        trained = rows["train_length"].dropna().unique()
        layout["shapes"] = [vertical_line(panel, int(at), chosen=False) for panel in panels for at in trained]
        return traces, layout


def example_figure(read: Example, length: int, name: str) -> go.Figure:
    """Two panels after `length` tokens: the last token's attention, and the distribution over the next token by its target.

    Attention is the mean over the heads of the last layer; the dashed line is uniform attention. Legal tokens are blue, illegal
    ones vermilion, black ticks the target. A length beyond the example's last is taken as its last.
    """
    length = min(length, read.longest)
    mass = read.probability[length - 1][~read.legal[length - 1]].sum()
    titles = (f"attention after {length} tokens", f"next token · {name} · illegal mass {mass:.3g}")
    layout = grid(titles, 2, column_widths=[0.3, 0.7], horizontal_spacing=0.06)
    layout["xaxis"] |= {"range": [0.3, len(read.tokens) + 0.7], "title": {"text": "position", "standoff": 2}}
    labels = {"type": "category", "range": [-0.6, len(read.vocabulary) - 0.4], "title": {"text": "token", "standoff": 2}}
    layout["xaxis2"] |= labels
    for name in ("yaxis", "yaxis2"):
        layout[name] |= {"rangemode": "tozero"}
    layout |= dict(height=270, showlegend=False, bargap=0.15, barmode="overlay", margin=layout["margin"] | dict(t=34))
    return figure_of([*_attention(read, length), *_prediction(read, length)], layout)


def _attention(read: Example, length: int) -> tuple[Json, Json]:
    weight = read.pattern[-1, :, length - 1, :length].mean(axis=0)
    bars = dict(type="bar", name="attention", x=np.arange(1, length + 1), y=weight, text=read.labels[:length])
    line = dict(color=INK, dash="4px,3px")
    uniform = dict(type="scatter", x=[0.5, length + 0.5], y=[1 / length] * 2, mode="lines", line=line, name="uniform attention")
    hover = "position %{x}, token %{text}: %{y:.3g}<extra></extra>"
    return bars | dict(marker=dict(color=MUTED), textposition="none", hovertemplate=hover), uniform


def _prediction(read: Example, length: int) -> list[Json]:
    legal, place = read.legal[length - 1], dict(x=read.vocabulary, xaxis="x2", yaxis="y2")
    place |= dict(hovertemplate="token %{x}: %{y:.3g}")
    marker = dict(symbol="line-ew-open", size=9, color=INK, line=dict(width=2))
    heights = (("legal", LEGAL, legal), ("illegal", ILLEGAL, ~legal))
    return [
        *(
            dict(type="bar", name=name, y=np.where(mask, read.probability[length - 1], np.nan), marker=dict(color=colour))
            | place
            for name, colour, mask in heights
        ),
        dict(type="scatter", name="target", y=read.target(length), mode="markers", marker=marker) | place,
    ]


class LengthExplorer(Explorer):
    """Choose checkpoints by dropout, weights and seed; move the length; see where each fails, and on what.

    Above: illegal mass, illegal top-1, total variation, dispersion and margin by length. At the chosen length: the attention of
    the last token (mean over heads of the last layer; dashed: uniform), and the prediction of one model for one example, legal
    tokens blue, illegal ones vermilion, the target as black ticks.
    """

    def __init__(
        self, checkpoints: Sequence[str | os.PathLike[str]], table: pd.DataFrame | None = None, sequences: int = SEQUENCES
    ):
        """Measures the checkpoints, unless their `table` of `compare` is given.

        Raises:
            CheckpointError: a path holds no checkpoint.
            ValueError: checkpoints of several organisms.
        """
        variants = Variants(checkpoints)
        if table is None:
            variants.require_one_organism()
            table = compare(checkpoints, sequences=sequences, progress=True)
        self.view = LengthView(table, variants)
        seeds = [ALL_SEEDS, *map(str, sorted(table["seed"].dropna().unique()))]
        dropouts = sorted(table["dropout"].dropna().unique(), key=lambda label: (label != "none", label))
        trained = table["train_length"].dropna()
        longest = int(table["length"].max())
        start = min(2 * int(trained.max()), longest) if len(trained) else longest
        controls: dict[str, Any] = {
            "length": slider("length", 1, longest, start),
            "dropout": Choices(dropouts, "dropout"),
            "weights": Choices(list(table["weights"].unique()), "weights"),
            "seed": dropdown("seed", seeds, width="200px"),
            "model": dropdown("example of", self.view.variants.names, self.view.variants.first),
            "example": slider("number", 0, EXAMPLES - 1, 0),
        }
        controls["dropout"].layout.max_height = "110px"  # of hundreds of rates, pictures would be out of sight
        controls["dropout"].layout.overflow = "hidden auto"
        rows = (("dropout",), ("weights", "seed"), ("model", "example"), ("length",))
        figures = (self.view.curves, self.view.example)
        super().__init__("length-explorer", controls, rows, figures)
