"""Floor 11: confidence intervals from bootstrap replicates, with the definitions of R's boot.ci.

All take replicates (R, p) that may hold NaN, which count as not drawn, and return (p, 2).
Source: Davison & Hinkley (1997), sections 5.2 and 5.3; Efron (1987) for BCa.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxglm._special import normal_cdf
from jaxglm.frames import float64
from jaxglm.links import ndtri

__all__ = ["basic", "bca", "normal", "percentile", "quantiles", "student"]


@float64()
def _ndtri(level: Any) -> np.ndarray:
    return np.asarray(ndtri(jnp.asarray(level)))


@float64()
def _ndtr(z: Any) -> np.ndarray:
    return np.asarray(normal_cdf(jnp.asarray(z)))


def _two_sides(alpha: float) -> np.ndarray:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha={alpha}: allowed are numbers between 0 and 1.")
    return np.array([alpha / 2.0, 1.0 - alpha / 2.0])


def quantiles(replicates: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The quantiles of each column at its levels (p, k), or levels (k,) for all: (p, k).

    Order statistic (R + 1) level, between two of them interpolated on the normal scale; the
    extremes beyond (equation 5.8).
    """
    levels = np.broadcast_to(levels, (replicates.shape[1], np.shape(levels)[-1]))
    columns = zip(replicates.T, levels, strict=True)
    return np.array([_quantiles_of(np.sort(t[np.isfinite(t)]), at) for t, at in columns])


def _quantiles_of(ordered: np.ndarray, levels: np.ndarray) -> np.ndarray:
    count = len(ordered)
    if count == 0 or not np.isfinite(levels).all():
        return np.full(len(levels), np.nan)
    rank = (count + 1) * levels
    below = np.floor(rank)
    low = ordered[np.clip(below.astype(int) - 1, 0, count - 1)]
    high = ordered[np.clip(below.astype(int), 0, count - 1)]
    inside = (below >= 1) & (below < count) & (rank > below)
    k = np.where(inside, below, 1.0)
    here, left, right = (_ndtri(v) for v in (levels, k / (count + 1), (k + 1) / (count + 1)))
    share = np.divide(here - left, right - left, out=np.zeros_like(levels), where=inside)
    return low + np.where(inside, share * (high - low), 0.0)


def percentile(replicates: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """The alpha/2 and 1 - alpha/2 quantiles of the replicates."""
    return quantiles(replicates, _two_sides(alpha))


def basic(estimate: np.ndarray, replicates: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """2 estimate less the quantiles at the other end."""
    return 2.0 * estimate[:, None] - quantiles(replicates, _two_sides(alpha)[::-1])


def normal(estimate: np.ndarray, replicates: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """The estimate less the bootstrap's bias, -+ the normal quantile times its standard error."""
    middle = 2.0 * estimate - np.nanmean(replicates, axis=0)
    spread = np.nanstd(replicates, axis=0, ddof=1)
    return middle[:, None] + spread[:, None] * _ndtri(_two_sides(alpha))


def student(
    estimate: np.ndarray,
    bse: np.ndarray,
    replicates: np.ndarray,
    replicates_bse: np.ndarray,
    alpha: float = 0.05,
) -> np.ndarray:
    """The estimate less its standard error times quantiles of (t* - t) / se*."""
    z = (replicates - estimate) / replicates_bse
    return estimate[:, None] - bse[:, None] * quantiles(z, _two_sides(alpha)[::-1])


def bca(
    estimate: np.ndarray,
    replicates: np.ndarray,
    influence: np.ndarray,
    alpha: float = 0.05,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """Percentiles at levels corrected for bias and acceleration.

    With z0 the normal quantile of the share of replicates below the estimate and
    a = sum L^3 / 6 (sum L^2)^(3/2) of the empirical influence L (units, p), the level of z is
    Phi(z0 + (z0 + z) / (1 - a (z0 + z))). counts (units,): how often each L stands. NaN where no
    replicate, or every one, lies below.
    """
    finite = np.isfinite(replicates)
    below = np.sum(finite & (replicates < estimate), axis=0)
    z0 = _ndtri(below / np.maximum(finite.sum(axis=0), 1))[:, None]
    many = np.ones(len(influence)) if counts is None else counts
    square, cube = (np.nansum(many[:, None] * influence**k, axis=0) for k in (2, 3))
    a = (cube / (6.0 * square**1.5))[:, None]
    at = np.where(np.isfinite(z0), z0, np.nan) + _ndtri(_two_sides(alpha))
    return quantiles(replicates, _ndtr(z0 + at / (1.0 - a * at)))
