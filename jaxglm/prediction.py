"""Floor 9: what a fitted model says about means and new observations, and marginal effects.

All from the family, the coefficients and their covariance; no fit is needed, and the covariance
may be any of `covariance`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import as_frame, column_numbers
from jaxglm._special import t_quantile, two_sided_normal, two_sided_t
from jaxglm._types import Array, ArrayLike, inexact, record, static
from jaxglm.designs import Design, as_design
from jaxglm.families import Family
from jaxglm.linalg import highest

__all__ = [
    "Margins",
    "MeanIntervals",
    "ObservationIntervals",
    "Predictions",
    "TermContributions",
    "average_marginal_effects",
    "average_prediction",
    "mean_intervals",
    "observation_intervals",
    "predict",
    "simulate",
    "simulated_intervals",
    "statistic_intervals",
    "term_contributions",
]

WHICH = ("mean", "linear", "var_unscaled")
KINDS = ("dydx", "eyex", "dyex", "eydx")
Which = Literal["mean", "linear", "var_unscaled"]
Kind = Literal["dydx", "eyex", "dyex", "eydx"]


@record
class MeanIntervals:
    """Predicted means with standard errors (delta method) and limits; fields (n,).

    linear, linear_se: the linear predictor, offset included, and its standard error.
    """

    mean: Array
    se: Array
    lower: Array
    upper: Array
    linear: Array
    linear_se: Array

    @property
    def predicted_mean(self) -> Array:
        """mean, by statsmodels' name."""
        return self.mean

    @property
    def se_mean(self) -> Array:
        """se, by statsmodels' name."""
        return self.se

    def conf_int(self) -> np.ndarray:
        """The limits (n, 2)."""
        return np.column_stack([self.lower, self.upper])

    def summary_frame(self) -> Any:
        """A pandas frame of the means under statsmodels' names."""
        names = {"mean": "mean", "se": "mean_se", "lower": "mean_ci_lower"}
        names |= {"upper": "mean_ci_upper"}
        return as_frame({new: getattr(self, own) for own, new in names.items()})


@record
class Predictions:
    """What `predict` gives, with standard errors (delta method) and limits; fields (n,)."""

    predicted: Array
    se: Array
    lower: Array
    upper: Array

    def conf_int(self) -> np.ndarray:
        """The limits (n, 2)."""
        return np.column_stack([self.lower, self.upper])

    def summary_frame(self) -> Any:
        """A pandas frame under statsmodels' names."""
        columns = {"predicted": self.predicted, "se": self.se}
        return as_frame(columns | {"ci_lower": self.lower, "ci_upper": self.upper})


@record
class ObservationIntervals:
    """Limits for a new observation of each row; fields (n,)."""

    mean: Array
    lower: Array
    upper: Array


@record
class TermContributions:
    """What each of T terms adds to the linear predictor: value and se (n, T), `names` in order.

    A row's values, `constant` and the offset sum to its linear predictor.
    """

    value: Array
    se: Array
    constant: Array
    names: tuple[str, ...] = static()


@record
class Margins:
    """Average marginal effects of k columns, with delta-method errors; fields (k,)."""

    effect: Array
    se: Array
    statistic: Array
    pvalue: Array
    lower: Array
    upper: Array

    @property
    def margeff(self) -> Array:
        """effect, by statsmodels' name."""
        return self.effect

    @property
    def margeff_se(self) -> Array:
        """se, by statsmodels' name."""
        return self.se

    def summary_frame(self) -> Any:
        """A pandas frame of the fields, a row a column of the design."""
        return as_frame({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})


def predict(
    family: Family,
    params: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    which: Which = "mean",
) -> Array:
    """The mean, the linear predictor or V(mean) (n,) at the rows of X (n, p)."""
    return _statistic(family, which, _linear(_as_rows(X), params, offset))


def mean_intervals(
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    alpha: ArrayLike = 0.05,
    method: Literal["endpoint", "delta"] = "endpoint",
    df: ArrayLike | None = None,
) -> MeanIntervals:
    """Means at the rows of X (n, p) with limits at level 1 - alpha.

    "endpoint" maps the limits of eta, eta -+ c se(eta); where these pass the end of the family's
    means (1/mu at eta <= 0, a rate below 0) the limit is that end. "delta" is
    mu -+ c se(mu), se(mu) = |d mu / d eta| se(eta). c: t's quantile on df, the normal's if None.
    """
    if method not in ("endpoint", "delta"):
        raise ValueError(f"method={method!r}: allowed are 'endpoint', 'delta'.")
    design = _as_rows(X)
    eta = _linear(design, params, offset)
    eta_se = jnp.sqrt(design.leverage(cov))
    mean, slope = family.link.at(eta)
    se = jnp.abs(slope) * eta_se
    c = _cutoff(alpha, df, eta)
    if method == "delta":
        return MeanIntervals(mean.mu, se, mean.mu - c * se, mean.mu + c * se, eta, eta_se)
    a, b = _end(family, eta - c * eta_se, slope < 0), _end(family, eta + c * eta_se, slope > 0)
    # A decreasing link swaps them.
    return MeanIntervals(mean.mu, se, jnp.minimum(a, b), jnp.maximum(a, b), eta, eta_se)


def statistic_intervals(
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    which: Which = "mean",
    alpha: ArrayLike = 0.05,
    method: Literal["endpoint", "delta"] = "endpoint",
    df: ArrayLike | None = None,
) -> Predictions:
    """What `predict` gives at the rows of X (n, p), with limits at level 1 - alpha.

    Those of means as in `mean_intervals`; of others t -+ c se(t), se(t) = |d t / d eta| se(eta).
    """
    means = mean_intervals(family, params, cov, X, offset, alpha, method, df)
    if which == "mean":
        return Predictions(means.mean, means.se, means.lower, means.upper)
    value, slope = _statistic_slope(family, which, means.linear)
    return _symmetric(value, jnp.abs(slope) * means.linear_se, alpha, df)


def average_prediction(
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    which: Which = "mean",
    shares: ArrayLike | None = None,
    alpha: ArrayLike = 0.05,
    df: ArrayLike | None = None,
) -> Predictions:
    """The sum of shares_i t_i over the rows, t being what `predict` gives; fields (1,).

    shares (n,): 1/n by default. With the gradient g = X' (shares d t / d eta) the variance is
    g' cov g (delta method, rows fixed). Rows of share 0 may hold anything.
    """
    design = _as_rows(X)
    eta = _linear(design, params, offset)
    shares = jnp.full_like(eta, 1.0 / eta.size) if shares is None else inexact(shares)
    value, slope = _statistic_slope(family, which, eta)
    value, slope = (jnp.where(shares != 0, shares * v, 0.0) for v in (value, slope))
    gradient = design.cleaned().score(slope)
    return _symmetric(
        value.sum()[None], jnp.sqrt(gradient @ highest(cov, gradient))[None], alpha, df
    )


def _statistic(family: Family, which: Which, eta: Array) -> Array:
    if which not in WHICH:
        raise ValueError(f"which={which!r}: allowed are {', '.join(map(repr, WHICH))}.")
    if which == "linear":
        return eta
    mean = family.link.at(eta)[0]
    return mean.mu if which == "mean" else family.variance_at(mean)


def _statistic_slope(family: Family, which: Which, eta: Array) -> tuple[Array, Array]:
    return jax.jvp(partial(_statistic, family, which), (eta,), (jnp.ones_like(eta),))


def _symmetric(value: Array, se: Array, alpha: ArrayLike, df: ArrayLike | None) -> Predictions:
    half = _cutoff(alpha, df, value) * se
    return Predictions(value, se, value - half, value + half)


def _end(family: Family, eta: Array, upwards: Array) -> Array:
    """The mean at a limit of eta, or the edge of the mean space that it left."""
    mu, space = family.link.at(eta)[0].mu, family.mean_space
    # At an edge itself the mean may be infinite, or underflow to one that is excluded.
    within = family.link.domain.contains(eta) & (mu >= space.low) & (mu <= space.high)
    edge = jnp.where(upwards, space.high, space.low).astype(mu.dtype)
    return jnp.where(within | jnp.isnan(eta), mu, edge)


def term_contributions(
    params: Array,
    cov: Array,
    X: ArrayLike,
    centre: ArrayLike,
    terms: Mapping[str, Sequence[int]],
) -> TermContributions:
    """(x - centre)_t beta_t of the columns of each term t, as R's predict(type = "terms").

    X (n, p); centre (p,), R's being the columns' means where there is an intercept, else 0. The
    offset is part of no term.
    """
    params, rows = jnp.asarray(params), inexact(X) - inexact(centre)[None, :]
    member = np.zeros((len(terms), rows.shape[1]))
    for place, columns in zip(member, terms.values(), strict=True):
        place[list(columns)] = 1.0
    parts = rows[None, :, :] * jnp.asarray(member, rows.dtype)[:, None, :]
    value, variance = highest(parts, params), jnp.sum(highest(parts, cov) * parts, axis=-1)
    constant = inexact(centre) @ params
    return TermContributions(value.T, jnp.sqrt(variance).T, constant, tuple(terms))


def observation_intervals(
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    scale: ArrayLike = 1.0,
    var_weights: ArrayLike = 1.0,
    n_trials: ArrayLike = 1.0,
    alpha: ArrayLike = 0.05,
    df: ArrayLike | None = None,
) -> ObservationIntervals:
    """Limits for a new observation: mu -+ c sqrt(scale V(mu) / (v m) + se(mu)^2).

    With c the t quantile on df, exact for the Gaussian with identity link and a common scale, as
    R's predict.lm. Elsewhere an approximation that wants a near-normal response, cut off at the
    ends of the family's support; `simulated_intervals` does not assume that.
    """
    found = mean_intervals(family, params, cov, X, offset)
    variance = scale * family.variance(found.mean) / (inexact(var_weights) * n_trials)
    half = _cutoff(alpha, df, found.mean) * jnp.sqrt(variance + found.se**2)
    ends = [found.mean - half, found.mean + half]
    low, high = (jnp.clip(e, family.support.low, family.support.high) for e in ends)
    return ObservationIntervals(found.mean, low, high)


def simulated_intervals(
    key: Array,
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    scale: ArrayLike = 1.0,
    var_weights: ArrayLike | None = None,
    n_trials: ArrayLike = 1.0,
    alpha: ArrayLike = 0.05,
    n_draws: int = 2000,
) -> ObservationIntervals:
    """Limits for a new observation: quantiles of draws from the family.

    Each draw takes coefficients from N(params, cov), then a response at them, so both sources of
    error count and the shape of the law is kept: counts get whole limits. The error of a limit
    falls as 1 / sqrt(n_draws). A draw whose linear predictor leaves the link's domain is left out.
    """
    coefficient_key, response_key = jax.random.split(key)
    design = _as_rows(X)
    eta = _linear(design, params, offset)
    # cov may be singular (coefficients under constraints): eigenvectors, not Cholesky.
    values, vectors = jnp.linalg.eigh(cov)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]
    z = jax.random.normal(coefficient_key, (n_draws, params.shape[0]), eta.dtype)
    etas = eta[None, :] + jax.vmap(design.predictor)(highest(z, root.T))
    inside = family.link.domain.contains(etas)
    mu = family.link.at(jnp.where(inside, etas, eta[None, :]))[0].mu
    draw = simulate(response_key, family, mu, scale, n_trials, var_weights)
    draw = jnp.where(inside, draw, jnp.nan)
    level = jnp.asarray(alpha, eta.dtype) / 2.0
    # Limits that were drawn themselves: of a count, whole.
    low = jnp.nanquantile(draw, level, axis=0, method="lower")
    high = jnp.nanquantile(draw, 1.0 - level, axis=0, method="higher")
    return ObservationIntervals(family.link.at(eta)[0].mu, low, high)


def simulate(
    key: Array,
    family: Family,
    mu: ArrayLike,
    scale: ArrayLike = 1.0,
    n_trials: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    n_draws: int | None = None,
) -> Array:
    """Responses drawn at means mu (...): mu's shape, or (n_draws, ...) with independent draws.

    Var y = scale V(mu) / var_weights. A binomial draw is a proportion of n_trials
    (None: 1). Families whose scale is 1 are not drawn with var_weights: no count has that variance.
    """
    if var_weights is not None and family.fixed_scale:
        raise ValueError(
            f"var_weights: {type(family).__name__} has no dispersion to divide; allowed is None."
        )
    mu = inexact(mu)
    mu = mu if n_draws is None else jnp.broadcast_to(mu, (n_draws, *mu.shape))
    weight = jnp.ones((), mu.dtype) if var_weights is None else jnp.asarray(var_weights, mu.dtype)
    phi = jnp.broadcast_to(jnp.asarray(scale, mu.dtype) / weight, mu.shape)
    trials = 1 if n_trials is None else jnp.broadcast_to(n_trials, mu.shape)
    return family.sample(key, mu, phi, trials)


def average_marginal_effects(
    family: Family,
    params: Array,
    cov: Array,
    X: ArrayLike | Design,
    offset: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    columns: tuple[int, ...] | None = None,
    at: Literal["overall", "mean"] = "overall",
    kind: Kind = "dydx",
    discrete: tuple[int, ...] = (),
    counts: tuple[int, ...] = (),
    alpha: ArrayLike = 0.05,
    df: ArrayLike | None = None,
) -> Margins:
    """The effect of each column on the mean, averaged over the rows with `weights` (n,).

    kind: "dydx" d mu/d x; "eyex" (elasticity), "dyex" and "eydx" take the logarithm of mu (ey), of
    x (ex) or of both. at="mean" takes it at the weighted mean of rows and offset instead. Columns
    listed in `discrete` (0/1 dummies) get the difference of mu, or log mu, between 1 and 0 with
    the other columns as they are, those in `counts` half of that between x + 1 and x - 1; "eyex"
    and "dyex" make no sense there and raise. A column that is a function of another is not
    followed. columns None: all, a constant one too.
    Errors by the delta method, with the exact Jacobian in the coefficients; the rows are fixed.
    """
    if kind not in KINDS or at not in ("overall", "mean"):
        raise ValueError(
            f"at={at!r}, kind={kind!r}: allowed are 'overall', 'mean' and {', '.join(KINDS)}."
        )
    if (discrete or counts) and kind.endswith("ex"):
        raise ValueError(f"kind={kind!r}: a discrete column has no log; allowed are dydx, eydx.")
    X = _as_array(X)
    n, p = X.shape
    offset = jnp.zeros(n, X.dtype) if offset is None else jnp.asarray(offset, X.dtype)
    share = jnp.ones(n, X.dtype) if weights is None else jnp.asarray(weights, X.dtype)
    share = share / jnp.sum(share)
    # Rows of weight 0 may hold anything.
    X = jnp.where(share[:, None] > 0, X, 0.0)
    offset = jnp.where(share > 0, offset, 0.0)
    if at == "mean":
        X, offset = highest(share, X)[None, :], (share @ offset)[None]
        share = jnp.ones(1, X.dtype)
    picked = tuple(range(p)) if columns is None else column_numbers("columns", columns, p)
    changes = dict.fromkeys(column_numbers("discrete", discrete, p), "discrete")
    changes |= dict.fromkeys(column_numbers("counts", counts, p), "count")

    def effects(beta: Array) -> Array:
        rows = [_effect(family, beta, X, offset, j, kind, changes.get(j)) for j in picked]
        return jnp.stack([jnp.sum(jnp.where(share > 0, share * row, 0.0)) for row in rows])

    effect, jacobian = effects(params), jax.jacfwd(effects)(params)
    se = jnp.sqrt(jnp.sum(highest(jacobian, cov) * jacobian, axis=1))
    statistic, half = effect / se, _cutoff(alpha, df, se) * se
    return Margins(effect, se, statistic, _two_sided(statistic, df), effect - half, effect + half)


def _effect(
    family: Family,
    beta: Array,
    X: Array,
    offset: Array,
    j: int,
    kind: Kind,
    change: str | None,
) -> Array:
    """The effect of column j in each row (n,)."""

    def response(x: Array) -> Array:
        mean = family.link.at(eta + beta[j] * (x - X[:, j]))[0]
        return mean.log if kind.startswith("ey") else mean.mu

    eta = highest(X, beta) + offset
    if change == "discrete":
        return response(jnp.ones_like(eta)) - response(jnp.zeros_like(eta))
    if change == "count":
        return (response(X[:, j] + 1.0) - response(X[:, j] - 1.0)) / 2.0
    slope = jax.jvp(response, (X[:, j],), (jnp.ones_like(eta),))[1]
    return slope * X[:, j] if kind.endswith("ex") else slope


def _as_rows(X: ArrayLike | Design) -> Design:
    return as_design(X if isinstance(X, Design) else inexact(X))


def _as_array(X: ArrayLike | Design) -> Array:
    return X.weighted_rows(jnp.ones(X.shape[0], X.dtype)) if isinstance(X, Design) else inexact(X)


def _linear(design: Design, params: Array, offset: ArrayLike | None) -> Array:
    eta = design.predictor(params)
    return eta if offset is None else eta + jnp.asarray(offset, eta.dtype)


@jax.jit
def _cutoff(alpha: ArrayLike, df: ArrayLike | None, like: Array) -> Array:
    return -t_quantile(jnp.asarray(alpha, like.dtype) / 2.0, jnp.inf if df is None else df)


@jax.jit
def _two_sided(statistic: Array, df: ArrayLike | None) -> Array:
    tail = two_sided_normal(statistic) if df is None else two_sided_t(statistic, df)
    return jnp.where(jnp.isnan(statistic), jnp.nan, tail)
