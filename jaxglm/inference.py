"""Floor 9: tests of coefficients and between models.

Statistics come as chi-squared or, where the dispersion is estimated, as F: every function takes
what decides it, the denominator's degrees of freedom or `known_scale`. Nothing here refits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._special import chi2_sf, f_sf, t_quantile, two_sided_normal, two_sided_t
from jaxglm._types import Array, ArrayLike, inexact, record, static
from jaxglm.fit import Fit
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import (
    Problem,
    eta_score,
    expected_weight,
    observed_weight,
    penalised_score,
    score_jacobian,
    totals,
)
from jaxglm.submodels import hold

__all__ = [
    "Contrasts",
    "LikelihoodRatioTest",
    "PairwiseTests",
    "ScoreTest",
    "WaldTest",
    "adjust_pvalues",
    "contrasts",
    "likelihood_ratio",
    "pairwise",
    "score_test",
    "score_test_at",
    "upper_tail",
    "wald",
]

ADJUSTMENTS = ("bh", "holm", "bonferroni", "holm-sidak")
Adjustment = Literal["bh", "holm", "bonferroni", "holm-sidak"]


@record
class Contrasts:
    """Linear combinations R beta, each tested alone; fields (k,).

    `statistic` is (estimate - q) / se, z or t by the degrees of freedom given; lower, upper are
    limits for R beta.
    """

    estimate: Array
    se: Array
    statistic: Array
    pvalue: Array
    lower: Array
    upper: Array


@record
class PairwiseTests:
    """Contrasts of pairs, fields (k,); `adjusted` are the p-values for their number."""

    estimate: Array
    se: Array
    statistic: Array
    pvalue: Array
    lower: Array
    upper: Array
    adjusted: Array
    pairs: tuple[str, ...] = static()


@record
class WaldTest:
    """A joint test: `statistic` is chi-squared on `df`, or F on (`df`, `df_denominator`).

    df_denominator is inf for chi-squared.
    """

    statistic: Array
    df: Array
    df_denominator: Array
    pvalue: Array


@record
class LikelihoodRatioTest:
    """Two nested models compared on `df` degrees of freedom, by chi-squared and by F.

    chi2 = deviance / scale, with the larger model's scale; f = chi2 / df, on (df, df_denominator),
    which is inf where the scale is known and the two p-values agree.
    """

    deviance: Array
    df: Array
    df_denominator: Array
    scale: Array
    chi2: Array
    pvalue: Array
    f: Array
    f_pvalue: Array


@record
class ScoreTest:
    """Rao's test: `statistic` is chi-squared on `df`; z (k,), z_pvalue test columns one by one.

    It unpacks as statsmodels' does, into statistic, pvalue and df.
    """

    statistic: Array
    df: Array
    pvalue: Array
    z: Array
    z_pvalue: Array

    def __iter__(self) -> Iterator[Array]:
        return iter((self.statistic, self.pvalue, self.df))

    def __getitem__(self, place: int) -> Array:
        return tuple(self)[place]


def contrasts(
    params: Array,
    cov: Array,
    R: ArrayLike,
    q: ArrayLike = 0.0,
    df: ArrayLike | None = None,
    alpha: ArrayLike = 0.05,
) -> Contrasts:
    """Estimate and test each row of R beta = q by itself.

    se = sqrt(r C r') with C = cov; t on df degrees of freedom, z where df is None. R (k, p) or
    (p,), q a number or (k,).
    """
    R, q = _equations(R, q, params)
    return _contrasts(params, cov, R, q, df, alpha)


@jax.jit
def _contrasts(
    params: Array, cov: Array, R: Array, q: Array, df: ArrayLike | None, alpha: ArrayLike
) -> Contrasts:
    estimate = highest(R, params)
    se = jnp.sqrt(jnp.sum(highest(R, cov) * R, axis=1))
    statistic = (estimate - q) / se
    half = -t_quantile(jnp.asarray(alpha, se.dtype) / 2.0, jnp.inf if df is None else df) * se
    tail = two_sided_normal(statistic) if df is None else two_sided_t(statistic, df)
    pvalue = jnp.where(jnp.isnan(statistic), jnp.nan, tail)
    return Contrasts(estimate, se, statistic, pvalue, estimate - half, estimate + half)


def pairwise(
    params: Array,
    cov: Array,
    R: ArrayLike,
    pairs: tuple[str, ...],
    df: ArrayLike | None = None,
    alpha: ArrayLike = 0.05,
    method: Adjustment = "holm-sidak",
) -> PairwiseTests:
    """`contrasts` R (k, p) of these pairs, with p-values adjusted for their number.

    The limits are those of each contrast alone.
    """
    found = contrasts(params, cov, R, 0.0, df, alpha)
    each = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return PairwiseTests(**each, adjusted=adjust_pvalues(found.pvalue, method), pairs=pairs)


def wald(
    params: Array, cov: Array, R: ArrayLike, q: ArrayLike | None = None, df: ArrayLike | None = None
) -> WaldTest:
    """Test R beta = q by (R b - q)' (R C R')^-1 (R b - q), C = cov.

    Chi-squared on rank(R C R'); F, the statistic over that rank, where the denominator's `df` is
    given. Redundant rows of R, or a C that is singular along some (few clusters), lower the rank;
    rows that contradict each other give NaN. R (k, p) or (p,), q a number or (k,), 0 if None.
    """
    R, q = _equations(R, 0.0 if q is None else q, params)
    return _wald(params, cov, R, q, df)


@jax.jit
def _wald(params: Array, cov: Array, R: Array, q: Array, df: ArrayLike | None) -> WaldTest:
    gap = highest(R, params) - q
    joint = highest(R, highest(cov, R.T))
    size = jnp.sqrt(jnp.diagonal(joint))
    # On the scale of correlations a rank can be seen whatever the units of the columns.
    values, vectors = jnp.linalg.eigh(joint / size[None, :] / size[:, None])
    tolerance = 1e2 * R.shape[0] * jnp.finfo(values.dtype).eps
    kept = values > tolerance
    along = highest(gap / size, vectors)
    statistic = jnp.sum(jnp.where(kept, along**2 / jnp.where(kept, values, 1.0), 0.0))
    contradiction = jnp.any(~kept & (jnp.abs(along) > 1e3 * jnp.sqrt(tolerance)))
    statistic = jnp.where(contradiction | ~jnp.all(jnp.isfinite(values)), jnp.nan, statistic)
    rank = jnp.sum(kept).astype(statistic.dtype)
    if df is None:
        return WaldTest(statistic, rank, jnp.full_like(rank, jnp.inf), upper_tail(statistic, rank))
    f = statistic / rank
    return WaldTest(f, rank, jnp.asarray(df, rank.dtype), upper_tail(f, rank, df))


def likelihood_ratio(
    restricted: Fit, full: Fit, *, known_scale: bool | None = None
) -> LikelihoodRatioTest:
    """Compare a model with a larger one that contains it; single fits, or batches lane by lane.

    chi2 = (D0 - D1) / phi, 2 log of the likelihood ratio, on the difference of the residual degrees
    of freedom; phi is the scale of the larger model, as in R's anova(test = "LRT" and "F").
    `known_scale`: whether it was not estimated; None: by family. Where a parameter of the family
    differs between the fits (negative binomial with alpha estimated) chi2 is 2 (l1 - l0).

    Both must be maximum likelihood: a penalty's deviance is no minimum, and has no such law. Raises
    if `full` has no more coefficients than `restricted`, or a larger deviance.
    """
    df = restricted.df_resid - full.df_resid
    deviance = restricted.deviance - full.deviance
    known = full.family.fixed_scale if known_scale is None else known_scale
    scale = full.scale
    if full.family.unknown is None:
        chi2 = deviance / scale
    else:
        chi2 = _ratio_with_parameter(restricted, full)
    _require_nested(df, chi2)
    denominator = jnp.full_like(df, jnp.inf) if known else full.df_resid
    f = chi2 / df
    pvalue, f_pvalue = upper_tail(chi2, df), upper_tail(f, df, denominator)
    return LikelihoodRatioTest(deviance, df, denominator, scale, chi2, pvalue, f, f_pvalue)


def score_test(
    problem: Problem,
    fitted: Fit,
    extra: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    observed: bool = False,
    robust: bool = False,
) -> ScoreTest:
    """Rao's test that added columns `extra` (n, k) or (n,) have no effect, without fitting them.

    U'(E'wE)^-1 U / phi with U = extra's and E what is left of `extra` after its weighted
    projection on X. phi is the dispersion of the fitted, smaller model (Rao 1948; Smyth 2003), as
    in R's anova(test = "Rao") and statmod's glm.scoretest, or `scale`. z are the tests of each
    column alone.

    w are the weights of the expected information, or of the observed one where `observed`, which
    may not be positive away from the canonical link (NaN). robust: U'V^-1 U with V the sum of
    s_i^2 e_i e_i', free of the variance function and of phi (White 1982; Boos 1992), as
    statsmodels' cov_type="HC0".
    """
    held, extra = hold(problem, fitted), jnp.asarray(extra, problem.design.dtype)
    extra = extra if extra.ndim == 2 else extra[:, None]
    if extra.shape[0] != problem.design.shape[0]:
        raise ValueError(f"extra: {extra.shape[0]} rows; the model has {problem.design.shape[0]}.")
    phi = fitted.scale if scale is None else jnp.asarray(scale, fitted.params.dtype)
    return _score_test(held, fitted.params, extra, phi, observed, robust)


def score_test_at(
    problem: Problem,
    params: Array,
    df: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    observed: bool = False,
) -> ScoreTest:
    """Rao's test of R beta = q from the estimate `params` (p,) under these `df` equations.

    U'(X'wX)^-1 U / phi at params, of the unrestricted model `problem`; expected information, or
    the `observed`. phi: 1 where the family has no dispersion, else Pearson's at params, or `scale`.
    z is the score of each coefficient over its standard deviation, sqrt(phi / (X'wX)^-1_jj).
    """
    if problem.penalty is not None:
        raise ValueError("penalty: the score test needs a model without a penalty.")
    return _score_test_at(problem, params, jnp.asarray(df, params.dtype), scale, observed)


@partial(jax.jit, static_argnames="observed")
def _score_test_at(
    problem: Problem, params: Array, df: Array, scale: ArrayLike | None, observed: bool
) -> ScoreTest:
    sums = totals(problem, params)
    if scale is None:
        left = problem.rows.total_frequency - params.shape[0] + df
        scale = jnp.ones_like(df) if problem.family.fixed_scale else sums.pearson / left
    information = score_jacobian(problem, params) if observed else sums.information
    score, inverse = penalised_score(problem, params), inverse_pd(information)
    statistic = score @ highest(inverse, score) / scale
    z = score * jnp.sqrt(jnp.diagonal(inverse) / scale)
    return ScoreTest(statistic, df, upper_tail(statistic, df), z, two_sided_normal(z))


def adjust_pvalues(p: ArrayLike, method: Adjustment = "bh") -> Array:
    """p-values adjusted for the number of tests along the last axis; NaNs count as no test.

    "bh" controls the false discovery rate (Benjamini & Hochberg 1995), "bonferroni", "holm" (1979)
    and "holm-sidak" (Sidak 1967's bound in Holm's steps, which wants tests that are independent or
    normal) the probability of any false rejection.
    """
    p = inexact(p)
    if method not in ADJUSTMENTS:
        allowed = ", ".join(map(repr, ADJUSTMENTS))
        raise ValueError(f"method={method!r}: allowed are {allowed}.")
    count = jnp.sum(~jnp.isnan(p), axis=-1, keepdims=True).astype(p.dtype)
    if method == "bonferroni":
        return jnp.minimum(p * count, 1.0)
    order = jnp.argsort(p, axis=-1)
    ranks = jnp.broadcast_to(jnp.arange(1, p.shape[-1] + 1, dtype=p.dtype), p.shape)
    ascending = jnp.take_along_axis(p, order, axis=-1)
    left = count - ranks + 1.0
    if method == "holm":
        raised = jax.lax.cummax(ascending * left, axis=p.ndim - 1)
    elif method == "holm-sidak":
        raised = jax.lax.cummax(-jnp.expm1(left * jnp.log1p(-ascending)), axis=p.ndim - 1)
    else:
        filled = jnp.where(jnp.isnan(ascending), jnp.inf, ascending * count / ranks)
        raised = jax.lax.cummin(filled, axis=p.ndim - 1, reverse=True)
    back = jnp.take_along_axis(jnp.minimum(raised, 1.0), jnp.argsort(order, axis=-1), axis=-1)
    return jnp.where(jnp.isnan(p), jnp.nan, back)


@jax.jit
def upper_tail(statistic: Array, df: Array, denominator: ArrayLike | None = None) -> Array:
    """P(F > statistic), or chi-squared's where the denominator is None; NaN of a NaN."""
    tail = chi2_sf(statistic, df) if denominator is None else f_sf(statistic, df, denominator)
    return jnp.where(jnp.isnan(statistic), jnp.nan, tail)


def _equations(R: ArrayLike, q: ArrayLike, params: Array) -> tuple[Array, Array]:
    """R as a matrix (k, p) and q as (k,), in the dtype of params."""
    R, q = jnp.asarray(R, params.dtype), jnp.asarray(q, params.dtype)
    R = R[None, :] if R.ndim == 1 else R
    if R.ndim != 2 or R.shape[1] != params.shape[0]:
        raise ValueError(
            f"R: shape {R.shape}; allowed is (k, {params.shape[0]}), a row a hypothesis."
        )
    if q.shape not in ((), R.shape[:1]):
        raise ValueError(f"q: shape {q.shape}; allowed are () and {R.shape[:1]}, as R has rows.")
    return R, jnp.broadcast_to(q, R.shape[:1])


def _ratio_with_parameter(restricted: Fit, full: Fit) -> Array:
    name = full.family.unknown.field  # type: ignore[union-attr]
    same = getattr(restricted.family, name) == getattr(full.family, name)
    by_deviance = (restricted.deviance - full.deviance) / full.scale
    if not full.family.fixed_scale:
        # Deviances of two variance functions, or likelihoods at Pearson's scale, don't compare.
        return jnp.where(same, by_deviance, jnp.nan)
    return jnp.where(same, by_deviance, 2.0 * (full.loglike - restricted.loglike))


def _require_nested(df: Array, chi2: Array) -> None:
    if isinstance(df, jax.core.Tracer) or isinstance(chi2, jax.core.Tracer):
        return
    if bool(jnp.any(df <= 0)):
        raise ValueError(
            f"restricted, full: the degrees of freedom differ by {np.min(np.asarray(df)):g}; "
            "`full` must have more coefficients than `restricted`."
        )
    # A chi-squared may be negative by rounding, and by what a solver's tolerance leaves.
    if bool(jnp.any(chi2 < -1e-3)):
        raise ValueError(
            f"restricted, full: the larger model fits worse by {-np.min(np.asarray(chi2)):g}; "
            "models must be nested and fitted to the same data."
        )


@partial(jax.jit, static_argnames=("observed", "robust"))
def _score_test(
    problem: Problem, beta: Array, extra: Array, phi: Array, observed: bool, robust: bool
) -> ScoreTest:
    rows, design, family = problem.rows, problem.design, problem.family
    eta = rows.eta(design.predictor(beta))
    s = rows.weigh(eta_score(family, rows.y, eta))
    w = observed_weight(family, rows.y, eta) if observed else expected_weight(family, eta)
    w = rows.weigh(w)
    inverse = inverse_pd(design.gram(w))
    # A row that is gone may hold anything in its added columns.
    counts = jnp.ones_like(w, bool) if rows.prior is None else rows.prior > 0
    extra = jnp.where(counts[:, None], extra, 0.0)
    slopes = highest(inverse, jax.vmap(design.score, 1, 1)(w[:, None] * extra))
    rest = extra - jax.vmap(design.predictor, 1, 1)(slopes)
    # At the maximum X's = 0 and `rest` could be `extra`; rounding is smaller this way.
    score, variance = highest(s, rest), phi * highest((w[:, None] * rest).T, rest)
    if robust:
        weight, frequency = rows.replicates
        own = frequency * (weight * eta_score(family, rows.y, eta)) ** 2
        variance = highest((own[:, None] * rest).T, rest)
    statistic = score @ highest(inverse_pd(variance), score)
    df = jnp.asarray(extra.shape[1], phi.dtype)
    z = score / jnp.sqrt(jnp.diagonal(variance))
    return ScoreTest(statistic, df, upper_tail(statistic, df), z, two_sided_normal(z))
