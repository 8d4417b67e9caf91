"""Floor 5: a batch's fits begun in single precision.

Newton's method squares its error, so that all passes but the last need half of its digits, and in
float32 a pass takes less than half the time.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxglm._types import Array, record
from jaxglm.model import Problem, evaluate
from jaxglm.solvers.base import RUNNING, Solver, Start, decrement_tolerance
from jaxglm.solvers.irls import IRLS
from jaxglm.solvers.newton import Newton
from jaxglm.solvers.scoring import NEAR, ScoringState, steps_from

# Passes in float32 at most.
MAX_DRAFTS = 6


@record
class Drafted(Solver):
    """`solver`, from where whole steps in float32 lead as long as they shrink.

    Only where the log-likelihood is concave and every way leads to the same maximum. A lane whose
    steps do not shrink, or fail in float32, begins in float64 at the solver's own start.
    """

    solver: IRLS | Newton

    @property
    def polish(self) -> None:
        """None, as of the solver."""

    def init(self, problem: Problem, start: Start) -> ScoringState:
        """The solver's first state, its first candidate replaced by the draft."""
        first = self.solver.init(problem, start)
        adjusts = problem.penalty is not None and problem.penalty.adjusts
        if adjusts or first.deviance is not None or problem.design.dtype != jnp.float64:
            return first
        begun = _Draft(
            beta=(first.beta + first.direction).astype(jnp.float32),
            decrement=jnp.asarray(jnp.inf, jnp.float32),
            observed=first.observed,
            running=first.status == RUNNING,
            sound=first.status == RUNNING,
            n_iter=first.n_iter,
        )
        draft = jax.lax.while_loop(
            lambda draft: draft.running & (draft.n_iter < MAX_DRAFTS),
            partial(_draft_step, _as_float32(problem)),
            begun,
        )
        beta = draft.beta.astype(jnp.float64)
        return dataclasses.replace(
            first,
            beta=jnp.where(draft.sound, beta, first.beta),
            direction=jnp.where(draft.sound, 0.0, first.direction),
            observed=jnp.where(draft.sound, draft.observed, first.observed),
            n_iter=draft.n_iter,
        )

    def step(self, problem: Problem, state: ScoringState) -> ScoringState:
        """One pass over the data, in float64."""
        return self.solver.step(problem, state)


@record
class _Draft:
    """One lane between two passes in float32."""

    beta: Array
    decrement: Array
    observed: Array  # whether the next information is the observed one
    running: Array
    sound: Array
    n_iter: Array


def _draft_step(problem: Problem, draft: _Draft) -> _Draft:
    family = problem.family
    observed = False if family.is_canonical else draft.observed
    now = evaluate(problem, draft.beta, observed=observed, needs_deviance=False)
    step, decrement, left = steps_from(problem, draft.beta, now)
    phi = 1.0 if family.fixed_scale else now.pearson / problem.design.shape[0]
    shrinks = (now.invalid == 0) & (decrement >= 0) & (decrement < draft.decrement)
    last = jnp.where(jnp.isinf(left), decrement, left)
    return _Draft(
        beta=jnp.where(shrinks, draft.beta + step, draft.beta),
        decrement=decrement,
        observed=decrement <= NEAR * phi,
        running=shrinks & (last > decrement_tolerance(None, jnp.float32) * phi),
        sound=shrinks,
        n_iter=draft.n_iter + 1,
    )


def _as_float32(tree: Any) -> Any:
    return jax.tree.map(lambda v: v.astype(jnp.float32), tree)
