"""Floor 9: covariances of the coefficients, model-based and robust.

A robust covariance is B^-1 M B^-1: the bread B is the information, the meat M the variance of
the summed scores. All functions are pure and take the problem and its fit. A row of weight 0 is
gone, and freq_weights f count as f equal rows, from the number n of observations to the leverage,
which is that of one replicate. Definitions are those of R's sandwich package.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import label_codes
from jaxglm._types import Array, ArrayLike
from jaxglm.dispersion import at_scale, maximum_likelihood_scale
from jaxglm.fit import Fit, as_array
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import Problem, Rows, eta_score, expected_weight, score_jacobian

__all__ = [
    "autocorrelated",
    "clustered",
    "estimating_rows",
    "heteroscedastic",
    "likelihood_scale",
    "model_based",
]

INFORMATION = ("expected", "observed")
HETEROSCEDASTIC = ("HC0", "HC1", "HC2", "HC3", "HC4")
CLUSTERED = ("HC0", "HC1", "HC2", "HC3")
KERNELS = ("bartlett", "uniform")


def model_based(problem: Problem, fitted: Fit, information: str = "expected") -> Array:
    """The covariance under the model, phi H^-1 (p, p).

    H is the expected information X'wX + P, or the observed one, -dU/dbeta; they are equal for a
    canonical link. NaN where H is not positive definite, as the observed one may be away from a
    maximum.
    """
    _require("information", information, INFORMATION)
    return fitted.scale * _inverse_bread(_fitted_problem(problem, fitted), fitted, information)


def heteroscedastic(
    problem: Problem, fitted: Fit, kind: str = "HC0", *, bread: str = "expected"
) -> Array:
    """Covariance (p, p) that holds when the variance function is wrong.

    M = sum omega_i x_i x_i' with r_i the score of row i in eta, h_i its leverage, k columns:
    HC0 r^2 (White 1980), HC1 r^2 n/(n - k), HC2 r^2/(1 - h), HC3 r^2/(1 - h)^2 (MacKinnon &
    White 1985), HC4 r^2/(1 - h)^min(4, n h/k) (Cribari-Neto 2004). NaN for HC2 to HC4 where a row
    has leverage 1. `bread` is the "expected" information, as in R, or the "observed", as in
    statsmodels; they differ off the canonical link.
    """
    _require("kind", kind, HETEROSCEDASTIC)
    _require("bread", bread, INFORMATION)
    problem = _fitted_problem(problem, fitted)
    weight, frequency = problem.rows.replicates
    eta = problem.rows.eta(problem.design.predictor(fitted.params))
    r = weight * eta_score(problem.family, problem.rows.y, eta)
    w = weight * expected_weight(problem.family, eta)
    leverage = w * problem.design.leverage(fitted.cov_unscaled)
    n, k = problem.rows.total_frequency, problem.design.shape[1]
    meat = problem.design.gram(frequency * r**2 * _inflation(kind, leverage, n, k))
    return _sandwich(_inverse_bread(problem, fitted, bread), meat)


def _inflation(kind: str, leverage: Array, n: Array, k: int) -> Array:
    """omega / r^2 (n,)."""
    if kind in ("HC0", "HC1"):
        return jnp.broadcast_to(1.0 if kind == "HC0" else n / (n - k), leverage.shape)
    # Beyond this, 1 - h is rounding error (the bound of R's lm.influence).
    rest = jnp.where(leverage < 1 - 10 * jnp.finfo(leverage.dtype).eps, 1 - leverage, jnp.nan)
    if kind == "HC4":
        return rest ** -jnp.minimum(4.0, n * leverage / k)
    return 1 / rest if kind == "HC2" else 1 / rest**2


def clustered(
    problem: Problem,
    fitted: Fit,
    groups: ArrayLike,
    kind: str = "HC0",
    *,
    adjust: bool = True,
    bread: str = "expected",
    n_groups: int | tuple[int, int] | None = None,
) -> Array:
    """Covariance (p, p) that allows any dependence within clusters (Liang & Zeger 1986).

    M is the sum over clusters of (sum of scores)(sum of scores)'. `adjust` multiplies it by
    G/(G - 1), G clusters; kind "HC1" also by (n - 1)/(n - k). The defaults are those of R's
    vcovCL for a glm and of Stata's maximum likelihood commands; statsmodels has "HC1". "HC2" and
    "HC3" are CR2 and CR3 (Bell & McCaffrey 2002) with the working weights: (G - 1)/G times M of
    the scores (I - H_g C)^-1/2 s_g and (I - H_g C)^-1 s_g, H_g the cluster's information and C
    the inverse of all. CR3 without `adjust` is the one-step jackknife over clusters, exact for
    Gaussian with identity link. NaN where a cluster alone determines a coefficient.

    groups: labels (n,) of any type, or (n, 2) for two-way clusters: the sum of both less that of
    their intersections, each with its own G (Cameron, Gelbach & Miller 2011), which need not be
    positive definite. Labels must be known when tracing; traced ones are codes 0, 1, ... below
    the static `n_groups` (a pair for two ways), and NaN is returned for a code out of range or
    for fewer than two clusters. Rows that are gone do not count to G.
    """
    _require("kind", kind, CLUSTERED)
    _require("bread", bread, INFORMATION)
    problem = _fitted_problem(problem, fitted)
    if n_groups is None:
        ways = _codes_of_labels(groups, problem.rows)
    else:
        ways = _codes_as_given(jnp.asarray(groups), n_groups, problem.rows)
    _, frequency = problem.rows.replicates
    scores = frequency[:, None] * estimating_rows(problem, fitted.params)
    power = {"HC2": 0.5, "HC3": 1.0}.get(kind)
    root = None if power is None else _information_root(problem, fitted)
    meats = [_cluster_meat(scores, way, frequency, adjust, root, power) for way in ways]
    meat = meats[0] if len(meats) == 1 else meats[0] + meats[1] - meats[2]
    if kind == "HC1":
        n = problem.rows.total_frequency
        meat = (n - 1) / (n - problem.design.shape[1]) * meat
    return _sandwich(_inverse_bread(problem, fitted, bread), meat)


def _cluster_meat(
    scores: Array,
    way: tuple[Array, int],
    frequency: Array,
    adjust: bool,
    root: tuple[Array, Array] | None,
    power: float | None,
) -> Array:
    codes, size = way
    sums = jax.ops.segment_sum(scores, codes, size)
    occupied = jax.ops.segment_sum(frequency, codes, size) > 0
    count = jnp.sum(occupied, dtype=scores.dtype)
    in_range = jnp.all((frequency == 0) | ((codes >= 0) & (codes < size)))
    factor = count / (count - 1) if adjust else 1.0
    if root is not None and power is not None:
        sums, factor = _without_own_pull(sums, way, *root, power), factor * (count - 1) / count
    # One cluster's scores sum to zero and tell nothing of their variance.
    return jnp.where(in_range & (count > 1), factor, jnp.nan) * highest(sums.T, sums)


def _information_root(problem: Problem, fitted: Fit) -> tuple[Array, Array]:
    """L with LL' = C, and rows (n, p) whose cross-products are L' times the information times L."""
    eta = problem.rows.eta(problem.design.predictor(fitted.params))
    w = problem.rows.weigh(expected_weight(problem.family, eta))
    root = jnp.linalg.cholesky(fitted.cov_unscaled)
    return root, highest(problem.design.weighted_rows(jnp.sqrt(w)), root)


def _without_own_pull(
    sums: Array, way: tuple[Array, int], root: Array, rows: Array, power: float
) -> Array:
    """(I - H_g C)^-power s_g (G, p), as L'^-1 (I - L'H_g L)^-power L's_g."""
    # Column by column: the products of all rows would be n p^2 numbers.
    shares = jax.lax.map(
        lambda column: jax.ops.segment_sum(column[:, None] * rows, *way), rows.T
    ).swapaxes(0, 1)
    share, vectors = jnp.linalg.eigh(shares)
    rest = jnp.where(share < 1 - 1e3 * jnp.finfo(share.dtype).eps, 1 - share, jnp.nan)
    along = jnp.einsum("gkj,gk->gj", vectors, highest(sums, root)) * rest**-power
    back = jnp.einsum("gkj,gj->gk", vectors, along)
    return jax.scipy.linalg.solve_triangular(root.T, back.T).T


def _codes_of_labels(groups: Any, rows: Rows) -> list[tuple[Array, int]]:
    """Codes and number of segments for each way, and for the intersection of two."""
    if isinstance(groups, jax.core.Tracer):
        raise ValueError("groups: traced labels need the static n_groups=... .")
    n = rows.y.shape[-1]
    present = np.ones(n, dtype=bool)
    if rows.prior is not None and not isinstance(rows.prior, jax.core.Tracer):
        present = np.asarray(rows.prior) > 0
    columns = list(np.atleast_2d(cluster_codes(groups, present).T))
    if len(columns) == 2:
        pairs = columns[0] * (columns[1].max() + 1) + columns[1]
        columns.append(np.unique(pairs, return_inverse=True)[1].reshape(-1))
    return [(jnp.asarray(codes), int(codes.max()) + 1) for codes in columns]


def cluster_codes(groups: Any, present: np.ndarray) -> np.ndarray:
    """Labels (n,) or (n, 2) as integers 0, 1, ..., the rows that are gone among the first.

    Raises on missing labels and where there is one cluster.
    """
    n, labels = len(present), np.asarray(as_array("groups", groups))
    if labels.shape not in ((n,), (n, 2)):
        raise ValueError(f"groups: shape {labels.shape}; allowed are ({n},) and ({n}, 2).")
    columns = [label_codes("groups", column, present) for column in np.atleast_2d(labels.T)]
    if not all(column.any() for column in columns):
        raise ValueError("groups: one cluster; at least two are needed.")
    return columns[0] if labels.ndim == 1 else np.stack(columns, axis=1)


def _codes_as_given(
    groups: Array, n_groups: int | tuple[int, int], rows: Rows
) -> list[tuple[Array, int]]:
    n = rows.y.shape[0]
    sizes = (n_groups,) if isinstance(n_groups, int) else tuple(n_groups)
    allowed = (n,) if len(sizes) == 1 else (n, 2)
    if groups.shape != allowed or not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(f"groups: {groups.dtype}{groups.shape}; allowed are integers {allowed}.")
    if len(sizes) == 1:
        return [(groups, sizes[0])]
    if math.prod(sizes) > np.iinfo(np.int32).max:
        raise ValueError(f"n_groups={n_groups}: their product must be below 2^31.")
    first, second = groups[:, 0], groups[:, 1]
    pairs = jnp.unique(first * sizes[1] + second, return_inverse=True, size=n)[1].reshape(-1)
    return [(first, sizes[0]), (second, sizes[1]), (pairs, n)]


def autocorrelated(
    problem: Problem,
    fitted: Fit,
    max_lags: float,
    kernel: str = "bartlett",
    *,
    adjust: bool = False,
    bread: str = "expected",
) -> Array:
    """Covariance (p, p) for rows in order of time, correlated up to some lag (Newey & West 1987).

    M = G_0 + sum over lags l of k_l (G_l + G_l'), G_l the sum of u_t u_(t+l)' over the row scores
    u. Kernel "bartlett": k_l = 1 - l/(max_lags + 1), R's NeweyWest(lag=max_lags, prewhite=FALSE);
    a fractional max_lags is kernHAC's bandwidth less 1. "uniform": k_l = 1 up to max_lags, which
    need not give a positive definite matrix. `adjust` multiplies by n/(n - k). max_lags is static.

    A row of frequency f stands for f equal rows in succession, and one that is gone leaves no gap.
    """
    _require("kernel", kernel, KERNELS)
    _require("bread", bread, INFORMATION)
    if not (0 <= max_lags < math.inf):
        raise ValueError(f"max_lags={max_lags} (maxlags): must be a finite number >= 0.")
    problem = _fitted_problem(problem, fitted)
    _, frequency = problem.rows.replicates
    scores = estimating_rows(problem, fitted.params)
    meat = highest((frequency[:, None] * scores).T, scores)
    lags = np.arange(1, max_lags + 1)
    taper = 1 - lags / (max_lags + 1) if kernel == "bartlett" else np.ones(len(lags))

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        product = _lagged_product(scores, frequency, at[0])
        return total + at[1] * (product + product.T), None

    steps = tuple(jnp.asarray(v, scores.dtype) for v in (lags, taper))
    meat = jax.lax.scan(add, meat, steps)[0]
    if adjust:
        n = problem.rows.total_frequency
        meat = n / (n - problem.design.shape[1]) * meat
    return _sandwich(_inverse_bread(problem, fitted, bread), meat)


def _lagged_product(scores: Array, frequency: Array, lag: Array) -> Array:
    """The sum of u_t u_(t+lag)' over the series in which row i is repeated frequency_i times.

    Row i holds the times between two cumulated frequencies; cut at these and at these less the
    lag, the time axis falls into pieces on which both u_t and u_(t+lag) are constant.
    """
    ends = jnp.cumsum(frequency)
    last = jnp.maximum(ends[-1] - lag, 0.0)
    cuts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends, ends - lag])
    cuts = jnp.sort(jnp.clip(cuts, 0.0, last))
    middle, length = 0.5 * (cuts[1:] + cuts[:-1]), jnp.diff(cuts)
    final = len(ends) - 1
    early = jnp.minimum(jnp.searchsorted(ends, middle, side="right"), final)
    late = jnp.minimum(jnp.searchsorted(ends, middle + lag, side="right"), final)
    return highest((length[:, None] * scores[early]).T, scores[late])


def estimating_rows(problem: Problem, beta: Array) -> Array:
    """The score of each row (n, p), times phi, for one replicate of it; 0 in rows that are gone.

    Weighted by freq_weights they sum to the unpenalised score. The family's parameters must be
    known: pass a problem with the fitted family.
    """
    eta = problem.rows.eta(problem.design.predictor(beta))
    weight, _ = problem.rows.replicates
    return problem.design.weighted_rows(weight * eta_score(problem.family, problem.rows.y, eta))


def _fitted_problem(problem: Problem, fitted: Fit) -> Problem:
    """The problem with its family's parameters, and phi in the penalty's, at their estimates."""
    found = dataclasses.replace(problem, family=fitted.family)
    return at_scale(found, likelihood_scale(problem, fitted))


def likelihood_scale(problem: Problem, fitted: Fit) -> Array:
    """The phi of the equations that were solved: that of the likelihood beside a var_power."""
    if not (problem.family.is_estimated and problem.family.unknown.with_scale):  # type: ignore
        return fitted.scale
    found = dataclasses.replace(problem, family=fitted.family)
    eta = problem.rows.eta(problem.design.predictor(fitted.params))
    return maximum_likelihood_scale(found, eta, fitted.deviance)


def _inverse_bread(problem: Problem, fitted: Fit, information: str) -> Array:
    if information == "expected":
        return fitted.cov_unscaled
    jacobian = score_jacobian(problem, fitted.params)
    if problem.adjusts:
        # The Jacobian of adjusted scores need not be symmetric.
        return jnp.linalg.inv(jacobian)
    return inverse_pd(jacobian)


def _sandwich(inverse_bread: Array, meat: Array) -> Array:
    return highest(highest(inverse_bread, meat), inverse_bread.T)


def _require(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: allowed are {', '.join(map(repr, allowed))}.")
