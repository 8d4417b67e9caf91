"""scikit-learn: its newton-cholesky solver without a penalty, lane after lane.

The intercept is the column of ones, as in every other adapter. `tol` bounds the largest
component of the mean gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sklearn
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor

from benchmarks.problems import Answer, Problem

CONTROLS = {"solver": "newton-cholesky", "fit_intercept": False, "tol": 1e-6}
MODELS = {
    "logistic": lambda: LogisticRegression(C=np.inf, **CONTROLS),
    "poisson": lambda: PoissonRegressor(alpha=0.0, **CONTROLS),
    "gamma": lambda: GammaRegressor(alpha=0.0, **CONTROLS),
}


def version() -> str:
    return sklearn.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    model = MODELS[problem.family]

    def run() -> Answer:
        fits = [model().fit(problem.design(i), y) for i, y in enumerate(problem.y)]
        return Answer(np.stack([np.ravel(fit.coef_) for fit in fits]))

    return run
