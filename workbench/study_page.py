"""The report of a study as one HTML page that opens without a network: verdicts, numbers, figures, provenance.

A pure function of tables and figures. Every number that a verdict rests on stands beside its intervals. Exploratory tables are
closed until somebody opens them, searches the page for what is in them, or prints it.
"""

from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.html_page import PACKAGES, STYLE, html_figures, html_page, html_table, number, scrolling_table
from workbench.intervals import CONFIDENCE
from workbench.search_space import BATCHES, DROPOUT, ETA, KAPPA, LEARNING_RATE, NORMS, SOFT_SHARE, WEIGHT_DECAY
from workbench.study import OUTCOMES, StudyTables
from workbench.study_scales import scale_notes
from workbench.study_summary import summary

VERDICT_STYLE = """
.verdict { font-weight: 600; white-space: nowrap; } .supported { color: #00684c; } .mixed { color: #8a5a00; }
.not-supported { color: #a33b00; } td.words { white-space: normal; min-width: 44ch; }
details { margin: 0.5rem 0; } summary { cursor: pointer; font-weight: 600; }
"""

PRINTED_OPEN = """<script>
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
</script>"""

EXPLORATORY = {
    "learned": "How many trials learned the task, by width and targets, raw weights",
    "claims-by-width": "Verdicts by width",
    "by-width": "Averaging (sampled targets) and dropout (raw weights) by width",
    "averaging-by-shape": "Averaging by train length and width, sampled targets",
    "averaging": "Averaging on the same trajectory",
    "averaging-by-setting": "Averaging by how it was set, sampled targets",
    "control-scales": "The control without label noise on two scales",
    "dropout": "Dropout at each site",
    "rank-correlations": "Rank correlations with dropout rates, raw weights",
    "best": "The best trials with and without each remedy",
    "importances": "Importances",
    "lead": "What a prototype of the search had seen",
}
"""The tables that the report shows beside the claims, with their headings."""

SIDE_BY_SIDE = {
    "learned": "width",
    "claims-by-width": "width",
    "by-width": "width",
    "control-scales": "targets",
    "lead": "width",
}
"""Tables whose values stand beside one another by a column; how many trials each rests on is in the file."""

READING = """
<p>Each trial is one small transformer with parameters and seed of its own, drawn at random and independently of each other.
After the last step raw, EMA and BEMA weights of the same trajectory are measured on the same sequences at every length from
1 to v − 1, of a stream that training never drew from; short ones occur in training all the same, since there are few.
<b>Inside</b> means lengths up to the training length, <b>beyond</b> those above it.</p>
<ul>
<li><b>Averages are compared within a trial</b> (paired). <b>Dropout, norms and targets are compared between trials</b>: the
effect of a dropout site is its coefficient in a least-squares regression on everything that was drawn.</li>
<li><b>Errors and displacements are in powers of ten</b> (log10 of the mean over the region's lengths): −0.3 is half as much.
Misordered inputs and certified lengths are shares.</li>
<li><b>Intervals are over trials</b> (95 %; bootstrap-t of means, percentiles of the bootstrap otherwise): what other random
parameters and seeds would have changed. An end that is infinite, or beyond what a share can be, means that hardly any of the
trials differ: nothing can be said, and the check is open.</li>
<li><b>Raw, EMA scaled to BEMA</b>: those weights with all logits times the one number that gives them BEMA's mean displacement.
<b>Matched displacement</b>: the raw weights of each trial with logits times the number that makes the mean displacement at the
training length what an illegal mass of 1 % needs there. Scaling cannot change which inputs are misordered. BEMA is an EMA and a
correction: that it is better than scaled raw weights does not tell which of the two is, that it is better than EMA scaled
alike does (searches made before this was measured lack it).</li>
<li><b>Averages were drawn from wide ranges</b>, and a mean over all trials is one over those ranges. What an average does at a
given setting is in the table by how it was set.</li>
<li><b>Widths differ in whether they learn the task at all</b>, which the verdicts pool. The tables by width tell them apart;
their difference is the wide models' effect less the narrow ones'. Verdicts by width are judged as wide as those of all
trials, of which each width has half: more of their checks are open for that alone.</li>
<li><b>Scale-dependent</b> is said of a control without label noise whose answer is opposite for factors (log10, on which the
claims are judged) and for plain differences, each with its whole 95 % interval. Plain differences were added after the factors
had been seen.</li>
</ul>
"""


def study_page(
    tables: StudyTables,
    results: Mapping[str, pd.DataFrame],
    figures: Mapping[str, go.Figure],
    command: str,
) -> str:
    """The whole page as HTML; the same arguments give the same text.

    Args:
        tables: the search.
        results: its tables by name of the file: `claims`, and those of `EXPLORATORY`.
        figures: by name.
        command: the commands that make the search and this page again.
    """
    title, claims = f"Random hyperparameter search: set complement, v = {tables.space.vocab}", results["claims"]
    parts = [
        f"<p>Made by <code>{escape(command)}</code></p>",
        f"<h1>{escape(title)}</h1>",
        _what_was_done(tables),
        "<h2>In short</h2>",
        f"<ul>{''.join(f'<li>{sentence}</li>' for sentence in summary(claims, results['learned']))}</ul>",
        "<h2>Verdicts</h2>",
        _verdict_table(claims, scale_notes(results["control-scales"])),
        _comparisons_note(claims),
        "<h2>How to read the numbers</h2>",
        READING,
        "<h2>The numbers behind each verdict</h2>",
        *_checks(claims),
        "<h2>Exploratory tables</h2>",
        "<p>Their 95 % intervals are not widened for their number. Each is a file beside this page.</p>",
        *(_closed(name, heading, results) for name, heading in EXPLORATORY.items()),
        PRINTED_OPEN,
        "<h2>Figures</h2>",
        *html_figures(figures),
        "<h2>What was drawn</h2>",
        _space(tables),
        _versions(),
    ]
    return html_page(title, STYLE + VERDICT_STYLE, parts)


def _what_was_done(tables: StudyTables) -> str:
    diverged = len(tables.trials) - len(tables.finished)
    steps, drawn = tables.space.steps, tables.trials
    lengths = " or ".join(str(length) for length in sorted(drawn["train_length"].unique()))
    return (
        f"<p>{len(drawn):,} trials of {steps:,} steps each, trained on lengths up to {lengths} of {tables.space.vocab - 1}, "
        f"{(drawn['targets'] == 'hard').sum():,} on sampled next tokens and {(drawn['targets'] == 'soft').sum():,} on the "
        f"uniform target; measured on {tables.sequences:,} sequences each. {diverged or 'None'} of them diverged"
        f"{' and ' + ('is' if diverged == 1 else 'are') + ' left out of what follows' if diverged else ''}. Results hold for "
        "these small models, this number of steps, and a constant learning rate.</p>"
    )


def _verdict_table(claims: pd.DataFrame, notes: Mapping[str, str]) -> str:
    rows = []
    for (topic, statement), checks in claims.groupby(["topic", "statement"], sort=False):
        verdict = checks["verdict"].iloc[0]
        passes, opposed = (checks["passes"] == "passes").sum(), (checks["passes"] == "opposed").sum()
        words = f"{passes} of {len(checks)} checks pass" + (f", {opposed} show the opposite" if opposed else "")
        words += f"; {notes[str(statement)]}" if statement in notes else ""
        rows.append(
            f'<tr><td>{escape(str(topic))}</td><td class="words">{escape(str(statement))}</td>'
            f'<td class="verdict {verdict.replace(" ", "-")}">{verdict}</td><td>{words}</td></tr>'
        )
    head = "<tr><th>topic</th><th>claim</th><th>verdict</th><th>checks</th></tr>"
    return scrolling_table(head, "".join(rows))


def _comparisons_note(claims: pd.DataFrame) -> str:
    count = len(claims)
    each = 100 * (1 - (1 - CONFIDENCE) / count)
    words = (
        f"The verdicts rest on {count} checks of {claims['statement'].nunique()} claims. So that all of them hold at once with "
        f"95 % probability, each is judged by its {each:.2f} % interval (Bonferroni), the wide one below: it passes "
        "where the whole interval lies in what the claim predicts, shows the opposite where it lies wholly outside, else it is "
        "open. "
        "A claim is supported where all its checks pass, not supported where none does (which can mean too few trials), and "
        "mixed otherwise. That level is nominal: so far out in the tails intervals are approximations, and those of means of "
        "skewed differences miss more often (the project's findings say how often). Of the 95 % intervals of the exploratory "
        "tables one in twenty is expected to miss. "
        "What of an importance is chance is told by shuffling the outcomes over the trials, of which one in twenty exceeds "
        "<i>chance</i>. Averaging settings cannot matter to raw weights."
    )
    return f"<p><b>Multiple comparisons.</b> {words}</p>"


def _checks(claims: pd.DataFrame) -> list[str]:
    parts = []
    for statement, checks in claims.groupby("statement", sort=False):
        verdict = checks["verdict"].iloc[0]
        heading = f'{escape(str(statement))}: <span class="{verdict.replace(" ", "-")}">{verdict}</span>'
        shown = pd.DataFrame(
            {
                "check": checks["check"],
                "value": checks["value"].map(number),
                "95 % interval": _brackets(checks, "ci_low", "ci_high"),
                "wide interval": _brackets(checks, "wide_low", "wide_high"),
                "predicted": checks["predicted"],
                "result": checks["passes"].replace("opposed", "shows the opposite"),
                "trials": checks["trials"],
            }
        )
        parts.append(f"<h3>{heading}</h3>{html_table(shown, _text)}")
    return parts


def _brackets(frame: pd.DataFrame, low: str, high: str) -> list[str]:
    return [f"[{number(a)}, {number(b)}]" for a, b in zip(frame[low], frame[high], strict=True)]


def _closed(name: str, heading: str, results: Mapping[str, pd.DataFrame]) -> str:
    """A table that is closed at first."""
    table = results[name]
    if name == "claims-by-width":
        everywhere = pd.concat([results["claims"].assign(width="all widths"), table])
        table = everywhere[["statement", "width", "verdict"]].drop_duplicates().rename(columns={"verdict": "value"})
    shown = _with_intervals(table)
    if name in SIDE_BY_SIDE:
        shown = _side_by_side(shown, SIDE_BY_SIDE[name])
    words = f"{escape(heading)} ({len(shown):,} rows, {name}.csv)"
    return f'<details id="{name}"><summary>{words}</summary>{html_table(shown, _text)}</details>'


def _with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers with their intervals beside them, as text; outcomes in words."""
    shown = table.rename(columns={"ci_low": "value_low", "ci_high": "value_high"})
    if "outcome" in shown:
        shown["outcome"] = [OUTCOMES[name].label for name in shown["outcome"]]
    for name in [name for name in shown if f"{name}_low" in shown]:
        brackets = _brackets(shown, f"{name}_low", f"{name}_high")
        shown[name] = [f"{number(value)} {interval}" for value, interval in zip(shown[name], brackets, strict=True)]
        shown = shown.drop(columns=[f"{name}_low", f"{name}_high"])
    return shown


def _side_by_side(shown: pd.DataFrame, column: str) -> pd.DataFrame:
    """`value` by that column, in the order in which rows and columns come."""
    rows = [name for name in shown if name not in (column, "value", "trials")]
    wide = shown.set_index([*rows, column])["value"].unstack(column)
    order = pd.MultiIndex.from_frame(shown[rows]).unique() if len(rows) > 1 else shown[rows[0]].unique()
    named = {one: f"{column} {one}" for one in shown[column].unique() if not isinstance(one, str)}
    wide = wide.reindex(index=order, columns=shown[column].unique()).rename(columns=named)
    return wide.fillna("–").reset_index()


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _space(tables: StudyTables) -> str:
    def between(low: float, high: float, how: str = "log-uniform") -> str:
        return f"{low:g} to {high:g}, {how}"

    def one_of(values: Any) -> str:
        return ", ".join(map(str, values))

    said = {
        "width, of stream and head": one_of(tables.space.widths),
        "batch": one_of(BATCHES),
        "train length": one_of(tables.space.train_lengths),
        "norm": f"{one_of(NORMS)}; none twice as often",
        "dropout at each of three sites": f"off with probability 1/2, else {between(*DROPOUT)}",
        "learning rate": f"{between(*LEARNING_RATE)}; constant after {min(100, tables.space.steps // 10)} steps of warm-up",
        "weight decay": between(*WEIGHT_DECAY),
        "targets": f"uniform with probability {SOFT_SHARE:g}, else the sampled token",
        "EMA": f"constant, looking back {between(*tables.space.horizons)} steps; or power, kappa {between(*KAPPA, 'uniform')}",
        "BEMA's eta": between(*ETA, "uniform"),
        "model": "one layer, one head, attention only, no positions",
    }
    return html_table(pd.DataFrame({"parameter": list(said), "drawn from": list(said.values())}), _text)


def _versions() -> str:
    return f"<p>{escape('; '.join(f'{name} {version(name)}' for name in (*PACKAGES, 'optuna')))}.</p>"
