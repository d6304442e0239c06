"""Members for the tests of the fleet: small models with all that may differ between members."""

from workbench.config_options import config_from_options
from workbench.training_config import TrainingConfig

FOLDED = {
    "v x v tables": {},
    "v x v tables, heads": {"heads": 2, "head_width": 5},
    "branch norm": {"norm": "branch"},
    "branch and final norm": {"norm": "branch", "final_norm": True},
    "pre norm": {"norm": "pre", "final_norm": True},
    "post norm": {"final_norm": True},
}
"""Shapes that the folded path takes."""

STACKED = {
    "layers": {"layers": 2, "norm": "branch"},
    "positions": {"positions": "learned"},
    "mlp": {"layers": 2, "heads": 2, "mlp_width": 12, "norm": "pre", "final_norm": True},
}
"""Shapes that it does not."""


def member(**options) -> TrainingConfig:
    """A small set-complement run of 50 steps."""
    small = {"vocab": 7, "width": 8, "head_width": 8, "batch": 12, "train_length": 4, "steps": 50, "warmup": 5}
    return config_from_options("set-complement", small | options)


def various(count: int, sites: tuple[str, ...] = (), **options) -> list[TrainingConfig]:
    """Members that differ in everything that members may differ in; they drop at `sites`, at rates of their own, some at 0."""
    return [
        member(
            **options,
            **{f"dropout_{site}": (0.0, 0.1, 0.45)[(i + k) % 3] for k, site in enumerate(sites)},
            seed=1000 * i,
            targets=("hard", "soft")[i % 2],
            learning_rate=1e-3 * (1 + i % 4),
            warmup=5 * (i % 3),
            schedule=("constant", "cosine")[i % 3 == 1],
            weight_decay=0.1 * (i % 5),
            beta1=0.9 - 0.1 * (i % 2),
            beta2=0.99 + 0.005 * (i % 2),
            gradient_clip=(1.0, 0.05)[i % 4 == 3],
            averaging_schedule=("constant", "power")[i % 2],
            averaging_decay=0.9,
            averaging_kappa=0.4,
            averaging_eta=0.2 + 0.1 * (i % 3),
        )
        for i in range(count)
    ]
