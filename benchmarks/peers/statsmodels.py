"""statsmodels: `GLM.fit`, lane after lane, with its defaults (IRLS, float64).

On one thread: starting threads costs more than they save in small fits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import statsmodels
import statsmodels.api as sm
from threadpoolctl import threadpool_limits

from benchmarks.problems import Answer, Problem

FAMILIES = {
    "logistic": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
    "gamma": sm.families.Gamma(link=sm.families.links.Log()),
}


def version() -> str:
    return statsmodels.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    family = FAMILIES[problem.family]

    def run() -> Answer:
        with threadpool_limits(1):
            fits = [sm.GLM(y, problem.design(i), family).fit() for i, y in enumerate(problem.y)]
        return Answer(np.stack([fit.params for fit in fits]))

    return run
