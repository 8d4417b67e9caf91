"""Floor 6: the derivative of a root.

A fit is the root theta of a score F(problem, theta) = 0, so d theta = J^-1 dF with
J = -dF/dtheta, the score's own Jacobian: observed, not expected, information. The rule is a
`custom_jvp`, so forward, reverse and higher orders follow, and the solver's loop is never
differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxglm._types import Array

Score = Callable[[Any, Array], Array]
Tangent = Callable[[Any, Array, Array], Array]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def attach(score: Score, solve: Tangent, problem: Any, theta: Array, sound: Array) -> Array:
    """theta (q,) itself, with the derivative in `problem` of the root that it is.

    score(problem, theta) is F; solve(problem, theta, v) is J^-1 v. Where `sound` is false theta is
    no root, and its derivatives are NaN rather than wrong. A derivative in theta is not defined:
    the starting point of a solver has no influence.
    """
    del score, solve, problem, sound
    return theta


@jax.custom_jvp
def guard(value: Array, sound: Array) -> Array:
    """value itself, with derivatives that are NaN where `sound` is false, rather than wrong."""
    del sound
    return value


@guard.defjvp
def _guard_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, sound = primals
    # A product, since a select would pass a zero, not a NaN, backwards.
    factor = jnp.where(sound, 1.0, jnp.nan).astype(value.dtype)
    return guard(value, sound), tangents[0] * factor


def _attach_jvp(score: Score, solve: Tangent, primals: Any, tangents: Any) -> tuple[Array, Array]:
    problem, theta, sound = primals
    # Through the rule again, so that second derivatives see theta depend on the problem.
    theta = attach(score, solve, problem, theta, sound)
    leaves, treedef = jax.tree.flatten(problem)
    slopes = jax.tree.leaves(tangents[0], is_leaf=lambda t: isinstance(t, SymbolicZero))
    moving = [i for i, t in enumerate(slopes) if not isinstance(t, SymbolicZero)]
    if not moving:
        return theta, jnp.zeros_like(theta)

    def at(values: list[Array]) -> Array:
        whole = list(leaves)
        for i, value in zip(moving, values, strict=True):
            whole[i] = value
        return score(jax.tree.unflatten(treedef, whole), theta)

    _, change = jax.jvp(at, ([leaves[i] for i in moving],), ([slopes[i] for i in moving],))
    slope = solve(problem, theta, change)
    # A product, since a select would pass a zero, not a NaN, backwards.
    return theta, slope * jnp.where(sound, 1.0, jnp.nan).astype(theta.dtype)


attach.defjvp(_attach_jvp, symbolic_zeros=True)
