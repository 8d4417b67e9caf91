"""Floor 5: a scoring step, beta + H^-1 U, with its step control; IRLS and Newton are its rules.

One pass over the data evaluates a candidate. It is accepted if its means are valid and it is no
worse than before; then the next direction is solved for, and the Newton decrement U'H^-1 U decides
convergence. Otherwise the next pass tries half the step (glm2: Marschner 2011). Of many columns a
score is cheap beside an information matrix, and each serves two steps.

What "no worse" means depends on the model. Where the log-likelihood is concave and the start is
the family's own, the slope along the direction judges: it needs no logarithms, and a slope that
has not turned beyond half of its size shrinks towards the maximum of the line. Elsewhere, and from
a start that may be far away, the deviance must not increase.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, as_float32, record
from jaxglm.designs import sweep
from jaxglm.families import Family
from jaxglm.linalg import highest, inverse_pd, row_sum, solve_pd
from jaxglm.links import Log
from jaxglm.model import (
    Evaluation,
    Problem,
    Rows,
    evaluate,
    expected_weight,
    is_unrestricted,
    mean_and_slope,
    weight_of,
)
from jaxglm.solvers.base import RUNNING, Near, Start, Status, as_status, decide

# `model.evaluate`, or what answers in its place.
Evaluate = Callable[..., Evaluation]

MAX_HALVINGS = 30
# Columns from which on the information is what a pass costs.
MANY = 8
# Below this decrement (in units of phi) observed information takes over: a quarter of a standard
# error squared, where the likelihood is near enough to quadratic.
NEAR = 0.25


@record
class ScoringState:
    """One lane between two passes."""

    beta: Array  # accepted coefficients (p,)
    direction: Array  # H^-1 U at beta (p,)
    last_step: Array  # the step that led to beta (p,)
    length: Array  # the share of the direction to try next
    slope: Array  # U'direction at beta; inf before the first pass
    deviance: Array | None  # penalised, at beta, inf before the first pass; None: slopes judge
    decrement: Array  # U'H^-1 U at beta, in units of phi
    faint: Array  # rows of faint weight, as last evaluated
    observed: Array  # whether H is to be the observed information
    expected_only: Array  # observed information was not positive definite here
    halvings: Array
    n_iter: Array
    status: Array


def start_state(
    problem: Problem, start: Start, observed: bool, evaluate: Evaluate = evaluate
) -> ScoringState:
    """The state whose first candidate is `start`, or one scoring step from one that is near, or
    from the family's means."""
    anchor, target = _starting_points(problem, start, evaluate)
    dtype = target.dtype
    singular = ~jnp.all(jnp.isfinite(target))
    return ScoringState(
        beta=anchor,
        direction=target - anchor,
        last_step=target - anchor,
        length=jnp.ones((), dtype),
        slope=jnp.full((), jnp.inf, dtype),
        deviance=None if _slopes_suffice(problem, start) else jnp.full((), jnp.inf, dtype),
        decrement=jnp.full((), jnp.inf, dtype),
        faint=jnp.full((), jnp.inf, dtype),
        observed=jnp.asarray(observed),
        expected_only=jnp.asarray(False),
        halvings=jnp.asarray(0, jnp.int32),
        n_iter=jnp.asarray(0, jnp.int32),
        status=jnp.where(singular, as_status(Status.singular), as_status(RUNNING)),
    )


def _slopes_suffice(problem: Problem, start: Start) -> bool:
    near = start is None or isinstance(start, Near)
    return problem.adjusts or (problem.family.is_log_concave and near)


def scoring_step(
    problem: Problem,
    state: ScoringState,
    *,
    tol: float,
    max_steps: int,
    newton: bool,
    evaluate: Evaluate = evaluate,
) -> ScoringState:
    """One pass over the data: judge the candidate, then step on or halve.

    A score that is rounding error has vanished, by either information and whatever phi, which may
    be rounding too. A pass that looks again with the expected information is no step.
    """
    family = problem.family
    exact = family.is_canonical and not problem.adjusts
    never_observed = exact or problem.adjusts
    step = state.length * state.direction
    candidate = state.beta + step
    observed = False if never_observed else (~state.expected_only if newton else state.observed)
    by_deviance = state.deviance is not None
    now = evaluate(problem, candidate, observed=observed, needs_deviance=by_deviance)
    valid = (now.invalid == 0) & jnp.all(jnp.isfinite(now.score)) & jnp.isfinite(now.deviance)
    whole, decrement, left = steps_from(problem, candidate, now, evaluate)
    phi = 1.0 if family.fixed_scale else now.pearson / problem.design.shape[0]
    factored = jnp.isfinite(decrement) & (decrement >= 0)
    # A step after which the information has vanished went too far, unless it was never there.
    usable = factored | observed | jnp.isinf(state.slope)
    accepted = valid & usable & _no_worse(state, now)
    # Observed information that is not positive definite: look again with the expected one.
    retry = accepted & ~factored & observed
    onward = accepted & factored

    still = decrement <= _rounding(candidate, now.information)
    quadratic = jnp.asarray(exact) | observed
    limit = jnp.where(quadratic, tol, tol * tol) * phi
    settled = state.expected_only | jnp.asarray(never_observed) | observed
    # Of steps a > b by one information the next would be b^2 / a.
    close = (left < decrement) & (left <= tol * jnp.sqrt(decrement * phi))
    converged = onward & ((settled & (decrement <= limit)) | still | close)

    exhausted = ~accepted & (state.halvings >= MAX_HALVINGS)
    out_of_steps = state.n_iter + 1 >= max_steps
    # Full steps that still lead out of the mean space approach its edge for ever.
    creeping = (~valid | (state.length < 1)) & (not is_unrestricted(family))
    status = decide(
        (converged, Status.converged),
        (accepted & ~factored & ~retry, Status.singular),
        (exhausted & ~valid, Status.boundary),
        (exhausted & ~usable, Status.singular),
        (exhausted, Status.diverged),
        (out_of_steps & creeping, Status.boundary),
        (out_of_steps, Status.max_steps),
    )
    beta = jnp.where(accepted, candidate, state.beta)
    moved = accepted & jnp.any(step != 0)
    return ScoringState(
        # The step that shows convergence is taken: it costs nothing and squares the error.
        beta=jnp.where(converged, candidate + whole, beta),
        direction=jnp.where(onward, whole, jnp.where(retry, 0.0, state.direction)),
        last_step=jnp.where(converged, whole, jnp.where(moved, step, state.last_step)),
        length=jnp.where(accepted, 1.0, 0.5 * state.length),
        slope=jnp.where(onward, now.score @ whole, jnp.where(retry, jnp.inf, state.slope)),
        deviance=jnp.where(accepted, now.deviance, state.deviance) if by_deviance else None,
        decrement=jnp.where(onward, decrement / phi, state.decrement),
        faint=now.faint,
        observed=jnp.where(onward, decrement <= NEAR * phi, state.observed)
        & ~(state.expected_only | retry),
        expected_only=state.expected_only | retry,
        halvings=jnp.where(accepted, 0, state.halvings + 1),
        n_iter=state.n_iter + 1,
        status=status,
    )


def steps_from(
    problem: Problem, beta: Array, now: Evaluation, evaluate: Evaluate = evaluate
) -> tuple[Array, Array, Array]:
    """The step H^-1 U with its decrement; of many columns two, and what the second's is, or inf.

    Of many columns a score costs far less than an information matrix.
    """
    solve = partial(solve_pd, now.information)
    if beta.shape[0] >= MANY and not problem.adjusts:
        return _two_steps(problem, beta, now.score, solve, evaluate)
    step = solve(now.score)
    decrement = now.score @ step
    return step, decrement, jnp.full_like(decrement, jnp.inf)


def _two_steps(
    problem: Problem,
    beta: Array,
    score: Array,
    solve: Callable[[Array], Array],
    evaluate: Evaluate,
) -> tuple[Array, Array, Array]:
    """Two steps by one information matrix, v to H^-1 v, and the decrement of each.

    Together they converge with order 3; a second that does not shrink is not taken. Source: Potra &
    Ptak (1984).
    """
    step = solve(score)
    decrement = score @ step
    there = evaluate(
        problem, beta + step, observed=False, needs_deviance=False, needs_information=False
    )
    rest = there.score
    more = solve(rest)
    left = rest @ more
    return step + jnp.where(left <= 0.25 * decrement, more, 0.0), decrement, left


def _rounding(beta: Array, information: Array) -> Array:
    """The decrement of a step that is rounding error of beta."""
    # Not as a matrix product, for which a batch would copy its matrices into another layout.
    size = jnp.sum(information * jnp.outer(beta, beta))
    return (8.0 * jnp.finfo(beta.dtype).eps) ** 2 * size


def _no_worse(state: ScoringState, now: Evaluation) -> Array:
    if state.deviance is None:
        return now.score @ state.direction >= -0.5 * state.slope
    rounding = 1e3 * jnp.finfo(now.deviance.dtype).eps
    previous = state.deviance
    return now.deviance <= previous + rounding * jnp.where(jnp.isinf(previous), 0.0, previous)


def _starting_points(problem: Problem, start: Start, evaluate: Evaluate) -> tuple[Array, Array]:
    """An anchor inside the domain to halve towards, and the first candidate."""
    if isinstance(start, Near):
        return _step_from(problem, start.beta, evaluate)
    family, rows = problem.family, problem.rows
    everywhere = is_unrestricted(family)
    if start is not None and everywhere:
        return start, start
    mu, mean = _starting_means(family, rows)
    level = family.link.g(mean)
    level = jnp.where(jnp.isfinite(level), level, 0.0)
    eta = _starting_eta(family, mu)
    reached = jnp.isfinite(eta)
    eta, mu = jnp.where(reached, eta, level), jnp.where(reached, mu, mean)

    def work(_: Array, at: tuple[Rows, Array, Array]) -> tuple[Array, Array, Array]:
        rows, mu, eta = at
        slope, ratio = _slope_at(family, mu, eta)
        w = rows.weigh(weight_of(family, slope, ratio))
        shift = eta if rows.offset is None else eta - rows.offset
        return w * shift + rows.weigh((rows.y - mu) * ratio), w, jnp.zeros((), w.dtype)

    origin = jnp.zeros(problem.design.shape[1], problem.design.dtype)
    wz, information, _ = sweep(problem.design, origin, (rows, mu, eta), work)
    if problem.penalty is not None:
        information = information + problem.penalty.matrix(origin.shape[0], origin.dtype)
    inverse = inverse_pd(information)
    target = highest(inverse, wz) if start is None else start
    if everywhere:
        if _discriminates(problem):
            target = _discriminant(problem, inverse, wz)
        return target, target
    # A constant mean is as far inside the domain as the design can say.
    level = level if rows.offset is None else level - rows.offset
    return highest(inverse, problem.design.score(_weights(problem, eta) * level)), target


def _step_from(problem: Problem, near: Array, evaluate: Evaluate) -> tuple[Array, Array]:
    """Coefficients near the maximum, and what two steps from them lead to.

    Of what lanes share, information and means are computed once for all of them.
    """
    # Rows that are gone, whose share is 0 whatever their means, would have them made lane by lane.
    alike = dataclasses.replace(problem, rows=dataclasses.replace(problem.rows, resting_eta=None))
    now = evaluate(alike, near, observed=False, needs_deviance=False)
    beta = jnp.pad(near, (0, problem.design.shape[1] - near.shape[0]))
    solve = partial(highest, inverse_pd(now.information))
    steps, decrement, _ = _two_steps(problem, beta, now.score, solve, evaluate)
    # No step where one of them is beyond all numbers.
    return beta, beta + jnp.where(jnp.isfinite(decrement), steps, 0.0)


def _slope_at(family: Family, mu: Array, eta: Array) -> tuple[Array, Array]:
    """d mu/d eta and (d mu/d eta)/V at means with their eta; V tells both for a canonical link."""
    if not family.is_canonical:
        return mean_and_slope(family, eta)[1:]
    ratio = jnp.full_like(mu, family.canonical_ratio)
    return ratio * family.variance(mu), ratio


def _starting_means(family: Family, rows: Rows) -> tuple[Array, Array]:
    """R's starting means, and their mean m; of counts, drawn to m as far as chance has a part.

    Of the responses' variance s^2, V(m) is chance, and the share 1 - V(m) / s^2 is the means':
    the credibility of a single response. Source: Buehlmann (1967).
    """
    mu = family.starting_mu(rows.y, rows.n_trials)
    m = row_sum(rows.weigh(mu)) / row_sum(rows.weigh(jnp.ones_like(mu)))
    if family.counts_trials or not family.fixed_scale:
        return mu, m
    chance = rows.total_frequency * family.variance(m) / row_sum(rows.weigh((mu - m) ** 2))
    return mu + jnp.clip(chance, 0.0, 1.0) * (m - mu), m


def _starting_eta(family: Family, mu: Array) -> Array:
    """g(mu); logarithms in float32, at half the price, which keeps the digits that a start needs.

    Infinite, as where no eta leads to mu, of means that float32 does not reach.
    """
    if type(family.link) is not Log or np.isfinite(family.mean_space.high):
        return family.link.g(mu)
    rough, range_ = as_float32(mu), jnp.finfo(jnp.float32)
    reached = (rough < range_.max) & (rough >= range_.tiny)
    return jnp.where(reached, family.link.g(rough), jnp.inf).astype(mu.dtype)


def _weights(problem: Problem, eta: Array) -> Array:
    return problem.rows.weigh(expected_weight(problem.family, eta))


def _discriminates(problem: Problem) -> bool:
    """Whether a discriminant is near the maximum: not where a penalty bounds what separates."""
    plain = problem.rows.n_trials is None and problem.rows.offset is None
    return problem.family.discriminates and plain and not problem.adjusts


def _discriminant(problem: Problem, inverse: Array, wz: Array) -> Array:
    """Fisher's linear discriminant of responses 0 and 1, from their least squares.

    `inverse` is that of X'aX / 4 and wz X'a (y - 1/2). The fitted line of y - m, m being its mean,
    is divided by the mean of mu (1 - mu), m (1 - m) less the line's variance, and moved to
    logit(m). Of proportions it asks no more. Source: Haggstrom (1983); Fisher (1936).
    """
    rows = problem.rows
    ones = jnp.ones_like(rows.y)
    count = row_sum(rows.weigh(ones))
    m = (row_sum(rows.weigh(rows.y)) + 0.5) / (count + 1.0)
    # Four times the coefficients of y - 1/2, and those of 1.
    line = highest(inverse, wz)
    level = highest(inverse, problem.design.score(rows.weigh(0.25 * ones)))
    spread = jnp.maximum(0.25 * (1.0 - line @ wz / count), 0.25 * m * (1.0 - m))
    return 0.25 * line / spread + (jnp.log(m / (1.0 - m)) - (m - 0.5) / spread) * level
