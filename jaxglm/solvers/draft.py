"""Floor 5: a batch's fits begun in single precision.

Newton's method squares its error, so that all passes but the last need half of its digits, and in
float32 a pass takes less than half the time.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from jaxglm._types import Array, as_float32, record, static
from jaxglm.linalg import highest, inverse_pd, pivot_tolerance
from jaxglm.model import Problem, evaluate
from jaxglm.solvers.base import (
    RUNNING,
    Near,
    Solver,
    Start,
    Status,
    as_status,
    decrement_tolerance,
)
from jaxglm.solvers.irls import IRLS
from jaxglm.solvers.newton import Newton
from jaxglm.solvers.scoring import ScoringState, steps_from

# Passes in float32 at most.
MAX_DRAFTS = 6
# Rows over which sums in float32 come near enough to the maximum for one pass in float64.
MAX_ROWS = 1024


@record
class Drafted(Solver):
    """`solver`, from where whole steps in float32 lead as long as they shrink.

    Only where the log-likelihood is concave and every way leads to the same maximum. A lane whose
    steps do not shrink, or fail in float32, begins in float64 at the solver's own start.

    near_enough: whether 1e-8 standard errors from the maximum are, and the last draft's information
    serves the last step too.
    """

    solver: IRLS | Newton
    near_enough: bool = static(default=False)

    @property
    def polish(self) -> None:
        """None, as of the solver."""

    def init(self, problem: Problem, start: Start) -> ScoringState:
        """The solver's first state, its first candidate replaced by the draft."""
        if not _is_eligible(problem, start):
            return self.solver.init(problem, start)
        rough = jax.tree.map(as_float32, problem)
        if isinstance(start, Near):
            # The steps from there, too, are taken in float32.
            near = jnp.pad(start.beta, (0, problem.design.shape[1] - start.beta.shape[0]))
            first = dataclasses.replace(self.solver.init(problem, near), deviance=None)
            begun = self.solver.init(rough, Near(as_float32(start.beta)))
        else:
            first = begun = self.solver.init(problem, start)
        draft = jax.lax.while_loop(
            lambda draft: draft.running & (draft.n_iter < MAX_DRAFTS),
            partial(_draft_step, rough),
            _Draft(
                beta=(begun.beta + begun.direction).astype(jnp.float64),
                decrement=jnp.asarray(jnp.inf, jnp.float32),
                running=begun.status == RUNNING,
                sound=begun.status == RUNNING,
                information=jnp.zeros((begun.beta.shape[0],) * 2, jnp.float32),
                n_iter=begun.n_iter,
            ),
        )
        first = dataclasses.replace(
            first,
            direction=jnp.where(draft.sound, draft.beta - first.beta, first.direction),
            observed=first.observed | draft.sound,
            n_iter=draft.n_iter,
        )
        return self._settled(problem, first, draft) if self.near_enough else first

    def _settled(self, problem: Problem, first: ScoringState, draft: _Draft) -> ScoringState:
        """The last state, if a step by the draft's information leads there, else the first.

        After steps a and b there is left about (a + r) b, in standard errors: a by the curvature, r
        by the rounding of the draft's matrix, which grows with the variances' inflation.
        """
        now = evaluate(
            problem, draft.beta, observed=False, needs_deviance=False, needs_information=False
        )
        information = draft.information.astype(now.score.dtype)
        inverse = inverse_pd(information)
        step = highest(inverse, now.score)
        decrement = now.score @ step
        phi = 1.0 if problem.family.fixed_scale else now.pearson / problem.design.shape[0]
        tol = decrement_tolerance(self.solver.tol, problem.design.dtype)
        close = (decrement >= 0) & (decrement <= tol * phi)
        inflation = jnp.max(jnp.diagonal(information) * jnp.diagonal(inverse))
        rounding = pivot_tolerance(step.shape[0], jnp.float32) * inflation
        rest = (jnp.sqrt(draft.decrement / phi) + rounding) * jnp.sqrt(decrement / phi)
        close = close & (rest**2 <= tol * decrement_tolerance(None, jnp.float32))
        last = dataclasses.replace(
            first,
            beta=draft.beta + step,
            last_step=step,
            decrement=decrement / phi,
            faint=now.faint,
            n_iter=draft.n_iter + 1,
            status=as_status(Status.converged),
        )
        settled = draft.sound & (now.invalid == 0) & close
        return jax.tree.map(lambda a, b: jnp.where(settled, a, b), last, first)

    def step(self, problem: Problem, state: ScoringState) -> ScoringState:
        """One pass over the data, in float64."""
        return self.solver.step(problem, state)


def _is_eligible(problem: Problem, start: Start) -> bool:
    """Whether every way leads to the maximum, not at once, and float32 near enough to it."""
    family = problem.family
    linear = family.is_canonical and family.has_unit_weight
    concave = family.is_log_concave and not problem.adjusts
    near = start is None or isinstance(start, Near)
    fine = problem.design.dtype == jnp.float64 and problem.design.shape[0] <= MAX_ROWS
    return near and concave and not linear and fine


@record
class _Draft:
    """One lane between two passes in float32."""

    beta: Array  # in float64: the last step's digits go beyond those of float32
    decrement: Array
    running: Array
    sound: Array
    information: Array  # as last evaluated
    n_iter: Array


def _draft_step(problem: Problem, draft: _Draft) -> _Draft:
    family, here = problem.family, draft.beta.astype(jnp.float32)
    # Of a concave log-likelihood the observed information is safe anywhere, as steps must shrink.
    now = evaluate(problem, here, observed=not family.is_canonical, needs_deviance=False)
    step, decrement, left = steps_from(problem, here, now)
    phi = 1.0 if family.fixed_scale else now.pearson / problem.design.shape[0]
    shrinks = (now.invalid == 0) & (decrement >= 0) & (decrement < draft.decrement)
    last = jnp.where(jnp.isinf(left), decrement, left)
    return _Draft(
        beta=jnp.where(shrinks, here.astype(jnp.float64) + step, draft.beta),
        decrement=decrement,
        running=shrinks & (last > decrement_tolerance(None, jnp.float32) * phi),
        sound=shrinks,
        information=now.information,
        n_iter=draft.n_iter + 1,
    )
