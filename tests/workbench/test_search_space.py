"""The random search's draws: pure functions of (seed, number), inside the space, and as random as they say."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workbench.search_space import DROPOUT, LEARNING_RATE, SITES, SOFT_SHARE, SearchSpace


@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 10**6))
def test_every_parameter_set_is_what_optuna_would_accept_and_makes_that_model(seed, number):
    space = SearchSpace(vocab=16, steps=500, seed=seed)
    parameters, distributions = space.parameters(number), space.distributions()
    for name, value in parameters.items():
        assert distributions[name]._contains(distributions[name].to_internal_repr(value)), (name, value)
    config = space.config(number)
    assert config.model.width == config.model.head_width == parameters["width"]
    assert {site: getattr(config.model.dropout, site) for site in SITES} == {
        site: parameters[f"dropout_{site}"] for site in SITES
    }
    assert (config.model.norm, config.model.final_norm) == {
        "none": ("none", False),
        "branch": ("branch", False),
        "final": ("none", True),
    }[parameters["norm"]]
    assert config.steps == 500
    assert config.warmup == 50
    averaging = config.averaging
    if averaging.schedule == "constant":
        assert averaging.decay == pytest.approx(1 - 1 / parameters["averaging_horizon"], rel=1e-12)
        assert "averaging_kappa" not in parameters
    else:
        assert averaging.kappa == parameters["averaging_kappa"]
        assert "averaging_horizon" not in parameters


def test_draws_depend_on_seed_and_number_alone():
    first, again, other = SearchSpace(seed=3), SearchSpace(seed=3), SearchSpace(seed=4)
    backwards = [again.parameters(number) for number in reversed(range(50))]
    assert [first.parameters(number) for number in range(50)] == backwards[::-1]
    assert all(first.parameters(number) != other.parameters(number) for number in range(50))
    seeds = {first.config(number).seed for number in range(50)}
    assert len(seeds) == 50


def test_every_shape_comes_once_a_round_and_rounds_differ():
    space = SearchSpace(vocab=16, seed=1)
    shapes = space.shapes
    keys = ("width", "batch", "train_length", "norm")

    def drawn(number):
        return tuple(space.parameters(number)[key] for key in keys)

    rounds = [[drawn(number) for number in range(start, start + len(shapes))] for start in (0, len(shapes))]
    expected = Counter(tuple(shape[key] for key in keys) for shape in shapes)
    assert Counter(rounds[0]) == Counter(rounds[1]) == expected
    assert rounds[0] != rounds[1]


def test_the_draws_have_the_distributions_they_claim():
    drawn = [SearchSpace(seed=7).parameters(number) for number in range(1000)]
    rate = np.array([parameters["learning_rate"] for parameters in drawn])
    share = np.log(rate / LEARNING_RATE[0]) / np.log(LEARNING_RATE[1] / LEARNING_RATE[0])
    assert stats.kstest(share, "uniform").pvalue > 1e-3
    on = np.array([[parameters[f"dropout_{site}"] > 0 for site in SITES] for parameters in drawn])
    assert stats.binomtest(int(on.sum()), on.size).pvalue > 1e-3
    joint = Counter(map(tuple, on.tolist()))  # the sites are independent: 8 equally likely cases
    assert stats.chisquare([*joint.values()]).pvalue > 1e-3
    assert len(joint) == 8
    rates = np.array([parameters["dropout_attention"] for parameters in drawn if parameters["dropout_attention"] > 0])
    assert stats.kstest(np.log(rates / DROPOUT[0]) / np.log(DROPOUT[1] / DROPOUT[0]), "uniform").pvalue > 1e-3
    soft = sum(parameters["targets"] == "soft" for parameters in drawn)
    assert stats.binomtest(soft, len(drawn), SOFT_SHARE).pvalue > 1e-3
