from inspect import unwrap

import numpy as np
import pytest
import torch

from models.hooked import hook
from models.transformer import Transformer
from probes.intervention import METHODS, board_edit, edit_directions, editing, intervene
from probes.linear_probe import Moments, closed_form
from probes.residual_stream import layers_of, visiting, width_of

from .othello_models import SMALL, indicators, planted

LAYERS, SQUARES = 3, 6


@pytest.fixture(scope="module")
def models():
    plain = Transformer(SMALL, seed=1).eval()
    return {"plain": plain, "hooked": hook(SMALL, plain.state_dict())}


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(1, SMALL.vocab, (5, 9), generator=torch.Generator().manual_seed(2))


def planted_probe(layers=LAYERS, width=SMALL.width, noise=0.0, ridge=1e-7):
    """A probe of planted boards at every layer, the boards, the streams, and the code of each state."""
    states, streams, codes = planted(SQUARES, width, rows=4000, seed=4, noise=noise)
    moments = Moments(layers, width, 2 * SQUARES)
    for layer in range(layers):
        moments.add(layer, streams, indicators(states))
    return closed_form(moments, SQUARES, ridge=ridge), states, streams, codes


def streams_while(model, tokens, layers=None):
    """What every layer's stream is after the hooks that are open already."""
    seen = {}
    with torch.no_grad(), visiting(model, lambda layer, stream: seen.__setitem__(layer, stream), layers):
        logits = model(tokens)
    return seen, logits


@pytest.mark.parametrize("form", ["plain", "hooked"])
@pytest.mark.parametrize("method", METHODS)
def test_an_edit_sets_one_reading_and_leaves_the_others(models, tokens, form, method):
    model = models[form]
    probe = planted_probe(noise=0.2)[0]
    square, state, at = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 1, 0, 1, 0]), torch.tensor([8, 3, 0, 5, 8])
    before, clean = streams_while(model, tokens)
    with intervene(model, probe, method, square, state, layers=[1], position=at, strength=30.0):
        after, edited = streams_while(model, tokens)
    rows = torch.arange(5)
    old, new = {"flip": (state, 1 - state), "erase": (state, torch.full((5,), 2)), "add": (torch.full((5,), 2), state)}[method]
    scores = [probe.scores(1, streams[1][rows, at]) for streams in (before, after)]
    contrast = scores[1][rows, square, new] - scores[1][rows, square, old]
    torch.testing.assert_close(contrast, torch.full((5,), 30.0), rtol=1e-3, atol=1e-2)
    others = torch.ones(5, SQUARES, dtype=torch.bool)
    others[rows, square] = False
    moved = (scores[1] - scores[0]).abs()
    assert moved[others].max() < 0.05 * moved[~others].max()  # the ridge of the directions lets a little through
    elsewhere = torch.ones(5, 9, dtype=torch.bool)
    elsewhere[rows, at] = False
    assert torch.equal(after[1][elsewhere], before[1][elsewhere])
    assert torch.equal(after[0], before[0]) and not torch.allclose(edited, clean)


def test_both_forms_answer_an_edit_alike(models, tokens):
    probe = planted_probe(noise=0.2)[0]
    logits = []
    for model in models.values():
        with torch.no_grad(), intervene(model, probe, "flip", 2, 1, layers=[0, 1, 2], strength=8.0):
            logits.append(model(tokens))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_on_a_planted_board_the_edited_stream_is_that_of_the_edited_board(method):
    probe, states, streams, codes = planted_probe()
    wanted = states == 2 if method == "add" else states < 2
    rows = wanted[:, 3].nonzero()[:200, 0]
    disc = torch.zeros(len(rows), dtype=torch.int64) if method == "add" else states[rows, 3].long()
    change = board_edit(probe, method, 3, disc, strength=1.0)(1, streams[rows])
    new = {"flip": 1 - disc, "erase": torch.full_like(disc, 2), "add": disc}[method]
    expected = codes[3][new] - codes[3][states[rows, 3].long()]
    error = (change - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 0.05


def test_the_edit_is_the_shortest_in_the_metric_of_the_streams_covariance():
    """Against the textbook solution: minimise d' C^-1 d subject to the change of all independent scores, by its KKT system."""
    states, streams, _ = planted(SQUARES, 24, rows=3000, seed=1, noise=0.5)
    moments = Moments(1, 24, 2 * SQUARES)
    moments.add(0, streams, indicators(states))
    probe = closed_form(moments, SQUARES, ridge=1e-6)
    covariance = moments.covariance(0).numpy()
    readings = probe.weight[0, :, :, :2].double().flatten(1).numpy().T  # (square state) width
    wanted = np.zeros(2 * SQUARES)
    wanted[2 * 4 + 1] = 1.0  # the score of state 1 of square 4 up by 1, hence that of empty down, and nothing else
    width, rows = 24, len(readings)
    kkt = np.block([[np.linalg.inv(covariance), readings.T], [readings, np.zeros((rows, rows))]])
    shortest = np.linalg.solve(kkt, np.concatenate([np.zeros(width), wanted]))[:width]
    ours = edit_directions(probe, 0)[:, 4, 1].numpy()
    assert np.linalg.norm(ours - shortest) < 0.02 * np.linalg.norm(shortest)


def test_where_the_reading_is_there_already_nothing_is_done(models, tokens):
    probe = planted_probe(noise=0.2)[0]
    rows = torch.randn(7, SMALL.width, generator=torch.Generator().manual_seed(0))
    scores = probe.scores(0, rows)[:, 2]
    middle = float((scores[:, 1] - scores[:, 0]).median().abs()) + 1e-3
    change = board_edit(probe, "flip", 2, 0, strength=middle)(0, rows)
    done = scores[:, 1] - scores[:, 0] >= middle
    assert done.any() and (~done).any()
    assert torch.equal(change[done], torch.zeros_like(change[done]))
    assert (change[~done].norm(dim=1) > 0).all()


@pytest.mark.parametrize("form", ["plain", "hooked"])
def test_interventions_nest_and_leave_nothing_behind_when_a_pass_raises(models, tokens, form):
    model, probe = models[form], planted_probe(noise=0.2)[0]
    clean = model(tokens)
    with intervene(model, probe, "flip", 0, 0, layers=[1], strength=9.0):
        once = model(tokens)
        with intervene(model, probe, "flip", 3, 1, layers=[1], strength=9.0):
            twice = model(tokens)
        torch.testing.assert_close(model(tokens), once)
        two = intervene(model, probe, "erase", torch.tensor([1, 2]), 0, layers=[0])
        with pytest.raises(ValueError, match="for 2 sequences, the batch has 5"), two:
            model(tokens)
        torch.testing.assert_close(model(tokens), once)
    torch.testing.assert_close(model(tokens), clean)
    assert not torch.allclose(once, clean) and not torch.allclose(twice, once)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in models["plain"].modules())


@pytest.mark.parametrize("form", ["plain", "hooked"])
def test_interventions_that_do_not_close_in_reverse_order_take_off_their_own_hooks(models, tokens, form):
    model, probe = models[form], planted_probe(noise=0.2)[0]
    clean = model(tokens)
    first, second = (intervene(model, probe, "flip", square, 0, layers=[1], strength=9.0) for square in (0, 3))
    with intervene(model, probe, "flip", 3, 0, layers=[1], strength=9.0):
        expected = model(tokens)
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        assert torch.equal(model(tokens), expected)
    assert torch.equal(model(tokens), clean) and not torch.equal(expected, clean)


def test_cached_streams_are_never_written_to(models, tokens):
    model, probe = models["hooked"], planted_probe(noise=0.2)[0]
    _, cache = model.run_with_cache(tokens)
    kept = {layer: cache[f"blocks.{layer}.hook_resid_pre"].clone() for layer in range(2)}
    with intervene(model, probe, "flip", 0, 0, layers=list(layers_of(model)), strength=9.0):
        model(tokens)
    assert all(torch.equal(cache[f"blocks.{layer}.hook_resid_pre"], stream) for layer, stream in kept.items())


def test_minus_one_is_the_last_position(models, tokens):
    probe = planted_probe(noise=0.2)[0]
    outputs = []
    for position in (-1, 8, torch.full((5,), 8)):
        with intervene(models["plain"], probe, "flip", 0, 0, layers=[2], position=position, strength=9.0):
            outputs.append(models["plain"](tokens))
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[1], outputs[2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"square": 6}, "square 6 is outside 0 .. 5"),
        ({"state": 2}, "state of a disc 2 is outside 0 .. 1"),
        ({"layers": [3]}, "layer 3 does not exist, expected 0 .embedding. to 2"),
        ({"layers": []}, "no layer was given"),
        ({"layers": np.array([], dtype=int)}, "no layer was given"),
        ({"position": 31}, "position 31 is outside -1 .. 30"),
        ({"strength": 0.0}, "strength 0.0 would not change"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(models, changes, words):
    asked = {"method": "flip", "square": 0, "state": 0, "layers": [1]} | changes
    with pytest.raises(ValueError, match=words), intervene(models["plain"], planted_probe(noise=0.2)[0], **asked):
        pass


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method 'remove' is unknown; choose one of flip, erase, add"):
        unwrap(board_edit)(planted_probe()[0], "remove", 0, 0)


def test_positions_beyond_the_input_other_probes_and_training_mode_are_refused(models, tokens):
    model, probe = models["plain"], planted_probe(noise=0.2)[0]
    beyond = intervene(model, probe, "flip", 0, 0, layers=[1], position=20)
    with pytest.raises(ValueError, match="position 20 is outside 0 .. 8"), beyond:
        model(tokens)
    other = planted_probe(layers=2, width=width_of(model) + 1)[0]
    misfit = intervene(model, other, "flip", 0, 0, layers=[1])
    with pytest.raises(ValueError, match="reads 2 layers of width 25, the model has 3 of width 24"), misfit:
        pass
    model.train()
    with pytest.raises(ValueError, match="training mode"), editing(model, lambda layer, rows: rows, [1]):
        pass
    model.eval()
