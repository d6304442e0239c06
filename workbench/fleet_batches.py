"""What each member of a fleet is trained on: the sequences, targets and dropout masks of one step.

All of it is a pure function of (member's seed, step). Sequences are the trainer's everywhere; so are masks on the CPU. On a
GPU, where a generator for each member would leave it waiting, masks are counted draws as sequences are.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.config import DropoutRates, ModelConfig
from models.random_stream import GOLDEN, as_signed, mix, seed_state
from models.streams import Draw
from models.task import Task
from models.transformer import DropoutSite, Transformer
from workbench import fleet_draws
from workbench.fleet_threads import for_members
from workbench.stacked_model import Targets
from workbench.trainer import dropout_seed
from workbench.training_config import TrainingConfig

Sequences = Int64[Tensor, "member batch train_length_plus_1"]
Mask = Float[Tensor, "member batch ..."]


class MemberBatches:
    """The sequences of every member, and what they are to predict."""

    def __init__(self, configs: Sequence[TrainingConfig], task: Task):
        """Sequences come on the configurations' device."""
        self.configs, self.task, self.device = configs, task, configs[0].device
        self.seed_states = np.array([seed_state(config.seed) for config in configs], np.uint64)
        self.on_device = torch.from_numpy(self.seed_states.view(np.int64)).to(self.device)
        self.soft = np.array([config.targets == "soft" for config in configs])
        self.soft_members = torch.from_numpy(np.flatnonzero(self.soft)).to(self.device)

    def draw(self, step: int) -> Sequences:
        """The sequences of optimiser step `step` >= 1."""
        config, members = self.configs[0], len(self.configs)
        first, columns = (step - 1) * config.batch, config.train_length + 1
        if self.task.name != "set-complement":
            drawn = torch.stack([self.task.sequences(config.seed, first, config.batch) for config in self.configs])
            return drawn[:, :, :columns].to(self.device, non_blocking=True)
        if self.device != "cpu":
            return stacked_permutations(self.on_device, first, config.batch, self.task.vocab)[:, :, :columns]
        sequences = torch.empty(members, config.batch, columns, dtype=torch.int64)
        arguments = (self.seed_states, first, self.task.vocab, sequences.numpy())
        for_members(fleet_draws.draw_permutations, members, *arguments)
        return sequences

    def targets(self, sequences: Sequences, dtype: torch.dtype) -> Targets:
        """The next tokens, -100 where there is none; with soft members each token's share in the loss.

        Products of shares and log probabilities, summed and negated, are the losses. The token that came next has a share
        (hard), or each legal one the same (soft); positions without one have none, and a member's shares sum to 1.
        """
        tokens, following = sequences[:, :, :-1], sequences[:, :, 1:]
        if not self.soft.any():
            return following if self.task.pad is None else following.masked_fill(following == self.task.pad, -100)
        shares = torch.zeros(*following.shape, self.task.vocab, dtype=dtype, device=sequences.device)
        shares.scatter_(-1, following[..., None], 1.0)
        legal = self._legal(tokens[self.soft_members])
        shares[self.soft_members] = legal.to(dtype) / legal.sum(dim=-1, keepdim=True).clamp(min=1)
        if self.task.pad is None:
            return shares / following[0].numel()
        shares = shares.masked_fill((following == self.task.pad)[..., None], 0)
        return shares / shares.sum(dim=(1, 2, 3), keepdim=True)

    def _legal(self, tokens: Int64[Tensor, "member batch position"]) -> Bool[Tensor, "member batch position vocab"]:
        if self.task.name == "set-complement":  # as its `legal`, without asking the device whether the input is valid
            return F.one_hot(tokens, self.task.vocab).cumsum(dim=2) == 0
        legal = self.task.legal(rearrange(tokens, "member batch position -> (member batch) position").cpu())
        return rearrange(legal.to(self.device), "(member batch) ... -> member batch ...", member=len(tokens))


def stacked_permutations(
    seed_states: Int64[Tensor, "member"], first: int, count: int, vocab: int
) -> Int64[Tensor, "member count vocab"]:
    """`SetComplementTask.sequences` of every member on their device, from each seed's `seed_state`."""
    indices = torch.arange(first + 1, first + count + 1, device=seed_states.device)
    counters = torch.arange(1, vocab + 1, device=seed_states.device) * as_signed(GOLDEN)
    states = mix(seed_states[:, None] + indices * as_signed(GOLDEN))
    return mix(states[:, :, None] + counters).argsort(dim=-1, stable=True)


class MemberMasks:
    """The dropout masks of every member, in the order in which the model asks for them."""

    def __init__(self, configs: Sequence[TrainingConfig], dtype: torch.dtype):
        """Masks are of `dtype`; where one member drops, the others have masks of ones."""
        self.configs, self.device = configs, configs[0].device
        self.rates = greatest_rates([config.model.dropout for config in configs])
        self.calls = mask_calls(configs[0].model, self.rates, configs[0].batch, configs[0].train_length)
        members = len(configs)
        if self.device == "cpu":
            self.masks = [torch.ones(members, *shape, dtype=dtype) for _, shape in self.calls]
            self.states, self.used = np.empty((members, fleet_draws.WORDS), np.uint32), np.empty(members, np.int64)
            drawn_in = torch.get_default_dtype()  # torch.rand's, in which the trainer compares
            self.kept = [kept(self._rates_at(site), drawn_in, dtype) for site, _ in self.calls]
            self.doubles = drawn_in == torch.float64
        else:
            self.seed_states = _signed([seed_state(Draw.DROPOUT.stream(config.seed)) for config in configs], self.device)
            self.site_rates = [self._rates_at(site).to(self.device, dtype) for site, _ in self.calls]
            self.counters = [counters.to(self.device) for counters in mask_counters([shape for _, shape in self.calls])]
            self.counted = torch.compile(counted_masks)

    def _rates_at(self, site: DropoutSite) -> Float[Tensor, "member"]:
        return torch.tensor([getattr(config.model.dropout, site) for config in self.configs], dtype=torch.float64)

    def draw(self, step: int) -> list[Mask]:
        """The masks of optimiser step `step` >= 1; the next call overwrites them."""
        if not self.calls:
            return []
        if self.device != "cpu":
            return self.counted(mask_states(self.seed_states, step), self.site_rates, self.counters)
        members = len(self.configs)
        seeds = np.array([dropout_seed(config.seed, step) for config in self.configs], np.uint64)
        for_members(fleet_draws.seed_generators, members, seeds, self.states, self.used)
        for (thresholds, survivors), mask in zip(self.kept, self.masks, strict=True):
            for_members(
                fleet_draws.draw_masks, members, self.states, self.used, thresholds, survivors, self.doubles,
                mask.flatten(1).numpy(),
            )  # fmt: skip
        return self.masks


def _signed(states: Sequence[int], device: str) -> Int64[Tensor, "member"]:
    return torch.tensor([as_signed(state) for state in states], device=device)


def kept(rates: Float[Tensor, "member"], drawn_in: torch.dtype, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The whole number below which a draw of torch.rand in `drawn_in` drops, and what survives is multiplied by."""
    bits = 53 if drawn_in == torch.float64 else 24
    thresholds = [math.ceil(rate * 2**bits) for rate in rates.to(drawn_in).tolist()]
    return np.array(thresholds, np.uint64), (1 / (1 - rates).to(dtype)).numpy()


def mask_states(seed_states: Int64[Tensor, "member"], step: int) -> Int64[Tensor, "member"]:
    """The stream state of sequence index `step` in each member's stream of dropout, from its `seed_state`."""
    return mix(seed_states + as_signed(GOLDEN * (step + 1)))


def mask_counters(shapes: Sequence[torch.Size]) -> list[Int64[Tensor, "..."]]:
    """What `counted_masks` adds to a state for each element of masks of these shapes: draws 0, 1, 2, ... of a stream.

    They are made beforehand, since torch.compile would fold the product into an index, which overflows.
    """
    counters = torch.arange(1, 1 + sum(shape.numel() for shape in shapes)) * as_signed(GOLDEN)
    parts = counters.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def counted_masks(
    states: Int64[Tensor, "member"], rates: Sequence[Float[Tensor, "member"]], counters: Sequence[Int64[Tensor, "..."]]
) -> list[Mask]:
    """Masks from the draws that `mask_counters` counts in each member's state: the 24 high bits are compared with its rate."""
    masks = []
    for rate, counter in zip(rates, counters, strict=True):
        of_member = (-1, *[1] * counter.ndim)
        drawn = (mix(states.view(of_member) + counter) >> 40) & 0xFFFFFF
        survives = drawn >= torch.ceil(rate.double() * 2**24).view(of_member)
        masks.append(survives / (1 - rate).view(of_member))
    return masks


def greatest_rates(members: Sequence[DropoutRates]) -> DropoutRates:
    """The greatest rate of any member at each site: 0 where nobody drops."""
    return DropoutRates(**{site: max(getattr(rates, site) for rates in members) for site in DropoutRates.model_fields})


def mask_calls(model: ModelConfig, rates: DropoutRates, batch: int, length: int) -> list[tuple[DropoutSite, torch.Size]]:
    """Site and shape of the masks that a model with these rates asks for in one training step, in order."""
    calls: list[tuple[DropoutSite, torch.Size]] = []

    def record(site: DropoutSite, rate: float, shape: torch.Size, like: Tensor) -> Tensor:
        calls.append((site, torch.Size((batch, *shape[1:]))))
        return torch.ones_like(like)

    one = Transformer(model.model_copy(update={"dropout": rates})).train()
    with torch.no_grad():
        one(torch.zeros(1, length, dtype=torch.int64), record)
    return calls
