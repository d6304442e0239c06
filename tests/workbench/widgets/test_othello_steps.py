"""The Othello explorer as a widget: steps that it takes, and what stays as it was after one that it refuses."""

import pytest

from workbench.widgets.othello_explorer import OthelloExplorer
from workbench.widgets.othello_explorer import explorer as explorer_file
from workbench.widgets.othello_explorer.pool import read_pool, scan

NAME = "othello-mini-none"


def test_the_shell_takes_steps_and_shows_failures_as_one_sentence(tmp_path):
    explorer = OthelloExplorer([NAME])
    explorer._received(None, {"step": "new", "arguments": {}, "number": 1}, [])
    assert explorer.answered == 1 and explorer.state.game.tokens == () and "0 moves" in explorer.boards
    explorer._received(None, {"step": "play", "arguments": {"square": 0}, "number": 2}, [])
    assert explorer.answered == 2 and explorer.status["error"] and "a1 is no legal move" in explorer.status["words"]
    explorer._received(None, {"step": "play", "arguments": {"square": 19}, "number": 3}, [])
    assert not explorer.status["words"] and explorer.controls["transcript"] == "d3"
    games = {"step": "pool", "arguments": {"kind": "file", "name": "a.txt"}, "number": 4}
    explorer._received(None, games, [memoryview(b"f5d6\n")])
    explorer._received(None, {"step": "scan", "number": 5}, [])
    explorer.scanning.wait(60)
    assert explorer.state.scan.effects.positions == 2 and "2 positions done" in explorer.status["progress"]["words"]
    paths = explorer.export(tmp_path)
    assert {path.suffix for path in paths} == {".csv", ".html"} and all(path.stat().st_size for path in paths)
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "data:image/svg+xml;base64" in data["text/html"]


@pytest.mark.parametrize("part", ["pictures", "_controls"])
def test_a_step_that_cannot_be_drawn_is_not_taken(part, monkeypatch):
    """Whatever the reason: the page, the state and the next step are as if it had not been asked for."""
    explorer = OthelloExplorer([NAME])
    explorer.act("show", moves=20)
    state, page = explorer.state, explorer.get_state(["boards", "ranking", "lengths", "panel", "controls"])

    def fails(*_):
        raise TypeError("cannot be drawn")

    with monkeypatch.context() as broken:
        broken.setattr(explorer_file if part == "pictures" else OthelloExplorer, part, fails)
        for step, arguments in (("undo", {}), ("set", {"tab": "one move"}), ("ask", {"move": 20})):
            with pytest.raises(TypeError, match="cannot be drawn"):
                explorer.act(step, **arguments)
            assert explorer.state == state
        with pytest.raises(TypeError, match="cannot be drawn"):
            explorer._found(scan(explorer.look.lens, read_pool("a.txt", b"f5d6", explorer.lenses.board)))
    assert explorer.state == state and explorer.state.scan is None and not explorer.measuring.busy
    assert explorer.get_state(list(page)) == page
    explorer.act("undo")
    assert explorer.state.shown == 19 and explorer.boards != page["boards"]


@pytest.mark.parametrize(("step", "arguments"), [("ask", {"move": 1.5}), ("part", {"layer": 0.0, "head": 1.0})])
def test_after_a_step_that_is_refused_all_others_go_on(step, arguments, as_a_user):
    explorer = OthelloExplorer([NAME])
    explorer.act("show", moves=20)
    with pytest.raises(ValueError, match="is no whole number"):
        explorer.act(step, **arguments)
    explorer.act("undo")
    assert explorer.state.shown == 19
