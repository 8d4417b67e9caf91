"""Floor 0: log Gamma and logarithms of ratios without cancellation; how slopes are written out.

Two quantities carry most densities: y log(y / mu) - y + mu and Stirling's remainder (Loader 2000,
"Fast and accurate computation of binomial probabilities").
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxglm._logarithm import log1p, log_ratio
from jaxglm._types import polynomial

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# Stirling's remainder over v for z >= 1, in powers of v = 1 / (z + 0.65): interpolated in
# Chebyshev's nodes by tests/reference/make_special.py; 5e-16 off, its two derivatives 2e-14.
_STIRLING_SHIFT = 0.65
_STIRLING = (0.08333333333333333, 0.05416666666666669, 0.03243055555553101, 0.01746875000442236)
_STIRLING += (0.008627504641101692, 0.004619993680396099, 0.0032813805148530317)
_STIRLING += (0.0022415551290938056, 0.00045553506917290636, 3.222213508276026e-05)
_STIRLING += (-0.0009861386376198433, 0.01386796469509146, -0.03887417418643252)
_STIRLING += (0.06672145420874136, -0.07709576823944253, 0.061592639364365626)
_STIRLING += (-0.032563253040772136, 0.010253552505872955, -0.0014049407555726012)
_ATANH_TAIL = tuple(1 / (2 * k + 3) for k in range(16))


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


def stirling_from_one(z: Array) -> Array:
    """Stirling's remainder of log Gamma(z) for z >= 1, without a logarithm."""
    return _stirling_series(1 / (z + _STIRLING_SHIFT))


def stirling_remainder(z: ArrayLike) -> Array:
    """log Gamma(z) - [(z - 1/2) log z - z + log(2 pi) / 2] for z > 0.

    Below z = 1 by the recurrence from z + 1.
    """
    return _stirling_of_inverse(1 / align(z)[0])


def _stirling_of_inverse(w: Array) -> Array:
    """Stirling's remainder of log Gamma(1 / w), smooth down to w = 0."""
    from_one = w <= 1
    z = 1 / jnp.where(from_one, 1, w)
    v = jnp.where(from_one, w / (1 + _STIRLING_SHIFT * w), 1 / (z + 1 + _STIRLING_SHIFT))
    return _stirling_series(v) + jnp.where(from_one, 0, (z + 0.5) * log1p(1 / z) - 1)


def _stirling_series(v: Array) -> Array:
    return v * polynomial(_STIRLING, v)


def nb_peak_excess(y: ArrayLike, alpha: ArrayLike) -> Array:
    """log f(y; y, alpha) - log f(y; y, 0) of the negative binomial, alpha >= 0: its peak's height
    over that of the Poisson, -log(1 + alpha y) / 2 + S(y + 1/alpha) - S(1/alpha).

    All terms of the size of y cancel in the formula itself, S being Stirling's remainder.
    """
    growth = alpha * y
    remainders = _stirling_of_inverse(alpha / (1 + growth)) - _stirling_of_inverse(alpha)
    return remainders - 0.5 * log1p(growth)
