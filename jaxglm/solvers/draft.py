"""Floor 5: a batch's fits begun in single precision.

Newton's method squares its error, so that all passes but the last need half of its digits, and in
float32 a pass takes half the time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxglm._types import Array, record
from jaxglm.model import Problem
from jaxglm.solvers.base import RUNNING, Solver, Start, Status, as_status
from jaxglm.solvers.irls import IRLS
from jaxglm.solvers.newton import Newton
from jaxglm.solvers.scoring import ScoringState

# Passes in float32 at most.
MAX_DRAFTS = 6


@record
class Drafted(Solver):
    """`solver`, whose first passes are in float32 where no deviance judges the steps.

    Every start then leads to the same maximum. A lane that fails in float32 begins in float64.
    """

    solver: IRLS | Newton

    @property
    def polish(self) -> None:
        """None, as of the solver."""

    def init(self, problem: Problem, start: Start) -> ScoringState:
        """The state after the passes in float32."""
        first = self.solver.init(problem, start)
        if first.deviance is not None or problem.design.dtype != jnp.float64:
            return first
        rough, begun = _as_dtype((problem, first), jnp.float32)
        draft = jax.lax.while_loop(
            lambda state: (state.status == RUNNING) & (state.n_iter < MAX_DRAFTS),
            lambda state: self.solver.step(rough, state),
            begun,
        )
        return _resumed(draft, first)

    def step(self, problem: Problem, state: ScoringState) -> ScoringState:
        """One pass over the data, in float64."""
        return self.solver.step(problem, state)


def _resumed(draft: ScoringState, first: ScoringState) -> ScoringState:
    """The draft in float64, beginning anew at what float32 took for the maximum."""
    found = draft.status == int(Status.converged)
    draft = dataclasses.replace(
        draft,
        direction=jnp.where(found, 0.0, draft.direction),
        slope=jnp.where(found, jnp.inf, draft.slope),
        status=jnp.where(found, as_status(RUNNING), draft.status),
    )
    sound = (draft.status == RUNNING) & (first.status == RUNNING)
    return jax.tree.map(lambda new, old: jnp.where(sound, new.astype(old.dtype), old), draft, first)


def _as_dtype(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(
        lambda v: v.astype(dtype) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree
    )
