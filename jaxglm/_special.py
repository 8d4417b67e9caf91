"""Floor 0: special functions, elementwise, that JAX lacks or holds to too few digits."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betainc, erfc
from jax.typing import ArrayLike

from jaxglm._loggamma import (
    HALF_LOG_TWO_PI,
    align,
    deviance_term,
    partial_slope,
    stirling_from_one,
    stirling_remainder,
    with_slopes,
)
from jaxglm._types import polynomial

_TWEEDIE_TERMS = 128
_MOST_TERMS, _SLOPE_TERMS = 20_000, 500
_BETA_23 = math.gamma(2 / 3) ** 2 / math.gamma(4 / 3)
_ANSCOMBE_SERIES = tuple(
    math.prod(-(1 / 3 + k) * (2 / 3 + k) / ((5 / 3 + k) * (1 + k)) for k in range(n))
    for n in range(12)
)


# Incomplete beta and gamma functions: JAX's lose digits in proportion to log Gamma(a)
def _continue_fraction(term: Callable[..., Any], first: Array, least: int) -> Array:
    """first + a_1 / (b_1 + a_2 / (b_2 + ...)) by Lentz's method; term(k) = (a_k, b_k).

    At least so many terms: a fraction that ends for a whole parameter has a slope that does not.
    """
    eps = jnp.finfo(first.dtype).eps
    tiny = jnp.finfo(first.dtype).tiny / eps

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        k, value, c, d, _ = state
        a, b = term(k)
        c, d = (jnp.where(jnp.abs(v) < tiny, tiny, v) for v in (b + a / c, b + a * d))
        d = 1 / d
        return k + 1, value * (c * d), c, d, jnp.abs(c * d - 1)

    def go_on(state: tuple[Array, ...]) -> Array:
        return (state[0] < least) | (state[0] < _MOST_TERMS) & jnp.any(state[-1] > eps)

    start = jnp.ones((), first.dtype), first, first, jnp.zeros_like(first), jnp.ones_like(first)
    return jax.lax.while_loop(go_on, step, start)[1]


def _log_beta_kernel(odds: Array, a: Array, b: Array) -> Array:
    """log of x^a (1 - x)^b / B(a, b) at x = odds / (1 + odds): the slope of I_x in log odds."""
    n = a + b
    misfit = deviance_term(a, n * (odds / (1 + odds))) + deviance_term(b, n / (1 + odds))
    remainder = stirling_remainder(n) - stirling_remainder(a) - stirling_remainder(b)
    return 0.5 * (jnp.log(a) + jnp.log(b / n)) - HALF_LOG_TWO_PI + remainder - misfit


def _beta_tails_value(odds: Array, a: Array, b: Array, least: int) -> tuple[Array, Array]:
    """(I_x, 1 - I_x)(a, b) at x = odds / (1 + odds) (DiDonato & Morris 1992, eq. 9)."""
    from_below = odds * b < a
    p, q = jnp.where(from_below, a, b), jnp.where(from_below, b, a)
    usable = (odds > 0) & (odds < jnp.inf)
    safe = jnp.where(usable, odds, 1)
    x, xc = safe / (1 + safe), 1 / (1 + safe)
    x, xc = jnp.where(from_below, x, xc), jnp.where(from_below, xc, x)

    def bottom(n: Array) -> Array:
        fraction = n * ((q - n) / (p + 2 * n - 1)) * x
        return n + fraction + (p + n) / (p + 2 * n + 1) * (p * xc - q * x + 1 + n * (1 + xc))

    def term(n: Array) -> tuple[Array, Array]:
        d = p + 2 * n - 1
        return (p + n - 1) / d * ((p + q + n - 1) / d * x) * (n * (q - n) * x), bottom(n)

    fraction = _continue_fraction(term, p / (p + 1) * (p * xc - q * x + 1), least)
    tail = jnp.where(usable, jnp.exp(_log_beta_kernel(safe, a, b)) / fraction, 0)
    return jnp.where(from_below, tail, 1 - tail), jnp.where(from_below, 1 - tail, tail)


def _log_gamma_kernel(x: Array, a: Array) -> Array:
    """log of x^a exp(-x) / Gamma(a): the slope of P(a, x) in log x."""
    return 0.5 * jnp.log(a) - HALF_LOG_TWO_PI - stirling_remainder(a) - deviance_term(a, x)


def _gamma_tails_value(x: Array, a: Array, least: int) -> tuple[Array, Array]:
    """(P, Q)(a, x), each to relative precision (continued fractions, DLMF 8.9.1, 8.9.2)."""
    from_below = x < a + 1
    usable = (x > 0) & (x < 1 / jnp.finfo(x.dtype).eps ** 2)
    safe = jnp.where(usable, x, 1)

    def term(k: Array) -> tuple[Array, Array]:
        m = jnp.floor(k / 2)
        below = safe * jnp.where(k == 2 * m, m, -(a + m))
        top = jnp.where(from_below, below, k * (a - k))
        return top, jnp.where(from_below, a + k, safe + 2 * k + 1 - a)

    fraction = _continue_fraction(term, jnp.where(from_below, a, safe + 1 - a), least)
    tail = jnp.where(usable, jnp.exp(_log_gamma_kernel(safe, a)) / fraction, 0)
    return jnp.where(from_below, tail, 1 - tail), jnp.where(from_below, 1 - tail, tail)


def _tails(value: Callable[..., Any], log_kernel: Callable[..., Array]) -> Callable[..., Any]:
    """(lower, upper), with the slope exp(log_kernel) / x in x, forward mode in the parameters."""

    def slope(i: int, values: tuple[Array, ...], _: Any) -> tuple[Array, Array]:
        x, *parameters = values
        if i > 0:
            limit = jnp.finfo(x.dtype).eps ** 2
            x = jnp.clip(x, limit, 1 / limit)
            return partial_slope(lambda *v: value(*v, _SLOPE_TERMS), i, (x, *parameters))
        inside = (x > 0) & (x < jnp.finfo(x.dtype).max / 2)
        x = jnp.where(inside, x, 1)
        density = jnp.where(inside, jnp.exp(log_kernel(x, *parameters)) / x, 0)
        return density, -density

    return with_slopes(lambda *values: value(*values, 1), slope)


_beta_tails = _tails(_beta_tails_value, _log_beta_kernel)
_gamma_tails = _tails(_gamma_tails_value, _log_gamma_kernel)


def normal_cdf(x: ArrayLike) -> Array:
    """P(Z <= x), relative precision into the lower tail."""
    return 0.5 * erfc(-math.sqrt(0.5) * align(x)[0])


def normal_sf(x: ArrayLike) -> Array:
    """P(Z > x), relative precision into the upper tail."""
    return normal_cdf(-jnp.asarray(x))


def two_sided_normal(z: ArrayLike) -> Array:
    """P(|Z| > |z|)."""
    return 2 * normal_cdf(-jnp.abs(z))


def log_normal_cdf(x: ArrayLike) -> Array:
    """log P(Z <= x) in relative precision on both sides of 0.

    JAX's log_ndtr holds 10 digits at x = 5 and 4 at x = 7. Far below: DLMF 7.12.1.
    """
    (x,) = align(x)
    far = x < (-35 if x.dtype.itemsize > 4 else -12)
    upper = jnp.log1p(-normal_cdf(-jnp.where(x > 0, x, 1)))
    lower = jnp.log(normal_cdf(jnp.where((x > 0) | far, -1, x)))
    z = jnp.where(far, x, -40)
    series = jnp.log1p(polynomial((0.0, -1.0, 3.0, -15.0, 105.0, -945.0), 1 / (z * z)))
    asymptote = series - 0.5 * z * z - jnp.log(-z) - HALF_LOG_TWO_PI
    return jnp.where(far, asymptote, jnp.where(x > 0, upper, lower))


def _log_f_kernel(x: Array, d1: Array, d2: Array) -> Array:
    """log of the slope of P(F <= x) in log x."""
    finite = d2 < jnp.inf
    d = jnp.where(finite, d2, 1)
    beta = _log_beta_kernel(x * (d1 / d), 0.5 * d1, 0.5 * d)
    return jnp.where(finite, beta, _log_gamma_kernel(x * (0.5 * d1), 0.5 * d1))


def _f_tails(x: Array, d1: Array, d2: Array) -> tuple[Array, Array]:
    finite = d2 < jnp.inf
    x = jnp.clip(x, 0, jnp.finfo(x.dtype).max)
    d = jnp.where(finite, d2, 1)
    beta = _beta_tails(x * (d1 / d), 0.5 * d1, 0.5 * d)
    limit = _gamma_tails(x * (0.5 * d1), 0.5 * d1)
    return tuple(x * 0 + jnp.where(finite, b, g) for b, g in zip(beta, limit, strict=True))


@jax.jit
def f_sf(x: ArrayLike, d1: ArrayLike, d2: ArrayLike) -> Array:
    """P(F > x) on (d1, d2) degrees of freedom; d2 = inf is chi2(d1) / d1."""
    return _f_tails(*align(x, d1, d2))[1]


def _chi2_tails(x: ArrayLike, df: ArrayLike) -> tuple[Array, Array]:
    x, df = align(x, df)
    x = jnp.clip(x, 0, jnp.finfo(x.dtype).max)
    # A fraction of NaN would end at once, as if it were 0.
    return tuple(x * 0 + tail for tail in _gamma_tails(0.5 * x, 0.5 * df))


def chi2_cdf(x: ArrayLike, df: ArrayLike) -> Array:
    """P(chi2 <= x) on df > 0 degrees of freedom, relative precision near 0."""
    return _chi2_tails(x, df)[0]


@jax.jit
def chi2_sf(x: ArrayLike, df: ArrayLike) -> Array:
    """P(chi2 > x) on df > 0 degrees of freedom, relative precision into the tail."""
    return _chi2_tails(x, df)[1]


def _t_sf_value(t: Array, df: Array) -> Array:
    lower, upper = _f_tails(t * t, jnp.ones_like(t), df)
    return jnp.where(t > 0, 0.5 * upper, 0.5 + 0.5 * lower)


def _t_sf_slope(i: int, values: tuple[Array, ...], _: Array) -> Array:
    t, df = values
    if i > 0:
        return partial_slope(_t_sf_value, 1, values)
    # The density, constant to all digits from t = eps down.
    eps = jnp.finfo(t.dtype).eps
    size = jnp.clip(jnp.abs(t), eps, 1 / eps)
    return -jnp.exp(_log_f_kernel(size * size, jnp.ones_like(t), df)) / size


_t_sf = with_slopes(_t_sf_value, _t_sf_slope)


def t_sf(t: ArrayLike, df: ArrayLike) -> Array:
    """P(T > t) for Student's t on df > 0 degrees of freedom; df = inf is the normal.

    Relative precision into the tail while t^2 does not overflow.
    """
    return _t_sf(*align(t, df))


def t_cdf(t: ArrayLike, df: ArrayLike) -> Array:
    """P(T <= t) for Student's t; see `t_sf`."""
    return t_sf(-jnp.asarray(t), df)


@jax.jit
def two_sided_t(t: ArrayLike, df: ArrayLike) -> Array:
    """P(|T| > |t|) for Student's t; see `t_sf`."""
    return 2 * t_sf(jnp.abs(t), df)


def _f_solve(p: Array, q: Array, d1: Array, d2: Array) -> Array:
    """The x > 0 with P(F <= x) = p and P(F > x) = q = 1 - p.

    Newton on the log of the smaller tail, concave in log x; bisection where a step goes astray.
    """
    limits = jnp.finfo(p.dtype)
    by_lower = p <= q
    target = jnp.log(jnp.where(by_lower, p, q))

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        k, u, low, high, _ = state
        x = jnp.exp(u)
        tail = jnp.where(by_lower, *_f_tails(x, d1, d2))
        excess = jnp.where(by_lower, 1, -1) * (jnp.log(tail) - target)
        low, high = jnp.where(excess > 0, low, u), jnp.where(excess > 0, u, high)
        trial = u - excess * tail / jnp.exp(_log_f_kernel(x, d1, d2))
        trial = jnp.where((trial >= low) & (trial <= high), trial, 0.5 * (low + high))
        return k + 1, trial, low, high, jnp.abs(trial - u)

    def go_on(state: tuple[Array, ...]) -> Array:
        return (state[0] < 100) & jnp.any(state[-1] > 4 * limits.eps)

    ends = jnp.full_like(p, math.log(limits.tiny)), jnp.full_like(p, math.log(limits.max))
    start = jnp.zeros((), int), jnp.zeros_like(p), *ends, jnp.ones_like(p)
    x = jnp.exp(jax.lax.while_loop(go_on, step, start)[1])
    x = jnp.where(p <= 0, 0, jnp.where(q <= 0, jnp.inf, x))
    return jnp.where((p >= 0) & (q >= 0), x, jnp.nan)


def _slope_of_root(cdf: Callable[..., Array]) -> Callable[..., Array]:
    """The slopes of the x with cdf(x, *df) = p, in p and in each df."""

    def slope(i: int, values: tuple[Array, ...], x: Array) -> Array:
        inside = jnp.isfinite(x) & (x != 0) | (values[0] == 0.5)
        at = (jnp.where(inside, x, 1), *values[1:])
        change = -partial_slope(cdf, i, at) if i else 1
        return jnp.where(inside, change / partial_slope(cdf, 0, at), 0)

    return slope


def _t_quantile_value(p: Array, df: Array) -> Array:
    tail = jnp.minimum(p, 1 - p)
    return jnp.sign(p - 0.5) * jnp.sqrt(_f_solve(1 - 2 * tail, 2 * tail, jnp.ones_like(p), df))


_f_quantile = with_slopes(
    lambda p, d1, d2: _f_solve(p, 1 - p, d1, d2), _slope_of_root(lambda *a: _f_tails(*a)[0])
)
_t_quantile = with_slopes(_t_quantile_value, _slope_of_root(lambda x, df: _t_sf(-x, df)))


def f_quantile(p: ArrayLike, d1: ArrayLike, d2: ArrayLike) -> Array:
    """The x with P(F <= x) = p on (d1, d2) degrees of freedom; nan outside 0 <= p <= 1."""
    return _f_quantile(*align(p, d1, d2))


def chi2_quantile(p: ArrayLike, df: ArrayLike) -> Array:
    """The x with P(chi2 <= x) = p on df degrees of freedom; nan outside 0 <= p <= 1."""
    p, df = align(p, df)
    return df * _f_quantile(p, df, jnp.full_like(p, jnp.inf))


@jax.jit
def t_quantile(p: ArrayLike, df: ArrayLike) -> Array:
    """The t with P(T <= t) = p on df degrees of freedom (inf: normal); nan outside 0 <= p <= 1."""
    return _t_quantile(*align(p, df))


def _expm1_over_x(x: Array) -> Array:
    """(exp(x) - 1) / x, smooth through 0."""
    small = jnp.abs(x) < 0.2
    series = polynomial(tuple(1 / math.factorial(k + 1) for k in range(11)), jnp.where(small, x, 0))
    far = jnp.where(small, 1, x)
    return jnp.where(small, series, jnp.expm1(far) / far)


def tweedie_deviance(y: ArrayLike, mu: ArrayLike, p: ArrayLike) -> Array:
    """Unit deviance of V = mu^p: 2 integral_mu^y (y - t) t^-p dt.

    y > 0 with any p, smooth through p = 1 and 2; y = 0 with p < 2. Source: Jorgensen (1987).
    """
    y, mu, p = align(y, mu, p)
    positive = y > 0
    r = jnp.log(jnp.where(positive, y, mu) / mu)
    excess = r * (jnp.exp(r) * _expm1_over_x((1 - p) * r) - _expm1_over_x((2 - p) * r))
    at_zero = 1 / jnp.where(positive | (p >= 2), 1, 2 - p)
    return 2 * mu ** (2 - p) * jnp.where(positive, excess, at_zero)


def _log_jump_sum_value(rate: Array, shape: Array) -> Array:
    """log sum_{j >= 1} exp(-(1 + shape) D(j, rate) - S(j) - S(shape j)).

    D is the deviance term, S Stirling's remainder; a bell about j = rate. Up to sd = 6 the window
    of 128 holds all terms that count; a wider bell's sum is to all digits its integral, hence its
    trapezoid rule of step sd / 6. Term by term, lest the memory grow 128-fold.
    """
    sd, centre = jax.lax.stop_gradient((jnp.sqrt(rate / (1 + shape)), rate))
    stride = jnp.maximum(1, sd / 6)
    first = jnp.maximum(1, jnp.round(centre / stride) - _TWEEDIE_TERMS // 2)

    def log_term(j: Array) -> Array:
        remainders = stirling_from_one(j) + stirling_remainder(shape * j)
        return -(1 + shape) * deviance_term(j, rate) - remainders

    top = jax.lax.stop_gradient(log_term(jnp.maximum(1, jnp.round(centre))))

    @jax.checkpoint
    def add(total: Array, k: Array) -> tuple[Array, None]:
        return total + jnp.exp(log_term(stride * (first + k)) - top), None

    counts = jnp.arange(_TWEEDIE_TERMS, dtype=rate.dtype)
    return jnp.log(stride * jax.lax.scan(add, jnp.zeros_like(rate), counts)[0]) + top


_log_jump_sum = with_slopes(
    _log_jump_sum_value, lambda i, values, _: partial_slope(_log_jump_sum_value, i, values)
)


def tweedie_log_density(y: ArrayLike, mu: ArrayLike, phi: ArrayLike, p: ArrayLike) -> Array:
    """Log density of Tweedie's law, var = phi mu^p, 1 < p < 2; at y = 0 the log of its mass.

    -d(y, mu) / (2 phi) + log(sqrt(shape) / (2 pi y)) + `_log_jump_sum`(rate, shape), with
    shape = (2-p)/(p-1), rate = y^(2-p) / (phi (2-p)): the series of Dunn & Smyth (2005, sec. 4),
    its Poisson and gamma factors in Loader's form. phi > 0 (per observation: phi / weight). As
    p -> 1 the density becomes a comb, and digits go as eps rate / (p - 1).
    """
    y, mu, phi, p = align(y, mu, phi, p)
    positive = y > 0
    y1 = jnp.where(positive, y, 1)
    shape = (2 - p) / (p - 1)
    rate = y1 ** (2 - p) / (phi * (2 - p))
    front = 0.5 * jnp.log(shape) - 2 * HALF_LOG_TWO_PI - jnp.log(y1)
    return jnp.where(positive, front + _log_jump_sum(rate, shape), 0) - tweedie_deviance(
        y, mu, p
    ) / (2 * phi)


def incomplete_beta_23(mu: ArrayLike) -> Array:
    """integral of [t (1 - t)]^(-1/3) from 0 to mu in [0, 1]; its gradient at 0 and 1 is set to 0.

    Source: Cox & Snell (1968), the binomial Anscombe residual.
    """
    (mu,) = align(mu)
    inside = (mu > 0) & (mu < 1)
    value = betainc(2 / 3, 2 / 3, jnp.where(inside, mu, 0.5))
    return _BETA_23 * jnp.where(inside, value, jnp.where(mu > 0, 1, 0))


def hyp2f1_anscombe(x: ArrayLike) -> Array:
    """2F1(1/3, 2/3; 5/3; -x) for x >= 0: integral_0^y [t (1 + a t)]^(-1/3) dt = 3/2 y^(2/3) F(a y).

    By parts 2 (1 + x)^(-1/3) - 2/3 x^(-2/3) `incomplete_beta_23`(x / (1 + x)); a series near 0.
    """
    (x,) = align(x)
    small = x < 0.05
    series = polynomial(_ANSCOMBE_SERIES, jnp.where(small, x, 0))
    z = jnp.where(small, 1, x)
    far = 2 * (1 + z) ** (-1 / 3) - 2 / 3 * z ** (-2 / 3) * incomplete_beta_23(z / (1 + z))
    return jnp.where(small, series, far)
