"""Floor 6: columns moved to their means, where that keeps digits.

With a constant column e among those of X, X T with T = I - e m' has the same span, its columns m_j
lower: a column whose mean is a hundred times its spread costs X'WX four digits of float32, and X T
none. Whatever m is, beta = T gamma exactly, so that derivatives in X pass through X T.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxglm._types import Array
from jaxglm.designs import Columns, Dense, Design
from jaxglm.linalg import highest
from jaxglm.model import Problem
from jaxglm.penalties import Penalty, Ridge

__all__ = ["centred", "centring"]


def centring(problem: Problem) -> Array | None:
    """T (p, p), or None: in float64, and for designs known by their products alone.

    Lanes that share X share T. Where they differ in the rows that count it is I: their neighbours
    would have a say in it.
    """
    design, prior = problem.design, problem.rows.prior
    if design.dtype == jnp.float64 or not isinstance(design, (Dense, Columns)):
        return None
    X = design.X if isinstance(design, Dense) else design.rows
    present = jnp.ones(X.shape[0], bool) if prior is None else prior > 0
    return _lowering(jax.lax.stop_gradient(X), jax.lax.stop_gradient(present))


def _lower(X: Array, present: Array) -> Array:
    """I - e m' from the rows present; I where no column is constant in them."""
    here, p = present[:, None], X.shape[1]
    mean = jnp.sum(jnp.where(here, X, 0.0), axis=0) / jnp.maximum(jnp.sum(present), 1)
    low = jnp.min(jnp.where(here, X, jnp.inf), axis=0)
    constant = (low == jnp.max(jnp.where(here, X, -jnp.inf), axis=0)) & (low != 0)
    first = jnp.arange(p) == jnp.argmax(constant)
    height = jnp.sum(jnp.where(first, low, 0.0))
    shift = jnp.where(constant | ~jnp.any(constant), 0.0, mean / height)
    return jnp.eye(p, dtype=X.dtype) - jnp.outer(first, shift).astype(X.dtype)


_lowering = custom_vmap(_lower)


@_lowering.def_vmap
def _lowering_rule(size: int, batched: list[bool], X: Array, present: Array) -> tuple[Array, bool]:
    if batched[0]:
        return jax.vmap(_lower, (0, 0 if batched[1] else None))(X, present), True
    return jnp.eye(X.shape[1], dtype=X.dtype), False


def centred(problem: Problem, T: Array) -> Problem:
    """The problem of gamma, with beta = T gamma."""
    return dataclasses.replace(
        problem, design=_times(problem.design, T), penalty=_turned(problem.penalty, T)
    )


def _times(design: Design, T: Array) -> Design:
    if isinstance(design, Columns):
        return Columns(highest(T.T, design.columns), highest(design.rows, T))
    return Dense(highest(design.X, T))  # type: ignore[attr-defined]


def _turned(penalty: Penalty | None, T: Array) -> Penalty | None:
    if penalty is None or penalty.adjusts:
        return penalty
    return Ridge(highest(T.T, highest(penalty.matrix(T.shape[0], T.dtype), T)))
