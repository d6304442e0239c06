"""What a model, its task and its averaged weights are configured by: the pydantic models that go into `card.json`.

One field is config, command-line help and documentation at once. Unknown keys are errors. This file imports no torch, so that
`workbench --help` stays fast.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positions = Literal["none", "learned"]
Norm = Literal["none", "pre", "branch"]
TaskName = Literal["set-complement", "othello", "brackets"]
SIZES_OF_TASK: dict[TaskName, tuple[str, ...]] = {
    "set-complement": ("vocab",),
    "othello": ("board",),
    "brackets": ("kinds", "depth"),
}
BRACKET_KINDS, BRACKET_DEPTH, BRACKET_LONGEST = 2, 8, 63
"""Sizes of the bracket task where none are given, and its longest input."""
OptimizerName = Literal["adamw", "muon"]
AveragingSchedule = Literal["constant", "power"]
WeightsName = Literal["raw", "ema", "bema"]
WEIGHTS: tuple[WeightsName, ...] = ("raw", "ema", "bema")
MOST, MOST_LAYERS = 1 << 20, 1000
"""Sizes beyond which a shape is a mistake or an attack: nothing of it is built."""

Rate = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(max_length=255)]
"""No longer than the name of a file."""
Names = Annotated[dict[Name, Name], Field(max_length=100)]
"""What goes by a few names, such as versions of packages."""
Words = Annotated[str, Field(max_length=1 << 17)]
"""No longer than an argument of a command."""


class Config(BaseModel):
    """Base of every configuration: immutable, its numbers finite (JSON has no others), and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class DropoutRates(Config):
    """Probability of dropping an element in training, in [0, 1), at the three named sites; survivors are scaled by 1/(1-p)."""

    embedding: Rate = 0.0
    """dropout on the sum of token and position embedding, in [0, 1)"""
    attention: Rate = 0.0
    """dropout on the attention weights after the softmax, in [0, 1)"""
    residual: Rate = 0.0
    """dropout on what attention and MLP write, just before it joins the residual stream, in [0, 1)"""

    @property
    def label(self) -> str:
        """How tables and figures name the rates: `none`, `attention 0.1`, `all 0.1`."""
        rates = {site: rate for site, rate in self.model_dump().items() if rate}
        if not rates:
            return "none"
        if len(rates) == 3 and len(set(rates.values())) == 1:
            return f"all {next(iter(rates.values())):g}"
        return ", ".join(f"{site} {rate:g}" for site, rate in rates.items())


class ModelConfig(Config):
    """Shape of a `Transformer`. TransformerLens names in brackets."""

    vocab: int = Field(ge=3, le=MOST)
    """number of tokens [d_vocab, d_vocab_out]"""
    context: int = Field(ge=1, le=MOST)
    """the longest input the model takes [n_ctx]"""
    layers: int = Field(1, ge=1, le=MOST_LAYERS)
    """number of layers [n_layers]"""
    heads: int = Field(1, ge=1, le=MOST)
    """number of attention heads a layer [n_heads]"""
    width: int = Field(64, ge=1, le=MOST)
    """width of the residual stream [d_model]"""
    head_width: int = Field(64, ge=1, le=MOST)
    """width of queries, keys and values of one head [d_head]"""
    mlp_width: int = Field(0, ge=0, le=MOST)
    """neurons of each layer's MLP, exact GELU; 0 makes the model attention-only [d_mlp, attn_only]"""
    positions: Positions = "none"
    """learned absolute positions, or none"""
    norm: Norm = "none"
    """LayerNorm before attention and MLP (pre), on what they write before it joins the residual (branch), or none"""
    final_norm: bool = False
    """LayerNorm before the unembedding; with one attention-only layer and norm none this is post-norm LN(x + f(x))"""
    dropout: DropoutRates = DropoutRates()
    """dropout in training; analysis runs without"""

    @property
    def most_weights(self) -> int:
        """Numbers that a model of this shape holds, with positions and every norm there can be: never fewer than it has."""
        attention = self.heads * (4 * self.width * self.head_width + 3 * self.head_width)
        mlp = 2 * self.width * self.mlp_width + self.mlp_width
        block = attention + mlp + 10 * self.width  # two biases and four norms of two
        return self.layers * block + (2 * self.vocab + self.context + 2) * self.width + self.vocab


class TaskConfig(Config):
    """Which task, and its size."""

    name: TaskName
    """the task"""
    vocab: int | None = Field(None, ge=3, le=MOST)
    """set complement: number of tokens v (>= 3)"""
    board: Literal[6, 8] | None = None
    """Othello: squares a side (8 when not given)"""
    kinds: int | None = Field(None, ge=2, le=MOST // 2)
    """brackets: kinds of brackets (2 when not given)"""
    depth: int | None = Field(None, ge=1, le=MOST)
    """brackets: how deep they nest at most (8 when not given)"""

    @model_validator(mode="after")
    def _size_fits_task(self) -> "TaskConfig":
        sizes = SIZES_OF_TASK[self.name]
        given = [size for size in ("vocab", "board", "kinds", "depth") if getattr(self, size) is not None]
        foreign = [size for size in given if size not in sizes]
        if foreign:
            raise ValueError(f"the {self.name} task takes no {foreign[0]}; give {' or '.join(f'--{size}' for size in sizes)}")
        if self.name == "set-complement" and self.vocab is None:
            raise ValueError("the set-complement task needs a vocabulary; give vocab (--vocab N, N >= 3)")
        return self


class AveragingConfig(Config):
    """How the averaged weights follow the raw ones, at every optimiser step t = 1, 2, ...

    `ema_t = ema_{t-1} + beta_t (theta_t - ema_{t-1})`, `ema_0 = theta_0`; `bema_t = ema_t + alpha_t (theta_t - theta_0)` with
    `alpha_t = (lag + t)^-eta` (Block and Zhang 2025, arXiv 2508.00180). Limits: eta large gives bema = ema; the power schedule
    with kappa = 0 gives ema = raw.
    """

    schedule: AveragingSchedule = "constant"
    """constant: beta_t = 1 - min(decay, (1+t)/(lag+t)); power: beta_t = (lag+t)^-kappa"""
    decay: float = Field(0.999, ge=0, lt=1)
    """decay of the constant schedule, reached after the ramp"""
    kappa: float = Field(0.5, ge=0)
    """exponent of the power schedule"""
    eta: float = Field(0.2, ge=0)
    """exponent of the bias correction of bema; 0 is the largest correction"""
    lag: float = Field(10.0, gt=1)
    """offset of the step in all three formulas"""

    def beta(self, step: int) -> float:
        """Weight of the new iterate in ema at optimiser step `step` >= 1, in (0, 1]."""
        if self.schedule == "constant":
            return 1 - min(self.decay, (1 + step) / (self.lag + step))
        return (self.lag + step) ** -self.kappa

    def alpha(self, step: int) -> float:
        """Weight of the travelled distance theta_t - theta_0 in bema at optimiser step `step` >= 0, in (0, 1]."""
        return (self.lag + step) ** -self.eta
