import numpy as np
import pytest

from models.checkpoint import find_checkpoint, read_card, read_weights, save_checkpoint
from models.hooked import load, plain_state
from models.set_complement.closed_form import closed_form
from probes.certificate import certify
from workbench.widgets.displacement_explorer import DisplacementExplorer, verdict

from ..saved_runs import save_run

VOCAB, GAP = 6, 3.0


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """The closed form, which solves every length, as a checkpoint."""
    folder = tmp_path_factory.mktemp("closed-form") / "solved"
    shape = find_checkpoint(
        save_run(folder.parent, "shape", vocab=VOCAB, width=VOCAB - 1, head_width=VOCAB - 1, weights=("raw",))
    )
    state = plain_state(closed_form(VOCAB, VOCAB - 1, GAP))
    weights = {name: state[name].float() for name in read_weights(shape, "raw")}
    save_checkpoint(folder, read_card(shape).model_copy(update={"name": "solved", "sha256": {}}), {"raw": weights})
    return folder


def test_tables_of_the_closed_form_are_what_theory_says(solved, checked):
    explorer = DisplacementExplorer([solved])
    explorer.set(gauge=True, row=2, column=2)
    bias, pushed, attention = (np.array(trace.z, float) for trace in checked(explorer.figures()[0]).data)
    assert np.allclose(bias, -GAP * np.eye(VOCAB), atol=1e-5)
    assert np.allclose(pushed, -GAP * (VOCAB - 1) * np.eye(VOCAB), atol=1e-4)
    assert np.allclose(attention, 0, atol=1e-6)
    assert explorer.pictures[0].layout.annotations[1].text == f"D[2, 2] = {-GAP * (VOCAB - 1):.3g}"
    explorer.set(length=4)
    assert "length 4 is certified" in explorer.pictures[1].layout.title.text


def test_a_failing_length_names_its_counterexample(runs):
    explorer = DisplacementExplorer(runs[:1])
    model = load(runs[0])
    certificate = certify(model)
    failing = certificate.verdict.index("fails")
    length, tokens = certificate.lengths[failing], certificate.worst_input[failing]
    explorer.set(length=length)
    assert " ".join(map(str, tokens)) in explorer.pictures[1].layout.title.text
    assert f"length {length} fails" in verdict(certificate, length)
    assert "beyond" in verdict(certificate, 99)


@pytest.mark.parametrize("table", range(3))
def test_a_click_chooses_the_pair(runs, click, table):
    explorer = DisplacementExplorer(runs[:1])
    click(explorer.pictures[0], table, 2, 5)
    assert explorer.state["row"] == 2 and explorer.state["column"] == 5
    frame = explorer.pictures[0].layout.shapes[0]
    assert (frame.x0, frame.y0) == (4.5, 1.5)


def test_a_pair_beyond_the_vocabulary_of_another_model_is_one_sentence(solved, runs):
    explorer = DisplacementExplorer([runs[0], solved])
    explorer.set(row=7, column=1)
    assert not explorer.background.message.value
    explorer.set(model="solved, raw")
    said = "the pair (7, 1) is not in a vocabulary of 6; choose tokens below 6"
    assert said in explorer.background.message.value
    assert [picture.layout.annotations[0].text for picture in explorer.pictures] == [said, said]
    explorer.set(row=5)
    assert not explorer.background.message.value and explorer.pictures[0].layout.annotations[0].text.startswith("B[5, 1]")


def test_titles_say_which_model_and_which_form_of_its_tables(runs):
    explorer = DisplacementExplorer(runs[:2])
    explorer.set(model="none-1, ema", gauge=True)
    assert explorer.pictures[0].layout.title.text == "none-1, ema · tables: gauge and row constants taken off"
    assert explorer.pictures[1].layout.title.text.startswith("none-1, ema<br>length ")


def test_a_model_that_is_not_minimal_is_refused(othello_run, runs):
    with pytest.raises(ValueError, match="set-complement"):
        DisplacementExplorer([othello_run])
