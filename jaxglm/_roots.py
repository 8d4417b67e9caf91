"""Floor 0: intervals as images of the line, and the root of a monotone function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, Interval

Bounds = Interval | tuple[float, float]


def as_interval(bounds: Bounds, *, closed: bool = False) -> Interval:
    """An interval as it is; a pair as an open one, or with its finite ends where `closed`."""
    if isinstance(bounds, Interval):
        return bounds
    low, high = map(float, bounds)
    if not low < high:
        raise ValueError(f"({low:g}, {high:g}): the ends of an interval must increase.")
    ends = (bool(closed and np.isfinite(end)) for end in (low, high))
    return Interval(low, high, *ends)


def from_line(interval: Interval, t: Array) -> Array:
    """The increasing smooth map of the line onto an interval: t itself, exponential or logistic."""
    if np.isfinite(interval.low) and np.isfinite(interval.high):
        return interval.low + (interval.high - interval.low) * jax.nn.sigmoid(t)
    if np.isfinite(interval.low):
        return interval.low + jnp.exp(t)
    return interval.high - jnp.exp(-t) if np.isfinite(interval.high) else t


def to_line(interval: Interval, x: Array) -> Array:
    """The inverse of `from_line`; infinite at a finite end."""
    if np.isfinite(interval.low) and np.isfinite(interval.high):
        return jnp.log(x - interval.low) - jnp.log(interval.high - x)
    if np.isfinite(interval.low):
        return jnp.log(x - interval.low)
    return -jnp.log(interval.high - x) if np.isfinite(interval.high) else x


def reach(interval: Interval, dtype: Any) -> tuple[float, float]:
    """How far `from_line` goes without meeting a finite end by rounding."""
    if not interval.bounded:
        return -(2.0**60), 2.0**60
    info = jnp.finfo(dtype)
    tiny, near = 0.9 * math.log(info.max), -math.log(info.eps)
    low = tiny if interval.low == 0.0 or not np.isfinite(interval.low) else near
    high = tiny if interval.high == 0.0 or not np.isfinite(interval.high) else near
    return -low, high


def monotone_root(fn: Callable[[Array], Array], interval: Interval, guess: Array) -> Array:
    """x in the interval with fn(x) = 0, for fn increasing, elementwise.

    Where fn keeps its sign x is next to that end. Differentiable twice in what fn closes over: the
    last two Newton steps carry the derivatives of the inverse function.
    """

    def at(t: Array) -> Array:
        return fn(from_line(interval, t))

    low, high = reach(interval, guess.dtype)
    t = line_root(at, low, high, to_line(interval, guess))
    inside = (t > low) & (t < high)
    for _ in range(2):
        value, slope = jax.jvp(at, (t,), (jnp.ones_like(t),))
        usable = inside & (slope > 0)
        t = t - jnp.where(usable, value / jnp.where(usable, slope, 1.0), 0.0)
    return from_line(interval, t)


def line_root(fn: Callable[[Array], Array], low: float, high: float, guess: Array) -> Array:
    """t in [low, high] where fn, increasing, is 0: Newton's method inside a shrinking bracket.

    A constant to derivatives. A step out of the bracket, or longer than half of the one before,
    gives way to a bisection. Where fn keeps its sign, the end of the range.
    """
    # What fn closes over must not be differentiated through the loops either.
    guess = jax.lax.stop_gradient(guess)
    opened, held = jax.closure_convert(fn, guess)
    held = jax.lax.stop_gradient(held)
    return _bracketed_newton(lambda t: opened(t, *held), low, high, guess)


def _bracketed_newton(fn: Callable[[Array], Array], low: float, high: float, guess: Array) -> Array:
    guess = jnp.clip(jnp.where(jnp.isnan(guess), 0.0, guess), low, high)
    a, b = _bracket(fn, low, high, guess)
    at_low, at_high = fn(a) >= 0, fn(b) <= 0
    start = jnp.where(at_low, a, jnp.where(at_high, b, jnp.clip(guess, a, b)))
    tolerance = jnp.finfo(start.dtype).eps ** 0.75

    def improve(state: tuple[Array, ...]) -> tuple[Array, ...]:
        k, a, b, t, last, done = state
        value, slope = jax.jvp(fn, (t,), (jnp.ones_like(t),))
        a, b = jnp.where(value < 0, t, a), jnp.where(value < 0, b, t)
        step = -value / jnp.where(slope > 0, slope, jnp.nan)
        fast = (t + step > a) & (t + step < b) & (jnp.abs(step) <= 0.5 * jnp.abs(last))
        step = jnp.where(fast, step, 0.5 * (a + b) - t)
        step = jnp.where(done | (value == 0), 0.0, step)
        done = done | (jnp.abs(step) <= tolerance * (1.0 + jnp.abs(t)))
        return k + 1, a, b, t + step, step, done

    first = (jnp.asarray(0), a, b, start, jnp.full_like(start, jnp.inf), at_low | at_high)
    return jax.lax.while_loop(lambda s: (s[0] < 150) & ~jnp.all(s[5]), improve, first)[3]


def _bracket(
    fn: Callable[[Array], Array], low: float, high: float, guess: Array
) -> tuple[Array, Array]:
    """Ends around the root, grown from the guess by doubling."""

    def grow(state: tuple[Array, ...]) -> tuple[Array, ...]:
        a, b, width, _ = state
        down, up = (fn(a) > 0) & (a > low), (fn(b) < 0) & (b < high)
        a, b = (
            jnp.where(down, a - width, jnp.where(up, b, a)),
            jnp.where(up, b + width, jnp.where(down, a, b)),
        )
        return jnp.clip(a, low, high), jnp.clip(b, low, high), 2.0 * width, down | up

    a, b = jnp.clip(guess - 1.0, low, high), jnp.clip(guess + 1.0, low, high)
    first = (a, b, jnp.full_like(guess, 2.0), jnp.ones(guess.shape, bool))
    return jax.lax.while_loop(lambda s: jnp.any(s[3]), grow, first)[:2]
