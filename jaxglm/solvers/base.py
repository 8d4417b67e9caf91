"""Floor 5: the solver protocol, the status of a fit, and the one loop.

A solver is written for one problem: `init` makes a state, `step` improves it, and a state whose
`status` is no longer `RUNNING` is done. `solve` loops; a batch may drive the same two functions
lane by lane. Nothing raises inside compiled code: a status tells.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import numbers
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jaxglm._chunks import even_share, lanes_in_hand
from jaxglm._types import Array, ArrayLike, record
from jaxglm.designs import Design
from jaxglm.model import Problem

RUNNING = -1
# Rows from which on a sample of them gives the start, and how many rows to one of it.
LONG = 2**17
THINNING = 16


class Status(enum.IntEnum):
    """How a fit ended; one code per lane, and the code's name is its message."""

    converged = 0
    max_steps = 1
    diverged = 2
    separated = 3
    singular = 4
    boundary = 5
    invalid_data = 6

    @property
    def meaning(self) -> str:
        """The status in a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.converged: "The score vanishes to the tolerance.",
    Status.max_steps: "The step limit was reached first.",
    Status.diverged: "No step along the search direction improved the fit.",
    Status.separated: "No finite maximum: the likelihood rises as coefficients go to infinity.",
    Status.singular: "The information matrix is singular: collinear or too many columns.",
    Status.boundary: "The maximum lies on the edge of the parameter space.",
    Status.invalid_data: "Data or X^2 not finite, y outside the support, or an invalid weight.",
}


@record
class Near:
    """A start that is known to be near the maximum, as a fit of fewer columns or rows is.

    beta (p,), or the coefficients of the first columns, those of the others being 0.
    """

    beta: Array


Start = Array | Near | None


class State(Protocol):
    """What the loop needs to know of a solver's state."""

    @property
    def beta(self) -> Array:
        """The coefficients accepted so far (p,)."""
        ...

    @property
    def last_step(self) -> Array:
        """The last step (p,) that `beta` includes."""
        ...

    @property
    def n_iter(self) -> Array:
        """Passes over the data."""
        ...

    @property
    def status(self) -> Array:
        """A `Status`, or `RUNNING`."""
        ...


class Solver(abc.ABC):
    """Finds the root of the penalised score. Fields that are numbers are compiled in."""

    @abc.abstractmethod
    def init(self, problem: Problem, start: Start) -> Any:
        """The state before the first pass, from the user's start or the family's."""

    @abc.abstractmethod
    def step(self, problem: Problem, state: Any) -> Any:
        """The state after one more pass over the data."""

    @property
    @abc.abstractmethod
    def polish(self) -> Solver | None:
        """A solver that goes on from where this one stopped, or None."""


def solve(solver: Solver, problem: Problem, start: Start, limit: Array | None = None) -> State:
    """Run the solver until its status is decided, then its polish.

    `limit`, a traced number, ends the loop early with `max_steps`: a batch lets most of its lanes
    finish under a low limit, and returns to the others.
    """
    # Whoever sets a limit has lanes in parts already.
    limited = limit is not None
    state = _loop(solver, problem, start, limit) if limited else _run(solver, problem, start)
    cut_short = state.status == RUNNING
    status = jnp.where(cut_short, as_status(Status.max_steps), state.status)
    state = dataclasses.replace(state, status=status)
    if solver.polish is None:
        return state
    return solve(solver.polish, problem, state.beta, limit)


@custom_vmap
def _run(solver: Solver, problem: Problem, start: Start) -> Any:
    """The loop's last state. Many lanes loop some at a time, as long as the slowest of those."""
    return _loop(solver, problem, start, None)


def _loop(solver: Solver, problem: Problem, start: Start, limit: Array | None) -> Any:
    return jax.lax.while_loop(
        lambda state: (state.status == RUNNING) & _within(limit, state.n_iter),
        lambda state: solver.step(problem, state),
        _first_state(solver, problem, start),
    )


@_run.def_vmap
def _run_rule(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
    leaves, treedef = jax.tree.flatten(arguments)
    mapped = jax.tree.leaves(batched)
    own = [v for v, m in zip(leaves, mapped, strict=True) if m]

    def run(own: list[Array]) -> Any:
        mine = iter(own)
        whole = [next(mine) if m else v for v, m in zip(leaves, mapped, strict=True)]
        return _loop(*jax.tree.unflatten(treedef, whole), None)

    together = _lanes_together(arguments[1].design, batched[1].design)
    if size <= together:
        states = jax.vmap(run)(own)
    else:
        states = jax.lax.map(run, own, batch_size=even_share(size, together))
    return states, jax.tree.map(lambda _: True, states)


def _lanes_together(design: Design, batched: Design) -> int:
    """How many lanes loop together, of a design whose `batched` leaves have lanes."""
    alone = jax.tree.map(lambda v, m: v[0] if m else v, design, batched)
    n, p = alone.shape
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(batched), strict=True)
    # A column of one's own beside shared ones is none of the largest parts.
    own = sum(leaf.size for leaf, m in pairs if m) >= n * p
    return lanes_in_hand((n, p), design.dtype, own=own)


def _first_state(solver: Solver, problem: Problem, start: Start) -> Any:
    """The state before the first pass; of very many rows, from the fit of a sample.

    At the sample's maximum full passes are left that a Newton step from a few standard errors
    takes. Where the sample has none, a rare level being absent, the family's start serves.
    """
    if start is not None or not is_long(problem):
        return solver.init(problem, start)
    sample = solve_sample(solver, problem)
    return jax.lax.cond(
        sample.status == int(Status.converged),
        lambda: solver.init(problem, Near(sample.beta)),
        lambda: solver.init(problem, None),
    )


def is_long(problem: Problem) -> bool:
    """Whether a sample of the rows gives the start."""
    n, p = problem.design.shape
    return n >= LONG and n // (THINNING + 1) >= 64 * p


def solve_sample(solver: Solver, problem: Problem) -> State:
    """The fit of every seventeenth row, or so."""
    size, block = problem.design.shape[0] // (THINNING + 1), problem.design.block_rows
    # Whole blocks, which are compiled once.
    size = size - size % block if size > 2 * block else size
    # No whole number of rows apart, so that no period of theirs leaves out the same ones.
    count = jnp.arange(size)
    chosen = THINNING * count + 3 * count // 17
    rows = jax.tree.map(lambda v: v[chosen] if v.ndim else v, problem.rows)
    sample = dataclasses.replace(problem, design=problem.design.take(chosen), rows=rows)
    return solve(solver, sample, None)


def _within(limit: Array | None, n_iter: Array) -> Array | bool:
    return True if limit is None else n_iter < limit


def decrement_tolerance(tol: float | None, dtype: Any) -> float:
    """The Newton decrement, in units of phi, that ends the loop: eps^(3/4) unless given.

    Its square root is the distance to the maximum in standard errors, before the step that is
    still taken and squares it; in float64 1.3e-6, in float32 0.25 %.
    """
    return float(np.finfo(dtype).eps) ** 0.75 if tol is None else tol


def require_solver(solver: Any) -> Solver:
    """The solver itself; raises for what is none, a class or a name too."""
    if not isinstance(solver, Solver):
        raise TypeError(f"solver={solver!r}: allowed are those of jaxglm.solvers, as IRLS().")
    return solver


def check_controls(name: str, tol: float | None, max_steps: int) -> None:
    """Raise where a tolerance or a step limit makes no sense."""
    if not is_tolerance(tol):
        raise ValueError(f"{name}(tol={tol}): tol must be None or a finite number > 0 and < 1.")
    if not is_count(max_steps):
        raise ValueError(f"{name}(max_steps={max_steps}): max_steps must be an integer >= 1.")


def is_tolerance(tol: Any) -> bool:
    """Whether tol is None or a number in (0, 1): at 1 and above everything has converged."""
    return tol is None or (isinstance(tol, numbers.Real) and bool(0 < tol < 1))


def is_count(value: Any, least: int = 1) -> bool:
    """Whether value is a whole number of at least so much."""
    real = isinstance(value, numbers.Real) and bool(np.isfinite(value))
    return real and int(value) == value and value >= least


def tally(status: ArrayLike) -> dict[str, int]:
    """How many fits ended with each status, on the host; statuses of none left out."""
    counts = np.bincount(np.ravel(status), minlength=len(Status))
    return {s.name: int(counts[s]) for s in Status if counts[s]}


def as_status(code: Status | int) -> Array:
    """A status code as a traced integer."""
    return jnp.asarray(int(code), jnp.int32)


def decide(*cases: tuple[Array, Status]) -> Array:
    """The first status whose condition holds, else `RUNNING`."""
    code = as_status(RUNNING)
    for condition, status in reversed(cases):
        code = jnp.where(condition, as_status(status), code)
    return code
