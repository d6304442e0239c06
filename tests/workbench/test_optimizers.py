import math
import threading

import pytest
import torch

from models.checkpoint import read_card, run_checkpoints
from models.transformer import Transformer
from workbench.config_options import command_options, config_from_options
from workbench.fleet import Fleet
from workbench.optimizers import BlockMuon, Optimizers
from workbench.run import read_metrics
from workbench.trainer import Trainer, step_batches
from workbench.training import train

SHAPE = {"layers": 2, "heads": 3, "width": 12, "head_width": 4, "mlp_width": 20, "batch": 8, "steps": 40}


def muon(**options):
    return config_from_options("othello", {**SHAPE, "optimizer": "muon", "log_every": 10, "save_every": 20} | options)


def with_gradients(config) -> dict[str, torch.nn.Parameter]:
    parameters = dict(Transformer(config.model, seed=1).named_parameters())
    generator = torch.Generator().manual_seed(2)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else():
    names = [name for name, _ in Transformer(muon().model).named_parameters()]
    kinds = {name.split(".")[-1] for name in names if BlockMuon.takes(name)}
    assert kinds == {"W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"}
    assert not any(BlockMuon.takes(name) for name in ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "blocks.0.attn.b_Q"))
    assert sum(map(BlockMuon.takes, names)) == 2 * 6


@pytest.mark.parametrize("name", ["blocks.0.attn.W_Q", "blocks.1.attn.W_O", "blocks.0.mlp.W_in", "blocks.1.mlp.W_out"])
def test_an_update_is_the_gradients_polar_factor_at_adamws_size(name):
    """Of the heads side by side, by an SVD; Newton-Schulz leaves singular values of about 0.7 .. 1.2 instead of 1."""
    config = muon(weight_decay=0, learning_rate=1.0)
    parameters = with_gradients(config)
    before, gradient = parameters[name].detach().clone(), parameters[name].grad.clone()
    Optimizers(config, parameters).step(0.5)
    change = before - parameters[name].detach()
    if name.endswith("W_Q"):  # [head, width, d]: heads are columns
        change, gradient = (torch.cat(list(tensor), dim=1) for tensor in (change, gradient))
    elif name.endswith("W_O"):  # [head, d, width]: heads are rows
        change, gradient = (torch.cat(list(tensor), dim=0) for tensor in (change, gradient))
    scale = 0.5 * 0.2 * math.sqrt(max(change.shape))
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    inside = left.T @ change @ right.T / scale
    assert inside.diagonal().min() > 0.6
    assert inside.diagonal().max() < 1.3
    off_diagonal = inside - inside.diagonal().diag()
    assert off_diagonal.abs().max() < 0.05  # bfloat16 in Newton-Schulz


def test_weight_decay_is_decoupled_and_at_the_scheduled_rate():
    """The orthogonalised update does not depend on the weights, so decay is all that differs."""
    changed = []
    for decay in (0.0, 0.1):
        parameters = with_gradients(muon())
        start = parameters["blocks.0.mlp.W_in"].detach().clone()
        Optimizers(muon(weight_decay=decay), parameters).step(0.5)
        changed.append(parameters["blocks.0.mlp.W_in"].detach())
    torch.testing.assert_close(changed[1], changed[0] - 0.5 * 0.1 * start, rtol=0, atol=1e-7)


def test_all_else_moves_as_under_adamw():
    moved = {}
    for optimizer in ("adamw", "muon"):
        parameters = with_gradients(muon(optimizer=optimizer))
        Optimizers(muon(optimizer=optimizer), parameters).step(1e-2)
        moved[optimizer] = {name: parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in moved["adamw"].items():
        assert torch.equal(parameter, moved["muon"][name]) != BlockMuon.takes(name), name


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_stopped_run_ends_bit_identical_to_an_undisturbed_one(tmp_path, dropout):
    config = muon(dropout_attention=dropout, dropout_residual=dropout)
    whole, parts = train(config, tmp_path / "whole" / "run"), tmp_path / "parts" / "run"
    stop = threading.Event()
    train(config, parts, stop=stop, on_log=lambda trainer, row: stop.set() if row["step"] == 10 else None)
    train(config, parts)
    last = "checkpoints/step_00000040"
    for path in (whole / last).iterdir():
        assert path.read_bytes() == (parts / last / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            {"exp_avg.embed.W_E": torch.zeros(60, 12)},
            r"exp_avg\.embed\.W_E is torch\.float32 of shape \(60, 12\) instead of .*61, 12",
        ),
        ({"exp_avg.embed.W_E": torch.zeros(61, 12, dtype=torch.float64)}, r"is torch\.float64 of shape \(61, 12\) instead of"),
        ({"step.embed.W_E": torch.zeros(1)}, r"step\.embed\.W_E is torch\.float32 of shape \(1,\) instead of \(\(\), torch"),
        ({"momentum_buffer.blocks.0.mlp.W_in": torch.zeros(20)}, r"mlp\.W_in is torch\.float32 of shape \(20,\) instead of"),
    ],
)
def test_what_the_fused_kernel_would_write_beyond_is_refused(spoil, told):
    """Each is put in place of the sound one, and nothing is kept of it."""
    optimizers = Optimizers(muon(), with_gradients(muon()))
    optimizers.step(1e-3)
    state = {name: value.clone() for name, value in optimizers.state().items()}
    assert state.keys() >= spoil.keys()
    fresh = Optimizers(muon(), with_gradients(muon()))
    fresh.restore(state)
    assert all(torch.equal(value, state[name]) for name, value in fresh.state().items())
    with pytest.raises(ValueError, match=told):
        fresh.restore(state | spoil)
    assert all(torch.equal(value, state[name]) for name, value in fresh.state().items())
    with pytest.raises(ValueError, match="the optimiser's state of some weights is missing"):
        Optimizers(muon(), with_gradients(muon())).restore(dict(list(state.items())[3:]))


def test_muon_learns_and_the_card_says_who_trained(tmp_path):
    config = muon(learning_rate=3e-3, warmup=0, batch=32)
    run = train(config, tmp_path / "run")
    assert list(read_metrics(run))[-1]["loss"] < list(read_metrics(run))[0]["loss"] - 0.1
    card = read_card(run_checkpoints(run)[-1])
    assert card.optimizer == "muon"
    assert "--optimizer muon" in card.command
    words = command_options(config)
    assert words[words.index("--optimizer") + 1] == "muon"


def test_a_fleet_refuses_muon():
    with pytest.raises(ValueError, match="a fleet trains by adamw, member 1 asks for muon; train it alone"):
        Fleet([muon(optimizer="adamw"), muon()])


def test_the_parts_of_a_step_are_the_step():
    """What benchmarks time apart is what trains."""
    config = muon()
    one, apart = Trainer(config), Trainer(config)
    batches = step_batches(config, one.task, 1)
    for _ in range(2):
        batch = next(batches)
        loss = one.take_step(batch)
        parts = apart.begin_step(batch)
        parts.backward()
        apart.update_weights()
        apart.averager.update(apart.step)
        assert torch.equal(loss, parts)
    for weights, state in one.weights().items():
        for name, value in state.items():
            assert torch.equal(value, apart.weights()[weights][name]), (weights, name)
