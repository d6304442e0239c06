"""What a fleet draws at random on the CPU, as compiled loops over members: permutations and dropout masks.

Both are the very numbers that one training run draws (`models/set_complement/task.py`, `models.transformer.GeneratorMasks`),
only made faster; tests hold them together. Masks come from torch's CPU generator, which is the Mersenne Twister MT19937
(Matsumoto and Nishimura, 1998): 32 bits a word, of which a float32 takes the low 24, and two words, the first one high, of
which a float64 takes the low 53.
"""

from inspect import unwrap

import numpy as np
from numba import njit

from models.random_stream import GOLDEN, MULTIPLIER_1, MULTIPLIER_2
from workbench.fleet_kernels import kernel

WORDS, MIDDLE = 624, 397
LANES = 32
TAKEN = np.iinfo(np.int64).max
"""In place of the key of a token that was drawn; a key is equal to it once in 2**64 draws."""

_U, _U32 = np.uint64, np.uint32
_GOLDEN, _MULTIPLIER_1, _MULTIPLIER_2 = _U(GOLDEN), _U(MULTIPLIER_1), _U(MULTIPLIER_2)


def _mix(z):
    z = (z ^ (z >> _U(30))) * _MULTIPLIER_1
    z = (z ^ (z >> _U(27))) * _MULTIPLIER_2
    return z ^ (z >> _U(31))


_mix = njit(unwrap(_mix))


@kernel
def draw_permutations(start, stop, seed_states, first_index, vocab, sequences):
    """Fills `sequences` [member, batch, length + 1] with the beginnings of permutations.

    `seed_states` is `seed_state` of each member's seed. LANES sequences are drawn side by side, so that the compiler turns each
    step into vector instructions.
    """
    _, batch, longest = sequences.shape
    keys = np.empty((vocab, LANES), np.int64)
    least, chosen = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    for m in range(start, stop):
        for first in range(0, batch, LANES):
            for lane in range(LANES):
                least[lane] = np.int64(_mix(seed_states[m] + _GOLDEN * _U(first_index + first + lane + 1)))
            for token in range(vocab):
                for lane in range(LANES):
                    keys[token, lane] = np.int64(_mix(_U(least[lane]) + _GOLDEN * _U(token + 1)))
            for s in range(longest):
                for lane in range(LANES):
                    least[lane], chosen[lane] = keys[0, lane], 0
                for token in range(1, vocab):
                    for lane in range(LANES):
                        smaller = keys[token, lane] < least[lane]  # of equal keys the first, as in a stable sort
                        least[lane] = min(keys[token, lane], least[lane])
                        chosen[lane] = token if smaller else chosen[lane]
                for lane in range(min(LANES, batch - first)):
                    sequences[m, first + lane, s] = chosen[lane]
                    keys[chosen[lane], lane] = TAKEN


@kernel
def seed_generators(start, stop, seeds, states, used):
    """Puts each member's generator where `torch.Generator().manual_seed(seed)` starts; `used` counts words of `states`."""
    for m in range(start, stop):
        word = _U32(seeds[m] & _U(0xFFFFFFFF))
        states[m, 0] = word
        for i in range(1, WORDS):
            word = _U32(_U32(1812433253) * (word ^ (word >> _U32(30))) + _U32(i))
            states[m, i] = word
        used[m] = WORDS


def _twist(high, low, far):
    mixed = (high & _U32(0x80000000)) | (low & _U32(0x7FFFFFFF))
    return far ^ (mixed >> _U32(1)) ^ (_U32(0x9908B0DF) * (mixed & _U32(1)))


_twist = njit(unwrap(_twist))


def _advance(state):
    """The next 624 words of the state, in place; three loops, none of which reads what it writes within a vector's reach."""
    for i in range(WORDS - MIDDLE):
        state[i] = _twist(state[i], state[i + 1], state[i + MIDDLE])
    for i in range(WORDS - MIDDLE, WORDS - 1):
        state[i] = _twist(state[i], state[i + 1], state[i + MIDDLE - WORDS])
    state[WORDS - 1] = _twist(state[WORDS - 1], state[0], state[MIDDLE - 1])


_advance = njit(unwrap(_advance))


def _temper(word):
    word ^= word >> _U32(11)
    word ^= (word << _U32(7)) & _U32(0x9D2C5680)
    word ^= (word << _U32(15)) & _U32(0xEFC60000)
    return word ^ (word >> _U32(18))


_temper = njit(unwrap(_temper))


@kernel
def draw_masks(start, stop, states, used, thresholds, survivors, doubles, masks):
    """Fills `masks` [member, element] with 0 where a draw lies below the member's threshold, else its `survivors`.

    Thresholds are whole: the rate times 2**24, or 2**53 where `doubles`, rounded up. A member whose threshold is 0 draws none.
    """
    count = masks.shape[1]
    for m in range(start, stop):
        if thresholds[m] == 0:
            continue
        state, mask, survivor, zero = states[m], masks[m], survivors[m], masks.dtype.type(0)
        narrow = _U32(min(thresholds[m], _U(0xFFFFFFFF)))
        i = 0
        while i < count:
            if used[m] == WORDS:
                _advance(state)
                used[m] = 0
            if doubles:
                high = _U(_temper(state[used[m]]))
                used[m] += 1
                if used[m] == WORDS:
                    _advance(state)
                    used[m] = 0
                low = _U(_temper(state[used[m]]))
                used[m] += 1
                draw = ((high << _U(32)) | low) & _U((1 << 53) - 1)
                mask[i] = zero if draw < thresholds[m] else survivor
                i += 1
                continue
            block = min(count - i, WORDS - used[m])
            words, drawn = state[used[m] : used[m] + block], mask[i : i + block]
            for j in range(block):
                drawn[j] = zero if (_temper(words[j]) & _U32(0xFFFFFF)) < narrow else survivor
            used[m] += block
            i += block
