"""The parts of a fleet against what they stand in for: torch's generator, the plain model, the task, each other on a GPU."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.config import DropoutRates
from models.random_stream import as_signed, draw_scalar, seed_state
from models.tasks import make_task
from models.transformer import Transformer
from workbench import fleet_draws, fleet_kernels, folded_model
from workbench.fleet_batches import MemberBatches, counted_masks, mask_counters, mask_states, stacked_permutations
from workbench.fleet_optimizer import member_rates, update_members, update_members_compiled
from workbench.stacked_model import FEWEST_MAPPED, StackedModel

from .fleet_members import FOLDED, member, various

MEMBERS, BATCH, LENGTH, VOCAB = 3, 5, 4, 7


def random_members(config, sites, members=MEMBERS):
    """Parameters far from zero everywhere, tokens, shares and masks."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in Transformer(config).named_parameters()}
    parameters = {name: torch.randn(members, *shape, generator=generator).double() for name, shape in shapes.items()}
    sequences = torch.rand(members, BATCH, VOCAB, generator=generator).argsort(dim=-1)[:, :, : LENGTH + 1]
    mask_shapes = {
        "embedding": (BATCH, LENGTH, config.width),
        "attention": (BATCH, config.heads, LENGTH, LENGTH),
        "residual": (BATCH, LENGTH, config.width),
    }
    masks = {site: (torch.rand(members, *mask_shapes[site], generator=generator) > 0.3).double() / 0.7 for site in sites}
    return parameters, sequences, masks


def targets_of(sequences, soft):
    """What a fleet of such members learns: next tokens or, where one is soft, shares from the task's own legality."""
    configs = [member(seed=i, batch=sequences.shape[1], targets="soft" if each else "hard") for i, each in enumerate(soft)]
    return MemberBatches(configs, make_task(configs[0].task)).targets(sequences, torch.float64)


@pytest.mark.parametrize("sites", [(), ("attention",), ("embedding",), ("residual",), ("embedding", "attention", "residual")])
@pytest.mark.parametrize("shape", FOLDED)
@pytest.mark.parametrize("soft", [(False, True, False), (False, False, False)], ids=["one soft", "hard"])
def test_both_paths_have_the_same_losses_and_gradients(shape, sites, soft):
    config = member(**FOLDED[shape]).model
    parameters, sequences, masks = random_members(config, sites)
    general = StackedModel(config, DropoutRates(**dict.fromkeys(sites, 0.3)), "cpu")
    targets = targets_of(sequences, soft)
    expected_losses, expected = general.losses_and_gradients(parameters, sequences[:, :, :-1], targets, list(masks.values()))
    losses, gradients = folded_model.losses_and_gradients(config, parameters, sequences, np.array(soft), masks)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-12)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-10 * float(expected[name].abs().max() + 1))


@pytest.mark.parametrize("shape", FOLDED)
def test_folded_logits_are_the_plain_models(shape):
    config = member(**FOLDED[shape]).model
    parameters, sequences, _ = random_members(config, ())
    logits = folded_model.member_logits(config, parameters, sequences, {})
    for i in range(MEMBERS):
        model = Transformer(config).double().eval()
        model.load_state_dict({name: tensor[i] for name, tensor in parameters.items()})
        torch.testing.assert_close(logits[i], model(sequences[i]), rtol=0, atol=1e-11 * float(logits.detach().abs().max()))


@pytest.mark.parametrize("soft", [(True, False, True, False), (False,) * 4], ids=["two soft", "hard"])
@pytest.mark.parametrize("members", [FEWEST_MAPPED - 1, FEWEST_MAPPED], ids=["one after another", "mapped"])
def test_the_general_path_has_the_gradients_of_the_plain_model_with_its_own_masks(members, soft):
    config = member(layers=2, mlp_width=6, norm="pre", dropout_residual=0.5).model
    parameters, sequences, _ = random_members(config, (), members)
    tokens, targets = sequences[:, :, :-1], targets_of(sequences, soft[:members])
    shares = targets if any(soft) else F.one_hot(targets, VOCAB).double() / (BATCH * LENGTH)
    masks = [torch.rand(members, BATCH, LENGTH, config.width).double() for _ in range(4)]
    losses, gradients = StackedModel(config, config.dropout, "cpu").losses_and_gradients(parameters, tokens, targets, masks)
    for i in range(members):
        model = Transformer(config).double().train()
        model.load_state_dict({name: tensor[i] for name, tensor in parameters.items()})
        own = iter([mask[i] for mask in masks])
        loss = -(model(tokens[i], lambda *_, own=own: next(own)).log_softmax(dim=-1) * shares[i]).sum()
        loss.backward()
        torch.testing.assert_close(losses[i], loss.detach(), rtol=1e-12, atol=0)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_is_torchs(dtype):
    generator = torch.Generator().manual_seed(1)
    sequences = torch.rand(2, 300, VOCAB, generator=generator).argsort(dim=-1)[:, :, : LENGTH + 1]
    logits = (torch.randn(2, 300, LENGTH, VOCAB, generator=generator) * 30).to(dtype)
    logits[0, 0, 0] = torch.tensor([0.0, -1000.0, 5.0, -1e30, 88.0, 0.0, 0.0])
    leaf = logits.clone().requires_grad_()
    shares = targets_of(sequences, (False, True)).to(dtype)
    expected = -(leaf.log_softmax(dim=-1) * shares).sum(dim=(1, 2, 3))
    expected.sum().backward()
    losses, gradients = folded_model.cross_entropy(logits, sequences, np.array([False, True]))
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5 if dtype == torch.float32 else 1e-13, atol=0)
    torch.testing.assert_close(gradients, leaf.grad, rtol=0, atol=1e-8 if dtype == torch.float32 else 1e-16)


def test_a_nan_logit_makes_the_loss_of_its_member_alone_not_finite():
    sequences = torch.arange(VOCAB).expand(4, 2, VOCAB)[:, :, : LENGTH + 1].contiguous()
    logits = torch.zeros(4, 2, LENGTH, VOCAB)
    logits[1, 0, 1, 3] = torch.nan
    logits[2, 0, 0, 0] = torch.inf
    losses, _ = folded_model.cross_entropy(logits, sequences, np.zeros(4, bool))
    assert losses.isfinite().tolist() == [True, False, False, True]


@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 2000), rate=st.floats(0.001, 0.999), double=st.booleans())
def test_masks_follow_torchs_generator(seed, count, rate, double):
    dtype = torch.float64 if double else torch.float32
    generator = torch.Generator().manual_seed(seed)
    states, used = np.empty((1, fleet_draws.WORDS), np.uint32), np.empty(1, np.int64)
    fleet_draws.seed_generators(0, 1, np.array([seed], np.uint64), states, used)
    threshold = np.array([math.ceil(torch.tensor(rate, dtype=dtype).item() * 2 ** (53 if double else 24))], np.uint64)
    for size in (count, 700):  # the second goes on where the first stopped
        mask = np.ones((1, size), np.float64)
        fleet_draws.draw_masks(0, 1, states, used, threshold, np.array([2.0]), double, mask)
        expected = torch.rand(size, generator=generator, dtype=dtype) >= rate
        assert torch.equal(torch.from_numpy(mask[0]), expected * 2.0)


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(1, 10**6), batch=st.integers(1, 40), soft=st.booleans())
def test_sequences_are_the_tasks_and_targets_its_next_or_its_legal_tokens(seed, step, batch, soft):
    config = member(seed=seed, batch=batch, targets="soft" if soft else "hard")
    task = make_task(config.task)
    expected = task.sequences(seed, (step - 1) * batch, batch)[:, :5]
    batches = MemberBatches([config], task)
    sequences = batches.draw(step)
    assert torch.equal(sequences[0], expected)
    legal = task.legal(expected[:, :-1]).double()
    wanted = legal / legal.sum(dim=-1, keepdim=True) / (batch * 4) if soft else expected[:, 1:]
    torch.testing.assert_close(batches.targets(sequences, torch.float64)[0], wanted, rtol=1e-12, atol=0)


def test_what_a_gpu_draws_has_the_same_sequences():
    configs = various(4)
    task = make_task(configs[0].task)
    expected = torch.stack([task.sequences(config.seed, 24, 12) for config in configs])
    assert torch.equal(stacked_permutations(MemberBatches(configs, task).on_device, 24, 12, 7), expected)


def test_counted_masks_are_draws_of_the_stream():
    states = torch.tensor([as_signed(0x123456789ABCDEF0), 17])
    counters = mask_counters([torch.Size((3, 2)), torch.Size((4000,))])
    first, second = counted_masks(states, [torch.tensor([0.25, 0.0])] * 2, counters)
    assert bool((torch.cat([first[1].flatten(), second[1]]) == 1).all())
    assert set(second[0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert float((second[0] == 0).double().mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))


@pytest.mark.parametrize("step", [1, 900])
def test_a_step_has_masks_of_its_own_which_are_draws_of_the_members_streams(step):
    seeds = (5, 2**63)
    states = mask_states(torch.tensor([as_signed(seed_state(seed)) for seed in seeds]), step)
    masks = counted_masks(states, [torch.tensor([0.5, 0.5])] * 2, mask_counters([torch.Size((4, 8))] * 2))
    for i, seed in enumerate(seeds):
        expected = [draw_scalar(seed, step, counter) >= 2**63 for counter in range(64)]
        assert [value > 0 for mask in masks for value in mask[i].flatten().tolist()] == expected


@pytest.mark.parametrize("step", [1, 7])
def test_the_update_for_a_gpu_is_that_for_the_cpu(step):
    configs = various(5)
    generator = torch.Generator().manual_seed(2)
    weights, gradients, first, second, ema = (torch.randn(5, 40, generator=generator).double() for _ in range(5))
    gradients[3, 5] = torch.nan
    losses = torch.tensor([1.0, torch.inf, 2.0, 1.0, 3.0]).double()
    rates = torch.tensor([member_rates(config, step) for config in configs]).double()
    results = []
    for update in (update_members, update_members_compiled):
        state = [tensor.clone() for tensor in (weights, gradients, first, second.abs(), ema)]
        diverged = torch.tensor([0, 0, 4, 0, 0])
        update(*state, diverged, losses, rates, 30, step)
        assert diverged.tolist() == [0, step, 4, step, 0]
        results.append([state[0], *state[2:]])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
        assert torch.equal(one[1:4], other[1:4])  # the frozen ones to the bit
    assert torch.equal(results[0][0][1:4], weights[1:4])


CAPTURED_WHOLE = """
import torch
from models.config import DropoutRates, ModelConfig
from models.transformer import Transformer
from workbench.fleet_batches import counted_masks, mask_counters
from workbench.fleet_optimizer import update_members
from workbench.stacked_model import StackedModel

torch.set_default_dtype(torch.float64)  # so that no more than the order of sums shows
whole = dict(fullgraph=True)
config = ModelConfig(vocab=7, context=6, layers=2, width=8, head_width=8)
model = StackedModel(config, DropoutRates(residual=0.5), "cpu")
parameters = {name: torch.randn(4, *tensor.shape) for name, tensor in Transformer(config).named_parameters()}
arguments = parameters, torch.randint(7, (4, 5, 4)), torch.rand(4, 5, 4, 7), [torch.rand(4, 5, 4, 8) for _ in range(2)]
losses, gradients = model.losses_and_gradients(*arguments)
model._mapped = torch.compile(model._mapped, **whole)
captured_losses, captured = model.losses_and_gradients(*arguments)
torch.testing.assert_close(captured_losses, losses)
torch.testing.assert_close(captured, gradients)

state = [[torch.rand(3, 40, generator=torch.Generator().manual_seed(k)) for k in range(5)] for _ in range(2)]
for update, tensors in zip((update_members, torch.compile(update_members, **whole)), state):
    update(*tensors, torch.zeros(3, dtype=torch.int64), torch.ones(3), torch.full((3, 7), 0.5), 30, 2)
torch.testing.assert_close(*state)

arguments = torch.arange(3), [torch.full((3,), 0.5)] * 3, mask_counters([torch.Size((128, 8, 40))] * 3)
assert all(map(torch.equal, counted_masks(*arguments), torch.compile(counted_masks, **whole)(*arguments)))
print("whole")
"""


def test_what_is_compiled_on_a_gpu_is_captured_whole():
    """By torch's compiler for the CPU: one graph and the same numbers; in a process without run-time type checks."""
    done = subprocess.run([sys.executable, "-c", CAPTURED_WHOLE], capture_output=True, text=True)
    assert done.stdout == "whole\n", done.stderr


COMPILED_AGAIN_AND_AGAIN = """
import torch
from models.config import DropoutRates, ModelConfig
from models.transformer import Transformer
from workbench.stacked_model import StackedModel, compiled_anew

compiled = []
def counting(graph, inputs):
    compiled.append(graph)
    return graph.forward

for width in range(4, 14):
    config = ModelConfig(vocab=7, context=6, width=width, head_width=4)
    model = StackedModel(config, DropoutRates(), "cpu")
    model._mapped = compiled_anew(model._mapped, backend=counting)
    parameters = {name: torch.randn(4, *tensor.shape) for name, tensor in Transformer(config).named_parameters()}
    for _ in range(2):
        model.losses_and_gradients(parameters, torch.randint(7, (4, 5, 4)), torch.rand(4, 5, 4, 7), [])
print(len(compiled))
"""


def test_every_fleet_of_a_long_search_is_compiled():
    done = subprocess.run([sys.executable, "-c", COMPILED_AGAIN_AND_AGAIN], capture_output=True, text=True)
    assert done.stdout == "10\n", done.stderr


@pytest.mark.parametrize(("dtype", "least"), [(np.float32, -75.0), (np.float64, -690.0)])
def test_exponentials_are_within_a_few_units_in_the_last_place(dtype, least):
    x = np.linspace(least, 0, 5001).astype(dtype)
    logits = torch.from_numpy(np.stack([np.zeros_like(x), x], axis=-1))[None, :, None]
    sequences = torch.zeros(1, 5001, 2, dtype=torch.int64)
    _, gradients = folded_model.cross_entropy(logits, sequences, np.zeros(1, bool))
    exact = np.exp(x.astype(np.longdouble))
    error = np.abs(gradients[0, :, 0, 1].numpy().astype(np.longdouble) * 5001 / (exact / (1 + exact)) - 1)
    assert float(error.max()) < 16 * np.finfo(dtype).eps


def test_norms_have_the_epsilon_of_the_model():
    x = torch.linspace(0, 1e-3, 8)[None, None]
    model_norm = Transformer(member(final_norm=True).model).ln_final(x)
    assert torch.equal(model_norm, F.layer_norm(x, (8,), eps=fleet_kernels.NORM_EPSILON))
