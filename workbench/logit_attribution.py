"""Direct logit attribution: how much each component adds, by itself, to legal minus illegal logits.

The residual stream is a sum of what embedding, heads, MLPs and biases write, and the unembedding is linear, so the difference
between the mean logit of legal and of illegal tokens is a sum of their parts, exactly: LayerNorms are taken with the scale they
have in the pass (nostalgebraist 2020, "interpreting GPT: the logit lens"; Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits"). It says what a component writes, not what would happen without it (`ablation_map.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.config import WeightsName
from models.hooked import HookedTransformer
from models.hooked.own_hooks import keeping
from models.lengths import chosen_lengths
from models.task import Task
from models.token_input import require_legal
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import drawn_sequences
from probes.residual_stream import require_input
from probes.subject import Address, subject

SEQUENCES = 500
BATCH = 32

Component = tuple[str, int | None, int | None]
"""Its kind (`embedding`, `positions`, `head`, `attention bias`, `mlp`, `bias`; `total` for their sum), layer and head."""
Stream = Float[Tensor, "batch position width"]
_POINTS = ("hook_embed", "hook_pos_embed", "hook_z", "hook_mlp_out", "hook_scale")


def logit_attribution(
    model: Address,
    task: Task | None = None,
    lengths: Sequence[int] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """What each component adds to (mean legal logit - mean illegal logit), by length.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        task: the task; None for the one on the card.
        lengths: the lengths to report; None for all.
        sequences: how many sequences; memory does not depend on it.
        seed: which sequences, in 0 .. 2**32 - 1.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass; no effect on the results but for rounding.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `component`, `layer`, `head` (missing where there is none), `length`, `metric`
        ("legal_minus_illegal", in logits), `value`, `ci_low`, `ci_high` (over sequences) and `sequences` (those with a legal
        next token at that length). Components: `embedding`, `positions`, `head`, `attention bias` (b_O), `mlp`, `bias` (b_U and
        the bias of the final LayerNorm); `total` is their sum, the model's own logits.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary; lengths, sequences or seed out of range.
        CheckpointError: nothing to load there.
    """
    studied = subject(model, task, weights, device, hooked=True)
    hooked = studied.model
    assert isinstance(hooked, HookedTransformer)
    chosen = chosen_lengths(studied.possible_lengths, lengths)
    at = torch.tensor(chosen) - 1
    components: list[Component] = []
    means: ClusteredMeans | None = None
    for drawn in drawn_sequences(studied, sequences, seed, batch, progress, "logit attribution"):
        tokens = drawn.tokens[:, : chosen[-1]]
        legal = studied.task.legal(tokens.cpu()).to(tokens.device)
        parts = attribute(hooked, tokens, legal)
        components = components or list(parts)
        means = means or ClusteredMeans(len(components), len(chosen))
        there = drawn.present[:, None, at]
        values = torch.stack([part[:, at] for part in parts.values()], dim=1).masked_fill(~there, 0)
        means.add(values, there.expand_as(values).double())
    assert means is not None
    frame = means.frame("legal_minus_illegal", cell=range(len(components)), length=chosen)
    named = pd.DataFrame(components, columns=["component", "layer", "head"]).astype({"layer": "Int64", "head": "Int64"})
    rows = pd.concat([named.iloc[frame["cell"]].reset_index(drop=True), frame.drop(columns="cell")], axis=1)
    return studied.named(rows)


def attribute(
    model: HookedTransformer,
    tokens: Int64[Tensor, "batch position"],
    legal: Bool[Tensor, "batch position vocab"],
    illegal: Bool[Tensor, "batch position vocab"] | None = None,
) -> dict[Component, Float[Tensor, "batch position"]]:
    """Each component's part of (mean legal - mean illegal logit), and the `total`, the model's own.

    `illegal` None are all that are not legal. NaN where there is none of either. The parts sum to the total, unless a hook
    changes the stream between components. Raises ValueError as `require_input` and `require_legal` do.
    """
    require_input(model, tokens)
    with torch.no_grad():
        with keeping(model, [name for name in model.hook_dict if name.endswith(_POINTS)]) as cache:
            logits = model(tokens)
        require_legal(legal, logits)
        illegal = ~legal if illegal is None else illegal
        require_legal(illegal, logits)
        is_legal, is_illegal = legal.to(logits.dtype), illegal.to(logits.dtype)
        share = is_legal / is_legal.sum(-1, keepdim=True) - is_illegal / is_illegal.sum(-1, keepdim=True)
        direction = einsum(share, model.W_U, "batch position vocab, width vocab -> batch position width")
        final: Any = model.ln_final if "ln_final.hook_scale" in cache else None
        scale = cache.get("ln_final.hook_scale", torch.ones(()))
        parts = {
            component: (_through(final, scale, written) * direction).sum(-1) for component, written in _written(model, cache)
        }
        bias = model.b_U if final is None else model.b_U + final.b @ model.W_U
        parts["bias", None, None] = share @ bias
        parts["total", None, None] = (share * logits).sum(-1)
    return parts


def _written(model: HookedTransformer, cache: Mapping[str, Tensor]) -> Iterator[tuple[Component, Stream]]:
    """What every component adds to the residual stream; LayerNorms on a branch with their scale of this pass."""
    yield ("embedding", None, None), cache["hook_embed"]
    yield ("positions", None, None), cache["hook_pos_embed"]
    for layer, block in enumerate(model.blocks):
        norm: Any = getattr(block, "ln1_post", None)
        scale = cache.get(f"blocks.{layer}.ln1_post.hook_scale", torch.ones(()))
        z = cache[f"blocks.{layer}.attn.hook_z"]
        for head in range(model.cfg.n_heads):
            yield ("head", layer, head), _through(norm, scale, z[:, :, head] @ model.W_O[layer, head])
        bias = _through(norm, scale, model.b_O[layer].expand(*z.shape[:2], -1))
        yield ("attention bias", layer, None), bias + norm.b if norm else bias
        if not model.cfg.attn_only:
            yield ("mlp", layer, None), cache[f"blocks.{layer}.hook_mlp_out"]


def _through(norm: Any, scale: Float[Tensor, "..."], part: Stream) -> Stream:
    """A summand of what a LayerNorm reads, as a summand of what it gives, without its bias; itself where there is no norm."""
    return part if norm is None else (part - part.mean(-1, keepdim=True)) / scale * norm.w
