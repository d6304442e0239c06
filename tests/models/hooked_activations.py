"""All activations of a hooked model on the installed TransformerLens; as a script, of the whole table of configurations.

    python tests/models/hooked_activations.py FOLDER

writes one safetensors file a configuration and dtype, for the other environment to compare with.
"""

import hashlib
import runpy
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.config import ModelConfig
from models.hooked import hook
from models.transformer import Transformer

TOKENS = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(2))


def file_name(config: ModelConfig, dtype: str) -> str:
    return f"{hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]}-{dtype}.safetensors"


@torch.no_grad()
def hooked_activations(plain: Transformer, dtype: str) -> dict[str, Tensor]:
    """Everything the cache holds, and the `logits`."""
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in plain.state_dict().items()}
    logits, cache = hook(plain.config, state).run_with_cache(TOKENS)
    return {**cache, "logits": logits}


if __name__ == "__main__":
    here = Path(__file__).parent
    random_model = runpy.run_path(str(here / "random_models.py"))["random_model"]
    for config in runpy.run_path(str(here.parent / "conftest.py"))["MODEL_CONFIGS"].values():
        for dtype in ("float64", "float32"):
            found = {name: tensor.contiguous() for name, tensor in hooked_activations(random_model(config), dtype).items()}
            save_file({name: tensor.clone() for name, tensor in found.items()}, Path(sys.argv[1]) / file_name(config, dtype))
