"""Floor 9: what many fits are made from and end in: groups of rows, tables, tests.

A batch's tests are those of one fit under `vmap`. Inference is NaN in the lanes that have none,
and such lanes count as no test when p-values are adjusted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import as_frame, is_missing
from jaxglm._special import two_sided_normal, two_sided_t
from jaxglm._types import Array, ArrayLike, inexact
from jaxglm.batch import fit_many
from jaxglm.families import Family
from jaxglm.fit import Fit, Status, to_host
from jaxglm.inference import WaldTest, adjust_pvalues, wald
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Solver

__all__ = [
    "GroupBatch",
    "GroupFits",
    "adjusted",
    "fit_groups",
    "group_batch",
    "has_inference",
    "pvalues",
    "to_frame",
    "wald_lanes",
]

Method = Literal["bh", "holm", "bonferroni"]

# A batch of groups holds no group shorter than its longest by more than this factor.
SPREAD = 4
SHORTEST = 8


@dataclasses.dataclass(frozen=True)
class GroupBatch:
    """G groups as lanes of m rows; `freq_weights` is 0 in the rows that fill up shorter groups.

    X (G, m, p), y (G, m) or (G, m, 2), the others (G, m) or None; labels (G,), sorted.
    """

    X: ArrayLike
    y: ArrayLike
    freq_weights: ArrayLike
    offset: ArrayLike | None
    var_weights: ArrayLike | None
    n_trials: ArrayLike | None
    labels: np.ndarray


class GroupFits(NamedTuple):
    """A model per group: `labels` (G,), sorted, and the fits with leading axis G."""

    labels: np.ndarray
    fits: Fit


def group_batch(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
) -> GroupBatch:
    """The rows of each group as a lane for `fit_many`, filled up by rows of weight 0.

    X (n, p), y (n,) or (n, 2), groups (n,) numbers or strings in any order; the others (n,) or
    scalars. All lanes are as long as the longest group, rounded up to one of 8, 12, 16, 24, 32,
    48, ..., so that groups a little longer need no new compilation. Raises ValueError for shapes
    that do not fit and for missing labels.
    """
    rows = _read_rows(X, y, offset, var_weights, freq_weights, n_trials)
    grouping = _sort(groups, len(rows["X"]))
    return _fill_up(rows, grouping, np.arange(len(grouping.labels)))


def fit_groups(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    family: Family,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
    dtype: Any = None,
    progress: bool = False,
    cov: bool = True,
    devices: Sequence[Any] | None = None,
) -> GroupFits:
    """Fit the same model to each group of rows by itself: a model per store.

    Arguments by row as in `group_batch`, the others as in `fit_many` and common to all groups.
    Groups whose lengths differ by more than a factor of 4 go in batches of their own, so that one
    long group does not make all lanes long. A group with fewer rows than columns is `singular`,
    one with invalid data `invalid_data`; neither touches the others.
    """
    rows = _read_rows(X, y, offset, var_weights, freq_weights, n_trials)
    grouping = _sort(groups, len(rows["X"]))
    family = family() if isinstance(family, type) else family
    if family.counts_trials:
        rows |= _with_trials(rows)
    parts, members = [], _similar_lengths(grouping.counts)
    for which in members:
        batch = _fill_up(rows, grouping, which)
        fits = fit_many(
            batch.X,
            batch.y,
            family,
            offset=batch.offset,
            var_weights=batch.var_weights,
            freq_weights=batch.freq_weights,
            n_trials=batch.n_trials,
            penalty=penalty,
            scale=scale,
            solver=solver,
            chunk_size=chunk_size,
            dtype=dtype,
            progress=progress,
            cov=cov,
            devices=devices,
        )
        parts.append(fits)
    back = np.argsort(np.concatenate(members))
    with precision_of(parts[0].params):
        whole = jax.tree.map(lambda *v: jnp.concatenate(v)[back], *parts)
    return GroupFits(grouping.labels, whole)


def has_inference(fits: Fit) -> Array:
    """Whether a lane's standard errors mean something, (B,).

    It has converged, or only the family's own parameter lies on the edge of its space: a negative
    binomial at alpha = 0 is a Poisson fit.
    """
    unknown = fits.family.unknown
    if unknown is None or unknown.edge is None:
        return fits.converged
    with precision_of(fits.params):
        at_edge = getattr(fits.family, unknown.field) == unknown.edge
        return fits.converged | (at_edge & (fits.status == int(Status.boundary)))


def pvalues(fits: Fit, use_t: bool = False) -> Array:
    """Two-sided p-values of the coefficients (B, p), by z, or by t on df_resid if `use_t`.

    NaN in lanes without inference (see `has_inference`).
    """
    with precision_of(fits.params):
        return _pvalues(fits, use_t)


@partial(jax.jit, static_argnames="use_t")
def _pvalues(fits: Fit, use_t: bool) -> Array:
    z = fits.params / fits.bse
    tail = two_sided_t(z, fits.df_resid[..., None]) if use_t else two_sided_normal(z)
    sound = has_inference(fits)[..., None] & ~jnp.isnan(z)
    return jnp.where(sound, tail, jnp.nan)


def wald_lanes(
    fits: Fit, R: ArrayLike, q: ArrayLike | None = None, use_t: bool = False
) -> WaldTest:
    """Test R beta = q in every lane: `inference.wald` with fields (B,).

    R (k, p) or (p,), q a number or (k,), 0 if None; both shared. Chi-squared, or F on df_resid if
    `use_t`. NaN in lanes without inference.
    """
    _require_lanes(fits)

    def test(params: Array, cov: Array, df: Array) -> WaldTest:
        return wald(params, cov, R, q, df if use_t else None)

    with precision_of(fits.params):
        tests = jax.vmap(test)(fits.params, fits.cov_params, fits.df_resid)
        sound = has_inference(fits)
        return dataclasses.replace(
            tests,
            statistic=jnp.where(sound, tests.statistic, jnp.nan),
            pvalue=jnp.where(sound, tests.pvalue, jnp.nan),
        )


def adjusted(fits: Fit | ArrayLike, method: Method = "bh") -> Array:
    """p-values adjusted over the lanes: of every coefficient of `fits` (B, p), or given ones.

    Given p-values are (B,) or (B, p), the lanes first; each coefficient is a family of tests by
    itself. NaN is no test and does not count. See `inference.adjust_pvalues`.
    """
    p = pvalues(fits) if isinstance(fits, Fit) else to_host("fits", fits)
    with precision_of(p):
        return jnp.moveaxis(adjust_pvalues(jnp.moveaxis(inexact(p), 0, -1), method), -1, 0)


def to_frame(
    fits: Fit,
    terms: Sequence[str] | None = None,
    lanes: ArrayLike | None = None,
    backend: Any = "pandas",
    use_t: bool = False,
) -> Any:
    """A tidy table, a row per lane and term: lane, term, estimate, se, z, p, status.

    terms: p names (None: x0, x1, ...); lanes: B labels (None: 0, 1, ...); backend: "pandas",
    another eager one of narwhals (extra `frames`), or None for a dictionary of columns.
    z = estimate / se, p as in `pvalues`, NaN in lanes without inference, whose estimates are shown
    as they are.
    """
    _require_lanes(fits)
    count, p = fits.params.shape
    terms = [f"x{j}" for j in range(p)] if terms is None else list(terms)
    labels = np.arange(count) if lanes is None else np.asarray(lanes)
    if len(terms) != p or labels.shape != (count,):
        raise ValueError(
            f"to_frame(terms=..., lanes=...): {len(terms)} terms and labels of shape "
            f"{labels.shape}; the fits have {p} coefficients in {count} lanes."
        )
    with precision_of(fits.params):
        estimate, se = np.asarray(fits.params), np.asarray(fits.bse)
    p_of = np.asarray(pvalues(fits, use_t))
    z = np.divide(estimate, se, out=np.full_like(se, np.nan), where=np.isfinite(p_of))
    names = np.array([status.name for status in Status])[np.asarray(fits.status)]
    columns = {
        "lane": np.repeat(labels, p),
        "term": np.tile(np.array(terms, dtype=object), count),
        "estimate": estimate.ravel(),
        "se": se.ravel(),
        "z": z.ravel(),
        "p": p_of.ravel(),
        "status": np.repeat(names, p),
    }
    return as_frame(columns, backend)


def precision_of(values: Any) -> contextlib.AbstractContextManager[Any]:
    """A scope in which computations on `values` keep float64, whatever the process's flag."""
    wide = values.dtype == np.float64 and not jax.config.jax_enable_x64
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def _require_lanes(fits: Fit) -> None:
    if fits.params.ndim != 2:
        raise ValueError(
            f"fits: params of shape {fits.params.shape}; allowed are fits of fit_many, (B, p)."
        )


class _Grouping(NamedTuple):
    """Rows sorted by group: group i is order[starts[i] : starts[i] + counts[i]]."""

    labels: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


def _sort(groups: ArrayLike, n: int) -> _Grouping:
    found = np.asarray(groups)
    if found.shape != (n,):
        raise ValueError(f"groups: shape {found.shape}; X has {n} rows, so allowed is ({n},).")
    missing = is_missing(found)
    if missing.any():
        raise ValueError(
            f"groups: {missing.sum()} missing labels (first at row {missing.argmax()})."
        )
    labels, member, counts = np.unique(found, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    return _Grouping(labels, np.argsort(member, kind="stable"), starts, counts)


def _read_rows(
    X: ArrayLike,
    y: ArrayLike,
    offset: ArrayLike | None,
    var_weights: ArrayLike | None,
    freq_weights: ArrayLike | None,
    n_trials: ArrayLike | None,
) -> dict[str, Any]:
    """The arguments by row, each with n rows; scalars are spread out."""
    X, y = to_host("X", X), to_host("y", y)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X: shape {X.shape}; allowed is (n, p) with n, p >= 1.")
    n = X.shape[0]
    if y.shape not in ((n,), (n, 2)):
        raise ValueError(f"y: shape {y.shape}; X has {n} rows, so allowed are ({n},), ({n}, 2).")
    named = {"offset": offset, "var_weights": var_weights}
    named |= {"freq_weights": freq_weights, "n_trials": n_trials}
    rows: dict[str, Any] = {"X": X, "y": y}
    for name, value in named.items():
        array = None if value is None else to_host(name, value)
        if array is not None and array.shape not in ((), (n,)):
            raise ValueError(f"{name}: shape {array.shape}; allowed are () and ({n},).")
        rows[name] = None if array is None else np.broadcast_to(array, (n,))
    rows["freq_weights"] = np.ones(n) if freq_weights is None else rows["freq_weights"]
    return rows


def _with_trials(rows: dict[str, Any]) -> dict[str, Any]:
    """Proportions and their trials, which make all batches take the general path of Binomial.

    Without them a batch whose responses happen to be all 0 or 1 would take a path of its own.
    """
    y, trials = np.asarray(rows["y"]), rows["n_trials"]
    if y.ndim == 1:
        needed = trials is None and not ((y == 0) | (y == 1)).all()
        return {"n_trials": np.ones(len(y))} if needed else {}
    if trials is not None:
        raise ValueError("n_trials: already given by y's (success, failure) columns; pass one.")
    total = y.sum(axis=1, dtype=float)
    sound = (y >= 0).all(axis=1) & np.isfinite(total)
    share = np.divide(y[:, 0], total, out=np.zeros_like(total), where=total > 0)
    share, total = np.where(sound, share, np.nan), np.where(sound, total, 1.0)
    wide = isinstance(rows["y"], jax.Array)
    return {"y": jnp.asarray(share, rows["X"].dtype) if wide else share, "n_trials": total}


def _fill_up(rows: dict[str, Any], grouping: _Grouping, which: np.ndarray) -> GroupBatch:
    """The groups `which` as lanes of one length."""
    starts, counts = grouping.starts[which], grouping.counts[which]
    position = np.arange(_lane_length(int(counts.max())))
    inside = position[None, :] < counts[:, None]
    place = np.where(inside, starts[:, None] + position[None, :], 0)
    index = grouping.order[place]

    def lanes(name: str, filler: float) -> Any:
        value = rows[name]
        if value is None:
            return None
        keep = inside.reshape(*inside.shape, *(1,) * (value.ndim - 1))
        picked = np.where(keep, np.asarray(value)[index], np.asarray(filler, value.dtype))
        with precision_of(picked):
            return jnp.asarray(picked) if isinstance(value, jax.Array) else picked

    return GroupBatch(
        X=lanes("X", 0.0),
        y=lanes("y", 0.0),
        freq_weights=lanes("freq_weights", 0.0),
        offset=lanes("offset", 0.0),
        var_weights=lanes("var_weights", 1.0),
        n_trials=lanes("n_trials", 1.0),
        labels=grouping.labels[which],
    )


def _lane_length(rows: int) -> int:
    """The least of 8, 12, 16, 24, 32, 48, ... that holds so many rows."""
    power = max(SHORTEST, 1 << (rows - 1).bit_length())
    between = 3 * power // 4
    return between if SHORTEST <= between and rows <= between else power


def _similar_lengths(counts: np.ndarray) -> list[np.ndarray]:
    """Group numbers in batches whose lanes are alike in length, the longest first."""
    lengths = np.array([_lane_length(int(count)) for count in counts])
    rest, batches = np.arange(counts.size), []
    while rest.size:
        near = SPREAD * lengths[rest] >= lengths[rest].max()
        batches.append(rest[near])
        rest = rest[~near]
    return batches
