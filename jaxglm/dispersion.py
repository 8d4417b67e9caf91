"""Floor 6: the dispersion phi: 1, a number, a moment estimate or the maximum of the likelihood."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike, elementwise_derivative, record, static
from jaxglm.families import Family
from jaxglm.implicit import attach
from jaxglm.model import Problem, Totals, deviance, loglike
from jaxglm.penalties import Scaled
from jaxglm.solvers.base import decrement_tolerance

KINDS = ("X2", "dev", "ml")


@record
class Dispersion:
    """How phi is found: `kind` None (1 or Pearson's, by family), "X2", "dev", "ml" or "fixed"."""

    value: Array | None = None
    kind: str | None = static(default=None)

    @property
    def valid(self) -> Array:
        """Whether a given number can be a dispersion."""
        if self.value is None:
            return jnp.asarray(True)
        return (self.value > 0) & jnp.isfinite(self.value)


def as_dispersion(scale: str | ArrayLike | None, dtype: Any) -> Dispersion:
    """The `scale` argument of `fit` as a record; raises on an unknown name."""
    if scale is None:
        return Dispersion()
    if isinstance(scale, str):
        kinds = {kind.lower(): kind for kind in KINDS}
        if scale.lower() not in kinds:
            raise ValueError(f"scale={scale!r}: allowed are None, a number, {', '.join(KINDS)}.")
        return Dispersion(kind=kinds[scale.lower()])
    if isinstance(scale, (int, float)) and not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale={scale}: a number must be finite and > 0.")
    if not isinstance(scale, jax.Array) and np.asarray(scale).dtype.kind not in "biuf":
        raise TypeError(f"scale={scale!r}: allowed are None, numbers > 0, {', '.join(KINDS)}.")
    return Dispersion(jnp.asarray(scale, dtype), "fixed")


def estimate(
    dispersion: Dispersion, problem: Problem, beta: Array, sums: Totals, df_resid: Array
) -> Array:
    """phi at the fitted coefficients; NaN where no degrees of freedom are left for it."""
    kind = dispersion.kind or ("one" if problem.family.fixed_scale else "X2")
    if kind in ("one", "fixed"):
        return jnp.ones_like(sums.deviance) if kind == "one" else dispersion.value  # type: ignore
    if kind == "ml":
        eta = problem.rows.eta(problem.design.predictor(beta))
        return maximum_likelihood_scale(problem, eta, sums.deviance)
    return per_freedom(sums.pearson if kind == "X2" else sums.deviance, df_resid)


def per_freedom(total: Array, df: Array) -> Array:
    """total / df; NaN where there are no degrees of freedom."""
    return jnp.where(df > 0, total / jnp.where(df > 0, df, 1.0), jnp.nan)


def maximum_likelihood_scale(problem: Problem, eta: Array, total: Array) -> Array:
    """phi that maximizes the log-likelihood at eta, by Newton's method in log phi.

    Starts from deviance / n, which it is for Gaussian and inverse Gaussian.
    """
    require_likelihood(problem.family)
    held = jax.lax.stop_gradient((problem, eta))
    first = jnp.log(jax.lax.stop_gradient(total) / problem.rows.total_frequency)
    tolerance = decrement_tolerance(None, first.dtype)

    def improve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, t, _ = state
        step, decrement = uphill_step(*_slope_and_bend(held, t))
        return k + 1, t + jnp.where(jnp.isfinite(step), step, 0.0), decrement

    def go_on(state: tuple[Array, Array, Array]) -> Array:
        return (state[0] < 30) & (state[2] > tolerance)

    _, t, _ = jax.lax.while_loop(
        go_on, improve, (jnp.asarray(0), first, jnp.full_like(first, jnp.inf))
    )
    t = jax.lax.stop_gradient(t)[None]
    return jnp.exp(attach(_scale_equation, _step_scale, (problem, eta), t, jnp.isfinite(t[0])))[0]


def require_likelihood(family: Family) -> None:
    """Raise where `scale="ml"` has no meaning."""
    if family.fixed_scale or not family.has_likelihood:
        raise ValueError(f'scale="ml": {type(family).__name__} has no likelihood in the scale.')


def scale_score(problem: Problem, eta: Array, t: Array) -> Array:
    """The derivative of the log-likelihood in t = log phi."""
    total = deviance(problem.family, problem.rows, eta)
    return elementwise_derivative(
        lambda t: loglike(problem.family, problem.rows, jnp.exp(t), total), t
    )


def _slope_and_bend(data: tuple[Problem, Array], t: Array) -> tuple[Array, Array]:
    return jax.jvp(lambda t: scale_score(*data, t), (t,), (jnp.ones_like(t),))


def _scale_equation(data: tuple[Problem, Array], t: Array) -> Array:
    return scale_score(*data, t[0])[None]


def _step_scale(data: tuple[Problem, Array], t: Array, v: Array) -> Array:
    return -v / _slope_and_bend(data, t[0])[1]


def at_scale(problem: Problem, phi: Array) -> Problem:
    """The problem with phi in the adjustments of its penalty; as it is where there are none."""
    if not problem.adjusts:
        return problem
    return dataclasses.replace(problem, penalty=Scaled(problem.penalty, phi))


def uphill_step(slope: Array, curvature: Array) -> tuple[Array, Array]:
    """A guarded Newton step of a logarithm t uphill, and its decrement (inf where not concave).

    Below a maximum a likelihood is often concave in exp(t) where it is not yet in t; the step of
    exp(t), whose curvature is `curvature - slope` on this scale, then leads there at once.
    """
    concave = curvature < 0
    plain = slope / jnp.maximum(jnp.abs(curvature), 1e-8)
    bend = slope - curvature
    rising = (slope > 0) & (bend > 0) & ~(concave & (plain <= 1.0))
    growth = jnp.where(rising, slope / jnp.where(rising, bend, 1.0), 0.0)
    step = jnp.where(rising, jnp.minimum(jnp.log1p(growth), 4.0), jnp.clip(plain, -1.5, 1.5))
    return step, jnp.where(concave, slope * plain, jnp.inf)
