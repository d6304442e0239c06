"""Ablation of parts of a model, as a context manager.

    with ablate(model, "blocks.3.attn", head=2, method="mean", reference=tokens):
        logits = model(inputs)

For: any experiment on a hooked model. Not for: the effect of every head at every length (`ablation_map.py`, which is faster
than a loop over this), nor for putting one run's activations into another (`patching.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Int64
from torch import Tensor

from models.hooked import HookedTransformer
from probes.residual_stream import require_eval
from workbench.ablation_methods import MeanOver, Method, read_replacement
from workbench.components import Edge, Indices, find_sites, replacing


@contextmanager
def ablate(
    model: HookedTransformer,
    component: str,
    *,
    head: Indices = None,
    edge: Edge | None = None,
    position: Indices = None,
    method: Method = "zero",
    reference: Int64[Tensor, "reference position"] | None = None,
    mean_over: MeanOver = "position",
    seed: int = 0,
) -> Iterator[None]:
    """While this is open, forward passes see a component's activation replaced; on the way out the model is as it was.

    Activations are replaced by new tensors, never written to. Nestable, in any order with the same result; other hooks stay and
    see what is put there where they come later; its own hooks are removed also when a pass raises.

    Args:
        model: hooked, in eval mode.
        component: `blocks.L.attn` (what attention adds to the residual stream, or with `head` or `edge` what is inside),
            `blocks.L.mlp` (what the MLP adds), `blocks.L` (both), or the residual stream itself: `blocks.L.hook_resid_pre`,
            `hook_resid_mid` or `hook_resid_post`.
        head: of an attention: only the output of this head or these, before W_O (`hook_z`). All heads zeroed leave exactly b_O,
            or its LayerNorm in a model with branch norm; the attention itself zeroed leaves nothing.
        edge: of an attention: only the weight with which a (query, key) pair of positions attends, of `head` or of all heads
            (`hook_pattern`). The rest of the row keeps its weights: they are not renormalised, so a zeroed edge takes away what
            flows along it and changes nothing else.
        position: only at this position or these, from 0, or from the end where negative; None for all.
        method: zero; mean over the reference sequences; or resample, the activation on a reference sequence drawn for each
            sequence of the batch, with the same draw in every forward pass.
        reference: tokens of the same task that mean and resample read activations of, when the context is entered; of no use to
            zero. All of its positions count, padding too.
        mean_over: a mean for each position (then inputs may be no longer than the reference), or one over all positions.
        seed: which references resample draws.

    Raises:
        ValueError: a component, head, edge, position, method or mean_over that does not exist; a reference that is missing or
            that the model does not take; a model in training mode; in a forward pass, an input longer than the reference.
    """
    require_eval(model)
    sites = find_sites(model, component, head, edge, position)
    replacement = read_replacement(model, [site.point for site in sites], method, reference, mean_over, seed)

    with replacing(model, sites, replacement.at):
        yield
