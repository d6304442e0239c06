import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from models.checkpoint import CheckpointError, read_card, read_weights
from models.config import WEIGHTS
from models.transformer import GeneratorMasks, Transformer
from workbench.config_options import config_from_options
from workbench.fleet import Fleet, fleet_key
from workbench.trainer import Trainer, dropout_seed, step_batches

from .fleet_members import FOLDED, STACKED, member, various

ALL_SITES = ("embedding", "attention", "residual")


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained_alone(config) -> Trainer:
    trainer = Trainer(config)
    batches = step_batches(config, trainer.task, 1)
    for _ in range(config.steps):
        trainer.take_step(next(batches))
    return trainer


@torch.no_grad()
def logits(config, state) -> torch.Tensor:
    model = Transformer(config.model).eval()
    model.load_state_dict(state)
    inputs = Trainer(config).task.sequences(2**33, 0, 20)[:, : config.model.context]
    return model(inputs)


def assert_equals_solo_runs(fleet):
    assert fleet.diverged == [None] * len(fleet.configs)
    for i, config in enumerate(fleet.configs):
        alone = trained_alone(config)
        for weights in WEIGHTS:
            expected = logits(config, alone.weights()[weights])
            torch.testing.assert_close(logits(config, fleet.state(i, weights)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sites", [(), ALL_SITES], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("shape", ["v x v tables", "positions"])
def test_twenty_members_have_the_logits_of_solo_runs_after_50_steps(float64, shape, sites):
    fleet = Fleet(various(20, sites, **(FOLDED | STACKED)[shape], batch=6))
    assert fleet.folded == (shape in FOLDED)
    fleet.run()
    assert fleet.step == 50
    assert_equals_solo_runs(fleet)


FOUR_HEADS = {"width": 64, "heads": 4, "head_width": 16}
ONE_HEAD = {"width": 32, "head_width": 32}


@pytest.mark.parametrize(
    ("options", "folds"),
    [
        (ONE_HEAD | {"vocab": 32, "batch": 256, "train_length": 16, "dropout_embedding": 0.1}, True),
        ({"vocab": 64, "batch": 128, "train_length": 32, "width": 8, "head_width": 8}, True),
        (FOUR_HEADS | {"vocab": 32, "batch": 128, "train_length": 16}, True),
        (FOUR_HEADS | {"vocab": 32, "batch": 128, "train_length": 16, "dropout_embedding": 0.1}, False),
        (FOUR_HEADS | {"vocab": 64, "batch": 128, "train_length": 63, "dropout_embedding": 0.1}, False),
        (FOUR_HEADS | {"vocab": 256, "batch": 64, "train_length": 128}, False),
        (ONE_HEAD | {"vocab": 512, "batch": 32, "train_length": 255}, False),
    ],
)
def test_the_folded_path_is_left_where_it_was_measured_to_be_slower(options, folds):
    assert Fleet([member(**options)]).folded == folds


@pytest.mark.parametrize("sites", [(), ("attention",), ("embedding",), ("residual",)], ids=lambda sites: "".join(sites))
@pytest.mark.parametrize("shape", FOLDED | STACKED)
def test_every_shape_and_dropout_site_has_the_logits_of_solo_runs(float64, shape, sites):
    fleet = Fleet(various(3, sites, **(FOLDED | STACKED)[shape], steps=6, batch=6))
    fleet.run()
    assert_equals_solo_runs(fleet)


@pytest.mark.parametrize("targets", [("hard", "hard"), ("hard", "soft")], ids=["hard", "one soft"])
def test_an_othello_fleet_has_the_logits_of_solo_runs(float64, targets):
    """In batches that hold games which end before the board is full, whose last positions count for nothing."""
    options = {"board": 6, "layers": 1, "heads": 2, "width": 8, "head_width": 4, "mlp_width": 8, "batch": 64, "steps": 4}
    fleet = Fleet([config_from_options("othello", options | {"seed": i, "targets": each}) for i, each in enumerate(targets)])
    assert bool((fleet.batches.draw(1) == fleet.task.pad).flatten(1).any(dim=1).all())
    fleet.run()
    assert_equals_solo_runs(fleet)


def test_in_float32_a_fleet_stays_close_to_solo_runs():
    fleet = Fleet(various(4, ALL_SITES, steps=10))
    fleet.run()
    for i, config in enumerate(fleet.configs):
        expected = logits(config, trained_alone(config).weights()["ema"])
        torch.testing.assert_close(logits(config, fleet.state(i, "ema")), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sites", [(), ALL_SITES], ids=["tables", "rows"])
def test_two_threads_give_the_weights_of_one(sites):
    states = []
    for threads in (1, 2):
        fleet = Fleet(various(5, sites, threads=threads, steps=5))
        fleet.run()
        states.append(fleet.state(4))
    assert torch.get_num_threads() == 1
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-5, atol=1e-7, msg=name)


TRAINED = """
import hashlib, sys
from workbench.fleet import Fleet
from workbench.search_space import SearchSpace

space = SearchSpace(vocab=12, steps=200, seed=3)
if "another before" in sys.argv:
    Fleet([space.config(number) for number in (7, 37)]).run(3)
fleet = Fleet([space.config(number) for number in (16, 19)])
fleet.run(20)
print(hashlib.sha256(fleet.parameters.flat.numpy().tobytes()).hexdigest())
"""


def test_a_fleet_has_the_same_bytes_whatever_the_process_compiled_loaded_or_trained_before(tmp_path):
    """At sizes where a function compiled into two kernels in two ways gave other bytes by which was loaded first."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    seen = []
    for before in ("compiled", "loaded", "another before", "another before"):
        done = subprocess.run([sys.executable, "-c", TRAINED, before], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout)
    assert len(set(seen)) == 1


def test_a_diverged_member_is_frozen_and_the_others_go_on(tmp_path):
    bad = {"learning_rate": 1e30, "warmup": 0, "gradient_clip": 1e9}
    with_it = Fleet([member(seed=1), member(seed=2, **bad), member(seed=3)])
    without = Fleet([member(seed=1), member(seed=3)])
    with_it.run(30)
    without.run(30)
    step = with_it.diverged[1]
    assert with_it.diverged == [None, step, None]
    assert 2 <= step <= 5
    for name, tensor in with_it.state(1, "bema").items():
        assert bool(tensor.isfinite().all()), name
    for i, j in ((0, 0), (2, 1)):
        assert all(torch.equal(tensor, without.state(j)[name]) for name, tensor in with_it.state(i).items())
    before = {weights: with_it.state(1, weights) for weights in WEIGHTS}
    with_it.run(40)
    assert with_it.diverged == [None, step, None]
    for weights, state in before.items():
        assert all(torch.equal(tensor, state[name]) for name, tensor in with_it.state(1, weights).items()), weights
    assert with_it.save_member(1, tmp_path / "diverged", "diverged").step == step - 1


@pytest.mark.parametrize("shape", ["branch norm", "mlp"])
def test_a_resumed_fleet_ends_bit_identical(tmp_path, shape):
    configs = various(4, ALL_SITES, **(FOLDED | STACKED)[shape], steps=12)
    whole = Fleet(configs)
    whole.run()
    parts = Fleet(configs)
    parts.run(4)
    parts.save(tmp_path / "fleet")
    parts.run(7)
    parts.save(tmp_path / "fleet")
    resumed = Fleet.resume(tmp_path / "fleet")
    assert resumed.step == 7
    assert resumed.configs == whole.configs
    resumed.run()
    for name, tensor in whole.optimizer.state().items():
        assert torch.equal(resumed.optimizer.state()[name], tensor), name
    assert sorted(path.name for path in (tmp_path / "fleet").iterdir()) == ["fleet.json", "step_00000007.safetensors"]


def test_a_resumed_fleet_remembers_who_diverged(tmp_path):
    fleet = Fleet([member(seed=1), member(seed=2, learning_rate=1e30, warmup=0, gradient_clip=1e9)])
    fleet.run(10)
    fleet.save(tmp_path)
    assert Fleet.resume(tmp_path).diverged == fleet.diverged != [None, None]


def test_a_stop_between_two_writes_leaves_the_fleet_saved_before(tmp_path, monkeypatch):
    fleet = Fleet([member()])
    fleet.run(2)
    fleet.save(tmp_path)
    fleet.run(3)
    write = __import__("workbench.fleet_checkpoint", fromlist=["write_file"]).write_file

    def cut_off(path, data):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr("workbench.fleet_checkpoint.write_file", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fleet.save(tmp_path)
    assert Fleet.resume(tmp_path).step == 2


def test_damaged_and_missing_fleets_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read .*fleet.json.*give a folder that a fleet was saved in"):
        Fleet.resume(tmp_path)
    Fleet([member()]).save(tmp_path)
    file = tmp_path / "step_00000000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="changed or damaged"):
        Fleet.resume(tmp_path)
    (tmp_path / "fleet.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no fleet of ours"):
        Fleet.resume(tmp_path)


def test_a_member_is_an_ordinary_checkpoint(tmp_path):
    fleet = Fleet(various(3, ("attention",)))
    fleet.run(6)
    card = fleet.save_member(1, tmp_path / "step_00000006", "trial-1")
    assert read_card(tmp_path / "step_00000006") == card
    assert (card.name, card.step, card.sequences_seen, card.seed) == ("trial-1", 6, 72, 1000)
    assert (card.weights, card.dropout_kernel) == (("raw", "ema", "bema"), "explicit masks")
    assert card.averaging == fleet.configs[1].averaging
    assert card.command.startswith("workbench train set-complement --out trial-1 --vocab 7 ")
    for weights in WEIGHTS:
        saved = read_weights(tmp_path / "step_00000006", weights)
        assert all(torch.equal(saved[name], tensor) for name, tensor in fleet.state(1, weights).items())
        assert saved.keys() == Transformer(fleet.configs[1].model).state_dict().keys()


def test_a_state_is_a_copy():
    fleet = Fleet([member()])
    before = fleet.state(0)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    fleet.run(3)
    assert all(torch.equal(before[name], tensor) for name, tensor in kept.items())


def test_ctrl_c_stops_between_two_steps():
    fleet, whole = Fleet(various(2, steps=200_000)), Fleet(various(2, steps=200_000))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fleet.run()
    assert 0 < fleet.step < 200_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole.run(fleet.step)
    assert torch.equal(fleet.parameters.flat, whole.parameters.flat)


def test_ctrl_c_is_left_to_a_callers_own_handler_and_a_fleet_trains_on_other_threads_too():
    alone, beside, heard = Fleet(various(2, steps=300)), Fleet(various(2, steps=300)), []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        alone.run()
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT] and alone.step == 300
    thread = threading.Thread(target=beside.run)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert beside.step == 300 and torch.equal(beside.parameters.flat, alone.parameters.flat)


def test_members_that_cannot_train_together_are_named():
    with pytest.raises(ValueError, match="member 1 of the fleet has batch 9, member 0 has 12.*unequal fleet_key"):
        Fleet([member(), member(batch=9)])
    with pytest.raises(ValueError, match="member 2 of the fleet has width 9, member 0 has 8"):
        Fleet([member(), member(), member(width=9)])
    with pytest.raises(ValueError, match="no configurations"):
        Fleet([])
    with pytest.raises(ValueError, match="trains in float32, got precision bfloat16"):
        Fleet([member(precision="bfloat16")])
    with pytest.raises(ValueError, match="run to step 51, its members have 50"):
        Fleet([member()]).run(51)


def test_the_key_is_equal_just_for_those_that_train_together_at_full_speed():
    assert len({fleet_key(config) for config in various(6, ("attention",))}) == 1
    differing = [{"width": 9}, {"batch": 9}, {"steps": 9}, {"train_length": 3}, {"norm": "pre"}, {"dropout_embedding": 0.1}]
    assert len({fleet_key(member(**options)) for options in [{}, *differing]}) == 1 + len(differing)
    assert len({fleet_key(member(**options), "cuda") for options in [{}, *differing]}) == len(differing)  # it may drop anywhere


def test_masks_are_those_of_the_trainer():
    fleet = Fleet(various(6, ALL_SITES))
    drawn = fleet.masks.draw(9)
    for i, config in enumerate(fleet.configs):
        masks = GeneratorMasks(dropout_seed(config.seed, 9))
        for (site, shape), mask in zip(fleet.masks.calls, drawn, strict=True):
            rate = getattr(config.model.dropout, site)
            expected = masks(site, rate, shape, mask) if rate else torch.ones(shape)
            assert torch.equal(mask[i], expected), (i, site)
