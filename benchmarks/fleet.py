"""What training many models at once gains: model-steps a second of a fleet, beside the same models trained one at a time.

    python benchmarks/fleet.py [--quick] [--device cuda] [--json FILE]

Three ways take turns, each with its own data, loss, clipping, AdamW and EMA: a HookedTransformer whose dropout is a hook on
`hook_pattern` (a TransformerLens user's way; its dropout is torch's, the others' explicit masks), the plain model
(`workbench/trainer.py`), and the fleet. Seconds are CPU seconds on one thread, so that other load on the machine enters less;
a ratio is the median of the ratios within a round. Fleets are of 16 members, but where a setting is called alone.
`fleet_vs_hooked` is at the first setting; `fleet_vs_plain` is the least of the settings where the model does not fold into
v x v tables. Figures are model-steps a CPU second, and what 256 trials of 5,000 steps in fleets of 16 would take at the study's
settings in minutes of one CPU.

On a GPU: seconds of the clock, 512 members, compiled, at v = 32, width 40, training length 8, batch 128: without dropout, and
with dropout at all sites and uniform targets.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of this file has a probes.py, which would hide the package

from models.hooked import hook
from models.transformer import Transformer
from workbench.averaging import WeightAverager
from workbench.config_options import config_from_options
from workbench.fleet import Fleet
from workbench.trainer import Trainer, step_batches
from workbench.training_config import TrainingConfig

BARS = {
    "cpu": {"fleet_vs_hooked": 10.0, "fleet_vs_plain": 1.0},
    "cuda": {"fleet_vs_hooked": 300.0, "v32_fleet_steps_per_s": 200_000.0},
}
"""On a GPU: of an H100."""
MEMBERS, MEMBERS_ON_GPU = 16, 512
STEPS_ON_GPU = 200
"""Of the fleet in a round, so that it takes half a second."""
ALL_SITES = {"dropout_embedding": 0.1, "dropout_attention": 0.1, "dropout_residual": 0.1}


@dataclass(frozen=True)
class Setting:
    """One kind of member."""

    name: str
    options: dict[str, Any]
    folds: bool = False
    """into v x v tables"""
    in_study: bool = False
    members: int = field(default=MEMBERS)


STUDY = {"vocab": 16, "width": 64, "head_width": 64, "batch": 128, "train_length": 4}
HEADS = {"width": 64, "heads": 4, "head_width": 16}
SETTINGS = (
    Setting("v32", {"vocab": 32, "batch": 256, "train_length": 8, "dropout_attention": 0.1}, folds=True),
    Setting("study_attention", STUDY | {"dropout_attention": 0.1}, folds=True, in_study=True),
    Setting("study_residual", STUDY | {"dropout_residual": 0.1}, in_study=True),
    Setting("study_embedding", STUDY | {"dropout_embedding": 0.1}, in_study=True),
    Setting("study_branch", STUDY | {"norm": "branch", "final_norm": True}, in_study=True),
    Setting("study_branch_all_sites", STUDY | {"norm": "branch"} | ALL_SITES, in_study=True),
    Setting("heads_embedding", HEADS | {"vocab": 32, "batch": 128, "train_length": 16, "dropout_embedding": 0.1}),
    Setting("heads_large_vocabulary", HEADS | {"vocab": 128, "batch": 32, "train_length": 64}),
    Setting("large_vocabulary", {"vocab": 256, "width": 32, "head_width": 32, "batch": 16, "train_length": 128}),
    Setting("two_layers", STUDY | {"layers": 2}),
    Setting("two_layers_small", STUDY | {"layers": 2, "batch": 32}),
    Setting("two_layers_alone", STUDY | {"layers": 2}, members=1),
    Setting("two_layers_large", {"vocab": 32, "batch": 256, "train_length": 8, "layers": 2}),
    Setting("two_layers_mlp", STUDY | {"layers": 2, "mlp_width": 128, "norm": "pre", "positions": "learned"} | ALL_SITES),
)

PROTOTYPE = {"vocab": 32, "width": 40, "head_width": 40, "batch": 128, "train_length": 8}
SETTINGS_ON_GPU = (
    Setting("v32", PROTOTYPE, folds=True, members=MEMBERS_ON_GPU),
    Setting("v32_soft_all_sites", PROTOTYPE | ALL_SITES | {"targets": "soft"}, members=MEMBERS_ON_GPU),
)


def config_of(setting: Setting, seed: int, device: str) -> TrainingConfig:
    """A member's configuration."""
    return config_from_options("set-complement", {**setting.options, "seed": seed, "steps": 100_000, "device": device})


def hooked_steps(config: TrainingConfig) -> Callable[[int], int]:
    """Trains a HookedTransformer with a dropout hook on its attention pattern."""
    model = hook(config.model, Transformer(config.model, seed=config.seed).to(config.device).state_dict())
    model.train()
    rate = config.model.dropout.attention
    model.add_perma_hook("blocks.0.attn.hook_pattern", lambda pattern, hook: F.dropout(pattern, rate, model.training))
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimiser = torch.optim.AdamW(parameters.values(), lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    averager = WeightAverager(config.averaging, parameters)
    batches = enumerate(step_batches(config, Trainer(config).task, 1), start=1)

    def take(steps: int) -> int:
        for _ in range(steps):
            step, batch = next(batches)
            batch = batch.to(config.device)
            F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), config.gradient_clip, foreach=True)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            averager.update(step)
        return steps

    return take


def plain_steps(config: TrainingConfig) -> Callable[[int], int]:
    """Trains the plain model."""
    trainer = Trainer(config)
    batches = step_batches(config, trainer.task, 1)

    def take(steps: int) -> int:
        for _ in range(steps):
            trainer.take_step(next(batches))
        return steps

    return take


def fleet_steps(configs: list[TrainingConfig]) -> Callable[[int], int]:
    """Trains all of them; `steps` are model-steps."""
    fleet = Fleet(configs, device=configs[0].device)

    def take(steps: int) -> int:
        each = -(-steps // len(configs))
        fleet.run(fleet.step + each)
        return each * len(configs)

    return take


def seconds(device: str) -> float:
    """CPU seconds, or on a GPU those of the clock once all that was asked of it is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def rates(ways: dict[str, Callable[[int], int]], rounds: int, steps: dict[str, int], device: str) -> dict[str, list[float]]:
    """Model-steps a second of each way, round by round, after one that warms up."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name, take in ways.items():
            before = seconds(device)
            taken = take(steps[name])
            if number >= 0:
                measured[name].append(taken / (seconds(device) - before))
    return measured


def measure(quick: bool, device: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios."""
    torch.set_num_threads(1)
    figures, ratios, study = {}, {}, []
    for setting in SETTINGS if device == "cpu" else SETTINGS_ON_GPU:
        ways = {"plain": plain_steps(config_of(setting, 0, device))}
        ways["fleet"] = fleet_steps([config_of(setting, seed, device) for seed in range(setting.members)])
        if setting.folds:
            ways["hooked"] = hooked_steps(config_of(setting, 0, device))
        rounds, steps = (3, 48) if quick else (9, 160)
        together = steps if device == "cpu" else STEPS_ON_GPU * setting.members
        measured = rates(ways, rounds, dict.fromkeys(ways, steps) | {"fleet": together}, device)
        for way, values in measured.items():
            figures[f"{setting.name}_{way}_steps_per_s"] = statistics.median(values)
        for other in ways.keys() - {"fleet"}:
            pairs = zip(measured["fleet"], measured[other], strict=True)
            ratios[f"{setting.name}_vs_{other}"] = statistics.median(ours / theirs for ours, theirs in pairs)
        if setting.in_study:
            study.append(256 * 5000 / figures[f"{setting.name}_fleet_steps_per_s"] / 60)
    ratios["fleet_vs_hooked"] = ratios["v32_vs_hooked"]
    if device == "cpu":
        figures |= {"study_minutes_best_setting": min(study), "study_minutes_worst_setting": max(study)}
        ratios["fleet_vs_plain"] = min(ratios[f"{setting.name}_vs_plain"] for setting in SETTINGS if not setting.folds)
    return figures, ratios


def versions(device: str) -> dict[str, str]:
    """Packages, machine and date."""
    found = {"date": date.today().isoformat(), "python": platform.python_version()}
    found["members"] = str(MEMBERS if device == "cpu" else MEMBERS_ON_GPU)
    found["cpu"] = f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used"
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found | {package: version(package) for package in ("torch", "transformer-lens", "numba", "numpy")}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and versions there")
    parser.add_argument("--device", choices=BARS, default="cpu")
    arguments = parser.parse_args()
    figures, ratios = measure(arguments.quick, arguments.device)
    for name, value in sorted((figures | ratios).items()):
        bar = BARS[arguments.device].get(name)
        verdict = "" if bar is None else f"at least {bar:g}: {'holds' if value >= bar else 'MISSED'}"
        print(f"{name:46} {value:12.2f}  {verdict}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps({"figures": figures, "ratios": ratios, "versions": versions(arguments.device)}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
