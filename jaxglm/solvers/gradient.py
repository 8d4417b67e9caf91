"""Floor 5: gradient methods from optax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jaxglm._types import Array, record, static
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import Problem, evaluate
from jaxglm.solvers.base import Solver, Status, as_status, check_controls, decide
from jaxglm.solvers.newton import Newton
from jaxglm.solvers.scoring import start_state

if TYPE_CHECKING:
    import optax


@record
class GradientState:
    """One lane between two gradient steps."""

    beta: Array
    last_step: Array
    metric: Array  # A (p, p) with beta = A gamma, A A' the inverse of the starting information
    memory: Any  # the transformation's own state, for gamma
    n_iter: Array
    status: Array


@record
class Gradient(Solver):
    """Minimizes the penalised deviance by an optax transformation: L-BFGS unless another is given.

    It moves gamma with beta = A gamma and A A' the inverse of the starting information, so that
    one learning rate serves all columns. A gradient method stops where the objective stops changing
    in floating point, at half of the digits; `polish` (Newton by default) finds the rest. With
    `polish=None` coefficients are good to about sqrt(tol) standard errors.

    tol: squared gradient in that metric, in units of the dispersion, that ends the iteration.
    max_steps: updates (passes of a line search not counted). Penalties that adjust the score have
    no objective and are left to the polish.
    """

    transformation: optax.GradientTransformation | None = static(default=None)
    tol: float = static(default=1e-6)
    max_steps: int = static(default=1000)
    polish: Solver | None = Newton()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_controls("Gradient", self.tol, self.max_steps)

    @property
    def _optimiser(self) -> optax.GradientTransformationExtraArgs:
        import optax  # here, since only this solver should pay a fifth of a second for it

        chosen = optax.lbfgs() if self.transformation is None else self.transformation
        return optax.with_extra_args_support(chosen)

    def init(self, problem: Problem, start: Array | None) -> GradientState:
        """Start where IRLS would."""
        scoring = start_state(problem, start, observed=False)
        beta = scoring.beta + scoring.direction
        information = evaluate(problem, beta, observed=False, needs_deviance=False).information
        metric = jnp.linalg.cholesky(inverse_pd(information))
        status = scoring.status
        if problem.penalty is not None and problem.penalty.adjusts:
            status = as_status(Status.converged)
        memory = self._optimiser.init(beta)
        return GradientState(beta, 0.0 * beta, metric, memory, jnp.asarray(0, jnp.int32), status)

    def step(self, problem: Problem, state: GradientState) -> GradientState:
        """One update of the transformation, with a line search where it has one."""
        metric = state.metric
        origin = jnp.zeros_like(state.beta)

        def objective(move: Array) -> Array:
            there = evaluate(
                problem, state.beta + highest(metric, move), observed=False, needs_deviance=True
            )
            return jnp.where(there.invalid == 0, 0.5 * there.deviance, jnp.inf)

        now = evaluate(problem, state.beta, observed=False, needs_deviance=True)
        gradient = -highest(metric.T, now.score)
        updates, memory = self._optimiser.update(
            gradient,
            state.memory,
            origin,
            value=0.5 * now.deviance,
            grad=gradient,
            value_fn=objective,
        )
        step = highest(metric, updates)
        phi = 1.0 if problem.family.fixed_scale else now.pearson / problem.design.shape[0]
        done = gradient @ gradient <= self.tol * phi
        failed = ~jnp.all(jnp.isfinite(state.beta + step))
        return GradientState(
            jnp.where(done | failed, state.beta, state.beta + step),
            jnp.where(done | failed, state.last_step, step),
            metric,
            memory,
            state.n_iter + 1,
            decide(
                (done, Status.converged),
                (failed, Status.diverged),
                (state.n_iter + 1 >= self.max_steps, Status.max_steps),
            ),
        )
