"""The shape of a small GPT, which several folders of tests use."""

from models.config import ModelConfig

GPT = ModelConfig(
    vocab=11,
    context=9,
    layers=3,
    heads=2,
    width=12,
    head_width=6,
    mlp_width=20,
    positions="learned",
    norm="pre",
    final_norm=True,
)
