"""The fast path of a fleet on the CPU: losses and gradients of one-layer attention-only models without positions.

Such a model reads nothing of a position but its token, so what it computes before attention mixes positions are tables with a
row a token: attention logits A [query token, key token] and what attending to a token writes, E W_V W_O, each with its biases
and one a head. Without norm on the branch, final norm or residual dropout the unembedding moves into the tables too, and a
position's logits are a weighted sum of rows of v x v tables: f(t) = B[t_s] + sum_i softmax_i(A[t_s, t_i]) D[t_i]. With
embedding dropout every position has a row of its own in place of its token's, and the rest stays.

The parameters are the plain model's own; gradients flow through the products that make the tables. Left out is what adds the
same to all keys of a query (b_K), which the softmax does not see: such parameters get the gradient 0 that they truly have.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.config import DropoutRates, ModelConfig, TaskConfig
from models.transformer import DropoutSite
from workbench import fleet_kernels
from workbench.fleet_threads import for_members

MOST_NUMBERS = 8
"""Numbers in the tables and passed through compiled loops, for each number of the residual stream, up to which this path pays.

Fitted to times of both ways: there they are about as fast, and far above it this one is two or three times slower.
"""
LOOPED, LOOPED_SCORES = 1 / 16, 1 / 3
"""What a number that a loop over pairs of positions adds costs, of mixing and of scores, where one of a table costs 1."""
UNEMBEDDED = 1 / 16
"""What a logit costs the other way, where a number of the residual stream costs 1; of one head, since heads cost both alike."""

Masks = Mapping[DropoutSite, Tensor]
Parameters = Mapping[str, Tensor]


def folds(model: ModelConfig, task: TaskConfig) -> bool:
    """Whether this path can train a model: one attention-only layer without positions, on the set-complement task."""
    attention_only = model.layers == 1 and model.mlp_width == 0
    return attention_only and model.positions == "none" and task.name == "set-complement"


def pays(model: ModelConfig, rates: DropoutRates, batch: int, length: int) -> bool:
    """Whether this path is the faster one, for a batch of sequences of a length; `rates` as `_before_mixing` is given masks.

    It is for small tables and few pairs of positions. Many heads, large vocabularies or long sequences are matrix products'.
    """
    by_token, positions, pairs = rates.embedding == 0, batch * length, batch * length * (length + 1) // 2
    channels = model.vocab if _linear(model, rates.residual > 0) else model.width
    tables = model.vocab * (channels + model.vocab) if by_token else positions * channels
    looped = LOOPED * pairs * channels + (0 if by_token else LOOPED_SCORES * pairs * model.width)
    otherwise = positions * (model.width + UNEMBEDDED * model.vocab / model.heads)
    return model.heads * (tables + looped) <= MOST_NUMBERS * otherwise


def _linear(model: ModelConfig, drops_residual: bool) -> bool:
    """Whether the unembedding can go before the sum over positions."""
    return model.norm != "branch" and not model.final_norm and not drops_residual


def losses_and_gradients(
    model: ModelConfig,
    parameters: Parameters,
    sequences: Int64[Tensor, "member batch position_plus_1"],
    soft: Bool[np.ndarray, "member"],
    masks: Masks,
) -> tuple[Float[Tensor, "member"], dict[str, Tensor]]:
    """Each member's loss in nats a position, and its gradient by parameter name.

    Args:
        model: the shape of all members; its dropout rates are not looked at.
        parameters: by name in the plain model's keys, each with a leading axis for the member.
        sequences: what each member reads and, one position on, has to predict.
        soft: whether a member's targets are all tokens that are left alike, and not just the next.
        masks: explicit dropout masks of the sites at which some member drops.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
    mixed, unembed = _before_mixing(model, leaves, sequences[:, :, :-1].contiguous(), masks)
    if unembed is None:
        losses = AttendAndLearn.apply(sequences, soft, *mixed)
        outputs, slopes = losses, torch.ones_like(losses)
    else:
        outputs = _unembedded(Attend.apply(*mixed), *unembed)
        losses, slopes = cross_entropy(outputs.detach(), sequences, soft)
    gradients = torch.autograd.grad(outputs, list(leaves.values()), slopes, materialize_grads=True)
    return losses.detach(), dict(zip(leaves, gradients, strict=True))


def member_logits(
    model: ModelConfig, parameters: Parameters, tokens: Int64[Tensor, "member batch position"], masks: Masks
) -> Float[Tensor, "member batch position vocab"]:
    """The logits of all members, by the tables; arguments as in `losses_and_gradients`."""
    mixed, unembed = _before_mixing(model, parameters, tokens.contiguous(), masks)
    out = Attend.apply(*mixed)
    return out if unembed is None else _unembedded(out, *unembed)


def cross_entropy(
    logits: Float[Tensor, "member batch position vocab"],
    sequences: Int64[Tensor, "member batch position_plus_1"],
    soft: Bool[np.ndarray, "member"],
) -> tuple[Float[Tensor, "member"], Float[Tensor, "member batch position vocab"]]:
    """Each member's mean cross-entropy and its gradient, which takes the logits' place in memory."""
    logits, losses = logits.contiguous(), logits.new_empty(len(logits))
    arrays = _arrays(logits, logits.flatten(1), _integers(logits), losses)
    for_members(fleet_kernels.cross_entropy, len(logits), sequences.numpy(), soft, *arrays)
    return losses, logits


def _before_mixing(
    model: ModelConfig, parameters: Parameters, tokens: Int64[Tensor, "member batch position"], masks: Masks
) -> tuple[tuple[Tensor | None, ...], tuple[Tensor, Tensor] | None]:
    """The arguments of `Attend`, and the unembedding with its bias; None where that went into the tables."""
    p = {name.removeprefix("blocks.0."): tensor for name, tensor in parameters.items()}
    by_token = "embedding" not in masks
    if by_token:
        stream, rows = p["embed.W_E"], tokens
    else:
        stream = MaskedRows.apply(tokens, p["embed.W_E"], masks["embedding"]).flatten(1, 2)
        rows = torch.arange(stream.shape[1]).expand(len(tokens), -1).reshape(tokens.shape)
    read = stream
    if model.norm == "pre":
        read = F.layer_norm(stream, stream.shape[-1:], eps=1e-5) * p["ln1.w"][:, None] + p["ln1.b"][:, None]
    queries, scale = _project(read, p["attn.W_Q"], p["attn.W_K"].mT, p["attn.b_Q"]), 1 / math.sqrt(model.head_width)
    if by_token:
        scores = TableScores.apply(tokens, scale, queries @ read[:, None].mT)
    else:
        scores = PairScores.apply(scale, queries.unflatten(2, tokens.shape[1:]), read.unflatten(1, tokens.shape[1:]))

    branch_norm = _norm(p, "ln1_post") if model.norm == "branch" else None
    final_norm = _norm(p, "ln_final") if model.final_norm else None
    output, bias, unembed, unembed_bias = p["attn.W_O"], p["attn.b_O"], p["unembed.W_U"], p["unembed.b_U"][:, None]
    linear = _linear(model, "residual" in masks)
    if linear:
        output, stream = output @ unembed[:, None], stream @ unembed
        bias = torch.baddbmm(unembed_bias, bias[:, None], unembed)[:, 0]
    values = _project(read, p["attn.W_V"], output, p["attn.b_V"])
    mixed = (rows, scores, values, stream, bias, branch_norm, final_norm, masks.get("attention"), masks.get("residual"))
    return mixed, None if linear else (unembed, unembed_bias)


def _unembedded(
    out: Float[Tensor, "member batch position width"], unembed: Tensor, bias: Tensor
) -> Float[Tensor, "member batch position vocab"]:
    return torch.baddbmm(bias, out.flatten(1, 2), unembed).unflatten(1, out.shape[1:3])


def _norm(parameters: Parameters, name: str) -> Float[Tensor, "member 2 width"]:
    return torch.stack([parameters[f"{name}.w"], parameters[f"{name}.b"]], dim=1)


def _project(
    rows: Float[Tensor, "member row width"],
    first: Float[Tensor, "member head width inner"],
    second: Float[Tensor, "member head inner channel"],
    bias: Float[Tensor, "member head inner"],
) -> Float[Tensor, "member head row channel"]:
    """(rows @ first + bias) @ second for every head, in the cheaper order."""
    count, (width, inner), channels = rows.shape[1], first.shape[2:], second.shape[3]
    if count * inner * (width + channels) <= width * channels * (inner + count):
        return (rows[:, None] @ first + bias[:, :, None]) @ second
    folded, offset = first @ second, bias[:, :, None] @ second
    spread = rows[:, None].expand(-1, first.shape[1], -1, -1).flatten(0, 1)
    return torch.baddbmm(offset.flatten(0, 1), spread, folded.flatten(0, 1)).unflatten(0, first.shape[:2])


def _present(tensor: Tensor | None, like: Tensor, ndim: int) -> Tensor:
    """The tensor, or one of size 0 for None: kernels have no None."""
    return like.new_empty((0,) * ndim) if tensor is None else tensor


def _integers(like: Tensor) -> Tensor:
    """An empty tensor of integers as wide as the numbers of `like`."""
    return torch.empty(0, dtype=torch.int32 if like.dtype == torch.float32 else torch.int64)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    """For a kernel, which is fastest on contiguous memory."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


class TableScores(torch.autograd.Function):
    """(tokens, scale, table [member, head, query token, key token]) -> scores [member, batch, head, query, key].

    For keys up to the query; nobody reads the others, which are not set.
    """

    @staticmethod
    def forward(ctx, tokens, scale, table):
        """The result."""
        ctx.tokens, ctx.scale, ctx.shape = tokens, scale, table.shape
        members, batch, length = tokens.shape
        scores = table.new_empty(members, batch, table.shape[1], length, length)
        for_members(fleet_kernels.gather_scores, members, tokens.numpy(), scale, *_arrays(table, scores))
        return scores

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of the arguments."""
        table = gradient.new_empty(ctx.shape)
        for_members(fleet_kernels.scatter_scores, len(table), ctx.tokens.numpy(), ctx.scale, *_arrays(gradient, table))
        return None, None, table


class PairScores(torch.autograd.Function):
    """(scale, queries [member, head, batch, position, width], keys [member, batch, position, width]) -> as `TableScores`."""

    @staticmethod
    def forward(ctx, scale, queries, keys):
        """The result."""
        ctx.save_for_backward(queries, keys)
        ctx.scale = scale
        members, heads, batch, length, _ = queries.shape
        scores = queries.new_empty(members, batch, heads, length, length)
        for_members(fleet_kernels.pair_scores, members, scale, *_arrays(queries, keys, scores))
        return scores

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of the arguments."""
        queries, keys = ctx.saved_tensors
        results = (queries.new_empty(queries.shape), keys.new_empty(keys.shape))
        for_members(fleet_kernels.pair_scores_backward, len(queries), ctx.scale, *_arrays(queries, keys, gradient, *results))
        return None, *results


class MaskedRows(torch.autograd.Function):
    """(tokens, table [member, token, channel], mask) -> the token's row at every position, times the mask."""

    @staticmethod
    def forward(ctx, tokens, table, mask):
        """The result."""
        ctx.tokens, ctx.mask, ctx.shape = tokens, mask, table.shape
        rows = torch.empty_like(mask)
        for_members(fleet_kernels.gather_rows, len(rows), *_arrays(tokens, table, mask, rows))
        return rows

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of the arguments."""
        table = gradient.new_empty(ctx.shape)
        for_members(fleet_kernels.scatter_rows, len(table), *_arrays(ctx.tokens, ctx.mask, gradient, table))
        return None, table, None


class Attend(torch.autograd.Function):
    """Attention's softmax and sum, its norm and dropout, the residual sum and the final norm, as one operation.

    (rows, scores, values, stream, bias, branch norm, final norm, attention mask, residual mask) -> [member, batch, position,
    channel]; axes as in `workbench/fleet_kernels.py`, norms [member, weight or bias, channel]; norms and masks may be None.
    """

    @staticmethod
    def forward(ctx, rows, *tensors):
        """The result."""
        out, inputs, kept = _attend_arguments(rows, *tensors)
        ctx.shapes = [None if tensor is None else tensor.shape for tensor in tensors[:6]]
        for_members(fleet_kernels.attend_forward, len(out), *_arrays(*inputs, *kept, out, _integers(out)))
        rows, _, values, _, _, *masks_and_norms = inputs
        ctx.arrays = _arrays(rows, values, *masks_and_norms, *kept)
        return out

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of the arguments."""
        results = [gradient.new_empty((0, 0, 0) if shape is None else shape) for shape in ctx.shapes]
        for_members(fleet_kernels.attend_backward, len(gradient), *ctx.arrays, *_arrays(gradient, *results))
        given = [None if shape is None else result for shape, result in zip(ctx.shapes, results, strict=True)]
        return None, *given, None, None


class AttendAndLearn(torch.autograd.Function):
    """(sequences, soft, the arguments of `Attend`, which gives logits) -> each member's loss; only for a gradient of ones.

    The gradients of the arguments are found on the way, since a member's logits are then read from near the processor.
    """

    @staticmethod
    def forward(ctx, sequences, soft, rows, *tensors):
        """The result."""
        out, inputs, kept = _attend_arguments(rows, *tensors)
        losses = out.new_empty(len(out))
        ctx.given = [None if tensor is None else torch.empty_like(tensor) for tensor in tensors[:6]]
        results = [out.new_empty((0, 0, 0)) if result is None else result for result in ctx.given]
        for_members(
            fleet_kernels.attend_and_learn, len(out), *_arrays(*inputs, *kept, out, sequences), soft,
            *_arrays(out.flatten(1), _integers(out), losses, *results),
        )  # fmt: skip
        return losses

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of the arguments."""
        return None, None, None, *ctx.given, None, None


def _attend_arguments(
    rows, scores, values, stream, bias, branch_norm, final_norm, attention_mask, residual_mask
) -> tuple[Tensor, tuple[Tensor, ...], list[Tensor]]:
    """Of `attend_forward`: the tensor it fills, what it reads, and what it keeps for the way back."""
    out = values.new_empty(*rows.shape, values.shape[-1])
    masks = (_present(attention_mask, out, 5), _present(residual_mask, out, 4))
    norms = (_present(branch_norm, out, 3), _present(final_norm, out, 3))
    kept = [torch.empty_like(scores)]
    for norm in norms:
        shape = out.shape if len(norm) else (0, 0, 0, 0)
        kept += [out.new_empty(shape), out.new_empty(shape[:3])]
    return out, (rows, scores, values, stream, bias, *masks, *norms), kept
