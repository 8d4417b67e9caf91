"""Floor 2: exponential dispersion families, one row each.

A row has support, variance function, unit deviance, saturated log density, starting means,
sampling and canonical link. It speaks in terms of a `Mean` (mu with its complement and
logarithms), so that the link's accuracy in the tails reaches the likelihood. Families are frozen
pytrees: `alpha` and `var_power` are leaves that can be traced, mapped over and differentiated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import links
from jaxglm._likelihood import (
    draw_compound_poisson,
    draw_inverse_gaussian,
    log1p_ratio,
    log_choose_one,
    log_factorial,
    log_poisson_peak,
    quasi_integral,
    xlog_ratio,
    xlogx,
)
from jaxglm._logarithm import log, log1p_known, log_ratio
from jaxglm._loggamma import nb_peak_excess, stirling_remainder
from jaxglm._roots import Bounds, as_interval
from jaxglm._special import tweedie_deviance, tweedie_log_density
from jaxglm._types import (
    CLOSED_UNIT,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    UNIT,
    Array,
    Interval,
    inexact,
    record,
    require_function,
    static,
)
from jaxglm._types import ArrayLike as Number
from jaxglm.custom import from_cumulant, from_log_prob
from jaxglm.family import Family, Unknown, check, moved_inside
from jaxglm.links import Link, Mean

__all__ = [
    "Binomial",
    "Family",
    "Gamma",
    "Gaussian",
    "Interval",
    "InverseGaussian",
    "NegativeBinomial",
    "Poisson",
    "Quasi",
    "Tweedie",
    "from_cumulant",
    "from_log_prob",
    "from_variance",
]


@record
class Gaussian(Family):
    """Normal: y real, V = 1, canonical link Identity (default), d = (y - mu)^2, scale estimated."""

    link: Link = links.Identity()
    canonical: ClassVar[type[Link]] = links.Identity
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.Identity,)
    unit_weight: ClassVar[tuple[type[Link], ...]] = (links.Identity,)

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return jnp.ones_like(mean.mu)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return (y - mean.mu) ** 2

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return jnp.broadcast_to(-0.5 * jnp.log(2.0 * np.pi * scale / weight), y.shape)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        return mu + jnp.sqrt(scale) * jax.random.normal(key, mu.shape, mu.dtype)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class Binomial(Family):
    """Share of successes: y in [0, 1], V = mu (1 - mu), canonical link Logit (default), scale 1.

    d = 2 [y log(y/mu) + (1-y) log((1-y)/(1-mu))]; `n_trials` multiplies weight and deviance.
    `binary` promises that every response is 0 or 1, and spares what only proportions need.
    """

    link: Link = links.Logit()
    binary: bool = static(default=False)
    support: ClassVar[Interval] = CLOSED_UNIT
    mean_space: ClassVar[Interval] = UNIT
    fixed_scale: ClassVar[bool] = True
    counts_trials: ClassVar[bool] = True
    canonical: ClassVar[type[Link]] = links.Logit
    log_concave: ClassVar[tuple[type[Link], ...]] = (
        links.Logit,
        links.Probit,
        links.CLogLog,
        links.LogLog,
        links.Log,
        links.LogC,
        links.Identity,
    )

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * mean.complement

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        if self.binary:
            return -2.0 * jnp.where(y > 0, mean.log, mean.log_complement)
        edge = (y <= 0) | (y >= 1)
        up = xlog_ratio(y, mean.mu, mean.log, edge)
        return 2.0 * (up + xlog_ratio(1.0 - y, mean.complement, mean.log_complement, edge))

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        if self.binary:
            return jnp.zeros_like(y)
        if n_trials is None:
            return weight * (log_choose_one(y) + xlogx(y) + xlogx(1.0 - y))
        successes, failures = n_trials * y, n_trials * (1.0 - y)
        choose = log_factorial(n_trials) - log_factorial(successes) - log_factorial(failures)
        return weight * (choose + n_trials * (xlogx(y) + xlogx(1.0 - y)))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        # A single trial says little of its own mean; a constant start has constant weights, whose
        # Gram matrix all fits on one design share.
        if n_trials is None:
            return jnp.full(y.shape, 0.5, y.dtype)
        return (n_trials * y + 0.5) / (n_trials + 1.0)

    @property
    def discriminates(self) -> bool:
        return self.is_canonical

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        if isinstance(n_trials, int) and n_trials == 1:
            # One comparison, for what takes the general sampler a loop.
            return jnp.where(jnp.isnan(mu), mu, jax.random.bernoulli(key, mu))
        m = jnp.broadcast_to(jnp.asarray(n_trials, mu.dtype), mu.shape)
        return jax.random.binomial(key, m, mu, dtype=mu.dtype) / m

    def in_support(self, y: Array) -> Array:
        return (y == 0) | (y == 1) if self.binary else self.support.contains(y)


@record
class Poisson(Family):
    """Counts: y >= 0, V = mu, canonical link Log (default), scale 1; non-integers are accepted.

    d = 2 [y log(y/mu) - (y - mu)]. With a scale other than 1 the log density is divided by it
    (quasi-likelihood), as in statsmodels.
    """

    link: Link = links.Log()
    support: ClassVar[Interval] = NONNEGATIVE
    mean_space: ClassVar[Interval] = POSITIVE
    fixed_scale: ClassVar[bool] = True
    canonical: ClassVar[type[Link]] = links.Log
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.Log, links.Identity, links.Sqrt)

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        excess = y - mean.mu
        return 2.0 * (xlog_ratio(y, mean.mu, mean.log, y <= 0) - excess)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return weight / scale * log_poisson_peak(y)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y + 0.1

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        return jax.random.poisson(key, mu).astype(mu.dtype)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class Gamma(Family):
    """y > 0, V = mu^2, canonical link InversePower (default, as in R), scale estimated.

    d = 2 [(y - mu)/mu - log(y/mu)]; the shape is weight / scale. The log link keeps means
    positive and is often the better choice.
    """

    link: Link = links.InversePower()
    support: ClassVar[Interval] = POSITIVE
    mean_space: ClassVar[Interval] = POSITIVE
    canonical: ClassVar[type[Link]] = links.InversePower
    canonical_ratio: ClassVar[float] = -1.0
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.InversePower, links.Log)
    unit_weight: ClassVar[tuple[type[Link], ...]] = (links.Log,)

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * mean.mu

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return 2.0 * ((y - mean.mu) / mean.mu - log_ratio(y, mean.mu))

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        # k log k - k - log Gamma(k) in one piece: a large shape k would cancel.
        k = weight / scale
        return 0.5 * jnp.log(k / (2.0 * np.pi)) - stirling_remainder(k) - log(y)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        return mu * scale * jax.random.gamma(key, jnp.broadcast_to(1.0 / scale, mu.shape), mu.shape)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class InverseGaussian(Family):
    """y > 0, V = mu^3, canonical link InverseSquared (default), scale estimated.

    d = (y - mu)^2 / (y mu^2).
    """

    link: Link = links.InverseSquared()
    support: ClassVar[Interval] = POSITIVE
    mean_space: ClassVar[Interval] = POSITIVE
    canonical: ClassVar[type[Link]] = links.InverseSquared
    canonical_ratio: ClassVar[float] = -0.5
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.InverseSquared,)

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu**3

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return ((y - mean.mu) / mean.mu) ** 2 / y

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return -0.5 * (jnp.log(2.0 * np.pi * scale / weight) + 3.0 * log(y))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        return draw_inverse_gaussian(key, inexact(mu), scale)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class NegativeBinomial(Family):
    """Overdispersed counts (NB2): y >= 0, V = mu + alpha mu^2, default link Log, scale 1.

    `alpha` > 0 is the heterogeneity (R's theta = 1 / alpha); `None` has it estimated by maximum
    likelihood with the coefficients, adjusted for them by Cox & Reid's (1987) -log det(X'wX)/2 if
    `cox_reid` (at fixed coefficients, as DESeq2 and glmGamPoi alternate). Canonical link
    `links.NegativeBinomial(alpha)`. The formulas tend to Poisson's as alpha -> 0, derivatives in
    alpha included.
    d = 2 [y log(y/mu) - (y + 1/alpha) log((1 + alpha y)/(1 + alpha mu))].
    """

    alpha: Number | None = 1.0
    link: Link = links.Log()
    cox_reid: bool = static(default=False)
    support: ClassVar[Interval] = NONNEGATIVE
    mean_space: ClassVar[Interval] = POSITIVE
    fixed_scale: ClassVar[bool] = True
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.Log,)
    parameters: ClassVar[tuple[tuple[str, tuple[Interval, ...]], ...]] = (("alpha", (POSITIVE,)),)
    unknown: ClassVar[Unknown] = Unknown(
        "alpha", jnp.exp, jnp.log, 0.0, 0.0, lambda w, y, mu: _moment_alpha(w, y, mu), False
    )

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * (1.0 + self.alpha * mean.mu)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        # With u = (y - mu)/(1 + alpha mu) the deviance is, without terms that cancel,
        # 2 [y log(1 + (y - mu)/(mu (1 + alpha y))) - log(1 + alpha u)/alpha].
        excess, edge = y - mean.mu, y <= 0
        rest = log1p_ratio(self.alpha, excess / (1.0 + self.alpha * mean.mu))
        mu = jnp.where(edge, 1.0, mean.mu)
        whole = mu * (1.0 + self.alpha * y)
        inside = jnp.where(edge, 0.0, excess / whole)
        ratio = jnp.where(edge, 1.0, y * (1.0 + self.alpha * mu) / whole)
        log_mu = jnp.where(jnp.isfinite(mean.log), mean.log, 0.0)
        at_edge = -y * (log_mu + self.alpha * rest)
        return 2.0 * (jnp.where(edge, at_edge, y * log1p_known(inside, ratio)) - rest)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return weight / scale * (log_poisson_peak(y) + nb_peak_excess(y, self.alpha))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y + jnp.where(y == 0, 1.0 / 6.0, 0.0)

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        gamma_key, poisson_key = jax.random.split(key)
        shape = jnp.broadcast_to(1.0 / self.alpha, mu.shape)
        rate = mu * self.alpha * jax.random.gamma(gamma_key, shape, mu.shape)
        return jax.random.poisson(poisson_key, rate).astype(mu.dtype)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class Tweedie(Family):
    """V = mu^p with p = `var_power` outside (0, 1); default link Log, scale estimated.

    p = 0, 1, 2, 3 are Gaussian, Poisson, Gamma and inverse Gaussian; for 1 < p < 2 y >= 0 is a
    compound Poisson sum of gammas with mass at zero. The log density is exact for 0, 1, 2, 3 and
    1 < p < 2 (series of Dunn & Smyth 2005), NaN elsewhere. `None` has p estimated by maximum
    likelihood in (1, 2).
    d = 2 mu^(2-p) [r B(1-p) - B(2-p)], r = y/mu, B(k) = (r^k - 1)/k.
    """

    var_power: Number | None = 1.5
    link: Link = links.Log()
    support: ClassVar[Interval] = NONNEGATIVE
    mean_space: ClassVar[Interval] = POSITIVE
    parameters: ClassVar[tuple[tuple[str, tuple[Interval, ...]], ...]] = (
        (
            "var_power",
            (
                Interval(-np.inf, 0.0, high_inclusive=True),
                Interval(1.0, np.inf, low_inclusive=True),
            ),
        ),
    )
    unknown: ClassVar[Unknown] = Unknown(
        "var_power",
        lambda t: 1.0 + jax.nn.sigmoid(t),
        lambda p: jnp.log(p - 1.0) - jnp.log(2.0 - p),
        1.5,
        None,
        lambda w, y, mu: jnp.asarray(1.5, y.dtype),
        True,
    )

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu**self.var_power

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        p = jnp.asarray(self.var_power)
        d = tweedie_deviance(y, mean.mu, jnp.where(p == 0, 1.5, p))
        return jnp.where(p == 0, (y - mean.mu) ** 2, d)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        p = jnp.asarray(self.var_power, y.dtype)
        inside = (p > 1) & (p < 2)
        positive = jnp.where(y > 0, y, 1.0)
        peak = tweedie_log_density(positive, positive, scale / weight, jnp.where(inside, p, 1.5))
        density = jnp.where(inside, jnp.where(y > 0, peak, 0.0), jnp.nan)
        for power, family in _NAMED_POWERS:
            # Where another power holds, y = 1 keeps the row's unused formula finite.
            row = family.log_saturated(jnp.where(p == power, y, 1.0), weight, scale, n_trials)
            density = jnp.where(p == power, row, density)
        return density

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return jnp.where(y > 0, y, 0.1)

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        mu = inexact(mu)
        p = jnp.asarray(self.var_power, mu.dtype)
        inside = (p > 1) & (p < 2)
        draws = draw_compound_poisson(key, mu, scale, jnp.where(inside, p, 1.5))
        draws = jnp.where(inside, draws, jnp.nan)
        for power, family in _NAMED_POWERS:
            draws = jnp.where(p == power, family.sample(key, mu, scale), draws)
        return draws

    def in_support(self, y: Array) -> Array:
        p = jnp.asarray(self.var_power if self.var_power is not None else 1.5)
        positive, nonnegative = POSITIVE.contains(y), self.support.contains(y)
        return jnp.where(p >= 2, positive, jnp.where(p > 0, nonnegative, jnp.isfinite(y)))


_NAMED_POWERS = ((0, Gaussian()), (1, Poisson()), (2, Gamma()), (3, InverseGaussian()))


@record
class Quasi(Family):
    """Any variance function and link, without a likelihood: log-likelihood and AIC are NaN.

    `variance` is V, a function of (mu, *values) that JAX can trace; scale is estimated.
    The quasi-deviance 2 * integral from mu to y of (y - t)/V(t) dt is found by double-exponential
    quadrature. `mean_space` and `support` bound means and responses. See `from_variance`.
    """

    variance_function: Callable[..., Array] = static()
    link: Link = links.Identity()
    mean_space: Interval = static(default=REAL)  # type: ignore[assignment]
    support: Interval = static(default=REAL)  # type: ignore[assignment]
    values: tuple[Number, ...] = ()
    has_likelihood: ClassVar[bool] = False

    def __init__(
        self,
        variance: Callable[..., Array] | None = None,
        link: Link | type[Link] | str = links.Identity(),  # noqa: B008 - frozen
        mean_space: Interval = REAL,
        support: Interval = REAL,
        values: tuple[Number, ...] = (),
        variance_function: Callable[..., Array] | None = None,
    ) -> None:
        # A family's method has the name `variance`, so the field, by which a copy is made, has not.
        given = variance if variance_function is None else variance_function
        require_function("Quasi(variance", given, 1, values)
        fields = given, link, mean_space, support, values
        for field, value in zip(dataclasses.fields(self), fields, strict=True):
            object.__setattr__(self, field.name, value)
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return self.variance_function(mean.mu, *self.values)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return 2.0 * quasi_integral(lambda t: self.variance_function(t, *self.values), y, mean.mu)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return jnp.full_like(y, jnp.nan)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return moved_inside(y, self.mean_space)

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        raise NotImplementedError("Quasi().sample: a quasi family is no distribution.")

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


def from_variance(
    fn: Callable[..., Array],
    *parameters: Number,
    link: Link | type[Link] | str | None = None,
    mean_space: Bounds = REAL,
    support: Bounds = REAL,
) -> Quasi:
    """The quasi-likelihood with variance function V = fn(mu, *parameters), scale estimated.

    `fn` acts elementwise in operations that JAX can trace; each new one is compiled anew, so define
    it once. `parameters` are leaves: they can be mapped over and differentiated. mean_space,
    support: an `Interval`, or a pair, for the means without its ends, for the responses with them.
    link: None: the identity. Source: Wedderburn (1974).
    """
    link = links.Identity() if link is None else links.as_link(link)
    return Quasi(fn, link, as_interval(mean_space), as_interval(support, closed=True), parameters)


def _moment_alpha(weight: Array, y: Array, mu: Array) -> Array:
    """alpha from sum w ((y - mu)^2 - mu) = alpha sum w mu^2, kept within reach of a Newton step."""
    excess = jnp.sum(weight * ((y - mu) ** 2 - mu)) / jnp.sum(weight * mu * mu)
    return jnp.clip(excess, 1e-3, 1e2)
