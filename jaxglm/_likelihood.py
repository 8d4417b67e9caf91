"""Floor 1: pieces of likelihoods and samplers that rows of `families` share.

All elementwise, in any float dtype, with finite derivatives where the value is finite.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxglm._logarithm import log, log1p_known, log_ratio
from jaxglm._loggamma import (
    HALF_LOG_TWO_PI,
    log1p_excess,
    stirling_from_one,
    stirling_remainder,
)
from jaxglm._types import Array, ArrayLike, elementwise_derivative, polynomial

# 2 log Gamma(3/2), then zeta(2k, 3/2) / k; the rest is below 1e-18 for |x| <= 1/2.
_LOG_GAMMA_PAIR = (-0.24156447527049044469, 0.93480220054467930942, 0.11742425283353643637)
_LOG_GAMMA_PAIR += (0.030870968340098600672, 0.0099314576189516353912, 0.0034900711515802599801)
_LOG_GAMMA_PAIR += (0.0012874059660762971538, 4.8974238096588824896e-4, 1.9035879325005174926e-4)
_LOG_GAMMA_PAIR += (7.5189818539224388047e-5, 3.007396681671843484e-5, 1.2150812948969379207e-5)
_LOG_GAMMA_PAIR += (4.9502894688591871688e-6, 2.030881826005092773e-6, 8.381407907677327395e-7)
_LOG_GAMMA_PAIR += (3.4767308025438212174e-7, 1.4486376294186271336e-7)

# The Poisson probability's logarithm of k at mean k; nobody asks for that of 0.
_COUNTS = np.arange(1.0, 256.0)
_PEAKS = np.append(0.0, -0.5 * np.log(2.0 * np.pi * _COUNTS) - stirling_from_one(_COUNTS))


def _peak_by_stirling(y: Array) -> Array:
    return -0.5 * log(2.0 * np.pi * y) - stirling_remainder(y)


def _peak_by_logarithms(y: Array) -> Array:
    """By Stirling's formula for Gamma(y + 1): two logarithms, however small y."""
    z = y + 1.0
    u = 1.0 / z
    level = HALF_LOG_TWO_PI + 0.5 * log(z) + stirling_from_one(z)
    return (y * log1p_known(-u, y * u) + 1.0) - level


def _peak_of_counts(y: Array) -> Array:
    """Counts below 256 are looked up; where all of a batch are, there is no logarithm."""
    if y.dtype != np.float64:
        return _peak_by_logarithms(y)
    tabled = (y < len(_PEAKS)) & (y == jnp.floor(y))
    # The last bits of 2^52 + k are k.
    bits = jax.lax.bitcast_convert_type(jnp.where(tabled, y, 1.0) + 2.0**52, jnp.int64)
    found = jnp.asarray(_PEAKS).at[bits & (len(_PEAKS) - 1)].get(mode="promise_in_bounds")
    return jax.lax.cond(
        jnp.all(tabled),
        lambda y: found,
        lambda y: jnp.where(tabled, found, _peak_by_logarithms(y)),
        y,
    )


# log f(y; y) of the Poisson for y > 0. A primitive is lowered for a batch as a whole, which can
# then choose; and its slope is that of Stirling's formula, which keeps the digits of large y.
_peak_p = Primitive("log_poisson_peak")
_peak_p.def_impl(jax.jit(_peak_p.bind))
_peak_p.def_abstract_eval(lambda y: y)
mlir.register_lowering(_peak_p, mlir.lower_fun(_peak_by_logarithms, multiple_results=False))
mlir.register_lowering(
    _peak_p, mlir.lower_fun(_peak_of_counts, multiple_results=False), platform="cpu"
)
ad.defjvp(_peak_p, lambda dot, y: dot * elementwise_derivative(_peak_by_stirling, y))
batching.defvectorized(_peak_p)


def log_poisson_peak(y: Array) -> Array:
    """log of the Poisson probability of y at mean y, for any size."""
    peak = _peak_p.bind(jnp.where(y > 0, y, 1.0))
    # At 0 its slope less that of y log y, -1 - psi(1), and half of -psi'(1): see `xlogx`.
    return jnp.where(y > 0, peak, -y * (0.42278433509846714 + 0.8224670334241132 * y))


def log_choose_one(y: Array) -> Array:
    """-log[Gamma(1 + y) Gamma(2 - y)], the binomial coefficient of 0 <= y <= 1 out of one trial.

    By the series of log Gamma(3/2 + x) + log Gamma(3/2 - x), whose coefficients are
    zeta(2k, 3/2) / k (DLMF 5.15.1): a proportion without trials needs no logarithm.
    """
    return -polynomial(_LOG_GAMMA_PAIR, (y - 0.5) ** 2)


def xlogx(y: Array) -> Array:
    """y log y, with slope 0 at y = 0.

    The true slope there is infinite. It stands in the deviance and, with the other sign, in the
    saturated log density: what is left out of both leaves their sum's derivative exact.
    """
    positive = y > 0
    return jnp.where(positive, y * log(jnp.where(positive, y, 1.0)), 0.0)


def xlog_ratio(y: Array, mu: Array, log_mu: Array, edge: Array) -> Array:
    """y log(y / mu); at an `edge`, y = 0 or 1, by log mu as the link has it.

    There y log y is its expansion, without a logarithm. At y = 0 the slope in y is -log mu: see
    `xlogx`.
    """
    inside = log_ratio(jnp.where(edge, 1.0, y), jnp.where(edge, 1.0, mu))
    log_mu = jnp.where(edge & (y > 0) | jnp.isfinite(log_mu), log_mu, 0.0)
    at_edge = jnp.where(y > 0, 0.5 * (y * y - 1.0), 0.0)
    return jnp.where(edge, at_edge - y * log_mu, y * inside)


def log_factorial(y: Array) -> Array:
    """log Gamma(y + 1) for y >= 0, by Stirling's formula: a few logarithms, where JAX pays more."""
    z = y + 1.0
    return (z - 0.5) * log(z) - z + HALF_LOG_TWO_PI + stirling_from_one(z)


def log1p_ratio(alpha: ArrayLike, u: Array) -> Array:
    """log(1 + alpha u) / alpha, smooth down to alpha = 0, where it is u."""
    return u * (1.0 + log1p_excess(alpha * u))


def draw_compound_poisson(key: Array, mu: Array, scale: ArrayLike, p: Array) -> Array:
    """Compound Poisson sum of gammas with mean mu and variance scale * mu^p, 1 < p < 2."""
    count_key, size_key = jax.random.split(key)
    rate = mu ** (2.0 - p) / (scale * (2.0 - p))
    count = jax.random.poisson(count_key, rate).astype(mu.dtype)
    shape = jnp.where(count > 0, count, 1.0) * (2.0 - p) / (p - 1.0)
    size = scale * (p - 1.0) * mu ** (p - 1.0)
    return jnp.where(count > 0, size * jax.random.gamma(size_key, shape, mu.shape), 0.0)


def draw_inverse_gaussian(key: Array, mu: Array, scale: ArrayLike) -> Array:
    """Inverse Gaussian with mean mu and variance scale * mu^3 (Michael, Schucany & Haas 1976).

    The smaller root of their quadratic, or mu^2 over it, by a coin of the right odds.
    """
    normal_key, uniform_key = jax.random.split(key)
    a = 0.5 * mu * scale * jax.random.normal(normal_key, mu.shape, mu.dtype) ** 2
    # 1 + a - sqrt(2a + a^2), without the cancellation of large a.
    root = mu / (1.0 + a + jnp.sqrt(a * (2.0 + a)))
    u = jax.random.uniform(uniform_key, mu.shape, mu.dtype)
    return jnp.where(u * (mu + root) <= mu, root, mu * mu / root)


def quasi_integral(variance: Callable[[Array], Array], y: Array, mu: Array) -> Array:
    """Integral from mu to y of (y - t)/V(t) dt = (y - mu)^2 * integral of (1 - s)/V over [0, 1].

    Tanh-sinh nodes (Takahasi & Mori 1974) cluster at both ends, where V may vanish; 1 - s is the
    mirrored node, so that it keeps its digits.
    """
    t = np.linspace(-3.6, 3.6, 97)
    s = 1.0 / (1.0 + np.exp(np.pi * np.sinh(-t)))
    weight = np.pi * np.cosh(t) * s * s[::-1] * (t[1] - t[0])

    def add(total: Array, node: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, rest, w = node
        v = variance(rest * mu + s * y)
        # A node next to the end may round onto it, where V may vanish; its weight is negligible.
        return total + jnp.where(v > 0, w * rest / jnp.where(v > 0, v, 1.0), 0.0), None

    nodes = tuple(jnp.asarray(v, mu.dtype) for v in (s, s[::-1], weight))
    start = jnp.zeros(jnp.broadcast_shapes(y.shape, mu.shape), mu.dtype)
    return (y - mu) ** 2 * jax.lax.scan(add, start, nodes)[0]
