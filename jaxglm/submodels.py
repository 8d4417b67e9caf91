"""Floor 8: a model with some coefficients held, or bound by equations.

A submodel is a problem with another design: `Masked` leaves columns out without a change of shape,
so that all submodels of a table are one batch over a shared X; `Mapped` is X N without forming it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike, inexact, record
from jaxglm.designs import Design, as_design
from jaxglm.families import Family
from jaxglm.fit import Fit, fit
from jaxglm.linalg import highest
from jaxglm.model import Problem
from jaxglm.solvers import IRLS, Solver, solve


@record
class Masked(Design):
    """The columns of `base` where `mask` (p,) is 1; a coefficient where it is 0 has no effect."""

    base: Design
    mask: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.base.shape

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    @property
    def block_rows(self) -> int:
        return self.base.block_rows

    def spoiled(self) -> Array:
        return self.base.spoiled()

    def cleaned(self) -> Design:
        return Masked(self.base.cleaned(), self.mask)

    def predictor(self, beta: Array) -> Array:
        return self.base.predictor(self.mask * beta)

    def score(self, v: Array) -> Array:
        return self.mask * self.base.score(v)

    def gram(self, w: Array) -> Array:
        # A unit diagonal for the columns left out keeps the matrix regular, and them apart.
        kept = self.base.gram(w) * self.mask[None, :] * self.mask[:, None]
        return kept + jnp.diag(1.0 - self.mask)

    def weighted_rows(self, v: Array) -> Array:
        return self.base.weighted_rows(v) * self.mask[None, :]

    def leverage(self, a: Array) -> Array:
        return self.base.leverage(a * self.mask[None, :] * self.mask[:, None])

    def block(self, start: Array, size: int) -> Design:
        return Masked(self.base.block(start, size), self.mask)

    def take(self, rows: Array) -> Design:
        return Masked(self.base.take(rows), self.mask)


@record
class Mapped(Design):
    """X N, for `base` X (n, p) and `basis` N (p, q)."""

    base: Design
    basis: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.base.shape[0], self.basis.shape[1]

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    @property
    def block_rows(self) -> int:
        return self.base.block_rows

    def spoiled(self) -> Array:
        return self.base.spoiled()

    def cleaned(self) -> Design:
        return Mapped(self.base.cleaned(), self.basis)

    def predictor(self, beta: Array) -> Array:
        return self.base.predictor(highest(self.basis, beta))

    def score(self, v: Array) -> Array:
        return highest(self.base.score(v), self.basis)

    def gram(self, w: Array) -> Array:
        return highest(self.basis.T, highest(self.base.gram(w), self.basis))

    def weighted_rows(self, v: Array) -> Array:
        return highest(self.base.weighted_rows(v), self.basis)

    def leverage(self, a: Array) -> Array:
        return self.base.leverage(highest(self.basis, highest(a, self.basis.T)))

    def block(self, start: Array, size: int) -> Design:
        return Mapped(self.base.block(start, size), self.basis)

    def take(self, rows: Array) -> Design:
        return Mapped(self.base.take(rows), self.basis)


class Held(NamedTuple):
    """A fit with some coefficients held: all coefficients (p,), and the solver's status."""

    params: Array
    status: Array


def hold(problem: Problem, fitted: Fit) -> Problem:
    """The problem with the family's parameters at their estimates; raises if it is penalised."""
    if problem.penalty is not None:
        raise ValueError("penalty: tests and intervals of submodels need a fit without a penalty.")
    return dataclasses.replace(problem, family=fitted.family)


def fit_held(
    problem: Problem, mask: Array, held: Array, start: Array | None, solver: Solver
) -> Held:
    """Maximize over the coefficients where `mask` (p,) is 1, the others being those of `held`."""
    fixed = (1.0 - mask) * held
    offset = problem.design.predictor(fixed)
    if problem.rows.offset is not None:
        offset = offset + problem.rows.offset
    rows = dataclasses.replace(problem.rows, offset=offset)
    part = dataclasses.replace(problem, design=Masked(problem.design, mask), rows=rows)
    state = solve(solver, part, None if start is None else mask * start)
    return Held(mask * state.beta + fixed, state.status)


def null_space(R: ArrayLike, q: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N, b0): beta = b0 + N gamma are the solutions of R beta = q; N (p, p - rank) orthonormal.

    b0 is the shortest solution. Redundant equations are allowed, contradictory ones raise.
    """
    R = np.atleast_2d(np.asarray(R, dtype=np.float64))
    q = np.broadcast_to(np.asarray(q, dtype=np.float64), R.shape[:1])
    length = np.linalg.norm(R, axis=1)
    if not (np.all(np.isfinite(R)) and np.all(np.isfinite(q)) and np.all(length > 0)):
        raise ValueError("R, q: a row of zeros or a non-finite entry; each row is an equation.")
    left, size, right = np.linalg.svd(R / length[:, None])
    rank = int(np.sum(size > max(R.shape) * np.finfo(np.float64).eps * size[0]))
    b0 = right[:rank].T @ ((left[:, :rank].T @ (q / length)) / size[:rank])
    if not np.allclose(R @ b0, q, rtol=1e-8, atol=1e-10 * np.max(np.abs(q), initial=0.0)):
        raise ValueError("R, q: the equations R beta = q contradict each other.")
    return np.linalg.qr(right[:rank].T, mode="complete")[0][:, rank:], b0


def fit_constrained(
    X: ArrayLike | Design,
    y: ArrayLike,
    family: Family,
    R: ArrayLike,
    q: ArrayLike = 0.0,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    start: ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> Fit:
    """Fit under the linear equations R beta = q, R (k, p) and q (k,) or a number.

    beta = b0 + N gamma with N a basis of R's null space; gamma is fitted without constraint on the
    design X N with offset X b0. The result speaks of beta: `cov_unscaled` = N C N' is singular,
    and the equations count as degrees of freedom. R and q are NumPy values, the rest as in `fit`.
    """
    design = X if isinstance(X, Design) else as_design(inexact(X))
    basis, b0 = null_space(R, q)
    if basis.shape[0] != design.shape[1]:
        raise ValueError(
            f"R: {basis.shape[0]} columns; the model has {design.shape[1]} coefficients."
        )
    if basis.shape[1] == 0:
        raise ValueError("R: the equations fix every coefficient; nothing is left to fit.")
    N, b0 = jnp.asarray(basis, design.dtype), jnp.asarray(b0, design.dtype)
    shift = design.predictor(b0)
    free = fit(
        Mapped(design, N),
        y,
        family,
        offset=shift if offset is None else shift + jnp.asarray(offset, design.dtype),
        var_weights=var_weights,
        freq_weights=freq_weights,
        n_trials=n_trials,
        scale=scale,
        start=None if start is None else highest(jnp.asarray(start, design.dtype) - b0, N),
        solver=solver,
    )
    cov = highest(N, highest(free.cov_unscaled, N.T))
    return dataclasses.replace(free, params=b0 + highest(N, free.params), cov_unscaled=cov)
