"""Floor 11: performance of an analysis over simulated data sets, with Monte Carlo standard errors.

Source: Morris, White & Crowther (2019), tables 3 and 6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Measure", "performance", "relative_precision"]


class Measure(NamedTuple):
    """A measure of performance, its Monte Carlo standard error, and the replicates behind it."""

    value: float
    mcse: float
    n_used: int


def performance(
    estimate: np.ndarray,
    se: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    truth: float,
    null: float = 0.0,
) -> dict[str, Measure]:
    """Measures of R replicates, each argument (R,); a replicate with NaN is not used.

    With e estimates, m their mean, V = se^2: "bias" m - truth; "empirical_se" sd(e); "mse", the
    mean of (e - truth)^2; "model_se", the root of the mean of V; "relative_error", in per cent,
    100 (model_se / empirical_se - 1); "coverage", the share of [low, high] that hold the truth;
    "bias_eliminated_coverage", that hold m; "rejection", that do not hold `null`: the type I error
    where truth = null, else the power. "mean" and "convergence", the share of replicates that
    could be used, complete the table.
    """
    return (
        _located(estimate, truth)
        | _spread(estimate, se)
        | _shares(low, high, truth, null, estimate)
    )


def _located(estimate: np.ndarray, truth: float) -> dict[str, Measure]:
    e = estimate[np.isfinite(estimate)]
    n, square = len(e), (e - truth) ** 2
    error = _sd(e) / np.sqrt(n) if n else np.nan
    mse = square.mean() if n else np.nan
    wide = _sd(square) / np.sqrt(n) if n else np.nan
    level = e.mean() if n else np.nan
    return {
        "convergence": _share(np.isfinite(estimate)),
        "mean": Measure(level, error, n),
        "bias": Measure(level - truth, error, n),
        "mse": Measure(mse, wide, n),
    }


def _spread(estimate: np.ndarray, se: np.ndarray) -> dict[str, Measure]:
    e, v = estimate[np.isfinite(estimate)], se[np.isfinite(se)] ** 2
    n, m = len(e), len(v)
    empirical = _sd(e)
    of_empirical = empirical / np.sqrt(2.0 * (n - 1)) if n > 1 else np.nan
    model = np.sqrt(v.mean()) if m else np.nan
    of_model = _sd(v) / (2.0 * np.sqrt(m) * model) if m else np.nan
    ratio = model / empirical
    # The two errors are taken as independent.
    of_ratio = ratio * np.hypot(of_model / model, of_empirical / empirical)
    return {
        "empirical_se": Measure(empirical, of_empirical, n),
        "model_se": Measure(model, of_model, m),
        "relative_error": Measure(100.0 * (ratio - 1.0), 100.0 * of_ratio, min(n, m)),
    }


def _shares(
    low: np.ndarray, high: np.ndarray, truth: float, null: float, estimate: np.ndarray
) -> dict[str, Measure]:
    known = ~(np.isnan(low) | np.isnan(high))
    low, high = low[known], high[known]
    e = estimate[np.isfinite(estimate)]
    middle = e.mean() if len(e) else np.nan
    held = {"coverage": truth, "bias_eliminated_coverage": middle}
    shares = {name: _share((low <= value) & (value <= high)) for name, value in held.items()}
    return shares | {"rejection": _share((null < low) | (null > high))}


def _share(holds: np.ndarray) -> Measure:
    n = len(holds)
    share = holds.mean() if n else np.nan
    return Measure(share, np.sqrt(share * (1.0 - share) / n) if n else np.nan, n)


def _sd(values: np.ndarray) -> float:
    return np.std(values, ddof=1) if len(values) > 1 else np.nan


def relative_precision(estimate: np.ndarray, reference: np.ndarray) -> Measure:
    """100 ((sd reference / sd estimate)^2 - 1): the gain over another analysis, in per cent.

    Of the replicates (R,) that both analyses could use; its error counts their correlation.
    """
    both = np.isfinite(estimate) & np.isfinite(reference)
    n = int(both.sum())
    if n < 2:
        return Measure(np.nan, np.nan, n)
    ratio = (_sd(reference[both]) / _sd(estimate[both])) ** 2
    r = np.corrcoef(estimate[both], reference[both])[0, 1]
    return Measure(100.0 * (ratio - 1.0), 200.0 * ratio * np.sqrt((1 - r**2) / (n - 1)), n)
