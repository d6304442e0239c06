"""The metrics of every organism: how far a model's next-token distribution is from uniform over the legal tokens.

For: one number per sequence and position from logits and a legality mask, and the registry of what each number is called,
measured in, and ranges over. Not for: averages and intervals (`evaluation`, `intervals`).

With gap delta between equal legal and equal illegal logits, s illegal and k legal tokens: illegal mass = total variation
= s e^-delta / (s e^-delta + k), uniformity KL = 0, margin = delta.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from models.token_input import require_legal, require_logits


@dataclass(frozen=True)
class Metric:
    """What a metric is called and how it may be averaged and drawn."""

    name: str
    """the word in tables and on the command line"""
    label: str
    """the words on an axis"""
    unit: str
    """its unit; empty for a probability or a share"""
    low: float
    """least value it can take"""
    high: float
    """greatest value it can take; math.inf where unbounded"""
    rate: bool = False
    """True where one position gives 0 or 1, so that the mean is a rate and its interval is binomial"""
    log: bool = False
    """True where it spans orders of magnitude, so that figures use a log axis"""

    @property
    def axis(self) -> str:
        """The axis title: label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("illegal_mass", "illegal mass", "", 0, 1, log=True),
        Metric("illegal_top1", "illegal top-1", "", 0, 1, rate=True, log=True),
        Metric("total_variation", "total variation", "", 0, 1, log=True),
        Metric("uniformity_kl", "KL(uniform ‖ model) over legal", "nats", 0, math.inf, log=True),
        Metric("margin", "margin, least legal − greatest illegal logit", "logits", -math.inf, math.inf),
        Metric("misordered", "misordered (margin ≤ 0)", "", 0, 1, rate=True, log=True),
        Metric("dispersion", "attention dispersion", "nats", 0, math.inf),
        Metric("normalised_dispersion", "normalised attention dispersion", "", 0, 1),
        Metric("effective_tokens", "effective tokens attended to", "tokens", 1, math.inf),
    )
}
"""Every metric by name. The last three are means over layers and heads of an attention row's entropy H, H / ln s and exp(H)."""

POSITION_METRICS = ("illegal_mass", "illegal_top1", "total_variation", "uniformity_kl", "margin", "misordered")
DISPERSION_METRICS = ("dispersion", "normalised_dispersion", "effective_tokens")


def position_metrics(
    logits: Float[Tensor, "batch position vocab"], legal: Bool[Tensor, "batch position vocab"]
) -> dict[str, Float[Tensor, "batch position"]]:
    """The metrics of a next-token distribution p = softmax(logits) against the uniform one over the legal tokens, in float64.

    Args:
        logits: of any float type; the arithmetic is in float64, in log space, so logits of +-1e4 neither overflow nor cancel.
        legal: True where a token may come next.

    Returns:
        One entry for each of `POSITION_METRICS`. k is the number of legal tokens:

        - illegal_mass: sum of p over illegal tokens, in [0, 1]; uniform model: 1 - k / vocab; all tokens legal: 0.
        - illegal_top1: 1 if the most probable token is illegal, else 0; of equal logits the lowest token counts as the top.
        - total_variation: 1/2 sum |p - target|, in [illegal_mass, 1]; one-hot on a legal token: 1 - 1/k.
        - uniformity_kl: KL(uniform over legal || p restricted to legal and renormalised), nats, >= 0; 0 for k = 1. With it,
          KL(target || p) = -ln(1 - illegal_mass) + uniformity_kl.
        - margin: least legal logit - greatest illegal logit; inf where no token is illegal.
        - misordered: 1 if margin <= 0 (so a tie counts as misordered), else 0.

        A logit of -inf is a probability of 0. With it uniformity_kl is inf where some legal tokens have it, NaN where all of
        several do (nothing is left to renormalise); margin is -inf where a legal token has it, inf where all illegal ones do,
        and NaN where both is so, which for misordered is a tie.

        NaN where no token is legal (the target does not exist), and where p does not exist: a logit is NaN or inf (a diverged
        model is not a good one), or all are -inf.

    Raises ValueError where `logits` is of another shape, and where `legal` is of another type, shape or device.
    """
    require_logits(logits)
    require_legal(legal, logits)
    logits = logits.double()
    count = reduce(legal, "batch position vocab -> batch position", "sum").double()
    all_legal = count == logits.shape[-1]
    defined = (count > 0) & logits.amax(dim=-1).isfinite()  # the greatest is NaN where any is

    log_legal = torch.logsumexp(logits.masked_fill(~legal, -torch.inf), dim=-1)
    log_illegal = torch.logsumexp(logits.masked_fill(legal, -torch.inf), dim=-1)
    illegal_mass = torch.sigmoid(log_illegal - log_legal)
    none_left = log_legal == -torch.inf

    log_restricted = logits - rearrange(log_legal, "batch position -> batch position 1")
    legal_mass = rearrange(torch.sigmoid(log_legal - log_illegal), "batch position -> batch position 1")
    target = 1 / rearrange(count, "batch position -> batch position 1")
    excess = (log_restricted.exp() * legal_mass - target).clamp(min=0).masked_fill(~legal, 0).sum(dim=-1)
    surprise = (-log_restricted).masked_fill(~legal, 0).sum(dim=-1) / count

    least, greatest = logits.masked_fill(~legal, torch.inf).amin(dim=-1), logits.masked_fill(legal, -torch.inf).amax(dim=-1)
    top_is_legal = legal.gather(-1, logits.argmax(dim=-1, keepdim=True)).squeeze(-1)
    values = {
        "illegal_mass": illegal_mass,
        "illegal_top1": (~top_is_legal).double(),
        # 1/2 sum |p - t| = sum of (p - t) where positive: all of p on illegal tokens, the excess over 1/k on legal ones
        "total_variation": (illegal_mass + excess.masked_fill(none_left, 0)).clamp(max=1),
        "uniformity_kl": (surprise - count.log()).clamp(min=0).masked_fill(none_left & (count == 1), 0),
        "margin": (least - greatest).masked_fill(all_legal, torch.inf),
        "misordered": ((least <= greatest) & ~all_legal).double(),
    }
    return {name: value.masked_fill(~defined, torch.nan) for name, value in values.items()}


def dispersion_metrics(
    entropy: Float[Tensor, "batch position layer head"],
) -> dict[str, Float[Tensor, "batch position"]]:
    """Means over layers and heads of attention dispersion, from the entropies of attention rows in nats.

    Returns:
        dispersion: mean entropy, in [0, ln s] at length s. normalised_dispersion: mean of entropy / ln s, in [0, 1]: 0 for
        attention on one token and, by definition, at s = 1; 1 for uniform attention. effective_tokens: mean of exp(entropy),
        in [1, s].

    Raises ValueError for what has other axes.
    """
    from probes.row_entropy import effective_tokens, normalised

    if not isinstance(entropy, Tensor) or entropy.ndim != 4:
        given = f"have shape {tuple(entropy.shape)}" if isinstance(entropy, Tensor) else f"are a {type(entropy).__name__}"
        raise ValueError(f"the entropies {given}, expected [batch, position, layer, head]; give those of attention rows")
    mean = "batch position layer head -> batch position"
    return {
        "dispersion": reduce(entropy, mean, "mean"),
        "normalised_dispersion": reduce(normalised(entropy), mean, "mean"),
        "effective_tokens": reduce(effective_tokens(entropy), mean, "mean"),
    }
