"""Floor 9: residuals, leverages and influence, leave-one-out refits; the test for separation.

Definitions are R's. All but `detect_separation` are pure functions of the problem and its fit.
Values belong to one replicate of a row, so freq_weights f give what f equal rows would; rows of
weight 0 are gone, and hold NaN.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from jaxglm._labels import as_frame
from jaxglm._types import Array, ArrayLike, record, safe_where
from jaxglm.dispersion import as_dispersion
from jaxglm.distributions import DISTRIBUTIONS
from jaxglm.families import Family
from jaxglm.fit import Fit, solve_prepared
from jaxglm.linalg import highest, inverse_pd
from jaxglm.links import Mean
from jaxglm.model import Problem, mean_and_slope, totals
from jaxglm.separation import Separation, detect_separation
from jaxglm.solvers import IRLS, Solver

__all__ = [
    "Influence",
    "LeaveOneOut",
    "Separation",
    "cooks_distance",
    "covratio",
    "detect_separation",
    "dfbeta",
    "dfbetas",
    "dffits",
    "hat_diagonal",
    "influence",
    "leave_one_out",
    "resid_anscombe",
    "resid_anscombe_unscaled",
    "resid_deviance",
    "resid_partial",
    "resid_pearson",
    "resid_quantile",
    "resid_response",
    "resid_working",
    "rstandard",
    "rstudent",
]


class Cases(NamedTuple):
    """The rows at the fit, each (n,): `weight` v m and `frequency` f, 0 in rows that are gone."""

    family: Family
    y: Array
    mean: Mean
    slope: Array
    ratio: Array
    weight: Array
    frequency: Array

    def present(self, value: Array) -> Array:
        """value (n,), NaN in rows that are gone."""
        return jnp.where(self.frequency > 0, value, jnp.nan)


def _cases(problem: Problem, fitted: Fit) -> Cases:
    eta = problem.rows.eta(problem.design.predictor(fitted.params))
    at = mean_and_slope(fitted.family, eta)
    return Cases(fitted.family, problem.rows.y, *at, *problem.rows.replicates)


# Residuals


def resid_response(problem: Problem, fitted: Fit) -> Array:
    """y - mu (n,); a binomial y is the proportion, as in R."""
    at = _cases(problem, fitted)
    return at.present(at.y - at.mean.mu)


def resid_working(problem: Problem, fitted: Fit) -> Array:
    """(y - mu) g'(mu) (n,): the last weighted least squares' residuals, without weights.

    For `families.from_log_prob` the score over the expected weight, which stands in that step.
    """
    at = _cases(problem, fitted)
    return at.present(_pull(at) / at.slope)


def _pull(at: Cases) -> Array:
    """The score in the mean over its expected information: y - mu, but for `from_log_prob`."""
    inverse = at.family.inverse_information_at(at.mean)
    return at.family.eta_score_at(at.y, at.mean, inverse, jnp.ones_like(at.y))


def resid_pearson(problem: Problem, fitted: Fit) -> Array:
    """sqrt(v m / V) (y - mu) (n,), without the scale; 0 where V vanishes."""
    at = _cases(problem, fitted)
    return at.present(_pearson(at))


def _pearson(at: Cases) -> Array:
    variance = at.family.variance_at(at.mean)
    spread = safe_where(variance > 0, lambda v: jax.lax.rsqrt(v), variance, 1.0, 0.0)
    return jnp.sqrt(at.weight) * (at.y - at.mean.mu) * spread


def resid_deviance(problem: Problem, fitted: Fit) -> Array:
    """sign(y - mu) sqrt(v m d(y, mu)) (n,), without the scale.

    For `families.from_log_prob` the sign is that of the score: d vanishes at the mean under which y
    is most likely, not at y.
    """
    at = _cases(problem, fitted)
    return at.present(_signed_deviance(at))


def _signed_deviance(at: Cases) -> Array:
    d = at.weight * at.family.unit_deviance_at(at.y, at.mean)
    return jnp.sign(_pull(at)) * safe_where(d > 0, jnp.sqrt, d, 1.0, 0.0)


def resid_anscombe(problem: Problem, fitted: Fit) -> Array:
    """`resid_anscombe_unscaled` / sqrt(scale) (n,), statsmodels' `resid_anscombe`."""
    return resid_anscombe_unscaled(problem, fitted) / jnp.sqrt(fitted.scale)


def resid_anscombe_unscaled(problem: Problem, fitted: Fit) -> Array:
    """sqrt(v m) V(mu)^(-1/6) times the integral of V^(-1/3) from mu to y (n,).

    Near to normal in each family (Anscombe 1953; McCullagh & Nelder 1989, sec. 2.4.2): for
    Poisson 3/2 (y^(2/3) - mu^(2/3)) / mu^(1/6). The integral is taken by tanh-sinh quadrature,
    good to rounding, so that it serves every variance function.
    """
    at = _cases(problem, fitted)
    t = np.linspace(-3.8, 3.8, 97)
    s = 1.0 / (1.0 + np.exp(np.pi * np.sinh(-t)))
    weights = np.pi * np.cosh(t) * s * s[::-1] * (t[1] - t[0])

    def add(total: Array, node: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, rest, weight = node
        # 1 - mu by itself: V of a binomial vanishes at that end too.
        mu = rest * at.mean.mu + s * at.y
        complement = rest * at.mean.complement + s * (1.0 - at.y)
        variance = at.family.variance_at(Mean(mu, complement, jnp.log(mu), jnp.log1p(-mu)))
        return total + weight * variance ** (-1 / 3), None

    nodes = tuple(jnp.asarray(v, at.y.dtype) for v in (s, s[::-1], weights))
    mean_root = jax.lax.scan(add, jnp.zeros_like(at.y), nodes)[0]
    variance = at.family.variance_at(at.mean)
    return at.present(jnp.sqrt(at.weight) * (at.y - at.mean.mu) * mean_root * variance ** (-1 / 6))


def resid_partial(problem: Problem, fitted: Fit, *, centre: bool = True) -> Array:
    """Working residual plus the contribution x_ij beta_j of each column (n, p).

    R's residuals(type="partial"), with a column for each term: `centre`, as R does in a model
    with an intercept, takes from each column its mean (by freq_weights, not var_weights), so that
    an intercept's column holds the working residual alone; without an intercept pass False.
    """
    at = _cases(problem, fitted)
    X = problem.design.weighted_rows(jnp.ones_like(at.y))
    X = jnp.where(at.frequency[:, None] > 0, X, 0.0)
    if centre:
        X = X - (highest(at.frequency, X) / jnp.sum(at.frequency))[None, :]
    return (resid_working(problem, fitted))[:, None] + X * fitted.params[None, :]


# Quantile residuals


def resid_quantile(key: Array, problem: Problem, fitted: Fit) -> Array:
    """Randomised quantile residuals (n,): exactly normal under the model (Dunn & Smyth 1996).

    The normal quantile of F(y; mu, scale/v), for a response with positive probability that of a
    point drawn with `key` between F just below y and F(y). As in R's statmod, the plain counts'
    distribution is used for Poisson and NegativeBinomial, whose scale and var_weights do not
    enter. Tweedie: var_power in (1, 2), or 0, 1, 2, 3, else NaN. A family without a distribution
    function here raises.
    """
    at = _cases(problem, fitted)
    if type(at.family) not in DISTRIBUTIONS:
        raise ValueError(
            f"resid_quantile: {type(at.family).__name__} has no distribution function."
        )
    one = jnp.ones_like(at.y)
    rows, there = problem.rows, at.frequency > 0
    v = one if rows.var_weights is None else jnp.where(there, rows.var_weights, 1.0)
    m = one if rows.n_trials is None else rows.n_trials
    distribution = DISTRIBUTIONS[type(at.family)]
    below, upto = distribution(at.family, at.y, at.mean, fitted.scale / v, m)
    u = jax.random.uniform(key, at.y.shape, at.y.dtype)
    lower = below.lower + u * (upto.lower - below.lower)
    upper = upto.upper + (1.0 - u) * (below.upper - upto.upper)
    return at.present(jnp.where(lower < upper, ndtri(lower), -ndtri(upper)))


# Influence


@record
class Influence:
    """What each row does to the fit, one replicate of it at a time; (n,), dfbeta(s) (n, p).

    h = `hat_diagonal`, diagonal of W^(1/2) X (X'WX + P)^-1 X' W^(1/2) with the expected weights;
    r Pearson's and e the deviance residual; `sigma` the root of (sum e^2 - e_i^2/(1 - h)) over
    (n - p - 1), the scale without row i:

        cooks_distance      (r/(1 - h))^2 h / (scale p)
        rstandard           e, or r, / sqrt(scale (1 - h))
        rstudent            sign(e) sqrt(e^2 + h r^2/(1 - h)), over sigma where the scale is
                            estimated (Williams 1987)
        dffits              e sqrt(h) / (sigma (1 - h))
        covratio            1 / [(1 - h) ((n - p - 1 + t^2)/(n - p))^p], t = e/(sigma sqrt(1 - h))
        dfbeta              (X'WX + P)^-1 x_i sqrt(W_i) e / (1 - h)
        dfbetas             dfbeta / (sigma sqrt(diag((X'WX + P)^-1)))

    dfbeta approximates beta - beta_(i); as in R it has the opposite sign for a decreasing link
    (Gamma's inverse), whose deviance residuals point against eta; `leave_one_out` is exact. NaN
    where h = 1, save dfbeta, which is 0. Source: R's lm.influence and influence.measures.
    """

    hat_diagonal: Array
    sigma: Array
    cooks_distance: Array
    rstandard_deviance: Array
    rstandard_pearson: Array
    rstudent: Array
    dffits: Array
    covratio: Array
    dfbeta: Array
    dfbetas: Array

    def summary_frame(self) -> Any:
        """A pandas frame: dfbetas as dfb_<column>, then the measures with one value a row."""
        each = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        names = getattr(self.dfbetas, "columns", range(np.shape(self.dfbetas)[1]))
        shares = np.asarray(self.dfbetas).T
        columns = {f"dfb_{name}": v for name, v in zip(names, shares, strict=True)}
        return as_frame(columns | {k: v for k, v in each.items() if np.ndim(v) == 1})


@jax.jit
def influence(problem: Problem, fitted: Fit) -> Influence:
    """All measures of `Influence` in one pass."""
    at = _cases(problem, fitted)
    inverse = fitted.cov_unscaled
    if inverse is None:
        inverse = inverse_pd(totals(problem, fitted.params).information)
    w = at.weight * at.slope * at.ratio
    h = at.present(w * problem.design.leverage(inverse))
    # Beyond this, 1 - h is rounding error (R's bound).
    full = h > 1.0 - 10.0 * jnp.finfo(h.dtype).eps
    h = jnp.where(full, 1.0, h)
    rest = jnp.where(full, jnp.nan, 1.0 - h)
    e, r = at.present(_signed_deviance(at)), at.present(_pearson(at))
    n, p = problem.rows.total_frequency, problem.design.shape[1]
    total = jnp.sum(jnp.where(at.frequency > 0, at.frequency * e**2, 0.0))
    sigma = jnp.sqrt((total - jnp.where(full, 0.0, e**2 / rest)) / (n - p - 1))
    t = e / (sigma * jnp.sqrt(rest))
    williams = jnp.sign(e) * jnp.sqrt(e**2 + h * r**2 / rest)
    known = fitted.family.fixed_scale & (fitted.scale == 1.0)
    push = jnp.where(full, 0.0, jnp.sqrt(w) * e / rest)
    change = highest(problem.design.weighted_rows(push), inverse)
    return Influence(
        hat_diagonal=h,
        sigma=sigma,
        cooks_distance=(r / rest) ** 2 * h / (fitted.scale * p),
        rstandard_deviance=e / jnp.sqrt(fitted.scale * rest),
        rstandard_pearson=r / jnp.sqrt(fitted.scale * rest),
        rstudent=jnp.where(known, williams, williams / sigma),
        dffits=e * jnp.sqrt(h) / (sigma * rest),
        covratio=1.0 / (rest * ((n - p - 1 + t**2) / (n - p)) ** p),
        dfbeta=change,
        dfbetas=change / (sigma[:, None] * jnp.sqrt(jnp.diagonal(inverse))[None, :]),
    )


def hat_diagonal(problem: Problem, fitted: Fit) -> Array:
    """Leverages (n,) from the expected information; see `Influence`."""
    return influence(problem, fitted).hat_diagonal


def cooks_distance(problem: Problem, fitted: Fit) -> Array:
    """Cook's distances (n,) from Pearson residuals; see `Influence`."""
    return influence(problem, fitted).cooks_distance


def rstandard(problem: Problem, fitted: Fit, kind: str = "deviance") -> Array:
    """Standardised "deviance" or "pearson" residuals (n,); see `Influence`."""
    if kind not in ("deviance", "pearson"):
        raise ValueError(f"kind={kind!r}: allowed are 'deviance', 'pearson'.")
    found = influence(problem, fitted)
    return found.rstandard_deviance if kind == "deviance" else found.rstandard_pearson


def rstudent(problem: Problem, fitted: Fit) -> Array:
    """Studentised residuals (n,), an approximation to deletion; see `Influence`."""
    return influence(problem, fitted).rstudent


def dffits(problem: Problem, fitted: Fit) -> Array:
    """The scaled change (n,) of each row's own prediction; see `Influence`."""
    return influence(problem, fitted).dffits


def covratio(problem: Problem, fitted: Fit) -> Array:
    """The ratio (n,) of the covariance determinants without and with a row; see `Influence`."""
    return influence(problem, fitted).covratio


def dfbeta(problem: Problem, fitted: Fit) -> Array:
    """One-step change (n, p) of the coefficients; see `Influence`."""
    return influence(problem, fitted).dfbeta


def dfbetas(problem: Problem, fitted: Fit) -> Array:
    """`dfbeta` in standard errors (n, p); see `Influence`."""
    return influence(problem, fitted).dfbetas


# Leave-one-out


class LeaveOneOut(NamedTuple):
    """Coefficients (n, p) without each row, and the `Status` (n,) of each refit."""

    params: Array
    status: Array


def leave_one_out(
    problem: Problem,
    fitted: Fit,
    *,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> LeaveOneOut:
    """The exact fits without one observation, one replicate of a row with freq_weights.

    One batch of n refits from the fitted coefficients, `chunk_size` at a time (default: as many
    as keep chunk_size * n near four million). Parameters of the family that were estimated are
    estimated anew, and so is the scale, by the `scale` of `fit`: it is part of the score where a
    penalty reduces bias. A row that is gone has NaN and `Status.invalid_data`.
    """
    at = _cases(problem, fitted)
    n, dispersion = at.y.shape[0], as_dispersion(scale, at.y.dtype)
    eta = problem.rows.eta(problem.design.predictor(fitted.params))

    def without(i: Array) -> LeaveOneOut:
        frequency = at.frequency.at[i].add(-1.0).clip(0.0)
        prior = at.weight * frequency
        rows = dataclasses.replace(
            problem.rows, freq_weights=frequency, prior=prior, resting_eta=eta
        )
        refit = solve_prepared(
            dataclasses.replace(problem, rows=rows),
            at.frequency[i] == 0,
            fitted.params,
            dispersion,
            solver,
            cov=False,
        )
        return LeaveOneOut(refit.params, refit.status)

    size = max(1, min(n, 2**22 // n)) if chunk_size is None else chunk_size
    return jax.lax.map(without, jnp.arange(n), batch_size=size)
