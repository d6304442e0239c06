"""`workbench study`: from a finished search to claims with intervals, figures and a report."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import Formats, folder_option


def study(
    storage: Annotated[
        str,
        typer.Argument(
            help="Of a finished search: sqlite:///FILE, postgresql+psycopg://... or a bundled one, set-complement-v16."
        ),
    ],
    out: Annotated[Path, folder_option("Where each search gets a folder: report, tables, figures.")] = Path("studies"),
    formats: Formats = "html,pdf,svg,png",
) -> None:
    """Turn a finished search into claims with intervals: supported, not supported or mixed, with tables, figures, a report."""
    import pandas as pd

    from workbench.study_report import write_study

    for report in write_study(storage, out, formats.split(","), progress=True):
        claims = pd.read_csv(report.parent / "claims.csv").drop_duplicates("statement")
        for verdict, statement in zip(claims["verdict"], claims["statement"], strict=True):
            typer.echo(f"{verdict:>13}: {statement}")
        typer.echo(f"wrote {report}")
