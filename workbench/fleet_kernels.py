"""The sequences' part of a fleet's training step on the CPU, as compiled loops over (member, sequence, position).

For: everything that is not a matrix product, fused so that a row of activations is read once. `workbench/folded_model.py`
gives it gradients and shapes. Not for: anything that torch's batched products do, which are as fast as the processor.

Each kernel works on a range of members (`start` .. `stop` - 1), releases the GIL and shares nothing between members, so the
result does not depend on the number of threads. All arrays have the axes of `attend`:

    rows [member, batch, position]              which row of the tables a position reads
    scores [member, batch, head, query, key]    before the softmax; entries with key > query are not read
    values [member, head, row, channel]         what attending to a row adds
    stream [member, row, channel]               what a position starts from

Inner loops index whole arrays and take no slices, since numba counts references for a slice, which costs more than a short row.
Helpers stay in this file, which is why it is long: numba's on-disk cache looks at the file of a kernel alone.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np
from numba import njit

NORM_EPSILON = 1e-5  # of `models.transformer.LayerNorm`
SCRATCH = 1024
"""Numbers in a block of scratch memory that stays near the processor."""

# sums may be reordered; infinities and NaN stay what they are, since divergence is found by them
FAST = {"contract", "reassoc", "nsz", "arcp"}


def kernel(function: Callable[..., Any]) -> Any:
    """A compiled loop; `unwrap` takes off what a run-time type checker put around it, which numba cannot compile.

    All is inlined. A function that is called is compiled anew into every kernel that calls it, in another order of sums, and of
    these a process would take for all the one it happened to load first: the same command would give other bytes.
    """
    return njit(nogil=True, cache=True, forceinline=True, fastmath=FAST)(unwrap(function))


def _inlined(function: Callable[..., Any]) -> Any:
    return njit(forceinline=True, fastmath=FAST)(unwrap(function))


@_inlined
def _normalise(x, weight_and_bias, m, b, s, normal, scale):
    """Turns x into its LayerNorm, in place; keeps x less its mean over its standard deviation, and 1 / standard deviation."""
    count = x.dtype.type(x.size)
    mean = x.dtype.type(0)
    for c in range(x.size):
        mean += x[c]
    mean /= count
    variance = x.dtype.type(0)
    for c in range(x.size):
        variance += (x[c] - mean) * (x[c] - mean)
    inverse = x.dtype.type(1) / np.sqrt(variance / count + x.dtype.type(NORM_EPSILON))
    scale[m, b, s] = inverse
    for c in range(x.size):
        normal[m, b, s, c] = (x[c] - mean) * inverse
        x[c] = (x[c] - mean) * inverse * weight_and_bias[m, 0, c] + weight_and_bias[m, 1, c]


@_inlined
def _normalise_backward(gradient, weight_and_bias, m, b, s, normal, scale, norm_gradient):
    """Turns the gradient of the LayerNorm into that of x, in place, and adds those of its weight and bias."""
    count = gradient.dtype.type(gradient.size)
    mean = gradient.dtype.type(0)
    slope = gradient.dtype.type(0)
    for c in range(gradient.size):
        norm_gradient[m, 0, c] += gradient[c] * normal[m, b, s, c]
        norm_gradient[m, 1, c] += gradient[c]
        gradient[c] *= weight_and_bias[m, 0, c]
        mean += gradient[c]
        slope += gradient[c] * normal[m, b, s, c]
    mean /= count
    slope /= count
    for c in range(gradient.size):
        gradient[c] = (gradient[c] - mean - normal[m, b, s, c] * slope) * scale[m, b, s]


def _exponentials(x, power, exponent, shift, bias, least, ln2_high, ln2_low):
    """Exp of every element x <= 0, in place: 2**k exp(r) with |r| <= ln 2 / 2, by its Taylor polynomial.

    That is of degree 7 in float32 and 12 in float64. Relative error below 2 units in the last place; it vectorises, which
    np.exp does not. Below `least` the result is that of `least`, which is as good as 0, and NaN stays NaN. `power` and
    `exponent` are one piece of memory, as floats and integers.
    """
    f = x.dtype.type
    inverse, half, one = f(1 / np.log(2.0)), f(0.5), f(1)
    for i in range(x.size):
        y = least if x[i] < least else x[i]
        k = np.floor(y * inverse + half)
        r = (y - k * ln2_high) - k * ln2_low
        if x.itemsize == 8:
            p = f(1 / 479001600)
            p = p * r + f(1 / 39916800)
            p = p * r + f(1 / 3628800)
            p = p * r + f(1 / 362880)
            p = p * r + f(1 / 40320)
            p = p * r + f(1 / 5040)
        else:
            p = f(1 / 5040)
        p = p * r + f(1 / 720)
        p = p * r + f(1 / 120)
        p = p * r + f(1 / 24)
        p = p * r + f(1 / 6)
        p = p * r + half
        p = p * r + one
        x[i] = p * r + one
        exponent[i] = (np.int32(k) + bias) << shift
    for i in range(x.size):
        x[i] *= power[i]


# the two halves of ln 2 must not be summed first
_exponentials = njit(forceinline=True, fastmath={"contract"})(unwrap(_exponentials))


@_inlined
def _all_exponentials(x, exponent):
    """Exp of every element x <= 0, in place; `exponent` is scratch memory of the integers that are as wide as x."""
    f, power = x.dtype.type, exponent.view(x.dtype)
    for first in range(0, x.size, exponent.size):
        block = x[first : first + exponent.size]
        if x.itemsize == 4:
            _exponentials(block, power, exponent, 23, 127, f(-87.3), f(0.693359375), f(-2.12194440e-4))
        else:
            _exponentials(block, power, exponent, 52, 1023, f(-708.3), f(0.693145751953125), f(1.42860682030941723e-6))


@_inlined
def _causal_softmax(scores, m, pattern, exponent):
    """Fills a member's `pattern` [batch, head, query, key] where key <= query; the rest is not to be read."""
    batch, heads, length, _ = pattern.shape
    zero, one = pattern.dtype.type(0), pattern.dtype.type(1)
    for b in range(batch):
        for h in range(heads):
            for s in range(length):
                greatest = scores[m, b, h, s, 0]
                for key in range(1, s + 1):
                    greatest = max(greatest, scores[m, b, h, s, key])
                for key in range(s + 1):
                    pattern[b, h, s, key] = scores[m, b, h, s, key] - greatest
                for key in range(s + 1, length):
                    pattern[b, h, s, key] = zero
    _all_exponentials(pattern.reshape(-1), exponent)
    for b in range(batch):
        for h in range(heads):
            for s in range(length):
                total = zero
                for key in range(s + 1):
                    total += pattern[b, h, s, key]
                inverse = one / total
                for key in range(s + 1):
                    pattern[b, h, s, key] *= inverse


@kernel
def attend_forward(
    start, stop, rows, scores, values, stream, bias, attention_mask, residual_mask, branch_norm, final_norm,
    pattern, branch_normal, branch_scale, final_normal, final_scale, out, exponents,
):  # fmt: skip
    """Fills `out` [member, batch, position, channel], and what the backward pass needs. Masks and norms of size 0 are none.

    `exponents` is an empty array of the integers that are as wide as the scores.
    """
    _, batch, length = rows.shape
    heads, channels = values.shape[1], values.shape[3]
    drops_attention, drops_residual = attention_mask.size > 0, residual_mask.size > 0
    written, exponent = np.empty(channels, out.dtype), np.empty(SCRATCH, exponents.dtype)
    for m in range(start, stop):
        _causal_softmax(scores, m, pattern[m], exponent)
        for b in range(batch):
            for s in range(length):
                for c in range(channels):
                    written[c] = bias[m, c]
                for h in range(heads):
                    for i in range(s + 1):
                        row, weight = rows[m, b, i], pattern[m, b, h, s, i]
                        if drops_attention:
                            weight *= attention_mask[m, b, h, s, i]
                        for c in range(channels):
                            written[c] += weight * values[m, h, row, c]
                if branch_norm.size > 0:
                    _normalise(written, branch_norm, m, b, s, branch_normal, branch_scale)
                if drops_residual:
                    for c in range(channels):
                        written[c] *= residual_mask[m, b, s, c]
                row = rows[m, b, s]
                for c in range(channels):
                    written[c] += stream[m, row, c]
                if final_norm.size > 0:
                    _normalise(written, final_norm, m, b, s, final_normal, final_scale)
                for c in range(channels):
                    out[m, b, s, c] = written[c]


@kernel
def attend_backward(
    start, stop, rows, values, attention_mask, residual_mask, branch_norm, final_norm,
    pattern, branch_normal, branch_scale, final_normal, final_scale, out_gradient,
    scores_gradient, values_gradient, stream_gradient, bias_gradient, branch_gradient, final_gradient,
):  # fmt: skip
    """Fills the six gradients. They are set to 0 member by member, while a member's own are near the processor."""
    _, batch, length = rows.shape
    heads, channels = values.shape[1], values.shape[3]
    drops_attention, drops_residual = attention_mask.size > 0, residual_mask.size > 0
    has_branch, has_final = branch_norm.size > 0, final_norm.size > 0
    gradient = np.empty(channels, out_gradient.dtype)
    one = out_gradient.dtype.type(1)
    for m in range(start, stop):
        values_gradient[m], stream_gradient[m], bias_gradient[m] = 0, 0, 0
        if has_branch:
            branch_gradient[m] = 0
        if has_final:
            final_gradient[m] = 0
        for b in range(batch):
            for s in range(length):
                for c in range(channels):
                    gradient[c] = out_gradient[m, b, s, c]
                if has_final:
                    _normalise_backward(gradient, final_norm, m, b, s, final_normal, final_scale, final_gradient)
                row = rows[m, b, s]
                for c in range(channels):
                    stream_gradient[m, row, c] += gradient[c]
                if drops_residual:
                    for c in range(channels):
                        gradient[c] *= residual_mask[m, b, s, c]
                if has_branch:
                    _normalise_backward(gradient, branch_norm, m, b, s, branch_normal, branch_scale, branch_gradient)
                for c in range(channels):
                    bias_gradient[m, c] += gradient[c]
                for h in range(heads):
                    mean = gradient.dtype.type(0)
                    for i in range(s + 1):
                        row = rows[m, b, i]
                        kept = attention_mask[m, b, h, s, i] if drops_attention else one
                        weight = pattern[m, b, h, s, i]
                        along = gradient.dtype.type(0)
                        for c in range(channels):
                            along += gradient[c] * values[m, h, row, c]
                        for c in range(channels):
                            values_gradient[m, h, row, c] += weight * kept * gradient[c]
                        scores_gradient[m, b, h, s, i] = along * kept
                        mean += along * kept * weight
                    for i in range(s + 1):
                        slope = scores_gradient[m, b, h, s, i] - mean
                        scores_gradient[m, b, h, s, i] = pattern[m, b, h, s, i] * slope


@kernel
def gather_scores(start, stop, tokens, scale, table, scores):
    """scores[m, b, h, q, k] = scale * table[m, h, token q, token k] for k <= q."""
    _, batch, length = tokens.shape
    factor = table.dtype.type(scale)
    for m in range(start, stop):
        for b in range(batch):
            for h in range(table.shape[1]):
                for q in range(length):
                    for k in range(q + 1):
                        scores[m, b, h, q, k] = factor * table[m, h, tokens[m, b, q], tokens[m, b, k]]


@kernel
def scatter_scores(start, stop, tokens, scale, scores_gradient, table_gradient):
    """Fills `table_gradient`, that of `gather_scores`."""
    _, batch, length = tokens.shape
    factor = table_gradient.dtype.type(scale)
    for m in range(start, stop):
        table_gradient[m] = 0
        for b in range(batch):
            for h in range(table_gradient.shape[1]):
                for q in range(length):
                    for k in range(q + 1):
                        table_gradient[m, h, tokens[m, b, q], tokens[m, b, k]] += factor * scores_gradient[m, b, h, q, k]


@kernel
def pair_scores(start, stop, scale, queries, keys, scores):
    """scores[m, b, h, q, k] = scale * queries[m, h, b, q] . keys[m, b, k] for k <= q."""
    _, heads, batch, length, channels = queries.shape
    factor = queries.dtype.type(scale)
    for m in range(start, stop):
        for h in range(heads):
            for b in range(batch):
                for q in range(length):
                    for k in range(q + 1):
                        total = scores.dtype.type(0)
                        for c in range(channels):
                            total += queries[m, h, b, q, c] * keys[m, b, k, c]
                        scores[m, b, h, q, k] = factor * total


@kernel
def pair_scores_backward(start, stop, scale, queries, keys, scores_gradient, queries_gradient, keys_gradient):
    """Fills the gradients of both arguments of `pair_scores`."""
    _, heads, batch, length, channels = queries.shape
    factor = queries.dtype.type(scale)
    for m in range(start, stop):
        queries_gradient[m], keys_gradient[m] = 0, 0
        for h in range(heads):
            for b in range(batch):
                for q in range(length):
                    for k in range(q + 1):
                        slope = factor * scores_gradient[m, b, h, q, k]
                        for c in range(channels):
                            queries_gradient[m, h, b, q, c] += slope * keys[m, b, k, c]
                            keys_gradient[m, b, k, c] += slope * queries[m, h, b, q, c]


@kernel
def gather_rows(start, stop, tokens, table, mask, rows):
    """rows[m, b, s] = table[m, token] * mask[m, b, s]."""
    _, batch, length = tokens.shape
    for m in range(start, stop):
        for b in range(batch):
            for s in range(length):
                for c in range(table.shape[2]):
                    rows[m, b, s, c] = table[m, tokens[m, b, s], c] * mask[m, b, s, c]


@kernel
def scatter_rows(start, stop, tokens, mask, rows_gradient, table_gradient):
    """Fills `table_gradient`, that of `gather_rows`."""
    _, batch, length = tokens.shape
    for m in range(start, stop):
        table_gradient[m] = 0
        for b in range(batch):
            for s in range(length):
                for c in range(mask.shape[3]):
                    table_gradient[m, tokens[m, b, s], c] += rows_gradient[m, b, s, c] * mask[m, b, s, c]


def _greatest(logits, m, b, s):
    """Greatest of a row; where one is NaN any of them, and the loss is NaN all the same."""
    greatest = logits[m, b, s, 0]
    for token in range(1, logits.shape[3]):
        greatest = max(greatest, logits[m, b, s, token])
    return greatest


_greatest = njit(forceinline=True, fastmath=True)(unwrap(_greatest))  # without NaN in mind it vectorises


@kernel
def cross_entropy(start, stop, sequences, soft, logits, flat, exponents, losses):
    """Fills `losses` with each member's mean cross-entropy, and puts its gradient in the logits' place.

    Targets are the next token of `sequences` [member, batch, position + 1] or, where `soft`, every token that is not yet in it.
    `logits` are [member, batch, position, vocab], and `flat` the same memory as [member, rest]. `exponents` is an empty array
    of the integers that are as wide as the logits.
    """
    _, batch, length, vocab = logits.shape
    f, zero = logits.dtype.type, logits.dtype.type(0)
    share = f(1 / (batch * length))
    exponent = np.empty(SCRATCH, exponents.dtype)
    legal = np.empty(vocab, logits.dtype)
    for m in range(start, stop):
        loss = zero
        for b in range(batch):
            legal[:] = 1
            for s in range(length):
                greatest = _greatest(logits, m, b, s)
                for token in range(vocab):
                    logits[m, b, s, token] -= greatest
                if soft[m]:
                    legal[sequences[m, b, s]] = 0
                    total, count = zero, zero
                    for token in range(vocab):
                        total += legal[token] * logits[m, b, s, token]
                        count += legal[token]
                    loss -= total / count
                else:
                    loss -= logits[m, b, s, sequences[m, b, s + 1]]
        _all_exponentials(flat[m], exponent)
        for b in range(batch):
            legal[:] = share
            for s in range(length):
                total = zero
                for token in range(vocab):
                    total += logits[m, b, s, token]
                loss += np.log(total)
                scale = share / total
                for token in range(vocab):
                    logits[m, b, s, token] *= scale
                if soft[m]:
                    legal[sequences[m, b, s]] = 0
                    count = zero
                    for token in range(vocab):
                        count += legal[token]
                    scale = share / count
                    for token in range(vocab):
                        logits[m, b, s, token] -= scale * legal[token]
                else:
                    logits[m, b, s, sequences[m, b, s + 1]] -= share
        losses[m] = loss * share


@kernel
def attend_and_learn(
    start, stop, rows, scores, values, stream, bias, attention_mask, residual_mask, branch_norm, final_norm,
    pattern, branch_normal, branch_scale, final_normal, final_scale, out, sequences, soft, flat, exponents, losses,
    scores_gradient, values_gradient, stream_gradient, bias_gradient, branch_gradient, final_gradient,
):  # fmt: skip
    """`attend_forward`, `cross_entropy` of what it gives and `attend_backward`, member by member, while its logits are near."""
    for m in range(start, stop):
        attend_forward(
            m, m + 1, rows, scores, values, stream, bias, attention_mask, residual_mask, branch_norm, final_norm,
            pattern, branch_normal, branch_scale, final_normal, final_scale, out, exponents,
        )  # fmt: skip
        cross_entropy(m, m + 1, sequences, soft, out, flat, exponents, losses)
        attend_backward(
            m, m + 1, rows, values, attention_mask, residual_mask, branch_norm, final_norm,
            pattern, branch_normal, branch_scale, final_normal, final_scale, out,
            scores_gradient, values_gradient, stream_gradient, bias_gradient, branch_gradient, final_gradient,
        )  # fmt: skip
