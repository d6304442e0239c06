"""Which models the set-complement probes accept, and the float64 copy they run.

The minimal model is one attention-only layer without positions or norms. There the logits are a closed formula of the weights
(`probes/logit_tables.py`), so that what is read from the weights is exact. Every other model is refused here, in one sentence.
"""

import copy

import numpy as np
import torch
from jaxtyping import Float64, Int64

from models.hooked import HookedTransformer, plain_state
from models.hooked.users_hooks import users_hooks
from models.importers import BOARD_OF_VOCAB
from probes.residual_stream import require_eval

IntTokens = Int64[np.ndarray, "batch position"]


def require_set_complement(model: HookedTransformer) -> None:
    """Raises ValueError for a model in training mode, and for one whose card says it was trained on another task.

    Any architecture passes; a model without a card is taken at its word, but for one of the vocabulary of an Othello board with
    learned positions, which the set complement has no use for.
    """
    require_eval(model)
    card = getattr(model, "card", None)
    if card is not None and card.task.name != "set-complement":
        raise ValueError(
            f"the checkpoint was trained on {card.task.name}, and this probe reads set-complement models; choose a "
            "set-complement checkpoint"
        )
    if card is None and model.cfg.d_vocab in BOARD_OF_VOCAB and bool(model.W_pos.detach().any()):
        raise ValueError(
            f"the model has no card, {model.cfg.d_vocab} tokens and learned positions, so it looks like an OthelloGPT, and "
            "this probe reads set-complement models; choose one of those"
        )


def require_minimal(model: HookedTransformer, one_head: bool = True) -> None:
    """Raises ValueError naming the first thing that keeps the logits from being the closed formula of the weights.

    Accepted: eval mode, one layer, attention only, zero position embedding, no norm anywhere, no hook in place, finite weights;
    and one head, unless `one_head` is False.
    """
    require_set_complement(model)
    config = model.cfg
    _require(config.n_layers == 1, f"{config.n_layers} layers", "one layer")
    _require(config.n_heads == 1 or not one_head, f"{config.n_heads} heads", "one head")
    _require(config.attn_only, f"an MLP of {config.d_mlp} neurons", "attention only")
    kind = config.positional_embedding_type
    _require(kind == "standard", f"{kind} positions", "no positions")
    positions = float(model.W_pos.detach().abs().max())
    _require(positions == 0, f"position embeddings up to {positions:.3g}", "no positions")
    norms = [name.removesuffix(".hook_normalized") for name in model.hook_dict if name.endswith("hook_normalized")]
    _require(not norms, f"a norm at {', '.join(norms)}", "no norm")
    hooked = users_hooks(model)
    if hooked:
        raise ValueError(
            f"the model carries a hook at {', '.join(hooked)}, which its weights do not show; leave the intervention or "
            "take the hook off first, by model.reset_hooks() or by its handle"
        )
    for name, weight in plain_state(model).items():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{name} holds a weight that is not finite, expected finite weights; use an earlier checkpoint")


def is_minimal(model: HookedTransformer) -> bool:
    """Whether `require_minimal` accepts the model: whether the tables, the certificate and the identity exist for it."""
    try:
        require_minimal(model)
    except ValueError:
        return False
    return True


def _require(fits: bool, found: str, expected: str) -> None:
    if not fits:
        raise ValueError(
            f"the model has {found}, and this probe is exact only for {expected}; use a set-complement model with one layer, "
            "one head, no MLP, no positions and no norm"
        )


def float64_copy(model: HookedTransformer) -> HookedTransformer:
    """A copy of the model on the CPU in float64; the model itself is left as it is."""
    return copy.deepcopy(model).to("cpu", print_details=False).to(torch.float64, print_details=False)


def logits_at_all_positions(model: HookedTransformer, tokens: IntTokens) -> Float64[np.ndarray, "batch position vocab"]:
    """What the model itself computes for token sequences, run in the dtype it has."""
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens).to(model.W_E.device))
    return logits.double().cpu().numpy()
