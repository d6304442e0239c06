"""The plain torch model that trains, for both organisms: real dropout, optional positions, three ways to normalise.

It is not for analysis: `models/hooked/` wraps it in TransformerLens. Parameter names and shapes are TransformerLens's
(`blocks.0.attn.W_Q` is [head, width, head_width]), so that the two forms share one state dict.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.config import ModelConfig

DropoutSite = Literal["embedding", "attention", "residual"]


DropoutMasks = Callable[[DropoutSite, float, torch.Size, Tensor], Tensor]
"""(site, rate, shape, like) -> an explicit mask of that shape: 0 where dropped (probability `rate`), 1 / (1 - rate) where kept.

With one, a training step is a pure function of (seed, step), or of the masks that a test recorded.
"""


class GeneratorMasks:
    """Dropout masks drawn in call order from one seeded torch generator on `device`."""

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        """`seed` is any non-negative integer below 2**63."""
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, site: DropoutSite, rate: float, shape: torch.Size, like: Tensor) -> Float[Tensor, "*shape"]:
        """Independent of `site`: the stream is one, in the order the model asks."""
        kept = torch.rand(shape, generator=self.generator, device=like.device) >= rate
        return kept.to(like.dtype) / (1 - rate)


def _drop(x: Float[Tensor, "..."], site: DropoutSite, rate: float, training: bool, masks: DropoutMasks | None):
    if not training or rate == 0:
        return x
    if masks is None:
        return F.dropout(x, rate)
    return x * masks(site, rate, x.shape, x)


class Attention(nn.Module):
    """Causal multi-head attention with biases on queries, keys, values and output."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        shape = (config.heads, config.width, config.head_width)
        self.W_Q = nn.Parameter(torch.empty(shape))
        self.W_K = nn.Parameter(torch.empty(shape))
        self.W_V = nn.Parameter(torch.empty(shape))
        self.W_O = nn.Parameter(torch.empty(config.heads, config.head_width, config.width))
        self.b_Q = nn.Parameter(torch.zeros(config.heads, config.head_width))
        self.b_K = nn.Parameter(torch.zeros(config.heads, config.head_width))
        self.b_V = nn.Parameter(torch.zeros(config.heads, config.head_width))
        self.b_O = nn.Parameter(torch.zeros(config.width))

    def forward(
        self, x: Float[Tensor, "batch position width"], masks: DropoutMasks | None
    ) -> Float[Tensor, "batch position width"]:
        """Scale 1/sqrt(head_width); explicit masks take the explicit path, else torch's fused kernel drops for itself."""
        q, k, v = self._queries_keys_values(x)
        rate = self.config.dropout.attention if self.training else 0.0
        if rate and masks is not None:
            pattern = self._pattern(q, k)
            pattern = pattern * masks("attention", rate, pattern.shape, pattern)
            z = einsum(pattern, v, "batch head query key, batch head key d -> batch head query d")
        else:
            z = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
        z = rearrange(z, "batch head position d -> batch position (head d)")
        return F.linear(z, rearrange(self.W_O, "head d width -> width (head d)"), self.b_O)

    def pattern(self, x: Float[Tensor, "batch position width"]) -> Float[Tensor, "batch head query key"]:
        """Attention weights before dropout, which the fused kernel does not tell; each row sums to 1, and the future gets 0."""
        q, k, _ = self._queries_keys_values(x)
        return self._pattern(q, k)

    def _pattern(
        self, q: Float[Tensor, "batch head query d"], k: Float[Tensor, "batch head key d"]
    ) -> Float[Tensor, "batch head query key"]:
        logits = einsum(q, k, "batch head query d, batch head key d -> batch head query key")
        future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        return (logits / math.sqrt(self.config.head_width)).masked_fill(future, -torch.inf).softmax(dim=-1)

    def _queries_keys_values(self, x: Float[Tensor, "batch position width"]) -> Float[Tensor, "qkv batch head position d"]:
        weight = rearrange(torch.stack([self.W_Q, self.W_K, self.W_V]), "qkv head width d -> (qkv head d) width")
        bias = rearrange(torch.stack([self.b_Q, self.b_K, self.b_V]), "qkv head d -> (qkv head d)")
        return rearrange(
            F.linear(x, weight, bias),
            "batch position (qkv head d) -> qkv batch head position d",
            qkv=3,
            d=self.config.head_width,
        )


class MLP(nn.Module):
    """Two layers around the exact (erf) GELU."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(config.width, config.mlp_width))
        self.b_in = nn.Parameter(torch.zeros(config.mlp_width))
        self.W_out = nn.Parameter(torch.empty(config.mlp_width, config.width))
        self.b_out = nn.Parameter(torch.zeros(config.width))

    def forward(self, x: Float[Tensor, "batch position width"]) -> Float[Tensor, "batch position width"]:
        return F.linear(F.gelu(F.linear(x, self.W_in.T, self.b_in)), self.W_out.T, self.b_out)


class LayerNorm(nn.Module):
    """LayerNorm over the width with weight `w` and bias `b`, epsilon 1e-5."""

    def __init__(self, width: int):
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "batch position width"]) -> Float[Tensor, "batch position width"]:
        return F.layer_norm(x, x.shape[-1:], self.w, self.b, eps=1e-5)


class Block(nn.Module):
    """Attention, then the MLP where there is one, each read from and added to the residual stream."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        has_mlp = config.mlp_width > 0
        self.attn = Attention(config)
        self.mlp = MLP(config) if has_mlp else None
        pre, branch = config.norm == "pre", config.norm == "branch"
        self.ln1 = LayerNorm(config.width) if pre else nn.Identity()
        self.ln2 = LayerNorm(config.width) if pre and has_mlp else nn.Identity()
        self.ln1_post = LayerNorm(config.width) if branch else nn.Identity()
        self.ln2_post = LayerNorm(config.width) if branch and has_mlp else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch position width"], masks: DropoutMasks | None
    ) -> Float[Tensor, "batch position width"]:
        rate = self.config.dropout.residual
        attended = self.ln1_post(self.attn(self.ln1(x), masks))
        x = x + _drop(attended, "residual", rate, self.training, masks)
        if self.mlp is not None:
            x = x + _drop(self.ln2_post(self.mlp(self.ln2(x))), "residual", rate, self.training, masks)
        return x


class Embed(nn.Module):
    """Token embedding W_E [vocab, width]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.vocab, config.width))


class PositionEmbed(nn.Module):
    """Learned position embedding W_pos [context, width]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(config.context, config.width))


class Unembed(nn.Module):
    """Untied unembedding W_U [width, vocab] with bias b_U."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(config.width, config.vocab))
        self.b_U = nn.Parameter(torch.zeros(config.vocab))


class Transformer(nn.Module):
    """The model of a `ModelConfig`: tokens to logits, causal.

    Matrices start normal with standard deviation 0.02, or 1/sqrt(width) without norms (logits are then products of up to four
    of them and would start vanishingly small); output projections divided by sqrt(2 layers), as in GPT-2; biases at 0. The
    initial weights are a pure function of `seed`.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0):
        """`seed` fixes the initial weights; None leaves the matrices as memory has them, for who puts others in their place."""
        super().__init__()
        self.config = config
        self.embed = Embed(config)
        self.pos_embed = PositionEmbed(config) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_final = LayerNorm(config.width) if config.final_norm else nn.Identity()
        self.unembed = Unembed(config)
        if seed is not None:
            self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            kind = name.rsplit(".", 1)[-1]
            if not kind.startswith("W_"):
                continue  # biases stay 0, LayerNorm weights 1
            std = 0.02 if self.config.norm != "none" else 1 / math.sqrt(self.config.width)
            if kind in ("W_O", "W_out"):
                std /= math.sqrt(2 * self.config.layers)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)

    def forward(
        self, tokens: Int64[Tensor, "batch position"], masks: DropoutMasks | None = None
    ) -> Float[Tensor, "batch position vocab"]:
        """Logits of the next token at every position.

        In training mode dropout comes from `masks`, or from torch's global random state without them; in eval mode there is
        none. Raises ValueError for an input longer than the context.
        """
        if tokens.shape[1] > self.config.context:
            raise ValueError(
                f"input of length {tokens.shape[1]} is longer than the model's context {self.config.context}; shorten the input"
            )
        x = F.embedding(tokens, self.embed.W_E)
        if self.pos_embed is not None:
            x = x + self.pos_embed.W_pos[: tokens.shape[1]]
        x = _drop(x, "embedding", self.config.dropout.embedding, self.training, masks)
        for block in self.blocks:
            x = block(x, masks)
        return F.linear(self.ln_final(x), self.unembed.W_U.T, self.unembed.b_U)


def with_weights(config: ModelConfig, state: Mapping[str, Tensor]) -> Transformer:
    """The model of a configuration with a copy of these weights, in eval mode, on their device and in their dtype.

    Raises as `require_fit` does.
    """
    require_fit(config, state)
    with torch.device("meta"):
        model = Transformer(config, seed=None)
    model.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
    return model.eval()


def require_fit(config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    """Raises ValueError naming the first missing, unexpected and mis-shaped keys of a state dict, and for what is none."""
    if not isinstance(config, ModelConfig):
        raise ValueError(f"{config!r:.60} is no model config; give one, such as card.model of read_card(folder)")
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(
            f"a {type(state).__name__} that is not of tensors by name is no state dict; give model.state_dict(), or "
            "read_weights(folder, 'raw')"
        )
    with torch.device("meta"):
        own = {name: tuple(tensor.shape) for name, tensor in Transformer(config, seed=None).state_dict().items()}
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    misshaped = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in own.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing or unexpected or misshaped:
        named = (f"{kind} {names[:3]}" for kind, names in (("missing", missing), ("unexpected", unexpected)))
        raise ValueError(
            f"weights do not fit the model config: {', '.join(named)}, mis-shaped {misshaped[:3]}; use the config the weights "
            "were saved with"
        )
