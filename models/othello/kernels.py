"""Othello on the CPU: the rules, random games and replays as compiled loops.

For: millions of games in seconds. There are two sets of the same kernels: `*_scalar` plays one game at a time and is the
readable reference, `*_lockstep` plays LANES games side by side so that the compiler turns each step into vector instructions.
Both give the same bits, and the same as `torch_bitboard.py`. Not for: shapes, checks and words; callers use `games.py`.

All of them are in this one file because numba's on-disk cache looks at the file of a kernel alone: a helper in another file
could change and the stale machine code would still be used. Every literal is wrapped as uint64, since numba turns a mixture of
uint64 and int64 into float64. The kernels release the GIL and share nothing, so threads may run them side by side.

The random stream is `models/random_stream.py` bit for bit: move number k (from 0) of game `index` takes draw(seed, index, k)
and picks the legal square of rank floor(high 32 bits * number of legal squares / 2**32), counted from the lowest bit.
"""

import numpy as np
from numba import njit, types
from numba.core import cgutils  # noqa: F401
from numba.extending import intrinsic

from models.othello import board
from models.random_stream import GOLDEN, MULTIPLIER_1, MULTIPLIER_2

LANES = 64

_U = np.uint64
_ZERO, _ONE = _U(0), _U(1)
_GOLDEN, _MULTIPLIER_1, _MULTIPLIER_2 = _U(GOLDEN), _U(MULTIPLIER_1), _U(MULTIPLIER_2)
_BLACK, _WHITE = _U(board.START_BLACK), _U(board.START_WHITE)
(_S0, _M0), (_S1, _M1), (_S2, _M2), (_S3, _M3) = ((_U(shift), _U(mask)) for shift, mask in board.DIRECTIONS)


@intrinsic
def _ones(typing_context, word):
    """Number of set bits."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@intrinsic
def _lowest(typing_context, word):
    """Index of the lowest set bit, 64 for 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


@njit(forceinline=True)
def _mix(z):
    z = (z ^ (z >> _U(30))) * _MULTIPLIER_1
    z = (z ^ (z >> _U(27))) * _MULTIPLIER_2
    return z ^ (z >> _U(31))


@njit(forceinline=True)
def _run_up(start, discs, shift):
    """The unbroken run of `discs` next to `start`, towards higher bits: at most six discs, so three doublings."""
    run = discs & (start << shift)
    run |= discs & (run << shift)
    pairs = discs & (discs << shift)
    run |= pairs & (run << (shift + shift))
    return run | (pairs & (run << (shift + shift)))


@njit(forceinline=True)
def _run_down(start, discs, shift):
    """As `_run_up`, towards lower bits."""
    run = discs & (start >> shift)
    run |= discs & (run >> shift)
    pairs = discs & (discs >> shift)
    run |= pairs & (run >> (shift + shift))
    return run | (pairs & (run >> (shift + shift)))


@njit(forceinline=True)
def _legal_along(own, discs, shift):
    return (_run_up(own, discs, shift) << shift) | (_run_down(own, discs, shift) >> shift)


@njit(forceinline=True)
def _legal_moves(own, other, arena):
    """The empty squares from which a run of the other's discs leads to an own disc."""
    ends = _legal_along(own, other & _M0, _S0)
    ends |= _legal_along(own, other & _M1, _S1)
    ends |= _legal_along(own, other & _M2, _S2)
    ends |= _legal_along(own, other & _M3, _S3)
    return ends & arena & ~(own | other)


@njit(forceinline=True)
def _flips_along(move, own, discs, shift):
    return (_run_up(move, discs, shift) & _run_down(own, discs, shift)) | (
        _run_down(move, discs, shift) & _run_up(own, discs, shift)
    )


@njit(forceinline=True)
def _flips(move, own, other):
    """The other's discs between the move and an own disc: the runs that can be reached from both ends."""
    flipped = _flips_along(move, own, other & _M0, _S0)
    flipped |= _flips_along(move, own, other & _M1, _S1)
    flipped |= _flips_along(move, own, other & _M2, _S2)
    return flipped | _flips_along(move, own, other & _M3, _S3)


@njit(forceinline=True)
def _pick(legal, random):
    """One of the set bits of `legal` (which has at least one), uniform for a uniform `random`."""
    rank = ((random >> _U(32)) * _ones(legal)) >> _U(32)
    while rank:
        legal &= legal - _ONE
        rank -= _ONE
    return legal & (~legal + _ONE)


@njit(nogil=True, cache=True)
def generate_scalar(seed_state, indices, arena, token_of_bit, tokens):
    for game in range(len(indices)):
        state = _mix(seed_state + _GOLDEN * (indices[game] + _ONE))
        own, other = _BLACK, _WHITE
        legal = _legal_moves(own, other, arena)
        counter = state
        tokens[game] = 0
        for ply in range(tokens.shape[1]):
            if legal == _ZERO:
                break
            counter += _GOLDEN
            move = _pick(legal, _mix(counter))
            tokens[game, ply] = token_of_bit[_lowest(move)]
            flipped = _flips(move, own, other)
            own, other = other & ~flipped, own | flipped | move
            legal = _legal_moves(own, other, arena)
            if legal == _ZERO:
                own, other = other, own
                legal = _legal_moves(own, other, arena)


@njit(nogil=True, cache=True)
def generate_lockstep(seed_state, indices, arena, token_of_bit, tokens):
    own = np.empty(LANES, np.uint64)
    other = np.empty(LANES, np.uint64)
    legal = np.empty(LANES, np.uint64)
    move = np.empty(LANES, np.uint64)
    counter = np.empty(LANES, np.uint64)
    for first in range(0, len(indices), LANES):
        lanes = min(LANES, len(indices) - first)
        for lane in range(LANES):
            own[lane], other[lane] = _BLACK, _WHITE
            counter[lane] = _mix(seed_state + _GOLDEN * (indices[first + min(lane, lanes - 1)] + _ONE))
        for ply in range(tokens.shape[1]):
            for lane in range(LANES):
                legal[lane] = _legal_moves(own[lane], other[lane], arena)
            for lane in range(lanes):
                if legal[lane] == _ZERO:
                    own[lane], other[lane] = other[lane], own[lane]
                    legal[lane] = _legal_moves(own[lane], other[lane], arena)
                counter[lane] += _GOLDEN
                if legal[lane] == _ZERO:
                    move[lane] = _ZERO
                    tokens[first + lane, ply] = 0
                else:
                    move[lane] = _pick(legal[lane], _mix(counter[lane]))
                    tokens[first + lane, ply] = token_of_bit[_lowest(move[lane])]
            for lane in range(LANES):
                flipped = _flips(move[lane], own[lane], other[lane])
                before = own[lane]
                own[lane] = other[lane] & ~flipped
                other[lane] = before | flipped | move[lane]


@njit(nogil=True, cache=True)
def replay_scalar(tokens, arena, bit_of_token, black, white, legal, to_move, played):
    for game in range(len(tokens)):
        own, other = _BLACK, _WHITE
        side = 1
        options = _legal_moves(own, other, arena)
        playing = True
        played[game] = 0
        for ply in range(tokens.shape[1]):
            token = tokens[game, ply]
            move = _ONE << _U(bit_of_token[token]) if 0 < token < len(bit_of_token) else _ZERO
            playing = playing and (move & options) != _ZERO
            if playing:
                flipped = _flips(move, own, other)
                own, other = other & ~flipped, own | flipped | move
                side = -side
                options = _legal_moves(own, other, arena)
                if options == _ZERO:
                    options = _legal_moves(other, own, arena)
                    if options != _ZERO:
                        own, other = other, own
                        side = -side
                played[game] += 1
            else:
                options = _ZERO
            black[game, ply], white[game, ply] = (own, other) if side == 1 else (other, own)
            legal[game, ply] = options
            to_move[game, ply] = side


@njit(nogil=True, cache=True)
def replay_lockstep(tokens, arena, bit_of_token, black, white, legal, to_move, played):
    own = np.empty(LANES, np.uint64)
    other = np.empty(LANES, np.uint64)
    options = np.empty(LANES, np.uint64)
    move = np.empty(LANES, np.uint64)
    side = np.empty(LANES, np.int8)
    for first in range(0, len(tokens), LANES):
        lanes = min(LANES, len(tokens) - first)
        for lane in range(LANES):
            own[lane], other[lane], side[lane] = _BLACK, _WHITE, 1
            options[lane] = _legal_moves(_BLACK, _WHITE, arena)
            move[lane] = _ZERO
        played[first : first + lanes] = 0
        for ply in range(tokens.shape[1]):
            for lane in range(lanes):
                token = tokens[first + lane, ply]
                named = _ONE << _U(bit_of_token[token]) if 0 < token < len(bit_of_token) else _ZERO
                move[lane] = named & options[lane]
                played[first + lane] += move[lane] != _ZERO
            for lane in range(LANES):
                flipped = _flips(move[lane], own[lane], other[lane])
                before = own[lane]
                own[lane] = other[lane] & ~flipped
                other[lane] = before | flipped | move[lane]
            for lane in range(LANES):
                options[lane] = _legal_moves(own[lane], other[lane], arena)
            for lane in range(lanes):
                if move[lane] == _ZERO:
                    own[lane], other[lane] = other[lane], own[lane]
                    options[lane] = _ZERO
                else:
                    side[lane] = -side[lane]
                    if options[lane] == _ZERO:
                        options[lane] = _legal_moves(other[lane], own[lane], arena)
                        if options[lane] != _ZERO:
                            own[lane], other[lane] = other[lane], own[lane]
                            side[lane] = -side[lane]
                if side[lane] == 1:
                    black[first + lane, ply], white[first + lane, ply] = own[lane], other[lane]
                else:
                    black[first + lane, ply], white[first + lane, ply] = other[lane], own[lane]
                legal[first + lane, ply] = options[lane]
                to_move[first + lane, ply] = side[lane]
