"""What the Othello explorer does beside the page: effects of a move, games, the fit of the probe, exports; stop and failure."""

import threading

import numpy as np
import pytest

from workbench.widgets.othello_explorer import OthelloExplorer, measuring
from workbench.widgets.othello_explorer.effects import one_position
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.look import Look
from workbench.widgets.othello_explorer.page import pictures
from workbench.widgets.othello_explorer.state import act, start

NAME = "othello-mini-none"


@pytest.fixture
def gate(monkeypatch):
    """Measurements that begin when the gate is opened."""
    opened, begun = threading.Event(), threading.Event()

    def waiting(*arguments):
        begun.set()
        opened.wait(60)
        return one_position(*arguments)

    monkeypatch.setattr(measuring, "one_position", waiting)
    opened.begun = begun
    return opened


def stopped_while_measuring(gate) -> OthelloExplorer:
    """One whose measurement waits at the gate, and was asked to stop."""
    explorer = OthelloExplorer([NAME])
    explorer.act("show", moves=20)
    explorer.act("set", tab="one move")
    assert gate.begun.wait(60)
    explorer._received(None, {"step": "stop", "number": 1}, [])
    return explorer


def test_a_move_is_measured_beside_the_page_and_only_the_one_asked_last(gate):
    explorer = OthelloExplorer([NAME])
    explorer.act("show", moves=20)
    moves = [int(token) for token in explorer.look.probability.argsort()[-3:]]
    explorer.act("ask", move=moves[0])
    assert gate.begun.wait(60) and "Measuring what each head" in explorer.panel and explorer.status["progress"]["running"]
    first = explorer.look.question
    for move in moves[1:]:
        explorer.act("ask", move=move)
    explorer.act("set", measure="total_variation")  # asks the same
    assert "Measuring what each head" in explorer.panel
    gate.set()
    explorer.measuring.background.wait(60)
    lens, last = explorer.look.lens, explorer.look.question
    assert list(lens.effects) == [last] and first != last  # the others were given up
    assert explorer.panel == pictures(explorer.look)["panel"] and "without it: the advantage" in explorer.panel
    expected = one_position(explorer.lenses.fresh(lens.name), last)
    np.testing.assert_allclose(lens.effects[last].removed, expected.removed, rtol=1e-9)
    assert not explorer.measuring.busy and not explorer.status["progress"]["running"] and not explorer.status["words"]


def test_a_measurement_can_be_stopped_and_asked_for_again(gate):
    explorer = stopped_while_measuring(gate)
    gate.set()
    explorer.measuring.background.wait(60)
    assert "Not measured" in explorer.panel and "stopped" in explorer.status["progress"]["words"]
    explorer.act("set", tab="one move")
    explorer.measuring.background.wait(60)
    assert "without it: the advantage" in explorer.panel


def test_a_stop_is_for_what_was_asked_before_it(gate):
    explorer = stopped_while_measuring(gate)
    explorer.act("show", moves=21)  # while the pass that was stopped still goes on
    gate.set()
    explorer.measuring.background.wait(60)
    assert "without it: the advantage" in explorer.panel


def test_a_picture_that_fails_once_leaves_the_next_question_answered():
    fails = [True]

    def then():
        if fails:
            raise ValueError(f"drawn {fails.pop()}; draw again")

    lenses = open_lenses([NAME])
    asked = measuring.Measuring(lenses, then)
    look = Look(lenses, act(lenses, act(lenses, start(lenses), "show", moves=12), "set", tab="one move"))
    asked.ask(look)
    asked.background.wait(60)
    assert "drawn True; draw again" in asked.background.message.value
    look.lens.effects.clear()
    asked.ask(look)
    asked.background.wait(60)
    assert look.question in look.lens.effects and not asked.busy


def test_a_game_of_the_model_is_played_beside_the_page():
    explorer = OthelloExplorer([NAME])
    told = []
    explorer.observe(lambda change: told.append(change["new"]["progress"]), "status")
    before = explorer.state
    explorer._received(None, {"step": "random", "arguments": {"by": "model"}, "number": 1}, [])
    assert explorer.answered == 1
    explorer.playing.wait(60)
    assert explorer.state == act(open_lenses([NAME]), before, "random", by="model")
    assert any("plays move" in one["words"] and one["running"] and 0 < one["share"] < 1 for one in told)
    assert not explorer.status["progress"]["running"] and "moves played" in explorer.status["progress"]["words"]


def test_a_game_that_was_drawn_for_another_state_is_not_shown():
    explorer = OthelloExplorer([NAME])
    with explorer._lock:  # the game is played meanwhile, and comes when something else is on the board
        explorer.play()
        explorer.act("random", by="uniform")
        shown = explorer.state
    explorer.playing.wait(60)
    assert "the game is not shown, since another was drawn or another model chosen" in explorer.status["progress"]["words"]
    assert explorer.state == shown and not explorer.look.lens.games


def test_a_scan_of_a_move_where_none_is_chosen_is_one_sentence():
    explorer = OthelloExplorer([NAME])
    explorer.act("set", about="chosen move")
    before = explorer.state
    explorer._received(None, {"step": "scan", "number": 1}, [])
    explorer.scanning.wait(60)
    told = "no move is chosen to ask about; click one in the list of moves first"
    assert told in explorer.status["progress"]["words"] and not explorer.status["progress"]["running"]
    assert explorer.state == before and explorer.state.scan is None


def test_the_fit_of_the_probe_shows_progress_and_stays_stopped():
    explorer = OthelloExplorer([NAME])
    told = []
    explorer.observe(lambda change: told.append(change["new"]["progress"]), "status")
    explorer.act("set", tab="probe")
    explorer._received(None, {"step": "stop", "number": 1}, [])
    explorer.fitting.wait(60)
    assert explorer.look.lens.probe is None and "stopped" in explorer.status["progress"]["words"]
    assert explorer.status["progress"]["running"] is False
    explorer.act("show", moves=9)
    assert not explorer.fitting.running  # until it is asked for again
    explorer.act("set", tab="attention")
    explorer.act("set", tab="probe")
    explorer.fitting.wait(60)
    assert explorer.look.lens.probe is not None and not explorer.status["progress"]["running"]
    assert any("of 400 games" in one["words"] and 0 < one["share"] < 1 and one["running"] for one in told)


def test_every_export_has_a_folder_of_its_own(tmp_path):
    explorer = OthelloExplorer([NAME])
    first = explorer.export(tmp_path)
    kept = {path: path.read_bytes() for path in first}
    explorer.act("new")
    second = explorer.export(tmp_path)
    assert {path.parent.name for path in first} == {"othello-explorer-1"}
    assert {path.name for path in second} == {"page.html", "state.csv", "game.csv"}
    assert {path.parent.name for path in second} == {"othello-explorer-2"}
    assert sorted(second[0].parent.iterdir()) == sorted(second)
    assert {path: path.read_bytes() for path in first} == kept


def test_an_export_from_the_page_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer = OthelloExplorer([NAME])
    explorer._received(None, {"step": "export", "number": 1}, [])
    written = sorted(path.name for path in (tmp_path / "exports" / "othello-explorer-1").iterdir())
    assert "page.html" in written and written.count("state.csv") == 1
    told = f"written: page.html and {len(written) - 1} tables in exports/othello-explorer-1"
    assert explorer.status["words"] == told and not explorer.status["error"] and explorer.answered == 1
