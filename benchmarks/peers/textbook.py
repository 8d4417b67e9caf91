"""The textbook: jitted IRLS in ten lines of JAX for a logistic model, for one lane."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.problems import Answer, Problem


def version() -> str:
    return jax.__version__


@jax.jit
def irls(X: jax.Array, y: jax.Array) -> jax.Array:
    """Newton's steps until the largest is below 1e-5; the error is then of its square."""

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        beta, _ = state
        mu = jax.nn.sigmoid(X @ beta)
        information = X.T @ (X * (mu * (1.0 - mu))[:, None])
        move = jnp.linalg.solve(information, X.T @ (y - mu))
        return beta + move, move

    start = (jnp.zeros(X.shape[1]), jnp.ones(X.shape[1]))
    return jax.lax.while_loop(lambda state: jnp.max(jnp.abs(state[1])) > 1e-5, step, start)[0]


def prepare(problem: Problem) -> Callable[[], Answer]:
    X, y = jnp.asarray(problem.design(0)), jnp.asarray(problem.y[0])
    return lambda: Answer(jax.block_until_ready(irls(X, y))[None])
