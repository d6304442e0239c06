"""The worst input of every length, over all inputs, for a minimal set-complement model: the compiled search.

For: `probes/certificate.py`, which says what it means. Not for: checks and words. Everything is in this one file because
numba's on-disk cache looks at the file of a kernel alone.

Take the last token x, a present token i and an absent token j. On a set S of present tokens the gap between their logits is a
weighted mean, sum_k w_k c_k / sum_k w_k with w_k = exp(A[x, k]) and c_k = B[x, j] - B[x, i] + D[k, j] - D[k, i], and it is
below g exactly where sum_k w_k (c_k - g) < 0. That sum is smallest on the tokens x and i, which are in every S, and the
smallest terms among those that are free (all but x, i and j): sorting the terms gives the worst set of every size.
Dinkelbach's iteration (1967) replaces g by the gap of that set until no set is below it. Here g is the worst gap found so far
for the length, over all (x, i, j), so that most triples cost one look; and as it changes little from one length to the next,
the sorted terms of one length are nearly sorted for the next.
"""

from typing import no_type_check

import numpy as np
from numba import njit

# Attention logits can lie so far apart that the weights of heavy tokens drown the sums of sets without them: by e^36 in the
# rounding of float64, by e^745 altogether. So weights are taken relative to a ceiling that no token of the set is above, and
# only sets whose heaviest token is within e^SPAN of it are found for certain; the others have their turn under the next.
SPAN = 8.0
TINY = 1e-250
ROUNDING = 1e-15
"""A gap lower by less than this share of the largest possible one is rounding; following it down might never end."""


@njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a type-checked wrapper of it
def _resort(order, terms, count):
    """Insertion sort of order[:count] by terms[order], fast where it is nearly sorted."""
    for position in range(1, count):
        token = order[position]
        term = terms[token]
        slot = position
        while slot > 0 and terms[order[slot - 1]] > term:
            order[slot] = order[slot - 1]
            slot -= 1
        order[slot] = token


@njit(cache=True, nogil=True)
@no_type_check
def _improve(last, present, absent, weight, cost, order, free, terms, gaps, triples, members, rounding):
    """Lowers gaps[s] for every length s to the worst gap of this triple, where that is lower, and notes its set."""
    forced = 1 if last == present else 2
    lengths = min(len(gaps) - 1, forced + free)
    for length in range(forced, lengths + 1):
        while True:
            gap = gaps[length]
            total = weight[last]
            pushed = weight[last] * (cost[last] - gap)
            if forced == 2:
                total += weight[present]
                pushed += weight[present] * (cost[present] - gap)
            below = pushed
            for position in range(free):
                token = order[position]
                terms[token] = weight[token] * (cost[token] - gap)
                below += min(terms[token], 0.0)
            if below >= 0:
                break  # not even all negative terms together get below the gap
            _resort(order, terms, free)
            for position in range(length - forced):
                token = order[position]
                pushed += terms[token]
                total += weight[token]
            if not (pushed < 0 and total >= TINY):
                break
            if -pushed / total <= rounding:
                break
            gaps[length] = gap + pushed / total
            triples[length, 0], triples[length, 1], triples[length, 2] = last, present, absent
            members[length, :] = False
            members[length, last] = members[length, present] = True
            for position in range(length - forced):
                members[length, order[position]] = True


@njit(cache=True, nogil=True)
@no_type_check
def worst_sets(bias, displacement, attention_logits, longest):
    """Worst gap of every length 0 .. longest (index 0 is unused), the triple (last, present, absent) and the set that has it.

    Arguments are float64 [vocab, vocab], C-contiguous, and an integer longest < vocab. Returns gaps [longest + 1] in logits,
    triples [longest + 1, 3] and members [longest + 1, vocab]. Time grows as vocab**5 at worst, memory as vocab**2.
    """
    vocab = len(bias)
    pushes = displacement.T.copy()  # row = logit, so that the costs below are read in order
    largest = 2 * (np.abs(bias).max() + np.abs(displacement).max())
    gaps = np.full(longest + 1, 2 * largest + TINY)  # above every gap there can be
    triples = np.zeros((longest + 1, 3), dtype=np.int64)
    members = np.zeros((longest + 1, vocab), dtype=np.bool_)
    order = np.empty(vocab, dtype=np.int64)
    terms = np.empty(vocab)
    for last in range(vocab):
        scores = attention_logits[last]
        ceiling = scores.max()
        while True:
            weight = np.exp(np.minimum(scores - ceiling, 0.0))
            for present in range(vocab):
                if scores[present] > ceiling:
                    continue
                for absent in range(vocab):
                    if absent in (last, present):
                        continue
                    cost = bias[last, absent] - bias[last, present] + (pushes[absent] - pushes[present])
                    free = 0
                    for token in range(vocab):
                        if token != last and token != present and token != absent and scores[token] <= ceiling:
                            order[free] = token
                            free += 1
                    _improve(
                        last, present, absent, weight, cost, order, free, terms, gaps, triples, members, ROUNDING * largest
                    )
            if scores[last] >= ceiling or scores[last] > ceiling - SPAN:
                break
            ceiling = scores[(scores < ceiling) & (scores <= ceiling - SPAN)].max()  # SPAN is lost in rounding from 1e17 on
    return gaps, triples, members
