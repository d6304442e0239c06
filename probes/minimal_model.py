"""Which models the set-complement probes accept, and the float64 copy they run.

The minimal model is one attention-only layer without positions or norms. There the logits are a closed formula of the weights
(`probes/logit_tables.py`), so that what is read from the weights is exact. Every other model is refused here, in one sentence.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64, Int64

from models.hooked import HookedTransformer, plain_state
from models.hooked.users_hooks import users_hooks
from models.importers import BOARD_OF_VOCAB
from models.transformer import Transformer
from probes.residual_stream import Model, device_of, require_eval, vocab_of

IntTokens = Int64[np.ndarray, "batch position"]


def require_set_complement(model: Model) -> None:
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
    if card is None and vocab_of(model) in BOARD_OF_VOCAB and _largest_position(model) > 0:
        raise ValueError(
            f"the model has no card, {vocab_of(model)} tokens and learned positions, so it looks like an OthelloGPT, and "
            "this probe reads set-complement models; choose one of those"
        )


def require_minimal(model: Model, one_head: bool = True) -> None:
    """Raises ValueError naming the first thing that keeps the logits from being the closed formula of the weights.

    Accepted: eval mode, one layer, attention only, zero position embedding, no norm anywhere, no hook in place, finite weights;
    and one head, unless `one_head` is False.
    """
    require_set_complement(model)
    for found, expected in _beyond_minimal_plain(model) if isinstance(model, Transformer) else _beyond_minimal(model):
        if expected != "one head" or one_head:
            raise ValueError(
                f"the model has {found}, and this probe is exact only for {expected}; use a set-complement model with one "
                "layer, one head, no MLP, no positions and no norm"
            )
    hooked = users_hooks(model)
    if hooked:
        raise ValueError(
            f"the model carries a hook at {', '.join(hooked)}, which its weights do not show; leave the intervention or "
            "take the hook off first, by model.reset_hooks() or by its handle"
        )
    for name, weight in plain_state(model).items():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{name} holds a weight that is not finite, expected finite weights; use an earlier checkpoint")


def is_minimal(model: Model) -> bool:
    """Whether `require_minimal` accepts the model: whether the tables, the certificate and the identity exist for it."""
    try:
        require_minimal(model)
    except ValueError:
        return False
    return True


def _beyond_minimal_plain(model: Transformer) -> Iterator[tuple[str, str]]:
    """What the shape has, and what was expected, where the two differ."""
    shape, positions = model.config, _largest_position(model)
    if shape.layers != 1:
        yield f"{shape.layers} layers", "one layer"
    if shape.heads != 1:
        yield f"{shape.heads} heads", "one head"
    if shape.mlp_width:
        yield f"an MLP of {shape.mlp_width} neurons", "attention only"
    if positions:
        yield f"position embeddings up to {positions:.3g}", "no positions"
    if shape.norm != "none" or shape.final_norm:
        yield "a norm", "no norm"


def _beyond_minimal(model: HookedTransformer) -> Iterator[tuple[str, str]]:
    """As `_beyond_minimal_plain`, of a model that TransformerLens may have made from another one than ours."""
    config = model.cfg
    if config.n_layers != 1:
        yield f"{config.n_layers} layers", "one layer"
    if config.n_heads != 1:
        yield f"{config.n_heads} heads", "one head"
    if not config.attn_only:
        yield f"an MLP of {config.d_mlp} neurons", "attention only"
    kind = config.positional_embedding_type
    if kind != "standard":
        yield f"{kind} positions", "no positions"
    elif positions := _largest_position(model):
        yield f"position embeddings up to {positions:.3g}", "no positions"
    norms = [name.removesuffix(".hook_normalized") for name in model.hook_dict if name.endswith("hook_normalized")]
    if norms:
        yield f"a norm at {', '.join(norms)}", "no norm"


def _largest_position(model: Model) -> float:
    return 0.0 if model.pos_embed is None else float(model.pos_embed.W_pos.detach().abs().max())


def float64_copy(model: Model) -> Model:
    """A copy of the model on the CPU in float64; the model itself is left as it is."""
    if isinstance(model, Transformer):
        return copy.deepcopy(model).to("cpu", torch.float64)
    return copy.deepcopy(model).to("cpu", print_details=False).to(torch.float64, print_details=False)


def logits_at_all_positions(model: Model, tokens: IntTokens) -> Float64[np.ndarray, "batch position vocab"]:
    """What the model itself computes for token sequences, run in the dtype it has."""
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens).to(device_of(model)))
    return logits.double().cpu().numpy()
