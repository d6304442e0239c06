"""Othello on any torch device: the rules, random games and replays as int64 bitboards, a whole batch an operation.

For: large batches next to a model on a GPU, where one compiled step plays a move in all games at once. The same bits as
`rules_numba.py`. Not for: small batches, which the CPU kernels finish before a GPU has launched 60 steps; `games.py` chooses.

torch's int64 is signed, so its >> copies the sign bit downwards. Two things make that harmless here: the masks of
`board.DIRECTIONS` keep a run of discs away from the last row (or column), where such copies would land, and every other
shift is followed by a mask that drops them. Bitboards are compared with `!= 0`, never `> 0`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64, UInt8
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


def legal_moves(own: Words, other: Words, arena: Int64[Tensor, ""]) -> Words:
    """The empty squares of the arena from which a run of the other's discs leads to an own disc, as bitboards."""
    ends = torch.zeros_like(own)
    for shift, inner in DIRECTIONS:
        discs = other & inner
        ends = ends | (_run_up(own, discs, shift) << shift) | (_run_down(own, discs, shift) >> shift)
    return ends & arena & ~(own | other)


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


def _resolve_pass(own: Words, other: Words, arena: Int64[Tensor, ""]) -> tuple[Words, Words, Words, Bool[Tensor, "*game"]]:
    """The legal moves of the side that truly moves, its discs, the discs of the side that waits, and where `own` has passed."""
    legal = legal_moves(own, other, arena)
    legal_of_other = legal_moves(other, own, arena)
    passes = (legal == 0) & (legal_of_other != 0)
    legal = torch.where(passes, legal_of_other, legal)
    return legal, torch.where(passes, other, own), torch.where(passes, own, other), passes


def _generation_step(own: Words, other: Words, counter: Words, token: UInt8[Tensor, "*game"], arena: Int64[Tensor, ""]) -> None:
    """Play one random move in every game, in place, and write its token."""
    legal, mover, waiting, _ = _resolve_pass(own, other, arena)
    following = counter + as_signed(GOLDEN)
    move = pick(legal, mix(following))
    flipped = flips(move, mover, waiting)
    playable_up_to_it = ((_counts((move - 1) & arena & ~CENTRE) * _EACH) >> 56) + 1
    token.copy_(torch.where(move != 0, playable_up_to_it, 0))
    counter.copy_(following)
    own.copy_(waiting & ~flipped)
    other.copy_(mover | flipped | move)


def _replay_step(
    own: Words,
    other: Words,
    side: Int8[Tensor, "*game"],
    options: Words,
    played: Words,
    token: UInt8[Tensor, "*game"],
    black: Words,
    white: Words,
    legal: Words,
    to_move: Int8[Tensor, "*game"],
    arena: Int64[Tensor, ""],
    move_of_token: Int64[Tensor, "256"],
) -> None:
    """Play one given move in every game, in place, and write the state after it; an illegal move stops its game."""
    move = move_of_token[token.long()] & options
    playing = move != 0
    flipped = flips(move, own, other)
    following, mover, waiting, passes = _resolve_pass(other & ~flipped, own | flipped | move, arena)
    mover, waiting = torch.where(playing, mover, own), torch.where(playing, waiting, other)
    turned = torch.where(playing & ~passes, -side, side)
    legal.copy_(torch.where(playing, following, 0))
    black.copy_(torch.where(turned == 1, mover, waiting))
    white.copy_(torch.where(turned == 1, waiting, mover))
    to_move.copy_(turned)
    played.copy_(played + playing)
    options.copy_(torch.where(playing, following, 0))
    own.copy_(mover)
    other.copy_(waiting)
    side.copy_(turned)


def spread_words(words: Int64[Tensor, "word"]) -> Int64[Tensor, "word 8"]:
    """Expand bitboards, one byte 0 or 1 a bit; the caller views them as bool[word, 64]."""
    return spread((words[:, None] >> torch.arange(0, 64, 8, device=words.device)) & 0xFF)


def spread_states(first: Int64[Tensor, "word"], second: Int64[Tensor, "word"]) -> Int64[Tensor, "word 8"]:
    """As `spread_words`, for a pair of bitboards: each byte 0 where `first` has a disc, 1 where `second` has, 2 elsewhere."""
    return 2 * _EACH - 2 * spread_words(first) - spread_words(second)


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one fused kernel, for every batch size; the first call takes tens of seconds."""
    return torch.compile(function, dynamic=True)


def _padded(count: int) -> int:
    return -(-count // 64) * 64  # so that every row of the outputs is aligned


def generate(board: Board, seed: int, indices: Int64[Tensor, "game"], compile_steps: bool) -> UInt8[Tensor, "game moves"]:
    """The games of these indices of stream `seed`, on the device of `indices`; see `games.generate`."""
    count = len(indices)
    counter = torch.nn.functional.pad(states(seed, indices), (0, _padded(count) - count))
    own, other = torch.full_like(counter, START_BLACK), torch.full_like(counter, START_WHITE)
    arena = torch.tensor(as_signed(board.arena), device=indices.device)
    tokens = torch.empty(board.moves, len(counter), dtype=torch.uint8, device=indices.device)
    step = compiled(_generation_step) if compile_steps else _generation_step
    for token in tokens:
        step(own, other, counter, token, arena)
    return tokens[:, :count].T.contiguous()


def replay(
    board: Board, tokens: UInt8[Tensor, "game ply"], compile_steps: bool
) -> tuple[
    Int64[Tensor, "game ply"],
    Int64[Tensor, "game ply"],
    Int64[Tensor, "game ply"],
    Int8[Tensor, "game ply"],
    Int64[Tensor, "game"],
]:
    """Black, white, legal, side to move and number of legal moves played, on the device of `tokens`; see `games.Replay`."""
    device = tokens.device
    count, plies = tokens.shape
    games = _padded(count)
    arena = torch.tensor(as_signed(board.arena), device=device)
    move_of_token = torch.from_numpy(board.move_of_token.view(np.int64)).to(device)
    own, other, played = (torch.full((games,), word, device=device) for word in (START_BLACK, START_WHITE, 0))
    side = torch.ones(games, dtype=torch.int8, device=device)
    options = legal_moves(own, other, arena)
    black, white, legal = (torch.empty(plies, games, dtype=torch.int64, device=device) for _ in range(3))
    to_move = torch.empty(plies, games, dtype=torch.int8, device=device)
    by_ply = torch.nn.functional.pad(tokens, (0, 0, 0, games - count)).T.contiguous()
    step = compiled(_replay_step) if compile_steps else _replay_step
    for rows in zip(by_ply, black, white, legal, to_move, strict=True):
        step(own, other, side, options, played, *rows, arena, move_of_token)
    black, white, legal, to_move = (output[:, :count].T.contiguous() for output in (black, white, legal, to_move))
    return black, white, legal, to_move, played[:count]
