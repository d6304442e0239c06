"""DisplacementExplorer: the tables a minimal set-complement model computes with, what they do by length, where they fail."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from probes.certificate import Certificate, certify
from probes.displacement_structure import StructureFit, displacement_structure, fit_structure
from probes.logit_displacement import displacement, power_law, token_displacement
from probes.logit_tables import LogitTables, logit_tables
from probes.residual_stream import Model
from workbench.figures.certificate import VERDICTS
from workbench.figures.theme import DIVERGING, INK, MUTED, PALETTE
from workbench.widgets.explorer import Explorer, dropdown, slider
from workbench.widgets.metric_panels import axis, grid, heading, reference, vertical_line
from workbench.widgets.redraw import Json, cells, figure_of
from workbench.widgets.variants import Variants

CONTEXT, QUERY = PALETTE[0], PALETTE[1]
KEPT = 16
GAUGES = {"as in the weights": False, "gauge and row constants taken off": True}


@dataclass(frozen=True, eq=False)
class Mechanism:
    """What is read from one model: tables, fitted structure, measured displacement, certificate."""

    tables: LogitTables
    fit: StructureFit
    structure: pd.DataFrame
    by_length: pd.DataFrame
    slope: pd.DataFrame
    certificate: Certificate


def read_mechanism(model: Model) -> Mechanism:
    """Everything the explorer shows of a model; about a second at v = 32. Raises ValueError for a model that is not minimal."""
    tables = logit_tables(model)
    return Mechanism(
        tables=tables,
        fit=fit_structure(tables.bias, tables.displacement),
        structure=displacement_structure(model),
        by_length=displacement(model),
        slope=power_law(token_displacement(model)),
        certificate=certify(model),
    )


class DisplacementView:
    """What the explorer shows, as pure functions of its state.

    State: `model`, the name of a variant; whether the `gauge` is taken off the tables, which changes no logit; a token pair,
    `row` (attended or last token) and `column` (whose logit); and the `length`.
    """

    def __init__(self, variants: Variants):
        """Of one or several checkpoints of minimal models."""
        self.variants = variants
        self.read = lru_cache(KEPT)(lambda name: read_mechanism(variants.model(name)))

    def matrices(self, model: str, gauge: bool, row: int, column: int) -> go.Figure:
        """Bias B, displacement D and attention logits A, with the pair framed; its values are in the titles."""
        read = self.read(model)
        _require_pair(read, row, column)
        tables = _tables(read, gauge)
        titles = [f"{name}[{row}, {column}] = {table[row, column]:.3g}" for name, table in tables.items()]
        layout = grid(titles, 3, horizontal_spacing=0.09)
        traces: list[Json] = []
        frames = []
        for panel, (name, table) in enumerate(tables.items(), start=1):
            x, y = reference("x", panel), reference("y", panel)
            bar = dict(x=(0.262, 0.625, 0.988)[panel - 1], thickness=8, tickfont=dict(size=9), len=0.9)
            hover = f"{name}[%{{y}}, %{{x}}] = %{{z:.3g}}<extra>click to choose</extra>"
            heat = dict(type="heatmap", z=cells(table), zmid=0, colorscale=DIVERGING, colorbar=bar, hovertemplate=hover)
            traces.append(heat | dict(xaxis=x, yaxis=y))
            frame = dict(x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5, line=dict(color=INK, width=2))
            frames.append(dict(type="rect", xref=x, yref=y) | frame)
            domain = ([0, 0.255], [0.363, 0.618], [0.726, 0.981])[panel - 1]
            text = "attended token" if name == "A" else "logit"
            layout[axis("x", panel)] |= {"domain": domain, "title": {"text": text, "standoff": 2}, "constrain": "domain"}
            text = "attended token" if name == "D" else "last token"
            layout[axis("y", panel)] |= {"title": {"text": text, "standoff": 2}, "autorange": "reversed", "showgrid": False}
            layout[axis("y", panel)] |= {"scaleanchor": x, "constrain": "domain"}
        for annotation, middle in zip(layout["annotations"], (0.1275, 0.4905, 0.8535), strict=True):
            annotation["x"] = middle
        shown = next(name for name, without in GAUGES.items() if without == gauge)
        told = dict(title=heading(f"{model} · tables: {shown}"), meta=dict(model=model, tables=shown))
        return figure_of(traces, layout | told | dict(height=372, shapes=frames))

    def summary(self, model: str, row: int, column: int, length: int) -> go.Figure:
        """Four panels: gamma and b by token, the chosen row of D, displacement by length with its law, the certificate."""
        read = self.read(model)
        _require_pair(read, row, column)
        slope = read.slope.iloc[0]
        titles = (
            "structure: push γ while attended to, b as the last",
            f"what attending to token {row} does to every logit",
            f"displacement by length: slope {slope['slope']:.3f}, law {slope['law']:g}",
            "certificate: worst gap over all inputs",
        )
        layout = grid(titles, 2, horizontal_spacing=0.1, vertical_spacing=0.2)
        traces = [*_structure(read), _row(read, row, column), *_by_length(read), *_certificate(read)]
        for panel, text in enumerate(("token", "logit", "length", "length"), start=1):
            layout[axis("x", panel)] |= {"title": {"text": text, "standoff": 2}}
            layout[axis("y", panel)] |= {"title": {"text": "logits", "standoff": 2}}
        doublings = [2**power for power in range(int(np.log2(read.tables.vocab)) + 1)]
        layout["xaxis3"] |= {"type": "log", "tickvals": doublings}
        layout["yaxis3"] |= {"type": "log", "dtick": "D2"}
        zero = dict(type="line", xref="x4 domain", yref="y4", x0=0, x1=1, y0=0, y1=0, line=dict(color=INK, width=1))
        shapes = [vertical_line(1, row, True), vertical_line(3, length, True), vertical_line(4, length, True), zero]
        legend = dict(orientation="h", x=0, y=-0.13, yanchor="top", font=dict(size=11.5))
        told = dict(title=heading(f"{model}<br>{verdict(read.certificate, length)}"), meta=dict(model=model))
        margin = layout["margin"] | dict(t=84, b=80)
        return figure_of(traces, layout | told | dict(height=598, margin=margin, shapes=shapes, legend=legend))


def verdict(certificate: Certificate, length: int) -> str:
    """What the certificate says of a length, with its counterexample where it fails."""
    if length not in certificate.lengths:
        return f"length {length} is beyond the model's inputs"
    at = list(certificate.lengths).index(length)
    gap, tokens = certificate.worst_gap[at], " ".join(map(str, certificate.worst_input[at]))
    if certificate.verdict[at] == "fails":
        seen, absent = certificate.present[at], certificate.absent[at]
        return f"length {length} fails: after <b>{tokens}</b> token {seen}, seen, is {-gap:.3g} logits above {absent}, not seen"
    word = "is certified: right on all inputs" if certificate.verdict[at] == "certified" else "is undecided"
    return f"length {length} {word}; worst gap {gap:.3g} logits, after {tokens}"


def _tables(read: Mechanism, gauge: bool) -> dict[str, np.ndarray]:
    bias, pushed = read.tables.bias, read.tables.displacement
    if gauge:
        bias = read.fit.bias_residual - np.diag(read.fit.b)
        pushed = read.fit.displacement_residual - np.diag(read.fit.gamma)
    return {"B": bias, "D": pushed, "A": read.tables.attention_logits}


def _require_pair(read: Mechanism, row: int, column: int) -> None:
    vocab = read.tables.vocab
    if max(row, column) >= vocab:
        raise ValueError(f"the pair ({row}, {column}) is not in a vocabulary of {vocab}; choose tokens below {vocab}")


def _structure(read: Mechanism) -> list[Json]:
    token = np.arange(read.tables.vocab)
    place: Json = dict(type="scatter", x=token, mode="markers", xaxis="x", yaxis="y")
    return [
        place | dict(y=read.fit.gamma, name="γ, context tokens", marker=dict(color=CONTEXT, size=6)),
        place | dict(y=read.fit.b, name="b, last token", marker=dict(color=QUERY, symbol="square", size=6)),
    ]


def _row(read: Mechanism, row: int, column: int) -> Json:
    pushed = _tables(read, gauge=True)["D"][row]
    colours = [CONTEXT if token == column else MUTED for token in range(len(pushed))]
    bars = dict(type="bar", x=np.arange(len(pushed)), y=pushed, marker=dict(color=colours), showlegend=False)
    return bars | dict(xaxis="x2", yaxis="y2", hovertemplate="logit of token %{x}: %{y:.3g}<extra>at full attention</extra>")


def _by_length(read: Mechanism) -> list[Json]:
    traces: list[Json] = []
    for measure, colour in (("context", CONTEXT), ("query", QUERY)):
        rows = read.by_length[(read.by_length["measure"] == measure) & (read.by_length["value"] > 0)]
        place: Json = dict(type="scatter", x=rows["length"].to_numpy(), xaxis="x3", yaxis="y3", showlegend=False)
        traces.append(place | dict(y=rows["value"].to_numpy(), mode="lines+markers", line=dict(color=colour), name=measure))
        if measure == "context":
            law = dict(y=rows["law"].to_numpy(), mode="lines", line=dict(color=INK, dash="5px,3px", width=1), name="2/s law")
            traces.append(place | law | dict(showlegend=True))
    return traces


def _certificate(read: Mechanism) -> list[Json]:
    frame = read.certificate.frame()
    traces = []
    for word, (colour, symbol) in VERDICTS.items():
        rows = frame[frame["verdict"] == word]
        marker = dict(color=colour, symbol=symbol, size=7)
        values = dict(x=rows["length"].to_numpy(), y=rows["worst_gap"].to_numpy(), name=f"{word} ({len(rows)} lengths)")
        traces.append(dict(type="scatter", mode="markers", marker=marker, xaxis="x4", yaxis="y4") | values)
    return traces


class DisplacementExplorer(Explorer):
    """Choose a model and a length, click a token pair in a table: see how present tokens are pushed down, and until when."""

    def __init__(self, checkpoints: Sequence[str | os.PathLike[str]]):
        """Checkpoints of minimal set-complement models: one attention-only head, no positions, no norm.

        Raises CheckpointError for a path that holds none, ValueError for a model that is not minimal.
        """
        variants = Variants(checkpoints)
        self.view = DisplacementView(variants)
        vocab = max(variant.checkpoint.card.model.vocab for variant in variants.by_name.values())
        controls: dict[str, Any] = {
            "model": dropdown("model", variants.names, variants.first),
            "gauge": dropdown("tables", list(GAUGES.items())),
            "row": slider("row", 0, vocab - 1, 0),
            "column": slider("column", 0, vocab - 1, 0),
            "length": slider("length", 1, variants.longest, variants.longest),
        }
        rows = (("model", "gauge"), ("row", "column"), ("length",))
        figures = (self.view.matrices, self.view.summary)
        super().__init__("displacement-explorer", controls, rows, figures)
        self.pictures[0].on_cell(range(3), lambda row, column: self.set(row=row, column=column))
