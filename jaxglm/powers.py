"""Floor 6: the variance power of a Tweedie model whose means are known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array
from jaxglm.families import Tweedie
from jaxglm.model import Problem, deviance, loglike, pearson

# The profile may have a second, lower top near p = 1 where responses lie on a lattice.
GRID = 25
# Of central differences of an exact slope: 1e-10 from their curve, 1e-11 from rounding.
APART = 1e-5


def profile_power(problem: Problem, eta: Array, low: float, high: float) -> float:
    """The power p in [low, high], within (1, 2), of the likelihood's maximum over p and phi.

    At linear predictors eta (n,). Projected Newton steps from the best of a grid, on the host: the
    second derivatives of the series take long to compile, and differences of the slope do as well.
    """
    at = _best_of_grid(problem, eta, low, high)
    offsets = APART * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    for _ in range(100):
        slopes = np.asarray(_slopes(problem, eta, at + offsets))
        slope, bend = slopes[0], (slopes[1::2] - slopes[2::2]) / (2.0 * APART)
        ends = (at[0] <= low and slope[0] < 0) or (at[0] >= high and slope[0] > 0)
        step = _uphill(slope, 0.5 * (bend + bend.T), ends)
        moved = np.array([np.clip(at[0] + step[0], low, high), at[1] + step[1]])
        at, change = moved, np.max(np.abs(moved - at))
        if change <= 1e-8:
            break
    return float(at[0])


def _uphill(slope: np.ndarray, bend: np.ndarray, held: bool) -> np.ndarray:
    """A step of (p, log phi), p held at an end of its range or not."""
    if held:
        return np.array([0.0, np.clip(slope[1] / abs(bend[1, 1]), -1.0, 1.0)])
    values, vectors = np.linalg.eigh(bend)
    step = vectors @ ((vectors.T @ slope) / np.abs(values))
    return step * min(1.0, 0.2 / abs(step[0]), 1.0 / abs(step[1])) if step.all() else step


def _best_of_grid(problem: Problem, eta: Array, low: float, high: float) -> np.ndarray:
    """(p, log phi) of the greatest likelihood on a grid of p, phi being Pearson's there."""
    powers = np.linspace(low, high, GRID)
    heights, scales = (np.asarray(v) for v in _heights(problem, eta, powers))
    best = int(np.argmax(np.where(np.isnan(heights), -np.inf, heights)))
    return np.array([powers[best], scales[best]])


@jax.jit
def _heights(problem: Problem, eta: Array, powers: Array) -> tuple[Array, Array]:
    def one(power: Array) -> tuple[Array, Array]:
        family = Tweedie(power, link=problem.family.link)
        t = jnp.log(pearson(family, problem.rows, eta) / problem.rows.total_frequency)
        return _loglike(problem, eta, jnp.stack([power, t])), t

    return jax.lax.map(one, powers)


@jax.jit
def _slopes(problem: Problem, eta: Array, at: Array) -> Array:
    """The derivatives (k, 2) of the log-likelihood in p and log phi at points (k, 2)."""

    def one(at: Array) -> Array:
        along = [jax.jvp(lambda at: _loglike(problem, eta, at), (at,), (e,))[1] for e in np.eye(2)]
        return jnp.stack(along)

    return jax.lax.map(one, at)


def _loglike(problem: Problem, eta: Array, at: Array) -> Array:
    family = Tweedie(at[0], link=problem.family.link)
    problem = dataclasses.replace(problem, family=family)
    return loglike(family, problem.rows, jnp.exp(at[1]), deviance(family, problem.rows, eta))
