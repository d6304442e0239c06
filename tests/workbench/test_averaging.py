import torch

from models.config import AveragingConfig
from workbench.averaging import WeightAverager

STEPS = 40


def trajectory() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(STEPS + 1, 5, generator=generator, dtype=torch.float64).cumsum(dim=0))


def averaged(config: AveragingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    path = trajectory()
    live = path[0].clone()
    averager = WeightAverager(config, {"w": live})
    for step in range(1, STEPS + 1):
        live.copy_(path[step])
        averager.update(step)
    return averager.ema["w"], averager.bema(STEPS)["w"]


def test_constant_schedule_is_the_weighted_mean_of_all_iterates():
    path = trajectory()
    weights = torch.zeros(STEPS + 1, dtype=torch.float64)
    weights[0] = 1
    for step in range(1, STEPS + 1):
        decay = min(0.9, (1 + step) / (10 + step))
        weights[: step + 1] *= decay
        weights[step] += 1 - decay
    ema, _ = averaged(AveragingConfig(decay=0.9))
    torch.testing.assert_close(ema, weights @ torch.stack(path), rtol=1e-12, atol=1e-12)


def test_bema_minus_ema_is_the_correction_and_nothing_else():
    path = trajectory()
    ema, bema = averaged(AveragingConfig(schedule="power", eta=0.2))
    torch.testing.assert_close(bema - ema, (10 + STEPS) ** -0.2 * (path[-1] - path[0]), rtol=1e-12, atol=1e-12)


def test_large_eta_gives_ema():
    ema, bema = averaged(AveragingConfig(eta=50))
    torch.testing.assert_close(bema, ema, rtol=0, atol=1e-12)


def test_power_schedule_with_kappa_0_gives_raw():
    ema, _ = averaged(AveragingConfig(schedule="power", kappa=0))
    torch.testing.assert_close(ema, trajectory()[-1], rtol=0, atol=0)


def test_power_schedule_is_the_running_mean_at_kappa_1():
    # beta_t = 1 / (lag + t) gives the mean of the iterates with theta_0 counted `lag` times
    path = trajectory()
    ema, _ = averaged(AveragingConfig(schedule="power", kappa=1, lag=10))
    expected = (10 * path[0] + torch.stack(path[1:]).sum(dim=0)) / (10 + STEPS)
    torch.testing.assert_close(ema, expected, rtol=1e-12, atol=1e-12)


def test_before_any_step_all_three_are_equal():
    live = torch.ones(3)
    averager = WeightAverager(AveragingConfig(), {"w": live})
    assert torch.equal(averager.bema(0)["w"], live)
    assert torch.equal(averager.ema["w"], live)
