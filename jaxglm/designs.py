"""Floor 3: the design X, known by its products only.

The rest of the package asks for X b, X'v, X'WX and diag(X A X'), and never for X itself, so that
a design may be dense, or share columns between many fits. Under `vmap` with X not mapped, the
Gram products of all lanes become one matrix product with the table of the p (p + 1) / 2 column
products; this is where batches get their speed.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jaxglm._labels import label_codes
from jaxglm._types import Array, record, static
from jaxglm.linalg import highest

# Rows to a block of the sweep: eta, mu, w and the scaled block stay in cache.
BLOCK_ROWS = 8192
# Elements of the largest table of column products: beyond it a product a lane is faster, on a CPU
# (n = 5,000, p = 40: 3.3 for 8.8 ms), or all that fits.
CPU_TABLE, TABLE = 2**21, 2**27


class Design(abc.ABC):
    """A design of n rows and p columns, known by its products."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, p)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The floating dtype of the products."""

    @property
    @abc.abstractmethod
    def block_rows(self) -> int:
        """How many rows a sweep takes at a time."""

    @abc.abstractmethod
    def spoiled(self) -> Array:
        """Which rows (n,) have an entry that is not finite, or too large to be squared."""

    @abc.abstractmethod
    def cleaned(self) -> Design:
        """The design with such entries set to 0."""

    @abc.abstractmethod
    def predictor(self, beta: Array) -> Array:
        """X beta (n,)."""

    @abc.abstractmethod
    def score(self, v: Array) -> Array:
        """X'v (p,)."""

    @abc.abstractmethod
    def gram(self, w: Array) -> Array:
        """X' diag(w) X (p, p), for w of either sign."""

    @abc.abstractmethod
    def weighted_rows(self, v: Array) -> Array:
        """diag(v) X (n, p), for what is no sum over rows: scores summed within clusters."""

    @abc.abstractmethod
    def leverage(self, a: Array) -> Array:
        """diag(X A X') (n,)."""

    @abc.abstractmethod
    def block(self, start: Array, size: int) -> Design:
        """Rows start, ..., start + size - 1."""

    @abc.abstractmethod
    def take(self, rows: Array) -> Design:
        """The rows of these numbers."""


@record
class Dense(Design):
    """X as an array (n, p)."""

    X: Array
    block_rows: int = static(default=BLOCK_ROWS)

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape  # type: ignore[return-value]

    @property
    def dtype(self) -> Any:
        return self.X.dtype

    def spoiled(self) -> Array:
        return _spoiled(self.X)

    def cleaned(self) -> Design:
        return Dense(_cleaned(self.X))

    def predictor(self, beta: Array) -> Array:
        # beta first: under vmap the lanes then lead without a transpose.
        return highest(beta, self.X.T)

    def score(self, v: Array) -> Array:
        return highest(v, self.X)

    def gram(self, w: Array) -> Array:
        return gram(self.X, w)

    def weighted_rows(self, v: Array) -> Array:
        return v[:, None] * self.X

    def leverage(self, a: Array) -> Array:
        return jnp.sum(highest(self.X, a) * self.X, axis=1)

    def block(self, start: Array, size: int) -> Design:
        return Dense(jax.lax.dynamic_slice_in_dim(self.X, start, size))

    def take(self, rows: Array) -> Design:
        return Dense(self.X[rows])


@record
class Columns(Design):
    """X by its columns (p, n) and its rows (n, p), where every lane has a design of its own.

    Sums over rows are then sums along memory, and no product has to reorder a factor first.
    """

    columns: Array
    rows: Array

    @classmethod
    def of(cls, X: Array) -> Columns:
        """The design X (n, p)."""
        return cls(X.T, X)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape  # type: ignore[return-value]

    @property
    def dtype(self) -> Any:
        return self.columns.dtype

    @property
    def block_rows(self) -> int:
        return BLOCK_ROWS

    def spoiled(self) -> Array:
        return ~jnp.all(_is_usable(self.columns), axis=0)

    def cleaned(self) -> Design:
        return Columns(_cleaned(self.columns), _cleaned(self.rows))

    def predictor(self, beta: Array) -> Array:
        return highest(beta, self.columns)

    def score(self, v: Array) -> Array:
        return highest(self.columns, v)

    def gram(self, w: Array) -> Array:
        return highest(w[None] * self.columns, self.rows)

    def weighted_rows(self, v: Array) -> Array:
        return v[:, None] * self.rows

    def leverage(self, a: Array) -> Array:
        return jnp.sum(highest(a, self.columns) * self.columns, axis=0)

    def block(self, start: Array, size: int) -> Design:
        take = jax.lax.dynamic_slice_in_dim
        return Columns(take(self.columns, start, size, axis=1), take(self.rows, start, size))

    def take(self, rows: Array) -> Design:
        return Columns(self.columns[:, rows], self.rows[rows])


@record
class Augmented(Design):
    """[shared, varying]: covariates common to all fits, then the column(s) of this one.

    `shared` is (n, q), `varying` (n,) or (n, k) for one fit; in `fit_many` varying is (B, n) or
    (B, n, k). Coefficients come in that order. The shared block of all Gram matrices is one
    product, the cross block another.
    """

    shared: Array
    varying: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.shared.shape[0], self.shared.shape[1] + self._block.shape[1]

    @property
    def dtype(self) -> Any:
        return jnp.result_type(self.shared, self.varying)

    @property
    def block_rows(self) -> int:
        return BLOCK_ROWS

    @property
    def _block(self) -> Array:
        return self.varying if self.varying.ndim == 2 else self.varying[:, None]

    @property
    def _columns(self) -> list[Array]:
        # One by one: as a batch, vectors are multiplied faster than thin matrices.
        return [self._block[:, j] for j in range(self._block.shape[1])]

    def spoiled(self) -> Array:
        return _spoiled(self.shared) | _spoiled(self._block)

    def cleaned(self) -> Design:
        return Augmented(_cleaned(self.shared), _cleaned(self._block))

    def predictor(self, beta: Array) -> Array:
        q = self.shared.shape[1]
        # Coefficients may be the covariates' alone, which lanes then share.
        parts = [g * beta[j] for j, g in enumerate(self._columns, q) if j < beta.shape[0]]
        return sum(parts, start=highest(beta[:q], self.shared.T))

    def score(self, v: Array) -> Array:
        own = jnp.stack([jnp.sum(v * g) for g in self._columns])
        return jnp.concatenate([highest(v, self.shared), own])

    def gram(self, w: Array) -> Array:
        weighted = [w * g for g in self._columns]
        cross = jnp.stack([highest(v, self.shared) for v in weighted])
        corner = jnp.stack([jnp.stack([jnp.sum(v * g) for g in self._columns]) for v in weighted])
        upper = jnp.concatenate([gram(self.shared, w), cross.T], axis=1)
        return jnp.concatenate([upper, jnp.concatenate([cross, corner], axis=1)])

    def weighted_rows(self, v: Array) -> Array:
        return v[:, None] * jnp.concatenate([self.shared, self._block], axis=1)

    def leverage(self, a: Array) -> Array:
        X = self.weighted_rows(jnp.ones(self.shape[0], self.dtype))
        return jnp.sum(highest(X, a) * X, axis=1)

    def block(self, start: Array, size: int) -> Design:
        take = jax.lax.dynamic_slice_in_dim
        return Augmented(take(self.shared, start, size), take(self._block, start, size))

    def take(self, rows: Array) -> Design:
        return Augmented(self.shared[rows], self.varying[rows])


@record
class OneWay(Design):
    """[X, D]: covariates, then an indicator column for each level of a factor with many levels.

    X (n, q), without a constant, which the indicators add up to; codes (n,), each row's level, 0
    to levels - 1. D is never formed: memory is n q + (q + levels)^2, where the dense design has
    n (q + levels) numbers. `from_labels` makes the codes. A code that is none spoils its row.
    """

    X: Array
    codes: Array
    levels: int = static()

    @classmethod
    def from_labels(cls, X: Any, labels: Any) -> tuple[OneWay, np.ndarray]:
        """The design of these labels (n,), and the levels (L,) in the order of their columns."""
        labels = np.asarray(labels)
        codes = label_codes("labels", labels, np.ones(np.shape(X)[:1], bool))
        levels = np.unique(labels)
        return OneWay(X, codes, levels.size), levels

    @property
    def shape(self) -> tuple[int, int]:
        n, q = self.X.shape
        return n, q + self.levels

    @property
    def dtype(self) -> Any:
        return self.X.dtype

    @property
    def block_rows(self) -> int:
        # Matrices of the order of the levels are not to be added up block by block.
        return self.X.shape[0]

    @property
    def _level(self) -> Array:
        # All leaves of a design have its dtype.
        return jnp.where(self._is_code, self.codes, 0).astype(jnp.int32)

    @property
    def _is_code(self) -> Array:
        return (self.codes >= 0) & (self.codes < self.levels) & (self.codes % 1 == 0)

    def _by_level(self, v: Array) -> Array:
        return jax.ops.segment_sum(v, self._level, self.levels)

    def spoiled(self) -> Array:
        return _spoiled(self.X) | ~self._is_code

    def cleaned(self) -> Design:
        return OneWay(_cleaned(self.X), self._level.astype(self.dtype), self.levels)

    def predictor(self, beta: Array) -> Array:
        q = self.X.shape[1]
        return highest(beta[:q], self.X.T) + beta[q:][self._level]

    def score(self, v: Array) -> Array:
        return jnp.concatenate([highest(v, self.X), self._by_level(v)])

    def gram(self, w: Array) -> Array:
        q = self.X.shape[1]
        # One column at a time: lanes of all of them would be large.
        rows = [self._by_level(w * self.X[:, j]) for j in range(q)]
        cross = jnp.asarray(rows, self.dtype).reshape(q, self.levels)
        upper = jnp.concatenate([gram(self.X, w), cross], axis=1)
        corner = jnp.diag(self._by_level(w))
        return jnp.concatenate([upper, jnp.concatenate([cross.T, corner], axis=1)])

    def weighted_rows(self, v: Array) -> Array:
        member = jax.nn.one_hot(self._level, self.levels, dtype=self.dtype)
        return v[:, None] * jnp.concatenate([self.X, member], axis=1)

    def leverage(self, a: Array) -> Array:
        q = self.X.shape[1]
        own = jnp.sum(highest(self.X, a[:q, :q]) * self.X, axis=1)
        cross = a[q:, :q] + a[:q, q:].T
        across = jnp.sum(cross[self._level] * self.X, axis=1)
        return own + across + jnp.diagonal(a)[q:][self._level]

    def block(self, start: Array, size: int) -> Design:
        take = jax.lax.dynamic_slice_in_dim
        return OneWay(take(self.X, start, size), take(self.codes, start, size), self.levels)

    def take(self, rows: Array) -> Design:
        return OneWay(self.X[rows], self.codes[rows], self.levels)


def as_design(X: Any) -> Design:
    """X itself if it is a design, else the array as a `Dense` one."""
    return X if isinstance(X, Design) else Dense(X)


def _is_usable(X: Array) -> Array:
    """Which entries are numbers that can be squared: lanes share the products of their columns."""
    return jnp.abs(X) <= jnp.sqrt(jnp.finfo(X.dtype).max)


def _spoiled(X: Array) -> Array:
    return ~jnp.all(_is_usable(X), axis=1)


def _cleaned(X: Array) -> Array:
    return jnp.where(_is_usable(X), X, 0.0)


@jax.custom_jvp
def gram(X: Array, w: Array) -> Array:
    """X' diag(w) X (p, p) for X (n, p) and w (n,)."""
    return _gram(X, w)


@gram.defjvp
def _gram_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # Plain products only: a custom_vmap call can't be transposed.
    (X, w), (dX, dw) = primals, tangents
    half = highest(dX.T, w[:, None] * X)
    return gram(X, w), _unpack(highest(dw, _column_products(X)), X.shape[1]) + half + half.T


@custom_vmap
def _gram(X: Array, w: Array) -> Array:
    return highest((w[:, None] * X).T, X)


@_gram.def_vmap
def _gram_rule(size: int, batched: list[bool], X: Array, w: Array) -> tuple[Array, bool]:
    if batched[0]:
        w_axis = 0 if batched[1] else None
        product = jax.vmap(lambda X, w: highest((w[:, None] * X).T, X), (0, w_axis))
        return product(X, w), True
    n, p = X.shape
    if n * p * (p + 1) // 2 > (CPU_TABLE if jax.default_backend() == "cpu" else TABLE):
        return jax.lax.map(lambda w: highest((w[:, None] * X).T, X), w), True
    return _unpack(highest(w, _column_products(X)), X.shape[1]), True


@custom_vmap
def widest_row(
    design: Design, a: Array, step: Array, counts: Array | None, seen: Array
) -> tuple[Array, Array]:
    """The largest of diag(X A X') over the rows that count, and of |X step|; 0 where not `seen`.

    Not differentiable. A batch computes them only if one of its lanes has to see.
    """
    nothing = jnp.zeros((), a.dtype)
    return jax.lax.cond(
        seen, lambda: _widest_row(design, a, step, counts), lambda: (nothing, nothing)
    )


@widest_row.def_vmap
def _widest_row_rule(
    size: int,
    batched: Any,
    design: Design,
    a: Array,
    step: Array,
    counts: Array | None,
    seen: Array,
) -> tuple[tuple[Array, Array], tuple[bool, bool]]:
    axes = jax.tree.map(lambda own: 0 if own else None, batched[:4])
    each = jax.vmap(_widest_row, axes, axis_size=size)
    nothing = jnp.zeros(size, a.dtype)
    found = jax.lax.cond(
        jnp.any(seen), lambda: each(design, a, step, counts), lambda: (nothing, nothing)
    )
    return found, (True, True)


def _widest_row(design: Design, a: Array, step: Array, counts: Array | None) -> tuple[Array, Array]:
    spread = design.leverage(a)
    spread = spread if counts is None else jnp.where(counts, spread, 0.0)
    return jnp.max(spread), jnp.max(jnp.abs(design.predictor(step)))


def _column_products(X: Array) -> Array:
    """K with rows x_ij x_ik, j <= k, filled by columns of 0: W K then holds the Gram matrices."""
    rows, columns = np.triu_indices(X.shape[1])
    # Columns are picked as rows: those are copied whole.
    products = X.T[rows] * X.T[columns]
    # Two of the widest vectors at a time: 16 columns take less time than 15, and 32 than 28.
    width = 16 if len(rows) > 8 else 8
    return jnp.pad(products, [(0, -len(rows) % width), (0, 0)]).T


def _unpack(packed: Array, p: int) -> Array:
    """Symmetric matrices (..., p, p) from their upper triangles (..., p (p + 1) / 2)."""
    index = np.zeros((p, p), dtype=int)
    rows, columns = np.triu_indices(p)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return packed[..., index]


def sweep(design: Design, beta: Array, rows: Any, work: Callable[[Array, Any], Any]) -> Any:
    """Sums over the rows, in one pass: X's, X'WX and the totals of further row quantities.

    `work(eta_without_offset, rows)` returns (s, w, totals) for the rows it is given, with s and
    w (m,), w None for no X'WX, and totals a pytree of scalars. Long designs go block by block, so
    that no (n, p) intermediate is written to memory; everything is a sum over rows, so they may be
    sharded.
    """

    def part(design: Design, rows: Any) -> Any:
        s, w, totals = work(design.predictor(beta), rows)
        return design.score(s), None if w is None else design.gram(w), totals

    n, size = design.shape[0], design.block_rows
    if n <= 2 * size:
        return part(design, rows)

    def take(start: Array, size: int) -> Any:
        def cut(v: Array) -> Array:
            return v if v.ndim == 0 else jax.lax.dynamic_slice_in_dim(v, start, size)

        return part(design.block(start, size), jax.tree.map(cut, rows))

    def add(i: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, take(i * size, size))

    whole, rest = divmod(n, size)
    if rest == 0:
        # The work compiled once, for the loop alone.
        shapes = jax.eval_shape(lambda: take(jnp.asarray(0), size))
        first = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), shapes)
    else:
        first = take(jnp.asarray(whole * size), rest)
    return jax.lax.fori_loop(0, whole, add, first)
