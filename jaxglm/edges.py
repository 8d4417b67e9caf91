"""Floor 8: maxima on the edge of the mean space, where the score does not vanish.

The best mean of a zero count may be 0 with a square-root or identity link, that of a success 1 with
the log link. Steps to such an edge leave the mean space, and halved ones come ever shorter.
Responses drawn a little to their mean have their maxima inside, found as any other; the limit of
these, as the share they are drawn by vanishes, is the maximum on the edge. Drawn responses act as
the logarithmic barriers of Boyd & Vandenberghe (2004), chapter 11.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array
from jaxglm.dispersion import Dispersion
from jaxglm.fit import Fit, solve_prepared
from jaxglm.model import Problem
from jaxglm.solvers import Newton

__all__ = ["follow_to_edge"]

# The shares by which responses are drawn to their mean, one fit starting from the other.
SHARES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
# Observed information bends with the barrier, where the expected knows nothing of it.
SOLVER = Newton(tol=1e-14)
# Means nearer to the edge than this share of the responses' mean are on it.
ON_EDGE = 1e-6


def follow_to_edge(problem: Problem, fitted: Fit, dispersion: Dispersion) -> Fit:
    """The maximum on the edge, from a fit that ended short of it with the status `boundary`.

    On the host. The status stays, unless the maximum turns out to lie inside. A fit that does not
    come out better is returned as it was.
    """
    rows, best = problem.rows, fitted.params
    count = rows.weigh(jnp.ones_like(rows.y))
    mean = jnp.sum(rows.weigh(rows.y)) / jnp.sum(count)

    def solve(y: Array) -> Fit:
        at = dataclasses.replace(problem, rows=dataclasses.replace(rows, y=y))
        return solve_prepared(at, jnp.asarray(False), best, dispersion, SOLVER)

    for share in SHARES:
        found = solve(rows.y + share * (mean - rows.y))
        best = found.params if jnp.isfinite(found.deviance) else best
    found = solve(rows.y)
    if not found.deviance <= fitted.deviance:
        return fitted
    inside = _distance(problem, found)[np.asarray(count) > 0] > ON_EDGE * abs(mean)
    return found if inside.all() else dataclasses.replace(found, status=fitted.status)


def _distance(problem: Problem, fitted: Fit) -> Any:
    """How far the means (n,) are from the nearer end of the mean space."""
    space, eta = fitted.family.mean_space, problem.rows.eta(problem.design.predictor(fitted.params))
    mu = np.asarray(fitted.family.link.inverse(eta))
    return np.minimum(mu - space.low, space.high - mu)
