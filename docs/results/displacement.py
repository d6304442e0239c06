"""Writes `displacement.csv`: the 2/s law, structure and certificate of every bundled set-complement model, a row each.

That is what `workbench probe displacement NAME --weights W` and `workbench certify NAME --weights W` print.

    python docs/results/displacement.py
"""

import sys
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from models.checkpoint import bundled_names, find_checkpoint, read_card
from models.config import WeightsName
from models.hooked import load
from probes.balance import balance
from probes.certificate import certify
from probes.displacement_structure import displacement_structure
from probes.logit_displacement import power_law, token_displacement
from probes.two_token_identity import two_token_identity


def row(name: str, weights: WeightsName) -> dict[str, str | float | int]:
    """What is written of one set of weights: logits, but for the slope, the shares and the residuals, which are relative."""
    model = load(name, weights)
    fit, certificate, structure = power_law(token_displacement(model)).iloc[0], certify(model), displacement_structure(model)
    return {
        "checkpoint": name,
        "weights": weights,
        "slope": fit["slope"],
        "slope_low": fit["ci_low"],
        "slope_high": fit["ci_high"],
        "not_positive": fit["not_positive"],
        "certified_lengths": certificate.certified_lengths,
        "lengths": len(certificate.lengths),
        "precision": balance(model)["margin"].min(),
        "gamma_min": structure["gamma"].min(),
        "gamma_max": structure["gamma"].max(),
        "b_min": structure["b"].min(),
        "b_max": structure["b"].max(),
        "residual_max": structure["relative_residual"].max(),
        "identity_residual": two_token_identity(model)["residual"].max(),
    }


def main() -> None:
    """Measures them all, and writes."""
    cards = {name: read_card(find_checkpoint(name)) for name in bundled_names()}
    wanted = [(name, weights) for name, card in cards.items() if card.task.name == "set-complement" for weights in card.weights]
    frame = pd.DataFrame([row(*one) for one in tqdm(wanted)])
    frame.to_csv(Path(__file__).with_suffix(".csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
