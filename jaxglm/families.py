"""Floor 2: exponential dispersion families.

One row per family: support, variance function, unit deviance, log density, starting means, sampling,
canonical link. A row speaks in terms of a `Mean` (mu with its complement and logarithms), so that
the link's accuracy in the tails reaches the likelihood. Families are frozen pytrees: `alpha` and
`var_power` are leaves that can be traced, mapped over and differentiated.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py, xlogy

from jaxglm import links
from jaxglm._special import (
    _log1pmx_over_x,
    nb_log_norm,
    stirling_remainder,
    tweedie_deviance,
    tweedie_log_density,
)
from jaxglm._types import (
    CLOSED_UNIT,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    UNIT,
    Array,
    ArrayLike,
    Interval,
    elementwise_derivative,
    inexact,
    record,
    safe_where,
    static,
)
from jaxglm.links import Link, Mean

__all__ = [
    "Binomial",
    "Family",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "NegativeBinomial",
    "Poisson",
    "Quasi",
    "Tweedie",
]


class Unknown(NamedTuple):
    """A family parameter that can be estimated.

    field: its name; from_line, to_line: a smooth map from and to the whole real line; plain: its
    value in the fit that starts the estimation; edge: the finite end of its space at which the
    maximum may lie, or None; moment: a starting value from (weights, y, mu); with_scale: whether
    the likelihood has a dispersion to be estimated beside it.
    """

    field: str
    from_line: Callable[[Array], Array]
    to_line: Callable[[Array], Array]
    plain: float
    edge: float | None
    moment: Callable[[Array, Array, Array], Array]
    with_scale: bool


class Family(abc.ABC):
    """A response distribution with Var(y) = scale * V(mu) / weight.

    `support` holds the responses, `mean_space` the means, `fixed_scale` tells whether the
    dispersion is known to be 1, `has_likelihood` whether a log density exists. `canonical` is the
    class of the canonical link, with (d mu / d eta) / V = `canonical_ratio`, and `log_concave` lists the links under which the log-likelihood
    is concave in eta at any data (Wedderburn 1976; Pratt 1981 for binomial tolerances), where
    every stationary point is the maximum.

    Methods act elementwise. `n_trials` is the number of trials behind a binomial proportion and
    is ignored elsewhere.
    """

    link: Link
    support: ClassVar[Interval] = REAL
    mean_space: ClassVar[Interval] = REAL
    fixed_scale: ClassVar[bool] = False
    has_likelihood: ClassVar[bool] = True
    counts_trials: ClassVar[bool] = False
    canonical: ClassVar[type[Link] | None] = None
    canonical_ratio: ClassVar[float] = 1.0
    log_concave: ClassVar[tuple[type[Link], ...]] = ()
    parameters: ClassVar[tuple[tuple[str, tuple[Interval, ...]], ...]] = ()
    unknown: ClassVar[Unknown | None] = None
    cox_reid: ClassVar[bool] = False

    @abc.abstractmethod
    def variance_at(self, mean: Mean) -> Array:
        """V(mu)."""

    @abc.abstractmethod
    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        """d(y, mu) = 2 * integral from mu to y of (y - t) / V(t) dt."""

    @abc.abstractmethod
    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        """log f(y; mu = y, scale / weight), what the log density is where the deviance is 0."""

    @abc.abstractmethod
    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        """R's `mustart`: the response moved off the edge of the mean space."""

    @abc.abstractmethod
    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        """Draw one response for each element of mu; a binomial draw is a proportion."""

    @abc.abstractmethod
    def in_support(self, y: Array) -> Array:
        """Elementwise, whether y is a possible response."""

    def parameters_valid(self) -> Array:
        """Whether the family's own parameters lie in their spaces; True for those estimated."""
        valid = jnp.asarray(True)
        for name, spaces in self.parameters:
            value = getattr(self, name)
            if value is not None:
                inside = [space.contains(jnp.asarray(value)) for space in spaces]
                valid = valid & jnp.any(jnp.stack(inside), axis=0)
        return valid

    def variance(self, mu: ArrayLike) -> Array:
        """V(mu)."""
        return self.variance_at(Mean.of(mu))

    def variance_deriv(self, mu: ArrayLike) -> Array:
        """V'(mu)."""
        return elementwise_derivative(self.variance, inexact(mu))

    def unit_deviance(self, y: ArrayLike, mu: ArrayLike) -> Array:
        """d(y, mu) >= 0, zero at y = mu; the deviance is its weighted sum."""
        return self.unit_deviance_at(inexact(y), Mean.of(mu))

    def loglike_obs(
        self,
        y: ArrayLike,
        mu: ArrayLike,
        var_weights: ArrayLike = 1.0,
        scale: ArrayLike = 1.0,
        n_trials: ArrayLike = 1.0,
    ) -> Array:
        """log f(y; mu, scale / var_weights), one value per observation; NaN for quasi families.

        It is log f(y; y) - weight * d(y, mu) / (2 scale), so that nothing cancels near mu = y.
        """
        y, weight, phi, m = inexact(y), inexact(var_weights), inexact(scale), inexact(n_trials)
        d = weight * m * self.unit_deviance(y, mu) / (2.0 * self.likelihood_scale(phi))
        return self.log_saturated(y, weight, phi, m) - d

    def likelihood_scale(self, scale: Array) -> Array:
        """The scale that divides the deviance in the log-likelihood: 1 for trials, else `scale`."""
        return jnp.ones_like(scale) if self.counts_trials else scale

    @property
    def is_estimated(self) -> bool:
        """Whether a parameter of the family was given as None, to be estimated."""
        return self.unknown is not None and getattr(self, self.unknown.field) is None

    def completed(self, parameter: Array) -> Family:
        """The family with its unknown parameter filled in."""
        return dataclasses.replace(self, **{self.unknown.field: parameter})  # type: ignore

    @property
    def is_canonical(self) -> bool:
        """Whether the link is the canonical one, for which V = d mu / d eta up to a constant."""
        return type(self.link) is self.canonical

    @property
    def is_log_concave(self) -> bool:
        """Whether the log-likelihood is concave in eta."""
        return type(self.link) in self.log_concave

    @property
    def can_separate(self) -> bool:
        """Whether responses exist whose best mean is reached only by an infinite eta."""
        ends = [e for e in self.support.closed_ends if not _has_end(self.mean_space, e)]
        return any(end in self.link.infinite_at for end in ends)


def _has_end(interval: Interval, end: float) -> bool:
    return end in interval.closed_ends or interval.low < end < interval.high


def _check(family: Family) -> None:
    """Raise on a link that cannot reach every mean, or a parameter (a plain number) out of space."""
    link, space = family.link, family.mean_space
    # Unflattening a pytree passes placeholders through the constructor.
    if isinstance(link, Link) and space.bounded and not link.range.covers(space):
        raise ValueError(
            f"{type(family).__name__}(link={type(link).__name__}()): the link reaches means in "
            f"{link.range}, the family needs {space}; use a link that covers them, or Quasi."
        )
    for name, spaces in family.parameters:
        value = getattr(family, name)
        if isinstance(value, (int, float)) and not any(space.holds(value) for space in spaces):
            allowed = " or ".join(map(str, spaces))
            raise ValueError(f"{type(family).__name__}({name}={value}): {name} must be in {allowed}.")


@record
class Gaussian(Family):
    """Normal: y real, V = 1, canonical link Identity (default), d = (y - mu)^2, scale estimated."""

    link: Link = links.Identity()
    canonical: ClassVar[type[Link]] = links.Identity
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.Identity,)

    def variance_at(self, mean: Mean) -> Array:
        return jnp.ones_like(mean.mu)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return (y - mean.mu) ** 2

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        return jnp.broadcast_to(-0.5 * jnp.log(2.0 * np.pi * scale / weight), y.shape)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        mu = inexact(mu)
        return mu + jnp.sqrt(scale) * jax.random.normal(key, mu.shape, mu.dtype)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class Binomial(Family):
    """Proportion of successes: y in [0, 1], V = mu (1 - mu), canonical link Logit (default), scale 1.

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
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * mean.complement

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        # Logarithms of the link at y = 0 and 1; in between, log1p of the relative error keeps the
        # digits that a difference of logarithms loses when y is close to mu.
        edge = jnp.where(y >= 1, -mean.log, -mean.log_complement)
        if self.binary:
            return 2.0 * edge
        excess = y - mean.mu
        mixed = (y > 0) & (y < 1)
        up = xlog1py(y, safe_where(mixed, lambda e: e / mean.mu, excess, 0.0, 0.0))
        down = xlog1py(1.0 - y, safe_where(mixed, lambda e: -e / mean.complement, excess, 0.0, 0.0))
        return 2.0 * jnp.where(mixed, up + down, edge)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        if self.binary:
            return jnp.zeros_like(y)
        successes, failures = n_trials * y, n_trials * (1.0 - y)
        choose = log_factorial(n_trials) - log_factorial(successes) - log_factorial(failures)
        return weight * (choose + n_trials * (xlogy(y, y) + xlogy(1.0 - y, 1.0 - y)))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        # A single trial says little of its own mean; a constant start has constant weights, whose
        # Gram matrix all fits on one design share.
        if n_trials is None:
            return jnp.full(y.shape, 0.5, y.dtype)
        return (n_trials * y + 0.5) / (n_trials + 1.0)

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        mu = inexact(mu)
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
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        excess = y - mean.mu
        return 2.0 * (_xlog_ratio(y, excess / mean.mu) - excess)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        return weight / scale * _log_poisson_peak(y)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y + 0.1

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        mu = inexact(mu)
        return jax.random.poisson(key, mu).astype(mu.dtype)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class Gamma(Family):
    """y > 0, V = mu^2, canonical link InversePower (default, as R and statsmodels), scale estimated.

    d = 2 [(y - mu)/mu - log(y/mu)]; the shape is weight / scale. The log link keeps means
    positive and is often the better choice.
    """

    link: Link = links.InversePower()
    support: ClassVar[Interval] = POSITIVE
    mean_space: ClassVar[Interval] = POSITIVE
    canonical: ClassVar[type[Link]] = links.InversePower
    canonical_ratio: ClassVar[float] = -1.0
    log_concave: ClassVar[tuple[type[Link], ...]] = (links.InversePower, links.Log)

    def __post_init__(self) -> None:
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * mean.mu

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        relative = (y - mean.mu) / mean.mu
        return 2.0 * (relative - jnp.log1p(relative))

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        # k log k - k - log Gamma(k) in one piece: a large shape k would cancel.
        k = weight / scale
        return 0.5 * jnp.log(k / (2.0 * np.pi)) - stirling_remainder(k) - jnp.log(y)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
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
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu**3

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return ((y - mean.mu) / mean.mu) ** 2 / y

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        return -0.5 * (jnp.log(2.0 * np.pi * scale / weight) + 3.0 * jnp.log(y))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        # Michael, Schucany & Haas (1976): the smaller root, or mu^2 over it, by a fair coin.
        mu = inexact(mu)
        normal_key, uniform_key = jax.random.split(key)
        a = 0.5 * mu * scale * jax.random.normal(normal_key, mu.shape, mu.dtype) ** 2
        # 1 + a - sqrt(2a + a^2), without the cancellation of large a.
        root = mu / (1.0 + a + jnp.sqrt(a * (2.0 + a)))
        u = jax.random.uniform(uniform_key, mu.shape, mu.dtype)
        return jnp.where(u * (mu + root) <= mu, root, mu * mu / root)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


@record
class NegativeBinomial(Family):
    """Overdispersed counts (NB2): y >= 0, V = mu + alpha mu^2, default link Log, scale 1.

    `alpha` > 0 is the heterogeneity (R's theta = 1 / alpha); `None` has it estimated by maximum
    likelihood with the coefficients, adjusted for them by Cox & Reid's (1987) -log det(X'wX)/2 if
    `cox_reid`. Canonical link `links.NegativeBinomial(alpha)`. The formulas
    tend to Poisson's as alpha -> 0, derivatives in alpha included.
    d = 2 [y log(y/mu) - (y + 1/alpha) log((1 + alpha y)/(1 + alpha mu))].
    """

    alpha: ArrayLike | None = 1.0
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
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu * (1.0 + self.alpha * mean.mu)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        excess = y - mean.mu
        # (y + 1/alpha) log((1 + alpha y)/(1 + alpha mu)) with the 1/alpha divided out.
        u = excess / (1.0 + self.alpha * mean.mu)
        rest = (1.0 + self.alpha * y) * log1p_ratio(self.alpha, u)
        return 2.0 * (_xlog_ratio(y, excess / mean.mu) - rest)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        # Poisson's peak, and what alpha adds to it: 0 at alpha = 0.
        added = nb_log_norm(y, self.alpha) + y - (1.0 + self.alpha * y) * log1p_ratio(self.alpha, y)
        return weight / scale * (_log_poisson_peak(y) + added)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return y + jnp.where(y == 0, 1.0 / 6.0, 0.0)

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
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

    var_power: ArrayLike | None = 1.5
    link: Link = links.Log()
    support: ClassVar[Interval] = NONNEGATIVE
    mean_space: ClassVar[Interval] = POSITIVE
    parameters: ClassVar[tuple[tuple[str, tuple[Interval, ...]], ...]] = (
        (
            "var_power",
            (Interval(-np.inf, 0.0, high_inclusive=True), Interval(1.0, np.inf, low_inclusive=True)),
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
        _check(self)

    def variance_at(self, mean: Mean) -> Array:
        return mean.mu**self.var_power

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        p = jnp.asarray(self.var_power)
        d = tweedie_deviance(y, mean.mu, jnp.where(p == 0, 1.5, p))
        return jnp.where(p == 0, (y - mean.mu) ** 2, d)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
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

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        mu = inexact(mu)
        p = jnp.asarray(self.var_power, mu.dtype)
        inside = (p > 1) & (p < 2)
        draws = _sample_compound(key, mu, scale, jnp.where(inside, p, 1.5))
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

    `variance_function` is V, a function of mu that JAX can trace; scale is estimated. The
    quasi-deviance 2 * integral from mu to y of (y - t)/V(t) dt is found by double-exponential
    quadrature. `mean_space` and `support` bound means and responses.
    """

    variance_function: Callable[[Array], Array] = static()
    link: Link = links.Identity()
    mean_space: Interval = static(default=REAL)  # type: ignore[assignment]
    support: Interval = static(default=REAL)  # type: ignore[assignment]
    has_likelihood: ClassVar[bool] = False

    def variance_at(self, mean: Mean) -> Array:
        return self.variance_function(mean.mu)

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return 2.0 * _quasi_integral(self.variance_function, y, mean.mu)

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array) -> Array:
        return jnp.full_like(y, jnp.nan)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        low, high = self.mean_space.low, self.mean_space.high
        if np.isfinite(low) and np.isfinite(high):
            return 0.5 * (y + 0.5 * (low + high))
        if np.isfinite(low):
            return jnp.where(y > low, y, low + 0.1)
        return y if not np.isfinite(high) else jnp.where(y < high, y, high - 0.1)

    def sample(
        self, key: Array, mu: ArrayLike, scale: ArrayLike = 1.0, n_trials: ArrayLike = 1
    ) -> Array:
        raise NotImplementedError("Quasi().sample: a quasi family is no distribution.")

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)


def _moment_alpha(weight: Array, y: Array, mu: Array) -> Array:
    """alpha from sum w ((y - mu)^2 - mu) = alpha sum w mu^2, kept within reach of a Newton step."""
    excess = jnp.sum(weight * ((y - mu) ** 2 - mu)) / jnp.sum(weight * mu * mu)
    return jnp.clip(excess, 1e-3, 1e2)


def _log_poisson_peak(y: Array) -> Array:
    """log of the Poisson probability of y at mean y; by Stirling's formula, so for any size."""
    positive = jnp.where(y > 0, y, 1.0)
    peak = -0.5 * jnp.log(2.0 * np.pi * positive) - stirling_remainder(positive)
    return jnp.where(y > 0, peak, 0.0)


def _xlog_ratio(y: Array, relative: Array) -> Array:
    """y log(y / mu) from the relative error (y - mu)/mu; 0 at y = 0, derivative included."""
    return safe_where(y > 0, lambda r: y * jnp.log1p(r), relative, 0.0, 0.0)


def log_factorial(y: Array) -> Array:
    """log Gamma(y + 1) for y >= 0, by Stirling's formula: a few logarithms, where JAX pays more."""
    z = y + 1.0
    return (z - 0.5) * jnp.log(z) - z + 0.5 * math.log(2.0 * math.pi) + stirling_remainder(z)


def log1p_ratio(alpha: ArrayLike, u: Array) -> Array:
    """log(1 + alpha u) / alpha, smooth down to alpha = 0, where it is u."""
    return u * (1.0 + _log1pmx_over_x(alpha * u))


def _sample_compound(key: Array, mu: Array, scale: ArrayLike, p: Array) -> Array:
    """Compound Poisson sum of gammas with mean mu and variance scale * mu^p, 1 < p < 2."""
    count_key, size_key = jax.random.split(key)
    rate = mu ** (2.0 - p) / (scale * (2.0 - p))
    count = jax.random.poisson(count_key, rate).astype(mu.dtype)
    shape = jnp.where(count > 0, count, 1.0) * (2.0 - p) / (p - 1.0)
    size = scale * (p - 1.0) * mu ** (p - 1.0)
    return jnp.where(count > 0, size * jax.random.gamma(size_key, shape, mu.shape), 0.0)


def _quasi_integral(variance: Callable[[Array], Array], y: Array, mu: Array) -> Array:
    """Integral from mu to y of (y - t)/V(t) dt = (y - mu)^2 * integral of (1 - s)/V over [0, 1].

    Tanh-sinh nodes (Takahasi & Mori 1974) cluster at both ends, where V may vanish; 1 - s is the
    mirrored node, so that it keeps its digits.
    """
    t = np.linspace(-3.6, 3.6, 97)
    s = 1.0 / (1.0 + np.exp(np.pi * np.sinh(-t)))
    weight = np.pi * np.cosh(t) * s * s[::-1] * (t[1] - t[0])

    def add(total: Array, node: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, rest, w = node
        return total + w * rest / variance(rest * mu + s * y), None

    nodes = tuple(jnp.asarray(v, mu.dtype) for v in (s, s[::-1], weight))
    start = jnp.zeros(jnp.broadcast_shapes(y.shape, mu.shape), mu.dtype)
    return (y - mu) ** 2 * jax.lax.scan(add, start, nodes)[0]
