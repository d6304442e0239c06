"""What board probes cost: harvest and closed-form fits against the plain forward pass, and against probes trained by SGD.

    python benchmarks/probes.py [--quick] [--json FILE] [--checkpoint CHECKPOINT]

Figures are CPU seconds on one thread, so that other load on the machine does not enter. The forward pass and the fits take
turns; their ratio is the median of the ratios within a round. The SGD probe is what published codes do (a pass over the games
for each layer, a hooked model with a cache, AdamW at learning rate 1e-2 and weight decay 1e-2), but in eval mode, with labels
made by our engine and the forward pass stopped at the layer. Its time is that of one pass; since one pass over so few games
leaves it far behind, its accuracy is that after ten passes with a falling learning rate, whose time is not counted. `--quick`
trains three layers and scales the time to all of them. Accuracies are shares of squares: 0.003 is 0.3 points.

Without `--checkpoint` the OthelloGPT in the folder of WORKBENCH_TEST_DATA is taken, and without that a model of its shape with
random weights, whose times are the same and whose accuracies say little.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # this file has the name of the package `probes`, and would hide it

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.hooked import load
from models.importers import import_checkpoint
from models.streams import Draw
from models.transformer import Transformer
from probes.board_fit import fit_probes
from probes.harvest import Games, Positions, Target, harvest, labelled
from probes.linear_probe import LinearProbe
from probes.subject import OthelloSubject, othello_subject

BARS = {"harvest_fit_vs_forward": 1.4, "labels_vs_forward": 0.02}
ACCURACY_BAR = -0.003
TARGET = Target("to_move")
THREE = [TARGET, Target("parity"), Target("colour")]
BATCH, SGD_BATCH, SGD_PASSES = 32, 10, 10
SHAPE = ModelConfig(
    vocab=61, context=59, layers=8, heads=8, width=512, head_width=64, mlp_width=2048,
    positions="learned", norm="pre", final_norm=True,
)  # fmt: skip


def cpu_seconds(turn: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds that a turn takes, and what it returns."""
    before = time.process_time()
    result = turn()
    return time.process_time() - before, result


def forward(subject: OthelloSubject, games: Games) -> None:
    """The plain model's own forward pass over the games."""
    tokens = subject.task.sequences(Draw.PROBES.stream(games.seed), games.start, games.stop - games.start)[:, : subject.longest]
    with torch.no_grad():
        for part in tokens.split(BATCH):
            subject.model(part)


def label(subject: OthelloSubject, games: Games) -> None:
    """The labels of the games alone."""
    tokens = subject.task.sequences(Draw.PROBES.stream(games.seed), games.start, games.stop - games.start)[:, : subject.longest]
    for part in tokens.split(BATCH):
        _ = labelled(subject.task, part, [TARGET]).indicators


class SgdProbe:
    """One layer's logistic probe, trained as published codes do."""

    def __init__(self, width: int, squares: int, steps: int | None = None):
        """The learning rate falls to 0 over `steps`, or stays."""
        torch.manual_seed(0)
        self.weight = (torch.randn(width, 3 * squares) / width**0.5).requires_grad_()
        self.bias = torch.zeros(3 * squares, requires_grad=True)
        self.optimiser = torch.optim.AdamW([self.weight, self.bias], lr=1e-2, betas=(0.9, 0.99), weight_decay=1e-2)
        rate = (lambda step: max(0.0, 1 - step / steps)) if steps else (lambda step: 1.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rate)

    def scores(self, stream: torch.Tensor) -> torch.Tensor:
        """Scores [row, square, state]."""
        return (stream @ self.weight + self.bias).unflatten(1, (-1, 3))

    def step(self, stream: torch.Tensor, state: torch.Tensor) -> None:
        """One minibatch."""
        loss = F.cross_entropy(self.scores(stream).flatten(0, 1), state.flatten().long())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()


def published_pass(hooked, subject: OthelloSubject, games: Games, layer: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One pass over the games for one layer, harvest and steps; returns what was harvested."""
    probe, harvested = SgdProbe(hooked.cfg.d_model, subject.task.board.squares), []
    point = "blocks.0.hook_resid_pre" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"
    tokens = subject.task.sequences(Draw.PROBES.stream(games.seed), games.start, games.stop - games.start)[:, : subject.longest]
    for part in tokens.split(SGD_BATCH):
        positions = labelled(subject.task, part, [TARGET])
        with torch.no_grad():
            _, cache = hooked.run_with_cache(part, names_filter=point, stop_at_layer=max(layer, 1), return_type=None)
        harvested.append((positions.select(cache[point]), positions.states[TARGET]))
        probe.step(*harvested[-1])
    return harvested


def trained_on(harvested: list[tuple[torch.Tensor, torch.Tensor]]) -> SgdProbe:
    """A probe trained for `SGD_PASSES` passes over kept streams."""
    (stream, state), steps = harvested[0], SGD_PASSES * len(harvested)
    probe = SgdProbe(stream.shape[1], state.shape[1], steps)
    for at in range(steps):
        probe.step(*harvested[at % len(harvested)])
    return probe


def accuracies(
    subject: OthelloSubject, games: Games, closed: LinearProbe, trained: dict[int, SgdProbe]
) -> dict[int, tuple[float, float]]:
    """Share of squares read right on other games, of the closed form and of the SGD probe, by layer."""
    right = {layer: torch.zeros(2) for layer in trained}
    total = dict.fromkeys(trained, 0)

    def consume(layer: int, stream: torch.Tensor, positions: Positions) -> None:
        if layer not in trained:
            return
        state = positions.states[TARGET]
        by_sgd = trained[layer].scores(stream).argmax(-1) == state
        by_us = closed.scores(layer, stream).argmax(-1) == state
        right[layer] += torch.stack([by_us.sum(), by_sgd.sum()])
        total[layer] += state.numel()

    harvest(subject, games, [TARGET], consume)
    return {layer: tuple((right[layer] / total[layer]).tolist()) for layer in trained}


def measure(checkpoint: Path, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios."""
    torch.set_num_threads(1)
    subject, hooked = othello_subject(checkpoint), load(checkpoint)
    rounds, count, fit_count, test_count = (3, 64, 48, 24) if quick else (7, 256, 500, 200)
    games = Games(0, 0, count)
    turns: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(subject, games),
        "harvest_fit": lambda: fit_probes(subject, games, [TARGET], batch=BATCH),
        "harvest_fit_three_frames": lambda: fit_probes(subject, games, THREE, batch=BATCH),
        "labels": lambda: label(subject, games),
    }
    if quick:
        turns.pop("harvest_fit_three_frames")
    took: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(-1, rounds):
        for name, turn in turns.items():
            seconds, _ = cpu_seconds(turn)
            if number >= 0:  # the first round warms up
                took[name].append(seconds)
    figures = {f"{name}_s_per_1000_games": 1000 / count * statistics.median(values) for name, values in took.items()}
    ratios = {
        f"{name}_vs_forward": statistics.median(a / b for a, b in zip(values, took["forward"], strict=True))
        for name, values in took.items()
        if name != "forward"
    }
    return against_sgd(
        subject, hooked, Games(0, 0, fit_count), Games(0, fit_count, fit_count + test_count), quick, figures, ratios
    )


def against_sgd(subject, hooked, fitting: Games, testing: Games, quick: bool, figures: dict, ratios: dict) -> tuple[dict, dict]:
    """Adds what SGD probes take and reach on the same games."""
    depth = len(subject.model.blocks) + 1
    layers = (1, depth // 2, depth - 1) if quick else range(depth)
    closed_seconds, fitted = cpu_seconds(lambda: fit_probes(subject, fitting, [TARGET], batch=BATCH))
    trained, sgd_seconds = {}, 0.0
    for layer in layers:
        seconds, harvested = cpu_seconds(lambda layer=layer: published_pass(hooked, subject, fitting, layer))
        sgd_seconds += seconds
        trained[layer] = trained_on(harvested)
    sgd_seconds *= depth / len(layers)
    closed = fitted.probes["closed-form", TARGET].linear
    reached = accuracies(subject, testing, closed, trained)
    for layer, (ours, theirs) in reached.items():
        figures[f"closed_form_accuracy_layer_{layer}"], figures[f"sgd_accuracy_layer_{layer}"] = ours, theirs
    differences = [ours - theirs for ours, theirs in reached.values()]
    figures |= {"closed_form_s": closed_seconds, "sgd_all_layers_s": sgd_seconds, "fit_games": fitting.stop - fitting.start}
    figures |= {"closed_form_minus_sgd_accuracy_worst_layer": min(differences)}
    ratios |= {
        "closed_form_vs_sgd_time": closed_seconds / sgd_seconds,
        "closed_form_minus_sgd_accuracy": statistics.mean(differences),
    }
    return figures, ratios


def versions(model: str) -> dict[str, str]:
    """Packages, machine, date, and which model was measured."""
    found = {"date": date.today().isoformat(), "python": platform.python_version(), "model": model}
    found["cpu"] = f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used"
    return found | {package: version(package) for package in ("torch", "transformer-lens", "numpy")}


def checkpoint_to_measure(chosen: Path | None, scratch: Path) -> tuple[Path, str]:
    """The checkpoint that was asked for, the shared one, or one of random weights; and what it is."""
    if chosen:
        return chosen, chosen.name
    data = os.environ.get("WORKBENCH_TEST_DATA")
    if data:
        import_checkpoint(str(Path(data) / "othello-gpt" / "othello_gpt_mingpt_keys.safetensors"), scratch / "othello-gpt")
        return scratch / "othello-gpt", "the OthelloGPT of WORKBENCH_TEST_DATA"
    card = Card(name="random", model=SHAPE, task=TaskConfig(name="othello"))
    save_checkpoint(scratch / "random", card, {"raw": Transformer(SHAPE).state_dict()})
    return scratch / "random", "random weights, 8 layers of width 512"


def verdict(name: str, value: float) -> str:
    """Whether a bar holds, where there is one for this name."""
    if name == "closed_form_minus_sgd_accuracy":
        return f"at least {ACCURACY_BAR:g}: {'holds' if value >= ACCURACY_BAR else 'MISSED'}"
    if name not in BARS:
        return ""
    return f"at most {BARS[name]:g}: {'holds' if value <= BARS[name] else 'MISSED'}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and versions there")
    parser.add_argument("--checkpoint", type=Path, help="an Othello checkpoint folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, model = checkpoint_to_measure(arguments.checkpoint, Path(scratch))
        figures, ratios = measure(checkpoint, arguments.quick)
    for name, value in sorted((figures | ratios).items()):
        print(f"{name:46} {value:12.4f}  {verdict(name, value)}")
    if arguments.json:
        report = {"figures": figures, "ratios": ratios, "versions": versions(model)}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
