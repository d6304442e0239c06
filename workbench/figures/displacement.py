"""Figures of logit displacement: each a function of a tidy frame of `probes/`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.scales import log_scale
from workbench.figures.theme import (
    DIVERGING,
    INK,
    MARKERS,
    MUTED,
    PALETTE,
    apply_theme,
    length_axis,
    numbered_style,
    training_length,
)

CONTEXT, QUERY, MARGIN, CONTROL = PALETTE[0], PALETTE[1], PALETTE[2], MUTED
COLOURS = {"context": CONTEXT, "query": QUERY, "margin": MARGIN, "control": CONTROL}
SYMBOLS = dict(zip(COLOURS, MARKERS, strict=False))
LAW_DASH, NEEDED_DASH = "7px,3px", "2px,2px"


def table_figures(tables: pd.DataFrame, structure: pd.DataFrame, identity: pd.DataFrame) -> dict[str, go.Figure]:
    """The figures, by name, of a model that has logit tables: each table, the structure and the two-token identity.

    Args:
        tables: of `LogitTables.frame`.
        structure: of `probes.displacement_structure`.
        identity: of `probes.two_token_identity`.
    """
    drawn = {f"table-{name.replace(' ', '-')}": displacement_table(tables, name) for name in tables["table"].unique()}
    return drawn | {"structure": displacement_structure(structure), "two-token-identity": two_token_residual(identity)}


def displacement_by_length(frame: pd.DataFrame, fit: pd.DataFrame | None = None) -> go.Figure:
    """Three panels against length: displacement with the 2/s law (log-log), margin, and the share that is not positive.

    A logarithm cannot show a displacement <= 0: what the first panel leaves out is the third panel's share, and the margins and
    the control are on a linear axis, where nothing is left out.

    Args:
        frame: of `probes.logit_displacement.displacement`; where it has a column train_length, that length is marked.
        fit: of `probes.logit_displacement.power_law`; its slope and interval go into the title.
    """
    titles = ("displacement", "margin", "share not positive")
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.1)
    measured = {measure: frame[frame["measure"] == measure] for measure in COLOURS}
    for measure, rows in measured.items():
        logarithmic = measure in ("context", "query")
        _add_measured(figure, rows[rows["value"] > 0] if logarithmic else rows, measure, column=1 if logarithmic else 2)
        name = "misordered" if measure == "margin" else measure
        share = go.Scatter(
            x=rows["length"], y=rows["not_positive"], name=name, showlegend=False, mode="lines+markers", **_look(measure)
        )
        figure.add_trace(share, row=1, col=3)
    needed = frame[frame["measure"] == "needed"]
    _add_dashed(figure, measured["context"], "law", "2/s law", CONTEXT, LAW_DASH, column=1)
    _add_dashed(figure, measured["margin"], "law", "2/s law of the margin", MARGIN, LAW_DASH, column=2)
    _add_dashed(figure, needed, "value", "needed for 1 % illegal mass", INK, NEEDED_DASH, column=1)
    doublings = 2 ** np.arange(int(np.log2(frame["length"].max())) + 1)
    figure.update_xaxes(type="log", tickvals=doublings, row=1, col=1)
    figure.update_annotations(yshift=18, font_size=13)  # above `trained to 8`
    length_axis(figure, training_length(frame))
    pushed = frame[frame["measure"].isin(["context", "query", "needed"])]
    positive = pd.concat([pushed["value"], measured["context"]["law"]])
    figure.update_yaxes(log_scale(positive[positive > 0], "displacement (logits)").layout, row=1, col=1)
    figure.update_yaxes(title_text="margin (logits)", row=1, col=2)
    figure.update_yaxes(title_text="share of measurements <= 0", range=[-0.02, 1.02], row=1, col=3)
    apply_theme(figure)
    return figure.update_layout(
        title={"text": f"Logit displacement{_slope_text(fit)}", "pad": {"b": 48}},
        width=1100,
        height=560,
        margin={"t": 110, "b": 140},
        legend={"orientation": "h", "x": 0, "y": -0.2, "xanchor": "left", "yanchor": "top"},
    )


def displacement_table(frame: pd.DataFrame, table: str = "displacement") -> go.Figure:
    """Heatmap of one table of `LogitTables.frame()`: bias, displacement or attention logits; the colours are centred on 0.

    Raises ValueError for a table the frame does not hold.
    """
    known = sorted(frame["table"].unique())
    if table not in known:
        raise ValueError(f"table {table!r} is not in the frame, expected one of {known}; choose one of them")
    values = frame[frame["table"] == table].pivot(index="row", columns="logit", values="value")
    column = "attended token" if table == "attention logits" else "logit"
    row = "attended token" if table == "displacement" else "last token"
    figure = go.Figure(
        go.Heatmap(z=values, x=values.columns, y=values.index, colorscale=DIVERGING, zmid=0, colorbar={"title": "logits"})
    )
    figure.update_layout(title=table.capitalize(), xaxis_title=column, yaxis_title=row)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_xaxes(constrain="domain")
    return apply_theme(figure, width=640, height=560)


def displacement_structure(frame: pd.DataFrame) -> go.Figure:
    """Fitted gamma and b of every token beside their controls, of `probes.displacement_structure.displacement_structure`."""
    figure = go.Figure()
    styles = {"gamma": (CONTEXT, "circle"), "b": (QUERY, "square")}
    styles |= {"gamma_control": (CONTEXT, "circle-open"), "b_control": (QUERY, "square-open")}
    for column, (colour, symbol) in styles.items():
        figure.add_trace(
            go.Scatter(
                x=frame["token"],
                y=frame[column],
                name=column.replace("_", ", "),
                mode="markers",
                marker={"color": colour, "symbol": symbol},
            )
        )
    residual = float(np.sqrt((frame["relative_residual"] ** 2).mean()))
    figure.update_layout(
        title=f"Structure of the displacement: residual {residual:.2g} of gamma", xaxis_title="token", yaxis_title="logits"
    )
    return apply_theme(figure, width=760, height=440)


def two_token_residual(frame: pd.DataFrame) -> go.Figure:
    """Residual of the two-token identity against length, with the uniform-attention control, of `two_token_identity`.

    From length 3: there is nothing to reconstruct at 1 and 2.
    """
    figure, frame = go.Figure(), frame[frame["length"] >= 3]
    columns = {"residual": "the model's attention", "uniform_residual": "uniform attention (control)"}
    scale = log_scale(frame[list(columns)].stack(), "residual / largest logit")
    for number, (column, name) in enumerate(columns.items()):
        style = numbered_style(number)
        look = dict(mode="lines+markers", line_color=style.colour, marker_symbol=style.marker)
        kept = numbers(frame, {column: "y"})
        figure.add_trace(go.Scatter(x=frame["length"], y=scale.place(frame[column]), name=name, **look, **kept))
    figure.update_yaxes(scale.layout)
    return apply_theme(length_axis(figure, training_length(frame)), "Two-token identity", width=760, height=440)


def _slope_text(fit: pd.DataFrame | None) -> str:
    if fit is None:
        return ""
    row = fit.iloc[0]
    return f": slope of the context {row['slope']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}], law {row['law']:g}"


def _add_measured(figure: go.Figure, rows: pd.DataFrame, measure: str, column: int) -> None:
    figure.add_trace(interval_band(rows, "length", COLOURS[measure]), row=1, col=column)
    trace = go.Scatter(
        x=rows["length"],
        y=rows["value"],
        name=measure,
        mode="lines+markers",
        hovertemplate="length %{x}: %{y:.3g} logits, %{customdata[3]:.1%} not positive",
        **_look(measure),
        **numbers(rows, INTERVAL | {"not_positive": "not_positive"}),
    )
    figure.add_trace(trace, row=1, col=column)


def _look(measure: str) -> dict:
    return {"line_color": COLOURS[measure], "marker": {"symbol": SYMBOLS[measure], "size": 5}}


def _add_dashed(
    figure: go.Figure, rows: pd.DataFrame, column_name: str, name: str, colour: str, dash: str, column: int
) -> None:
    line = {"color": colour, "dash": dash, "width": 1.5}
    figure.add_trace(go.Scatter(x=rows["length"], y=rows[column_name], name=name, mode="lines", line=line), row=1, col=column)
