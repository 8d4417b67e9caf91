"""Floor 9: confidence intervals of coefficients: Wald, profile likelihood, Rao's score.

The last two look for the values of one coefficient that a test at level alpha does not reject,
refitting the others at each. All coefficients and both sides are one batch: a bracketed secant
iteration on the root of the statistic, which is nearly a straight line, around the fit's own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxglm._labels import column_numbers
from jaxglm._special import t_quantile
from jaxglm._types import Array, ArrayLike, record
from jaxglm.fit import Fit
from jaxglm.linalg import inverse_pd
from jaxglm.model import Problem, penalised_score, totals
from jaxglm.solvers import IRLS, Solver, Status
from jaxglm.submodels import fit_held, hold

__all__ = ["profile_interval", "score_interval", "wald_interval"]

MAX_TRIALS = 120
# A root that a doubling of the distance would raise by less than this share never arrives.
FLAT = 1e-6

# The root of a test statistic (problem, fitted, params, j) for coefficient j held as in params.
Root = Callable[[Problem, Fit, Array, Array], Array]


@record
class Search:
    """One limit being looked for, as a distance t > 0 from the estimate."""

    trial: Array  # the distance to try next
    beta: Array  # coefficients (p,) at `last`
    last: Array  # the last trial whose root can be trusted
    root: Array  # the root there
    inner: Array  # coefficients (p,) at `low`
    low: Array  # the largest distance known to be inside
    high: Array  # the smallest that is outside, or where the fit failed; inf before one is
    outside_seen: Array  # whether a sound fit was ever outside
    limit: Array  # the answer, or NaN
    running: Array
    n_trials: Array


def wald_interval(
    params: Array, bse: Array, alpha: ArrayLike = 0.05, df: ArrayLike | None = None
) -> Array:
    """params -+ c bse (..., p, 2), with c the t (df given) or normal quantile at 1 - alpha/2."""
    half = _cutoff(alpha, df, params) * bse
    return jnp.stack([params - half, params + half], axis=-1)


def profile_interval(
    problem: Problem,
    fitted: Fit,
    alpha: ArrayLike = 0.05,
    df: ArrayLike | None = None,
    *,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    columns: Sequence[int] | None = None,
) -> Array:
    """Profile-likelihood limits (p, 2): where (D(beta_j) - D) / phi = c^2, the others refitted.

    columns: numbers of the coefficients that limits are wanted of, in this order (None: all p).

    c is the normal quantile, as in R's confint, also where phi is estimated; t's where `df` is
    given. phi and a family's parameter are held at their estimates. -inf or inf where the profile
    stays below (separation), NaN where the fit failed or the model ends (no valid mean, no
    convergence) before the profile reaches c^2. Invariant to transformations of the coefficient.
    Source: Venzon & Moolgavkar (1988).
    """
    wanted = _wanted(fitted, columns)
    return _limits(_deviance_root, hold(problem, fitted), fitted, alpha, df, solver, wanted)


def score_interval(
    problem: Problem,
    fitted: Fit,
    alpha: ArrayLike = 0.05,
    df: ArrayLike | None = None,
    *,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    columns: Sequence[int] | None = None,
) -> Array:
    """Score limits (p, 2): the values of beta_j that Rao's test does not reject.

    U_j^2 (X'wX)^-1_jj / phi = c^2 at the estimate of the others given beta_j, expected
    information, phi that of the fit. For a single proportion this is Wilson's interval (1927).
    Cutoff, failures and columns as in `profile_interval`.
    """
    wanted = _wanted(fitted, columns)
    return _limits(_score_root, hold(problem, fitted), fitted, alpha, df, solver, wanted)


def _wanted(fitted: Fit, columns: Sequence[int] | None) -> tuple[int, ...]:
    p = fitted.params.shape[0]
    return tuple(range(p)) if columns is None else column_numbers("columns", columns, p)


@jax.jit
def _cutoff(alpha: ArrayLike, df: ArrayLike | None, like: Array) -> Array:
    return -t_quantile(jnp.asarray(alpha, like.dtype) / 2.0, jnp.inf if df is None else df)


def _deviance_root(problem: Problem, fitted: Fit, params: Array, j: Array) -> Array:
    rise = totals(problem, params).deviance - fitted.deviance
    return jnp.sqrt(jnp.maximum(rise, 0.0) / fitted.scale)


def _score_root(problem: Problem, fitted: Fit, params: Array, j: Array) -> Array:
    inverse = inverse_pd(totals(problem, params).information)
    return jnp.abs(penalised_score(problem, params)[j]) * jnp.sqrt(inverse[j, j] / fitted.scale)


@jax.jit(static_argnums=(0, 6))
def _limits(
    root: Root,
    problem: Problem,
    fitted: Fit,
    alpha: ArrayLike,
    df: ArrayLike | None,
    solver: Solver,
    wanted: tuple[int, ...],
) -> Array:
    cutoff = _cutoff(alpha, df, fitted.params)
    columns = jnp.repeat(jnp.asarray(wanted, int), 2)
    sides = jnp.tile(jnp.asarray([-1.0, 1.0], fitted.params.dtype), len(wanted))

    def limit(j: Array, side: Array) -> Array:
        return _limit(root, problem, fitted, cutoff, solver, j, side)

    usable = jnp.stack(
        [fitted.status == int(s) for s in (Status.converged, Status.separated, Status.boundary)]
    )
    found = jax.vmap(limit)(columns, sides).reshape(-1, 2)
    return jnp.where(jnp.any(usable), found, jnp.nan)


def _limit(
    root: Root,
    problem: Problem,
    fitted: Fit,
    cutoff: Array,
    solver: Solver,
    j: Array,
    side: Array,
) -> Array:
    """The value of coefficient j, on one side of the estimate, at which the root is `cutoff`."""
    params, cov = fitted.params, fitted.cov_unscaled
    unit = jax.nn.one_hot(j, params.shape[0], dtype=params.dtype)
    # How the others move with it, where the likelihood is quadratic.
    drift = cov[:, j] / cov[j, j]
    drift = jnp.where(jnp.all(jnp.isfinite(drift)), drift, unit)

    def advance(now: Search) -> Search:
        target = params + side * now.trial * unit
        # From the nearest of the two: after a fit that failed far out, that is the inner one.
        near = jnp.where(now.trial - now.low <= jnp.abs(now.last - now.trial), now.inner, now.beta)
        start = near + (target[j] - near[j]) * drift
        found = fit_held(problem, 1.0 - unit, target, start, solver)
        value = root(problem, fitted, found.params, j)
        sound = found.status == int(Status.converged)
        return _judge(now, found.params, value, sound, cutoff)

    # The standard error of a separated coefficient is no distance; the coefficient itself is.
    first, other = cutoff * fitted.bse[j], 1.0 + jnp.abs(params[j])
    telling = (first > 0) & ((first < other) | (fitted.status != int(Status.separated)))
    first = jnp.where(telling & jnp.isfinite(first), first, other)
    done = jax.lax.while_loop(lambda now: now.running, advance, _start(first, params))
    return params[j] + side * done.limit


def _start(first: Array, params: Array) -> Search:
    zero = jnp.zeros_like(first)
    return Search(
        trial=first,
        beta=params,
        last=zero,
        root=zero,
        inner=params,
        low=zero,
        high=jnp.full_like(first, jnp.inf),
        outside_seen=jnp.asarray(False),
        limit=jnp.full_like(first, jnp.nan),
        running=jnp.isfinite(jnp.sum(params)),
        n_trials=jnp.asarray(0, jnp.int32),
    )


def _judge(now: Search, beta: Array, value: Array, sound: Array, cutoff: Array) -> Search:
    """Take the root at the last trial into account, and choose the next."""
    eps = jnp.finfo(value.dtype).eps
    finite = jnp.isfinite(value)
    # Others that are not at their maximum only raise the deviance: below is inside all the same.
    inside = finite & (value <= cutoff)
    trusted = inside | (finite & sound)
    low = jnp.where(inside, now.trial, now.low)
    high = jnp.where(inside, now.high, now.trial)
    outside_seen = now.outside_seen | (trusted & ~inside)
    slope = (value - now.root) / (now.trial - now.last)
    guess = now.trial + (cutoff - value) / slope

    unbounded = jnp.isinf(high)
    flat = inside & ~outside_seen & (now.trial * slope < FLAT * cutoff)
    gap = jnp.abs(value - cutoff) / cutoff
    solved = finite & sound & (gap <= 4.0 * eps**0.75)
    # Neighbours of rounding size: the statistic has no more digits to give.
    closed = ~unbounded & (high - low <= 8.0 * eps * high)
    ended = solved | flat | closed | (now.n_trials + 1 >= MAX_TRIALS)
    answer = jnp.where(flat, jnp.inf, jnp.where(finite & sound & (gap < 1e-4), now.trial, jnp.nan))

    ahead = jnp.where((guess > low) & (slope > 0), jnp.minimum(guess, 4.0 * low), 4.0 * low)
    # Halve every other time while the bracket is wide, where the root is far from a straight line.
    slow = (high > 1.5 * low) & (now.n_trials % 2 == 1)
    within = trusted & ~slow & (guess > low) & (guess < high)
    between = jnp.where(within, guess, 0.5 * (low + high))
    return Search(
        trial=jnp.where(unbounded, ahead, between),
        beta=jnp.where(trusted, beta, now.beta),
        last=jnp.where(trusted, now.trial, now.last),
        root=jnp.where(trusted, value, now.root),
        inner=jnp.where(inside, beta, now.inner),
        low=low,
        high=high,
        outside_seen=outside_seen,
        limit=jnp.where(ended, answer, now.limit),
        running=~ended,
        n_trials=now.n_trials + 1,
    )
