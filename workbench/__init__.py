"""What a user does: load, train, evaluate, compare, ablate, draw.

    from workbench import load, compare
    model = load("set-complement-v32-none-seed0", weights="ema")   # a HookedTransformer in eval mode
    table = compare(["set-complement-v32-none-seed0", "runs/mine"])

Names are imported when first used, so that `import workbench` costs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from workbench.shadowing import refuse_shadowed_packages

if TYPE_CHECKING:
    from models.config import TaskConfig
    from models.hooked import load
    from models.tasks import make_task
    from probes.certificate import certify
    from workbench.ablation import ablate
    from workbench.comparison import compare
    from workbench.evaluation import evaluate
    from workbench.patching import patch
    from workbench.training import train

refuse_shadowed_packages()

_HOMES = {
    "TaskConfig": "models.config",
    "ablate": "workbench.ablation",
    "load": "models.hooked",
    "make_task": "models.tasks",
    "certify": "probes.certificate",
    "compare": "workbench.comparison",
    "evaluate": "workbench.evaluation",
    "patch": "workbench.patching",
    "train": "workbench.training",
}
__all__ = ["ablate", "certify", "compare", "evaluate", "load", "make_task", "patch", "train", "TaskConfig"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"workbench has no '{name}'; it has {', '.join(__all__)} and its submodules")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
