"""jaxglm itself, from NumPy arrays to a finished `Fit`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import jaxglm
from benchmarks.problems import Answer, Problem
from jaxglm import designs, families, links

FAMILIES = {
    "logistic": families.Binomial(),
    "poisson": families.Poisson(),
    "gamma": families.Gamma(link=links.Log()),
    "negative-binomial": families.NegativeBinomial(alpha=None),
}


def version() -> str:
    """The commit, with "-dirty" where the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def prepare(problem: Problem) -> Callable[[], Answer]:
    if problem.varying is not None:
        return lambda: finished(scan(problem))
    family = FAMILIES[problem.family]
    if problem.lanes == 1:
        return lambda: finished(jaxglm.fit(problem.design(0), problem.y[0], family))
    return lambda: finished(jaxglm.fit_many(problem.X, problem.y, family, offset=problem.offset))


def scan(problem: Problem) -> jaxglm.Fit:
    """All variants; coefficients with their covariance, as `jaxglm.scan` has them fitted."""
    family, dtype = FAMILIES[problem.family], problem.X.dtype
    design = designs.Augmented(shared=problem.X, varying=problem.varying)
    return jaxglm.fit_many(design, problem.y, family, dtype=dtype, likelihood=False)


def finished(fit: jaxglm.Fit) -> Answer:
    params = jax.block_until_ready(fit).params
    return Answer(np.atleast_2d(params))
