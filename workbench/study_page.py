"""The report of a study as one HTML page that opens without a network: verdicts, numbers, figures, provenance.

A pure function of tables and figures. Every number that a verdict rests on stands beside its intervals.
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

VERDICT_STYLE = """
.verdict { font-weight: 600; white-space: nowrap; } .supported { color: #00684c; } .mixed { color: #8a5a00; }
.not-supported { color: #a33b00; } td.words { white-space: normal; min-width: 44ch; }
"""

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
parameters and seeds would have changed.</li>
<li><b>Raw, EMA scaled to BEMA</b>: those weights with all logits times the one number that gives them BEMA's mean displacement.
<b>Matched displacement</b>: the raw weights of each trial with logits times the number that makes the mean displacement at the
training length what an illegal mass of 1 % needs there. Scaling cannot change which inputs are misordered. BEMA is an EMA and a
correction: that it is better than scaled raw weights does not tell which of the two is, that it is better than EMA scaled
alike does (searches made before this was measured lack it).</li>
<li><b>Averages were drawn from wide ranges</b>, and a mean over all trials is one over those ranges. What an average does at a
given setting is in the table by how it was set.</li>
</ul>
"""


def study_page(
    tables: StudyTables,
    claims: pd.DataFrame,
    results: Mapping[str, pd.DataFrame],
    figures: Mapping[str, go.Figure],
    command: str,
) -> str:
    """The whole page as HTML; the same arguments give the same text.

    Args:
        tables: the search.
        claims: `study_claims.claim_table`.
        results: further tables by heading, each with `value`, `ci_low` and `ci_high`, or those of `best_table`.
        figures: by name.
        command: the commands that make the search and this page again.
    """
    title = f"Random hyperparameter search: set complement, v = {tables.space.vocab}"
    parts = [
        f"<p>Made by <code>{escape(command)}</code></p>",
        f"<h1>{escape(title)}</h1>",
        _in_short(tables),
        "<h2>Verdicts</h2>",
        _verdict_table(claims),
        _comparisons_note(claims),
        "<h2>How to read the numbers</h2>",
        READING,
        "<h2>The numbers behind each verdict</h2>",
        *_checks(claims),
        *(f"<h2>{escape(name)}</h2>{_table(table)}" for name, table in results.items()),
        "<h2>Figures</h2>",
        *html_figures(figures),
        "<h2>What was drawn</h2>",
        _space(tables),
        _versions(),
    ]
    return html_page(title, STYLE + VERDICT_STYLE, parts)


def _in_short(tables: StudyTables) -> str:
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


def _verdict_table(claims: pd.DataFrame) -> str:
    rows = []
    for (topic, statement), checks in claims.groupby(["topic", "statement"], sort=False):
        verdict = checks["verdict"].iloc[0]
        passes, opposed = (checks["passes"] == "passes").sum(), (checks["passes"] == "opposed").sum()
        words = f"{passes} of {len(checks)} checks pass" + (f", {opposed} show the opposite" if opposed else "")
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
        "skewed differences miss more often (the project's findings say how often). The tables further down are exploratory: "
        "of their 95 % intervals one in twenty is expected to miss. "
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


def _table(table: pd.DataFrame) -> str:
    """Numbers with their intervals beside them; outcomes in words."""
    shown = table.copy()
    if "outcome" in shown:
        shown["outcome"] = [OUTCOMES[name].label for name in shown["outcome"]]
    for name, low, high in (
        ("value", "ci_low", "ci_high"),
        *((n, f"{n}_low", f"{n}_high") for n in ("with", "without", "difference")),
    ):
        if name in shown and low in shown:
            shown[name] = [f"{number(v)} {b}" for v, b in zip(shown[name], _brackets(shown, low, high), strict=True)]
            shown = shown.drop(columns=[low, high])
    return html_table(shown, _text)


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
