"""Figures of a finished search: averaging by length, dropout, decay of displacement, partial dependence, importances."""

from typing import cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from models.config import WEIGHTS, WeightsName
from workbench.figures.bands import band
from workbench.figures.theme import (
    INK,
    MARKERS,
    MUTED,
    PALETTE,
    WEIGHTS_DASH,
    apply_theme,
    dropout_styles,
    length_axis,
)
from workbench.search_result import SCALED
from workbench.search_space import SITES
from workbench.study import OUTCOMES, REGIONS, StudyTables
from workbench.study_claims import SCALABLE_ERRORS, post_norm_slope
from workbench.study_effects import MATCHED
from workbench.study_intervals import mean

WIDTH = 1100
NORM_LABELS = {"none": "no norm", "branch": "norm of attention's output", "final": "norm before the unembedding"}
WEIGHTS_COLOUR: dict[WeightsName, str] = dict(zip(WEIGHTS, PALETTE, strict=False))


def study_figures(
    tables: StudyTables,
    settings: pd.DataFrame,
    effects: pd.DataFrame,
    dependence: pd.DataFrame,
    importances: pd.DataFrame,
) -> dict[str, go.Figure]:
    """Every figure of a study by file name, from it and the tables that `study_effects` makes of it."""
    return {
        "averaging-by-length": averaging_by_length(tables),
        "averaging-by-setting": averaging_by_setting_figure(settings),
        "dropout-effects": dropout_effects_figure(effects),
        "displacement-decay": displacement_decay(tables),
        "partial-dependence": partial_dependence_figure(dependence, "total_variation", "beyond"),
        "importances": importances_figure(importances),
    }


def averaging_by_length(tables: StudyTables, metric: str = "total_variation") -> go.Figure:
    """Mean paired change of log10 of a metric from the raw to the averaged weights, by length: one panel a train length.

    Bands are 95 % intervals over trials, sampled targets solid and uniform targets dotted; 0 is no change, -1 ten times less.
    """
    rows = tables.curves[(tables.curves["metric"] == metric) & tables.curves["weights"].isin(WEIGHTS)]
    logs = rows.pivot(index=["number", "length"], columns="weights", values="value").clip(lower=1e-12).transform(np.log10)
    drawn = tables.trials[["train_length", "targets"]].reindex(logs.index, level="number")
    lengths = sorted(tables.trials["train_length"].unique())
    fig = make_subplots(1, len(lengths), shared_yaxes=True, horizontal_spacing=0.04)
    for col, train_length in enumerate(lengths, start=1):
        for weights in ("ema", "bema"):
            for targets, dash in (("hard", "solid"), ("soft", "dot")):
                chosen = (drawn["train_length"] == train_length) & (drawn["targets"] == targets)
                change = (logs[weights] - logs["raw"])[chosen].dropna().unstack("length")
                if len(change) < 2:
                    continue
                name = f"{weights}, {'sampled' if targets == 'hard' else 'uniform'} targets"
                _band(fig, change, name, WEIGHTS_COLOUR[weights], dash, col)
        fig.add_hline(0, line=dict(color=INK, width=1), row=1, col=col)
        length_axis(fig, int(train_length), row=1, col=col)
    fig.update_yaxes(title_text=f"change of log10 {metric.replace('_', ' ')}", row=1, col=1)
    return _finish(fig, "What averaging changes, on the same trajectory", 420)


def _band(fig: go.Figure, change: pd.DataFrame, name: str, colour: str, dash: str, col: int) -> None:
    numbers = change.index.to_numpy()
    estimates = [mean(change[length].to_numpy(), numbers) for length in change]
    low, high = zip(*(estimate.interval() for estimate in estimates), strict=True)
    x, y = list(change.columns), [estimate.value for estimate in estimates]
    in_legend = not any(trace.name == name for trace in fig.data)
    fig.add_trace(band(x, low, high, colour, opacity=0.15, legendgroup=name), row=1, col=col)
    line = dict(color=colour, width=2, dash=dash)
    curve = go.Scatter(x=x, y=y, mode="lines", line=line, name=name, legendgroup=name, showlegend=in_legend)
    fig.add_trace(curve, row=1, col=col)


def averaging_by_setting_figure(settings: pd.DataFrame) -> go.Figure:
    """What averages change beyond the training length by how they were set: mean paired differences with 95 % intervals.

    Columns: EMA by the steps it looked back, BEMA by alpha, both logarithmic. Rows: illegal mass, and misordered inputs, which
    a scaling of logits leaves as they are, so that contrasts with scaled weights are not drawn there.

    Args:
        settings: rows of `study_effects.averaging_by_setting`.
    """
    outcomes, kinds = ("illegal_mass", "misordered"), list(dict.fromkeys(settings["setting"]))
    fig = make_subplots(len(outcomes), len(kinds), shared_yaxes=True, shared_xaxes=True, horizontal_spacing=0.05)
    for number, (contrast, rows) in enumerate(settings[settings["region"] == "beyond"].groupby("contrast", sort=False)):
        col = kinds.index(rows["setting"].iloc[0]) + 1
        scaled = str(contrast).split(" − ")[1] in SCALED
        for row, outcome in enumerate(outcomes, start=1):
            if scaled and outcome not in SCALABLE_ERRORS:
                continue
            points = rows[rows["outcome"] == outcome].sort_values("at")
            trace = go.Scatter(
                x=points["at"].astype(float) * (1 + 0.06 * (number - 2) * (col > 1)),  # beside one another
                y=points["value"],
                error_y=dict(
                    symmetric=False,
                    array=points["ci_high"] - points["value"],
                    arrayminus=points["value"] - points["ci_low"],
                    thickness=1.5,
                    width=3,
                ),
                mode="lines+markers",
                line=dict(color=PALETTE[number], dash="solid"),
                marker=dict(symbol=MARKERS[number], size=8),
                name=str(contrast),
                legendgroup=str(contrast),
                showlegend=row == 1,
            )
            fig.add_trace(trace, row=row, col=col)
    for row, outcome in enumerate(outcomes, start=1):
        fig.add_hline(0, line=dict(color=INK, width=1), row=row)
        fig.update_yaxes(title_text=f"change of {OUTCOMES[outcome].label}", row=row, col=1)
    for col, kind in enumerate(kinds, start=1):
        fig.update_xaxes(type="log", tickvals=[0.001, 0.01, 0.1, 10, 30, 100, 300], col=col)
        fig.update_xaxes(title_text=kind, row=len(outcomes), col=col)
    return _finish(fig, "What averages change beyond the training length, by how they were set (sampled targets)", 620)


def dropout_effects_figure(effects: pd.DataFrame) -> go.Figure:
    """Effect of each site's dropout on each outcome, with - without, one panel an outcome; 95 % intervals over trials.

    Filled markers: raw weights as trained; open ones: at matched displacement. Rows: inside and beyond the training length.

    Args:
        effects: rows of `study_effects.dropout_table`.
    """
    shown = [name for name in OUTCOMES if name in set(effects["outcome"])]
    columns = min(3, len(shown))
    fig = make_subplots(
        -(-len(shown) // columns),
        columns,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.16,
        subplot_titles=[OUTCOMES[name].label for name in shown],
    )
    styles = dropout_styles(SITES)
    for place, outcome in enumerate(shown):
        row, col = place // columns + 1, place % columns + 1
        for site in SITES:
            for weights, words in MATCHED.items():
                chosen = (effects["outcome"] == outcome) & (effects["site"] == site) & (effects["weights"] == weights)
                points = effects[chosen].set_index("region").reindex(REGIONS).dropna(subset="value")
                offset = 0.22 * (SITES.index(site) - 1) + (0.08 if weights != "raw" else 0)
                fig.add_trace(
                    go.Scatter(
                        x=points["value"],
                        y=[REGIONS.index(region) + offset for region in points.index],
                        error_x=dict(
                            symmetric=False,
                            array=points["ci_high"] - points["value"],
                            arrayminus=points["value"] - points["ci_low"],
                            thickness=1.5,
                            width=3,
                        ),
                        mode="markers",
                        marker=dict(
                            color=styles[site].hue, symbol=styles[site].marker + ("" if weights == "raw" else "-open"), size=8
                        ),
                        name=f"dropout {site}, {words}",
                        legendgroup=f"{site} {weights}",
                        showlegend=place == 0,
                    ),
                    row=row,
                    col=col,
                )
        fig.add_vline(0, line=dict(color=INK, width=1), row=row, col=col)
    fig.update_yaxes(tickvals=[0, 1], ticktext=list(REGIONS), range=[1.5, -0.5])
    return _finish(fig, "Effect of dropout at each site, all else held equal", 300 * -(-len(shown) // columns) + 80)


def displacement_decay(tables: StudyTables) -> go.Figure:
    """Mean log displacement of context tokens against length on log axes, raw weights, one curve a norm, with both laws.

    Each law is put through the mean of all trials at length 2; bands are 95 % intervals over trials.
    """
    rows = tables.curves
    rows = rows[(rows["metric"] == "context_displacement") & (rows["weights"] == "raw") & (rows["length"] >= 2)]
    table = rows.pivot(index="number", columns="length", values="value")
    table = table[(table > 0).all(axis=1)].transform(np.log10)
    norm = tables.trials.loc[table.index, "norm"]
    lengths = np.array(table.columns, dtype=float)
    fig = make_subplots(1, 1)
    for place, (name, label) in enumerate(NORM_LABELS.items()):
        curves = table[norm == name]
        if len(curves) < 2:
            continue
        _band(fig, curves, f"{label} ({len(curves)} trials)", PALETTE[place], "solid", 1)
    start = float(table.mean()[2])
    sigma = lengths / tables.space.vocab
    gap = -np.log10(sigma * (1 - sigma)) / 2
    for label, law in (("1 / s", -np.log10(lengths)), ("1 / sqrt(σ (1 − σ)), σ = s / v", gap)):
        line = dict(color=MUTED, dash="dash" if label == "1 / s" else "dot")
        fig.add_trace(go.Scatter(x=lengths, y=start + law - law[0], mode="lines", line=line, name=label))
    length_axis(fig, None)
    fig.update_xaxes(type="log", tickvals=[2, 4, 8, 16, 32])
    fig.update_yaxes(title_text="displacement of context tokens, log10 logits")
    slope = post_norm_slope(tables.space.vocab, range(2, tables.space.vocab // 4 + 1))
    return _finish(fig, f"Decay of displacement; a norm after the sum predicts slope −{-slope:.2f} for s ≪ v", 460)


def partial_dependence_figure(dependence: pd.DataFrame, outcome: str, region: str) -> go.Figure:
    """Mean outcome by value of each parameter, the others averaged over, one panel a parameter.

    Args:
        dependence: rows of `study_effects.partial_dependence`.
        outcome: what they are of, for the axis.
        region: likewise.
    """
    parameters = list(dict.fromkeys(dependence["parameter"]))
    columns = 4
    titles = [name.replace("_", " ") for name in parameters]
    fig = make_subplots(
        -(-len(parameters) // columns),
        columns,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.025,
        vertical_spacing=0.1,
    )
    for place, parameter in enumerate(parameters):
        row, col = place // columns + 1, place % columns + 1
        for number, weights in enumerate(WEIGHTS):
            points = dependence[(dependence["parameter"] == parameter) & (dependence["weights"] == weights)]
            fig.add_trace(
                go.Scatter(
                    x=points["bin"] + 0.1 * (number - 1),
                    y=points["value"],
                    error_y=dict(
                        symmetric=False,
                        array=points["ci_high"] - points["value"],
                        arrayminus=points["value"] - points["ci_low"],
                        thickness=1,
                        width=2,
                    ),
                    mode="lines+markers",
                    line=dict(color=WEIGHTS_COLOUR[weights], dash=WEIGHTS_DASH[weights]),
                    marker=dict(symbol=MARKERS[number], size=6),
                    name=weights,
                    legendgroup=weights,
                    showlegend=place == 0,
                ),
                row=row,
                col=col,
            )
        ticks = dependence[(dependence["parameter"] == parameter) & (dependence["weights"] == "raw")]
        labelled = ticks.iloc[:: 2 if len(ticks) > 3 else 1]  # more would run into each other in print
        labels = dict(tickvals=labelled["bin"], ticktext=[_tick(at) for at in labelled["at"]])
        fig.update_xaxes(**labels, showgrid=False, row=row, col=col)
    fig.update_yaxes(title_text=OUTCOMES[outcome].label.split(",")[0] + ", log10", col=1)
    height = 210 * -(-len(parameters) // columns) + 100
    return _finish(fig, f"Partial dependence: {outcome.replace('_', ' ')} {region} the training length", height)


def _tick(at: object) -> str:
    if isinstance(at, str):
        return at
    number = float(cast(float, at))
    return "off" if number == 0 else f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def importances_figure(importances: pd.DataFrame) -> go.Figure:
    """Optuna's importances as bars, each with a mark at what one in twenty shufflings of the outcomes exceeds.

    Args:
        importances: rows of `study_effects.importance_table`.
    """
    ordered = importances.sort_values("value")
    names = ordered["parameter"].str.replace("_", " ")
    fig = go.Figure(go.Bar(x=ordered["value"], y=names, orientation="h", marker_color=PALETTE[0], name="importance"))
    mark = dict(symbol="line-ns", size=14, line=dict(color=INK, width=2))
    fig.add_trace(go.Scatter(x=ordered["chance"], y=names, mode="markers", marker=mark, name="exceeded by chance in 5 %"))
    fig.update_yaxes(dtick=1)  # every bar keeps its name, also in a narrow column
    fig.update_xaxes(title_text="importance for total variation beyond the training length, raw weights (sum 1)")
    return _finish(fig, "Importance of each parameter (PED-ANOVA)", 520)


def _finish(fig: go.Figure, title: str, height: int) -> go.Figure:
    apply_theme(fig, title, WIDTH, height)
    fig.update_annotations(font_size=12)
    legend = dict(orientation="h", yanchor="top", y=-70 / height, x=0)
    return fig.update_layout(legend=legend, margin_b=110)
