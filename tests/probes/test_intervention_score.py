import numpy as np
import pandas as pd
import pytest
import torch

from models.othello.task import OthelloTask
from models.transformer import Transformer
from probes.board_fit import fit_probes
from probes.harvest import Games, Target
from probes.intervention import METHODS
from probes.intervention_cases import draw_cases
from probes.intervention_score import board_interventions, middle_layers, top_errors
from probes.subject import othello_subject

from .othello_models import legal_squares, small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.parametrize("size", [6, 8])
@pytest.mark.parametrize("method", METHODS)
def test_cases_are_positions_whose_legal_moves_the_edit_changes(size, method):
    task = OthelloTask(size)
    cases = draw_cases(task, method, Games(0, 50, 150), task.longest)
    assert len(cases.length) > 90
    assert (cases.length.diff() >= 0).all() and cases.length.min() >= 5 and cases.length.max() <= 0.9 * task.longest
    boards = task.board_state(cases.tokens)
    for case in range(len(cases.length)):
        board = boards[case, cases.length[case] - 1].numpy().reshape(size, size).copy()  # 0 is the side to move
        square, state = divmod(int(cases.square[case]), size), int(cases.state[case])
        assert board[square] == (2 if method == "add" else state)
        before = legal_squares(board, 0)
        board[square] = {"flip": 1 - state, "erase": 2, "add": state}[method]
        after = legal_squares(board, 0)
        for mask, expected in ((cases.legal_before[case], before), (cases.legal_after[case], after)):
            assert {task.board.square(int(token)) for token in mask.nonzero()[:, 0]} == expected
        assert after != before and after


def test_cases_are_a_function_of_the_games_and_share_positions_over_methods():
    task = OthelloTask(6)
    first, again, other = (draw_cases(task, method, Games(3, 0, 40), 31) for method in ("flip", "flip", "erase"))
    assert torch.equal(first.square, again.square) and torch.equal(first.tokens, again.tokens)
    key = lambda cases: {tuple(game[:at]) for game, at in zip(cases.tokens.tolist(), cases.length.tolist(), strict=True)}  # noqa: E731
    assert len(key(first) & key(other)) > 35


def test_top_errors_are_false_positives_plus_false_negatives():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 12, generator=generator)
    legal = torch.rand(200, 12, generator=generator) < 0.4
    for row, mask, found in zip(logits.numpy(), legal.numpy(), top_errors(logits, legal).tolist(), strict=True):
        top = set(np.argsort(-row)[: mask.sum()].tolist())
        right = set(np.flatnonzero(mask).tolist())
        assert found == len(top - right) + len(right - top)
    perfect = torch.where(legal, 5.0, -5.0)
    assert top_errors(perfect, legal).sum() == 0
    assert torch.equal(top_errors(-perfect, legal), 2 * torch.minimum(legal.sum(1), 12 - legal.sum(1)))


def test_the_frame_has_every_method_and_arm_and_is_a_function_of_the_seed(checkpoint):
    asked = {"methods": ("flip", "add"), "cases": 30, "fit_games": 40}
    frame = board_interventions(checkpoint, **asked)
    again = board_interventions(checkpoint, batch=7, **asked)
    assert list(frame["arm"]) == ["edited", "null", "random direction", "unedited board"] * 2
    assert list(frame["method"].unique()) == ["flip", "add"] and set(frame["metric"]) == {"errors"}
    assert (frame["cases"] >= 25).all() and (frame["checkpoint"] == "small").all() and (frame["seed"] == 1).all()
    assert ((frame["ci_low"] <= frame["value"]) & (frame["value"] <= frame["ci_high"]) & (frame["ci_low"] >= 0)).all()
    fixed = frame["arm"] != "random direction"  # whose noise is drawn batch by batch
    np.testing.assert_allclose(frame[fixed]["value"], again[fixed]["value"], atol=0.1)


def test_a_given_probe_is_used_and_only_one_that_fits(checkpoint):
    subject = othello_subject(checkpoint)
    fitted = fit_probes(subject, Games(0, 0, 40), [Target("to_move"), Target("colour")], ("closed-form", "nonlinear"))
    frames = [
        board_interventions(checkpoint, probe, ("flip",), cases=20, fit_games=40)
        for probe in (None, fitted.probes["closed-form", Target("to_move")])
    ]
    np.testing.assert_allclose(frames[0]["value"], frames[1]["value"], atol=0.21)
    with pytest.raises(ValueError, match="reads the frame 'colour'"):
        board_interventions(checkpoint, fitted.probes["closed-form", Target("colour")], cases=20)
    with pytest.raises(ValueError, match="no directions"):
        board_interventions(checkpoint, fitted.probes["nonlinear", Target("to_move")], cases=20)


def test_cases_come_from_games_that_the_given_probe_was_not_fitted_on(checkpoint):
    subject = othello_subject(checkpoint)
    probe = fit_probes(subject, Games(0, 0, 40), [Target("to_move")]).probes["closed-form", Target("to_move")]
    asked = {"methods": ("flip",), "cases": 20}
    few, all_of_them = (board_interventions(checkpoint, probe, fit_games=games, **asked) for games in (2, 40))
    pd.testing.assert_frame_equal(few, all_of_them)
    of_other_games = board_interventions(checkpoint, probe, fit_games=2, seed=1, **asked)
    moved = board_interventions(checkpoint, probe, fit_games=40, seed=1, **asked)
    assert not of_other_games["value"].equals(moved["value"])


def test_games_of_which_none_gives_a_case_are_told(checkpoint):
    """Both end before the move at which the square would be added."""
    at = 43296
    assert not len(draw_cases(OthelloTask(6), "add", Games(0, at, at + 2), 31).length)
    (probe,) = fit_probes(othello_subject(checkpoint), Games(0, 0, 4), [Target("to_move")]).probes.values()
    with pytest.raises(ValueError, match="no game gave a case for 'add'; ask for more cases"):
        board_interventions(checkpoint, probe, ("add",), cases=2, fit_games=at)


def test_a_model_too_short_for_cases_is_refused():
    assert draw_cases(OthelloTask(6), "flip", Games(0, 2, 40), 5).tokens.shape[1] == 5
    with pytest.raises(ValueError, match="the model reads 4 moves, expected at least 5, where cases begin"):
        draw_cases(OthelloTask(6), "flip", Games(0, 2, 40), 4)


def test_edits_are_made_in_the_middle_by_default(checkpoint):
    depths = [othello_subject(checkpoint).model.config.model_copy(update={"layers": blocks}) for blocks in (1, 2, 4, 8)]
    assert [middle_layers(Transformer(config)) for config in depths] == [(1,), (1,), (1, 2), (3, 4, 5)]
    frame = board_interventions(checkpoint, methods=("flip",), layers=[0, 2], cases=20, fit_games=40)
    assert set(frame["layers"]) == {"0, 2"}
