import numpy as np
import pandas as pd
import pytest
import torch

from models.config import ModelConfig, TaskConfig
from models.hooked import hook, load, plain
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.tasks import make_task
from probes.vanishing_variance import vanishing_variance

from .othello_models import small_checkpoint

SETS = TaskConfig(name="set-complement", vocab=9)


def stds(frame, **wanted):
    rows = frame[frame["metric"] == "attention_std"]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows.sort_values(["layer", "length"])


def test_uniform_attention_follows_the_law_of_sampling_without_replacement():
    vocab = 12
    frame = vanishing_variance(closed_form(vocab), SetComplementTask(vocab), sequences=4000, batch=500)
    rows = stds(frame)
    length = rows["length"].to_numpy(float)
    law = rows["value"].iloc[0] * np.sqrt((vocab - length) / (length * (vocab - 1)))
    np.testing.assert_allclose(rows["value"], law, rtol=0.03)
    inside = (rows["ci_low"] <= law) & (law <= rows["ci_high"])
    assert inside.mean() > 0.7
    slope = frame[frame["metric"] == "slope"].iloc[0]
    exact = np.polyfit(np.log(length), np.log(law), 1)[0]
    assert slope["ci_low"] < exact < slope["ci_high"] and slope["ci_high"] - slope["ci_low"] < 0.05


def test_spreads_are_those_of_all_outputs_at_both_sites(tmp_path):
    shape = ModelConfig(vocab=9, context=8, layers=2, heads=2, width=12, head_width=6, norm="branch", mlp_width=20)
    path = small_checkpoint(tmp_path / "branch", shape, SETS)
    frame = vanishing_variance(path, sequences=70, batch=32)
    model, tokens = load(path), make_task(SETS).sequences(Draw.PROBES, 0, 70)[:, :8]
    _, cache = model.run_with_cache(tokens)
    for layer in range(2):
        attention = model.blocks[layer].attn
        before = torch.einsum("bphd,hdw->bpw", cache[f"blocks.{layer}.attn.hook_z"], attention.W_O) + attention.b_O
        for site, output in (("attention output", before), ("after its norm", cache[f"blocks.{layer}.hook_attn_out"])):
            expected = output.detach().double().var(dim=0).mean(-1).sqrt()
            rows = stds(frame, layer=layer, site=site, control="none")
            np.testing.assert_allclose(rows["value"], expected.numpy(), rtol=1e-4)
            fit = frame[(frame["metric"] == "slope") & (frame["layer"] == layer) & (frame["site"] == site)]
            slope = np.polyfit(np.log(np.arange(1, 9)), np.log(expected.numpy()), 1)[0]
            assert fit[fit["control"] == "none"]["value"].item() == pytest.approx(slope, abs=1e-4)


def test_where_no_norm_follows_there_is_one_site_and_padding_is_left_out(tmp_path):
    path = small_checkpoint(tmp_path / "small")
    frame = vanishing_variance(path, sequences=200)
    assert set(frame["site"]) == {"attention output"} and set(frame["control"]) == {"none", "random weights"}
    task = make_task(TaskConfig(name="othello", board=6))
    tokens = task.sequences(Draw.PROBES, 0, 200)[:, :31]
    present = task.legal(tokens).any(-1)
    _, cache = load(path).run_with_cache(tokens)
    last = cache["blocks.1.hook_attn_out"][present[:, -1], -1].double().var(dim=0).mean().sqrt()
    row = stds(frame, layer=1, length=31, control="none").iloc[0]
    assert row["value"] == pytest.approx(float(last), rel=1e-4) and row["sequences"] == int(present[:, -1].sum()) < 200


def test_a_plain_model_is_refused_with_what_wraps_it():
    model = closed_form(5)
    plain_model = plain(model)
    with pytest.raises(ValueError, match=r"is plain, .*; wrap it: models.hooked.hook\(model.config, model.state_dict\(\)\)"):
        vanishing_variance(plain_model, SetComplementTask(5), sequences=20)
    wrapped = hook(plain_model.config, plain_model.state_dict())
    pd.testing.assert_frame_equal(*(vanishing_variance(one, SetComplementTask(5), sequences=20) for one in (wrapped, model)))


def test_batches_do_not_matter_and_too_few_sequences_are_refused(tmp_path):
    path = small_checkpoint(tmp_path / "small")
    frames = [vanishing_variance(path, sequences=40, batch=batch) for batch in (7, 40)]
    np.testing.assert_allclose(frames[0]["value"], frames[1]["value"], rtol=1e-5)
    np.testing.assert_allclose(frames[0]["ci_low"], frames[1]["ci_low"], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="19 sequences are too few"):
        vanishing_variance(path, sequences=19)
