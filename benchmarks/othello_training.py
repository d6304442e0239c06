"""Where a training step of OthelloGPT spends its time, and how many tokens a second it trains.

    python benchmarks/othello_training.py [--quick] [--json FILE]       the CPU, ratios; figures there are for this file alone
    python benchmarks/othello_training.py --device cuda [--json FILE]   the GPU: 8 layers, 8 heads, width 512, batch 2048

Trained is the real thing, `workbench/trainer.py`: games made on the fly, cross-entropy, clipping, AdamW or Muon, EMA. Ways of
training take turns within one process run. Each part of a step (data, forward, backward, optimiser, averaging) is timed with
the device waited for before and after; a figure is the median over the steps. `step_ms` and tokens a second are of steps that
are not taken apart, during which the next games are made for a GPU. On a CPU seconds are those of CPU time on one thread.

Ratios: `data_share` of a step's parts; `data_wait_share` what of an undisturbed step is spent waiting for its games;
`muon_step_vs_adamw_step` and `muon_optimizer_vs_adamw_optimizer` (time), `compiled_vs_eager` (speed).
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of this file has a probes.py, which would hide the package

from workbench.config_options import config_from_options
from workbench.trainer import Trainer, step_batches

GPU_BARS = {"adamw_tokens_per_s": 2.2e6}
PARTS = ("data", "forward", "backward", "optimizer", "averaging")
OTHELLO_GPT = {"layers": 8, "heads": 8, "width": 512, "head_width": 64, "mlp_width": 2048, "batch": 2048}
SMALL = {"layers": 4, "heads": 4, "width": 128, "head_width": 32, "mlp_width": 512, "batch": 32}
DROPOUT = {"dropout_embedding": 0.1, "dropout_attention": 0.1, "dropout_residual": 0.1}


@dataclass
class Way:
    """One way of training, and what was measured of it: seconds of each step."""

    name: str
    trainer: Trainer
    whole: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def __post_init__(self) -> None:
        self.tokens = self.trainer.config.batch * self.trainer.config.train_length
        self.batches = step_batches(self.trainer.config, self.trainer.task, 1)

    def take_whole(self, steps: int) -> None:
        """Steps as `workbench train` takes them; the device is waited for at the end alone."""
        synchronize()
        begun = seconds()
        waited = 0.0
        for _ in range(steps):
            before = seconds()
            batch = next(self.batches)
            waited += seconds() - before
            self.trainer.take_step(batch)
        synchronize()
        self.whole.append((seconds() - begun) / steps)
        self.waits.append(waited / steps)

    def take_apart(self, steps: int) -> None:
        """Steps in parts, each timed by itself, the games made in the step."""
        trainer, config = self.trainer, self.trainer.config
        for _ in range(steps):
            clock = PartClock(self.parts)
            start = 10**9 + trainer.step * config.batch  # games that are in no batch
            batch = trainer.task.sequences(config.seed, start, config.batch, config.device)[:, : config.train_length + 1]
            clock.stop("data")
            loss = trainer.begin_step(batch)
            clock.stop("forward")
            loss.backward()
            clock.stop("backward")
            trainer.update_weights()
            clock.stop("optimizer")
            trainer.averager.update(trainer.step)
            clock.stop("averaging")

    def part_ms(self) -> dict[str, float]:
        """Milliseconds of each part."""
        return {part: 1e3 * statistics.median(taken) for part, taken in self.parts.items()}

    def step_ms(self) -> float:
        """Milliseconds of a step that is not taken apart."""
        return 1e3 * statistics.median(self.whole)


class PartClock:
    """Times one part after another."""

    def __init__(self, parts: dict[str, list[float]]):
        self.parts = parts
        synchronize()
        self.since = seconds()

    def stop(self, part: str) -> None:
        """The part that ends here."""
        synchronize()
        now = seconds()
        self.parts[part].append(now - self.since)
        self.since = now


def seconds() -> float:
    """Seconds on a clock: the wall's where there is a GPU, else this process's CPU time, into which other load enters less."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def synchronize() -> None:
    """Waits for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ways_of_training(device: str, quick: bool) -> list[Way]:
    """AdamW and Muon; on a CPU also AdamW without dropout, eager and compiled (explicit masks are drawn in eager code)."""
    size = OTHELLO_GPT if device == "cuda" else SMALL
    ways: dict[str, dict[str, Any]] = {"adamw": DROPOUT, "muon": DROPOUT | {"optimizer": "muon"}, "adamw_no_dropout": {}}
    if device == "cuda" or not quick:
        ways["adamw_other_compilation"] = {} if device == "cpu" else DROPOUT
    made = []
    for name, options in ways.items():
        precision = "bfloat16" if device == "cuda" else "float32"
        config = config_from_options("othello", size | options | {"device": device, "precision": precision, "steps": 10**6})
        trainer = Trainer(config)
        if name == "adamw_other_compilation":  # eager on a GPU, where the trainer compiles by itself, and the reverse
            trainer.forward = trainer.model if device == "cuda" else torch.compile(trainer.model)
        made.append(Way(name, trainer))
    return made


def measure(device: str, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios."""
    torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
    ways = ways_of_training(device, quick)
    rounds, steps = (3, 4) if quick else (9, 6 if device == "cpu" else 20)
    for number in range(-1, rounds):
        for way in ways:
            way.take_whole(steps)
            way.take_apart(steps)
            if number < 0:  # compiles and warms up
                for measured in (way.whole, way.waits, *way.parts.values()):
                    measured.clear()
    by_name = {way.name: way for way in ways}
    figures, ratios = {}, {}
    for way in ways:
        parts = way.part_ms()
        figures |= {f"{way.name}_{part}_ms": value for part, value in parts.items()}
        figures |= {f"{way.name}_step_ms": way.step_ms(), f"{way.name}_tokens_per_s": 1e3 * way.tokens / way.step_ms()}
        ratios |= {f"{way.name}_{part}_share": value / sum(parts.values()) for part, value in parts.items()}
        ratios[f"{way.name}_data_wait_share"] = statistics.median(
            wait / whole for wait, whole in zip(way.waits, way.whole, strict=True)
        )
    adamw, muon = by_name["adamw"], by_name["muon"]
    ratios["muon_step_vs_adamw_step"] = ratio(muon.whole, adamw.whole)
    ratios["muon_optimizer_vs_adamw_optimizer"] = ratio(muon.parts["optimizer"], adamw.parts["optimizer"])
    if "adamw_other_compilation" in by_name:
        other = by_name["adamw_other_compilation"]
        eager, compiled = (other, adamw) if device == "cuda" else (by_name["adamw_no_dropout"], other)
        ratios["compiled_vs_eager"] = ratio(eager.whole, compiled.whole)
    return figures, ratios


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def versions(device: str) -> dict[str, str]:
    """Packages, machine and date."""
    found = {"date": date.today().isoformat(), "python": platform.python_version()}
    if device == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "setting": f"{OTHELLO_GPT}, bfloat16"}
    else:
        found["device"] = f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used"
        found |= {
            "setting": f"{SMALL}, float32",
            "note": "ms and tokens/s mean something on a GPU only; read ratios",
        }
    return found | {package: version(package) for package in ("torch", "numba", "numpy")}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and versions there")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU; leave it out for the ratios on a CPU")
    figures, ratios = measure(arguments.device, arguments.quick)
    facts = versions(arguments.device)
    print(f"{facts['device']}; {facts['setting']}")
    if arguments.device == "cpu":
        print(facts["note"])
    bars = GPU_BARS if arguments.device == "cuda" else {}
    for name, value in (figures | ratios if arguments.device == "cuda" else ratios).items():
        verdict = f"at least {bars[name]:g}: {'holds' if value >= bars[name] else 'MISSED'}" if name in bars else ""
        print(f"{name:46} {value:14.4g}  {verdict}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"figures": figures, "ratios": ratios, "versions": facts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
