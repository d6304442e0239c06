"""SAELens reads activations from a wrapped model and splices a dictionary into it; it needs TransformerLens < 4."""

import pytest
import torch
from datasets import Dataset

from .small_models import CLEAN, plain_and_hooked

pytestmark = pytest.mark.lens3
POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def sae_lens():
    return pytest.importorskip("sae_lens", reason="needs the extra [interop]", exc_type=ImportError)


@pytest.fixture
def dictionary(sae_lens):
    torch.manual_seed(0)
    config = sae_lens.StandardSAEConfig(d_in=12, d_sae=24, metadata=sae_lens.saes.sae.SAEMetadata(hook_name=POINT))
    return sae_lens.StandardSAE(config)


def test_its_store_reads_the_activations_of_a_hook_point(sae_lens):
    hooked = plain_and_hooked()[1]
    store = sae_lens.ActivationsStore(
        model=hooked,
        dataset=Dataset.from_dict({"tokens": CLEAN.tolist()}),
        streaming=False,
        hook_name=POINT,
        hook_head_index=None,
        context_size=9,
        d_in=12,
        n_batches_in_buffer=2,
        total_training_tokens=72,
        store_batch_size_prompts=4,
        train_batch_size_tokens=8,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
    )
    tokens = store.get_batch_tokens(4)
    assert torch.equal(tokens, CLEAN)
    expected = hooked.run_with_cache(CLEAN)[1][POINT]
    torch.testing.assert_close(store.get_activations(tokens).reshape(4, 9, 12), expected)


def test_a_dictionary_is_spliced_in(sae_lens, dictionary):
    hooked = plain_and_hooked()[1].double()  # the error term is taken off and added again
    theirs = sae_lens.HookedSAETransformer(hooked.cfg).double()
    theirs.load_state_dict(hooked.state_dict())
    dictionary = dictionary.double()
    with torch.no_grad():
        expected = hooked.run_with_hooks(CLEAN, fwd_hooks=[(POINT, lambda stream, hook: dictionary(stream))])
        torch.testing.assert_close(theirs.run_with_saes(CLEAN, saes=[dictionary]), expected)
        torch.testing.assert_close(theirs.run_with_saes(CLEAN, saes=[dictionary], use_error_term=True), hooked(CLEAN))
    assert float((expected - hooked(CLEAN)).abs().max()) > 1e-2
