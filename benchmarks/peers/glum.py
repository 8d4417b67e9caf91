"""glum: an unpenalised `GeneralizedLinearRegressor` (irls-ls), lane after lane.

`gradient_tol` bounds the largest component of the mean gradient: the loosest power of ten that
brings coefficients within the row's tolerance. Small fits run on one thread: starting threads
costs more than they save.
"""

from __future__ import annotations

from collections.abc import Callable

import glum
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.problems import Answer, Problem

FAMILIES = {"logistic": "binomial", "poisson": "poisson", "gamma": "gamma"}


def version() -> str:
    return glum.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    alone = problem.lanes == 1
    tolerance = 1e-8 if alone else 1e-7

    def fit(lane: int) -> np.ndarray:
        model = glum.GeneralizedLinearRegressor(
            family=FAMILIES[problem.family],
            link="logit" if problem.family == "logistic" else "log",
            alpha=0.0,
            fit_intercept=False,
            gradient_tol=tolerance,
        )
        return model.fit(problem.design(lane), problem.y[lane]).coef_

    def run() -> Answer:
        with threadpool_limits(None if alone else 1):
            return Answer(np.stack([fit(lane) for lane in range(problem.lanes)]))

    return run
