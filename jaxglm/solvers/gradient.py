"""Floor 5: gradient methods from optax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxglm._types import Array, record, static
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import Evaluation, Problem, evaluate, penalised_score
from jaxglm.solvers.base import Solver, Start, Status, as_status, check_controls, decide, is_count
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

    batch_size: None for all rows in each update, or their number in a mini-batch, for a
    transformation without line search whose rate falls, as `optax.adam(schedule)`. A step is then
    a whole epoch, and max_steps and n_iter count epochs: every run of batch_size rows once, in an
    order drawn with `key` (up to batch_size - 1 rows at the ends wait for the next epoch), then a
    pass over all rows that judges the gradient against tol. Shuffle sorted rows first. Noise keeps
    a constant rate away from the maximum. With polish=None Gram matrices are formed for the start
    and the covariance only.
    """

    transformation: optax.GradientTransformation | None = static(default=None)
    tol: float = static(default=1e-6)
    max_steps: int = static(default=1000)
    polish: Solver | None = Newton()  # type: ignore[assignment]
    batch_size: int | None = static(default=None)
    key: Array | None = None

    def __post_init__(self) -> None:
        check_controls("Gradient", self.tol, self.max_steps)
        steps = getattr(self.transformation, "update", None)
        if self.transformation is not None and steps is None:
            raise TypeError(
                f"Gradient(transformation={self.transformation!r}): allowed are those of optax."
            )
        if self.batch_size is None:
            return
        if not is_count(self.batch_size):
            raise ValueError(
                f"Gradient(batch_size={self.batch_size}): batch_size must be an integer >= 1."
            )
        if self.transformation is None:
            raise ValueError("Gradient(batch_size=...): needs a transformation; L-BFGS takes none.")

    @property
    def _optimiser(self) -> optax.GradientTransformationExtraArgs:
        import optax  # here, since only this solver should pay a fifth of a second for it

        chosen = optax.lbfgs() if self.transformation is None else self.transformation
        return optax.with_extra_args_support(chosen)

    def init(self, problem: Problem, start: Start) -> GradientState:
        """Start where IRLS would."""
        scoring = start_state(problem, start, observed=False)
        beta = scoring.beta + scoring.direction
        information = evaluate(problem, beta, observed=False, needs_deviance=False).information
        metric = jnp.linalg.cholesky(inverse_pd(information))
        status = scoring.status
        if problem.adjusts:
            status = as_status(Status.converged)
        memory = self._optimiser.init(beta)
        return GradientState(beta, 0.0 * beta, metric, memory, jnp.asarray(0, jnp.int32), status)

    def step(self, problem: Problem, state: GradientState) -> GradientState:
        """One update of the transformation, with a line search where it has one; or one epoch."""
        now = evaluate(problem, state.beta, observed=False, needs_deviance=self.batch_size is None)
        gradient = -highest(state.metric.T, now.score)
        move = self._update if self.batch_size is None else self._epoch
        step, memory = move(problem, state, now, gradient)
        phi = 1.0 if problem.family.fixed_scale else now.pearson / problem.design.shape[0]
        done = gradient @ gradient <= self.tol * phi
        failed = ~jnp.all(jnp.isfinite(state.beta + step))
        return GradientState(
            jnp.where(done | failed, state.beta, state.beta + step),
            jnp.where(done | failed, state.last_step, step),
            state.metric,
            memory,
            state.n_iter + 1,
            decide(
                (done, Status.converged),
                (failed, Status.diverged),
                (state.n_iter + 1 >= self.max_steps, Status.max_steps),
            ),
        )

    def _update(
        self, problem: Problem, state: GradientState, now: Evaluation, gradient: Array
    ) -> tuple[Array, Any]:
        """The step from all rows, and the transformation's state after it."""

        def objective(move: Array) -> Array:
            beta = state.beta + highest(state.metric, move)
            there = evaluate(problem, beta, observed=False, needs_deviance=True)
            return jnp.where(there.invalid == 0, 0.5 * there.deviance, jnp.inf)

        updates, memory = self._optimiser.update(
            gradient,
            state.memory,
            jnp.zeros_like(state.beta),
            value=0.5 * now.deviance,
            grad=gradient,
            value_fn=objective,
        )
        return highest(state.metric, updates), memory

    def _epoch(
        self, problem: Problem, state: GradientState, now: Evaluation, gradient: Array
    ) -> tuple[Array, Any]:
        """The steps of one epoch added up; each batch's score stands for all rows'."""
        n = problem.design.shape[0]
        size = min(self.batch_size, n)  # type: ignore[type-var]
        key = jax.random.key(0) if self.key is None else self.key
        shift_key, order_key = jax.random.split(jax.random.fold_in(key, state.n_iter))
        shift = jax.random.randint(shift_key, (), 0, n % size + 1)
        starts = shift + size * jax.random.permutation(order_key, n // size)

        def walk(carry: tuple[Array, Any], start: Array) -> tuple[tuple[Array, Any], None]:
            beta, memory = carry
            slope = -highest(state.metric.T, _batch_score(problem, beta, start, size))
            updates, memory = self._optimiser.update(slope, memory, jnp.zeros_like(beta))
            return (beta + highest(state.metric, updates), memory), None

        (beta, memory), _ = jax.lax.scan(walk, (state.beta, state.memory), starts)
        return beta - state.beta, memory


def _batch_score(problem: Problem, beta: Array, start: Array, size: int) -> Array:
    """The penalised score, that of a run of rows standing for all of them."""

    def cut(v: Array) -> Array:
        return v if v.ndim == 0 else jax.lax.dynamic_slice_in_dim(v, start, size)

    design, rows = problem.design.block(start, size), jax.tree.map(cut, problem.rows)
    share = penalised_score(Problem(design, rows, problem.family, None), beta)
    score = share * (problem.design.shape[0] / size)
    if problem.penalty is None:
        return score
    return score - highest(problem.penalty.matrix(beta.shape[0], beta.dtype), beta)
