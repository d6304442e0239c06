"""Which hooks a user has put on a hooked model: what its weights alone do not show."""

from torch import nn

from models.hooked import HookedTransformer


def users_hooks(model: HookedTransformer) -> list[str]:
    """Names of the hook points and modules that carry a hook, each once; those of TransformerLens 4 itself do not count."""
    points: dict[nn.Module, str] = {}
    for name, point in model.hook_dict.items():  # on 4.x a point has several names
        points.setdefault(point, name)
    at_points = [name for point, name in points.items() if point.fwd_hooks or point.bwd_hooks]
    on_modules = [
        name
        for name, module in model.named_modules()
        if module not in points
        and any(_is_users(hook) for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()))
    ]
    return at_points + on_modules


def _is_users(hook: object) -> bool:
    return not str(getattr(hook, "__module__", "")).startswith("transformer_lens")
