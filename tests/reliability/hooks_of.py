"""What hangs on a model: the oracle of the tests that a call leaves its hooks as they were."""

from models.hooked import HookedTransformer


def hooks_of(model: HookedTransformer) -> dict[str, list[int]]:
    """What hangs on every module, ours, the user's, torch's and TransformerLens's alike, by identity and in order."""
    of_torch = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    listed = ("fwd_hooks", "bwd_hooks")  # by which TransformerLens finds its own again, to take them off
    return {
        f"{name} {kind}": [id(one) for one in (hooks.values() if kind in of_torch else hooks)]
        for name, module in model.named_modules()
        for kind in of_torch + listed
        if (hooks := getattr(module, kind, None))
    }
