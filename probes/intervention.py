"""Edits of the board inside a model: move the residual stream along a probe's directions, and see whether behaviour follows.

For: `with intervene(...)`, on plain and hooked models. Not for: whether it worked (`intervention_score.py`), nor ablations.

The edit of one square asks for a change of that square's reading and none of the others'. Of all changes of the stream that do
this, it takes the one that is smallest in the metric of the stream's own covariance, so the one most like what the model itself
does: the probe's patterns, solved against its weights. Derived for this project; published codes (arXiv 2309.00941) move along
the probe's weight, which for a least-squares probe takes several times the distance, into directions the model hardly uses.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from probes.linear_probe import LinearProbe, with_penalty
from probes.residual_stream import Model, Stream, context_of, layers_of, require_layers, visiting, width_of

Method = Literal["flip", "erase", "add"]
"""flip: a disc to the other side's; erase: a disc to empty; add: empty to a disc."""
METHODS: tuple[Method, ...] = get_args(Method)
EMPTY = 2
STRENGTH = 2.0
RIDGE = 1e-3

PerSequence = int | Int64[Tensor, "batch"]
Change = Callable[[int, Float[Tensor, "batch width"]], Float[Tensor, "batch width"]]
"""From a layer and the stream at the edited positions to what is added there."""


@contextmanager
def intervene(
    model: Model,
    probe: LinearProbe,
    method: Method,
    square: PerSequence,
    state: PerSequence,
    *,
    layers: Collection[int],
    position: PerSequence = -1,
    strength: float = STRENGTH,
) -> Iterator[None]:
    """While this is open, forward passes see one square of the board changed; on the way out the model is as it was.

    At each of the layers, the score of the state the square is to have is brought to at least `strength` above the score of the
    state it had; where it is there already, nothing is done, so several layers do not add up. The stream is replaced by a new
    tensor, never written to. Nestable; removes its own hooks only, also when a pass raises.

    Args:
        model: plain or hooked, in eval mode.
        probe: in closed form or logistic, of this model, in the frame that `state` is meant in.
        method: flip or erase the disc `state` that is there, or add the disc `state`.
        square: 0 .. squares - 1, one for all sequences of a pass or one for each.
        state: 0 (mine, black) or 1 (theirs, white), one for all or one for each.
        layers: where to edit: 0 the embedding, l after block l.
        position: index of the input where to edit, one for all or one for each; -1 is the last.
        strength: in units of the probe's scores, > 0. In closed form 1 is the difference between a state and another one in a
            perfect reading; the default, 2, overshoots, since what is not edited (earlier positions) says otherwise.

    Raises:
        ValueError: an unknown method, square, state, layer or position; a probe of another width or depth; a model in training
            mode; in the forward pass, a batch of another size than `square`, `state` or `position`.
    """
    _require_fit(model, probe, layers)
    change = board_edit(probe, method, square, state, strength)
    with editing(model, change, layers, position):
        yield


@contextmanager
def editing(model: Model, change: Change, layers: Collection[int], position: PerSequence = -1) -> Iterator[None]:
    """While this is open, forward passes have `change(layer, rows)` added to the stream at one position of each sequence."""
    if not len(layers):
        raise ValueError("no layer was given to intervene at; give at least one")
    _require_range(position, range(-1, context_of(model)), "position")
    at = torch.as_tensor(position)

    def visit(layer: int, stream: Stream) -> Stream:
        sequence, where = torch.arange(len(stream), device=stream.device), _per_sequence(at, stream[:, 0])
        where = torch.where(where < 0, stream.shape[1] - 1, where)
        _require_range(where, range(stream.shape[1]), "position")
        edited = stream.clone()
        edited[sequence, where] += change(layer, stream[sequence, where])
        return edited

    with visiting(model, visit, layers):
        yield


def board_edit(
    probe: LinearProbe, method: Method, square: PerSequence, state: PerSequence, strength: float = STRENGTH
) -> Change:
    """What `intervene` adds at each layer. Raises ValueError for an unknown method, square or state, and for strength <= 0."""
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; choose one of {', '.join(METHODS)}")
    _require_range(square, range(probe.bias.shape[1]), "square")
    _require_range(state, range(EMPTY), "state of a disc")
    if not strength > 0:
        raise ValueError(f"strength {strength} would not change the reading, expected a value > 0; use {STRENGTH:g}")
    at, disc = torch.as_tensor(square), torch.as_tensor(state)
    empty = torch.full_like(disc, EMPTY)
    old, new = {"flip": (disc, 1 - disc), "erase": (disc, empty), "add": (empty, disc)}[method]
    directions: dict[int, Float[Tensor, "width square state"]] = {}

    def change(layer: int, rows: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        if layer not in directions:
            directions[layer] = edit_directions(probe, layer)
        where, before, after = (_per_sequence(value, rows) for value in (at, old, new))

        def difference(states: Float[Tensor, "*rest square state"]) -> Float[Tensor, "*rest batch"]:
            here = states.to(rows)
            return here[..., where, after] - here[..., where, before]

        direction = rearrange(difference(directions[layer]), "width batch -> batch width")
        reading = rearrange(difference(probe.weight[layer]), "width batch -> batch width")
        contrast = (reading * rows).sum(1) + difference(probe.bias[layer])
        steps = (strength - contrast).clamp(min=0) / (reading * direction).sum(1)
        return steps[:, None] * direction

    return change


def edit_directions(probe: LinearProbe, layer: int) -> Float[Tensor, "width square state"]:
    """How the stream moves when the score of one state of one square rises by 1 against `empty` and no other square's changes.

    With weights w and patterns C w of states 0 and 1 (the third is minus their sum), that is C w (w' C w)^-1, a column each;
    the column of `empty` is 0. A small ridge keeps squares apart whose readings hardly vary.
    """
    weight, pattern = (tensor[layer, :, :, :EMPTY].double().flatten(1) for tensor in (probe.weight, probe.pattern))
    solved = torch.linalg.solve(with_penalty(weight.T @ pattern, RIDGE), pattern, left=False)
    columns = rearrange(solved, "width (square state) -> width square state", state=EMPTY)
    return F.pad(columns, (0, 1)).float()


def _per_sequence(value: Int64[Tensor, "*batch"], rows: Float[Tensor, "batch width"]) -> Int64[Tensor, "batch"]:
    if value.ndim and len(value) != len(rows):
        raise ValueError(f"the intervention is for {len(value)} sequences, the batch has {len(rows)}; give one number for each")
    return value.to(rows.device).expand(len(rows))


def _require_range(value: PerSequence, allowed: range, noun: str) -> None:
    given = torch.as_tensor(value)
    outside = given[(given < allowed.start) | (given >= allowed.stop)]
    if outside.numel():
        first = int(outside.flatten()[0])
        raise ValueError(f"{noun} {first} is outside {allowed.start} .. {allowed.stop - 1}; choose one inside")


def _require_fit(model: Model, probe: LinearProbe, layers: Collection[int]) -> None:
    require_layers(model, layers)
    found, wanted = tuple(probe.weight.shape[:2]), (len(layers_of(model)), width_of(model))
    if found != wanted:
        raise ValueError(
            f"the probe reads {found[0]} layers of width {found[1]}, the model has {wanted[0]} of width {wanted[1]}; use a "
            "probe that was fitted on this model"
        )
