"""Floor 6: coefficients and what is unknown beside them, solved for together.

A family parameter given as None is estimated by maximum likelihood with the coefficients, and a
dispersion that enters their score, through a bias-reducing penalty, is found with them. A plain fit
gives the start. Then a round evaluates both sets of equations with their Jacobian and steps: near
the root by Newton's method for all together, farther away for each set alone. A lane whose steps go
astray is guarded from then on: its coefficients are solved for anew at every value of the
unknowns. The derivative of the fit is that of the joint root.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, elementwise_derivative, record, static
from jaxglm.dispersion import (
    Dispersion,
    at_scale,
    per_freedom,
    require_likelihood,
    scale_score,
    uphill_step,
)
from jaxglm.families import Family
from jaxglm.implicit import attach
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import (
    Problem,
    count_invalid,
    deviance,
    expected_weight,
    loglike,
    pearson,
    penalised_score,
    score_jacobian,
    totals,
)
from jaxglm.solvers import Solver, Status, solve
from jaxglm.solvers.base import RUNNING, State, as_status, decide, decrement_tolerance
from jaxglm.solvers.scoring import NEAR, ScoringState

# Rounds in all, and those after which a lane is guarded.
MAX_ROUNDS, FREE_ROUNDS = 60, 20
# Passes of a plain fit that give the first dispersion; its maximum may not exist.
FIRST_PASSES = 5


class Solution(NamedTuple):
    """The joint root, with its derivative attached; `scale` only where it is part of it.

    `faint`: rows of faint weight as the solver has seen them last, a step before, or None.
    """

    beta: Array
    family: Family
    scale: Array | None
    last_step: Array
    n_iter: Array
    status: Array
    faint: Array | None = None


Beginning = tuple[State, Array, Array]


class Unknowns(abc.ABC):
    """Parameters psi (q,) on the whole line, solved for together with the coefficients.

    A single one is a logarithm.
    """

    @abc.abstractmethod
    def begin(
        self, solver: Solver, problem: Problem, start: Array | None, limit: Array | None
    ) -> Beginning:
        """A plain fit, psi from it, and a status: `RUNNING` unless there is no more to do."""

    @abc.abstractmethod
    def at(self, problem: Problem, psi: Array) -> Problem:
        """The problem with psi set."""

    @abc.abstractmethod
    def phi(self, problem: Problem, psi: Array) -> Array:
        """The dispersion by which the coefficients' score has been multiplied."""

    @abc.abstractmethod
    def is_plain(self, problem: Problem) -> bool:
        """Whether `score` is the slope of the log-likelihood itself, and phi is 1."""

    @abc.abstractmethod
    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        """psi's own equations (q,), 0 at the solution."""


@record
class FamilyParameter(Unknowns):
    """The family's unknown parameter, then log phi where its likelihood has a dispersion."""

    def begin(
        self, solver: Solver, problem: Problem, start: Array | None, limit: Array | None
    ) -> Beginning:
        # A likelihood that falls from the edge of the parameter's space on (alpha = 0, Poisson)
        # has its maximum there, and the plain fit is the answer.
        unknown, rows = problem.family.unknown, problem.rows
        plain = jnp.asarray(unknown.plain, problem.design.dtype)
        base = dataclasses.replace(problem, family=problem.family.completed(plain))
        state = solve(solver, base, start, limit)
        eta = rows.eta(problem.design.predictor(state.beta))
        status = jnp.where(state.status == int(Status.converged), as_status(RUNNING), state.status)
        if unknown.edge is not None:
            likelihood = partial(_loglike, base, eta, jnp.ones_like(plain))
            rise = elementwise_derivative(lambda a: likelihood(base.family.completed(a)), plain)
            flat = jnp.finfo(plain.dtype).eps * rows.total_frequency
            edge = (status == RUNNING) & (rise <= flat)
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

    def phi(self, problem: Problem, psi: Array) -> Array:
        return jnp.exp(psi[1]) if problem.family.unknown.with_scale else jnp.ones((), psi.dtype)

    def is_plain(self, problem: Problem) -> bool:
        return not (problem.family.unknown.with_scale or problem.family.cox_reid)

    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        # The derivative of the log-likelihood, with Cox & Reid's adjustment where asked.
        eta = problem.rows.eta(problem.design.predictor(beta))

        def objective(psi: Array) -> Array:
            here = self.at(problem, psi)
            value = _loglike(here, eta, self.phi(problem, psi), here.family)
            if not problem.family.cox_reid:
                return value
            w = here.rows.weigh(expected_weight(here.family, eta))
            return value - 0.5 * jnp.linalg.slogdet(here.design.gram(w))[1]

        return _value_and_jacobian(objective, psi)[1]


@record
class AdjustingScale(Unknowns):
    """log phi where phi X'a is part of the score: phi = X2 / (n - p) or D / (n - p), or that of
    the maximum of the likelihood, or by the penalty's own equation (Kosmidis & Firth 2009).
    """

    kind: str = static()

    def begin(
        self, solver: Solver, problem: Problem, start: Array | None, limit: Array | None
    ) -> Beginning:
        free = problem if problem.family.fixed_scale else dataclasses.replace(problem, penalty=None)
        state = solve(solver, free, start, jnp.asarray(FIRST_PASSES))
        t = jnp.log(_moment_scale("X2", problem, state.beta))
        failed = state.status == int(Status.singular)
        status = jnp.where(failed, state.status, as_status(Status.boundary))
        return state, t[None], jnp.where(jnp.isfinite(t), as_status(RUNNING), status)

    def at(self, problem: Problem, psi: Array) -> Problem:
        return at_scale(problem, jnp.exp(psi[0]))

    def phi(self, problem: Problem, psi: Array) -> Array:
        return jnp.exp(psi[0])

    def is_plain(self, problem: Problem) -> bool:
        return False

    def score(self, problem: Problem, beta: Array, psi: Array) -> Array:
        if self.kind in ("X2", "dev"):
            return _moment_scale(self.kind, problem, beta) * jnp.exp(-psi) - 1.0
        eta = problem.rows.eta(problem.design.predictor(beta))
        slope = scale_score(problem, eta, psi[0])
        if self.kind == "ml":
            return slope[None]
        bend = elementwise_derivative(partial(_log_information, problem), psi[0])
        pull = problem.penalty.log_scale_slope(beta.shape[0])  # type: ignore[union-attr]
        return (slope + 0.5 * bend + pull)[None]


def _moment_scale(kind: str, problem: Problem, beta: Array) -> Array:
    rows, total = problem.rows, pearson if kind == "X2" else deviance
    eta = rows.eta(problem.design.predictor(beta))
    return per_freedom(total(problem.family, rows, eta), rows.total_frequency - beta.shape[0])


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


def _loglike(problem: Problem, eta: Array, phi: Array, family: Family) -> Array:
    return loglike(family, problem.rows, phi, deviance(family, problem.rows, eta))


def _adjusting_kind(dispersion: Dispersion, problem: Problem) -> str | None:
    """How a phi that enters the score is solved for; None where it does not, or is a number."""
    family, kind = problem.family, dispersion.kind
    if not problem.adjusts or kind == "fixed":
        return None
    if kind is None and not family.fixed_scale:
        # The equation needs A(phi) + c(y), which series densities and quasi families lack.
        kind = "adjusted" if family.has_likelihood and family.unknown is None else "X2"
    if kind == "ml":
        require_likelihood(family)
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
        return _solve_with(FamilyParameter(), solver, problem, start, limit)
    kind = _adjusting_kind(dispersion, problem)
    if kind is not None:
        return _solve_with(AdjustingScale(kind), solver, problem, start, limit)
    if dispersion.kind == "fixed":
        problem = at_scale(problem, dispersion.value)  # type: ignore[arg-type]
    state = jax.lax.stop_gradient(solve(solver, jax.lax.stop_gradient(problem), start, limit))
    sound = state.status == int(Status.converged)
    beta = attach(penalised_score, _step_beta, problem, state.beta, sound)
    faint = state.faint if isinstance(state, ScoringState) else None
    return Solution(beta, problem.family, None, state.last_step, state.n_iter, state.status, faint)


def _step_beta(problem: Problem, beta: Array, v: Array) -> Array:
    """J^-1 v for the coefficients alone."""
    return _coefficient_solver(problem, score_jacobian(problem, beta))(v)


def _coefficient_solver(problem: Problem, jacobian: Array) -> Callable[[Array], Array]:
    """v -> J^-1 v; bias-reducing adjustments leave J without symmetry."""
    if problem.adjusts:
        return partial(jnp.linalg.solve, jacobian)
    return partial(highest, inverse_pd(jacobian))


class Equations(NamedTuple):
    """The joint score at (beta, psi), and the blocks of minus its Jacobian."""

    score: Array  # U (p,)
    slope: Array  # psi's (q,)
    own: Array  # -dU/dbeta (p, p)
    cross: Array  # -dU/dpsi (p, q)
    left: Array  # -dslope/dbeta (q, p)
    corner: Array  # -dslope/dpsi (q, q)


def equations(unknowns: Unknowns, problem: Problem, beta: Array, psi: Array) -> Equations:
    """Both sets of equations and their derivatives, by forward passes over the rows."""
    score, cross = _value_and_jacobian(
        lambda psi: penalised_score(unknowns.at(problem, psi), beta), psi
    )
    slope, corner = _value_and_jacobian(partial(unknowns.score, problem, beta), psi)
    own = score_jacobian(unknowns.at(problem, psi), beta)
    return Equations(
        score, slope, own, -cross, -_left(unknowns, problem, beta, psi, cross), -corner
    )


def _left(unknowns: Unknowns, problem: Problem, beta: Array, psi: Array, cross: Array) -> Array:
    """d slope / d beta (q, p); where both scores are slopes of one function, their mixed one."""
    if unknowns.is_plain(problem) and not problem.adjusts:
        return cross.T
    pull = jax.vjp(lambda beta: unknowns.score(problem, beta, psi), beta)[1]
    return jnp.stack([pull(e)[0] for e in jnp.eye(psi.shape[0], dtype=psi.dtype)])


def _value_and_jacobian(fn: Callable[[Array], Array], psi: Array) -> tuple[Array, Array]:
    """fn(psi) and its derivative, one pass a coordinate: a mapped one is slow to compile."""
    passes = [jax.jvp(fn, (psi,), (e,)) for e in np.eye(psi.shape[0], dtype=psi.dtype)]
    return passes[0][0], jnp.stack([column for _, column in passes], axis=-1)


class Steps(NamedTuple):
    """J^-1 (score, slope), and the coefficients' step with psi held."""

    beta: Array
    psi: Array
    alone: Array


def _newton(problem: Problem, at: Equations) -> Steps:
    """Newton's step for all, by the Schur complement of the coefficients' block."""
    # One by one: a tangent put into an array with constants would be one with them for JAX.
    solve_own = _coefficient_solver(problem, at.own)
    alone = solve_own(at.score)
    along = jnp.stack([solve_own(column) for column in at.cross.T], axis=1)
    rest = at.corner - highest(at.left, along)
    psi = _solve_small(rest, at.slope - highest(at.left, alone))
    return Steps(alone - highest(along, psi), psi, alone)


def _solve_small(a: Array, b: Array) -> Array:
    """A^-1 b; a lone unknown needs no routine called lane by lane."""
    return b / a[0] if a.shape[0] == 1 else jnp.linalg.solve(a, b)


class Round(NamedTuple):
    """One lane between two rounds."""

    theta: Array  # (beta, psi) to be evaluated next (p + q,)
    anchor: Array  # the last one that was found good
    size: Array  # the squared length of its Newton step, in standard errors
    guarded: Array  # whether the coefficients are solved for at every psi
    last_step: Array
    n_iter: Array
    rounds: Array
    status: Array


def _solve_with(
    unknowns: Unknowns, solver: Solver, problem: Problem, start: Array | None, limit: Array | None
) -> Solution:
    held = jax.lax.stop_gradient(problem)
    state, psi, status = unknowns.begin(solver, held, start, limit)
    theta = jnp.concatenate([state.beta, psi])
    first = Round(
        theta=theta,
        anchor=theta,
        size=jnp.full((), jnp.inf, theta.dtype),
        guarded=jnp.asarray(False),
        last_step=state.last_step,
        n_iter=state.n_iter,
        rounds=jnp.asarray(0, jnp.int32),
        status=status,
    )
    most = MAX_ROUNDS if limit is None else jnp.minimum(limit, MAX_ROUNDS)
    done = jax.lax.while_loop(
        lambda now: (now.status == RUNNING) & (now.rounds < most),
        lambda now: _next_round(unknowns, solver, held, now),
        first,
    )
    status = jnp.where(done.status == RUNNING, as_status(Status.max_steps), done.status)
    sound = status == int(Status.converged)
    theta = attach(
        _joint_score, _step_joint, (unknowns, problem), jax.lax.stop_gradient(done.theta), sound
    )
    beta, psi = _split(problem, theta)
    if not problem.family.is_estimated:
        return Solution(beta, problem.family, jnp.exp(psi[0]), done.last_step, done.n_iter, status)
    family = unknowns.at(problem, psi).family
    edge = problem.family.unknown.edge
    if edge is not None:
        at_edge = status == int(Status.boundary)
        value = getattr(family, problem.family.unknown.field)
        family = family.completed(jnp.where(at_edge, edge, value))
    return Solution(beta, family, None, done.last_step, done.n_iter, status)


def _next_round(unknowns: Unknowns, solver: Solver, problem: Problem, now: Round) -> Round:
    """Evaluate theta, and step on from it or go back to the anchor."""
    beta, psi = _split(problem, now.theta)
    # Without passes for the lanes that need none.
    passes = jnp.where(now.guarded, np.iinfo(np.int32).max, 0)
    inner = solve(solver, unknowns.at(problem, psi), beta, passes)
    beta = jnp.where(now.guarded, inner.beta, beta)
    at = equations(unknowns, problem, beta, psi)
    newton = _newton(problem, at)
    guarded_step, decrement = _uphill(at.slope, -at.corner)
    length = newton.beta @ highest(at.own, newton.beta) / unknowns.phi(problem, psi)
    length = jnp.abs(length) + jnp.abs(newton.psi @ highest(at.corner, newton.psi))
    size = jnp.where(jnp.isfinite(decrement), length, jnp.inf)

    near = size <= NEAR
    sound = ~jnp.isnan(size) & jnp.all(jnp.isfinite(newton.alone)) & _is_valid(problem, beta)
    sound = sound & (now.guarded | near | (size <= 2.0 * now.size))
    solved = ~now.guarded | (inner.status == int(Status.converged))
    converged = sound & solved & (size <= decrement_tolerance(None, psi.dtype))
    status = decide(
        (converged, Status.converged),
        (now.guarded & ~jnp.all(jnp.isfinite(newton.alone)), Status.singular),
        (now.guarded & ~sound, Status.diverged),
    )
    failed = now.guarded & ~solved
    step_beta = jnp.where(near, newton.beta, jnp.where(now.guarded, 0.0, newton.alone))
    step = jnp.concatenate([step_beta, jnp.where(near, newton.psi, guarded_step)])
    theta = jnp.concatenate([beta, psi])
    return Round(
        theta=jnp.where(sound, theta + step, now.anchor),
        anchor=jnp.where(sound, theta, now.anchor),
        size=jnp.where(sound, size, now.size),
        guarded=now.guarded | ~sound | (now.rounds >= FREE_ROUNDS),
        last_step=jnp.where(sound & ~now.guarded, step_beta, now.last_step),
        n_iter=now.n_iter + jnp.where(now.guarded, inner.n_iter, 0) + 1,
        rounds=now.rounds + 1,
        status=jnp.where(failed, inner.status, status),
    )


def _is_valid(problem: Problem, beta: Array) -> Array:
    eta = problem.rows.eta(problem.design.predictor(beta))
    return count_invalid(problem.family, eta) == 0


def _uphill(slope: Array, curvature: Array) -> tuple[Array, Array]:
    """A guarded Newton step of psi, and its decrement (inf where not concave)."""
    if slope.shape[0] == 1:
        step, decrement = uphill_step(slope[0], curvature[0, 0])
        return step[None], decrement
    values, vectors = jnp.linalg.eigh(0.5 * (curvature + curvature.T))
    along = vectors.T @ slope
    step = vectors @ (along / jnp.maximum(jnp.abs(values), 1e-8))
    decrement = jnp.sum(along**2 / jnp.abs(values))
    return jnp.clip(step, -1.5, 1.5), jnp.where(jnp.all(values < 0), decrement, jnp.inf)


def _split(problem: Problem, theta: Array) -> tuple[Array, Array]:
    p = problem.design.shape[1]
    return theta[:p], theta[p:]


def _joint_score(data: tuple[Unknowns, Problem], theta: Array) -> Array:
    """The equations of coefficients and psi together (p + q,)."""
    unknowns, problem = data
    beta, psi = _split(problem, theta)
    score = penalised_score(unknowns.at(problem, psi), beta)
    return jnp.concatenate([score, unknowns.score(problem, beta, psi)])


def _step_joint(data: tuple[Unknowns, Problem], theta: Array, v: Array) -> Array:
    """J^-1 v for coefficients and psi."""
    unknowns, problem = data
    beta, psi = _split(problem, theta)
    at = equations(unknowns, problem, beta, psi)
    p = beta.shape[0]
    step = _newton(problem, at._replace(score=v[:p], slope=v[p:]))
    return jnp.concatenate([step.beta, step.psi])


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
    theta = jnp.concatenate([beta, psi])
    direction = jnp.zeros_like(theta).at[beta.shape[0]].set(1.0)
    variance = _step_joint((FamilyParameter(), problem), theta, direction)[beta.shape[0]]
    slope = elementwise_derivative(unknown.from_line, psi[0])
    return jnp.abs(slope) * jnp.sqrt(variance)
