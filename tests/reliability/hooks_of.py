"""What hangs on a model: the oracle of the tests that a call leaves its hooks as they were."""

from models.hooked import HookedTransformer


def hooks_of(model: HookedTransformer) -> dict[str, list[int]]:
    """What hangs on every module, ours, the user's, torch's and TransformerLens's alike, by identity and in order."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        f"{name} {kind}": [id(one) for one in getattr(module, kind).values()]
        for name, module in model.named_modules()
        for kind in kinds
        if getattr(module, kind)
    }
