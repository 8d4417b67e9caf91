"""Floor 6: one fit of very many rows on a CPU, of which every core has a share.

XLA's threads share every operation, and what one core has written another reads. Where the cores
have no cache in common that takes twice as long as where they do. Here every core adds up its own
rows, and the solver is told of the sums alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial, reduce
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._threads import cores, threads
from jaxglm._types import ALIGNMENT, Array, record
from jaxglm.designs import Dense
from jaxglm.joint import Solution
from jaxglm.model import Evaluation, Problem, Totals, evaluate, totals
from jaxglm.solvers import IRLS, Newton, Solver, Status
from jaxglm.solvers.base import RUNNING, Near, is_long, solve_sample

__all__ = ["shares_of", "solve_by_shares"]

# Numbers of a design from which on threads are worth their start, and of a block of it, which with
# what is made of it stays in a core's own cache.
LARGE, BLOCK = 2**21, 2**14

OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_multi_thread_eigen": False,
    "xla_disable_hlo_passes": "cpu-parallel-task-assigner",
}


def shares_of(problem: Problem, invalid: Array, solver: Solver) -> list[Problem] | None:
    """The problem's rows in as many parts as there are cores, or None where that does not pay.

    The penalty goes with the first, so that all sums over rows are those of the parts.
    """
    design, leaves = problem.design, jax.tree.leaves((problem, invalid))
    plain = isinstance(design, Dense) and isinstance(solver, (IRLS, Newton))
    if not plain or problem.adjusts or problem.family.is_estimated or not is_long(problem):
        return None
    if any(isinstance(v, jax.core.Tracer) for v in leaves) or not _on_one_cpu(leaves):
        return None
    n, p = design.shape
    if cores() == 1 or n * p < LARGE or design.dtype != np.float64 or bool(invalid):
        return None
    # Whole lines of memory, which JAX takes over without a copy.
    line = ALIGNMENT // design.dtype.itemsize
    each = -(-n // (cores() * line)) * line
    return [_rows_between(problem, k, min(k + each, n)) for k in range(0, n, each)]


def _on_one_cpu(leaves: list[Array]) -> bool:
    devices = set.union(*(v.devices() for v in leaves))
    return len(devices) == 1 and devices.pop().platform == "cpu"


def _rows_between(problem: Problem, first: int, end: int) -> Problem:
    def cut(v: Array) -> Array:
        return jax.device_put(np.asarray(v)[first:end]) if v.ndim else v

    design = problem.design
    block = _even_block(end - first, max(1, BLOCK // design.shape[1]))
    return dataclasses.replace(
        problem,
        design=Dense(cut(design.X), block),  # type: ignore[attr-defined]
        rows=jax.tree.map(cut, problem.rows),
        penalty=None if first else problem.penalty,
    )


def _even_block(n: int, most: int) -> int:
    """Rows to a block: so that blocks share n rows evenly, if they need not be small for that."""
    even = (rows for rows in range(most, most // 2, -1) if n % rows == 0)
    return next(even, most)


def solve_by_shares(
    solver: Solver, problem: Problem, shares: list[Problem]
) -> tuple[Solution, Totals] | None:
    """The solution and the totals at it; None where a sample does not give the start."""
    sample = _sample(solver, problem)
    if int(sample.status) != Status.converged:
        return None
    state = _drive(type(solver).init, shares, solver, problem, Near(sample.beta))
    while int(state.status) == RUNNING:
        state = _drive(type(solver).step, shares, solver, problem, state)
    beta, status = state.beta, state.status
    solution = Solution(beta, problem.family, None, state.last_step, state.n_iter, status)
    return solution, _add_up(_totals, shares, beta)


@record
class _Question:
    """What `evaluate` is asked for; what it may leave out is None."""

    beta: Array
    observed: Array
    deviance: Array | None
    information: Array | None


class _Asked(Exception):
    """Says that there is no answer yet."""

    def __init__(self, question: _Question) -> None:
        self.question = question


def _drive(function: Callable[..., Any], shares: list[Problem], *arguments: Any) -> Any:
    """function(*arguments), every evaluation it asks for made by all cores."""
    answers: list[Evaluation] = []
    while isinstance(found := _as_far(function, arguments, answers), _Question):
        answers.append(_add_up(_evaluate, shares, found))
    return found


@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def _as_far(function: Callable[..., Any], arguments: Any, answers: list[Evaluation]) -> Any:
    """The function's result, or its next question after those that are answered."""
    given = iter(answers)

    def ask(
        _: Problem,
        beta: Array,
        *,
        observed: Array | bool,
        needs_deviance: bool,
        needs_information: bool = True,
    ) -> Any:
        answer = next(given, None)
        if answer is None:
            asked = (beta if wanted else None for wanted in (needs_deviance, needs_information))
            raise _Asked(_Question(beta, jnp.asarray(observed), *asked))
        return answer

    try:
        return function(*arguments, evaluate=ask)
    except _Asked as asked:
        return asked.question


def _add_up(function: Callable[..., Any], shares: list[Problem], at: Any) -> Any:
    """The sum of function(share, at), each by a thread of its own."""
    compiling = Lock()

    def alone(share: Problem) -> Any:
        # Scoped settings belong to a thread, and shares are float64.
        with jax.enable_x64(True):
            # One compiles, and the others wait for what it has compiled.
            with compiling:
                begun = function(share, at)
            return jax.block_until_ready(begun)

    return _sum(list(threads(len(shares)).map(alone, shares)))


@partial(jax.jit, compiler_options=OPTIONS)
def _evaluate(share: Problem, at: _Question) -> Evaluation:
    return evaluate(
        share,
        at.beta,
        observed=at.observed,
        needs_deviance=at.deviance is not None,
        needs_information=at.information is not None,
    )


_totals = jax.jit(totals, compiler_options=OPTIONS)
_sample = jax.jit(solve_sample)
_sum = jax.jit(lambda parts: reduce(partial(jax.tree.map, jnp.add), parts))
