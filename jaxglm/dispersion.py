"""Floor 6: the parameters beside the coefficients: dispersion, alpha, variance power.

A family parameter given as None is estimated by maximum likelihood with the coefficients, and a
dispersion that enters their score, through a bias-reducing penalty, is found with them. The
coefficients are solved for at a value of it, then a Newton step on its own equation moves it,
until both equations hold. The derivative of the fit is that of the joint root.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike, elementwise_derivative, record, static
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
    pearson,
    penalised_score,
    score_jacobian,
    totals,
)
from jaxglm.penalties import Scaled
from jaxglm.solvers import Solver, Status, solve
from jaxglm.solvers.base import RUNNING, State, as_status, decide, decrement_tolerance

MAX_ROUNDS = 50
# Passes of a plain fit that give the first dispersion; its maximum may not exist.
FIRST_PASSES = 5
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
    """The joint root, with its derivative attached; `scale` only where it is part of it."""

    beta: Array
    family: Family
    scale: Array | None
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
    kind = dispersion.kind or ("one" if problem.family.fixed_scale else "X2")
    if kind in ("one", "fixed"):
        return jnp.ones_like(sums.deviance) if kind == "one" else dispersion.value  # type: ignore
    if kind == "ml":
        eta = problem.rows.eta(problem.design.predictor(beta))
        return maximum_likelihood_scale(problem, eta, sums.deviance)
    return _per_freedom(sums.pearson if kind == "X2" else sums.deviance, df_resid)


def _per_freedom(total: Array, df: Array) -> Array:
    return jnp.where(df > 0, total / jnp.where(df > 0, df, 1.0), jnp.nan)


def maximum_likelihood_scale(problem: Problem, eta: Array, total: Array) -> Array:
    """phi that maximizes the log-likelihood at eta, by Newton's method in log phi.

    Starts from deviance / n, which it is for Gaussian and inverse Gaussian.
    """
    _require_likelihood(problem.family)
    rows = problem.rows
    held, level = jax.lax.stop_gradient((problem, eta))
    t = jnp.log(jax.lax.stop_gradient(total) / rows.total_frequency)[None]

    def improve(_: int, t: Array) -> Array:
        gradient = _scale_score((held, level), t)
        step, _ = _guarded_step(gradient, jax.jacfwd(_scale_score, argnums=1)((held, level), t))
        return t + jnp.where(jnp.isfinite(step), step, 0.0)

    t = jax.lax.stop_gradient(jax.lax.fori_loop(0, 30, improve, t))
    return jnp.exp(attach(_scale_score, _step_scale, (problem, eta), t, jnp.isfinite(t[0])))[0]


def _require_likelihood(family: Family) -> None:
    if family.fixed_scale or not family.has_likelihood:
        raise ValueError(f'scale="ml": {type(family).__name__} has no likelihood in the scale.')


def _scale_score(data: tuple[Problem, Array], t: Array) -> Array:
    """The derivative of the log-likelihood in t = log phi, each (1,)."""
    problem, eta = data
    total = deviance(problem.family, problem.rows, eta)
    return elementwise_derivative(
        lambda t: loglike(problem.family, problem.rows, jnp.exp(t[0]), total)[None], t
    )


def _step_scale(data: tuple[Problem, Array], t: Array, v: Array) -> Array:
    return v / -jax.jacfwd(_scale_score, argnums=1)(data, t)[0]


Beginning = tuple[State, Array, Array]


class Unknowns(abc.ABC):
    """Parameters psi (q,) on the whole line, solved for together with the coefficients."""

    @abc.abstractmethod
    def begin(self, solver: Solver, problem: Problem, start: Array | None) -> Beginning:
        """A plain fit, psi from it, and a status: `RUNNING` unless there is no more to do."""

    @abc.abstractmethod
    def at(self, problem: Problem, psi: Array) -> Problem:
        """The problem with psi set."""

    @abc.abstractmethod
    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        """psi's own equations (q,), 0 at the solution."""


@record
class FamilyParameter(Unknowns):
    """The family's unknown parameter, then log phi where its likelihood has a dispersion."""

    def begin(self, solver: Solver, problem: Problem, start: Array | None) -> Beginning:
        # A likelihood that falls from the edge of the parameter's space on (alpha = 0, Poisson)
        # has its maximum there, and the plain fit is the answer.
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
        return state, psi, status

    def at(self, problem: Problem, psi: Array) -> Problem:
        family = problem.family.completed(problem.family.unknown.from_line(psi[0]))
        here = dataclasses.replace(problem, family=family)
        return at_scale(here, jnp.exp(psi[1])) if problem.family.unknown.with_scale else here

    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        # The derivative of the log-likelihood, with Cox & Reid's adjustment where asked.
        eta = problem.rows.eta(problem.design.predictor(beta))

        def objective(psi: Array) -> Array:
            here = self.at(problem, psi)
            phi = jnp.exp(psi[1]) if problem.family.unknown.with_scale else jnp.ones((), psi.dtype)
            value = _loglike_at(here.family, here.rows, eta, phi)
            if not problem.family.cox_reid:
                return value
            w = here.rows.weigh(expected_weight(here.family, eta))
            return value - 0.5 * jnp.linalg.slogdet(here.design.gram(w))[1]

        return jax.grad(objective)(psi)


@record
class AdjustingScale(Unknowns):
    """log phi where phi X'a is part of the score: phi = X2 / (n - p) or D / (n - p), or that of
    the maximum of the likelihood, or by the penalty's own equation (Kosmidis & Firth 2009).
    """

    kind: str = static()

    def begin(self, solver: Solver, problem: Problem, start: Array | None) -> Beginning:
        free = problem if problem.family.fixed_scale else dataclasses.replace(problem, penalty=None)
        state = solve(solver, free, start, jnp.asarray(FIRST_PASSES))
        t = jnp.log(_moment_scale("X2", problem, state.beta))
        failed = state.status == int(Status.singular)
        status = jnp.where(failed, state.status, as_status(Status.boundary))
        return state, t[None], jnp.where(jnp.isfinite(t), as_status(RUNNING), status)

    def at(self, problem: Problem, psi: Array) -> Problem:
        return at_scale(problem, jnp.exp(psi[0]))

    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        if self.kind in ("X2", "dev"):
            return _moment_scale(self.kind, problem, beta) * jnp.exp(-psi) - 1.0
        eta = problem.rows.eta(problem.design.predictor(beta))
        slope = _scale_score((problem, eta), psi)
        if self.kind == "ml":
            return slope
        bend = elementwise_derivative(partial(_log_information, problem), psi[0])
        pull = problem.penalty.log_scale_slope(beta.shape[0])  # type: ignore[union-attr]
        return slope + 0.5 * bend + pull


def _moment_scale(kind: str, problem: Problem, beta: Array) -> Array:
    rows, total = problem.rows, pearson if kind == "X2" else deviance
    eta = rows.eta(problem.design.predictor(beta))
    return _per_freedom(total(problem.family, rows, eta), rows.total_frequency - beta.shape[0])


def _log_information(problem: Problem, t: Array) -> Array:
    """The logarithm of the expected information about t = log phi.

    Where log f = A(t) + c(y) - d / (2 phi), E D = -2 phi A', and the information is -A' - A''.
    """

    def saturated(t: Array) -> Array:
        return loglike(problem.family, problem.rows, jnp.exp(t), jnp.zeros_like(t))

    def slope(t: Array) -> Array:
        return elementwise_derivative(saturated, t)

    first, second = jax.jvp(slope, (t,), (jnp.ones_like(t),))
    return jnp.log(-(first + second))


def at_scale(problem: Problem, phi: Array) -> Problem:
    """The problem with phi in the adjustments of its penalty; as it is where there are none."""
    if problem.penalty is None or not problem.penalty.adjusts:
        return problem
    return dataclasses.replace(problem, penalty=Scaled(problem.penalty, phi))


def _adjusting_kind(dispersion: Dispersion, problem: Problem) -> str | None:
    """How a phi that enters the score is solved for; None where it does not, or is a number."""
    family, kind = problem.family, dispersion.kind
    if problem.penalty is None or not problem.penalty.adjusts or kind == "fixed":
        return None
    if kind is None and not family.fixed_scale:
        # The equation needs A(phi) + c(y), which series densities and quasi families lack.
        kind = "adjusted" if family.has_likelihood and family.unknown is None else "X2"
    if kind == "ml":
        _require_likelihood(family)
    return kind


def joint_solve(
    solver: Solver,
    problem: Problem,
    start: Array | None,
    dispersion: Dispersion,
    limit: Array | None = None,
) -> Solution:
    """The coefficients with what is solved for beside them: a parameter, or a dispersion.

    The adjustments of a penalty hold at the phi of the result. A family's parameter is found by
    maximum likelihood, with the adjustments at the phi of that likelihood.
    """
    if problem.family.is_estimated:
        return _solve_with(FamilyParameter(), solver, problem, start)
    kind = _adjusting_kind(dispersion, problem)
    if kind is not None:
        return _solve_with(AdjustingScale(kind), solver, problem, start)
    if dispersion.kind == "fixed":
        problem = at_scale(problem, dispersion.value)  # type: ignore[arg-type]
    state = jax.lax.stop_gradient(solve(solver, jax.lax.stop_gradient(problem), start, limit))
    sound = state.status == int(Status.converged)
    beta = attach(penalised_score, _step_beta, problem, state.beta, sound)
    return Solution(beta, problem.family, None, state.last_step, state.n_iter, state.status)


def _step_beta(problem: Problem, beta: Array, v: Array) -> Array:
    """J^-1 v for the coefficients alone."""
    jacobian = score_jacobian(problem, beta)
    if problem.penalty is not None and problem.penalty.adjusts:
        return jnp.linalg.solve(jacobian, v)
    return highest(inverse_pd(jacobian), v)


class Round(NamedTuple):
    """One lane between two rounds of the alternation."""

    beta: Array
    psi: Array
    slope: Array  # psi's equations, where this round found psi (q,)
    curvature: Array  # and their derivative in psi (q, q)
    last_step: Array
    n_iter: Array
    rounds: Array
    status: Array


def _solve_with(
    unknowns: Unknowns, solver: Solver, problem: Problem, start: Array | None
) -> Solution:
    held = jax.lax.stop_gradient(problem)
    state, psi, status = unknowns.begin(solver, held, start)
    nil, square = jnp.zeros_like(psi), jnp.zeros_like(jnp.outer(psi, psi))
    done = jax.lax.while_loop(
        lambda now: now.status == RUNNING,
        lambda now: _next_round(unknowns, solver, held, now),
        Round(state.beta, psi, nil, square, state.last_step, state.n_iter, jnp.asarray(0), status),
    )
    sound = done.status == int(Status.converged)
    theta = jnp.concatenate([done.beta, done.psi])
    # The joint step that shows convergence is taken: it squares the error of the alternation.
    score = penalised_score(unknowns.at(held, done.psi), done.beta)
    jacobian = _with_corner((unknowns, held), theta, -done.curvature)
    step = jnp.linalg.solve(jacobian, jnp.concatenate([score, done.slope]))
    theta = jax.lax.stop_gradient(theta + jnp.where(sound, step, 0.0))
    theta = attach(joint_score, _step_joint, (unknowns, problem), theta, sound)
    beta, psi = _split(problem, theta)
    if not problem.family.is_estimated:
        scale = jnp.exp(psi[0])
        return Solution(beta, problem.family, scale, done.last_step, done.n_iter, done.status)
    family = unknowns.at(problem, psi).family
    edge = problem.family.unknown.edge
    if edge is not None:
        at_edge = done.status == int(Status.boundary)
        value = getattr(family, problem.family.unknown.field)
        family = family.completed(jnp.where(at_edge, edge, value))
    return Solution(beta, family, None, done.last_step, done.n_iter, done.status)


def _next_round(unknowns: Unknowns, solver: Solver, problem: Problem, now: Round) -> Round:
    """The coefficients at the present psi, then a guarded Newton step of psi."""
    state = solve(solver, unknowns.at(problem, now.psi), now.beta)
    own = partial(unknowns.score, problem, state.beta)
    slope, curvature = _value_and_jacobian(own, now.psi)
    step, decrement = _guarded_step(slope, curvature)
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
        slope,
        curvature,
        state.last_step,
        now.n_iter + state.n_iter,
        now.rounds + 1,
        jnp.where(inner_failed, state.status, status),
    )


def _value_and_jacobian(fn: Callable[[Array], Array], psi: Array) -> tuple[Array, Array]:
    """fn(psi) and its derivative, one pass a column: a mapped one is slow to compile."""
    passes = [jax.jvp(fn, (psi,), (e,)) for e in np.eye(psi.shape[0], dtype=psi.dtype)]
    return passes[0][0], jnp.stack([column for _, column in passes], axis=1)


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


def joint_score(data: tuple[Unknowns, Problem], theta: Array) -> Array:
    """The equations of coefficients and psi together (p + q,)."""
    unknowns, problem = data
    beta, psi = _split(problem, theta)
    score = penalised_score(unknowns.at(problem, psi), beta)
    return jnp.concatenate([score, unknowns.score(problem, beta, psi)])


def joint_jacobian(data: tuple[Unknowns, Problem], theta: Array) -> Array:
    """-d joint_score / d theta (p + q, p + q)."""
    unknowns, problem = data
    beta, psi = _split(problem, theta)
    _, corner = _value_and_jacobian(partial(unknowns.score, problem, beta), psi)
    return _with_corner(data, theta, -corner)


def _with_corner(data: tuple[Unknowns, Problem], theta: Array, corner: Array) -> Array:
    """The joint Jacobian, that of psi's own equations in psi being known."""
    unknowns, problem = data
    beta, psi = _split(problem, theta)
    own = score_jacobian(unknowns.at(problem, psi), beta)
    cross = -jax.jacfwd(lambda psi: penalised_score(unknowns.at(problem, psi), beta))(psi)
    left = -jax.jacrev(lambda beta: unknowns.score(problem, beta, psi))(beta)
    return jnp.block([[own, cross], [left, corner]])


def _split(problem: Problem, theta: Array) -> tuple[Array, Array]:
    p = problem.design.shape[1]
    return theta[:p], theta[p:]


def _step_joint(data: tuple[Unknowns, Problem], theta: Array, v: Array) -> Array:
    return jnp.linalg.solve(joint_jacobian(data, theta), v)


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
    jacobian = joint_jacobian((FamilyParameter(), problem), jnp.concatenate([beta, psi]))
    p = beta.shape[0]
    slope = jax.grad(unknown.from_line)(psi[0])
    return jnp.abs(slope) * jnp.sqrt(jnp.linalg.inv(jacobian)[p, p])
