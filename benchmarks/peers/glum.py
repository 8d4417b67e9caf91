"""glum: an unpenalised `GeneralizedLinearRegressor` (irls-ls), lane after lane.

`gradient_tol` bounds the largest component of the mean gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import glum
import numpy as np

from benchmarks.problems import Answer, Problem

FAMILIES = {"logistic": "binomial", "poisson": "poisson", "gamma": "gamma"}


def version() -> str:
    return glum.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    def fit(lane: int) -> np.ndarray:
        model = glum.GeneralizedLinearRegressor(
            family=FAMILIES[problem.family],
            link="logit" if problem.family == "logistic" else "log",
            alpha=0.0,
            fit_intercept=False,
            gradient_tol=1e-7,
        )
        return model.fit(problem.design(lane), problem.y[lane]).coef_

    return lambda: Answer(np.stack([fit(lane) for lane in range(problem.lanes)]))
