"""Figures of what is read of the Othello board, and of edits of it: each a function of a tidy frame of `probes/`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.theme import MARKERS, MUTED, PALETTE, SEQUENTIAL, apply_theme, mark_training_length, training_length

ARMS = {"edited": PALETTE[0], "null": PALETTE[1], "random direction": PALETTE[4], "unedited board": MUTED}
LAYER_TITLE = "layer (0: embedding, l: after block l)"
METRIC_TITLES = {"accuracy": "squares read right", "board_accuracy": "boards read right in full", "f1": "F1"}


def board_by_layer(frame: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """Accuracy against layer: every probe and frame with its interval over games as a band, and the controls, dotted and grey.

    Args:
        frame: of `probes.board_state.board_state`, of one checkpoint.
        metric: accuracy (share of squares) or board_accuracy (share of whole boards).
    """
    rows = frame[(frame["metric"] == metric) & frame["length"].isna() & frame["square"].isna()]
    figure = go.Figure()
    looks = dict(zip(rows["frame"].unique(), zip(PALETTE, MARKERS, strict=True), strict=False))
    probes = rows[rows["control"] == "none"]
    dashes = dict(zip(probes["probe"].unique(), ("solid", "dash", "dot"), strict=False))
    for probe, target in probes[["probe", "frame"]].drop_duplicates().itertuples(index=False):
        curve = probes[(probes["probe"] == probe) & (probes["frame"] == target)]
        colour, marker = looks[target]
        _add_curve(figure, curve, f"{target}, {probe}", colour, dashes[probe], marker)
    controls = rows[rows["control"] != "none"]
    for marker, control in zip(MARKERS, controls["control"].unique(), strict=False):
        curve = controls[controls["control"] == control]
        layers = sorted(probes["layer"].unique())
        if curve["layer"].isna().all():  # a guess does not look at the model: one value at every layer
            curve = curve.loc[curve.index.repeat(len(layers))].assign(layer=layers)
        _add_curve(figure, curve, control, MUTED, "1px,3px", f"{marker}-open")
    figure.update_xaxes(title_text=LAYER_TITLE, dtick=1)
    figure.update_yaxes(title_text=METRIC_TITLES[metric], tickformat=".0%")
    return apply_theme(figure, title="What probes read of the board", width=760, height=460)


def _add_curve(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, dash: str, marker: str) -> None:
    rows = rows.assign(layer=rows["layer"].astype(float))
    figure.add_trace(interval_band(rows, "layer", colour))
    curve = go.Scatter(
        x=rows["layer"],
        y=rows["value"],
        name=name,
        mode="lines+markers",
        line=dict(color=colour, dash=dash),
        marker=dict(symbol=marker, size=7),
        hovertemplate="layer %{x}: %{y:.2%}<extra>" + name + "</extra>",
        **numbers(rows, INTERVAL),
    )
    figure.add_trace(curve)


def board_by_layer_and_length(
    frame: pd.DataFrame, metric: str = "accuracy", probe: str = "closed-form", target: str = "to_move"
) -> go.Figure:
    """Heatmap of accuracy over layer and length of one probe in one frame; guessing by length alone is a row beneath.

    Args:
        frame: of `probes.board_state.board_state`, of one checkpoint.
        metric: accuracy or board_accuracy.
        probe: closed-form, logistic or nonlinear.
        target: the frame, to_move, parity or colour.
    """
    rows = frame[(frame["metric"] == metric) & frame["length"].notna() & (frame["frame"] == target)]
    table = _table(rows[(rows["probe"] == probe) & (rows["control"] == "none")], "layer")
    guess = rows[rows["control"] == "guess by length"].set_index("length")["value"]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.9, 0.1], vertical_spacing=0.03)
    cells = dict(coloraxis="coloraxis", hovertemplate="length %{x}, layer %{y}: %{z:.2%}<extra></extra>")
    figure.add_trace(go.Heatmap(z=table.to_numpy(), x=table.columns, y=table.index, **cells), row=1, col=1)
    figure.add_trace(go.Heatmap(z=[guess.to_numpy()], x=guess.index, y=["guess"], **cells), row=2, col=1)
    figure.update_yaxes(title_text=LAYER_TITLE, dtick=1, row=1, col=1)
    figure.update_xaxes(title_text="length (moves made)", row=2, col=1)
    trained = training_length(frame)
    if trained is not None:
        mark_training_length(figure, trained, layer="above", row=1, col=1)
    figure.update_layout(
        coloraxis=dict(colorscale=SEQUENTIAL, cmax=1, colorbar=dict(title=METRIC_TITLES[metric], tickformat=".0%"))
    )
    return apply_theme(figure, title=f"Board read by layer and length ({target}, {probe})", width=900, height=420)


def board_by_square(
    frame: pd.DataFrame, layers: list[int] | None = None, probe: str = "closed-form", target: str = "to_move"
) -> go.Figure:
    """The board, each square coloured by how often its state is read right: one panel a layer, one colour scale for all.

    Args:
        frame: of `probes.board_state.board_state`, of one checkpoint.
        layers: which layers to show; None for all.
        probe: closed-form, logistic or nonlinear.
        target: the frame, to_move, parity or colour.
    """
    rows = frame[
        frame["square"].notna() & (frame["frame"] == target) & (frame["probe"] == probe) & (frame["control"] == "none")
    ]
    shown = sorted(rows["layer"].unique()) if layers is None else layers
    columns = min(len(shown), 5)
    lines = -(-len(shown) // columns)
    figure = make_subplots(
        rows=lines,
        cols=columns,
        subplot_titles=[f"layer {layer}: {rows[rows['layer'] == layer]['value'].mean():.1%}" for layer in shown],
        horizontal_spacing=0.04,
        vertical_spacing=0.12,
    )
    for at, layer in enumerate(shown):
        figure.add_trace(_board(rows[rows["layer"] == layer]), row=at // columns + 1, col=at % columns + 1)
    size = int(np.sqrt(rows["square"].nunique()))
    figure.update_yaxes(autorange="reversed", tickvals=list(range(size)), ticktext=[str(row + 1) for row in range(size)])
    figure.update_xaxes(tickvals=list(range(size)), ticktext=list("abcdefgh"[:size]), constrain="domain")
    for axis in range(1, len(shown) + 1):
        figure.layout[f"yaxis{axis if axis > 1 else ''}"].update(scaleanchor=f"x{axis if axis > 1 else ''}", constrain="domain")
    bar = dict(title=METRIC_TITLES["accuracy"], tickformat=".0%")
    figure.update_layout(coloraxis=dict(colorscale=SEQUENTIAL, cmax=1, colorbar=bar))
    return apply_theme(
        figure, title=f"Board read by square ({target}, {probe})", width=210 * columns + 130, height=240 * lines + 110
    )


def _board(rows: pd.DataFrame) -> go.Heatmap:
    values = rows.sort_values("square")["value"].to_numpy()
    size = int(np.sqrt(len(values)))
    names = [[f"{'abcdefgh'[column]}{row + 1}" for column in range(size)] for row in range(size)]
    hover = "%{text}: %{z:.2%}<extra></extra>"
    return go.Heatmap(z=values.reshape(size, size), text=names, coloraxis="coloraxis", hovertemplate=hover, xgap=1, ygap=1)


def _table(rows: pd.DataFrame, index: str) -> pd.DataFrame:
    return rows.pivot(index=index, columns="length", values="value")


def interventions(frame: pd.DataFrame) -> go.Figure:
    """Errors a case of each kind of edit, with the null and the other arms beside it, and intervals over cases.

    Args:
        frame: of `probes.intervention_score.board_interventions`, of one checkpoint.
    """
    figure = go.Figure()
    for arm, colour in ARMS.items():
        rows = frame[frame["arm"] == arm]
        interval = dict(array=rows["ci_high"] - rows["value"], arrayminus=rows["value"] - rows["ci_low"], symmetric=False)
        figure.add_trace(
            go.Bar(
                x=rows["method"],
                y=rows["value"],
                error_y=dict(type="data", thickness=1.5, **interval),
                name=arm,
                marker_color=colour,
                offsetgroup=arm,
                hovertemplate="%{x}: %{y:.3f} errors<extra>" + arm + "</extra>",
            )
        )
        numbers = [f"{value:.2f}" for value in rows["value"]]
        above = dict(x=rows["method"], y=rows["ci_high"], text=numbers, textposition="top center", offsetgroup=arm)
        figure.add_trace(go.Scatter(**above, mode="text", showlegend=False, hoverinfo="skip", cliponaxis=False))
    figure.update_yaxes(title_text="errors a case (false positives + false negatives)")
    figure.update_xaxes(title_text="edit of one square")
    figure.update_layout(scattermode="group")
    cases, layers = int(frame["cases"].min()), frame["layers"].iloc[0]
    return apply_theme(
        figure, title=f"Does play follow the edited board? ({cases} cases, edits at layers {layers})", width=760, height=460
    )
