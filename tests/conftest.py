"""What every test shares: checked shapes, one thread, no hooks left behind, and where the test data lies."""

import os
import signal
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

from models.config import DropoutRates, ModelConfig
from models.hooked import TRANSFORMER_LENS
from models.hooked import hook as hook_model
from models.transformer import Transformer

# a busy machine is no failure; in CI the same cases every time
settings.register_profile("house", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("house")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the suite runs on both cores by processes; also what bit-identity is promised at

MODEL_CONFIGS = {
    "attention-only": ModelConfig(vocab=11, context=9, width=12, head_width=12),
    "attention-only, heads and layers": ModelConfig(vocab=11, context=9, layers=3, heads=2, width=12, head_width=5),
    "attention-only, post-norm": ModelConfig(vocab=11, context=9, width=12, head_width=12, final_norm=True),
    "attention-only, branch": ModelConfig(vocab=11, context=9, layers=2, width=12, head_width=6, norm="branch"),
    "attention-only, branch, final": ModelConfig(vocab=11, context=9, width=12, head_width=6, norm="branch", final_norm=True),
    "attention-only, pre": ModelConfig(vocab=11, context=9, layers=2, width=12, head_width=6, norm="pre", final_norm=True),
    "attention-only, positions": ModelConfig(vocab=11, context=9, width=12, head_width=12, positions="learned"),
    "mlp": ModelConfig(vocab=11, context=9, layers=2, heads=3, width=12, head_width=4, mlp_width=24),
    "mlp, final": ModelConfig(vocab=11, context=9, layers=2, width=12, head_width=4, mlp_width=24, final_norm=True),
    "mlp, pre, no final": ModelConfig(vocab=11, context=9, heads=2, width=12, head_width=6, mlp_width=20, norm="pre"),
    "mlp, branch": ModelConfig(vocab=11, context=9, layers=2, width=12, head_width=6, mlp_width=20, norm="branch"),
    "mlp, branch, final, positions": ModelConfig(
        vocab=11,
        context=9,
        layers=2,
        heads=2,
        width=12,
        head_width=6,
        mlp_width=20,
        positions="learned",
        norm="branch",
        final_norm=True,
    ),
    "GPT": ModelConfig(
        vocab=11,
        context=9,
        layers=3,
        heads=2,
        width=12,
        head_width=6,
        mlp_width=48,
        positions="learned",
        norm="pre",
        final_norm=True,
    ),
    "GPT with dropout": ModelConfig(
        vocab=11,
        context=9,
        layers=2,
        heads=2,
        width=12,
        head_width=6,
        mlp_width=48,
        positions="learned",
        norm="pre",
        final_norm=True,
        dropout=DropoutRates(embedding=0.1, attention=0.2, residual=0.3),
    ),
}
"""The table of configurations that every layer of the workbench must pass."""


@pytest.fixture(params=MODEL_CONFIGS.values(), ids=MODEL_CONFIGS.keys())
def model_config(request) -> ModelConfig:
    return request.param


HOOKED = type(hook_model(MODEL_CONFIGS["attention-only"], Transformer(MODEL_CONFIGS["attention-only"]).state_dict()))
"""TransformerLens's own class, for which `models.hooked.HookedTransformer` stands."""


@pytest.fixture(autouse=True)
def no_hooks_left(monkeypatch):
    """Every model made in a test, hooked or plain, carries no hook at its end but those the test itself removed or declared."""
    made: list[torch.nn.Module] = []

    def remembering(build):
        def remember(self, *args, **kwargs):
            build(self, *args, **kwargs)
            made.append(self)

        return remember

    for form in (HOOKED, Transformer):
        monkeypatch.setattr(form, "__init__", remembering(form.__init__))
    yield
    hooked = [model for model in made if isinstance(model, HOOKED)]
    left = [name for model in hooked for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]
    plain = [module for model in made if isinstance(model, Transformer) for module in model.modules()]
    left += [type(module).__name__ for module in plain if module._forward_hooks or module._forward_pre_hooks]
    assert not left, f"hooks left on {left}"


@pytest.fixture(scope="session")
def othello_gpt_file() -> Path:
    """The real OthelloGPT in minGPT keys; it is too big to be part of the repository."""
    folder = os.environ.get("WORKBENCH_TEST_DATA")
    if not folder:
        pytest.skip("WORKBENCH_TEST_DATA is not set: no real OthelloGPT to test on")
    return Path(folder) / "othello-gpt" / "othello_gpt_mingpt_keys.safetensors"


def pytest_collection_modifyitems(config, items):
    """Tests for the other line of TransformerLens are left to its environment; in CI a skipped test is a failure."""
    other = "lens4" if TRANSFORMER_LENS.startswith("3.") else "lens3"
    left_out = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(_NoSkips())


class _NoSkips:
    """Turns a skip into a failure: it would hide what was not tested."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        report = outcome.get_result()
        if report.skipped and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture
def as_a_user():
    """Shapes and types unchecked, as outside of the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
