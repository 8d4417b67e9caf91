"""Floor 2: families from one function, a log density or a cumulant; derivatives supply the rest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._roots import (
    Bounds,
    as_interval,
    from_line,
    line_root,
    monotone_root,
    reach,
    to_line,
)
from jaxglm._types import (
    REAL,
    Array,
    Interval,
    elementwise_derivative,
    inexact,
    record,
    require_function,
    static,
)
from jaxglm._types import ArrayLike as Number
from jaxglm.family import Family, check, moved_inside
from jaxglm.link import Link, Mean
from jaxglm.links import Identity, Inverse, Log, Logit, as_link, from_inverse

# A sum over integers: the first ones by themselves, the rest as an integral, smoothly joined. The
# integral of a function that is smooth on the scale of 1 is the sum itself (Poisson's formula); the
# joint is wide in the logarithm too, on which the integral's nodes lie.
N_SINGLE = 192
JOINT, WIDTH = math.log(24.0), 0.35


@record
class LogProb(Family):
    """A family given by log f(y; mu, *values), scale 1; made by `from_log_prob`.

    d = 2 [max over m of log f(y; m) - log f(y; mu)].
    """

    log_prob: Callable[..., Array] = static()
    values: tuple[Number, ...]
    link: Link
    support: Interval = static()  # type: ignore[assignment]
    mean_space: Interval = static()  # type: ignore[assignment]
    discrete: bool = static(default=False)
    sampler: Callable[..., Array] | None = static(default=None)
    fixed_scale: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    def variance_at(self, mean: Mean) -> Array:
        return self._moments(mean.mu)[0]

    def inverse_information_at(self, mean: Mean) -> Array:
        information = self._moments(mean.mu)[1]
        positive = information > 0
        return jnp.where(positive, 1.0 / jnp.where(positive, information, 1.0), 0.0)

    def eta_score_at(self, y: Array, mean: Mean, slope: Array, ratio: Array) -> Array:
        del ratio
        return self._log_prob_and_score(y, mean.mu)[1] * slope

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return 2.0 * (self._log_prob(y, self._best_mean(y)) - self._log_prob(y, mean.mu))

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        return weight / scale * self._log_prob(y, self._best_mean(y))

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return moved_inside(y, self.mean_space)

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        return _draw(self.sampler, "from_log_prob", key, mu, self.values)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)

    def _log_prob(self, y: Array, mu: Array) -> Array:
        return jnp.vectorize(lambda y, mu: self.log_prob(y, mu, *self.values))(y, mu)

    def _log_prob_and_score(self, y: Array, mu: Array) -> tuple[Array, Array]:
        """log f and its derivative in mu."""
        return jax.jvp(lambda mu: self._log_prob(y, mu), (mu,), (jnp.ones_like(mu),))

    def _best_mean(self, y: Array) -> Array:
        """The mean under which y is most likely."""

        def fall(mu: Array) -> Array:
            return -self._log_prob_and_score(y, mu)[1]

        return monotone_root(fall, self.mean_space, moved_inside(y, self.mean_space))

    def _moments(self, mu: Array) -> tuple[Array, Array]:
        """E (y - mu)^2 and E (d log f / d mu)^2."""
        sums = [_add_up(self, mu)] if self.discrete else []
        if not (self.discrete and np.isfinite(self.support.high)):
            sums.append(_integrate(self, mu))
        mass, square, information = (sum(v) for v in zip(*sums, strict=True))
        return square / mass, information / mass


def _add_up(family: LogProb, mu: Array) -> tuple[Array, ...]:
    """The sums over the integers of the support, fading out where these have no end."""
    low, high = family.support.low, family.support.high
    count = np.arange(high - low + 1 if np.isfinite(high) else N_SINGLE)
    late = (np.log(np.maximum(count, 1)) - JOINT) / WIDTH
    fade = [0.5 * math.erfc(t / math.sqrt(2.0)) for t in late]

    def at(node: tuple[Array, Array]) -> tuple[Array, ...]:
        y = jnp.full_like(mu, node[0])
        return node[1], y, *family._log_prob_and_score(y, mu)

    weight = np.ones_like(count) if np.isfinite(high) else np.asarray(fade)
    return _gather(mu, at, (low + count, weight))


def _integrate(family: LogProb, mu: Array) -> tuple[Array, ...]:
    """The integrals over the support, or over what `_add_up` leaves of it.

    The trapezoid rule in s, with the support mapped to the line, and the line's points at peak +
    spread * sinh(s + s^3/30): dense at the peak, and far enough out for polynomial tails.
    """
    s = np.linspace(-8.0, 8.0, 201)
    far = s + s**3 / 30.0
    weight = np.cosh(far) * (1.0 + s * s / 10.0) * (s[1] - s[0])
    peak, spread = _peak(family, mu)

    def along(z: Array) -> tuple[Array, Array]:
        y, slope = _onto(family.support, z)
        log, score = family._log_prob_and_score(y, mu)
        return log + jnp.log(slope), score

    # Next to a finite end y has too few digits; there both are straight lines to all digits.
    (low, high), ends = reach(family.support, mu.dtype), []
    for end in _blunt_ends(family.support, mu.dtype):
        at_end = jnp.full_like(mu, end)
        ends.append((end, *jax.jvp(along, (at_end,), (jnp.ones_like(mu),))))

    def at(node: tuple[Array, Array]) -> tuple[Array, ...]:
        z = peak + spread * node[0]
        inside = jnp.clip(z, low, high)
        log, score = along(inside)
        for end, (log_end, score_end), (log_slope, score_slope) in ends:
            beyond = (z - end) * end > 0
            log = jnp.where(beyond, log_end + log_slope * (z - end), log)
            score = jnp.where(beyond, score_end + score_slope * (z - end), score)
        y = from_line(family.support, inside)
        share = spread * node[1]
        if family.discrete:
            share = share * jax.scipy.special.ndtr((inside - JOINT) / WIDTH)
        return share, y, log, score

    return _gather(mu, at, (np.sinh(far), weight))


def _blunt_ends(support: Interval, dtype: Any) -> list[float]:
    """Where on the line y has lost half of its digits next to a finite end other than 0."""
    half = -0.5 * math.log(jnp.finfo(dtype).eps)
    sides = ((support.low, -half), (support.high, half))
    return [z for end, z in sides if np.isfinite(end) and end != 0.0]


def _gather(mu: Array, at: Any, nodes: Any) -> tuple[Array, ...]:
    """The sums of f, f (y - mu)^2 and f (d log f/d mu)^2 over nodes, one after the other."""

    def add(sums: tuple[Array, ...], node: Any) -> tuple[Any, None]:
        weight, y, log, score = at(node)
        sound = (weight > 0) & jnp.isfinite(log) & jnp.isfinite(score)
        p = jnp.where(sound, weight * jnp.exp(jnp.where(sound, log, 0.0)), 0.0)
        error, score = (jnp.where(p > 0, v, 0.0) for v in (y - mu, score))
        terms = p, p * error * error, p * score * score
        return tuple(a + b for a, b in zip(sums, terms, strict=True)), None

    nodes = tuple(jnp.asarray(v, mu.dtype) for v in nodes)
    return jax.lax.scan(add, (jnp.zeros_like(mu),) * 3, nodes)[0]


def _peak(family: LogProb, mu: Array) -> tuple[Array, Array]:
    """Where the density on the line is highest, and its standard deviation as seen from there."""
    family, mu = jax.lax.stop_gradient((family, mu))

    def log_density(z: Array) -> Array:
        y, slope = _onto(family.support, z)
        return family._log_prob(y, mu) + jnp.log(slope)

    def fall(z: Array) -> Array:
        return -elementwise_derivative(log_density, z)

    low, high = reach(family.support, mu.dtype)
    peak = line_root(fall, low, high, to_line(family.support, mu))
    bend = elementwise_derivative(fall, peak)
    return peak, jnp.where(bend > 0, jax.lax.rsqrt(jnp.where(bend > 0, bend, 1.0)), 1.0)


def _onto(support: Interval, z: Array) -> tuple[Array, Array]:
    """y at a point of the line, and its slope."""
    return jax.jvp(lambda z: from_line(support, z), (z,), (jnp.ones_like(z),))


def from_log_prob(
    fn: Callable[..., Array],
    *parameters: Number,
    support: Bounds,
    mean: Bounds | None = None,
    discrete: bool = False,
    link: Link | type[Link] | str | None = None,
    sample: Callable[..., Array] | None = None,
) -> LogProb:
    """The family with log density fn(y, mu, *parameters) at mean mu, dispersion 1.

    Score and observed information are derivatives of fn; the variance and the expected information
    are sums over the integers of the support where `discrete`, else integrals, good to 8 digits
    where the density has one peak (6 for counts spread over four decades); the deviance is
    2 [max over m of fn(y, m) - fn(y, mu)]. `fn` maps numbers to a number in operations that JAX can
    trace; each new one is compiled anew, so define it once. `parameters` are leaves: they can be
    mapped over and differentiated. Weights multiply log f. Where the mean has no formula, see
    `from_cumulant`.

    support, mean: the responses and the means, an `Interval` or a pair, for the responses
    with its finite ends, for the means without; mean None: the inside of the support. link:
    None: the identity, the logarithm or the logit, whichever maps onto the mean space. sample:
    None, or a function (key, mu, *parameters) that draws one response for each mean of an array.
    """
    require_function("from_log_prob(fn", fn, 2, parameters)
    responses = as_interval(support, closed=True)
    if discrete and not np.isfinite(responses.low):
        raise ValueError(f"from_log_prob(support={responses}): discrete needs a finite lower end.")
    means = _means(mean, responses)
    link = _plain_link(means) if link is None else as_link(link)
    return LogProb(fn, parameters, link, responses, means, discrete, sample)


def _draw(sampler: Any, maker: str, key: Array, mu: Number, values: Any) -> Array:
    if sampler is None:
        raise NotImplementedError(f"{maker}(...): no way to draw samples; pass sample=.")
    return sampler(key, inexact(mu), *values)


def _means(mean: Bounds | None, responses: Interval) -> Interval:
    return as_interval((responses.low, responses.high) if mean is None else mean)


def _plain_link(space: Interval) -> Link:
    if (space.low, space.high) == (0.0, 1.0):
        return Logit()
    return Log() if (space.low, space.high) == (0.0, np.inf) else Identity()


@dataclasses.dataclass(frozen=True)
class _Slope:
    """The derivative of a function of numbers; two of the same function are equal."""

    fn: Callable[..., Array]

    def __call__(self, x: Array, *values: Number) -> Array:
        return jax.grad(self.fn)(x, *values)


@record
class Cumulant(Family):
    """f = exp([y theta - b(theta)] / scale + ...), mu = b'(theta); made by `from_cumulant`.

    d = 2 [y theta(y) - b(theta(y)) - y theta(mu) + b(theta(mu))], V = b''(theta(mu)).
    """

    cumulant: Callable[..., Array] = static()
    log_base: Callable[..., Array] | None = static()
    inner: Inverse | None  # theta of mu; None: the link itself, which is canonical then
    link: Link
    support: Interval = static()  # type: ignore[assignment]
    mean_space: Interval = static()  # type: ignore[assignment]
    fixed_scale: bool = static(default=True)  # type: ignore[assignment]
    has_likelihood: bool = static(default=False)  # type: ignore[assignment]
    sampler: Callable[..., Array] | None = static(default=None)

    def __post_init__(self) -> None:
        check(self)

    @property
    def is_canonical(self) -> bool:
        """Whether eta is theta."""
        return self.inner is None

    @property
    def is_log_concave(self) -> bool:
        """Known for the canonical link only."""
        return self.inner is None

    @property
    def natural(self) -> Inverse:
        """The canonical link, theta of mu."""
        return self.link if self.inner is None else self.inner  # type: ignore[return-value]

    @property
    def values(self) -> tuple[Number, ...]:
        """What the cumulant takes besides theta."""
        return self.natural.values

    def variance_at(self, mean: Mean) -> Array:
        return self.natural.at(self.natural.solve(mean.mu))[1]

    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        return 2.0 * (self._exponent(y, y) - self._exponent(y, mean.mu))

    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        if self.log_base is None:
            return jnp.full_like(y, jnp.nan)
        base = jnp.vectorize(lambda y: self.log_base(y, *self.values))(y)  # type: ignore
        return weight / scale * (self._exponent(y, y) + base)

    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        return moved_inside(y, self.mean_space)

    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        return _draw(self.sampler, "from_cumulant", key, mu, self.values)

    def in_support(self, y: Array) -> Array:
        return self.support.contains(y)

    def _exponent(self, y: Array, mu: Array) -> Array:
        """y theta - b(theta) at the theta of mu."""
        theta = self.natural.solve(mu)
        return y * theta - jnp.vectorize(lambda theta: self.cumulant(theta, *self.values))(theta)


def from_cumulant(
    b: Callable[..., Array],
    *parameters: Number,
    support: Bounds,
    mean: Bounds | None = None,
    natural_space: Bounds = REAL,
    log_base: Callable[..., Array] | None = None,
    link: Link | type[Link] | str | None = None,
    fixed_scale: bool = True,
    sample: Callable[..., Array] | None = None,
) -> Cumulant:
    """The exponential family with cumulant function b(theta, *parameters), convex in theta.

    log f = y theta - b(theta) + log_base(y, *parameters), mu = b'(theta), V = b''(theta). `b` and
    `log_base` map numbers to a number in operations that JAX can trace; each new one is compiled
    anew, so define it once. `parameters` are leaves: they can be mapped over and differentiated.

    support, mean, natural_space: the responses, the means and the theta for which b is
    finite, each an `Interval` or a pair, for the responses with its finite ends, for the others
    without; mean None: the inside of the support. log_base: None: the log-likelihood is NaN.
    link: None: the canonical one, eta = theta. fixed_scale: whether the dispersion is 1; else it
    is estimated and divides log f, as in quasi-likelihood. sample: as in `from_log_prob`, for
    dispersion 1. Source: McCullagh & Nelder (1989), section 2.2.
    """
    require_function("from_cumulant(b", b, 1, parameters)
    responses = as_interval(support, closed=True)
    means = _means(mean, responses)
    natural = from_inverse(_Slope(b), *parameters, domain=natural_space, range=means)
    return Cumulant(
        cumulant=b,
        log_base=log_base,
        inner=None if link is None else natural,
        link=natural if link is None else as_link(link),
        support=responses,
        mean_space=means,
        fixed_scale=fixed_scale,
        has_likelihood=log_base is not None,
        sampler=sample,
    )
