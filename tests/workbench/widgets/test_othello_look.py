"""What the Othello explorer shows: each number against a forward pass made here, each picture against the numbers."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.hooked import load
from models.othello import labels
from models.othello.task import OthelloTask
from models.streams import Draw
from models.transformer import Transformer
from workbench.rerun_from import CleanRun
from workbench.widgets.background import Stopped
from workbench.widgets.othello_explorer import OthelloExplorer
from workbench.widgets.othello_explorer.effects import advantage, others
from workbench.widgets.othello_explorer.lens import at_strength
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.look import Look
from workbench.widgets.othello_explorer.page import pictures, standalone, still
from workbench.widgets.othello_explorer.pool import Pool, random_pool, read_pool, scan
from workbench.widgets.othello_explorer.state import CHOICES, act, start
from workbench.widgets.othello_explorer.tables import tables

NAME = "othello-mini-none"


@pytest.fixture(scope="module")
def lenses():
    lenses = open_lenses([NAME])
    lens = lenses.lens(f"{NAME}, raw")
    lens.probe = lens.fit_probe(games=24)
    return lenses


@pytest.fixture
def look(lenses):
    return Look(lenses, act(lenses, start(lenses), "show", moves=22))


def logits_of(model, look, hooks=()):
    tokens = torch.tensor([look.state.game.tokens[: look.moves]])
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=list(hooks))[0, -1]


def test_the_prediction_is_the_models_at_that_length(look):
    expected = logits_of(load(NAME), look).double().softmax(-1).numpy()
    np.testing.assert_allclose(look.probability, expected, rtol=1e-4, atol=1e-7)
    assert look.reference is None and look.reference_probability is None


@pytest.mark.parametrize("strength", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("part", [(1, 2), (2, None)])
def test_a_strength_multiplies_what_a_part_writes(lenses, look, part, strength):
    layer, head = part
    state = act(lenses, act(lenses, look.state, "part", layer=layer, head=head), "strength", value=strength)
    changed = Look(lenses, state)

    def scale(value, hook):
        if head is None:
            return value * strength
        return torch.cat([value[:, :, :head], value[:, :, head : head + 1] * strength, value[:, :, head + 1 :]], dim=2)

    point = f"blocks.{layer}.hook_mlp_out" if head is None else f"blocks.{layer}.attn.hook_z"
    expected = logits_of(load(NAME), look, [(point, scale)]).double().softmax(-1).numpy()
    np.testing.assert_allclose(changed.probability, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(changed.reference_probability, look.probability)
    back = Look(lenses, act(lenses, state, "strength", value=1.0))
    np.testing.assert_array_equal(back.probability, look.probability)


def test_attention_is_the_pattern_of_the_last_move_and_moves_belong_to_who_made_them(look):
    _, cache = load(NAME).run_with_cache(torch.tensor([look.state.game.tokens[:22]]))
    np.testing.assert_allclose(look.attention(3, 1), cache["pattern", 3][0, 1, 21], rtol=1e-4, atol=1e-6)
    discs = look.position.discs
    assert sum(look.attention(3, 1)) == pytest.approx(1)
    assert len(look.mine) == 22 and look.mine[-1] is False  # a move before a pass apart, the other side moved last
    assert len(discs) == 64


def strengthened(part, strength):
    """A hook for a pass made here: what a part writes, multiplied."""
    layer, head = part
    if head is None:
        return f"blocks.{layer}.hook_mlp_out", lambda value, hook: strength * value

    def scale(value, hook):
        factor = torch.ones(value.shape[2]).index_fill(0, torch.tensor([head]), strength)
        return value * factor[:, None]

    return f"blocks.{layer}.attn.hook_z", scale


def advantage_of(logits, move):
    """Against all other moves; token 0 is padding and no move."""
    others = [token for token in range(1, len(logits)) if token != move]
    return float(logits[move] - logits[others].mean())


CHANGES = {"clean": [], "changed": [((1, 2), 0.5), ((1, 3), 2.0), ((2, None), -1.0)]}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_removal_and_direct_shares_agree_with_passes_made_here(look, lenses, monkeypatch, changes):
    """All removals by the plain model, which is fast, also where strengths are changed."""
    monkeypatch.setattr(CleanRun, "_through_hooks", lambda *_: pytest.fail("a pass of the hooked model for each part"))
    state = look.state
    for (layer, head), strength in changes:
        state = act(lenses, act(lenses, state, "part", layer=layer, head=head), "strength", value=strength)
    asked = Look(lenses, act(lenses, state, "ask", move=int(look.probability.argmax())))
    found, model, move = asked.effects(), load(NAME), asked.state.move
    hooks = [strengthened(*change) for change in changes]

    clean = advantage_of(logits_of(model, look, hooks), move)
    assert found.positions == 1 and found.advantage == pytest.approx(clean, abs=1e-4)
    for part, removed in zip(asked.lens.parts, found.removed, strict=True):
        without = logits_of(model, look, [*hooks, strengthened(part, 0.0)])
        assert removed == pytest.approx(advantage_of(without, move) - clean, abs=2e-4)
    direct = sum(value for (kind, _, _), value in found.direct.items() if kind != "total")
    assert direct == pytest.approx(clean, abs=1e-3)
    assert found.lens[-1] == pytest.approx(clean, abs=1e-3)  # the last half block is the model itself
    assert found.probability[-1] == pytest.approx(asked.probability[move], abs=1e-5)
    legal = look.believed.legal_tokens
    assert found.illegal_mass[-1] == pytest.approx(asked.probability[~legal].sum(), abs=1e-5)


def test_padding_is_none_of_the_other_moves(look):
    favoured = torch.from_numpy(look.believed.legal_tokens)[None]
    logits = torch.randn(1, 61, generator=torch.Generator().manual_seed(0))
    legal, illegal = logits[favoured], logits[0, 1:][~favoured[0, 1:]]
    for padding in (-1e3, 1e3):
        logits[0, 0] = padding
        assert float(advantage(logits, favoured)) == pytest.approx(float(legal.mean() - illegal.mean()), abs=1e-5)
    assert int(others(favoured).sum()) + int(favoured.sum()) == 60


def test_strengths_leave_the_weights_as_they_were(look):
    model = load(NAME)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), at_strength(model, (1, 2), 0.0), at_strength(model, (2, None), 1 / 3):
        assert not torch.equal(logits_of(model, look), logits_of(load(NAME), look))
        raise ZeroDivisionError
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_probe_reads_the_stream_and_wrong_squares_are_counted_against_the_true_board(look, lenses):
    lens = look.lens
    _, cache = load(NAME).run_with_cache(torch.tensor([look.state.game.tokens[:22]]))
    stream = cache["resid_post", 2][0, -1]
    read = (stream @ lens.probe.linear.weight[3].flatten(1)).reshape(64, 3) + lens.probe.linear.bias[3]
    np.testing.assert_array_equal(look.decoded[3], read.argmax(-1))
    true = labels.board_state(OthelloTask().replay(torch.tensor([look.state.game.tokens[:22]])))[0, -1]
    np.testing.assert_array_equal(look.position.mine, true)
    assert look.wrong_squares()[3][21] == int((torch.tensor(look.decoded[3]) != true).sum())


def test_an_edit_makes_the_probe_read_the_edited_square_and_is_taken_back_without_a_trace(look, lenses):
    square = next(
        at for at, disc in enumerate(look.position.discs) if disc != 2 and look.decoded[2][at] == look.position.mine[at]
    )
    state = act(lenses, act(lenses, look.state, "edit_at", layers=[2], strength=1.0), "edit", square=square)
    edited = Look(lenses, state)
    assert edited.decoded[2][square] == 1 - look.position.mine[square]
    np.testing.assert_array_equal(edited.decoded[1], look.decoded[1])
    before, after, sham = edited.errors
    assert before != after or not np.allclose(edited.probability, look.probability)
    assert min(before, after, sham) >= 0
    np.testing.assert_array_equal(Look(lenses, act(lenses, state, "no_edits")).probability, look.probability)


def test_a_scan_is_the_sum_of_its_positions(lenses):
    """Two games by single positions, the lengths split in two, and removal seen through `one move`."""
    lens, pool = lenses.lens(f"{NAME}, raw"), Pool("two", random_pool(lenses.board, 2).tokens[:, :5])
    whole = scan(lens, pool).effects
    singles = []
    for game in pool.tokens.tolist():
        for moves in range(1, 6):
            state = act(lenses, start(lenses), "transcript", text=_text(lenses, game[:moves]))
            singles.append(Look(lenses, replace(state, move=None)).effects())
    assert whole.positions == len(singles) == 10
    np.testing.assert_allclose(whole.removed, sum(one.removed for one in singles), atol=5e-3)
    np.testing.assert_allclose(whole.illegal_mass, sum(one.illegal_mass for one in singles), atol=1e-4)
    assert whole.direct["head", 1, 2] == pytest.approx(sum(one.direct["head", 1, 2] for one in singles), abs=1e-3)
    longer = Pool("long", random_pool(lenses.board, 1).tokens)
    parts = [scan(lens, longer, span=span).effects for span in ("trained", "beyond")]
    assert [part.positions for part in parts] == [30, 29]
    np.testing.assert_allclose((parts[0] + parts[1]).removed, scan(lens, longer).effects.removed, atol=5e-3)


def _text(lenses, tokens):
    return "".join(OthelloTask().token_label(token) for token in tokens)


def test_a_scan_of_a_move_counts_where_it_is_legal_and_can_be_stopped(lenses):
    lens, pool = lenses.lens(f"{NAME}, raw"), random_pool(lenses.board, 3)
    legal = OthelloTask().legal(pool.tokens[:, :59])
    move = int(legal.sum((0, 1)).argmax())
    assert scan(lens, pool, move).effects.positions == int(legal[:, :, move].sum())
    shown = []

    def stop(share, words):
        shown.append(share)
        raise Stopped

    with pytest.raises(Stopped):
        scan(lens, pool, progress=stop)
    assert shown == [0.0]
    nothing = Pool("one move", torch.tensor([[19]]))
    with pytest.raises(ValueError, match="no position of one move"):
        scan(lens, nothing, move=1)


def test_pools_of_random_games_are_unseen_and_files_may_hold_unfinished_games(lenses):
    assert torch.equal(random_pool(lenses.board, 3).tokens, OthelloTask().sequences(Draw.EVALUATION.stream(0), 0, 3))
    pool = read_pool("two.txt", b"f5d6c3\n\n1. f5 d6\n", lenses.board)
    assert pool.name == "two.txt, 2 games" and (pool.tokens != 0).sum(1).tolist() == [3, 2]


def squares(picture):
    """Titles and steps of what can be reached in a picture."""
    tree = ElementTree.fromstring(picture)
    cells = [cell for cell in tree.findall(".//{*}g") if (cell.get("class") or "").startswith("oe-at")]
    return {cell.find("{*}title").text: cell.get("data-step") for cell in cells}


def test_the_board_offers_exactly_the_legal_moves_and_tells_every_square(look):
    told = squares(pictures(look)["boards"])
    assert len(told) == 64
    playable = {title.split(",")[0] for title, step in told.items() if step == "play"}
    assert playable == {OthelloTask().token_label(int(token)) for token in look.position.legal_tokens.nonzero()[0]}
    assert all(("legal" in title) == (step == "play") for title, step in told.items())
    discs = [title.split(", ")[1] for title in told]
    assert [("black", "white", "empty").index(disc) for disc in discs] == list(look.position.discs)


def test_the_list_holds_every_legal_move_in_order_of_probability(look):
    listed = [title.split(", ")[:3] for title in squares(pictures(look)["ranking"].split("</p>")[1])]
    names = [name for name, _, _ in listed]
    order = sorted(range(1, 61), key=lambda token: -look.probability[token])
    assert names == [name for name in map(OthelloTask().token_label, order) if name in names]
    legal = {OthelloTask().token_label(int(token)) for token in look.position.legal_tokens.nonzero()[0]}
    assert {name for name, kind, _ in listed if kind == "legal"} == legal


def test_every_drawing_of_every_state_is_sound_svg(lenses, look):
    """All tabs and views, with and without comparison, at the start, at the end, changed and edited."""
    disc = next(at for at, disc in enumerate(look.position.discs) if disc != 2)
    compared = act(lenses, look.state, "against", name=f"{NAME}, ema")
    scanned = replace(look.state, scan=scan(look.lens, Pool("two", random_pool(lenses.board, 2).tokens[:, :6])))
    states = [scanned, *(act(lenses, compared, "set", view=view) for view in CHOICES["view"])]
    states += [act(lenses, look.state, "show", moves=moves) for moves in (0, 1, 59, 60)]
    states += [act(lenses, look.state, "edit", square=disc), act(lenses, look.state, "strength", value=0.0)]
    states += [act(lenses, look.state, "part", layer=1, head=None), act(lenses, look.state, "new")]
    for number, state in enumerate(states):
        for tab in CHOICES["tab"] if number % 3 == 0 else CHOICES["tab"][:2]:
            page = pictures(Look(lenses, act(lenses, state, "set", tab=tab)))
            for place, html in page.items():
                ElementTree.fromstring(f"<div>{html.replace('<br>', '<br/>')}</div>")
                assert "nan" not in re.sub(r'"[^"]*"', "", html), (place, tab)


def test_the_page_without_a_kernel_holds_each_drawing_as_an_image(look):
    drawings = standalone(look).count("<svg")
    assert drawings == 6
    assert still(look).count("<img") == drawings and "<svg" not in still(look)


def test_tables_hold_what_is_drawn(look):
    frames = tables(look)
    predictions = frames["predictions"]
    np.testing.assert_array_equal(predictions["probability"], look.probability)
    assert predictions.loc[predictions["legal"], "target"].sum() == pytest.approx(1)
    assert len(frames["attention"]) == 16 * 22 and len(frames["effects"]) == 20
    silent = Look(look.lenses, act(look.lenses, look.state, "new"))
    assert list(tables(silent)) == ["state", "game"]


def test_tables_of_the_probe_hold_its_boards_beside_the_true_one(look, lenses):
    square = next(at for at, disc in enumerate(look.position.discs) if disc != 2)
    edited = Look(lenses, act(lenses, look.state, "edit", square=square))
    frames = tables(edited)
    boards = frames["probe_boards"]
    assert len(boards) == 5 * 64 and list(boards["square"][:2]) == ["a1", "b1"]
    words = ["mine", "theirs", "empty"]
    for layer in range(5):
        rows = boards[boards["layer"] == layer]
        assert [words.index(word) for word in rows["read"]] == edited.decoded[layer].tolist()
        assert [words.index(word) for word in rows["true"]] == list(edited.position.mine)
        assert rows["wrong"].sum() == (edited.decoded[layer] != np.array(edited.believed.mine)).sum()
    assert (boards["true"] != boards["edited"]).sum() == 5
    wrong = frames["probe_wrong_squares"]
    np.testing.assert_array_equal(wrong["wrong"].to_numpy().reshape(5, -1), edited.wrong_squares())
    errors = frames["edit_errors"]
    assert tuple(errors["errors"]) == edited.errors and set(errors["legal"]) == {edited.believed.legal_tokens.sum()}
    assert "edit_errors" not in tables(look)


def test_tables_of_a_scan_hold_its_means_and_how_many_positions_they_are_of(look, lenses):
    found = scan(look.lens, Pool("two", random_pool(lenses.board, 2).tokens[:, :6]))
    frames = tables(Look(lenses, replace(look.state, scan=found)))
    effects, direct, depth = (frames[f"scan_{name}"] for name in ("effects", "direct", "depth"))
    for name in ("removed", "removed_illegal_mass"):
        np.testing.assert_allclose(effects[name] * 12, getattr(found.effects, name), rtol=1e-9)
    assert set(effects["positions"]) == set(direct["positions"]) == set(depth["positions"]) == {12}
    shares = direct.loc[direct["component"] != "total", "direct"]
    assert shares.sum() == pytest.approx(found.effects.advantage / 12, abs=1e-3)
    np.testing.assert_allclose(depth["illegal_mass"] * 12, found.effects.illegal_mass, rtol=1e-9)
    assert set(frames) >= {"effects", "direct", "depth"}  # of the position beside those of the scan


def test_the_table_of_the_state_says_what_the_others_are_of(look, lenses):
    state = act(lenses, act(lenses, look.state, "part", layer=1, head=2), "strength", value=0.5)
    state = act(lenses, act(lenses, state, "ask", move=19), "against", name=f"{NAME}, ema")
    frame = tables(Look(lenses, state))["state"]
    told = dict(zip(frame["what"], frame["value"], strict=True))
    assert told["model"] == f"{NAME}, raw" and told["weights"] == "raw" and told["compared with"] == f"{NAME}, ema"
    assert told["moves"] == state.game.text[:44] and told["tab"] == "one move" and told["chosen part"] == "layer 1 head 2"
    assert told["strengths"] == "layer 1 head 2 x 0.5" and told["edits"] == "none" and told["asked about"] == "c3"
    assert told["pool"] == "64 random games" and told["scan"] == "none" and len(told["sha256"]) == 64


def test_a_board_that_is_edited_to_have_no_move_says_so(look, lenses):
    """After d3 white has e5 alone, and flipped it has no disc."""
    state = act(lenses, act(lenses, look.state, "transcript", text="d3"), "edit", square=36)
    edited = Look(lenses, act(lenses, state, "set", tab="one move"))
    assert edited.why_silent is None and not edited.believed.legal_tokens.any() and not edited.position.over
    page = pictures(edited)
    assert "No move is legal on the edited board; take an edit back, or click a square." in page["panel"]
    assert "0 legal" in page["ranking"] and "nan" not in re.sub(r'"[^"]*"', "", "".join(page.values()))
    assert {"edit_errors", "predictions"} <= set(tables(edited)) and "effects" not in tables(edited)
    back = Look(lenses, act(lenses, edited.state, "edit", square=36))
    assert "No move is legal" not in pictures(back)["panel"]


def test_any_square_can_be_asked_about_and_a_second_click_takes_it_back(look, lenses):
    illegal = next(token for token in range(1, 61) if not look.believed.legal_tokens[token])
    for move in (int(look.probability.argmax()), illegal):
        asked = Look(lenses, act(lenses, act(lenses, look.state, "set", tab="one move"), "ask", move=move))
        page = pictures(asked)
        for place, key in (("panel", f"ask{OthelloTask().board.square(move)}"), ("ranking", f"move{move}")):
            steps = dict(re.findall(r'data-key="([^"]*)" data-step="ask" data-arguments="([^"]*)"', page[place]))
            if key in steps:
                assert steps.pop(key) == "{&quot;move&quot;: null}"
                assert len(steps) == 59 or place == "ranking"
                assert "null" not in "".join(steps.values())
            else:
                assert (place, move) == ("ranking", illegal)
        back = act(lenses, asked.state, "ask", move=None)
        assert back.move is None and "the legal moves</b>" in pictures(Look(lenses, back))["panel"]


def test_other_shapes_of_model_are_read_too(tmp_path):
    """A 6x6 board, attention-only, no norm: half as many depths, no MLP, and boards of 36 squares."""
    config = ModelConfig(vocab=33, context=31, layers=2, heads=2, width=16, head_width=8)
    card = Card(name="six", model=config, task=TaskConfig(name="othello", board=6))
    save_checkpoint(tmp_path / "six", card, {"raw": Transformer(config, seed=1).state_dict()})
    explorer = OthelloExplorer([tmp_path / "six"])
    for tab in CHOICES["tab"]:
        explorer.act("set", tab=tab)
    explorer.fit_probe()
    assert explorer.look.lens.parts == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert explorer.look.decoded.shape == (3, 36) and len(explorer.look.lens.depths) == 3
    assert explorer.look.effects().direct["total", None, None] == pytest.approx(explorer.look.effects().advantage, abs=1e-4)
