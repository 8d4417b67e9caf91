"""scikit-learn: its newton-cholesky solver without a penalty, lane after lane.

The intercept is the column of ones, as in every other adapter. `tol` bounds the largest component
of the mean gradient: the loosest power of ten that brings coefficients within the row's tolerance.
Small fits run on one thread: starting threads costs more than they save.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sklearn
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor
from threadpoolctl import threadpool_limits

from benchmarks.problems import Answer, Problem

MODELS = {
    "logistic": LogisticRegression(C=np.inf),
    "poisson": PoissonRegressor(alpha=0.0),
    "gamma": GammaRegressor(alpha=0.0),
}


def version() -> str:
    return sklearn.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    alone = problem.lanes == 1
    model = MODELS[problem.family].set_params(
        solver="newton-cholesky", fit_intercept=False, tol=1e-8 if alone else 1e-7
    )

    def fit(lane: int) -> np.ndarray:
        return np.ravel(model.fit(problem.design(lane), problem.y[lane]).coef_)

    def run() -> Answer:
        with threadpool_limits(None if alone else 1):
            return Answer(np.stack([fit(lane) for lane in range(problem.lanes)]))

    return run
