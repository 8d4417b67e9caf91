"""Floor 0: log Gamma and logarithms of ratios without cancellation; how slopes are written out.

Two quantities carry most densities: y log(y / mu) - y + mu and Stirling's remainder (Loader 2000,
"Fast and accurate computation of binomial probabilities").
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxglm._logarithm import log, log1p, log_ratio
from jaxglm._types import polynomial

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_STIRLING_SLOPE = tuple((2 * k + 1) * c for k, c in enumerate(STIRLING))
_STIRLING_FROM = 10
_ATANH_TAIL = tuple(1 / (2 * k + 3) for k in range(16))
# z (z + 1) ... (z + 9) / z, and its derivative: no cancellation for z > 0.
_RISING = tuple(reversed(np.poly(-np.arange(1, _STIRLING_FROM)).tolist()))
_RISING_SLOPE = tuple(k * c for k, c in enumerate(_RISING))[1:]


def align(*values: ArrayLike) -> list[Array]:
    """The values as arrays of one shape and one floating dtype."""
    arrays = [jnp.asarray(v) for v in values]
    inexact = [v for v in values if jnp.issubdtype(jnp.result_type(v), jnp.inexact)]
    dtype = jnp.result_type(*inexact) if inexact else jnp.result_type(float)
    return jnp.broadcast_arrays(*[a.astype(dtype) for a in arrays])


def partial_slope(function: Callable[..., Any], i: int, values: tuple[Array, ...]) -> Any:
    """The slope of an elementwise function in its i-th argument, by forward mode."""
    one = jnp.ones_like(values[i])
    return jax.jvp(lambda v: function(*values[:i], v, *values[i + 1 :]), (values[i],), (one,))[1]


def with_slopes(value: Callable[..., Any], slope: Callable[..., Any]) -> Callable[..., Any]:
    """The elementwise function `value` with slope(i, arguments, result) in its i-th argument.

    That of an argument held fixed is not computed, lest its `while_loop` bar reverse mode.
    """
    function = jax.custom_jvp(value)

    def rule(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        out = function(*primals)
        total = jax.tree.map(jnp.zeros_like, out)
        for i, dot in enumerate(tangents):
            if not isinstance(dot, SymbolicZero):
                parts = slope(i, primals, out)
                total = jax.tree.map(lambda t, s, d=dot: t + s * d, total, parts)
        return out, total

    function.defjvp(rule, symbolic_zeros=True)
    return jax.jit(function)


def _log1p_third(x: Array) -> Array:
    """G of log(1 + x) = x - x^2 / 2 + x^3 G, for |x| <= 1/2.

    By s = x / (2 + x), log(1 + x) = 2 atanh(s), all terms of whose rest have one sign.
    """
    s = x / (2 + x)
    return (2 * polynomial(_ATANH_TAIL, s * s) / (2 + x) ** 2 + 0.5) / (2 + x)


# (log(1 + x) - x) / x^2 for |x| <= 1/2; its own slope spares that of the series.
_log1p_second = with_slopes(
    lambda x: x * _log1p_third(x) - 0.5,
    lambda _, values, __: 1 / (1 + values[0]) - 2 * _log1p_third(values[0]),
)


def log1p_unit(x: Array) -> Array:
    """log(1 + x) for 0 <= x <= 1, without a logarithm: several times faster on a CPU."""
    s = x / (2 + x)
    return 2 * s + 2 * s * (s * s) * polynomial(_ATANH_TAIL, s * s)


def log1p_excess(x: Array) -> Array:
    """log(1 + x) / x - 1 for x > -1, smooth through 0, its derivatives in full precision."""
    small = (x > -0.5) & (x < 0.5)
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    return jnp.where(small, near * _log1p_second(near), log1p(far) / far - 1)


def deviance_term(y: ArrayLike, mu: ArrayLike) -> Array:
    """y log(y / mu) - y + mu >= 0, half the Poisson unit deviance, exact as y -> mu.

    For y >= 0, mu > 0; mu at y = 0. Source: Loader (2000), function D0.
    """
    y, mu = align(y, mu)
    usable = y > 0
    y1, mu1 = jnp.where(usable, y, 1), jnp.where(usable, mu, 1)
    near = jnp.abs(mu1 - y1) < 0.5 * y1
    excess = jnp.where(near, mu1 - y1, 0) / jnp.where(near, y1, 1)
    by_series = -(mu1 - y1) * log1p_excess(excess)
    by_log = y1 * log_ratio(y1, mu1) + (mu1 - y1)
    return jnp.where(usable, jnp.where(near, by_series, by_log), mu)


def _stirling_value(w: Array) -> Array:
    """Stirling's remainder of log Gamma(1 / w), smooth down to w = 0."""
    large, z, v = _stirling_arguments(w)
    product = polynomial(_RISING, z) * z / (z + _STIRLING_FROM) ** _STIRLING_FROM
    shift = (z - 0.5) * log1p(_STIRLING_FROM / z) - _STIRLING_FROM - log(product)
    return v * polynomial(STIRLING, v * v) + jnp.where(large, 0, shift)


def _stirling_slope(_: int, values: tuple[Array], __: Array) -> Array:
    """Its derivative: that of the logarithm of a product is a quotient of two polynomials."""
    large, z, v = _stirling_arguments(values[0])
    series = polynomial(_STIRLING_SLOPE, v * v)
    total = z + _STIRLING_FROM
    bends = z * polynomial(_RISING_SLOPE, z) / polynomial(_RISING, z)
    # z d/dz, which is -w d/dw.
    log_slope = z * log1p(_STIRLING_FROM / z) + 0.5 * _STIRLING_FROM / total - 1
    return jnp.where(large, series, -z * (log_slope - bends - z * (v * v * series)))


def _stirling_arguments(w: Array) -> tuple[Array, Array, Array]:
    large = w <= 1 / _STIRLING_FROM
    z = 1 / jnp.where(large, 1, w)
    return large, z, jnp.where(large, w, 1 / (z + _STIRLING_FROM))


_stirling_of_inverse = with_slopes(_stirling_value, _stirling_slope)


def stirling_remainder(z: ArrayLike) -> Array:
    """log Gamma(z) - [(z - 1/2) log z - z + log(2 pi) / 2] for z > 0.

    Asymptotic series (DLMF 5.11.1) from z = 10 on, reached by the recurrence from below.
    """
    return _stirling_of_inverse(1 / align(z)[0])


def nb_peak_excess(y: ArrayLike, alpha: ArrayLike) -> Array:
    """log f(y; y, alpha) - log f(y; y, 0) of the negative binomial, alpha >= 0: its peak's height
    over that of the Poisson, -log(1 + alpha y) / 2 + S(y + 1/alpha) - S(1/alpha).

    All terms of the size of y cancel in the formula itself, S being Stirling's remainder.
    """
    growth = alpha * y
    remainders = _stirling_of_inverse(alpha / (1 + growth)) - _stirling_of_inverse(alpha)
    return remainders - 0.5 * log1p(growth)
