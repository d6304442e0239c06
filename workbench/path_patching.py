"""Path patching: what one head tells another, along the residual stream and no other way.

For each head before a receiver: its output on the corrupt sequence is put in, but only the receiver hears of it, through the
residual stream directly; every other head and MLP keeps what it did on the clean sequence. What the receiver then says goes on
as usual. Source of the method: Wang et al. 2022 (arXiv 2211.00593) and Goldowsky-Dill et al. 2023 (arXiv 2304.05969), here with
the MLPs between the two held as well, so that the path is the direct one. Since all between is held, what the receiver hears is
the clean stream plus the change in what the sender's layer writes: no forward pass is needed to find it.
"""

from collections.abc import Collection
from typing import Literal, SupportsIndex, get_args

import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from models.hooked import HookedTransformer
from models.hooked.own_hooks import keeping
from models.hooked.users_hooks import users_hooks
from workbench.components import Site, as_indices, replacing
from workbench.patching import Measure, effects, measured, require_pairs

Input = Literal["query", "key", "value"]
INPUTS: tuple[Input, ...] = get_args(Input)
_LETTER: dict[Input, str] = {"query": "Q", "key": "K", "value": "V"}

Receiver = tuple[int, int] | Literal["logits"]
Stream = Float[Tensor, "batch position width"]
Cache = dict[str, Tensor]


def path_patch(
    model: HookedTransformer,
    clean: Int64[Tensor, "batch position"],
    corrupt: Int64[Tensor, "batch position"],
    receiver: tuple[SupportsIndex, SupportsIndex] | Literal["logits"],
    metric: Measure,
    into: Collection[Input] = INPUTS,
) -> pd.DataFrame:
    """The metric of clean runs in which a receiver hears one earlier head at a time as it was on the corrupt sequence.

    Args:
        model: hooked, in eval mode, without a hook of yours: what a head writes is worked out from its weights.
        clean: sequences.
        corrupt: as many of the same length.
        receiver: (layer, head), or `logits` for what each head says to the unembedding directly.
        metric: logits to one number for each sequence, such as `patching.metric_at(task, clean, "illegal_mass")`.
        into: which inputs of the receiving head hear it; of no use to `logits`.

    Returns:
        Tidy, one row a sender: `layer`, `head`, `clean` and `corrupt` (means of the metric without a patch), `value` (of the
        clean run with the path patched), `difference` = value - clean with its 95 % interval `difference_low` ..
        `difference_high` over sequences, `share` = difference / (corrupt - clean), 1 where that path carries all; `sequences`.

    Raises:
        ValueError: a receiver that does not exist or has no head before it; an unknown or no input; clean and corrupt that are
            no pairs; a metric of another shape; a model in training mode, or with a hook on it.
    """
    require_pairs(model, clean, corrupt)
    hooked = users_hooks(model)
    if hooked:
        raise ValueError(
            f"the model has hooks, at {', '.join(hooked)}, which a path worked out from its weights would pass by; remove them "
            "(model.reset_hooks() those of add_hook, their handle those of PyTorch), or close the ablation that is open"
        )
    hearer = _receiver(model, receiver)
    unknown = [name for name in into if name not in INPUTS]
    if unknown or not into:
        raise ValueError(f"input '{unknown[0] if unknown else ''}' is unknown; choose from {', '.join(INPUTS)}")
    with torch.no_grad():
        logits, cache = _run(model, clean)
        corrupt_logits, corrupt_cache = _run(model, corrupt)
        values, senders = [], []
        for layer in range(model.cfg.n_layers if hearer == "logits" else hearer[0]):
            for head in range(model.cfg.n_heads):
                heard = _into(model, cache, hearer) + _change(model, cache, corrupt_cache, layer, head)
                patched = _logits_of(model, heard) if hearer == "logits" else _received(model, cache, heard, hearer, into)
                values.append(measured(metric, patched))
                senders.append((layer, head))
        before, after = measured(metric, logits), measured(metric, corrupt_logits)
    frame = effects(rearrange(values, "cell batch -> batch cell"), before, after)
    frame = frame.rename(columns={"base": "clean", "source": "corrupt"})
    return pd.concat([pd.DataFrame(senders, columns=["layer", "head"]), frame], axis=1)


def _receiver(model: HookedTransformer, given: object) -> Receiver:
    if isinstance(given, str) and given == "logits":
        return "logits"
    try:
        layer, head = as_indices(given, "receiver")
        if 0 < layer < model.cfg.n_layers and 0 <= head < model.cfg.n_heads:
            return layer, head
    except ValueError:
        pass
    raise ValueError(
        f"receiver {given!r} cannot hear a head: expected (layer, head) in layers 1 .. {model.cfg.n_layers - 1} and heads "
        f"0 .. {model.cfg.n_heads - 1}; give one of these, or 'logits'"
    )


def _run(model: HookedTransformer, tokens: Int64[Tensor, "batch position"]) -> tuple[Tensor, Cache]:
    wanted = [name for name in model.hook_dict if name.endswith(("attn.hook_z", "hook_attn_out", "hook_resid_post"))]
    with keeping(model, wanted) as cache:
        return model(tokens.to(model.cfg.device)), cache


def _into(model: HookedTransformer, cache: Cache, receiver: Receiver) -> Stream:
    """The clean stream that the receiver reads."""
    layer = model.cfg.n_layers if receiver == "logits" else receiver[0]
    return cache[f"blocks.{layer - 1}.hook_resid_post"]


def _change(model: HookedTransformer, clean: Cache, corrupt: Cache, layer: int, head: int) -> Stream:
    """What the sender's layer writes with one head as on the corrupt sequence, minus what it wrote."""
    point, block = f"blocks.{layer}.attn.hook_z", model.blocks[layer]
    z = Site(point, ("position", "head", "head_width"), {"head": (head,)}).put(clean[point], corrupt[point])
    written = einsum(z, model.W_O[layer], "batch position head d, head d width -> batch position width") + model.b_O[layer]
    return (block.ln1_post(written) if hasattr(block, "ln1_post") else written) - clean[f"blocks.{layer}.hook_attn_out"]


def _logits_of(model: HookedTransformer, stream: Stream) -> Float[Tensor, "batch position vocab"]:
    return model.unembed(model.ln_final(stream))  # TransformerLens 4 cannot start behind the last layer


def _received(
    model: HookedTransformer, cache: Cache, heard: Stream, receiver: tuple[int, int], into: Collection[Input]
) -> Float[Tensor, "batch position vocab"]:
    layer, head = receiver
    block = model.blocks[layer]
    normed = block.ln1(heard)
    sites, values = [], {}
    for name in into:
        letter = _LETTER[name]
        site = Site(f"blocks.{layer}.attn.hook_{letter.lower()}", ("position", "head", "head_width"), {"head": (head,)})
        weight, bias = getattr(block.attn, f"W_{letter}"), getattr(block.attn, f"b_{letter}")
        values[site.point] = einsum(normed, weight, "batch position width, head width d -> batch position head d") + bias
        sites.append(site)
    with replacing(model, sites, lambda point, value: values[point]):
        return model(cache[f"blocks.{layer - 1}.hook_resid_post"], start_at_layer=layer)
