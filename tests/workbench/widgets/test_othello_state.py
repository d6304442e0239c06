"""Games and steps of the Othello explorer: nothing illegal can be set up, and every step is a pure function."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.hooked import load
from models.othello.board import board_of_size
from models.othello.games import generate
from models.othello.task import OthelloTask
from models.transformer import Transformer
from probes.board_fit import fit_probes
from probes.board_probe import save_probe
from probes.harvest import Games, Target
from probes.intervention import EMPTY
from probes.subject import othello_subject
from workbench.widgets.background import Stopped
from workbench.widgets.othello_explorer.game import Edit, Game, random_game, read_game
from workbench.widgets.othello_explorer.lens import Changes
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.look import Look
from workbench.widgets.othello_explorer.page import pictures
from workbench.widgets.othello_explorer.pool import random_pool, scan
from workbench.widgets.othello_explorer.state import NOTHING, STEPS, act, start

BOARD = board_of_size(8)
DIRECTIONS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]


@pytest.fixture(scope="module")
def lenses():
    return open_lenses(["othello-mini-none", "othello-mini-all-0.1"])


def brute_legal(mine: tuple[int, ...]) -> set[int]:
    """Legal squares by walking in eight directions; 0 is the mover's disc, 1 the other's."""

    def flips(square: int, down: int, right: int) -> bool:
        row, column = square // 8 + down, square % 8 + right
        seen = 0
        while 0 <= row < 8 and 0 <= column < 8 and mine[8 * row + column] == 1:
            row, column, seen = row + down, column + right, seen + 1
        return bool(seen) and 0 <= row < 8 and 0 <= column < 8 and mine[8 * row + column] == 0

    return {square for square in range(64) if mine[square] == EMPTY and any(flips(square, *way) for way in DIRECTIONS)}


@pytest.mark.parametrize("number", range(4))
def test_positions_and_their_legal_moves_agree_with_a_walk_over_the_board(number):
    game = random_game(BOARD, number)
    for moves, position in enumerate(game.positions):
        assert position.moves == moves == 60 - position.mine.count(EMPTY)
        legal = {square for square in range(64) if position.is_legal(square)}
        assert legal == brute_legal(position.mine)
        assert {BOARD.square(int(token)) for token in position.legal_tokens.nonzero()[0]} == legal
        if moves < len(game.tokens):
            assert position.target[game.tokens[moves]] == pytest.approx(1 / len(legal))


def test_an_edited_position_is_the_board_with_these_squares_and_its_legal_moves():
    position = random_game(BOARD, 3).positions[25]
    mine = list(position.mine)
    flip, empty = next(square for square, disc in enumerate(mine) if disc == 1), mine.index(EMPTY)
    erase = next(square for square, disc in enumerate(mine) if disc == 0)
    edited = position.edited((Edit("flip", flip, 1), Edit("add", empty, 1), Edit("erase", erase, 0)))
    mine[flip], mine[empty], mine[erase] = 0, 1, EMPTY
    assert edited.mine == tuple(mine)
    assert {square for square in range(64) if edited.is_legal(square)} == brute_legal(tuple(mine))
    assert edited.black_moves == position.black_moves


@pytest.mark.parametrize(
    "text",
    [
        "f5d6c3d3c4",
        "F5 D6 C3 D3 C4",
        "1. f5 d6 2. c3 d3 3. c4",
        "1.f5 d6 2.c3 d3 3.c4",
        "1 f5 2 d6 3 c3 4 d3 5 c4",
        "1) f5 d6\n2) c3 d3\n3) c4",
        "f5-d6-c3-d3-c4",
        "f5, d6, c3; d3, c4",
        "f5\nd6 c3\nd3c4",
    ],
)
def test_transcripts_are_read_as_people_write_them(text):
    assert read_game(text, BOARD).text == "f5d6c3d3c4"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("f5f5", "the square is taken"),
        ("f5a1", "it flips no disc"),
        ("f5z9", "move 2.*no square"),
        ("f5d", "move 2"),
        ("e4", "centre"),
        ("f5d6" * 31, "at most 60"),
        ("1.f5 5d", "move 2.*'5d' is no square"),
        ("f5 -- d6", "after move 1: a pass is marked where a move is legal"),
        ("pass f5", "after move 0: a pass is marked"),
    ],
)
def test_what_is_no_game_is_refused_with_the_reason(text, told):
    with pytest.raises(ValueError, match=told):
        read_game(text, BOARD)


@pytest.mark.parametrize("mark", ["--", "pass", "PA"])
def test_passes_may_be_marked_where_a_side_had_to_pass(mark):
    """A side passes where the other moves twice: black plays discs of number 1, 3, ... only as long as nobody has passed."""
    passing = 0
    for number in range(40):
        game = random_game(BOARD, number)
        words, mover = [], True
        for moves, square in enumerate(game.squares):
            if moves and game.positions[moves].black_moves == mover:
                words.append(mark)
                passing += 1
            mover = game.positions[moves].black_moves
            words.append("abcdefgh"[square % 8] + str(square // 8 + 1))
        assert read_game(" ".join(words), BOARD) == game
        assert read_game(" ".join([*words, mark, mark]), BOARD) == game  # at the end both pass
    assert passing > 5


def test_what_is_wrong_with_a_pasted_game_is_told_without_a_number_of_a_game():
    with pytest.raises(ValueError, match="^the game, move 2: f5 .* is illegal for white, the square is taken"):
        read_game("f5f5", BOARD)


def test_a_game_round_trips_through_its_transcript():
    game = random_game(BOARD, 11)
    assert read_game(game.text, BOARD) == game
    assert game.tokens == tuple(token for token in generate(BOARD, 0, 11, 1)[0].tolist() if token)


def test_playing_undoing_and_playing_on_keeps_the_line_until_another_move_is_played(lenses):
    state = act(lenses, start(lenses), "transcript", text="f5d6c3d3c4")
    state = act(lenses, act(lenses, state, "undo"), "undo")
    assert (state.shown, state.game.text) == (3, "f5d6c3d3c4")
    same = act(lenses, state, "play", square=BOARD.square(state.game.tokens[3]))
    assert (same.shown, same.game.text) == (4, "f5d6c3d3c4")
    other = next(
        square for square in range(64) if state.position.is_legal(square) and BOARD.token(square) != state.game.tokens[3]
    )
    branched = act(lenses, state, "play", square=other)
    assert (branched.shown, len(branched.game.tokens)) == (4, 4)
    with pytest.raises(ValueError, match="no legal move for"):
        act(lenses, state, "play", square=0)
    for square in (-1, 64, 27):
        with pytest.raises(ValueError, match="no legal move"):
            act(lenses, state, "play", square=square)


@pytest.mark.parametrize("by", ["uniform", "model"])
def test_random_positions_are_of_legal_games_and_the_same_for_the_same_state(lenses, by):
    state = start(lenses)
    first, again = (act(lenses, state, "random", by=by) for _ in range(2))
    assert first == again and first.game != act(lenses, first, "random", by=by).game
    assert first.game.positions[-1].over
    assert 1 <= first.shown <= 59


def test_any_walk_over_the_steps_leaves_a_legal_position(lenses):
    """Random steps, many of them refused: what stands is a legal line, and what was refused has changed nothing."""
    draw, state = random.Random(0), start(lenses)
    steps = {
        "play": lambda: {"square": draw.randrange(-1, 66)},
        "show": lambda: {"moves": draw.randrange(-5, 70)},
        "undo": dict,
        "redo": dict,
        "new": dict,
        "random": lambda: {"by": "uniform"},
        "part": lambda: {"layer": draw.randrange(5), "head": draw.choice([None, 0, 3, 4])},
        "strength": lambda: {"value": draw.choice([-1, 0, 1, 2, 9])},
        "model": lambda: {"name": draw.choice([*lenses.names, "other"])},
        "ask": lambda: {"move": draw.choice([None, 0, 1, 60, 61])},
    }
    refused = 0
    for _ in range(150):
        step = draw.choice(list(steps))
        try:
            state = act(lenses, state, step, **steps[step]())
        except ValueError:
            refused += 1
        assert 0 <= state.shown <= len(state.game.tokens)
        assert Game(BOARD, state.game.tokens[: state.shown]).positions[-1] == state.position
        assert state.part in lenses.lens(state.model).parts
    assert 10 < refused < 140


def test_steps_refuse_in_one_sentence(lenses):
    state = start(lenses)
    for step, arguments, told in [
        ("fly", {}, "step 'fly' is unknown"),
        ("random", {"by": "luck"}, "model or uniform"),
        ("model", {"name": "x"}, "model 'x' is not open"),
        ("against", {"name": "x"}, "model 'x' is not open"),
        ("part", {"layer": 9, "head": 0}, "no head 0 in layer 9"),
        ("strength", {"value": 7}, "outside -2 .. 3"),
        ("edit", {"square": 0}, "there is no probe of this model yet"),
        ("edit_at", {"layers": [9], "strength": 1}, "layers in 0 .. 4"),
        ("ask", {"move": 61}, "token 61 names no move"),
        ("set", {"view": "sideways"}, "view 'sideways' cannot be chosen"),
        ("set", {"model": "x"}, "model 'x' cannot be chosen"),
        ("pool", {"kind": "all"}, "pool 'all' is unknown"),
        ("pool", {"kind": "file", "name": "a.txt", "data": b"f5\nf5f5\n"}, "a.txt, line 2: .*the square is taken"),
        ("pool", {"kind": "file", "name": "a.wtb", "data": b"f5"}, "WTHOR file of 2 bytes"),
        ("pool", {"kind": "file", "name": "a.txt", "data": b"\xff\xfe"}, "a.txt is no text"),
        ("pool", {"kind": "file", "name": "a.txt", "data": b"\n"}, "holds no game"),
    ]:
        with pytest.raises(ValueError, match=told) as error:
            act(lenses, state, step, **arguments)
        assert "\n" not in str(error.value)
    assert set(STEPS) >= {"play", "undo", "redo", "strength", "edit", "ask"}


def test_steps_refuse_what_is_no_whole_number_and_take_numpys(lenses, as_a_user):
    state = act(lenses, start(lenses), "show", moves=20)
    lens = lenses.lens(state.model)
    lens.probe = lens.fit_probe(games=4)
    for step, arguments, told in [
        ("play", {"square": 19.0}, "square 19.0 is no whole number; choose one of 0 .. 63"),
        ("show", {"moves": 2.5}, "number of moves 2.5 is no whole number; choose one of 0 .. 60"),
        ("show", {"moves": None}, "number of moves None is no whole number; choose one of 0 .. 60"),
        ("part", {"layer": 0.0, "head": 1}, "layer 0.0 is no whole number; choose one of 0 .. 3"),
        ("part", {"layer": 0, "head": 1.0}, "head 1.0 is no whole number; choose one of 0 .. 3"),
        ("edit", {"square": "f5"}, "square 'f5' is no whole number; choose one of 0 .. 63"),
        ("edit_at", {"layers": [1, 2.0], "strength": 1}, "layer 2.0 is no whole number; choose one of 0 .. 4"),
        ("ask", {"move": 1.5}, "token 1.5 is no whole number; choose one of 1 .. 60"),
        ("ask", {"move": torch.tensor(1.5)}, r"token tensor\(1.5000\) is no whole number; choose one of 1 .. 60"),
    ]:
        with pytest.raises(ValueError, match=f"^{told}$"):
            act(lenses, state, step, **arguments)
    taken = act(lenses, act(lenses, state, "ask", move=np.int64(20)), "part", layer=np.int64(1), head=np.int32(2))
    assert (taken.move, taken.part) == (20, (1, 2)) and {type(one) for one in (taken.move, *taken.part)} == {int}
    assert act(lenses, state, "part", layer=False, head=True).part == (0, 1)
    assert type(act(lenses, state, "part", layer=False, head=True).part[0]) is int  # else a mask to what reads it


def test_moving_on_takes_edits_back_and_nothing_compares_by_default(lenses):
    state = start(lenses)
    lens = lenses.lens(state.model)
    lens.probe = lens.fit_probe(games=4)
    square = next(square for square, disc in enumerate(state.position.discs) if disc != EMPTY)
    edited = act(lenses, state, "edit", square=square)
    assert edited.edits == (Edit("flip", square, state.position.mine[square]),)
    assert act(lenses, edited, "edit", square=square).edits == ()
    assert act(lenses, edited, "undo").edits == ()
    with pytest.raises(ValueError, match="add an empty square"):
        act(lenses, act(lenses, state, "set", brush="add mine"), "edit", square=square)
    assert state.against == NOTHING
    torch.testing.assert_close(torch.tensor(edited.believed.mine[square]), torch.tensor(1 - state.position.mine[square]))


def test_a_game_of_the_model_is_played_once_and_can_be_stopped(lenses):
    lens, told = lenses.fresh(lenses.names[0]), []
    game = lens.own_game(5, lambda share, words: told.append(share))
    assert game.positions[-1].over and len(told) == len(game.tokens) and told == sorted(told) and told[0] == 0 and told[-1] < 1
    assert lens.own_game(5, lambda *_: pytest.fail("played again")) is game

    def stop(share, words):
        if share > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        lens.own_game(6, stop)
    assert 6 not in lens.games


def test_strengths_and_pools_are_put_back_and_this_game_may_be_the_pool(lenses):
    first = act(lenses, start(lenses), "transcript", text="f5d6c3")
    changed = act(lenses, act(lenses, act(lenses, first, "strength", value=0), "part", layer=1, head=2), "strength", value=2)
    assert changed.strengths == (((0, 0), 0.0), ((1, 2), 2.0))
    assert act(lenses, changed, "all_clean") == replace(first, part=(1, 2))
    game = act(lenses, first, "pool", kind="game")
    assert game.pool.name == "this game" and [BOARD.square(token) for token in game.pool.tokens[0, :3].tolist()] == [37, 43, 18]
    assert game.pool.tokens.shape == (1, 60) and not game.pool.tokens[0, 3:].any() and replace(game, pool=first.pool) == first
    back = act(lenses, game, "pool", kind="random")
    assert back.pool.name == first.pool.name == "64 random games" and torch.equal(back.pool.tokens, first.pool.tokens)
    with pytest.raises(ValueError, match="this game holds no game"):
        act(lenses, act(lenses, first, "new"), "pool", kind="game")


def test_where_the_model_reads_no_more_it_says_so_and_edits_are_refused(tmp_path):
    opened = open_lenses([make_checkpoint(tmp_path / "short", "short", 0, board=6, context=10)])
    lens = opened.lens("short, raw")
    lens.probe = lens.fit_probe(games=4)
    state = start(opened)
    for moves, why in (
        (0, "The model reads moves, and there is none yet: play one."),
        (10, None),
        (11, "The model reads up to 10 moves: go back one."),
        (len(state.game.tokens), "The game is over: neither side can move."),
    ):
        state = act(opened, state, "show", moves=moves)
        look = Look(opened, state)
        assert look.why_silent == why and (why is None or why in pictures(look)["ranking"])
        if why is not None:
            with pytest.raises(ValueError, match="the model reads no position here; play 1 move or more, within its context"):
                act(opened, state, "edit", square=0)
    for square in (-1, 36):
        with pytest.raises(ValueError, match=f"square {square} is not on the board; choose 0 .. 35"):
            act(opened, act(opened, state, "show", moves=10), "edit", square=square)


def test_a_file_of_another_board_is_refused(tmp_path):
    opened = open_lenses([make_checkpoint(tmp_path / "six", "six", 0, board=6)])
    with pytest.raises(ValueError, match="a.WTB holds 8x8 games, the model plays 6x6; choose another file"):
        act(opened, start(opened), "pool", kind="file", name="a.WTB", data=b"")


@pytest.mark.parametrize("span", ["trained", "beyond"])
def test_a_scan_of_a_span_needs_the_training_length(tmp_path, span):
    folder = make_checkpoint(tmp_path / "six", "six", 0, board=6)
    opened = open_lenses([folder])
    pool = random_pool(opened.board, 2)
    with pytest.raises(ValueError, match="the length the model was trained to is unknown; choose all lengths"):
        scan(opened.lens("six, raw"), pool, span=span)
    assert scan(opened.lens("six, raw"), pool).effects.positions == int(OthelloTask(6).legal(pool.tokens[:, :31]).any(-1).sum())


def test_a_probe_of_another_kind_or_frame_than_edits_need_is_refused(tmp_path):
    folder = make_checkpoint(tmp_path / "six", "six", 0, board=6)
    targets, kinds = [Target("to_move"), Target("colour")], ("closed-form", "nonlinear")
    for (kind, target), probe in fit_probes(othello_subject(folder), Games(0, 0, 4), targets, kinds).probes.items():
        saved = tmp_path / f"{kind}-{target.frame}"
        save_probe(saved, probe)
        opened = open_lenses([folder], [saved])
        if (kind, target.frame) == ("closed-form", "to_move"):
            assert opened.lens("six, raw").probe.card.frame == "to_move"
        else:
            with pytest.raises(
                ValueError, match=f"the saved probe is {kind} in frame {target.frame}; give a linear one in frame"
            ):
                opened.lens("six, raw")


def test_an_edit_without_a_probe_is_refused_and_answers_beyond_the_64th_are_forgotten():
    lens = open_lenses(["othello-mini-none"]).lens("othello-mini-none, raw")
    edited = Changes(edits=(Edit("flip", 27, 0),), edit_layers=(1,))
    with pytest.raises(ValueError, match="there is no probe to edit the board with yet; wait until it is fitted, or give a s"):
        lens.read([20], edited)
    kept = {}
    for number in range(66):
        lens.keep(kept, number, -number)
    assert kept == {number: -number for number in range(2, 66)}


def make_checkpoint(folder, name, seed, board=8, step=None, context=None):
    vocab = board * board - 3
    config = ModelConfig(vocab=vocab, context=context or vocab - 2, layers=1, heads=2, width=8, head_width=4)
    card = Card(name=name, model=config, task=TaskConfig(name="othello", board=board), step=step)
    save_checkpoint(folder, card, {"raw": Transformer(config, seed=seed).state_dict()})
    return folder


def test_checkpoints_of_one_name_and_step_stay_apart_in_the_order_given(tmp_path):
    """seed1/run beside seed0/run: each is there under a name of its own, with its own weights, the first given first."""
    folders = [make_checkpoint(tmp_path / f"seed{seed}" / "run", "run", seed) for seed in (1, 0)]
    opened = open_lenses(folders)
    assert len(set(opened.names)) == 2
    for name, folder in zip(opened.names, folders, strict=True):
        assert str(folder) in name
        torch.testing.assert_close(opened.lens(name).model.W_E, load(folder).W_E, rtol=0, atol=0)
        assert opened.lens(name).name == name
    assert start(opened).model == opened.names[0]
    assert len(open_lenses([*folders, folders[0]]).names) == 2  # given twice, there once


def test_checkpoints_of_one_run_are_told_apart_by_step(tmp_path):
    folders = [make_checkpoint(tmp_path / str(step), "run", step, step=step) for step in (20, 10)]
    assert open_lenses(folders).names == ["run step 20, raw", "run step 10, raw"]


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint was given"):
        open_lenses([])
    with pytest.raises(ValueError, match="trained on set-complement"):
        open_lenses(["othello-mini-none", "set-complement-v32-none-seed0"])
    with pytest.raises(ValueError, match=r"boards of sizes \[6, 8\]"):
        open_lenses(["othello-mini-none", make_checkpoint(tmp_path / "six", "six", 0, board=6)])
