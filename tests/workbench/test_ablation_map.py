from inspect import unwrap

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm.auto import tqdm

from models.config import ModelConfig
from models.hooked import load
from models.hooked.users_hooks import users_hooks
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.tasks import make_task
from probes.subject import Subject
from workbench import ablation_map as module
from workbench import kept_parts
from workbench.ablation import ablate
from workbench.ablation_map import REFERENCES, ablation_map
from workbench.components import component_name
from workbench.evaluation import evaluate
from workbench.intervals import paired_rate_interval
from workbench.metrics import METRICS, POSITION_METRICS, position_metrics

from .random_weights import random_hooked
from .saved_runs import save_run

TASK = SetComplementTask(11)
CONFIG = ModelConfig(
    vocab=11, context=9, layers=2, heads=2, width=12, head_width=6, mlp_width=20, norm="branch", final_norm=True
)
LENGTHS = [2, 9]


@pytest.fixture(scope="module")
def model():
    return random_hooked(CONFIG)


def by_loop(model, task, what, method, lengths, sequences, head=None, layer=0, position=None):
    """Clean and ablated metrics [sequence, length] of one component, by `ablate`."""
    tokens = task.sequences(Draw.EVALUATION.stream(0), 0, sequences)[:, : lengths[-1]]
    reference = task.sequences(Draw.PROBES, 0, REFERENCES)[:, : lengths[-1]]
    at = torch.tensor(lengths) - 1
    legal = task.legal(tokens)[:, at]
    with torch.no_grad():
        clean = position_metrics(model(tokens)[:, at], legal)
        name = component_name(what, layer)
        with ablate(model, name, head=head, position=position, method=method, reference=reference):
            return clean, position_metrics(model(tokens)[:, at], legal)


@pytest.mark.parametrize("method", ["zero", "mean", "resample"])
@pytest.mark.parametrize("what", ["heads", "attention", "mlp", "layers", "stream"])
def test_the_map_is_a_loop_over_ablate_whatever_the_batch(model, what, method):
    frame = ablation_map(model, TASK, what, method, LENGTHS, sequences=10, batch=4)
    assert len(frame) == 2 * (2 if what == "heads" else 1) * len(POSITION_METRICS) * len(LENGTHS)
    for (layer, head), rows in frame.groupby(["layer", "head"], dropna=False):
        clean, ablated = by_loop(model, TASK, what, method, LENGTHS, 10, None if pd.isna(head) else int(head), layer)
        for metric in POSITION_METRICS:
            own = rows[rows["metric"] == metric].sort_values("length")
            np.testing.assert_allclose(own["clean"], clean[metric].mean(0), atol=1e-9)
            np.testing.assert_allclose(own["value"], ablated[metric].mean(0), atol=1e-9)
            np.testing.assert_allclose(own["difference"], (ablated[metric] - clean[metric]).mean(0), atol=1e-9)


def test_single_positions(model):
    frame = ablation_map(model, TASK, "stream", "zero", [3, 6], sequences=8, positions=[1, 5])
    rows = frame[(frame["metric"] == "margin") & (frame["layer"] == 1)].set_index(["position", "length"])
    assert rows.loc[(5, 3), "difference"] == pytest.approx(0, abs=1e-12)  # what comes later cannot change what came before
    for position in (1, 5):
        _, ablated = by_loop(model, TASK, "stream", "zero", [3, 6], 8, layer=1, position=position)
        np.testing.assert_allclose(rows.loc[position]["value"], ablated["margin"].mean(0), atol=1e-9)


def test_intervals_are_of_paired_differences(model):
    sequences = 400
    frame = ablation_map(model, TASK, "heads", "zero", LENGTHS, sequences)
    clean, ablated = by_loop(model, TASK, "heads", "zero", LENGTHS, sequences, head=1)
    rows = frame[(frame["layer"] == 0) & (frame["head"] == 1)]
    for metric in POSITION_METRICS:
        own = rows[rows["metric"] == metric].sort_values("length")
        difference = ablated[metric] - clean[metric]
        low, high = own["difference_low"].to_numpy(float), own["difference_high"].to_numpy(float)
        if METRICS[metric].rate:
            expected = paired_rate_interval((difference > 0).sum(0).numpy(), (difference < 0).sum(0).numpy(), sequences)
            np.testing.assert_allclose((low, high), expected)
        else:  # the bootstrap of a mean is about normal
            half = 1.96 * difference.std(0).numpy() / sequences**0.5
            np.testing.assert_allclose((high - low) / 2, half, rtol=0.12)
            np.testing.assert_allclose((low + high) / 2, difference.mean(0).numpy(), atol=0.2 * half.max())


def test_the_clean_model_is_that_of_evaluate_and_single_precision_will_do():
    name = "othello-mini-none"
    frame = ablation_map(name, what="heads", lengths=[7, 59], sequences=6, batch=3)
    model = load(name)
    evaluated = evaluate(model, sequences=6, lengths=[7, 59]).set_index(["metric", "length"])["value"]
    first = frame[(frame["layer"] == 0) & (frame["head"] == 0)].set_index(["metric", "length"])
    np.testing.assert_allclose(first["clean"], evaluated.loc[first.index], rtol=1e-4)
    _, ablated = by_loop(model, make_task(model.card.task), "heads", "zero", [7, 59], 6, head=3, layer=2)
    rows = frame[(frame["layer"] == 2) & (frame["head"] == 3) & (frame["metric"] == "illegal_mass")]
    np.testing.assert_allclose(rows.sort_values("length")["value"], ablated["illegal_mass"].mean(0), atol=1e-4)
    assert set(frame["checkpoint"]) == {name} and set(frame["train_length"]) == {30}


def test_games_that_ended_are_left_out():
    frame = ablation_map("othello-mini-none", what="mlp", lengths=[59], sequences=64)
    task = make_task(load("othello-mini-none").card.task)
    ended = ~task.legal(task.sequences(Draw.EVALUATION.stream(0), 0, 64)[:, :59])[:, 58].any(-1)
    assert ended.any()
    assert set(frame["sequences"]) == {64 - int(ended.sum())}
    assert frame["difference"].notna().all()


def rectified(module, inputs, output):
    return (output[0].relu(),) if isinstance(output, tuple) else output.relu()  # a block of TransformerLens 4 gives a tuple


@pytest.mark.parametrize("add", ["TransformerLens's", "PyTorch's, on a hook point", "PyTorch's, on a module"])
def test_a_users_hook_acts_and_stays(model, add):
    point, block = "blocks.0.hook_resid_post", model.blocks[0]
    unhooked = ablation_map(model, TASK, "heads", "mean", LENGTHS, sequences=5)
    if add == "TransformerLens's":
        model.add_hook(point, lambda value, hook: value.relu())
    else:  # on the block it acts behind the hook point, where no cache has seen it
        where = model.hook_dict[point] if add == "PyTorch's, on a hook point" else block
        handle = where.register_forward_hook(rectified)
    hooks = users_hooks(model)
    frame = ablation_map(model, TASK, "heads", "mean", LENGTHS, sequences=5)
    for layer in range(2):
        _, ablated = by_loop(model, TASK, "heads", "mean", LENGTHS, 5, head=1, layer=layer)
        chosen = (frame["layer"] == layer) & (frame["head"] == 1) & (frame["metric"] == "margin")
        np.testing.assert_allclose(frame[chosen]["value"], ablated["margin"].mean(0), atol=1e-9)
        assert (frame[chosen]["value"] - unhooked[chosen]["value"]).abs().min() > 1e-3
    assert users_hooks(model) == hooks and len(hooks) == 1
    model.reset_hooks() if add == "TransformerLens's" else handle.remove()


def test_numbers_of_numpy_and_of_the_map_itself_are_taken(model, checkpoint, tmp_path):
    asked, numpy = dict(lengths=[2, 6], positions=[0, 1]), dict(lengths=np.array([2, 6]), positions=np.arange(2))
    kept = dict(sequences=4, keep=tmp_path / "parts")
    pd.testing.assert_frame_equal(ablation_map(checkpoint, **numpy, **kept), ablation_map(checkpoint, **asked, **kept))
    row = ablation_map(model, TASK, lengths=np.array([9]), sequences=4).iloc[0]
    attention, tokens = f"blocks.{row['layer']}.attn", TASK.sequences(0, 0, 4)[:, :9]
    with ablate(model, attention, head=row["head"]):
        assert not model.run_with_cache(tokens)[1][f"{attention}.hook_z"][:, :, row["head"]].any()


@pytest.fixture
def checkpoint(tmp_path):
    return save_run(tmp_path, "tiny", vocab=8, heads=2, head_width=6)


def test_an_interrupted_map_goes_on_where_it_stopped(checkpoint, tmp_path, monkeypatch):
    arguments = dict(what="heads", method="resample", sequences=20, batch=8)
    expected = ablation_map(checkpoint, **arguments)
    done = []
    measure = module._Map.part

    def counting(self, first, last, bar: tqdm):
        if len(done) == 2 and first == 16:
            raise KeyboardInterrupt
        done.append(first)
        return measure(self, first, last, bar)

    monkeypatch.setattr(module._Map, "part", counting)
    with pytest.raises(KeyboardInterrupt):
        ablation_map(checkpoint, keep=tmp_path / "parts", **arguments)
    assert done == [0, 8]
    done.append("again")
    pd.testing.assert_frame_equal(ablation_map(checkpoint, keep=tmp_path / "parts", **arguments), expected)
    assert done == [0, 8, "again", 16]
    ablation_map(checkpoint, keep=tmp_path / "parts", **arguments | {"sequences": 32})
    assert done[4:] == [16, 24]  # the last part was of 4 sequences


def test_a_map_reports_its_share_and_can_be_ended_between_runs(checkpoint, tmp_path):
    arguments = dict(what="heads", method="mean", sequences=12, batch=4, keep=tmp_path / "parts")
    shares = []

    def report(share):
        shares.append(share)
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        ablation_map(checkpoint, report=report, **arguments)
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 1 and 0.5 < shares[-1] < 1 and len(shares) > 4
    again = []
    frame = ablation_map(checkpoint, report=again.append, **arguments)
    pd.testing.assert_frame_equal(frame, ablation_map(checkpoint, **arguments | dict(keep=None)))
    assert again[-1] == 1 and 0 < min(again) == pytest.approx(1 / 3)  # what was kept is done at once


class OtherSequences(SetComplementTask):
    """The same task by name, vocabulary and what is legal."""

    def sequences(self, seed, start, count, device="cpu"):
        return super().sequences(seed + 1, start, count, device)


class OtherLegal(SetComplementTask):
    """The same task by name, vocabulary and sequences."""

    def legal(self, tokens):
        return ~super().legal(tokens)


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("method", dict(method="mean")),
        ("what", dict(what="layers")),
        ("lengths", dict(lengths=[2])),
        ("positions", dict(positions=[1])),
        ("seed", dict(seed=1)),
        ("weights_sha256", dict(weights="ema")),
        ("task_sha256", dict(task=OtherSequences(8))),
        ("task_sha256", dict(task=OtherLegal(8))),
    ],
)
def test_parts_of_another_map_are_not_mixed_in(checkpoint, tmp_path, setting, changed):
    ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts")
    with pytest.raises(ValueError, match=rf"holds parts of another measurement \({setting} "):
        ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts", **changed)


@pytest.mark.parametrize(
    ("setting", "where", "name", "other"),
    [
        ("device", Subject, "device", torch.device("cuda")),
        ("torch", torch, "__version__", "of tomorrow"),
        ("transformer_lens", module, "TRANSFORMER_LENS", "of tomorrow"),
        ("workbench", kept_parts, "version", lambda package: "of tomorrow"),
        ("references", module, "REFERENCES", 8),
        ("metrics", module, "POSITION_METRICS", ("margin",)),
    ],
)
def test_nor_are_those_that_were_computed_otherwise(checkpoint, tmp_path, monkeypatch, setting, where, name, other):
    ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts")
    monkeypatch.setattr(where, name, other)
    with pytest.raises(ValueError, match=rf"holds parts of another measurement \({setting} "):
        ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts")


def test_a_model_in_memory_is_not_kept(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="only maps of a checkpoint can be kept"):
        ablation_map(load(checkpoint), sequences=4, keep=tmp_path / "parts")


def test_a_damaged_part_is_made_again(checkpoint, tmp_path):
    expected = ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts")
    (part,) = (tmp_path / "parts").glob("*.safetensors")
    part.write_bytes(part.read_bytes()[:100])
    pd.testing.assert_frame_equal(ablation_map(checkpoint, sequences=4, keep=tmp_path / "parts"), expected)


def test_what_cannot_be_mapped_is_refused(model):
    for arguments, message in [
        (dict(lengths=[3, 10]), "length 10: expected lengths in 1 .. 9"),
        (dict(lengths=[]), "list is empty"),
        (dict(lengths=[4], positions=[4]), "position 4 does not exist, expected 0 .. 3"),
        (dict(lengths=np.array([], dtype=int)), "list is empty"),
        (dict(lengths=np.array([3, 10])), "length 10: expected lengths in 1 .. 9"),
        (dict(sequences=1), "1 sequences are too few, expected at least 2"),
        (dict(seed=-1), "outside 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ablation_map(model, TASK, **arguments)
    with pytest.raises(ValueError, match="cannot ablate 'neurons' by 'zero'; choose from heads"):
        unwrap(ablation_map)(model, TASK, "neurons")
    model.train()
    with pytest.raises(ValueError, match="training mode"):
        ablation_map(model, TASK)
    model.eval()
