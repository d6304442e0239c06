"""What the derivations predict for the set-complement task; plain arithmetic, no model.

Displacement is how far a present token's logit lies below the absent tokens'. The task and the 2/s law are of arXiv 2510.08341;
the formulas themselves are derived for this project from its model form `f(t) = B[t_s] + sum_i softmax_i(A[t_s, t_i]) D[t_i]`.
"""

import numpy as np
from scipy.special import expit

Numbers = int | float | np.floating | np.integer | np.ndarray
"""One number, or an array of them: every formula broadcasts."""


def context_displacement(at_two: Numbers, length: Numbers) -> Numbers:
    """Displacement at `length` >= 2 of a token that is not the last: (2 / s) times its displacement `at_two` tokens, in logits.

    Exact for uniform attention where absent logits are tied at lengths 1 and 2. Limits: `at_two` itself at s = 2; 0 as s grows.
    """
    return 2 / _lengths(length) * np.asarray(at_two)


def query_displacement(at_one: Numbers, at_two: Numbers, length: Numbers) -> Numbers:
    """Displacement at `length` >= 1 of the last token, from its displacements as the last of one and of two tokens, in logits.

    2 (s - 1) / s * at_two - (s - 2) / s * at_one, exact for uniform attention where absent logits are tied at lengths 1 and 2.
    Limits: `at_one` at s = 1, `at_two` at s = 2, 2 at_two - at_one as s grows (the bias part, which must not be negative); in
    the balanced case at_one = 2 at_two it is the 2/s law.
    """
    s = _lengths(length)
    return 2 * (s - 1) / s * np.asarray(at_two) - (s - 2) / s * np.asarray(at_one)


def illegal_mass(gap: Numbers, length: Numbers, vocab: int) -> Numbers:
    """Probability on present tokens, in [0, 1], where all s present logits lie `gap` below all v - s tied absent logits.

    s e^-gap / (s e^-gap + v - s). Limits: s / v at gap 0, 0 as the gap grows, 1 at s = v.
    """
    s = _lengths(length, vocab)
    with np.errstate(divide="ignore"):
        return expit(np.log(s) - np.log(vocab - s) - np.asarray(gap))


def needed_gap(illegal_mass: Numbers, length: Numbers, vocab: int) -> Numbers:
    """The gap in logits at which s tied present tokens hold just `illegal_mass`, in (0, 1): the inverse of `illegal_mass`.

    ln(s (1 - m) / (m (v - s))); negative where even uniform logits hold less than m; grows without bound as s nears v.
    """
    s, m = _lengths(length, vocab), np.asarray(illegal_mass)
    if not np.all((m > 0) & (m < 1)):
        raise ValueError(
            f"illegal mass {illegal_mass} is outside (0, 1), and a finite gap gives what is inside; choose one there"
        )
    return np.log(s * (1 - m)) - np.log(m * (vocab - s))


def _lengths(length: Numbers, most: float = np.inf) -> np.ndarray:
    lengths = np.asarray(length)
    if not np.all((lengths >= 1) & (lengths <= most)):
        raise ValueError(f"length {length} is outside 1 .. {most}, which is what there is; choose one inside")
    return lengths
