"""Othello on the CPU: the rules, random games and replays as compiled loops.

For: millions of games in seconds. There are two sets of the same kernels: `*_scalar` plays one game at a time and is the
readable reference, `*_lockstep` plays LANES games side by side so that the compiler turns each step into vector instructions.
Both give the same bits, and the same as `rules_torch.py`. Not for: shapes, checks and words; callers use `games.py`.

All of them are in this one file because numba's on-disk cache looks at the file and the name of a kernel alone: a helper in
another file could change and the stale machine code would still be used. For the same reason the constants that other files
hold are stamped into the names. Every literal is wrapped as uint64, since numba turns a mixture of
uint64 and int64 into float64. The kernels release the GIL and share nothing, so threads may run them side by side.

The random stream is `models/random_stream.py` bit for bit: move number k (from 0) of game `index` takes draw(seed, index, k)
and picks the legal square of rank floor(high 32 bits * number of legal squares / 2**32), counted from the lowest bit.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any
from zlib import crc32

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from models.othello import board
from models.random_stream import GOLDEN, MULTIPLIER_1, MULTIPLIER_2

LANES = 64

_U = np.uint64
_ZERO, _ONE = _U(0), _U(1)
_EACH = _U(0x0101010101010101)  # one in every byte
_OWN_BIT = _U(0x8040201008040201)  # byte k holds bit k
_SEVENS, _HIGH = _U(0x7F7F7F7F7F7F7F7F), _U(0x8080808080808080)
_GOLDEN, _MULTIPLIER_1, _MULTIPLIER_2 = _U(GOLDEN), _U(MULTIPLIER_1), _U(MULTIPLIER_2)
_BLACK, _WHITE = _U(board.START_BLACK), _U(board.START_WHITE)
(_S0, _M0), (_S1, _M1), (_S2, _M2), (_S3, _M3) = ((_U(shift), _U(mask)) for shift, mask in board.DIRECTIONS)
_STAMP = crc32(repr((board.DIRECTIONS, board.START_BLACK, board.START_WHITE, GOLDEN, MULTIPLIER_1, MULTIPLIER_2)).encode())


def _inlined(function: Callable[..., Any]) -> Any:
    """A part of kernels; `unwrap` takes off what a run-time type checker may have put around it, which numba cannot compile."""
    return njit(forceinline=True)(unwrap(function))


def _kernel(function: Callable[..., Any]) -> Any:
    """A compiled loop that other files call; it releases the GIL, and its machine code is kept on disk."""
    plain = unwrap(function)
    plain.__qualname__ += f"_{_STAMP:x}"
    return njit(nogil=True, cache=True)(plain)


def _count_ones(typing_context, word):
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


_ones: Any = intrinsic(_count_ones)  # number of set bits, one machine instruction


@_inlined
def _mix(z):
    z = (z ^ (z >> _U(30))) * _MULTIPLIER_1
    z = (z ^ (z >> _U(27))) * _MULTIPLIER_2
    return z ^ (z >> _U(31))


@_inlined
def _run_up(start, discs, shift):
    """The unbroken run of `discs` next to `start`, towards higher bits: at most six discs, so three doublings."""
    run = discs & (start << shift)
    run |= discs & (run << shift)
    pairs = discs & (discs << shift)
    run |= pairs & (run << (shift + shift))
    return run | (pairs & (run << (shift + shift)))


@_inlined
def _run_down(start, discs, shift):
    """As `_run_up`, towards lower bits."""
    run = discs & (start >> shift)
    run |= discs & (run >> shift)
    pairs = discs & (discs >> shift)
    run |= pairs & (run >> (shift + shift))
    return run | (pairs & (run >> (shift + shift)))


@_inlined
def _runs(start, other):
    """The runs of the other's discs next to `start`, in the eight directions: upwards, then the same four downwards."""
    discs_0, discs_1, discs_2, discs_3 = other & _M0, other & _M1, other & _M2, other & _M3
    return (
        _run_up(start, discs_0, _S0),
        _run_up(start, discs_1, _S1),
        _run_up(start, discs_2, _S2),
        _run_up(start, discs_3, _S3),
        _run_down(start, discs_0, _S0),
        _run_down(start, discs_1, _S1),
        _run_down(start, discs_2, _S2),
        _run_down(start, discs_3, _S3),
    )


@_inlined
def _legal_moves(runs, own, other, arena):
    """The empty squares at the far end of the runs of the other's discs next to own discs."""
    ends = (runs[0] << _S0) | (runs[1] << _S1) | (runs[2] << _S2) | (runs[3] << _S3)
    ends |= (runs[4] >> _S0) | (runs[5] >> _S1) | (runs[6] >> _S2) | (runs[7] >> _S3)
    return ends & arena & ~(own | other)


@_inlined
def _flips(move, other, runs):
    """The other's discs between the move and an own disc: on a run from the move and, the opposite way, on one from a disc."""
    mine = _runs(move, other)
    flipped = (mine[0] & runs[4]) | (mine[1] & runs[5]) | (mine[2] & runs[6]) | (mine[3] & runs[7])
    return flipped | (mine[4] & runs[0]) | (mine[5] & runs[1]) | (mine[6] & runs[2]) | (mine[7] & runs[3])


@_inlined
def _keep(table, lane, runs):
    """Write the runs of one lane; direction by direction, since a loop would keep the loop around it from being vectorised."""
    table[0, lane], table[1, lane], table[2, lane], table[3, lane] = runs[0], runs[1], runs[2], runs[3]
    table[4, lane], table[5, lane], table[6, lane], table[7, lane] = runs[4], runs[5], runs[6], runs[7]


@_inlined
def _kept(table, lane):
    """The runs of one lane, as `_keep` wrote them."""
    return (
        table[0, lane],
        table[1, lane],
        table[2, lane],
        table[3, lane],
        table[4, lane],
        table[5, lane],
        table[6, lane],
        table[7, lane],
    )


@_inlined
def _pick_by_counting(legal, random):
    """One of the set bits of `legal` (which has at least one), uniform for a uniform `random`."""
    rank = ((random >> _U(32)) * _ones(legal)) >> _U(32)
    while rank:
        legal &= legal - _ONE
        rank -= _ONE
    return legal & (~legal + _ONE)


@_inlined
def _counts(word):
    """Number of set bits of each byte, in that byte."""
    word = word - ((word >> _ONE) & _U(0x5555555555555555))
    word = (word & _U(0x3333333333333333)) + ((word >> _U(2)) & _U(0x3333333333333333))
    return (word + (word >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)


@_inlined
def _spread(octet):
    """Bit k of 0 .. 255 as byte k, each byte 0 or 1."""
    return ((((octet * _EACH) & _OWN_BIT) + _SEVENS) >> _U(7)) & _EACH


@_inlined
def _bytes_up_to(rank, sums):
    """How many bytes of the running sums are <= rank: the place of the first one that exceeds it."""
    return _ones((((rank * _EACH) | _HIGH) - sums) & _HIGH)


@_inlined
def _pick(legal, random):
    """As `_pick_by_counting`, and 0 where no bit is set; without a branch, so that it turns into vector instructions.

    Running sums over the bytes of the mask find the byte that holds the bit, running sums over the byte's bits find the bit.
    """
    sums = _counts(legal) * _EACH
    rank = ((random >> _U(32)) * (sums >> _U(56))) >> _U(32)
    shift = (_U(8) * _bytes_up_to(rank, sums)) & _U(63)
    rank -= ((sums << _U(8)) >> shift) & _U(0xFF)
    place = shift + _bytes_up_to(rank, _spread((legal >> shift) & _U(0xFF)) * _EACH)
    return _ONE << (place & _U(63)) if legal != _ZERO else _ZERO


@_inlined
def _token(move, playable):
    """The token of a move, 0 for none: tokens count the playable squares from 1, in order."""
    return np.uint8(_ones((move - _ONE) & playable) + _ONE if move != _ZERO else _ZERO)


@_kernel
def generate_scalar(seed_state, indices, arena, tokens):
    """Play one random game after the other: uint8[game, ply] `tokens` from uint64[game] `indices`."""
    playable = arena & ~(_BLACK | _WHITE)
    for game in range(len(indices)):
        counter = _mix(seed_state + _GOLDEN * (indices[game] + _ONE))
        own, other = _BLACK, _WHITE
        tokens[game] = 0
        for ply in range(tokens.shape[1]):
            runs = _runs(own, other)
            legal = _legal_moves(runs, own, other, arena)
            if legal == _ZERO:
                own, other = other, own
                runs = _runs(own, other)
                legal = _legal_moves(runs, own, other, arena)
                if legal == _ZERO:
                    break
            counter += _GOLDEN
            move = _pick_by_counting(legal, _mix(counter))
            tokens[game, ply] = _token(move, playable)
            flipped = _flips(move, other, runs)
            own, other = other & ~flipped, own | flipped | move


@_kernel
def generate_lockstep(seed_state, indices, arena, tokens):
    """As `generate_scalar`, LANES games at a time; each inner loop is one step of all of them."""
    playable = arena & ~(_BLACK | _WHITE)
    own, other, legal, move, counter = np.empty((5, LANES), np.uint64)
    table = np.empty((8, LANES), np.uint64)
    for first in range(0, len(indices), LANES):
        lanes = min(LANES, len(indices) - first)
        for lane in range(LANES):
            own[lane], other[lane] = _BLACK, _WHITE
            index = indices[first + min(lane, lanes - 1)]  # lanes beyond the last game play it again, unwritten
            counter[lane] = _mix(seed_state + _GOLDEN * (index + _ONE))
        for ply in range(tokens.shape[1]):
            stuck = False
            for lane in range(LANES):
                runs = _runs(own[lane], other[lane])
                _keep(table, lane, runs)
                legal[lane] = _legal_moves(runs, own[lane], other[lane], arena)
                stuck |= legal[lane] == _ZERO
            if stuck:
                for lane in range(LANES):
                    if legal[lane] == _ZERO:
                        own[lane], other[lane] = other[lane], own[lane]
                        runs = _runs(own[lane], other[lane])
                        _keep(table, lane, runs)
                        legal[lane] = _legal_moves(runs, own[lane], other[lane], arena)
            for lane in range(LANES):
                counter[lane] += _GOLDEN
                move[lane] = _pick(legal[lane], _mix(counter[lane]))
            for lane in range(lanes):
                tokens[first + lane, ply] = _token(move[lane], playable)
            for lane in range(LANES):
                flipped = _flips(move[lane], other[lane], _kept(table, lane))
                mine = own[lane] | flipped | move[lane]
                own[lane] = other[lane] & ~flipped
                other[lane] = mine


@_kernel
def replay_scalar(tokens, arena, move_of_token, black, white, legal, to_move, played):
    """Replay one game after the other: the state after each of uint8[game, ply] `tokens`, see `games.Replay`.

    An illegal move, or padding, stops its game: the state stands from then on, and nothing is legal.
    """
    for game in range(len(tokens)):
        own, other, side = _BLACK, _WHITE, 1
        runs = _runs(own, other)
        options = _legal_moves(runs, own, other, arena)
        played[game] = 0
        for ply in range(tokens.shape[1]):
            move = move_of_token[tokens[game, ply]] & options
            options = _ZERO
            if move != _ZERO:
                played[game] += 1
                flipped = _flips(move, other, runs)
                own, other, side = other & ~flipped, own | flipped | move, -side
                runs = _runs(own, other)
                options = _legal_moves(runs, own, other, arena)
                if options == _ZERO:
                    runs = _runs(other, own)
                    options = _legal_moves(runs, own, other, arena)
                    if options != _ZERO:
                        own, other, side = other, own, -side
            black[game, ply], white[game, ply] = (own, other) if side == 1 else (other, own)
            legal[game, ply] = options
            to_move[game, ply] = side


@_kernel
def replay_lockstep(tokens, arena, move_of_token, black, white, legal, to_move, played):
    """As `replay_scalar`, LANES games at a time; each inner loop is one step of all of them."""
    own, other, options, move, turned = np.empty((5, LANES), np.uint64)  # `turned`: 1 where white moves next
    table = np.empty((8, LANES), np.uint64)
    for first in range(0, len(tokens), LANES):
        lanes = min(LANES, len(tokens) - first)
        for lane in range(LANES):
            own[lane], other[lane], turned[lane], move[lane] = _BLACK, _WHITE, _ZERO, _ZERO
            runs = _runs(_BLACK, _WHITE)
            _keep(table, lane, runs)
            options[lane] = _legal_moves(runs, _BLACK, _WHITE, arena)
        played[first : first + lanes] = 0
        for ply in range(tokens.shape[1]):
            for lane in range(lanes):
                move[lane] = move_of_token[tokens[first + lane, ply]] & options[lane]
                played[first + lane] += move[lane] != _ZERO
            for lane in range(LANES):
                flipped = _flips(move[lane], other[lane], _kept(table, lane))
                playing = move[lane] != _ZERO
                mine, theirs = own[lane] | flipped | move[lane], other[lane] & ~flipped
                own[lane] = theirs if playing else mine
                other[lane] = mine if playing else theirs
                turned[lane] ^= _ONE if playing else _ZERO
            stuck = False
            for lane in range(LANES):
                playing = move[lane] != _ZERO
                runs = _runs(own[lane], other[lane])
                _keep(table, lane, runs)
                options[lane] = _legal_moves(runs, own[lane], other[lane], arena) if playing else _ZERO
                stuck |= options[lane] == _ZERO
            if stuck:
                for lane in range(LANES):
                    if options[lane] == _ZERO and move[lane] != _ZERO:
                        runs = _runs(other[lane], own[lane])
                        options[lane] = _legal_moves(runs, own[lane], other[lane], arena)
                        if options[lane] != _ZERO:
                            _keep(table, lane, runs)
                            own[lane], other[lane] = other[lane], own[lane]
                            turned[lane] ^= _ONE
            for lane in range(lanes):
                white_moves = turned[lane] != _ZERO
                black[first + lane, ply] = other[lane] if white_moves else own[lane]
                white[first + lane, ply] = own[lane] if white_moves else other[lane]
                legal[first + lane, ply] = options[lane]
                to_move[first + lane, ply] = -1 if white_moves else 1


@_kernel
def spread_words(words, squares):
    """Expand bitboards: uint64[word] into uint64[word, 8], one byte 0 or 1 a bit; the caller views them as bool[word, 64]."""
    for i in range(len(words)):
        for row in range(8):
            squares[i, row] = _spread((words[i] >> _U(8 * row)) & _U(0xFF))


@_kernel
def spread_states(first, second, squares):
    """As `spread_words`, for a pair of bitboards: each byte 0 where `first` has a disc, 1 where `second` has, 2 elsewhere."""
    for i in range(len(first)):
        for row in range(8):
            mine = _spread((first[i] >> _U(8 * row)) & _U(0xFF))
            theirs = _spread((second[i] >> _U(8 * row)) & _U(0xFF))
            squares[i, row] = _EACH + _EACH - mine - mine - theirs
