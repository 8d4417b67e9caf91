"""Floor 6: the parameters beside the coefficients: dispersion, alpha, variance power.

A family parameter given as None is estimated by maximum likelihood with the coefficients: the
coefficients are solved for at a value of it, then a Newton step on the profile's own equation
moves it, until both equations hold. The derivative of the fit is that of the joint root.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike, record, static
from jaxglm.families import Family
from jaxglm.implicit import attach
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import (
    Problem,
    Rows,
    Totals,
    deviance,
    expected_weight,
    loglike,
    penalised_score,
    score_jacobian,
    totals,
)
from jaxglm.solvers import Solver, Status, solve
from jaxglm.solvers.base import RUNNING, as_status, decide, decrement_tolerance

MAX_ROUNDS = 50
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


class Solution(NamedTuple):
    """The joint root, with its derivative attached."""

    beta: Array
    family: Family
    last_step: Array
    n_iter: Array
    status: Array


def as_dispersion(scale: str | ArrayLike | None, dtype: Any) -> Dispersion:
    """The `scale` argument of `fit` as a record; raises on an unknown name."""
    if scale is None:
        return Dispersion()
    if isinstance(scale, str):
        if scale not in KINDS:
            raise ValueError(f"scale={scale!r}: allowed are None, a number, {', '.join(KINDS)}.")
        return Dispersion(kind=scale)
    if isinstance(scale, (int, float)) and not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale={scale}: a number must be finite and > 0.")
    return Dispersion(jnp.asarray(scale, dtype), "fixed")


def estimate(
    dispersion: Dispersion, problem: Problem, beta: Array, sums: Totals, df_resid: Array
) -> Array:
    """phi at the fitted coefficients; NaN where no degrees of freedom are left for it."""
    kind = dispersion.kind
    if kind is None:
        kind = "one" if problem.family.fixed_scale else "X2"
    if kind == "one":
        return jnp.ones_like(sums.deviance)
    if kind == "fixed":
        return dispersion.value  # type: ignore[return-value]
    if kind == "ml":
        eta = problem.rows.eta(problem.design.predictor(beta))
        return maximum_likelihood_scale(problem, eta, sums.deviance)
    numerator = sums.pearson if kind == "X2" else sums.deviance
    return jnp.where(df_resid > 0, numerator / jnp.where(df_resid > 0, df_resid, 1.0), jnp.nan)


def maximum_likelihood_scale(problem: Problem, eta: Array, total: Array) -> Array:
    """phi that maximizes the log-likelihood at eta, by Newton's method in log phi.

    Starts from deviance / n, which it is for Gaussian and inverse Gaussian.
    """
    family, rows = problem.family, problem.rows
    if family.fixed_scale or not family.has_likelihood:
        raise ValueError(f'scale="ml": {type(family).__name__} has no likelihood in the scale.')

    held, level = jax.lax.stop_gradient((problem, eta))
    t = jnp.log(jax.lax.stop_gradient(total) / rows.total_frequency)[None]

    def improve(_: int, t: Array) -> Array:
        gradient = _scale_score((held, level), t)
        step, _ = _guarded_step(gradient, jax.jacfwd(_scale_score, argnums=1)((held, level), t))
        return t + jnp.where(jnp.isfinite(step), step, 0.0)

    t = jax.lax.stop_gradient(jax.lax.fori_loop(0, 30, improve, t))
    return jnp.exp(attach(_scale_score, _step_scale, (problem, eta), t, jnp.isfinite(t[0])))[0]


def _scale_score(data: tuple[Problem, Array], t: Array) -> Array:
    """The derivative of the log-likelihood in t = log phi, each (1,)."""
    problem, eta = data
    return jax.grad(lambda t: _loglike_at(problem.family, problem.rows, eta, jnp.exp(t[0])))(t)


def _step_scale(data: tuple[Problem, Array], t: Array, v: Array) -> Array:
    return v / -jax.jacfwd(_scale_score, argnums=1)(data, t)[0]


def joint_solve(
    solver: Solver, problem: Problem, start: Array | None, limit: Array | None = None
) -> Solution:
    """The coefficients, and the family's unknown parameter where there is one."""
    if problem.family.is_estimated:
        return _solve_with_parameter(solver, problem, start)
    state = jax.lax.stop_gradient(solve(solver, jax.lax.stop_gradient(problem), start, limit))
    sound = state.status == int(Status.converged)
    beta = attach(penalised_score, _step_beta, problem, state.beta, sound)
    return Solution(beta, problem.family, state.last_step, state.n_iter, state.status)


def _step_beta(problem: Problem, beta: Array, v: Array) -> Array:
    """J^-1 v for the coefficients alone."""
    jacobian = score_jacobian(problem, beta)
    if problem.penalty is not None and problem.penalty.adjusts:
        return jnp.linalg.solve(jacobian, v)
    return highest(inverse_pd(jacobian), v)


class Round(NamedTuple):
    """One lane between two rounds of the alternation."""

    beta: Array
    psi: Array  # the unknown on the whole line, then log phi where it is estimated too
    last_step: Array
    n_iter: Array
    rounds: Array
    status: Array


def _solve_with_parameter(solver: Solver, problem: Problem, start: Array | None) -> Solution:
    held = jax.lax.stop_gradient(problem)
    first = _first_round(solver, held, start)
    done = jax.lax.while_loop(
        lambda now: now.status == RUNNING, lambda now: _next_round(solver, held, now), first
    )
    sound = done.status == int(Status.converged)
    theta = jnp.concatenate([done.beta, done.psi])
    # The joint step that shows convergence is taken: it squares the error of the alternation.
    step = _step_joint(held, theta, joint_score(held, theta))
    theta = jax.lax.stop_gradient(theta + jnp.where(sound, step, 0.0))
    theta = attach(joint_score, _step_joint, problem, theta, sound)
    p = done.beta.shape[0]
    family = _at(problem, theta[p:]).family
    edge = problem.family.unknown.edge
    if edge is not None:
        at_edge = done.status == int(Status.boundary)
        value = getattr(family, problem.family.unknown.field)
        family = family.completed(jnp.where(at_edge, edge, value))
    return Solution(theta[:p], family, done.last_step, done.n_iter, done.status)


def _first_round(solver: Solver, problem: Problem, start: Array | None) -> Round:
    """A plain fit, and from it the moment estimate of the parameter.

    A likelihood that falls from the edge of the parameter's space on (alpha = 0, Poisson) has its
    maximum there, and the plain fit is the answer.
    """
    unknown, rows = problem.family.unknown, problem.rows
    plain = jnp.asarray(unknown.plain, problem.design.dtype)
    base = dataclasses.replace(problem, family=problem.family.completed(plain))
    state = solve(solver, base, start)
    eta = rows.eta(problem.design.predictor(state.beta))
    status = jnp.where(state.status == int(Status.converged), as_status(RUNNING), state.status)
    if unknown.edge is not None:
        rise = jax.grad(lambda a: _loglike_at(base.family.completed(a), rows, eta, 1.0))(plain)
        edge = (status == RUNNING) & (rise <= 0)
        status = jnp.where(edge, as_status(Status.boundary), status)
    mean = base.family.link.at(eta)[0]
    psi = unknown.to_line(unknown.moment(rows.weigh(jnp.ones_like(eta)), rows.y, mean.mu))[None]
    if unknown.with_scale:
        phi = totals(base, state.beta).pearson / rows.total_frequency
        psi = jnp.append(psi, jnp.log(phi))
    return Round(state.beta, psi, state.last_step, state.n_iter, jnp.asarray(0), status)


def _next_round(solver: Solver, problem: Problem, now: Round) -> Round:
    """The coefficients at the present parameter, then a guarded Newton step of the parameter."""
    here = _at(problem, now.psi)
    state = solve(solver, here, now.beta)

    def slope(psi: Array) -> Array:
        return parameter_score(problem, state.beta, psi)

    gradient, hessian = slope(now.psi), jax.jacfwd(slope)(now.psi)
    step, decrement = _guarded_step(gradient, hessian)
    inner_failed = state.status != int(Status.converged)
    converged = decrement <= decrement_tolerance(None, now.psi.dtype)
    status = decide(
        (converged & ~inner_failed, Status.converged),
        (~jnp.all(jnp.isfinite(step)), Status.diverged),
        (now.rounds + 1 >= MAX_ROUNDS, Status.max_steps),
    )
    return Round(
        state.beta,
        now.psi + jnp.where(converged, 0.0, step),
        state.last_step,
        now.n_iter + state.n_iter,
        now.rounds + 1,
        jnp.where(inner_failed, state.status, status),
    )


def _guarded_step(gradient: Array, hessian: Array) -> tuple[Array, Array]:
    """Newton's step uphill, at most 1.5 a coordinate, and its decrement (inf where not concave)."""
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    along = vectors.T @ gradient
    concave = jnp.all(values < 0)
    step = vectors @ (along / jnp.maximum(jnp.abs(values), 1e-8))
    decrement = jnp.sum(along**2 / jnp.abs(values))
    return jnp.clip(step, -1.5, 1.5), jnp.where(concave, decrement, jnp.inf)


def _loglike_at(family: Family, rows: Rows, eta: Array, scale: ArrayLike) -> Array:
    return loglike(family, rows, jnp.asarray(scale, eta.dtype), deviance(family, rows, eta))


def _at(problem: Problem, psi: Array) -> Problem:
    """The problem with the unknown parameter set."""
    family = problem.family.completed(problem.family.unknown.from_line(psi[0]))
    return dataclasses.replace(problem, family=family)


def parameter_score(problem: Problem, beta: Array, psi: Array) -> Array:
    """The derivative in psi of the log-likelihood, with Cox & Reid's adjustment where asked."""
    eta = problem.rows.eta(problem.design.predictor(beta))

    def objective(psi: Array) -> Array:
        here = _at(problem, psi)
        phi = jnp.exp(psi[1]) if problem.family.unknown.with_scale else jnp.ones((), psi.dtype)
        value = _loglike_at(here.family, here.rows, eta, phi)
        if not problem.family.cox_reid:
            return value
        w = here.rows.weigh(expected_weight(here.family, eta))
        return value - 0.5 * jnp.linalg.slogdet(here.design.gram(w))[1]

    return jax.grad(objective)(psi)


def joint_score(problem: Problem, theta: Array) -> Array:
    """The equations of coefficients and parameter together (p + q,)."""
    p = problem.design.shape[1]
    beta, psi = theta[:p], theta[p:]
    score = penalised_score(_at(problem, psi), beta)
    return jnp.concatenate([score, parameter_score(problem, beta, psi)])


def joint_jacobian(problem: Problem, theta: Array) -> Array:
    """-d joint_score / d theta (p + q, p + q)."""
    p = problem.design.shape[1]
    beta, psi = theta[:p], theta[p:]
    own = score_jacobian(_at(problem, psi), beta)
    cross = -jax.jacfwd(lambda psi: penalised_score(_at(problem, psi), beta))(psi)
    lower = -jax.jacrev(lambda theta: parameter_score(problem, theta[:p], theta[p:]))(theta)
    return jnp.concatenate([jnp.concatenate([own, cross], axis=1), lower])


def _step_joint(problem: Problem, theta: Array, v: Array) -> Array:
    return jnp.linalg.solve(joint_jacobian(problem, theta), v)


def parameter_se(problem: Problem, beta: Array, scale: Array) -> Array:
    """The standard error of an estimated family parameter, from the joint observed information.

    `problem.family` is the fitted one, `scale` the dispersion at which the Tweedie likelihood
    stands.
    """
    unknown = problem.family.unknown
    value = getattr(problem.family, unknown.field)
    psi = unknown.to_line(value)[None]
    if unknown.with_scale:
        psi = jnp.append(psi, jnp.log(scale))
    jacobian = joint_jacobian(problem, jnp.concatenate([beta, psi]))
    p = beta.shape[0]
    slope = jax.grad(unknown.from_line)(psi[0])
    return jnp.abs(slope) * jnp.sqrt(jnp.linalg.inv(jacobian)[p, p])
