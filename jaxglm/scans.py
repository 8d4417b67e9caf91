"""Floor 9: one column after another beside the same covariates: genome-wide scans, screening.

A Wald scan fits every lane. A score scan fits the covariates alone, once; each lane is then a
projection, and all lanes are matrix products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._special import chi2_sf, two_sided_normal, two_sided_t
from jaxglm._types import Array, ArrayLike, record
from jaxglm.batch import fit_many, lanes_at_once
from jaxglm.designs import Augmented
from jaxglm.families import Binomial, Family
from jaxglm.fit import Fit, Status, prepare, to_host
from jaxglm.lane_arguments import dtype_of
from jaxglm.lanes import has_inference, precision_of, wald_lanes
from jaxglm.linalg import highest, inverse_pd, pivot_tolerance
from jaxglm.model import eta_score, expected_weight
from jaxglm.penalties import Jeffreys, Penalty
from jaxglm.solvers import IRLS, Solver

__all__ = ["Scan", "scan"]

# Chunks of lanes in one call of a score scan.
MOST_CHUNKS = 64
# Statuses that a bias-reducing penalty may turn into an estimate.
RETRIED = (Status.separated, Status.singular, Status.max_steps, Status.diverged)


@record
class Scan:
    """The varying columns' part of every lane.

    estimate, se (B,), or (B, k) where varying is (B, n, k); statistic, pvalue (B,) of the joint
    test of a lane's columns; status (B,); refitted (B,), whether the numbers are of the penalised
    fit. Lanes without inference have NaN statistics.
    """

    estimate: Array
    se: Array
    statistic: Array
    pvalue: Array
    status: Array
    refitted: Array

    @property
    def z(self) -> Array:
        """estimate / se, each column alone."""
        return self.estimate / self.se


class _Inputs(NamedTuple):
    """What belongs to the rows or the model, as one pytree; any leaf may have lanes."""

    y: Any
    offset: Any
    var_weights: Any
    freq_weights: Any
    n_trials: Any
    family: Family
    scale: Any


class _Plan(NamedTuple):
    """What is compiled in: the structure of inputs and null fit, their leaves with lanes."""

    treedef: Any
    mapped: tuple[bool, ...]
    chunk: int


def scan(
    shared: ArrayLike,
    varying: ArrayLike,
    y: ArrayLike,
    family: Family = Binomial(),  # noqa: B008 - frozen
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    test: Literal["wald", "score"] = "wald",
    fallback: Literal["firth"] | None = None,
    use_t: bool = False,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
    dtype: Any = None,
    progress: bool = False,
    devices: Sequence[Any] | None = None,
) -> Scan:
    """Test each of B columns, or blocks of k columns, beside the same covariates.

    shared (n, q), the intercept among its columns; varying (B, n) or (B, n, k); y, offset, weights,
    n_trials, `scale` and parameters of the family as in `fit_many`, with or without lanes. A value
    of `varying` that is not finite makes its lane `invalid_data`, a column that the covariates
    explain makes it `singular`.

    test="wald" fits every lane; the statistic is chi-squared on k, or F if `use_t`. test="score"
    fits the null model only, the covariates alone (Rao 1948): U'V^-1 U / phi with U = G's,
    V = G'wG - G'wX (X'wX)^-1 X'wG, expected weights and phi of the null model; estimate V^-1 U is
    then one scoring step, exact to first order for small effects, with se from phi V^-1. A
    parameter of the family that is to be estimated is the null model's.

    fallback="firth", for Wald: lanes that have no finite or no regular estimate are fitted again
    with `penalties.Jeffreys` (Firth 1993; Heinze & Schemper 2002), and keep that fit where it
    converges; their statistic is Wald's, which is conservative there. A host function: under
    `jit`, `grad` or `vmap` use `fit_many` with `designs.Augmented`. Raises ValueError for wrong
    shapes and options.
    """
    _check_options(test, fallback, use_t)
    if any(isinstance(v, jax.core.Tracer) for v in (shared, varying, y)):
        raise TypeError("scan: not under jit, grad or vmap; use fit_many(Augmented(...), ...).")
    if np.ndim(varying) not in (2, 3):
        raise ValueError(
            f"varying: shape {np.shape(varying)}; allowed are (B, n) and (B, n, k), lanes first."
        )
    rows = _Inputs(y, offset, var_weights, freq_weights, n_trials, family, scale)
    rows = _read(rows, np.shape(shared)[0])
    _check_lanes(rows, _lanes_of(rows, np.shape(shared)[0]), np.shape(varying)[0])
    dtype = dtype_of(shared, varying, rows.y) if dtype is None else dtype
    engine = _Engine(solver, chunk_size, dtype, devices)
    if test == "score":
        return _score_scan(engine, shared, varying, rows, *_fit_null(engine, shared, rows))
    fits = engine.fit(Augmented(shared, varying), rows, progress=progress)
    found = _wald_scan(fits, np.shape(varying), use_t)
    if fallback is None:
        return found
    return _refit_failed(engine, shared, varying, rows, found, use_t)


class _Engine(NamedTuple):
    """How lanes are fitted."""

    solver: Solver
    chunk_size: int | None
    dtype: Any
    devices: Sequence[Any] | None

    def fit(
        self,
        X: Any,
        rows: _Inputs,
        *,
        penalty: Penalty | None = None,
        progress: bool = False,
    ) -> Fit:
        """`fit_many` of these rows."""
        return fit_many(
            X,
            rows.y,
            rows.family,
            offset=rows.offset,
            var_weights=rows.var_weights,
            freq_weights=rows.freq_weights,
            n_trials=rows.n_trials,
            penalty=penalty,
            scale=rows.scale,
            solver=self.solver,
            chunk_size=self.chunk_size,
            dtype=self.dtype,
            progress=progress,
            devices=self.devices,
            likelihood=False,
        )


def _check_options(test: str, fallback: str | None, use_t: bool) -> None:
    if test not in ("wald", "score"):
        raise ValueError(f"test={test!r}: allowed are 'wald', 'score'.")
    if fallback not in (None, "firth"):
        raise ValueError(f"fallback={fallback!r}: allowed are None, 'firth'.")
    if test == "score" and (fallback is not None or use_t):
        raise ValueError("fallback, use_t: only with test='wald'; a score test fits no lane.")


def _read(rows: _Inputs, n: int) -> _Inputs:
    family = rows.family() if isinstance(rows.family, type) else rows.family
    arrays = {
        name: None if getattr(rows, name) is None else to_host(name, getattr(rows, name))
        for name in _Inputs._fields[:5]
    }
    if arrays["y"].ndim == 0 or n not in arrays["y"].shape:
        raise ValueError(f"y: shape {arrays['y'].shape}; shared has {n} rows.")
    return _Inputs(**arrays, family=family, scale=rows.scale)


def _lanes_of(rows: _Inputs, n: int) -> _Inputs:
    """For every leaf of `rows` whether it has lanes."""
    pairs = rows.family.counts_trials and np.shape(rows.y) == (n, 2)
    plain = jax.tree.map(lambda leaf: np.ndim(leaf) == 1, rows._replace(scale=None))
    named = {name: np.ndim(getattr(rows, name)) == 2 for name in _ROW_ARGUMENTS}
    named = {k: None if getattr(rows, k) is None else v for k, v in named.items()}
    # A name of an estimate has no dimensions.
    scale = None if rows.scale is None else np.ndim(rows.scale) == 1
    return plain._replace(y=np.ndim(rows.y) > 1 and not pairs, scale=scale, **named)


_ROW_ARGUMENTS = ("offset", "var_weights", "freq_weights", "n_trials")


def _check_lanes(rows: _Inputs, lanes: _Inputs, count: int) -> None:
    sizes = jax.tree.map(lambda leaf, own: len(leaf) if own else count, rows, lanes)
    if any(size != count for size in jax.tree.leaves(sizes)):
        others = set(jax.tree.leaves(sizes)) - {count}
        raise ValueError(f"varying: {count} lanes; other arguments have {sorted(others)}.")


def _fit_null(engine: _Engine, shared: ArrayLike, rows: _Inputs) -> tuple[Fit, bool]:
    """The fit of the covariates alone, and whether there is one for every lane."""
    n = np.shape(shared)[0]
    if any(jax.tree.leaves(_lanes_of(rows, n))):
        return engine.fit(shared, rows), True
    null = engine.fit(shared, rows._replace(y=rows.y[None]))
    return jax.tree.map(lambda v: v[0], null), False


def _wald_scan(fits: Fit, shape: tuple[int, ...], use_t: bool) -> Scan:
    """The last columns of the fits, and their joint test."""
    k = 1 if len(shape) == 2 else shape[2]
    q = fits.params.shape[1] - k
    with precision_of(fits.params):
        estimate, se = fits.params[:, q:], fits.bse[:, q:]
        if k == 1:
            z = jnp.where(has_inference(fits), (estimate / se)[:, 0], jnp.nan)
            statistic = z * z
            tail = two_sided_t(z, fits.df_resid) if use_t else two_sided_normal(z)
            pvalue = jnp.where(jnp.isnan(z), jnp.nan, tail)
        else:
            joint = wald_lanes(fits, np.eye(q + k)[q:], use_t=use_t)
            statistic, pvalue = joint.statistic, joint.pvalue
        if len(shape) == 2:
            estimate, se = estimate[:, 0], se[:, 0]
        refitted = jnp.zeros(shape[0], bool)
        return Scan(estimate, se, statistic, pvalue, fits.status, refitted)


def _refit_failed(
    engine: _Engine,
    shared: ArrayLike,
    varying: ArrayLike,
    rows: _Inputs,
    found: Scan,
    use_t: bool,
) -> Scan:
    """Lanes without an estimate with Jeffreys' prior; those that then converge replace theirs."""
    failed = np.flatnonzero(np.isin(np.asarray(found.status), [int(s) for s in RETRIED]))
    if failed.size == 0:
        return found
    some = to_host("varying", varying)[failed]
    lanes = _lanes_of(rows, np.shape(shared)[0])
    mine = jax.tree.map(lambda leaf, own: np.asarray(leaf)[failed] if own else leaf, rows, lanes)
    fits = engine.fit(Augmented(shared, some), mine, penalty=Jeffreys())
    again = _wald_scan(fits, some.shape, use_t)
    cured = np.asarray(again.status) == int(Status.converged)
    again = dataclasses.replace(again, refitted=jnp.asarray(cured))
    with precision_of(found.estimate):
        index, kept = failed[cured], np.flatnonzero(cured)
        return jax.tree.map(lambda old, new: old.at[index].set(new[kept]), found, again)


def _score_scan(
    engine: _Engine,
    shared: ArrayLike,
    varying: ArrayLike,
    rows: _Inputs,
    null: Fit,
    null_lanes: bool,
) -> Scan:
    """Rao's test in every lane, some lanes at a time."""
    shared, varying = to_host("shared", shared), to_host("varying", varying)
    count, n = varying.shape[:2]
    # The family with its parameters is the null model's.
    mapped = _lanes_of(rows, n)._replace(family=None, scale=None)
    own_null = jax.tree.map(lambda _: null_lanes, null)
    with precision_of(null.params):
        plain = rows._replace(family=None, scale=None)
        plain = jax.tree.map(lambda leaf: jnp.asarray(leaf, null.params.dtype), plain)
        X = jnp.asarray(shared, null.params.dtype)
        leaves, treedef = jax.tree.flatten((plain, null))
        chunk = lanes_at_once(engine.chunk_size, X.shape, count, X.dtype)
        plan = _Plan(treedef, tuple(jax.tree.leaves((mapped, own_null))), chunk)
        common = [leaf for leaf, own in zip(leaves, plan.mapped, strict=True) if not own]
        parts = []
        for part in _groups(count, plan.chunk * MOST_CHUNKS):
            own = [leaf[part] for leaf, m in zip(leaves, plan.mapped, strict=True) if m]
            # Genotypes may come as small integers, and widen part by part.
            columns = jnp.asarray(varying[part], null.params.dtype)
            parts.append(_score_group(plan, X, columns, own, common))
        whole = jax.tree.map(lambda *v: jnp.concatenate(v)[:count], *parts)
    if varying.ndim == 3:
        return whole
    return dataclasses.replace(whole, estimate=whole.estimate[:, 0], se=whole.se[:, 0])


def _groups(count: int, size: int) -> list[Any]:
    """Lanes in parts of one size, the last filled up by its own last lane."""
    size = min(size, count)
    return [
        np.minimum(np.arange(start, start + size), count - 1) for start in range(0, count, size)
    ]


@partial(jax.jit, static_argnums=0)
def _score_group(
    plan: _Plan, shared: Array, varying: Array, own: list[Array], common: list[Array]
) -> Scan:
    def lane(columns: Array, own: list[Array]) -> Scan:
        mine, others = iter(own), iter(common)
        leaves = [next(mine) if m else next(others) for m in plan.mapped]
        rows, null = jax.tree.unflatten(plan.treedef, leaves)
        return _score_lane(shared, columns.T if columns.ndim == 2 else columns[None], rows, null)

    return jax.lax.map(lambda both: lane(*both), (varying, own), batch_size=plan.chunk)


def _score_lane(shared: Array, columns: Array, given: _Inputs, null: Fit) -> Scan:
    """Rao's test of `columns` (k, n); what depends on the null model alone is not batched."""
    problem, invalid = prepare(
        shared,
        given.y,
        null.family,
        offset=given.offset,
        var_weights=given.var_weights,
        freq_weights=given.freq_weights,
        n_trials=given.n_trials,
    )
    rows, design, family = problem.rows, problem.design, problem.family
    eta = rows.eta(design.predictor(null.params))
    s = rows.weigh(eta_score(family, rows.y, eta))
    w = rows.weigh(expected_weight(family, eta))[None, :]
    present = (jnp.ones_like(eta, bool) if rows.prior is None else rows.prior > 0)[None, :]
    spoiled = jnp.any(present & ~jnp.isfinite(columns))
    columns = jnp.where(present & jnp.isfinite(columns), columns, 0.0)
    slopes = highest(jax.vmap(design.score)(w * columns), null.cov_unscaled)
    # What is left of a column keeps the digits that the difference in V would lose.
    rest = columns - jax.vmap(design.predictor)(slopes)
    score, information = highest(rest, s), highest(w * rest, rest.T)
    inverse = inverse_pd(information)
    # The last pivot of the lane's Cholesky factorization, judged as a fit would judge it.
    tolerance = pivot_tolerance(shared.shape[1] + columns.shape[0], eta.dtype)
    explained = jnp.diagonal(information) <= tolerance * jnp.sum(w * columns**2, axis=1)
    singular = jnp.any(explained) | ~jnp.all(jnp.isfinite(inverse))
    status = jnp.where(singular, int(Status.singular), null.status)
    status = jnp.where(has_inference(null), status, null.status)
    status = jnp.where(spoiled | invalid, int(Status.invalid_data), status)
    void = spoiled | invalid | singular | ~has_inference(null)
    estimate = jnp.where(void, jnp.nan, highest(inverse, score))
    statistic = estimate @ score / null.scale
    return Scan(
        estimate=estimate,
        se=jnp.where(void, jnp.nan, jnp.sqrt(null.scale * jnp.diagonal(inverse))),
        statistic=statistic,
        pvalue=jnp.where(void, jnp.nan, _tail(statistic, columns.shape[0])),
        status=status.astype(jnp.int32),
        refitted=jnp.zeros((), bool),
    )


def _tail(statistic: Array, k: int) -> Array:
    return two_sided_normal(jnp.sqrt(statistic)) if k == 1 else chi2_sf(statistic, float(k))
