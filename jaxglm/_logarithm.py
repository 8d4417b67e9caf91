"""Floor 0: log, log1p and log(y / mu) that a CPU computes as fast as an exponential.

XLA calls the float64 logarithm of a CPU element by element, several times slower than its
exponential, and a batch's log-likelihoods need one for every row. Here the exponent is read from
the bits and the mantissa goes through a series, all of it vectorized; errors stay below two units
in the last place. Other dtypes and devices use JAX's own.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxglm._types import polynomial

_SQRT2 = math.sqrt(2.0)
# log 2 in two parts, the first short enough that its product with any exponent is exact.
_LOG2_HIGH = 0.693147180369123816490
_LOG2_LOW = 1.90821492927058770002e-10
# atanh(s) = s (1 + s^2 / 3 + s^4 / 5 + ...); |s| <= 3 - 2 sqrt 2 leaves a rest below 3e-17.
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(10))
# The bits of an exponent, and those of 2^52.
_EXPONENT, _TWO52 = 0x7FF0_0000_0000_0000, 0x4330_0000_0000_0000


@jax.custom_jvp
def log(x: ArrayLike) -> Array:
    """log x, elementwise; -inf at 0 and NaN below, slope 1/x."""
    x = jnp.asarray(x)
    if x.dtype != np.float64:
        return jnp.log(x)
    return jax.lax.platform_dependent(x, cpu=_log_by_bits, default=jnp.log)


@log.defjvp
def _log_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return log(primals[0]), tangents[0] / primals[0]


@jax.custom_jvp
def log1p(x: ArrayLike) -> Array:
    """log(1 + x), elementwise, to full precision near 0; slope 1/(1 + x)."""
    x = jnp.asarray(x)
    if x.dtype != np.float64:
        return jnp.log1p(x)
    return jax.lax.platform_dependent(x, cpu=_log1p_by_bits, default=jnp.log1p)


@log1p.defjvp
def _log1p_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return log1p(primals[0]), tangents[0] / (1.0 + primals[0])


@jax.custom_jvp
def log_ratio(y: Array, mu: Array) -> Array:
    """log(y / mu) for y, mu > 0, elementwise; slopes 1/y and -1/mu.

    A difference of logarithms would lose the digits that y and mu share.
    """
    return log1p_known((y - mu) / mu, y / mu)


@log_ratio.defjvp
def _log_ratio_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    (y, mu), (dy, dmu) = primals, tangents
    return log_ratio(y, mu), dy / y - dmu / mu


@jax.custom_jvp
def log1p_known(x: Array, u: Array) -> Array:
    """log(1 + x) where u = 1 + x is known better than x says near -1; slope 1/u in x, 0 in u."""
    if x.dtype != np.float64:
        return _log1p_known(x, u)
    return jax.lax.platform_dependent(x, u, cpu=_log1p_known_by_bits, default=_log1p_known)


@log1p_known.defjvp
def _log1p_known_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    return log1p_known(*primals), tangents[0] / primals[1]


def _log1p_known(x: Array, u: Array) -> Array:
    near = jnp.abs(x) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, x, 0.0)), jnp.log(u))


def _log1p_known_by_bits(x: Array, u: Array) -> Array:
    """One logarithm for both; see `_log1p_by_bits`."""
    near = jnp.abs(x) < 0.5
    rounded = jnp.where(near, 1.0 + x, u)
    return _log_by_bits(rounded) + jnp.where(near, x - (rounded - 1.0), 0.0)


def _log_by_bits(x: Array) -> Array:
    normal = (x >= np.finfo(np.float64).tiny) & (x < jnp.inf)
    # Infinite, NaN, negative or 0; subnormal numbers are 0 to XLA on a CPU.
    edge = jnp.where(x > 1.0, x, jnp.where(x >= 0, -jnp.inf, jnp.nan))
    return jnp.where(normal, _log_of_normal(x), edge)


def _log_of_normal(x: Array) -> Array:
    """log x = e log 2 + 2 atanh((m - 1)/(m + 1)) for x = m 2^e with m near 1."""
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), jnp.int64)
    # x 2^(1 - e) is exact, and has a slope: inside a `scan` JAX differentiates this body, not the
    # rule. Of a normal x the power is normal too.
    power = jax.lax.bitcast_convert_type(_EXPONENT - (bits & _EXPONENT), jnp.float64)
    # The exponent's bits behind those of 2^52 make a float of 2^52 plus it: no conversion.
    biased = jax.lax.shift_right_logical(bits, jnp.int64(52)) | _TWO52
    e = jax.lax.bitcast_convert_type(biased, jnp.float64) - (2.0**52 + 1023.0)
    double = x * power
    upper = double > 2.0 * _SQRT2
    m, e = double * jnp.where(upper, 0.25, 0.5), jnp.where(upper, e + 1.0, e)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    tail = polynomial(_ATANH[1:], q)
    return e * _LOG2_HIGH + (2.0 * s + (2.0 * s * (q * tail) + e * _LOG2_LOW))


def _log1p_by_bits(x: Array) -> Array:
    """log u + (x - (u - 1)) / u with u the rounded 1 + x: what rounding took is put back."""
    u = 1.0 + x
    inside = (u > 0) & (u < jnp.inf)
    u = jnp.where(inside, u, 1.0)
    found = _log_of_normal(u) + (x - (u - 1.0)) / u
    # 1 + x that is 0, infinite, negative or NaN.
    edge = jnp.where(x == -1.0, -jnp.inf, jnp.where(x > 0, x, jnp.nan))
    return jnp.where(inside, found, edge)
