"""Floor 6: the derivative of a root.

A fit is the root theta of a score F(problem, theta) = 0, so d theta = J^-1 dF with
J = -dF/dtheta, the score's own Jacobian: observed, not expected, information. The solver's loop
is never differentiated; forward, reverse and higher orders follow from the one rule.

The rule belongs to a JAX primitive. Inside a `scan`, JAX 0.10 forgets a `custom_jvp` in second
derivatives and differentiates what it stands for, which for a root is a constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxglm._types import Array

# What a derivative needs of a solver; all else on the way back follows from it in one pass.
KEPT = "jaxglm.root"

Score = Callable[[Any, Array], Array]
Tangent = Callable[[Any, Array, Array], Array]


def attach(score: Score, solve: Tangent, problem: Any, theta: Array, sound: Array) -> Array:
    """theta (q,) itself, with the derivative in `problem` of the root that it is.

    score(problem, theta) is F; solve(problem, theta, v) is J^-1 v. Where `sound` is false theta is
    no root, and its derivatives are NaN rather than wrong. A derivative in theta is not defined:
    the starting point of a solver has no influence.
    """
    leaves, treedef = jax.tree.flatten(problem)
    theta, sound = keep((theta, sound))
    return _root_p.bind(*leaves, theta, sound, rule=_Rule(score, solve, treedef))


def keep(values: Any) -> Any:
    """The values, by the name under which `jax.checkpoint` is told to save them."""
    return checkpoint_name(values, KEPT)


@dataclasses.dataclass(frozen=True)
class _Rule:
    """How a root depends on the leaves of its problem, and which operands have which lanes."""

    score: Score
    solve: Tangent
    treedef: Any
    # For each `vmap`, the innermost first: the operands' axes, 0 or None.
    lanes: tuple[tuple[int | None, ...], ...] = ()

    def slope(self, operands: list[Array], moving: list[int], dots: list[Array]) -> Array:
        """d theta for tangents of the moving operands, mapped as the operands are."""

        def alone(operands: list[Array], dots: list[Array]) -> Array:
            *leaves, theta, sound = operands

            def at(values: list[Array]) -> Array:
                whole = list(leaves)
                for i, value in zip(moving, values, strict=True):
                    whole[i] = value
                return self.score(jax.tree.unflatten(self.treedef, whole), theta)

            _, change = jax.jvp(at, ([leaves[i] for i in moving],), (dots,))
            problem = jax.tree.unflatten(self.treedef, leaves)
            return _spoil(self.solve(problem, theta, change), sound)

        fn: Callable[..., Array] = alone
        for axes in self.lanes:
            fn = jax.vmap(fn, (list(axes), [axes[i] for i in moving]))
        return fn(operands, dots)


_root_p = Primitive("root")
_root_p.def_impl(lambda *operands, rule: operands[-2])
_root_p.def_abstract_eval(lambda *operands, rule: operands[-2])
mlir.register_lowering(
    _root_p, mlir.lower_fun(lambda *operands, rule: operands[-2], multiple_results=False)
)


def _differentiate(primals: Any, tangents: Any, rule: _Rule) -> tuple[Array, Any]:
    # Through the rule again, so that second derivatives see theta depend on the problem.
    theta = _root_p.bind(*primals, rule=rule)
    given = enumerate(tangents[:-2])
    moving = [i for i, dot in given if not isinstance(dot, ad.Zero)]
    if not moving:
        return theta, ad.Zero.from_primal_value(theta)
    operands = [*primals[:-2], theta, primals[-1]]
    return theta, rule.slope(operands, moving, [tangents[i] for i in moving])


def _map(operands: Any, dims: Any, rule: _Rule) -> tuple[Array, int]:
    size = next(v.shape[d] for v, d in zip(operands, dims, strict=True) if d is not None)
    fronted = [
        v if d is None else jnp.moveaxis(v, d, 0) for v, d in zip(operands, dims, strict=True)
    ]
    if dims[-2] is None:
        fronted[-2] = jnp.broadcast_to(fronted[-2], (size, *fronted[-2].shape))
        dims = (*dims[:-2], 0, dims[-1])
    axes = tuple(None if d is None else 0 for d in dims)
    mapped = dataclasses.replace(rule, lanes=(*rule.lanes, axes))
    return _root_p.bind(*fronted, rule=mapped), 0


ad.primitive_jvps[_root_p] = _differentiate
batching.primitive_batchers[_root_p] = _map


@jax.custom_jvp
def guard(value: Array, sound: Array) -> Array:
    """value itself, with derivatives that are NaN where `sound` is false, rather than wrong."""
    # A value that lanes share must come out with lanes as its derivative does, or JAX (0.10)
    # makes a program in which the two differ in shape.
    return jnp.where(sound, value, value)


@guard.defjvp
def _guard_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, sound = primals
    return guard(value, sound), _spoil(tangents[0], sound)


def _spoil(slope: Array, sound: Array) -> Array:
    # A product, since a select would pass a zero, not a NaN, backwards.
    return slope * jnp.where(sound, 1.0, jnp.nan).astype(slope.dtype)
