"""Floor 3: positive definite p x p systems, one or many, and the pivoted QR of a design.

`solve_pd` and `inverse_pd` are written for one matrix. A small one is inverted by sweeps of its
columns, under `vmap` with the batch as last axis, which beats LAPACK called lane by lane; larger
ones take Cholesky's factorization. A matrix that is not positive definite to rounding gives NaN,
for that lane alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxglm._types import Array

# Beyond this order sweeps take longer than a factorization.
SWEPT_ORDER = 12

highest = partial(jnp.matmul, precision="highest")


def row_sum(v: Array) -> Array:
    """The sum of v (n,), as a product with ones.

    XLA's CPU compiler gives a sum, with the arithmetic before it, to a library that takes ten
    times as long in float64.
    """
    return highest(v, jnp.ones(v.shape, v.dtype))


def pivot_tolerance(p: int, dtype: Any) -> float:
    """The share of a diagonal element below which a Cholesky pivot is rounding error."""
    return 4.0 * p * float(np.finfo(dtype).eps)


@custom_vmap
def solve_pd(matrix: Array, vector: Array) -> Array:
    """A^-1 v for symmetric positive definite A (p, p); all NaN if A is not, to rounding.

    Not differentiable: it serves the solver's loop. Elsewhere use `inverse_pd`.
    """
    if matrix.shape[-1] <= SWEPT_ORDER:
        return highest(_swept(matrix[:, :, None])[:, :, 0], vector)
    lower = _checked_cholesky(matrix)
    return jax.scipy.linalg.cho_solve((lower, True), vector)


@solve_pd.def_vmap
def _solve_pd_rule(size: int, batched: list[bool], matrix: Array, vector: Array) -> Any:
    if not batched[0]:
        if matrix.shape[-1] <= SWEPT_ORDER:
            return highest(vector, _swept(matrix[:, :, None])[:, :, 0].T), True
        lower = _checked_cholesky(matrix)
        return jax.scipy.linalg.cho_solve((lower, True), vector.T).T, True
    vector = vector if batched[1] else jnp.broadcast_to(vector, (size, *vector.shape))
    if matrix.shape[-1] > SWEPT_ORDER:
        lower = jax.vmap(_checked_cholesky)(matrix)
        solve = jax.vmap(lambda low, v: jax.scipy.linalg.cho_solve((low, True), v))
        return solve(lower, vector), True
    inverse = _swept(jnp.moveaxis(matrix, 0, -1))
    return jnp.sum(inverse * vector.T[None], axis=1).T, True


def inverse_pd(matrix: Array) -> Array:
    """A^-1 for symmetric positive definite A (p, p); all NaN if A is not, to rounding."""
    return _inverse_p.bind(matrix)


def _inverses(matrices: Array) -> Array:
    """The inverses of matrices (..., p, p)."""
    p = matrices.shape[-1]
    each = matrices.reshape(-1, p, p)
    if p <= SWEPT_ORDER:
        found = _symmetric(jnp.moveaxis(_swept(jnp.moveaxis(each, 0, -1)), -1, 0))
    else:
        found = jax.vmap(lambda m: _inverse_from_cholesky(_checked_cholesky(m)))(each)
    return found.reshape(matrices.shape)


def _map_inverse(operands: Any, dims: Any) -> tuple[Array, int]:
    return _inverse_p.bind(jnp.moveaxis(operands[0], dims[0], 0)), 0


# A primitive: inside a scan JAX (0.10) forgets a `custom_jvp` in second derivatives, and what the
# sweeps loop over would be kept for them.
_inverse_p = Primitive("inverse_pd")
_inverse_p.def_impl(jax.jit(_inverse_p.bind))
_inverse_p.def_abstract_eval(lambda matrix: matrix)
mlir.register_lowering(_inverse_p, mlir.lower_fun(_inverses, multiple_results=False))
# d A^-1 = -A^-1 dA A^-1
ad.defjvp2(_inverse_p, lambda dot, inverse, _: -highest(highest(inverse, dot), inverse))
batching.primitive_batchers[_inverse_p] = _map_inverse


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + jnp.swapaxes(matrix, -2, -1))


def _inverse_from_cholesky(lower: Array) -> Array:
    return jax.scipy.linalg.cho_solve((lower, True), jnp.eye(lower.shape[-1], dtype=lower.dtype))


def _checked_cholesky(matrix: Array) -> Array:
    """The lower Cholesky factor, NaN where a pivot is no more than rounding error."""
    p = matrix.shape[-1]
    # A scaling by powers of two changes no digit and keeps the factor from overflow.
    scale = _power_of_two(jnp.diagonal(matrix))
    lower = jnp.linalg.cholesky(matrix * scale[None, :] * scale[:, None], symmetrize_input=False)
    pivots = jnp.diagonal(lower) ** 2
    sound = jnp.all(pivots > pivot_tolerance(p, matrix.dtype) * jnp.diagonal(matrix) * scale**2)
    return jnp.where(sound, lower / scale[:, None], jnp.nan)


def _power_of_two(diagonal: Array) -> Array:
    """2^k near 1/sqrt(diagonal); 1 where the diagonal is not positive."""
    usable = (diagonal > 0) & jnp.isfinite(diagonal)
    root = jax.lax.rsqrt(jnp.where(usable, diagonal, 1.0))
    # Without a mantissa a number is a power of two.
    return jax.lax.reduce_precision(root, exponent_bits=jnp.finfo(root.dtype).nexp, mantissa_bits=0)


@jax.jit
def _swept(a: Array) -> Array:
    """A^-1 for symmetric a (p, p, B), by sweeps of its columns, with the batch as last axis.

    NaN in the lanes where a pivot is no more than rounding error. Source: Goodnight (1979).
    """
    p = a.shape[0]
    tolerance = pivot_tolerance(p, a.dtype)
    diagonal = jnp.stack([a[j, j] for j in range(p)])

    def sweep(at: tuple[Array, Array]) -> tuple[Array, Array]:
        j, m = at
        here = jnp.arange(p) == j
        pivot = m[j, j]
        pivot = jnp.where(pivot > tolerance * diagonal[j], pivot, jnp.nan)
        row = jnp.where(here[:, None], 1.0, m[j]) / pivot[None]
        rest = jnp.where(here[None, :, None], 0.0, m) - m[:, j][:, None] * row[None]
        return j + 1, jnp.where(here[:, None, None], row[None], rest)

    return jax.lax.while_loop(lambda at: at[0] < p, sweep, (jnp.int32(0), a))[1]


class PivotedQR(NamedTuple):
    """X[:, kept] = Q R on the host, with linearly dependent columns left out as R leaves them."""

    q: np.ndarray
    r: np.ndarray
    kept: np.ndarray
    aliased: np.ndarray


def pivoted_qr(X: np.ndarray, tolerance: float = 1e-11) -> PivotedQR:
    """Householder QR with R's limited pivoting: a dependent column goes to the end.

    Column j is aliased when what earlier columns leave of it has at most `tolerance` of its norm
    (LINPACK dqrdc2; R's glm uses 1e-11). Columns are scaled by powers of two first.
    """
    X = np.asarray(X, dtype=np.float64)
    largest = np.max(np.abs(X), axis=0, initial=0.0)
    scale = np.where(largest > 0, np.exp2(-np.frexp(np.where(largest > 0, largest, 1.0))[1]), 1.0)
    q, r = np.linalg.qr(X * scale)
    # R has the columns' lengths and angles, so dependence shows in it without the n rows.
    kept, aliased = _independent_columns(r, tolerance)
    if aliased.size:
        q, r = np.linalg.qr((X * scale)[:, kept])
    return PivotedQR(q, r / scale[kept][None, :], kept, aliased)


def _independent_columns(X: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    n, p = X.shape
    norms = np.linalg.norm(X, axis=0)
    rest, kept, aliased = X.copy(), [], []
    for j in range(p):
        column = rest[:, j]
        if len(kept) == n or not np.linalg.norm(column) > tolerance * norms[j]:
            aliased.append(j)
            continue
        kept.append(j)
        unit = column / np.linalg.norm(column)
        for _ in range(2):
            # Twice is enough: reorthogonalisation leaves later columns clean to rounding.
            rest[:, j + 1 :] -= np.outer(unit, unit @ rest[:, j + 1 :])
    return np.array(kept, dtype=int), np.array(aliased, dtype=int)


def solve_triangular(r: np.ndarray, b: np.ndarray) -> np.ndarray:
    """R^-1 b for upper triangular R, on the host.

    Elimination of a triangular matrix finds nothing to eliminate: this is back substitution.
    """
    return np.linalg.solve(r, b)
