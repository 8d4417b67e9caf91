"""Floor 1: link functions g with eta = g(mu), one row each; the interface is in `link`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri

from jaxglm._logarithm import log, log1p
from jaxglm._loggamma import log1p_unit
from jaxglm._roots import Bounds, as_interval, from_line, monotone_root
from jaxglm._special import log_normal_cdf
from jaxglm._types import (
    POSITIVE,
    REAL,
    UNIT,
    Array,
    ArrayLike,
    Interval,
    elementwise_derivative,
    inexact,
    record,
    require_function,
    safe_where,
    static,
)
from jaxglm.link import Link, Mean

__all__ = [
    "CDFLink",
    "CLogLog",
    "Cauchy",
    "Identity",
    "Interval",
    "InversePower",
    "InverseSquared",
    "Link",
    "Log",
    "LogC",
    "LogLog",
    "Logit",
    "Mean",
    "NegativeBinomial",
    "Power",
    "Probit",
    "Sqrt",
    "as_link",
    "from_inverse",
]


@record
class Identity(Link):
    """eta = mu. Canonical for Gaussian. Maps onto the whole line: means are checked by family."""

    range: ClassVar[Interval] = REAL

    def g(self, mu: Array) -> Array:
        return mu

    def at(self, eta: Array) -> tuple[Mean, Array]:
        return Mean.of(eta), jnp.ones_like(eta)


@record
class Log(Link):
    """eta = log(mu). Canonical for Poisson."""

    infinite_at: ClassVar[tuple[float, ...]] = (0.0,)

    def g(self, mu: Array) -> Array:
        return log(mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        mu = jnp.exp(eta)
        return Mean(mu, -jnp.expm1(eta), eta, _log1mexp(eta)), mu


@record
class Logit(Link):
    """eta = log(mu / (1 - mu)). Canonical for Binomial."""

    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def g(self, mu: Array) -> Array:
        return log(mu) - log1p(-mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        return _logistic(eta)


@record
class Probit(Link):
    """eta = Phi^-1(mu), the standard normal quantile."""

    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def g(self, mu: Array) -> Array:
        return ndtri(mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        slope = jnp.exp(-0.5 * eta * eta) * (1.0 / math.sqrt(2.0 * math.pi))
        return Mean(ndtr(eta), ndtr(-eta), log_normal_cdf(eta), log_normal_cdf(-eta)), slope


@record
class Cauchy(Link):
    """eta = tan(pi (mu - 1/2)), the Cauchy quantile (R's cauchit)."""

    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def g(self, mu: Array) -> Array:
        # In a tail the cotangent of the way to its end, since mu - 1/2 would lose the end's digits.
        low, central = mu < 0.5, jnp.abs(mu - 0.5) < 0.25
        angle = np.pi * jnp.where(low, mu, 1.0 - mu)
        tail = jnp.where(low, -1.0, 1.0) / jnp.tan(jnp.where(central, 1.0, angle))
        return jnp.where(central, jnp.tan(np.pi * jnp.where(central, mu - 0.5, 0.0)), tail)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        # The angle of the point (-eta, 1) over pi: both tails without cancellation.
        one = jnp.ones_like(eta)
        mu, complement = jnp.arctan2(one, -eta) / np.pi, jnp.arctan2(one, eta) / np.pi
        slope = 1.0 / (np.pi * (1.0 + eta * eta))
        return Mean(mu, complement, jnp.log(mu), jnp.log(complement)), slope


@record
class CLogLog(Link):
    """eta = log(-log(1 - mu)), the complementary log-log."""

    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def g(self, mu: Array) -> Array:
        return jnp.log(-jnp.log1p(-mu))

    def at(self, eta: Array) -> tuple[Mean, Array]:
        return _gompertz(eta)


@record
class LogLog(Link):
    """eta = -log(-log(mu)), increasing; the mirror image of CLogLog, as in statsmodels."""

    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def g(self, mu: Array) -> Array:
        return -jnp.log(-jnp.log(mu))

    def at(self, eta: Array) -> tuple[Mean, Array]:
        mirror, slope = _gompertz(-eta)
        return Mean(mirror.complement, mirror.mu, mirror.log_complement, mirror.log), slope


@record
class LogC(Link):
    """eta = log(1 - mu), the log complement; decreasing."""

    range: ClassVar[Interval] = Interval(-np.inf, 1.0)
    infinite_at: ClassVar[tuple[float, ...]] = (1.0,)

    def g(self, mu: Array) -> Array:
        return jnp.log1p(-mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        complement = jnp.exp(eta)
        return Mean(-jnp.expm1(eta), complement, _log1mexp(eta), eta), -complement


@record
class Power(Link):
    """eta = mu^power for mu > 0; `power` is a leaf, so it can be traced and differentiated.

    For power 0 use `Log`, for means of either sign `Identity` (power 1) or `InversePower` (-1).
    """

    power: ArrayLike
    domain: ClassVar[Interval] = POSITIVE

    def __post_init__(self) -> None:
        if isinstance(self.power, (str, complex)):
            raise TypeError(f"Power(power={self.power!r}): power must be a real number.")
        if isinstance(self.power, (int, float)) and (
            self.power == 0 or not np.isfinite(self.power)
        ):
            raise ValueError(
                f"Power(power={self.power}): power must be finite and not 0; use Log() for 0."
            )

    def g(self, mu: Array) -> Array:
        return mu**self.power

    def at(self, eta: Array) -> tuple[Mean, Array]:
        inside = eta > 0
        eta = jnp.where(inside, eta, 1.0)
        log = jnp.where(inside, jnp.log(eta) / self.power, jnp.nan)
        mu = jnp.where(inside, eta ** (1.0 / self.power), jnp.nan)
        return Mean(mu, 1.0 - mu, log, jnp.log1p(-mu)), mu / (self.power * eta)


@record
class Sqrt(Link):
    """eta = sqrt(mu), with eta > 0 as R requires."""

    domain: ClassVar[Interval] = POSITIVE

    def g(self, mu: Array) -> Array:
        return jnp.sqrt(mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        eta = jnp.where(eta > 0, eta, jnp.nan)
        mu = eta * eta
        return Mean(mu, 1.0 - mu, 2.0 * jnp.log(eta), jnp.log1p(-mu)), 2.0 * eta


@record
class InversePower(Link):
    """eta = 1 / mu. Canonical for Gamma; decreasing. Means of either sign, checked by family."""

    range: ClassVar[Interval] = REAL
    infinite_at: ClassVar[tuple[float, ...]] = (0.0,)

    def g(self, mu: Array) -> Array:
        return 1.0 / mu

    def at(self, eta: Array) -> tuple[Mean, Array]:
        mu = 1.0 / eta
        return Mean(mu, 1.0 - mu, -jnp.log(eta), jnp.log1p(-mu)), -mu * mu


@record
class InverseSquared(Link):
    """eta = 1 / mu^2, with eta > 0. Canonical for InverseGaussian; decreasing."""

    domain: ClassVar[Interval] = POSITIVE
    infinite_at: ClassVar[tuple[float, ...]] = (0.0,)

    def g(self, mu: Array) -> Array:
        return 1.0 / (mu * mu)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        eta = jnp.where(eta > 0, eta, jnp.nan)
        mu = 1.0 / jnp.sqrt(eta)
        return Mean(mu, 1.0 - mu, -0.5 * jnp.log(eta), jnp.log1p(-mu)), -0.5 * mu / eta


@record
class NegativeBinomial(Link):
    """eta = log(mu / (mu + 1/alpha)) < 0. Canonical for the NegativeBinomial at its alpha."""

    alpha: ArrayLike = 1.0
    domain: ClassVar[Interval] = Interval(-np.inf, 0.0)
    infinite_at: ClassVar[tuple[float, ...]] = (0.0,)

    def __post_init__(self) -> None:
        if isinstance(self.alpha, (str, complex)):
            raise TypeError(f"links.NegativeBinomial(alpha={self.alpha!r}): must be a real number.")
        if isinstance(self.alpha, (int, float)) and not self.alpha > 0:
            raise ValueError(f"links.NegativeBinomial(alpha={self.alpha}): alpha must be > 0.")

    def g(self, mu: Array) -> Array:
        return -jnp.log1p(1.0 / (self.alpha * mu))

    def at(self, eta: Array) -> tuple[Mean, Array]:
        eta = jnp.where(eta < 0, eta, jnp.nan)
        rest = -jnp.expm1(eta)
        mu = jnp.exp(eta) / (self.alpha * rest)
        log = eta - jnp.log(self.alpha * rest)
        return Mean(mu, 1.0 - mu, log, jnp.log1p(-mu)), mu / rest


@record
class CDFLink(Link):
    """mu = F(eta) for a continuous distribution on the line, given by functions that JAX can trace.

    `cdf` is F, or an object with a method `cdf` (such as `jax.scipy.stats.norm`), whose `sf` and
    `ppf` are then used too. Without `sf` the complement is 1 - F, so that the upper tail holds
    only absolute accuracy; without `ppf` the quantile is found by bisection and Newton's method.
    The density is F' by automatic differentiation.
    """

    cdf: Callable[[Array], Array] = static()
    sf: Callable[[Array], Array] | None = static(default=None)
    ppf: Callable[[Array], Array] | None = static(default=None)
    range: ClassVar[Interval] = UNIT
    infinite_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        distribution: Any = self.cdf
        for name in ("cdf", "sf", "ppf"):
            found = getattr(distribution, name, None)
            if found is not None and (name == "cdf" or getattr(self, name) is None):
                object.__setattr__(self, name, found)
        if not callable(self.cdf):
            raise TypeError(f"CDFLink(cdf={self.cdf!r}): allowed are functions and distributions.")
        for name in ("cdf", "sf", "ppf"):
            if getattr(self, name) is not None:
                require_function(f"CDFLink({name}", getattr(self, name), 1)

    def g(self, mu: Array) -> Array:
        if self.ppf is not None:
            return self.ppf(mu)
        eta = monotone_root(lambda eta: self.cdf(eta) - mu, REAL, jnp.zeros_like(mu))
        return jnp.where((mu > 0) & (mu < 1), eta, jnp.where(mu == 0, -jnp.inf, jnp.nan))

    def at(self, eta: Array) -> tuple[Mean, Array]:
        mu = self.cdf(eta)
        complement = self.sf(eta) if self.sf is not None else 1.0 - mu
        slope = elementwise_derivative(self.cdf, eta)
        return Mean(mu, complement, jnp.log(mu), jnp.log(complement)), slope

    # From the density, since a quantile function may be pieced together without its slope: JAX
    # 0.12's of the Cauchy distribution is at its median.
    def deriv(self, mu: ArrayLike) -> Array:
        return 1.0 / self.inverse_deriv(self.g(inexact(mu)))

    def deriv2(self, mu: ArrayLike) -> Array:
        eta = self.g(inexact(mu))
        return -self.inverse_deriv2(eta) / self.inverse_deriv(eta) ** 3


@record
class Inverse(Link):
    """mu = inverse_function(eta, *values), strictly monotone; made by `from_inverse`."""

    inverse_function: Callable[..., Array] = static()
    values: tuple[ArrayLike, ...] = ()
    domain: Interval = static(default=REAL)  # type: ignore[assignment]
    range: Interval = static(default=REAL)  # type: ignore[assignment]
    infinite_at: tuple[float, ...] = static(default=())  # type: ignore[assignment]

    def g(self, mu: Array) -> Array:
        return jnp.where(self.range.contains(mu), self.solve(mu), jnp.nan)

    def solve(self, mu: Array) -> Array:
        """eta; where none has the mean mu, as far as the domain goes."""
        # A decreasing function is turned round; some of these points differ in their means.
        far = jnp.asarray(2.0 ** np.arange(-2.0, 9.0), mu.dtype)
        up, down = (self._mu(from_line(self.domain, t)) for t in (far, -far))
        rise = jnp.where(jnp.isfinite(up - down), jnp.sign(up - down), 0.0)
        sign = jnp.where(jnp.sum(rise) >= 0, 1.0, -1.0).astype(mu.dtype)
        guess = from_line(self.domain, jnp.zeros_like(mu))
        eta = monotone_root(lambda eta: sign * (self._mu(eta) - mu), self.domain, guess)
        return jnp.where(jnp.isnan(mu), jnp.nan, eta)

    def at(self, eta: Array) -> tuple[Mean, Array]:
        inside = self.domain.contains(eta)
        eta = jnp.where(inside, eta, from_line(self.domain, jnp.zeros_like(eta)))
        mu, slope = jax.jvp(self._mu, (eta,), (jnp.ones_like(eta),))
        mu, slope = (jnp.where(inside, v, jnp.nan) for v in (mu, slope))
        return Mean.of(mu), slope

    def _mu(self, eta: Array) -> Array:
        return jnp.vectorize(lambda eta: self.inverse_function(eta, *self.values))(eta)


def from_inverse(
    fn: Callable[..., Array],
    *parameters: ArrayLike,
    domain: Bounds = REAL,
    range: Bounds = REAL,
) -> Inverse:
    """The link whose inverse is mu = fn(eta, *parameters), strictly monotone in eta.

    g is found by Newton's method inside a bracket, slopes by automatic differentiation. `fn` maps
    numbers to a number, in operations that JAX can trace; each new one is compiled anew, so define
    it once. `parameters` are leaves: they can be mapped over and differentiated. `domain` holds
    the eta for which fn is defined, `range` the means that it reaches: an `Interval`, or a pair for
    an open one. 1 - mu is formed by subtraction: use `CDFLink(cdf, sf)` where the upper tail
    matters.
    """
    require_function("from_inverse(fn", fn, 1, parameters)
    domain, range = as_interval(domain), as_interval(range)
    far = () if domain.bounded else (range.low, range.high)
    return Inverse(fn, parameters, domain, range, tuple(end for end in far if np.isfinite(end)))


# R's names too.
NAMED: dict[str, type[Link]] = {
    "identity": Identity,
    "log": Log,
    "logit": Logit,
    "probit": Probit,
    "cauchy": Cauchy,
    "cauchit": Cauchy,
    "cloglog": CLogLog,
    "loglog": LogLog,
    "logc": LogC,
    "sqrt": Sqrt,
    "inverse": InversePower,
    "inverse_power": InversePower,
    "1/mu^2": InverseSquared,
    "inverse_squared": InverseSquared,
}


def as_link(link: Link | type[Link] | str) -> Link:
    """A link as it is, or from its class or name; raises ValueError for an unknown name."""
    if not isinstance(link, str):
        link = link() if isinstance(link, type) else link
        if getattr(link, "inverse_deriv", None) is None:
            raise TypeError(
                f"link={link!r}: allowed are the links of jaxglm.links and their names."
            )
        return link
    if link not in NAMED:
        close = difflib.get_close_matches(link.lower(), NAMED, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"link={link!r}: allowed are {', '.join(NAMED)}.{hint}")
    return NAMED[link]()


def _log1mexp(x: Array) -> Array:
    """log(1 - e^x) for x < 0, NaN elsewhere; the branch point log 2 is Maechler's (2012)."""
    near = x > -math.log(2.0)
    close = safe_where(near, lambda t: jnp.log(-jnp.expm1(t)), x, -0.1, 0.0)
    return close + safe_where(~near, lambda t: jnp.log1p(-jnp.exp(t)), x, -1.0, 0.0)


@jax.custom_jvp
def _logistic(eta: Array) -> tuple[Mean, Array]:
    """The logistic mean and slope from one exponential.

    With e = exp(-|eta|) <= 1 nothing overflows, and both tails keep their relative accuracy. A
    division for each result is less work than to store a common one and to read it again.
    """
    positive = eta >= 0
    e = jnp.exp(jnp.where(positive, -eta, eta))
    whole = 1.0 + e
    mu, complement = jnp.where(positive, 1.0, e) / whole, jnp.where(positive, e, 1.0) / whole
    log1pe = log1p_unit(e)
    log, log_complement = jnp.minimum(eta, 0.0) - log1pe, -jnp.maximum(eta, 0.0) - log1pe
    return Mean(mu, complement, log, log_complement), e / (whole * whole)


@_logistic.defjvp
def _logistic_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    # In terms of the outputs themselves: |eta| has no derivative at 0, and 1 - mu would cancel.
    (eta,), (t,) = primals, tangents
    mean, slope = _logistic(eta)
    d_mean = Mean(slope * t, -slope * t, mean.complement * t, -mean.mu * t)
    return (mean, slope), (d_mean, slope * (mean.complement - mean.mu) * t)


def _gompertz(eta: Array) -> tuple[Mean, Array]:
    """mu = 1 - exp(-exp(eta)) with its complement, logarithms and slope."""
    # Beyond the cap mu is 1 and the slope 0 in every digit; exp(eta) itself must stay finite.
    cap = 0.99 * math.log(jnp.finfo(eta.dtype).max)
    t = jnp.exp(jnp.minimum(eta, cap))
    # mu tends to exp(eta) below, where log(1 - e^-t) would lose eta to underflow.
    low = eta < -0.5 * cap
    log = jnp.where(low, eta, safe_where(~low, _log1mexp, -t, -1.0, 0.0))
    return Mean(-jnp.expm1(-t), jnp.exp(-t), log, -t), jnp.exp(jnp.minimum(eta, cap) - t)
