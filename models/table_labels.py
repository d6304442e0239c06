"""How tables name a model: the columns that stand beside every number."""

from typing import Any

from models.checkpoint import Card
from models.config import AveragingConfig, ModelConfig, WeightsName
from models.task import Task


def labels(card: Card | None, task: Task, weights: WeightsName) -> dict[str, Any]:
    """What tables say of a model beside its numbers; None for what is unknown of a model without a card."""
    return {
        "checkpoint": card.name if card else "model",
        "task": task.name,
        "vocab": task.vocab,
        "shape": shape_label(card.model) if card else None,
        "train_length": card.train_length if card else None,
        "dropout": card.model.dropout.label if card else None,
        "weights": weights,
        "averaging": averaging_label(card.averaging) if card and card.averaging and weights != "raw" else None,
        "seed": card.seed if card else None,
        "step": card.step if card else None,
    }


def shape_label(config: ModelConfig) -> str:
    """How tables name a model's shape: `1 layer, 1 head, width 64, attention-only, positions none, norm none`."""

    def plural(count: int, noun: str) -> str:
        return f"{count} {noun}{'s' if count != 1 else ''}"

    equal_split = config.heads * config.head_width == config.width
    return ", ".join(
        (
            plural(config.layers, "layer"),
            plural(config.heads, "head"),
            f"width {config.width}" + ("" if equal_split else f" ({config.head_width} a head)"),
            f"MLP {config.mlp_width}" if config.mlp_width else "attention-only",
            f"positions {config.positions}",
            f"norm {config.norm}" + (" + final" if config.final_norm else ""),
        )
    )


def averaging_label(config: AveragingConfig) -> str:
    """How tables name the averaging of ema and bema: `constant 0.999, eta 0.2` or `power 0.5, eta 0.2`; lag where not 10."""
    strength = config.decay if config.schedule == "constant" else config.kappa
    lag = "" if config.lag == 10 else f", lag {config.lag:g}"
    return f"{config.schedule} {strength:g}, eta {config.eta:g}{lag}"
