"""Othello games a second, against the packages that others use, in one run.

    python benchmarks/othello.py [--quick] [--json FILE]       the CPU: ours, open_spiel and pgx, one thread each
    python benchmarks/othello.py --device cuda [--json FILE]   the GPU, absolute figures; needs neither of the packages

On the CPU the contenders take turns; a figure is the median over the rounds of games a second of CPU time, a ratio the median
of the ratios within a round, so that other load on the machine cancels out. `--quick` leaves out torch.compile.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from models.othello import labels, rules_numba, rules_torch
from models.othello.board import board_of_size
from models.othello.games import generate, replay
from models.random_stream import seed_state

BOARD = board_of_size(8)
BARS = {
    "generate_lockstep_vs_open_spiel": 250,
    "generate_lockstep_vs_pgx": 90,
    "replay_lockstep_vs_open_spiel": 500,
    "generate_lockstep_vs_scalar": 1.4,
}
CUDA_BARS = {"generate_games_per_s": 150e6, "replay_games_per_s": 60e6, "dense_share_of_copy_bandwidth": 0.5}
FIRST_CALL_BARS = {"first_call_cold_s": 5.0, "first_call_cached_s": 0.5}
PACKAGES = ("numba", "numpy", "torch", "open_spiel", "pgx", "jax")

Contender = Callable[[], object]


def generate_by_kernel(kernel: Callable[..., None], games: int) -> np.ndarray:
    """Games 0 .. games - 1 of stream 0 by one of the CPU kernels."""
    tokens = np.empty((games, BOARD.moves), np.uint8)
    kernel(np.uint64(seed_state(0)), np.arange(games, dtype=np.uint64), np.uint64(BOARD.arena), tokens)
    return tokens


def replay_by_kernel(kernel: Callable[..., None], tokens: np.ndarray, outputs: tuple[np.ndarray, ...]) -> None:
    """The states of the games by one of the CPU kernels, into arrays that are used again."""
    kernel(tokens, np.uint64(BOARD.arena), BOARD.move_of_token, *outputs)


def generate_by_open_spiel(rules, games: int) -> None:
    """Random games through open_spiel's own interface."""
    random = np.random.default_rng(0)
    for _ in range(games):
        state = rules.new_initial_state()
        while not state.is_terminal():
            actions = state.legal_actions()
            state.apply_action(actions[int(random.random() * len(actions))])


def replay_by_open_spiel(rules, tokens: list[list[int]]) -> None:
    """The board and the legal moves after each move, as open_spiel gives them: lists."""
    for game in tokens:
        state = rules.new_initial_state()
        for token in game:
            if token:
                state.apply_action(BOARD.square(token))
                while state.legal_actions() == [64]:  # empty at the end of the game
                    state.apply_action(64)  # a pass
                state.observation_tensor(0)


def pgx_generator(games: int) -> Contender:
    """Random games in one compiled scan; 70 steps are enough for 60 moves and the passes."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax
    import jax.numpy as jnp
    import pgx

    jax.config.update("jax_platforms", "cpu")
    rules = pgx.make("othello")

    def step(state, key):
        logits = jnp.where(state.legal_action_mask, 0.0, -jnp.inf)
        action = jax.random.categorical(key, logits, axis=-1)
        return jax.vmap(rules.step)(state, action), action

    @jax.jit
    def play(key):
        start = jax.vmap(rules.init)(jax.random.split(key, games))
        return jax.lax.scan(step, start, jax.random.split(key, 70))

    key = jax.random.key(0)
    assert bool(play(key)[0].terminated.all()), "a pgx game needs more than 70 steps"
    return lambda: jax.block_until_ready(play(key))


def contenders(quick: bool) -> tuple[dict[str, tuple[int, Contender]], list[str]]:
    """What takes turns, by name: how many games a turn and the turn; and the names of what is absent."""
    games = 10_000 if quick else 20_000
    tokens = generate_by_kernel(rules_numba.generate_lockstep, games)
    shape = (games, BOARD.moves)
    outputs = (*np.zeros((3, *shape), np.uint64), np.zeros(shape, np.int8), np.zeros(games, np.int64))
    found: dict[str, tuple[int, Contender]] = {
        "generate_lockstep": (games, partial(generate_by_kernel, rules_numba.generate_lockstep, games)),
        "generate_scalar": (games, partial(generate_by_kernel, rules_numba.generate_scalar, games)),
        "generate_torch_eager": (4096, partial(rules_torch.generate, BOARD, 0, torch.arange(4096), False)),
        "replay_lockstep": (games, partial(replay_by_kernel, rules_numba.replay_lockstep, tokens, outputs)),
        "replay_scalar": (games, partial(replay_by_kernel, rules_numba.replay_scalar, tokens, outputs)),
        "replay_torch_eager": (4096, partial(rules_torch.replay, BOARD, torch.from_numpy(tokens[:4096]), False)),
    }
    if not quick:
        found["generate_torch_compiled"] = 16_384, partial(rules_torch.generate, BOARD, 0, torch.arange(16_384), True)
        found["replay_torch_compiled"] = 16_384, partial(rules_torch.replay, BOARD, torch.from_numpy(tokens[:16_384]), True)
    absent = []
    try:
        import pyspiel

        rules, spiel_games = pyspiel.load_game("othello"), 100 if quick else 400
        found["generate_open_spiel"] = spiel_games, partial(generate_by_open_spiel, rules, spiel_games)
        found["replay_open_spiel"] = spiel_games, partial(replay_by_open_spiel, rules, tokens[:spiel_games].tolist())
    except ImportError:
        absent.append("open_spiel")
    try:
        found["generate_pgx"] = 1000, pgx_generator(1000)
    except ImportError:
        absent.append("pgx")
    return found, absent


def measure_cpu(quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios of the CPU contenders, interleaved."""
    torch.set_num_threads(1)
    found, absent = contenders(quick)
    if absent:
        print(f"not installed, so not compared: {', '.join(absent)} (extra `bench`)")
    rates: dict[str, list[float]] = {name: [] for name in found}
    for round_number in range(-1, 3 if quick else 11):
        for name, (games, turn) in found.items():
            before = time.process_time()
            turn()
            if round_number >= 0:  # the first round compiles and warms up
                rates[name].append(games / (time.process_time() - before))
    figures = {f"{name}_games_per_s": statistics.median(rate) for name, rate in rates.items()}
    ratios = {}
    for ours in ("generate_lockstep", "replay_lockstep"):
        kind = ours.split("_")[0]
        for other in rates:
            if other.startswith(kind) and other != ours:
                each = [mine / theirs for mine, theirs in zip(rates[ours], rates[other], strict=True)]
                ratios[f"{ours}_vs_{other.removeprefix(f'{kind}_')}"] = statistics.median(each)
    return figures, ratios


FIRST_CALL = """
import time
import torch
from models.othello.board import board_of_size
from models.othello import games
before = time.process_time()
tokens = games.generate(board_of_size(8), 0, 0, 64)
games.replay(board_of_size(8), tokens)
print(time.process_time() - before)
"""


def measure_first_call(quick: bool) -> dict[str, float]:
    """CPU seconds of the first generation and replay of a process, with empty caches of machine code and with full ones.

    Python's own cache, of numba's modules, is one of them: it is on in this measurement even where it is switched off.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{folder}/numba", "PYTHONPYCACHEPREFIX": f"{folder}/python"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def first_call() -> float:
            run = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, check=True, capture_output=True, text=True
            )
            return float(run.stdout)

        return {
            "first_call_cold_s": first_call(),
            "first_call_cached_s": statistics.median(first_call() for _ in range(1 if quick else 3)),
        }


def seconds_on_gpu(turn: Contender, repeats: int) -> float:
    """Median wall-clock seconds of a turn, the GPU's work included."""
    took = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        before = time.perf_counter()
        turn()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - before)
    return statistics.median(took)


def copy_bandwidth() -> float:
    """Bytes read and written a second while the GPU copies 2 GiB."""
    source = torch.empty(1 << 31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / seconds_on_gpu(lambda: target.copy_(source), 10)


def measure_cuda(quick: bool) -> dict[str, float]:
    """Absolute figures of the GPU; what it makes is compared with the CPU kernels, bit for bit, on the way."""
    device = torch.device("cuda")
    figures = {"copy_bytes_per_s": copy_bandwidth()}
    before = time.perf_counter()
    tokens = generate(BOARD, 0, 0, 1 << 16, device)
    played = replay(BOARD, tokens)
    torch.cuda.synchronize()
    figures["first_call_s"] = time.perf_counter() - before
    on_cpu = replay(BOARD, generate(BOARD, 0, 0, 1 << 16))
    for name in ("tokens", "black", "white", "legal", "to_move", "played"):
        assert torch.equal(getattr(played, name).cpu(), getattr(on_cpu, name)), f"GPU and CPU differ in {name}"
    for exponent in (16, 18, 20, 22):
        indices = torch.arange(1 << exponent, device=device)
        seconds = seconds_on_gpu(partial(rules_torch.generate, BOARD, 0, indices, True), 5)
        figures[f"generate_{1 << exponent}_games_per_s"] = (1 << exponent) / seconds
        tokens = rules_torch.generate(BOARD, 0, indices, True)
        if exponent <= 20 or not quick:
            seconds = seconds_on_gpu(partial(replay, BOARD, tokens), 5)
            figures[f"replay_{1 << exponent}_games_per_s"] = (1 << exponent) / seconds
    for kind in ("generate", "replay"):
        batches = [rate for name, rate in figures.items() if name.startswith(f"{kind}_")]
        figures[f"{kind}_games_per_s"] = max(batches)
    return figures | measure_dense(figures["copy_bytes_per_s"])


def measure_dense(copy_bytes_per_s: float) -> dict[str, float]:
    """Board and legal mask of a million games as bytes; the traffic is 24 bytes read and 128 written a position."""
    played = replay(BOARD, generate(BOARD, 0, 0, 1 << 20, "cuda"))

    def expand() -> None:
        labels.board_state(played)
        labels.legal_squares(played)

    expand()
    seconds = seconds_on_gpu(expand, 10)
    bytes_per_s = played.legal.numel() * (24 + 128) / seconds
    return {
        "dense_games_per_s": len(played.tokens) / seconds,
        "dense_bytes_per_s": bytes_per_s,
        "dense_share_of_copy_bandwidth": bytes_per_s / copy_bytes_per_s,
    }


def versions(device: str) -> dict[str, str]:
    """Packages, machine and date."""
    found = {"date": date.today().isoformat(), "python": platform.python_version(), "cpu": cpu_name()}
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def cpu_name() -> str:
    """Model and number of cores."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def verdict(name: str, value: float) -> str:
    """Whether a bar holds, where there is one for this name."""
    if name in FIRST_CALL_BARS:
        return f"at most {FIRST_CALL_BARS[name]:g}: {'holds' if value <= FIRST_CALL_BARS[name] else 'MISSED'}"
    bar = (BARS | CUDA_BARS).get(name)
    return "" if bar is None else f"at least {bar:,g}: {'holds' if value >= bar else 'MISSED'}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and versions there")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            parser.error("--device cuda: torch sees no GPU here; run it where there is one, or leave --device out")
        figures, ratios = measure_cuda(arguments.quick), {}
    else:
        figures, ratios = measure_cpu(arguments.quick)
        figures |= measure_first_call(arguments.quick)
    for name, value in sorted((figures | ratios).items()):
        print(f"{name:42} {value:18,.2f}  {verdict(name, value)}")
    if arguments.json:
        report = {"figures": figures, "ratios": ratios, "versions": versions(arguments.device)}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
