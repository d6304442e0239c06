"""Exchangeability: how much do the last logits move when the order of the earlier tokens changes, and nothing that matters?

In both tasks the right answer does not depend on how the state came about. Set complement: any permutation of the prefix, last
token kept. Othello: transpositions, that is another order of the same moves, last move kept, that is legal throughout and ends
in the same board with the same side to move; here two moves of the game change places. Whatever the output moves by is error.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import pandas as pd
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.config import WeightsName
from models.othello.games import replay
from models.othello.task import OthelloTask
from models.random_stream import draws
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.task import Task
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import drawn_sequences
from probes.residual_stream import Model, require_input
from probes.subject import Address, subject

Pair = Literal["reordered", "another sequence"]
PAIRS: tuple[Pair, ...] = get_args(Pair)
METRICS = ("logit_change", "total_variation", "top1_changed")
SEQUENCES = 500
BATCH = 64
SHORTEST = 3
MOST_LENGTHS = 1 << 16


def exchangeability(
    model: Address,
    task: Task | None = None,
    lengths: Sequence[int] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Change of the last prediction under a change of order of the earlier tokens, by length, beside that of another sequence.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        task: the task; None for the one on the card.
        lengths: of at least 3, since the order of fewer tokens before the last cannot change; None for about ten, evenly
            spread.
        sequences: how many sequences; each gives one pair a length, where it has one.
        seed: which sequences and orders, in 0 .. 2**32 - 1.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `pair` ("reordered", or the control "another sequence"),
        `length`, `metric`, `value`, `ci_low`, `ci_high` (over sequences), `sequences`. Metrics: `logit_change`, root mean
        square over tokens of the difference of centred logits, >= 0; `total_variation` of the next-token distributions, [0, 1];
        `top1_changed`, the share of pairs whose most probable token differs. All are 0, to rounding, for a model of one layer
        without positions (where logits are tied, rounding may still change the top one). Othello: lengths at which no
        sequence has a transposition are missing.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary or of a third task; too few sequences;
            lengths out of range.
        CheckpointError: nothing to load there.
    """
    studied = subject(model, task, weights, device)
    if studied.longest < SHORTEST:
        raise ValueError(
            f"inputs of this model have at most {studied.longest} tokens, and only from {SHORTEST} on can their order change; "
            "use a model of a larger vocabulary"
        )
    chosen = _spread(studied.longest) if lengths is None else lengths
    if not chosen or not SHORTEST <= min(chosen) <= max(chosen) <= studied.longest:
        raise ValueError(f"lengths {list(chosen)} are not within {SHORTEST} .. {studied.longest}; choose some that are")
    sums = {pair: {name: ClusteredMeans(len(chosen)) for name in METRICS} for pair in PAIRS}
    for drawn in drawn_sequences(studied, sequences, seed, batch, progress, "exchangeability"):
        all_own = _logits(studied.model, drawn.tokens)
        for at, length in enumerate(chosen):
            tokens = drawn.tokens[:, :length]
            other, found = reordered(studied.task, tokens.cpu(), Draw.ORDERS.stream(seed), drawn.number * MOST_LENGTHS + length)
            present = drawn.present[:, length - 1]
            there = found.to(tokens.device) & present & present.roll(1)
            own, moved = all_own[:, length - 1], _logits(studied.model, other.to(tokens.device))[:, -1]
            for pair, second in zip(PAIRS, (moved, own.roll(1, dims=0)), strict=True):
                for name, values in _changes(own, second).items():
                    sums[pair][name].add(values.masked_fill(~there, 0), there.double(), at)
    frame = pd.concat([_rows(pair, by_name, chosen) for pair, by_name in sums.items()], ignore_index=True)
    return studied.named(frame[frame["sequences"] > 0].reset_index(drop=True))


def _spread(longest: int) -> list[int]:
    """About ten lengths, from the shortest to the longest."""
    return sorted({round(length) for length in torch.linspace(SHORTEST, longest, min(10, longest - SHORTEST + 1)).tolist()})


def reordered(
    task: Task, tokens: Int64[Tensor, "batch position"], stream: int, number: Int64[Tensor, "batch"]
) -> tuple[Int64[Tensor, "batch position"], Bool[Tensor, "batch"]]:
    """Each input with its tokens before the last in a random other order that leads to the same state, and where one was found.

    Which order is a pure function of (stream, number); where none was found the input itself is returned.
    """
    if isinstance(task, OthelloTask):
        return _transposed(task, tokens, stream, number)
    if not isinstance(task, SetComplementTask):
        raise ValueError(
            f"which orders of a {task.name} input mean the same is not known here; use a set-complement or Othello model"
        )
    order = draws(stream, number, tokens.shape[1] - 1).argsort(dim=1)
    other = torch.cat([tokens.gather(1, order), tokens[:, -1:]], dim=1)
    return other, (other != tokens).any(1)


def _transposed(
    task: OthelloTask, tokens: Int64[Tensor, "batch position"], stream: int, number: Int64[Tensor, "batch"]
) -> tuple[Int64[Tensor, "batch position"], Bool[Tensor, "batch"]]:
    """Tries every exchange of two moves of one parity before the last, and keeps a random one of those that change nothing."""
    batch, length = tokens.shape
    first, second = torch.triu_indices(length - 1, length - 1, offset=2)
    same_side = (second - first) % 2 == 0
    order = repeat(torch.arange(length), "position -> pair position", pair=int(same_side.sum())).clone()
    pairs = torch.arange(len(order))
    order[pairs, first[same_side]], order[pairs, second[same_side]] = second[same_side], first[same_side]
    tried = rearrange(tokens[:, order], "batch pair position -> (batch pair) position")
    after, own = replay(task.board, tried), replay(task.board, tokens)
    same = after.played == repeat(own.played, "batch -> (batch pair)", pair=len(order))
    for state in ("black", "white", "to_move"):
        same &= getattr(after, state)[:, -1] == repeat(getattr(own, state)[:, -1], "batch -> (batch pair)", pair=len(order))
    works = rearrange(same, "(batch pair) -> batch pair", batch=batch)
    if not works.numel():
        return tokens, torch.zeros(batch, dtype=torch.bool)
    key = draws(stream, number, len(order)).masked_fill(~works, torch.iinfo(torch.int64).min)
    best, found = key.argmax(1), works.any(1)
    return torch.where(found[:, None], tokens.gather(1, order[best]), tokens), found


def _logits(model: Model, tokens: Int64[Tensor, "batch position"]) -> Float[Tensor, "batch position vocab"]:
    require_input(model, tokens)
    with torch.no_grad():
        return model(tokens)


def _changes(own: Float[Tensor, "batch vocab"], other: Float[Tensor, "batch vocab"]) -> dict[str, Float[Tensor, "batch"]]:
    own, other = own.double(), other.double()
    difference = own - other
    centred = difference - difference.mean(-1, keepdim=True)  # a constant added to all logits changes no prediction
    return {
        "logit_change": centred.square().mean(-1).sqrt(),
        "total_variation": 0.5 * (own.softmax(-1) - other.softmax(-1)).abs().sum(-1),
        "top1_changed": (own.argmax(-1) != other.argmax(-1)).double(),
    }


def _rows(pair: Pair, by_name: dict[str, ClusteredMeans], lengths: Sequence[int]) -> pd.DataFrame:
    frames = [means.frame(name, shares=name == "top1_changed", length=lengths) for name, means in by_name.items()]
    frame = pd.concat(frames, ignore_index=True).assign(pair=pair)
    return frame[["pair", "length", "metric", "value", "ci_low", "ci_high", "sequences"]]
