"""The report of a comparison: one HTML page that opens anywhere, without a network, with tables, figures and provenance.

`report_page` is a pure function of the frame, the cards and the figures. The words say what was measured and how to read it;
which checkpoint is better is left to the numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.curves import organisms
from workbench.figures.gallery import last_steps, stem
from workbench.headline import DIFFERENCE_NAMES, certified, contrasts, headline, headline_lengths
from workbench.html_page import PACKAGES, STYLE, html_figures, html_page, html_table, number, scrolling_table
from workbench.metrics import METRICS

READING = """
<p>Every checkpoint of a task was measured on the same fresh sequences, from a random stream that training never draws from. At
length s the model has seen s tokens, and the right answer is the uniform distribution over the legal next tokens.</p>
<ul>
<li><b>Illegal mass</b>: probability on illegal tokens. <b>Illegal top-1 rate</b>: share of sequences whose most probable token
is illegal. <b>Total variation</b> to the uniform target: illegal mass plus what unevenness over the legal tokens adds.
<b>Normalised attention dispersion</b>: entropy of the attention rows divided by that of uniform attention, mean over layers and
heads; 1 is uniform.</li>
<li><b>Brackets and error bars</b> are 95 % intervals over sequences: what other sequences would have changed. Rates have exact
binomial (Clopper–Pearson) intervals, means a Poisson bootstrap.</li>
<li><b>Seeds</b> and bands run from the least to the greatest value over training seeds: what other initial weights and training
data changed. They are no intervals.</li>
<li><b>Paired differences</b> are taken on the same sequences, so their intervals are narrower than the two values' intervals
suggest. ema and bema are compared with the raw weights of the same checkpoint; a checkpoint with dropout with the one without
that is equal in task, shape, training length, seed and step.</li>
<li>Many intervals are shown; of those whose true difference is zero, one in twenty is expected to miss it.</li>
</ul>
"""
VALUES_NOTE = (
    "Mean over seeds; below it the 95 % interval over sequences, its ends averaged over seeds, then the range over seeds."
)
DIFFERENCES_NOTE = (
    "Mean over pairs, one a seed; below it the range over pairs, then in how many pairs the whole 95 % interval lies below "
    "zero, and above. Where there is one pair, its interval."
)
OTHELLO_NOTE = (
    "In Othello the length is also the phase of the game: board and number of legal moves change with it, so a change with "
    "length is not all due to the training length. A model trained on full games is the comparison that tells them apart."
)
CERTIFIED_NOTE = (
    "At how many lengths every legal token is proved to have a larger logit than every illegal one, on all inputs of that "
    "length and not only on those drawn: least, mean and greatest over seeds. It tells order only, not illegal mass."
)
POSITIONS_NOTE = (
    "Some checkpoints have learned positions: positions beyond the training length never got a gradient, which alone can spoil "
    "longer inputs."
)


def report_page(
    frame: pd.DataFrame,
    cards: pd.DataFrame,
    figures: Mapping[str, go.Figure],
    title: str,
    command: str,
    settings: Mapping[str, object],
) -> str:
    """The whole page as HTML; the same arguments give the same text.

    Args:
        frame: rows of `compare`, of any number of organisms.
        cards: `card_table` of what was compared.
        figures: by name; each goes to the organism whose stem its name starts with.
        title: the page's heading.
        command: the command that makes the page again.
        settings: what else was chosen (sequences, seed), by name.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _what_is_compared(frame),
        "<h2>How to read this page</h2>",
        READING,
    ]
    for name, rows in organisms(frame).items():
        parts += _organism(name, rows, {key: figure for key, figure in figures.items() if key.startswith(f"{stem(rows)}-")})
    parts += ["<h2>Provenance</h2>", _provenance(command, settings), html_table(cards, _text)]
    return html_page(title, STYLE, parts)


def _what_is_compared(frame: pd.DataFrame) -> str:
    items = []
    for name, rows in organisms(frame).items():
        trained = " or ".join(f"{length}" for length in sorted(rows["train_length"].dropna().unique())) or "an unknown length"
        seeds = rows["seed"].nunique()
        words = (
            f"{name[0].upper()}{name[1:]}: {_count(rows['checkpoint'].nunique(), 'checkpoint')}",
            f"dropout {', '.join(rows['dropout'].dropna().unique())}",
            f"weights {', '.join(rows['weights'].unique())}",
            _count(seeds, "seed") if seeds else "seed unknown",
            f"trained to length {trained}",
            f"measured at lengths {rows['length'].min()} to {rows['length'].max()} on {rows['sequences'].max():,} sequences",
        )
        items.append(f"<li>{escape('; '.join(words))}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _organism(name: str, rows: pd.DataFrame, figures: Mapping[str, go.Figure]) -> list[str]:
    last = last_steps(rows)
    lengths = headline_lengths(last)
    notes = [OTHELLO_NOTE] if (rows["task"] == "othello").any() else []
    beyond = rows["length"] > rows["train_length"]
    notes += [POSITIONS_NOTE] if (rows["shape"].str.contains("positions learned") & beyond).any() else []
    where = f"At the training length, twice it, and the longest ({', '.join(map(str, lengths))}), as far as the table has them."
    parts = [f"<h2>{escape(name[0].upper() + name[1:])}</h2>", *(f"<p>{escape(note)}</p>" for note in notes)]
    parts += ["<h3>Values</h3>", f"<p>{where} {VALUES_NOTE}</p>", _value_table(headline(last, lengths))]
    paired = contrasts(last, lengths)
    if not paired.empty:
        parts += ["<h3>Paired differences</h3>", f"<p>{DIFFERENCES_NOTE}</p>", _difference_table(paired)]
    proved = certified(last)
    if not proved.empty:
        parts += ["<h3>Certified lengths</h3>", f"<p>{CERTIFIED_NOTE}</p>", _certified_table(proved)]
    parts.append("<h3>Figures</h3>")
    return parts + html_figures(figures)


def _value_table(table: pd.DataFrame) -> str:
    def cell(row: Any) -> str:
        seeds = f"<small>seeds {number(row.seed_low)} to {number(row.seed_high)}</small>" if row.seeds > 1 else ""
        return f"{number(row.value)}<small>[{number(row.ci_low)}, {number(row.ci_high)}]</small>{seeds}"

    return _wide_table(table, ["dropout", "weights"], cell)


def _difference_table(table: pd.DataFrame) -> str:
    def cell(row: Any) -> str:
        if row.pairs == 1:
            return f"{number(row.difference)}<small>[{number(row.ci_low)}, {number(row.ci_high)}]</small>"
        counts = f"below {row.below}, above {row.above} of {row.pairs}"
        return f"{number(row.difference)}<small>{number(row.low)} to {number(row.high)}</small><small>{counts}</small>"

    order = list(DIFFERENCE_NAMES.values())
    by_contrast = table.sort_values("contrast", kind="stable", key=lambda names: names.map(order.index))
    return _wide_table(by_contrast, ["contrast", "dropout"], cell)


def _certified_table(table: pd.DataFrame) -> str:
    others = [key for key in ("train_length", "shape", "step", "averaging", "checkpoint") if key in table]
    apart = [key for key in others if table[key].nunique(dropna=False) > 1]
    shown = table[["dropout", "weights", *apart, "seeds", "low", "mean", "high"]]
    return html_table(shown.assign(mean=shown["mean"].map(number)), _text)


def _wide_table(table: pd.DataFrame, names: Sequence[str], cell: Callable[[Any], str]) -> str:
    """Rows by configuration, columns by length and metric; a label column is added for whatever else tells rows apart."""
    others = [key for key in ("train_length", "shape", "step", "averaging", "checkpoint") if key in table]
    constant_within = [key for key in others if table.groupby(list(names), dropna=False)[key].nunique(dropna=False).max() > 1]
    keys = [*names, *constant_within]
    lengths, metrics = sorted(table["length"].unique()), list(dict.fromkeys(table["metric"]))
    head = "".join(f'<th class="group" colspan="{len(metrics)}">length {length}</th>' for length in lengths)
    labels = "".join(f"<th{_group(i)}>{escape(METRICS[metric].axis)}</th>" for _ in lengths for i, metric in enumerate(metrics))
    body = []
    for values, rows in table.groupby(keys, dropna=False, sort=False):
        by_place = {(row.length, row.metric): row for row in rows.itertuples()}
        cells = [
            f"<td{_group(i)}>{cell(by_place[length, metric]) if (length, metric) in by_place else '–'}</td>"
            for length in lengths
            for i, metric in enumerate(metrics)
        ]
        body.append("<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in values) + "".join(cells) + "</tr>")
    top = f'<tr><th colspan="{len(keys)}"></th>{head}</tr>'
    second = "<tr>" + "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in keys) + labels + "</tr>"
    return scrolling_table(top + second, "".join(body))


def _group(column: int) -> str:
    return ' class="group"' if column == 0 else ""


def _provenance(command: str, settings: Mapping[str, object]) -> str:
    used = {name: version(name) for name in PACKAGES}
    facts = "; ".join(f"{name} {_text(value)}" for name, value in (*settings.items(), *used.items()))
    return f"<p>Made by <code>{escape(command)}</code> with {escape(facts)}. The same command gives the same tables.</p>"


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
