"""A search of made-up results with planted effects, so that a study's verdicts can be held against the truth.

Errors are equal at all lengths and times 10 to the power of: -1, +0.4 for residual dropout, -0.4 for attention dropout,
nothing for embedding dropout, -0.3 for ema and bema on sampled targets, half of that for ema with bema's displacement, and
noise of a trial and of each set of weights. At matched displacement attention dropout does nothing either. Displacement falls
as 1 / s without a norm and with a final one, and makes displacement x sqrt(sigma (1 - sigma)) constant with branch norm.
"""

import json

import numpy as np
import optuna

from workbench.search_ledger import NUMBER, RANGES, RESULT, SETTINGS, study_name
from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA, RAW_TO_NEED
from workbench.search_space import SearchSpace

SPACE = SearchSpace(vocab=16, steps=100, seed=11)
LENGTHS = np.arange(1, 16)
EFFECT, BENEFIT = 0.4, -0.3
TRIALS = 128


def planted_result(number: int, noise: float = 0.05) -> dict:
    """What trial `number` would have put into the database."""
    random, drawn = np.random.default_rng(number), SPACE.parameters(number)
    level = -1 + EFFECT * ((drawn["dropout_residual"] > 0) - float(drawn["dropout_attention"] > 0)) + noise * random.normal()
    benefit = BENEFIT if drawn["targets"] == "hard" else 0.0
    shift = {"raw": 0.0, "ema": benefit, "bema": benefit, RAW_TO_BEMA: 0.0, EMA_TO_BEMA: benefit / 2}
    shift[RAW_TO_NEED] = -0.1 + EFFECT * (drawn["dropout_attention"] > 0)
    metrics = {}
    for weights, change in shift.items():
        error = 10 ** (level + change + 0.2 * noise * (random.normal() if change else 0))
        metrics[weights] = {name: [error] * 15 for name in ("illegal_mass", "total_variation", "misordered")}
        metrics[weights]["normalised_dispersion"] = [0.0] + [0.9 + 0.01 * random.normal()] * 14
    sigma = LENGTHS / SPACE.vocab
    decay = 1 / np.sqrt(sigma * (1 - sigma)) if drawn["norm"] == "branch" else 1 / LENGTHS
    pushed = np.exp(0.3 * random.normal()) * decay * np.exp(0.01 * random.normal(size=15))
    displacement = {"context": [None, *pushed[1:]], "query": list(pushed), "by_length": list(pushed), "mean": pushed.mean()}
    result = {
        "lengths": LENGTHS.tolist(),
        "metrics": metrics,
        "displacement": dict.fromkeys(("raw", "ema", "bema"), displacement),
    }
    if drawn["norm"] == "none":
        certified = list(range(1, 1 + int(random.integers(2, 8))))
        result["certified"] = {"raw": certified, "ema": certified, "bema": [*certified, 14]}
    return result


def planted_study(trials: int, storage: optuna.storages.BaseStorage | None = None) -> optuna.Study:
    """The whole search; trial 3 diverged."""
    study = optuna.create_study(storage=storage, study_name=study_name(SPACE))
    study.set_user_attr(SETTINGS, {**SPACE.model_dump(), "sequences": 64, RANGES: SPACE.fingerprint})
    distributions = SPACE.distributions()
    made = []
    for number in reversed(range(trials)):
        parameters = SPACE.parameters(number)
        result = {"diverged": 7} if number == 3 else planted_result(number)
        made.append(
            optuna.trial.create_trial(
                params=parameters,
                distributions={name: distributions[name] for name in parameters},
                value=0.5,
                user_attrs={NUMBER: number, RESULT: json.dumps(result)},
            )
        )
    study.add_trials(made)
    return study
