"""Othello on any torch device: the rules, random games and replays as int64 bitboards, a whole batch an operation.

For: large batches next to a model on a GPU, where one compiled step plays a move in all games at once. The same bits as
`kernels.py`. Not for: small batches, which the CPU kernels finish before a GPU has launched 60 steps; `games.py` chooses.

torch's int64 is signed, so its >> copies the sign bit downwards. Two things make that harmless here: the masks of
`board.DIRECTIONS` keep a run of discs away from the last row (or column), where such copies would land, and every other
shift is followed by a mask that drops them. Bitboards are compared with `!= 0`, never `> 0`.
"""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Int8, Int64, UInt8
from torch import Tensor

from models.othello.board import CENTRE, DIRECTIONS, START_BLACK, START_WHITE, Board
from models.random_stream import GOLDEN, as_signed, mix, states

Words = Int64[Tensor, "*game"]

_EACH = 0x0101010101010101  # one in every byte
_OWN_BIT = as_signed(0x8040201008040201)  # byte k holds bit k
_SEVENS = 0x7F7F7F7F7F7F7F7F
_HIGH = as_signed(0x8080808080808080)


def _run_up(start: Words, discs: Words, shift: int) -> Words:
    """The unbroken run of `discs` next to `start`, towards higher bits: at most six discs, so three doublings."""
    run = discs & (start << shift)
    run = run | (discs & (run << shift))
    pairs = discs & (discs << shift)
    run = run | (pairs & (run << 2 * shift))
    return run | (pairs & (run << 2 * shift))


def _run_down(start: Words, discs: Words, shift: int) -> Words:
    run = discs & (start >> shift)
    run = run | (discs & (run >> shift))
    pairs = discs & (discs >> shift)
    run = run | (pairs & (run >> 2 * shift))
    return run | (pairs & (run >> 2 * shift))


def legal_moves(own: Words, other: Words, board: Board) -> Words:
    """The empty squares from which a run of the other's discs leads to an own disc, as bitboards."""
    ends = torch.zeros_like(own)
    for shift, inner in DIRECTIONS:
        discs = other & inner
        ends = ends | (_run_up(own, discs, shift) << shift) | (_run_down(own, discs, shift) >> shift)
    return ends & as_signed(board.arena) & ~(own | other)


def flips(move: Words, own: Words, other: Words) -> Words:
    """The other's discs between the move (one bit, or none) and an own disc: the runs that can be reached from both ends."""
    flipped = torch.zeros_like(own)
    for shift, inner in DIRECTIONS:
        discs = other & inner
        flipped = flipped | (_run_up(move, discs, shift) & _run_down(own, discs, shift))
        flipped = flipped | (_run_down(move, discs, shift) & _run_up(own, discs, shift))
    return flipped


def _counts(words: Words) -> Words:
    """Number of set bits of each byte, in that byte."""
    words = words - ((words >> 1) & 0x5555555555555555)
    words = (words & 0x3333333333333333) + ((words >> 2) & 0x3333333333333333)
    return (words + (words >> 4)) & 0x0F0F0F0F0F0F0F0F


def spread(octets: Words) -> Words:
    """Bit k of 0 .. 255 as byte k, each byte 0 or 1: eight squares to an int64."""
    return ((((octets * _EACH) & _OWN_BIT) + _SEVENS) >> 7) & _EACH


def _bytes_up_to(rank: Words, sums: Words) -> Words:
    """How many bytes of the running sums are <= rank: the place of the first one that exceeds it."""
    reached = ((rank * _EACH) | _HIGH) - sums
    return (((reached >> 7) & _EACH) * _EACH) >> 56


def pick(legal: Words, random: Words) -> Words:
    """One of the set bits, uniform for uniform `random`; no bit where none is set.

    The rank is floor(high 32 bits of `random` * number of set bits / 2**32), from the lowest; running sums over the bytes find
    its byte, and running sums over the bits of that byte find the bit.
    """
    sums = _counts(legal) * _EACH
    rank = (((random >> 32) & 0xFFFFFFFF) * (sums >> 56)) >> 32
    shift = (8 * _bytes_up_to(rank, sums)) & 63
    rank = rank - (((sums << 8) >> shift) & 0xFF)
    place = shift + _bytes_up_to(rank, spread((legal >> shift) & 0xFF) * _EACH)
    return torch.where(legal != 0, torch.ones_like(legal) << (place & 63), 0)


@cache
def _generation_step(board: Board, compiled: bool) -> Callable[..., None]:
    """Play one move in every game, in place, and write its token."""
    playable = as_signed(board.arena & ~CENTRE)

    def step(own: Words, other: Words, counter: Words, token: UInt8[Tensor, "*game"]) -> None:
        legal = legal_moves(own, other, board)
        passes = legal == 0
        mover, waiting = torch.where(passes, other, own), torch.where(passes, own, other)
        legal = torch.where(passes, legal_moves(other, own, board), legal)
        following = counter + as_signed(GOLDEN)
        move = pick(legal, mix(following))
        flipped = flips(move, mover, waiting)
        squares_below = ((_counts((move - 1) & playable) * _EACH) >> 56) + 1
        token.copy_(torch.where(move != 0, squares_below, 0))
        counter.copy_(following)
        own.copy_(waiting & ~flipped)
        other.copy_(mover | flipped | move)

    return torch.compile(step, dynamic=True) if compiled else step


@cache
def _replay_step(board: Board, compiled: bool) -> Callable[..., None]:
    """Play one given move in every game, in place, and write the state after it; an illegal one stops its game."""
    bit_of_token = board.bit_of_token.astype("int64")
    shifts = torch.from_numpy(bit_of_token % 64)

    def step(move, own, other, options, side, played, black, white, legal, to_move) -> None:  # type: ignore[no-untyped-def]
        ...

    return step


def _padded(count: int) -> int:
    return -(-count // 64) * 64  # so that every row of the outputs is aligned


def generate(board: Board, seed: int, indices: Int64[Tensor, "game"], compiled: bool) -> UInt8[Tensor, "game moves"]:
    """The games of these indices of stream `seed`, on the device of `indices`; see `games.generate`."""
    count = len(indices)
    counter = torch.nn.functional.pad(states(seed, indices), (0, _padded(count) - count))
    own, other = torch.full_like(counter, START_BLACK), torch.full_like(counter, START_WHITE)
    tokens = torch.empty(board.moves, len(counter), dtype=torch.uint8, device=indices.device)
    step = _generation_step(board, compiled)
    for token in tokens:
        step(own, other, counter, token)
    return tokens[:, :count].T.contiguous()
