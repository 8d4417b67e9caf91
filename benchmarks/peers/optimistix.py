"""optimistix: Newton's method on the gradient of the negative log-likelihood, under `jit(vmap)`.

The Hessian comes from autodiff, is tagged positive and solved by Cholesky; the arrays are on the
device beforehand. The tolerances are the loosest power of ten that gives six digits; the loop's
other rule, `cauchy_termination=False`, is faster and stops at one or two digits.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax
import optimistix

from benchmarks.problems import Answer, Problem

# Negative log-likelihood of one observation up to a constant.
LOSSES = {
    "logistic": lambda eta, y: jax.nn.softplus(eta) - y * eta,
    "poisson": lambda eta, y: jnp.exp(eta) - y * eta,
    "gamma": lambda eta, y: y * jnp.exp(-eta) + eta,
}


def version() -> str:
    return optimistix.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    loss = LOSSES[problem.family]
    tags = frozenset({lineax.positive_semidefinite_tag})
    solver = optimistix.Newton(rtol=1e-2, atol=1e-2, linear_solver=lineax.Cholesky())
    X, y = jnp.asarray(problem.X), jnp.asarray(problem.y)

    def score(beta: jax.Array, data: tuple[jax.Array, jax.Array]) -> jax.Array:
        X, y = data
        return jax.grad(lambda beta: jnp.sum(loss(X @ beta, y)))(beta)

    def one(X: jax.Array, y: jax.Array) -> jax.Array:
        start = jnp.zeros(X.shape[-1])
        return optimistix.root_find(score, solver, start, (X, y), tags=tags, throw=False).value

    many = jax.jit(jax.vmap(one, (0 if X.ndim == 3 else None, 0)))
    return lambda: Answer(jax.block_until_ready(many(X, y)))
