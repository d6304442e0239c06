"""CircuitsVis draws attention patterns from the cache of a wrapped model, on both lines of TransformerLens."""

import json

import torch
from circuitsvis.attention import attention_patterns

from .small_models import CLEAN, plain_and_hooked


def test_the_page_holds_the_pattern_of_the_cache():
    _, cache = plain_and_hooked()[1].run_with_cache(CLEAN)
    tokens, pattern = [str(token) for token in CLEAN[0].tolist()], cache["pattern", 1][0]
    page = str(attention_patterns(tokens=tokens, attention=pattern))
    start = page.index('{"tokens"')
    arguments, _ = json.JSONDecoder().raw_decode(page[start:])
    assert arguments["tokens"] == tokens
    torch.testing.assert_close(torch.tensor(arguments["attention"]), pattern, rtol=0, atol=1e-6)
