"""Floor 9: the distribution functions of the families, for quantile residuals.

One row per family, as the two tails just below y and up to y: they differ where a response has
positive probability. `phi` is the dispersion of the row, scale / var_weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._loggamma import deviance_term, stirling_from_one
from jaxglm._special import _beta_tails, _gamma_tails, log_normal_cdf, normal_cdf, normal_sf
from jaxglm._types import Array
from jaxglm.families import (
    Binomial,
    Family,
    Gamma,
    Gaussian,
    InverseGaussian,
    NegativeBinomial,
    Poisson,
    Tweedie,
)
from jaxglm.links import Mean

__all__ = ["DISTRIBUTIONS", "Tails"]


class Tails(NamedTuple):
    """(P(Y <= y), P(Y > y)), each to relative precision."""

    lower: Array
    upper: Array


Distribution = Callable[[Family, Array, Mean, Array, Array], tuple[Tails, Tails]]


def _continuous(tails: Tails) -> tuple[Tails, Tails]:
    return tails, tails


def _gaussian(family: Family, y: Array, mean: Mean, phi: Array, m: Array) -> tuple[Tails, Tails]:
    z = (y - mean.mu) / jnp.sqrt(phi)
    return _continuous(Tails(normal_cdf(z), normal_sf(z)))


def _gamma(family: Family, y: Array, mean: Mean, phi: Array, m: Array) -> tuple[Tails, Tails]:
    return _continuous(Tails(*_gamma_tails(y / (mean.mu * phi), 1.0 / phi)))


def _inverse_gaussian(
    family: Family, y: Array, mean: Mean, phi: Array, m: Array
) -> tuple[Tails, Tails]:
    # Phi(a) + exp(2/(phi mu)) Phi(-b) (Shuster 1968), the second term in logarithms.
    root = jax.lax.rsqrt(phi * y)
    a, b = root * (y / mean.mu - 1.0), root * (y / mean.mu + 1.0)
    second = 2.0 / (phi * mean.mu) + log_normal_cdf(-b)
    upper = normal_sf(a) * -jnp.expm1(second - log_normal_cdf(-a))
    return _continuous(Tails(normal_cdf(a) + jnp.exp(second), upper))


def _binomial(family: Family, y: Array, mean: Mean, phi: Array, m: Array) -> tuple[Tails, Tails]:
    count, odds = jnp.round(m * y), mean.mu / mean.complement

    def tails(k: Array) -> Tails:
        inside = (k >= 0) & (k < m)
        k1 = jnp.where(inside, k, 0.0)
        above, upto = _beta_tails(odds, k1 + 1.0, jnp.where(inside, m - k, 1.0))
        edge = jnp.where(k < 0, 0.0, 1.0)
        return Tails(jnp.where(inside, upto, edge), jnp.where(inside, above, 1.0 - edge))

    return tails(count - 1.0), tails(count)


def _count(y: Array, tails: Callable[[Array], tuple[Array, Array]]) -> tuple[Tails, Tails]:
    """Below and up to y, from `tails(k)`, (P(Y > k), P(Y <= k)) for k >= 0."""
    k = jnp.floor(y)
    above, upto = tails(k)
    more, less = tails(jnp.maximum(k - 1.0, 0.0))
    below = Tails(jnp.where(k > 0, less, 0.0), jnp.where(k > 0, more, 1.0))
    return below, Tails(upto, above)


def _poisson(family: Family, y: Array, mean: Mean, phi: Array, m: Array) -> tuple[Tails, Tails]:
    return _count(y, lambda k: _gamma_tails(mean.mu, k + 1.0))


def _negative_binomial(
    family: Family, y: Array, mean: Mean, phi: Array, m: Array
) -> tuple[Tails, Tails]:
    alpha = jnp.broadcast_to(jnp.asarray(family.alpha, y.dtype), y.shape)  # type: ignore

    def tails(k: Array) -> tuple[Array, Array]:
        # alpha = 0 is the estimate on the edge: Poisson.
        spread = jnp.where(alpha > 0, alpha, 1.0)
        found = _beta_tails(spread * mean.mu, k + 1.0, 1.0 / spread)
        limit = _gamma_tails(mean.mu, k + 1.0)
        return tuple(jnp.where(alpha > 0, a, b) for a, b in zip(found, limit, strict=True))

    return _count(y, tails)


def _tweedie(family: Family, y: Array, mean: Mean, phi: Array, m: Array) -> tuple[Tails, Tails]:
    p = jnp.broadcast_to(jnp.asarray(family.var_power, y.dtype), y.shape)  # type: ignore
    inside = (p > 1) & (p < 2)
    phi = jnp.broadcast_to(phi, y.shape)
    chosen = _compound(y, mean, phi, jnp.where(inside, p, 1.5))
    chosen = jax.tree.map(lambda v: jnp.where(inside, v, jnp.nan), chosen)
    named = ((0, _gaussian), (1, _poisson), (2, _gamma), (3, _inverse_gaussian))
    for power, distribution in named:
        here = p == power
        row = distribution(family, jnp.where(here, y, 1.0), mean, phi, m)
        chosen = jax.tree.map(lambda a, b, here=here: jnp.where(here, a, b), row, chosen)
    return chosen


def _compound(y: Array, mean: Mean, phi: Array, p: Array) -> tuple[Tails, Tails]:
    """Poisson(rate) gammas in sum: a sum over their number j, of 256 terms about the rate.

    Beyond a rate of 256 the terms are those of a trapezoid rule of step sd/16.
    """
    rate = mean.mu ** (2.0 - p) / (phi * (2.0 - p))
    shape = (2.0 - p) / (p - 1.0)
    x = y / (phi * (p - 1.0) * mean.mu ** (p - 1.0))
    stride = jnp.maximum(1.0, jnp.sqrt(rate) / 16.0)
    first = jnp.maximum(1.0, jnp.round(rate - 128.0 * stride))

    def add(total: Tails, k: Array) -> tuple[Tails, None]:
        j = first + k * stride
        density = jnp.exp(-deviance_term(j, rate) - stirling_from_one(j))
        mass = stride * density / jnp.sqrt(2.0 * np.pi * j)
        lower, upper = _gamma_tails(x, j * shape)
        return Tails(total.lower + mass * lower, total.upper + mass * upper), None

    start = Tails(jnp.exp(-rate), jnp.zeros_like(rate))
    upto = jax.lax.scan(add, start, jnp.arange(256, dtype=y.dtype))[0]
    below = Tails(jnp.where(y > 0, upto.lower, 0.0), jnp.where(y > 0, upto.upper, 1.0))
    return below, upto


DISTRIBUTIONS: dict[type[Family], Distribution] = {
    Gaussian: _gaussian,
    Binomial: _binomial,
    Poisson: _poisson,
    Gamma: _gamma,
    InverseGaussian: _inverse_gaussian,
    NegativeBinomial: _negative_binomial,
    Tweedie: _tweedie,
}
