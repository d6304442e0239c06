"""TransformerLens 4's native model with what its configuration cannot switch on, so that it computes what the plain model does.

That is LayerNorm on what a branch writes, a final norm without the others or none with them, and an unembedding bias. And two
hook points work as on 3.x: TransformerLens's own native attention hands the pattern out as scores, and what is put in at
`hook_resid_mid` reaches its MLP but not the stream.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.sources.native import NativeAttention, NativeBlock, NativeModel
from transformer_lens.utilities import TypedModuleList

from models.config import ModelConfig

Stream = Float[Tensor, "batch position width"]


def native_model(config: ModelConfig, native: TransformerBridgeConfig) -> NativeModel:
    """The native model of a plain model's configuration; `native` is the same configuration in TransformerLens's words."""
    model = NativeModel(native)
    model.layers = TypedModuleList(Block(native, config.norm == "branch") for _ in range(config.layers))
    model.ln_out = nn.LayerNorm(config.width) if config.final_norm else nn.Identity()
    model.head = nn.Linear(config.width, config.vocab, bias=True)
    return model


class Attention(NativeAttention):
    """Causal attention whose scores and pattern pass through a hook point each before they are used."""

    def forward(  # type: ignore[override]  # called by models/hooked/native_bridge.py alone
        self,
        hidden_states: Stream,
        scores_fn: HookPoint,
        pattern_fn: HookPoint,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Stream, None]:
        """What attention writes, and no pattern, which TransformerLens would take for the scores.

        `attention_mask` [batch, position] is 0 at padding. `position_ids` are the embedding's business.
        """
        batch, length, _ = hidden_states.shape
        q, k, v = (
            rearrange(part(hidden_states), "batch position (head d) -> batch head position d", head=self.n_heads)
            for part in (self.q, self.k, self.v)
        )
        hidden = self.causal_mask[:length, :length]
        if attention_mask is not None:
            hidden = self._combine_attention_mask(hidden, attention_mask, batch=batch)
        scores = scores_fn((q @ k.mT / self.scale).masked_fill(hidden, -torch.inf))
        pattern = pattern_fn(scores.softmax(dim=-1).nan_to_num())  # of a query that sees nothing: 0, as on 3.x
        return self.o(rearrange(pattern @ v, "batch head position d -> batch position (head d)")), None


class Block(NativeBlock):
    """A block whose attention and MLP write through a LayerNorm, where `branch_norm` says so."""

    def __init__(self, native: TransformerBridgeConfig, branch_norm: bool):
        super().__init__(native)
        self.attn = Attention(native)
        self.resid_mid = nn.Identity()
        self.branch_norm = branch_norm
        if branch_norm:
            self.ln1_post = nn.LayerNorm(native.d_model)
        if branch_norm and not native.attn_only:
            self.ln2_post = nn.LayerNorm(native.d_model)

    def forward(
        self, hidden_states: Stream, attention_mask: Tensor | None = None, position_ids: Tensor | None = None, **_kwargs: Any
    ) -> tuple[Stream]:
        """The stream after the block, in a tuple as TransformerLens wants it."""
        attended, _ = self.attn(self.ln1(hidden_states), attention_mask=attention_mask, position_ids=position_ids)
        hidden_states = hidden_states + (self.ln1_post(attended) if self.branch_norm else attended)
        if not self.cfg.attn_only:
            hidden_states = self.resid_mid(hidden_states)
            written = self.mlp(self.ln2(hidden_states))
            hidden_states = hidden_states + (self.ln2_post(written) if self.branch_norm else written)
        return (hidden_states,)
