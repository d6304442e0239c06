"""What a map of all heads costs, against a plain loop and against TransformerLens's own patching function.

    python benchmarks/ablation.py [--quick] [--json FILE] [--checkpoint CHECKPOINT]

All three zero one head after another of an 8-layer, 8-head OthelloGPT, on the same games, and measure every fifth length up to
59; they take turns in one process: a loop of `run_with_hooks`, TransformerLens's `get_act_patch_attn_head_out_all_pos` from a
cache of zeros, and `ablation_map`. The loop computes the metrics that the map computes; TransformerLens's function one number,
mean illegal mass, by the same code; the map also its intervals. `map_with_hooks` is the map with a hook of the user's on the
model, where nothing can be batched or fused. Figures are CPU seconds on one thread, so that other load on the machine does not
enter; ratios are medians of the ratios within a round. `greatest_difference` is that of mean illegal mass, of any head, between
the three.

Without `--checkpoint` the OthelloGPT in the folder of WORKBENCH_TEST_DATA is taken, and without that a model of its shape with
random weights, whose times are the same.
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

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from transformer_lens import patching

from models.config import ModelConfig
from models.hooked import HookedTransformer, hook, load
from models.importers import import_checkpoint
from models.othello.task import OthelloTask
from models.streams import Draw
from models.transformer import Transformer
from workbench.ablation_map import ablation_map
from workbench.metrics import position_metrics

BARS = {"map_vs_plain_loop": 0.6, "map_vs_transformer_lens": 0.65, "greatest_difference": 1e-4}
TASK = OthelloTask()
LENGTHS = range(4, TASK.longest + 1, 5)
SHAPE = ModelConfig(
    vocab=61, context=59, layers=8, heads=8, width=512, head_width=64, mlp_width=2048,
    positions="learned", norm="pre", final_norm=True,
)  # fmt: skip

Map = np.ndarray
"""Mean illegal mass by layer and head."""


class Turns:
    """The ways to make one map, on the same games."""

    def __init__(self, model: HookedTransformer, games: int):
        self.model, self.games = model, games
        self.tokens = TASK.sequences(Draw.EVALUATION.stream(0), 0, games)[:, : TASK.longest]
        self.at = torch.tensor(LENGTHS) - 1
        self.legal = TASK.legal(self.tokens)[:, self.at]

    def mean_illegal_mass(self, logits: Tensor) -> Tensor:
        """The mean over lengths of the mean over games."""
        return position_metrics(logits[:, self.at], self.legal)["illegal_mass"].nanmean(0).mean()

    @torch.no_grad()
    def plain_loop(self) -> Map:
        """A full forward pass a head."""
        found = np.zeros((self.model.cfg.n_layers, self.model.cfg.n_heads))
        for layer, head in np.ndindex(found.shape):

            def zero(z: Tensor, hook: object, head: int = head) -> Tensor:
                z = z.clone()
                z[:, :, head] = 0
                return z

            found[layer, head] = self.mean_illegal_mass(
                self.model.run_with_hooks(self.tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)])
            )
        return found

    @torch.no_grad()
    def transformer_lens(self) -> Map:
        """Patching from zeros."""
        cfg = self.model.cfg
        zeros = torch.zeros(*self.tokens.shape, cfg.n_heads, cfg.d_head)
        cache = {f"blocks.{layer}.attn.hook_z": zeros for layer in range(cfg.n_layers)}
        patch = patching.get_act_patch_attn_head_out_all_pos
        return patch(self.model, self.tokens, cache, self.mean_illegal_mass).numpy()

    def map(self) -> Map:
        """The workbench's."""
        frame = ablation_map(self.model, TASK, "heads", "zero", LENGTHS, sequences=self.games, batch=self.games)
        rows = frame[frame["metric"] == "illegal_mass"]
        return rows.pivot_table(index="layer", columns="head", values="value", aggfunc="mean").to_numpy(float)

    def map_with_hooks(self) -> Map:
        """The workbench's, while the user looks at something."""
        with self.model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: None)]):
            return self.map()


def measure(model: HookedTransformer, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios."""
    torch.set_num_threads(1)
    games, rounds = (8, 1) if quick else (16, 3)
    turns = Turns(model, games)
    ways: dict[str, Callable[[], Map]] = {
        "plain_loop": turns.plain_loop,
        "transformer_lens": turns.transformer_lens,
        "map": turns.map,
        "map_with_hooks": turns.map_with_hooks,
    }
    if quick:
        ways.pop("map_with_hooks")
    took: dict[str, list[float]] = {name: [] for name in ways}
    difference = 0.0
    Turns(model, 1 + 1).map()  # warms up
    for _ in range(rounds):
        maps = {}
        for name, way in ways.items():
            before = time.process_time()
            maps[name] = way()
            took[name].append(time.process_time() - before)
        difference = max(difference, *(float(np.abs(found - maps["plain_loop"]).max()) for found in maps.values()))
    figures = {f"{name}_s": statistics.median(values) for name, values in took.items()} | {"games": games, "rounds": rounds}
    pairs = {
        "map_vs_plain_loop": ("map", "plain_loop"),
        "map_vs_transformer_lens": ("map", "transformer_lens"),
        "map_with_hooks_vs_plain_loop": ("map_with_hooks", "plain_loop"),
    }
    ratios = {
        name: statistics.median(a / b for a, b in zip(took[ours], took[theirs], strict=True))
        for name, (ours, theirs) in pairs.items()
        if ours in ways
    }
    return figures | {"greatest_difference": difference}, ratios


def model_to_measure(chosen: str | None, scratch: Path) -> tuple[HookedTransformer, str]:
    """The checkpoint that was asked for, the shared one, or random weights; and what it is."""
    data = os.environ.get("WORKBENCH_TEST_DATA")
    if chosen:
        return load(chosen), Path(chosen).name
    if data:
        import_checkpoint(str(Path(data) / "othello-gpt" / "othello_gpt_mingpt_keys.safetensors"), scratch / "othello-gpt")
        return load(scratch / "othello-gpt"), "the OthelloGPT of WORKBENCH_TEST_DATA"
    return hook(SHAPE, Transformer(SHAPE).state_dict()), "random weights, 8 layers of 8 heads, width 512"


def versions(model: str) -> dict[str, str]:
    """Packages, machine, date, and which model was measured."""
    found = {"date": date.today().isoformat(), "python": platform.python_version(), "model": model}
    found["cpu"] = f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used"
    return found | {package: version(package) for package in ("torch", "transformer-lens", "numpy")}


def verdict(name: str, value: float) -> str:
    """Whether a bar holds, where there is one for this name."""
    return f"at most {BARS[name]:g}: {'holds' if value <= BARS[name] else 'MISSED'}" if name in BARS else ""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and versions there")
    parser.add_argument("--checkpoint", help="an Othello checkpoint folder or bundled name")
    arguments = parser.parse_args()
    patching.tqdm = lambda items: items  # its bar would be in the way of ours
    with tempfile.TemporaryDirectory() as scratch:
        model, name = model_to_measure(arguments.checkpoint, Path(scratch))
        figures, ratios = measure(model, arguments.quick)
    for key, value in sorted((figures | ratios).items()):
        print(f"{key:32} {value:12.6f}  {verdict(key, value)}")
    if arguments.json:
        report = {"figures": figures, "ratios": ratios, "versions": versions(name)}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
