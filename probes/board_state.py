"""Does the model know the board? Probes of every layer for what is on each square, with the controls that give them meaning.

For: the whole measurement as one tidy frame. The parts: `harvest.py` (games to labelled streams), `board_fit.py` (fits),
`board_scores.py` (accuracies), `board_probe.py` (saving), `intervention.py` (does the model use what is read?). Method: Li et
al. 2022 (arXiv 2210.13382), Nanda et al. 2023 (arXiv 2309.00941); unlike their codes it harvests in eval mode, splits by game,
and labels by the side that truly moves next.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.config import WeightsName
from models.othello.labels import Frame
from models.whole_numbers import require_whole
from probes.board_fit import Fitted, fit_probes
from probes.board_probe import BoardProbe, ProbeKind, save_probe
from probes.board_scores import COLUMNS as SCORE_COLUMNS
from probes.board_scores import BoardScores, Reader
from probes.harvest import BATCH, Games, Positions, Target, harvest
from probes.linear_probe import RIDGE
from probes.residual_stream import layers_of
from probes.subject import Address, OthelloSubject, othello_subject, untrained

Control = Literal["constant guess", "guess by length", "shuffled labels", "wrong layer", "random weights"]
KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)
FRAMES: tuple[Frame, ...] = get_args(Frame)
CONTROLS: tuple[Control, ...] = get_args(Control)
FIT_GAMES = 2000
TEST_GAMES = 500

KEY_COLUMNS = ("probe", "frame", "control")

Measured = dict[tuple[str, str, Target], tuple[Reader, BoardScores]]
"""By probe, control and target: who reads, and how well."""


def board_state(
    model: Address,
    probes: Sequence[ProbeKind] = ("closed-form",),
    frames: Sequence[Frame] = FRAMES,
    controls: Collection[Control] = CONTROLS,
    *,
    fit_games: int = FIT_GAMES,
    test_games: int = TEST_GAMES,
    seed: int = 0,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    ridge: float = RIDGE,
    save: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """How well probes read the board from the residual stream, layer by layer, on games they were not fitted on.

    Args:
        model: a checkpoint folder, run or bundled name (fastest), or a hooked model in eval mode (read through its hooks, so
            with whatever interventions are open on it).
        probes: closed-form (ridge regression), logistic (multinomial), nonlinear (two layers); all for mine / theirs / empty
            by the side that truly moves next where `frames` holds `to_move`, and so on.
        frames: which three states to ask for: `to_move`, `parity` (published), `colour`.
        controls: what to measure beside the probes. constant guess: the most frequent state of each square; guess by length:
            the same at each length; shuffled labels: a probe fitted to the boards of other games at the same length; wrong
            layer: the probe of the layer half the depth away; random weights: probes of the same shape of model, untrained.
            The last three are in closed form; controls are measured on the first frame.
        fit_games: games to fit on, from number 0 of the stream of `seed`.
        test_games: games to measure on, the ones that follow.
        seed: which games, in 0 .. 2**32 - 1.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to, and probes are fitted.
        batch: games a forward pass, and a step of the gradient fits; closed forms do not depend on it but for rounding.
        ridge: penalty of the closed form, relative to the mean variance of a stream coordinate.
        save: a folder for the fitted probes, one subfolder each, `closed-form-to_move` and so on; they replace what is there.
        progress: show progress bars.

    Returns:
        One row a measurement: who was measured (`checkpoint`, `weights`, ...), `probe`, `frame`, `control` ("none" for the
        probes themselves), and the columns of `board_scores.py`. Layer 0 is the embedding, layer l the stream after block l;
        guesses have no layer. `length`, `square` and `state` are missing where a row is pooled over them.

    Raises:
        ValueError: an unknown word, a model in training mode or of another task, too few games.
        CheckpointError: nothing to load there.
    """
    _require_words(probes, frames, controls)
    subject = othello_subject(model, weights, device)
    require_whole("games to fit on", fit_games, least=2)
    require_whole("games to test on", test_games, least=2)
    fitting, testing = Games(seed, 0, fit_games), Games(seed, fit_games, fit_games + test_games)
    targets = [Target(frame) for frame in frames]
    shuffled = [Target(frames[0], shuffled=True)] if "shuffled labels" in controls else []
    fitted = fit_probes(subject, fitting, targets + shuffled, probes, ridge=ridge, batch=batch, progress=progress)
    if save is not None:
        save_probes(Path(save), fitted)
    measured = _measured(subject, fitted, probes, targets, controls)
    _measure(subject, testing, measured, batch, progress)
    if "random weights" in controls:
        measured |= _random_weights(subject, fitting, testing, targets[0], ridge, batch, progress)
    frame = pd.concat([_rows(*key, scores) for key, (_, scores) in measured.items()], ignore_index=True)
    return subject.named(frame[[*KEY_COLUMNS, *SCORE_COLUMNS]])


def _rows(probe: str, control: str, target: Target, scores: BoardScores) -> pd.DataFrame:
    frame = scores.frame().assign(probe=probe, frame=target.frame, control=control)
    return frame.assign(layer=pd.array([pd.NA] * len(frame), "Int64")) if probe == "guess" else frame


def save_probes(folder: Path, fitted: Fitted) -> None:
    """Saves every fitted probe but the shuffled ones to `folder/{kind}-{frame}`."""
    for (kind, target), probe in fitted.probes.items():
        if not target.shuffled:
            save_probe(folder / f"{kind}-{target.frame}", probe)


def _require_words(probes: Collection[str], frames: Collection[str], controls: Collection[str]) -> None:
    for noun, given, known in (("probe", probes, KINDS), ("frame", frames, FRAMES), ("control", controls, CONTROLS)):
        for word in given:
            if word not in known:
                raise ValueError(f"{noun} '{word}' is unknown; choose from {', '.join(known)}")
    if not probes or not frames:
        raise ValueError(
            f"no {'frame' if probes else 'probe'} was asked for; choose from {', '.join(FRAMES if probes else KINDS)}"
        )


def _measured(
    subject: OthelloSubject,
    fitted: Fitted,
    kinds: Sequence[ProbeKind],
    targets: Sequence[Target],
    controls: Collection[Control],
) -> Measured:
    """The readers to be measured in one pass over the test games."""
    layers = len(layers_of(subject.model))
    first = targets[0]
    readers: dict[tuple[str, str, Target], tuple[Reader, int]] = {
        (kind, "none", target): (_reading(fitted.probes[kind, target]), layers) for kind in kinds for target in targets
    }
    if "wrong layer" in controls:
        readers["closed-form", "wrong layer", first] = (_reading(fitted.probes["closed-form", first], layers), layers)
    if "shuffled labels" in controls:
        probe = fitted.probes["closed-form", Target(first.frame, shuffled=True)]
        readers["closed-form", "shuffled labels", first] = (_reading(probe), layers)
    counts = fitted.counts[first]
    guesses = {"constant guess": counts.sum(0, keepdim=True).expand_as(counts), "guess by length": counts}
    for control, guess in guesses.items():
        if control in controls:
            readers["guess", control, first] = (_guessing(guess), 1)
    return {
        key: (reader, BoardScores(key[2], depth, subject.longest, subject.task.board.squares))
        for key, (reader, depth) in readers.items()
    }


def _reading(probe: BoardProbe, wrong_of: int = 0) -> Reader:
    """What a probe reads at each layer; with `wrong_of` layers, what the probe of the layer half as many away reads there."""

    def read(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> Int64[Tensor, "row square"]:
        own = (layer + wrong_of // 2) % wrong_of if wrong_of else layer
        return probe.scores(own, stream).argmax(-1)

    return read


def _guessing(counts: Int64[Tensor, "length square state"]) -> Reader:
    guess = counts.argmax(-1)

    def read(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> Int64[Tensor, "row square"]:
        return guess[positions.length - 1]

    return read


def _measure(subject: OthelloSubject, games: Games, measured: Measured, batch: int, progress: bool) -> None:
    def consume(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> None:
        for reader, scores in measured.values():
            if layer < scores.layers:
                scores.add(layer, reader(layer, stream, positions), positions)

    targets = list(dict.fromkeys(target for _, _, target in measured))
    harvest(subject, games, targets, consume, batch=batch, progress=progress, description="held-out games")


def _random_weights(
    subject: OthelloSubject, fitting: Games, testing: Games, target: Target, ridge: float, batch: int, progress: bool
) -> Measured:
    """The whole measurement on an untrained model of the same shape, on the same games."""
    random = untrained(subject, seed=fitting.seed)
    fitted = fit_probes(random, fitting, [target], ridge=ridge, batch=batch, progress=progress)
    measured = _measured(random, fitted, ("closed-form",), [target], ())
    _measure(random, testing, measured, batch, progress)
    return {("closed-form", "random weights", target): measured["closed-form", "none", target]}
