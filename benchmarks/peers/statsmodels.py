"""statsmodels: `GLM.fit`, lane after lane, with its defaults (IRLS, float64)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import statsmodels.api as sm

from benchmarks.problems import Answer, Problem

FAMILIES = {
    "logistic": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
    "gamma": sm.families.Gamma(link=sm.families.links.Log()),
}


def version() -> str:
    return sm.__version__ if hasattr(sm, "__version__") else sm.version.version


def prepare(problem: Problem) -> Callable[[], Answer]:
    family = FAMILIES[problem.family]

    def run() -> Answer:
        fits = [sm.GLM(y, problem.design(i), family).fit() for i, y in enumerate(problem.y)]
        return Answer(np.stack([fit.params for fit in fits]))

    return run
