"""glmax: `glmax.fit` (IRLS) under `jit(vmap)`, the arrays on the device beforehand.

`tol` bounds the change of the log-likelihood. Its default, 1e-3, leaves coefficients right to
three or four digits; here it is the loosest power of ten that gives six. Off the canonical link its
steps converge linearly, so that power is smaller there.
"""

from __future__ import annotations

from collections.abc import Callable

import glmax
import jax
import jax.numpy as jnp

from benchmarks.problems import Answer, Problem

TOLERANCES = {"logistic": 1e-5, "poisson": 1e-5, "gamma": 1e-9}
FAMILIES = {
    "logistic": glmax.Binomial(),
    "poisson": glmax.Poisson(),
    "gamma": glmax.Gamma(glmax.LogLink()),
}


def version() -> str:
    return glmax.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    family, fitter = FAMILIES[problem.family], glmax.IRLSFitter(tol=TOLERANCES[problem.family])
    X, y = jnp.asarray(problem.X), jnp.asarray(problem.y)

    def one(X: jax.Array, y: jax.Array) -> jax.Array:
        return glmax.fit(family, X, y, fitter=fitter).params.beta

    many = jax.jit(jax.vmap(one, (0 if X.ndim == 3 else None, 0)))
    return lambda: Answer(jax.block_until_ready(many(X, y)))
