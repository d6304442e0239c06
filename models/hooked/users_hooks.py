"""Which hooks a user has put on a model: what its weights alone do not show."""

from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from models.hooked import HookedTransformer
from models.transformer import Transformer

_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_EVERYWHERE = "every module (PyTorch's global hooks)"


def users_hooks(model: Transformer | HookedTransformer) -> list[str]:
    """Names of the hook points and modules that carry a hook, each once, whether TransformerLens or PyTorch put it there.

    A hook point goes by its 3.x name where it has one. An open ablation or edit counts; the hooks that TransformerLens 4 puts
    on its own modules at the first pass, and that change nothing, do not.
    """
    named = {} if isinstance(model, Transformer) else model.hook_dict
    points: dict[nn.Module, str] = {point: name for name, point in named.items()}  # 4.x has the 3.x names last
    hooked = [
        points.get(module, name or "the model itself")
        for name, module in model.named_modules()
        if any(_is_users(hook) for kind in _KINDS for hook in getattr(module, kind).values())
    ]
    return [*hooked, _EVERYWHERE] if _has_any_global_hook() else hooked


def _is_users(hook: object) -> bool:
    # what add_hook puts round a user's function is defined in transformer_lens.hook_points, so it counts
    return not str(getattr(hook, "__module__", "")).startswith("transformer_lens.model_bridge")
