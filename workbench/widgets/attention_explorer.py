"""AttentionExplorer: the attention pattern of any layer and head on one sequence, and how widely its rows spread."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.figures.theme import MUTED, PALETTE, SEQUENTIAL
from workbench.widgets.example import Example
from workbench.widgets.explorer import Explorer, dropdown, slider
from workbench.widgets.metric_panels import grid, heading, vertical_line
from workbench.widgets.redraw import Json, cells, figure_of
from workbench.widgets.variants import Variants

EXAMPLES = 100
COLOURS = {"weight × length (1 is uniform)": True, "weight": False}


class AttentionView:
    """What the explorer shows, as pure functions of its state.

    State: `model`, the name of a variant; the number of an `example`; `layer` and `head`, from 0; the `length`; and whether the
    pattern's colour is `relative` to uniform attention. Patterns are computed once a model and example, for all heads.
    """

    def __init__(self, variants: Variants):
        """Of one or several checkpoints."""
        self.variants = variants

    def pattern(self, model: str, example: int, layer: int, head: int, length: int, relative: bool) -> go.Figure:
        """Left: normalised dispersion of every layer and head at the length. Right: the pattern of the chosen one up to it."""
        read = self._read(model, example, layer, head)
        length = min(length, read.longest)
        titles = (f"dispersion / ln {length}, by head", f"attention of layer {layer}, head {head}")
        layout = grid(titles, 2, column_widths=[0.36, 0.64], horizontal_spacing=0.2)
        layout["xaxis"] |= {"title": {"text": "head", "standoff": 2}, "dtick": 1}
        layout["yaxis"] |= {"title": {"text": "layer", "standoff": 2}, "dtick": 1, "autorange": "reversed", "showgrid": False}
        end = [0.5, length + 0.5]
        layout["xaxis2"] |= {"title": {"text": "attended position", "standoff": 2}, "range": end, "constrain": "domain"}
        layout["yaxis2"] |= {"title": {"text": "length", "standoff": 2}, "range": end[::-1], "showgrid": False}
        chosen = dict(
            type="rect", x0=head - 0.5, x1=head + 0.5, y0=layer - 0.5, y1=layer + 0.5, line=dict(color=PALETTE[1], width=3)
        )
        layout |= _told(model, example, length, layer, head) | dict(height=462, shapes=[chosen])
        return figure_of([_overview(read, length), _pattern(read, layer, head, length, relative)], layout)

    def rows(self, model: str, example: int, layer: int, head: int, length: int) -> go.Figure:
        """Entropy and effective tokens of every row of the chosen head, with the length marked and uniform attention dashed."""
        read = self._read(model, example, layer, head)
        length = min(length, read.longest)
        entropy, effective = read.entropy[layer, head, length - 1], read.effective_tokens()[layer, head, length - 1]
        titles = (f"entropy: {entropy:.3g} of {np.log(length):.3g} nats", f"effective tokens: {effective:.3g} of {length}")
        layout = grid(titles, 2, horizontal_spacing=0.1)
        position = np.arange(1, read.longest + 1)
        lines = ((read.entropy[layer, head], np.log(position)), (read.effective_tokens()[layer, head], position))
        traces: list[Json] = []
        for panel, (values, uniform) in enumerate(lines, start=1):
            place = dict(type="scatter", x=position, xaxis="x2" if panel == 2 else "x", yaxis="y2" if panel == 2 else "y")
            dashed = dict(y=uniform.astype(float), line=dict(color=MUTED, dash="4px,3px"), name="uniform attention")
            own = dict(y=values[: read.longest], line=dict(color=PALETTE[0]), marker=dict(size=4), name="this head")
            traces += [place | dashed | dict(mode="lines"), place | own | dict(mode="lines+markers")]
        for letter in ("xaxis", "xaxis2"):
            layout[letter] |= {"title": {"text": "length", "standoff": 2}, "range": [0, len(read.tokens) + 1]}
        marks = [vertical_line(panel, length, chosen=True) for panel in (1, 2)]
        layout |= _told(model, example, length, layer, head) | dict(height=292, showlegend=False, shapes=marks)
        return figure_of(traces, layout)

    def _read(self, model: str, example: int, layer: int, head: int) -> Example:
        read = self.variants.example(model, example)
        layers, heads = read.pattern.shape[:2]
        if layer >= layers or head >= heads:
            raise ValueError(
                f"{model} has no layer {layer}, head {head}; choose layers 0 .. {layers - 1}, heads 0 .. {heads - 1}"
            )
        return read


def _told(model: str, example: int, length: int, layer: int, head: int) -> Json:
    """What a figure is of, in its title and in the table of an export."""
    text = f"{model} · example {example} · length {length} · layer {layer}, head {head}"
    return dict(title=heading(text), meta=dict(model=model, example=example, length=length, layer=layer, head=head))


def _overview(read: Example, length: int) -> Json:
    most = np.log(length) if length > 1 else 1.0
    bar = dict(x=0.3, len=1, thickness=10, tickfont=dict(size=10))
    hover = "layer %{y}, head %{x}: %{z:.3f} of ln s<extra>click to choose</extra>"
    heat = dict(type="heatmap", z=cells(read.entropy[:, :, length - 1] / most), zmin=0, zmax=1, colorscale=SEQUENTIAL)
    return heat | dict(colorbar=bar, hovertemplate=hover, xgap=1, ygap=1)


def _pattern(read: Example, layer: int, head: int, length: int, relative: bool) -> Json:
    weight = read.pattern[layer, head, :length, :length]
    scaled = weight * np.arange(1, length + 1)[:, None] if relative else weight
    seen = np.tril(np.ones_like(weight, dtype=bool))
    position = np.arange(1, length + 1)
    return dict(
        type="heatmap",
        x=position,
        y=position,
        z=cells(np.where(seen, scaled, np.nan)),
        zmin=0,
        zmax=max(2.0, float(np.quantile(scaled[seen], 0.99))) if relative else 1,
        colorscale=SEQUENTIAL,
        text=[read.labels[:length]] * length,
        hovertemplate="length %{y}, position %{x}, token %{text}: %{z:.3g}<extra></extra>",
        hoverongaps=False,
        xaxis="x2",
        yaxis="y2",
        colorbar=dict(x=1.01, len=1, thickness=10, tickfont=dict(size=10)),
    )


class AttentionExplorer(Explorer):
    """Choose layer, head and length, by slider or by a click on the grid of heads; see where attention goes."""

    def __init__(self, checkpoints: Sequence[str | os.PathLike[str]]):
        """Any checkpoints with attention; raises CheckpointError for a path that holds none."""
        variants = Variants(checkpoints)
        self.view = AttentionView(variants)
        shapes = [variant.checkpoint.card.model for variant in variants.by_name.values()]
        controls: dict[str, Any] = {
            "model": dropdown("model", variants.names, variants.first),
            "example": slider("example", 0, EXAMPLES - 1, 0),
            "layer": slider("layer", 0, max(shape.layers for shape in shapes) - 1, 0),
            "head": slider("head", 0, max(shape.heads for shape in shapes) - 1, 0),
            "length": slider("length", 1, variants.longest, variants.longest),
            "relative": dropdown("colour", list(COLOURS.items())),
        }
        rows = (("model", "relative"), ("layer", "head"), ("length", "example"))
        figures = (self.view.pattern, self.view.rows)
        super().__init__("attention-explorer", controls, rows, figures)
        self.pictures[0].on_cell([0], lambda layer, head: self.set(layer=layer, head=head))
