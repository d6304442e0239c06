import numpy as np
import pytest
import torch

from models.hooked import load
from models.importers import import_checkpoint
from workbench.widgets.attention_explorer import AttentionExplorer


@pytest.fixture(scope="module")
def explorer(othello_run, runs):
    return AttentionExplorer([othello_run, runs[0]])


def test_the_pattern_is_the_models_own_up_to_the_length(explorer, othello_run, checked):
    explorer.set(model="game, ema", example=1, layer=1, head=2, length=12, relative=False)
    overview, drawn = checked(explorer.figures()[0]).data
    read = explorer.view.variants.example("game, ema", 1)
    _, cache = load(othello_run, weights="ema").run_with_cache(torch.from_numpy(read.tokens[:12])[None])
    expected = cache["pattern", 1][0, 2].numpy()
    z = np.array(drawn.z, float)
    seen = np.tril(np.ones((12, 12), bool))
    assert np.allclose(z[seen], expected[seen], atol=1e-6) and np.isnan(z[~seen]).all()
    assert np.allclose(np.array(overview.z, float), read.entropy[:, :, 11] / np.log(12))


def test_relative_colours_are_1_where_attention_is_uniform(explorer):
    explorer.set(relative=False, length=9)
    plain = np.array(explorer.pictures[0].data[1].z, float)
    explorer.set(relative=True)
    assert np.allclose(np.array(explorer.pictures[0].data[1].z, float), plain * np.arange(1, 10)[:, None], equal_nan=True)


def test_entropy_and_effective_tokens_stand_beside_uniform_attention(explorer, checked):
    explorer.set(model="game, raw", layer=0, head=0, length=20, example=0)
    uniform, own, most, effective = checked(explorer.figures()[1]).data
    assert np.allclose(uniform.y, np.log(uniform.x)) and np.allclose(most.y, most.x)
    assert np.allclose(np.exp(own.y), effective.y) and (np.asarray(own.y) <= np.asarray(uniform.y) + 1e-6).all()
    assert explorer.pictures[1].layout.shapes[0].x0 == 20


def test_a_click_chooses_a_head_and_one_that_is_not_there_is_a_sentence(explorer, click):
    click(explorer.pictures[0], 0, 1, 2)
    assert explorer.state["layer"] == 1 and explorer.state["head"] == 2
    click(explorer.pictures[0], 1, 0, 0)  # a cell of the pattern is no head
    assert explorer.state["layer"] == 1 and explorer.state["head"] == 2
    explorer.set(model="none-0, raw")
    assert "has no layer 1, head 2" in explorer.background.message.value
    explorer.set(layer=0, head=0)
    assert not explorer.background.message.value


def test_titles_say_which_model_example_and_length(explorer):
    explorer.set(model="game, bema", example=4, layer=1, head=0, length=11)
    for picture in explorer.pictures:
        assert picture.layout.title.text == "game, bema · example 4 · length 11 · layer 1, head 0"


def test_a_real_othello_gpt_of_8_layers_and_8_heads(othello_gpt_file, tmp_path, checked):
    import_checkpoint(str(othello_gpt_file), tmp_path / "gpt", heads=8)
    explorer = AttentionExplorer([tmp_path / "gpt"])
    explorer.set(layer=7, head=7, length=59)
    overview, drawn = checked(explorer.figures()[0]).data
    assert np.shape(overview.z) == (8, 8) and np.shape(drawn.z) == (59, 59) and not explorer.background.message.value
