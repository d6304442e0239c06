"""What a probe reports beyond one frame: every table and figure by the name of its file, of one model.

For: `workbench probe`, which writes all of it, and `workbench/paper_figures.py`, which prints some of the figures.
"""

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from probes import dispersion, logit_displacement
from probes.balance import balance
from probes.displacement_structure import displacement_structure
from probes.logit_tables import logit_tables
from probes.minimal_model import is_minimal
from probes.residual_stream import Model
from probes.subject import subject
from probes.two_token_identity import two_token_identity
from workbench.evaluation import evaluate
from workbench.figures import board_state as draw_board
from workbench.figures import dispersion as draw_dispersion
from workbench.figures import displacement as draw_displacement
from workbench.figures.added_token import added_token as draw_added_token
from workbench.figures.balance import balance as draw_balance


class ProbeReport(NamedTuple):
    """Both by the names of their files."""

    tables: dict[str, pd.DataFrame]
    figures: dict[str, go.Figure]


def displacement_report(
    model: Model, sequences: int = logit_displacement.SEQUENCES, seed: int = 0, progress: bool = False
) -> ProbeReport:
    """Displacement, the 2/s law, what one token adds, and balance; of a minimal model also its tables, structure and identity.

    `model` is one of the set complement in eval mode; arguments and errors are those of `logit_displacement.displacement`, and
    `balance` refuses a context of a single token.
    """
    balanced = balance(model)
    by_length = logit_displacement.displacement(model, sequences, seed, progress=progress)
    tokens = logit_displacement.token_displacement(model, sequences, seed, progress=progress)
    fit = logit_displacement.power_law(tokens)
    added = logit_displacement.added_token(model, None, sequences, seed, progress=progress)
    tables = {"displacement": by_length, "token-displacement": tokens, "power-law": fit}
    tables |= {"added-token": added, "balance": balanced}
    figures = {
        "displacement-by-length": draw_displacement.displacement_by_length(by_length, fit),
        "added-token": draw_added_token(added),
        "balance": draw_balance(balanced),
    }
    if is_minimal(model):
        of_weights, structure = logit_tables(model).frame(), displacement_structure(model)
        identity = two_token_identity(model, seed=seed)
        tables |= {"logit-tables": of_weights, "structure": structure, "two-token-identity": identity}
        figures |= draw_displacement.table_figures(of_weights, structure, identity)
    return ProbeReport(tables, figures)


def dispersion_report(
    model: Model, sequences: int = dispersion.SEQUENCES, seed: int = 0, progress: bool = False
) -> ProbeReport:
    """Dispersion by layer, head and length, and what goes with it: the evaluation and, in the set complement, displacement.

    `model` is in eval mode and has a card; arguments and errors are those of `probes.dispersion.dispersion`.
    """
    frame = dispersion.dispersion(model, sequences=sequences, seed=seed, progress=progress)
    evaluation = evaluate(model, sequences=sequences, seed=seed, progress=progress)
    of_sets = subject(model).task.name == "set-complement"
    pushed = logit_displacement.displacement(model, seed=seed) if of_sets else None
    figures = {
        "dispersion-by-length": draw_dispersion.dispersion_by_length(frame),
        "dispersion-and-errors": draw_dispersion.dispersion_and_errors(frame, evaluation, pushed),
        "dispersion-by-head": draw_dispersion.dispersion_by_head(frame, int(frame["length"].max())),
    }
    return ProbeReport({"dispersion": frame, "evaluation": evaluation}, figures)


def board_figures(frame: pd.DataFrame) -> dict[str, go.Figure]:
    """The figures, by name, of a frame of `probes.board_state.board_state`."""
    return {
        "board-by-layer": draw_board.board_by_layer(frame),
        "board-by-layer-and-length": draw_board.board_by_layer_and_length(frame),
        "board-by-square": draw_board.board_by_square(frame),
    }
