import gc
import weakref
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.config import ModelConfig, TaskConfig
from models.hooked import hook, load
from models.streams import Draw
from models.tasks import make_task
from models.transformer import Transformer
from probes.attention_pattern import reading_patterns
from probes.dispersion import CONTROLS, METRICS, QUANTILES, DispersionSummary, _adding_to, dispersion

from .othello_models import SMALL, small_checkpoint

SETS = TaskConfig(name="set-complement", vocab=9)
SHAPE = ModelConfig(vocab=9, context=8, layers=2, heads=3, width=12, head_width=4, norm="pre", positions="learned")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    state = {name: tensor * (6 if "W_Q" in name else 1) for name, tensor in Transformer(SHAPE, seed=2).state_dict().items()}
    return small_checkpoint(tmp_path_factory.mktemp("models") / "sets", SHAPE, SETS, state)


def reference(model, task, sequences, metric):
    """Values [sequence, layer, head, length] from a full cache, row by row in numpy."""
    tokens = task.sequences(Draw.PROBES, 0, sequences)[:, : task.longest]
    _, cache = model.run_with_cache(tokens)
    patterns = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)], dim=1)
    rows = patterns.double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(rows * np.log(rows), axis=-1)
    length = np.arange(1, rows.shape[-1] + 1)
    values = {
        "dispersion": entropy,
        "normalised_dispersion": np.where(length > 1, entropy / np.where(length > 1, np.log(length), 1), 0),
        "effective_tokens": np.exp(entropy),
        "top_weight": rows.max(-1),
    }
    return values[metric], task.legal(tokens).any(-1).numpy()


@pytest.mark.parametrize("metric", METRICS)
def test_means_intervals_and_quantiles_are_those_of_all_rows(checkpoint, metric):
    frame = dispersion(checkpoint, sequences=70, controls=(), batch=32)
    values, _ = reference(load(checkpoint), make_task(SETS), 70, metric)
    table = frame[frame["metric"] == metric].set_index(["layer", "head", "length"])
    shape = values.shape[1:]
    np.testing.assert_allclose(table["value"].to_numpy().reshape(shape), values.mean(0), atol=1e-5)
    error = 1.96 * values.std(0, ddof=1) / np.sqrt(70)
    np.testing.assert_allclose((table["ci_high"] - table["value"]).to_numpy().reshape(shape), error, atol=1e-5)
    length = np.arange(1, shape[-1] + 1)
    resolution = {"dispersion": np.log(length) / 512, "effective_tokens": length * np.log(length) / 512}.get(metric, 1 / 512)
    for column, share in QUANTILES.items():
        found = table[column].to_numpy().reshape(shape)
        low, high = (np.quantile(values, share, axis=0, method=method) for method in ("lower", "higher"))
        assert (found >= low - resolution - 1e-5).all() and (found <= high + resolution + 1e-5).all()
    assert (table["sequences"] == 70).all()


def test_padded_positions_are_left_out(tmp_path):
    path = small_checkpoint(tmp_path / "small")
    frame = dispersion(path, sequences=300, controls=())
    values, present = reference(load(path), make_task(TaskConfig(name="othello", board=6)), 300, "dispersion")
    rows = frame[(frame["metric"] == "dispersion") & (frame["layer"] == 1) & (frame["head"] == 0)]
    assert rows["sequences"].tolist() == present.sum(0).tolist() and rows["sequences"].iloc[-1] < 300
    expected = [values[present[:, at], 1, 0, at].mean() for at in range(31)]
    np.testing.assert_allclose(rows["value"], expected, atol=1e-5)


def test_controls_give_the_scale(checkpoint):
    frame = dispersion(checkpoint, sequences=20)
    assert set(frame["control"]) == {"none", *CONTROLS}
    rows = frame[(frame["metric"] == "normalised_dispersion") & (frame["length"] > 1)]
    assert np.allclose(rows[rows["control"] == "uniform attention"][["value", "q05", "q95"]], 1, atol=1e-6)
    assert np.allclose(rows[rows["control"] == "one-hot attention"][["value", "q05", "q95"]], 0, atol=1e-6)
    tokens = frame[(frame["metric"] == "effective_tokens") & (frame["control"] == "uniform attention")]
    np.testing.assert_allclose(tokens["value"], tokens["length"], rtol=1e-5)
    first = frame[(frame["metric"] == "normalised_dispersion") & (frame["length"] == 1)]
    assert (first["value"] == 0).all()
    random = rows[rows["control"] == "random weights"]["value"]
    assert random.min() > rows[rows["control"] == "none"]["value"].min()


def test_results_do_not_depend_on_the_batch_nor_on_how_the_model_came(checkpoint):
    frames = [
        dispersion(source, sequences=40, controls=(), batch=batch)
        for source, batch in ((checkpoint, 7), (load(checkpoint), 40))
    ]
    numbers = ["value", "ci_low", "ci_high", "q50"]
    np.testing.assert_allclose(frames[0][numbers], frames[1][numbers], atol=1e-5)


class PeakBytes(TorchDispatchMode):
    """Peak bytes of storages that live tensors hold, made while it is open."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.holders = 0, 0, {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **keywords or {})
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._hold(tensor)
        return result

    def _hold(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key not in self.holders:
            self.live += size
            self.peak = max(self.peak, self.live)
        self.holders[key] = self.holders.get(key, 0) + 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key, size):
        self.holders[key] -= 1
        if not self.holders[key]:
            del self.holders[key]
            self.live -= size


@pytest.mark.parametrize("form", ["plain", "hooked"])
def test_memory_is_that_of_one_layers_patterns_and_does_not_grow(form):
    """Against a plain forward pass that keeps the patterns of one layer; the bar is 1.3 times its peak."""
    config = SMALL.model_copy(update={"layers": 3, "heads": 4})
    plain = Transformer(config).eval()
    model = hook(config, plain.state_dict())
    tokens = make_task(TaskConfig(name="othello", board=6)).sequences(0, 0, 64)[:, :31]
    present = torch.ones(64, 31, dtype=torch.bool)

    def peak(read=None):
        gc.collect()
        with PeakBytes() as mode, torch.no_grad():
            if read is None:
                model.run_with_cache(tokens, names_filter="blocks.1.attn.hook_pattern", return_type=None)
            else:
                studied = plain if form == "plain" else model
                with reading_patterns(studied, read):
                    studied(tokens)
        return mode.peak

    summary = DispersionSummary(3, 4, 31)
    ours = [peak(_adding_to(summary, present)) for _ in range(3)]
    kept = peak()
    assert ours[-1] <= ours[0]
    assert ours[0] <= 1.3 * kept


def test_what_cannot_be_measured_is_refused(checkpoint):
    with pytest.raises(ValueError, match="training mode"):
        dispersion(load(checkpoint).train())
    model = hook(SHAPE, Transformer(SHAPE).state_dict())
    with pytest.raises(ValueError, match="no card to tell its task"):
        dispersion(model)
    assert len(dispersion(model, make_task(SETS), sequences=4, controls=())) == 4 * 2 * 3 * 8
    with pytest.raises(ValueError, match="has 9 tokens, its task set-complement has 12"):
        dispersion(model, make_task(TaskConfig(name="set-complement", vocab=12)))
    with pytest.raises(ValueError, match="1 sequences are too few"):
        dispersion(checkpoint, sequences=1)
    with pytest.raises(ValueError, match="control 'sham' is unknown"):
        unwrap(dispersion)(checkpoint, controls=("sham",))
