import json
from inspect import unwrap

import numpy as np
import pytest
import torch

from models.config import ModelConfig, TaskConfig
from models.hooked import hook, load
from models.importers import import_checkpoint
from models.streams import Draw
from models.transformer import Transformer
from probes.board_fit import fit_probes
from probes.board_probe import load_probe
from probes.board_state import CONTROLS, board_state
from probes.harvest import Games, Target, labelled
from probes.intervention_score import board_interventions
from probes.subject import othello_subject

from .othello_models import SMALL, SMALL_BOARD, played_squares_model, small_checkpoint

FEW = {"fit_games": 40, "test_games": 12}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("models") / "small")


def pooled(frame, /, **wanted):
    """Values by layer of rows pooled over length and square."""
    rows = frame[frame["length"].isna() & frame["square"].isna()]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows.set_index("layer")["value"]


def test_a_planted_representation_is_found_where_it_is_and_not_where_it_is_not(tmp_path):
    config, state = played_squares_model()
    frame = board_state(
        small_checkpoint(tmp_path / "planted", config, state=state), frames=("to_move",), fit_games=300, test_games=60
    )
    empty = pooled(frame, metric="f1", state="empty", control="none")
    assert empty[1] > 0.96 and empty[0] < 0.85  # which squares are played is linear after the block, and not before it
    right = pooled(frame, metric="accuracy", control="none")
    shuffled = pooled(frame, metric="accuracy", control="shuffled labels")
    random = pooled(frame, metric="accuracy", control="random weights")
    assert right[1] > shuffled[1] + 0.1 and right[1] > random[1] + 0.02  # untrained attention mixes tokens too
    colours = pooled(frame, metric="accuracy", control="none")
    assert colours[1] < 0.9  # whose the discs are is not planted


def test_the_frame_has_every_probe_frame_and_control(checkpoint):
    frame = board_state(checkpoint, ("closed-form", "logistic", "nonlinear"), **FEW)
    probes = frame[frame["control"] == "none"].groupby(["probe", "frame"]).size()
    assert len(probes) == 9 and probes.nunique() == 1
    assert set(frame["control"]) == {"none", *CONTROLS}
    guesses = frame[frame["probe"] == "guess"]["control"]
    assert guesses.unique().tolist() == ["constant guess", "guess by length"]  # in this order, in every process
    assert frame[frame["probe"] == "guess"]["layer"].isna().all()
    key = ["probe", "frame", "control", "layer", "length", "square", "state", "metric"]
    assert not frame.duplicated(key).any()
    assert (frame["checkpoint"] == "small").all() and (frame["step"] == 0).all() and (frame["seed"] == 1).all()
    assert frame["value"].between(0, 1).all() and (frame["ci_low"] <= frame["ci_high"]).all()
    assert set(frame["layer"].dropna()) == {0, 1, 2}


def test_guesses_are_what_counting_the_fitted_games_gives(checkpoint):
    frame = board_state(checkpoint, controls=("constant guess", "guess by length"), frames=("to_move",), **FEW)
    task = othello_subject(checkpoint).task
    target = Target("to_move")
    fit, test = (labelled(task, task.sequences(Draw.PROBES, *part)[:, :31], [target]) for part in ((0, 40), (40, 12)))
    seen, held = fit.states[target].numpy(), test.states[target].numpy()
    constant = np.array([np.bincount(seen[:, square], minlength=3).argmax() for square in range(36)])
    assert pooled(frame, control="constant guess", metric="accuracy").item() == pytest.approx((held == constant).mean())
    right = []
    for length, board in zip(test.length.tolist(), held, strict=True):
        here = seen[fit.length.numpy() == length]
        right.append([np.bincount(here[:, square], minlength=3).argmax() == board[square] for square in range(36)])
    assert pooled(frame, control="guess by length", metric="accuracy").item() == pytest.approx(np.mean(right))


def test_a_hooked_model_gives_what_its_checkpoint_gives_and_keeps_no_hook(checkpoint):
    asked = {"frames": ("to_move", "colour"), "controls": ("wrong layer", "shuffled labels", "random weights"), **FEW}
    plain, hooked = board_state(checkpoint, **asked), board_state(load(checkpoint), **asked)
    np.testing.assert_allclose(plain["value"], hooked["value"], atol=2e-3)
    assert list(plain.columns) == list(hooked.columns)


def test_a_users_hook_on_a_hooked_model_is_seen(checkpoint):
    model = load(checkpoint)
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda stream, hook: torch.zeros_like(stream))]):
        frame = board_state(model, frames=("to_move",), controls=("constant guess",), **FEW)
    right = pooled(frame, control="none", metric="accuracy")
    assert right[1] == pytest.approx(pooled(frame, control="constant guess", metric="accuracy").item())
    assert right[0] > right[1]


def test_results_do_not_depend_on_the_batch(checkpoint):
    frames = [
        board_state(checkpoint, frames=("to_move",), controls=("constant guess",), batch=batch, **FEW) for batch in (5, 32)
    ]
    np.testing.assert_allclose(frames[0]["value"], frames[1]["value"], atol=2e-3)


def test_probes_are_saved_with_their_card_and_read_the_same(checkpoint, tmp_path):
    board_state(checkpoint, ("closed-form", "nonlinear"), ("colour",), (), save=tmp_path / "probes", seed=5, **FEW)
    subject = othello_subject(checkpoint)
    assert sorted(path.name for path in (tmp_path / "probes").iterdir()) == ["closed-form-colour", "nonlinear-colour"]
    loaded = load_probe(tmp_path / "probes" / "closed-form-colour", subject.sha256)
    card = loaded.card
    assert (card.frame, card.states, card.layers, card.seed, card.games) == (
        "colour",
        ("black", "white", "empty"),
        (0, 1, 2),
        5,
        40,
    )
    assert (
        card.checkpoint == "small"
        and card.checkpoint_sha256 == json.loads((checkpoint / "card.json").read_text())["sha256"]["raw.safetensors"]
    )
    again = fit_probes(subject, Games(5, 0, 40), [Target("colour")]).probes["closed-form", Target("colour")]
    stream = torch.randn(7, SMALL.width)
    torch.testing.assert_close(loaded.scores(1, stream), again.scores(1, stream))


def test_a_model_with_a_short_context_is_probed_as_far_as_it_goes(tmp_path):
    config = SMALL.model_copy(update={"context": 12})
    frame = board_state(small_checkpoint(tmp_path / "short", config), frames=("to_move",), **FEW)
    assert frame["length"].max() == 12


def test_a_trained_model_in_training_mode_or_of_another_task_is_refused(tmp_path, checkpoint):
    model = load(checkpoint).train()
    with pytest.raises(ValueError, match="training mode.*call model.eval"):
        board_state(model, **FEW)
    config = ModelConfig(vocab=33, context=31, width=24)
    other = small_checkpoint(tmp_path / "sets", config, TaskConfig(name="set-complement", vocab=33))
    with pytest.raises(ValueError, match="trained on set-complement"):
        board_state(other, **FEW)
    config = ModelConfig(vocab=20, context=19, width=24)
    with pytest.raises(ValueError, match="has 20 tokens, an OthelloGPT has 61"):
        board_state(hook(config, Transformer(config).state_dict()), **FEW)
    with pytest.raises(ValueError, match="has 20 tokens, its task othello has 33"):
        board_state(small_checkpoint(tmp_path / "odd", config, SMALL_BOARD), **FEW)
    with pytest.raises(ValueError, match="no card to tell its shape"):
        board_state(hook(SMALL, Transformer(SMALL).state_dict()), **FEW)


def test_what_is_unknown_is_refused_before_any_work(checkpoint):
    for words, asked in {
        "probe 'cubic' is unknown": {"probes": ("cubic",)},
        "frame 'mover' is unknown": {"frames": ("mover",)},
        "control 'sham' is unknown": {"controls": ("sham",)},
        "no frame": {"frames": ()},
        "1 games to test on are too few": {"test_games": 1},
        "seed -1": {"seed": -1},
    }.items():
        with pytest.raises(ValueError, match=words):
            unwrap(board_state)(checkpoint, **FEW | asked)
    with pytest.raises(ValueError, match="no target was given to fit a probe to; give at least one"):
        fit_probes(othello_subject(checkpoint), Games(0, 0, 40), [], report=lambda games: pytest.fail("fitted first"))


@pytest.mark.slow
def test_the_real_model_knows_the_board_and_uses_it(othello_gpt_file, tmp_path):
    folder = tmp_path / "othello-gpt"
    import_checkpoint(str(othello_gpt_file), folder)
    frame = board_state(folder, frames=("to_move", "colour"), fit_games=500, test_games=100, save=tmp_path / "probes")
    right = pooled(frame, metric="accuracy", control="none", frame="to_move")
    assert right[4] > 0.95 and right[5] > 0.95
    assert right[5] > pooled(frame, metric="accuracy", control="none", frame="colour")[5] + 0.15
    for control, at_most in (("random weights", 0.75), ("shuffled labels", 0.65), ("wrong layer", 0.7)):
        assert pooled(frame, metric="accuracy", control=control)[5] < at_most
    probe = load_probe(tmp_path / "probes" / "closed-form-to_move")
    scores = board_interventions(folder, probe, ("flip",), cases=150, fit_games=500).set_index("arm")["value"]
    assert scores["edited"] * 5 < scores["null"] and scores["random direction"] > 0.8 * scores["null"]
