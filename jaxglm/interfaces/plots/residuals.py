"""Floor 12: pictures of a fit's residuals: the four of R's plot.glm, and quantile residuals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from matplotlib.axes import Axes
from scipy.special import ndtri

from jaxglm._types import Array
from jaxglm.arguments import checked_alpha
from jaxglm.bootstrap import as_key, model_of
from jaxglm.diagnostics import resid_quantile
from jaxglm.fit import Fit
from jaxglm.frames import float64
from jaxglm.interfaces.plots.canvas import (
    BLACK,
    BLUE,
    GREY,
    SMALL,
    VERMILION,
    axes_grid,
    axes_of,
    failures,
    label_points,
    percent,
    point_style,
    require_choice,
    require_number,
    require_results,
    status_note,
    write_title,
)
from jaxglm.lanes import has_inference
from jaxglm.model import Problem
from jaxglm.results import GLMResults
from jaxglm.solvers import IRLS

__all__ = [
    "diagnostic_plots",
    "local_line",
    "quantile_quantile",
    "quantile_residual_qq",
    "residuals_fitted",
    "residuals_leverage",
    "scale_location",
]

Kind = Literal["deviance", "pearson"]
KINDS = ("deviance", "pearson")
COOK_LEVELS = (0.5, 1.0)
CONTOUR_NAME: dict[str, Any] = {
    "ha": "center",
    "va": "center",
    "fontsize": SMALL,
    "color": VERMILION,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
}
LINEAR_PREDICTOR = "linear predictor"


def diagnostic_plots(
    results: GLMResults, axes: Any = None, *, kind: Kind = "deviance", n_labels: int = 3
) -> np.ndarray:
    """The four pictures of R's plot.glm, in the array of axes (2, 2) given, or in a new figure's.

    `residuals_fitted`, `quantile_quantile`, `scale_location` and `residuals_leverage`. Of counts
    and 0/1 responses residuals lie on curves, one for each value: there `quantile_residual_qq`
    tells more. Source: R's plot.lm; McCullagh & Nelder (1989), chapter 12.
    """
    require_results("diagnostic_plots", results)
    _check("diagnostic_plots", kind, n_labels)
    grid = axes_grid("diagnostic_plots", axes, (2, 2), (9.0, 8.0))
    fitted, normal, spread, leverage = grid.flat
    residuals_fitted(results, fitted, kind=kind, n_labels=n_labels)
    quantile_quantile(results, normal, kind=kind, n_labels=n_labels)
    scale_location(results, spread, kind=kind, n_labels=n_labels)
    residuals_leverage(results, leverage, n_labels=n_labels)
    return grid


def residuals_fitted(
    results: GLMResults, ax: Axes | None = None, *, kind: Kind = "deviance", n_labels: int = 3
) -> Axes:
    """Residuals (n,) by the linear predictor, with a local line: is the mean of the right form?

    kind: "deviance", or "pearson" as in R 4.2, without the scale either way. The line is
    `local_line`, as in R's plot.glm without robust steps. The n_labels largest have the name of
    their row. Rows of weight 0 are not drawn.
    """
    _check("residuals_fitted", kind, n_labels)
    found = getattr(require_results("residuals_fitted", results), f"resid_{kind}")
    ax = axes_of("residuals_fitted", ax)
    _scatter(ax, results, _linear(results), np.asarray(found), "Residuals by fit", n_labels)
    ax.axhline(0.0, color=GREY, linestyle=":", linewidth=1.0)
    ax.set_xlabel(LINEAR_PREDICTOR)
    ax.set_ylabel(f"{_named(kind)} residual")
    return ax


def quantile_quantile(
    results: GLMResults, ax: Axes | None = None, *, kind: Kind = "deviance", n_labels: int = 3
) -> Axes:
    """Sorted standardised residuals by normal quantiles, with the line through the quartiles.

    The residuals (n,) are those of R's rstandard: e / sqrt(scale (1 - h)). Quantiles at R's
    ppoints, (i - a) / (n + 1 - 2 a), with a = 1/2, or 3/8 up to n = 10. A fit may be right and its
    residuals not normal where counts are small, see `quantile_residual_qq`.
    """
    _check("quantile_quantile", kind, n_labels)
    found = _standardised(require_results("quantile_quantile", results), kind)
    kept = np.flatnonzero(np.isfinite(found))
    order = kept[np.argsort(found[kept], kind="stable")]
    y, x = found[order], normal_quantiles(len(order))
    ax = axes_of("quantile_quantile", ax)
    ax.plot(x, y, color=BLUE, **point_style(len(x)))
    quartiles = np.quantile(y, [0.25, 0.75])
    slope = np.diff(quartiles)[0] / np.diff(ndtri([0.25, 0.75]))[0]
    ax.axline((0.0, quartiles.mean()), slope=slope, color=GREY, linestyle="--", linewidth=1.0)
    label_points(ax, x, y, _row_names(results)[order], _largest(y, n_labels))
    _write(ax, results, "Normal quantiles", found)
    ax.set_xlabel("normal quantile")
    ax.set_ylabel(f"standardised {_named(kind)} residual")
    return ax


def scale_location(
    results: GLMResults, ax: Axes | None = None, *, kind: Kind = "deviance", n_labels: int = 3
) -> Axes:
    """Root of the absolute standardised residuals by the linear predictor: is V(mu) right?

    With a local line, which is level where the variance function holds. Residuals as in
    `quantile_quantile`; the root takes away their skewness.
    """
    _check("scale_location", kind, n_labels)
    found = np.sqrt(np.abs(_standardised(require_results("scale_location", results), kind)))
    ax = axes_of("scale_location", ax)
    _scatter(ax, results, _linear(results), found, "Scale by location", n_labels)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(LINEAR_PREDICTOR)
    ax.set_ylabel(f"root of |standardised {_named(kind)} residual|")
    return ax


def residuals_leverage(results: GLMResults, ax: Axes | None = None, *, n_labels: int = 3) -> Axes:
    """Standardised Pearson residuals by leverage, with lines of equal Cook's distance D.

    D = r^2 h / (p (1 - h)), so the lines are r = -+ sqrt(D p (1 - h) / h) at D = 0.5 and 1; p is
    the rank. The n_labels rows of the largest D are named. Source: Cook & Weisberg (1982).
    """
    _check("residuals_leverage", "pearson", n_labels)
    found = require_results("residuals_leverage", results).get_influence()
    h, r = np.asarray(found.hat_diagonal), np.asarray(found.rstandard_pearson)
    ax = axes_of("residuals_leverage", ax)
    distance = np.asarray(found.cooks_distance)
    ax.set_xlim(0.0, 1.08 * np.nanmax(h))
    _scatter(ax, results, h, r, "Residuals by leverage, Cook's distance D", n_labels, distance)
    ax.axhline(0.0, color=GREY, linestyle=":", linewidth=1.0)
    _cook_lines(ax, results.rank, float(np.nanmax(h)))
    ax.set_xlabel("leverage")
    ax.set_ylabel("standardised Pearson residual")
    return ax


def _cook_lines(ax: Axes, p: int, highest: float) -> None:
    """The lines of `residuals_leverage`, within the limits that the points ask for."""
    low, high = ax.get_ylim()
    right = min(1.08 * highest, 1.0)
    h = np.linspace(right / 500.0, right * (1.0 - 1e-9), 500)
    # Near h = 1 all lines meet.
    place = 0.92 * right if right < 0.9 else 0.6 * right
    for level, dashes in zip(COOK_LEVELS, ("--", "-."), strict=True):
        edge = np.sqrt(level * p * (1.0 - h) / h)
        # One line, broken in the middle.
        x, y = np.concatenate([h, [np.nan], h]), np.concatenate([edge, [np.nan], -edge])
        name, there = f"D = {level:g}", np.sqrt(level * p * (1.0 - place) / place)
        ax.plot(x, y, color=VERMILION, linestyle=dashes, linewidth=1.0, label=name)
        seen = [end for end in (there, -there) if low < end < high]
        for end in seen[:1]:
            ax.text(place, end, name, **CONTOUR_NAME)
    ax.set_xlim(0.0, right)
    ax.set_ylim(low, high)


def quantile_residual_qq(
    results: GLMResults,
    key: Any,
    ax: Axes | None = None,
    *,
    envelope: int = 99,
    alpha: float = 0.05,
) -> Axes:
    """Sorted quantile residuals by normal quantiles, within an envelope of simulated refits.

    Randomised quantile residuals (n,) are normal under the model, of discrete responses too. The
    envelope: `envelope` responses are drawn from the fitted model, fitted again as one batch, and
    at each place the residuals of these leave alpha outside, half on either side; 0 for none. The
    limits are pointwise, so that about alpha of the points of a right model are outside. key: of
    jax.random, or a seed. Refits that failed are counted, not used. Each row is one point,
    whatever its freq_weights. Source: Dunn & Smyth (1996); Atkinson (1985).
    """
    what = "quantile_residual_qq"
    require_results(what, results)
    require_number(what, "envelope", envelope, 0)
    alpha, keys = checked_alpha(what, alpha), jax.random.split(as_key(key))
    own = np.asarray(results.resid_quantile(keys[0]))
    y, notes = np.sort(own[np.isfinite(own)]), []
    x = normal_quantiles(len(y))
    band = _envelope(results, keys[1], envelope, alpha, len(y), notes) if envelope else None
    ax = axes_of(what, ax)
    if band is not None:
        label = f"{percent(alpha)} of {envelope} simulated fits"
        ax.fill_between(x, *band, color=GREY, alpha=0.35, linewidth=0.0, label=label)
        outside = int(np.sum((y < band[0]) | (y > band[1])))
        notes.insert(0, f"{outside} of {len(y)} points outside")
    ax.plot(x, y, color=BLUE, **point_style(len(x)), label="residuals")
    ax.axline((0.0, 0.0), slope=1.0, color=BLACK, linestyle="--", linewidth=1.0)
    _write(ax, results, "Quantile residuals", own, notes)
    ax.set_xlabel("normal quantile")
    ax.set_ylabel("quantile residual")
    ax.legend(fontsize=SMALL, loc="upper left")
    return ax


@float64()
def _envelope(
    results: GLMResults, key: Any, count: int, alpha: float, size: int, notes: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Limits (size,) of the sorted residuals of refits, None where all failed; notes failures."""
    working, n = results.need_data("quantile_residual_qq"), results.model.nobs
    problem, (draw_key, jitter) = working.problem, jax.random.split(key)
    y = np.tile(np.asarray(problem.rows.y), (count, 1))
    drawn = results.simulate(draw_key, count)
    y[:, :n] = np.where(results.model.frame.present, drawn, y[:, :n])
    given = working.dispersion
    scale = given.kind if given.value is None else given.value
    model = model_of(problem, scale, None, working.solver or IRLS())
    fits = dataclasses.replace(model, y=y).fit(cov=False)
    sound = np.asarray(has_inference(fits))
    found = np.sort(np.asarray(_lane_residuals(jitter, problem, y, fits))[sound], axis=1)
    notes.append(failures(fits.status, sound, "refits"))
    if not sound.any():
        return None
    low, high = np.quantile(found[:, :size], [alpha / 2.0, 1.0 - alpha / 2.0], axis=0)
    return low, high


@jax.jit
def _lane_residuals(key: Array, problem: Problem, y: Array, fits: Fit) -> Array:
    """Quantile residuals (B, n) of fits to the responses y (B, n)."""

    def of_lane(lane: tuple[Array, Array, Fit]) -> Array:
        own, response, fitted = lane
        rows = dataclasses.replace(problem.rows, y=response)
        return resid_quantile(own, dataclasses.replace(problem, rows=rows), fitted)

    return jax.lax.map(of_lane, (jax.random.split(key, y.shape[0]), y, fits), batch_size=16)


def normal_quantiles(n: int) -> np.ndarray:
    """The normal quantiles (n,) that n sorted values are held against, at R's ppoints."""
    a = 0.375 if n <= 10 else 0.5
    return ndtri((np.arange(1, n + 1) - a) / (n + 1 - 2.0 * a))


def local_line(x: np.ndarray, y: np.ndarray, share: float = 2 / 3) -> tuple[Any, Any]:
    """A smooth curve through points: local lines with tricube weights, at up to 60 places.

    Each line takes the nearest `share` of the points; Cleveland's (1979) lowess without robust
    steps. Two empty arrays for fewer than 4 different x.
    """
    at = np.unique(np.quantile(x, np.linspace(0.0, 1.0, 60))) if len(x) else x
    if len(np.unique(x)) < 4:
        return x[:0], y[:0]
    count, wide = max(3, int(share * len(x))), np.ptp(x)
    return at, np.array([_local_value(x, y, place, count, wide) for place in at])


def _local_value(x: np.ndarray, y: np.ndarray, at: float, count: int, wide: float) -> float:
    distance = np.abs(x - at)
    reach = max(np.partition(distance, count - 1)[count - 1], 1e-9 * wide)
    w = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 3
    w = w / w.sum()
    centre = w @ x
    variance = w @ (x - centre) ** 2
    # Nearly all of the weight at one x: no line can be told, as in lowess.
    slope = w @ ((x - centre) * y) / variance if variance > (1e-3 * wide) ** 2 else 0.0
    return float(w @ y + slope * (at - centre))


def _scatter(
    ax: Axes,
    results: GLMResults,
    x: np.ndarray,
    y: np.ndarray,
    title: str,
    n_labels: int,
    size: np.ndarray | None = None,
) -> None:
    """Points with their local line; those of the largest `size` (None: |y|) are named."""
    kept = np.isfinite(y) & np.isfinite(x)
    extreme = (np.abs(y) if size is None else size)[kept]
    ax.plot(x[kept], y[kept], color=BLUE, **point_style(int(kept.sum())))
    ax.plot(*local_line(x[kept], y[kept]), color=VERMILION, linewidth=1.5)
    label_points(ax, x[kept], y[kept], _row_names(results)[kept], _largest(extreme, n_labels))
    _write(ax, results, title, y)


def _write(
    ax: Axes, results: GLMResults, title: str, found: np.ndarray, notes: Sequence[str] = ()
) -> None:
    """The title, with the status and the rows that are not drawn."""
    gone, bad = ~results.model.frame.present, ~np.isfinite(found)
    weightless, full = int(np.sum(gone & bad)), int(np.sum(~gone & bad))
    left = [f"rows of weight 0 not drawn: {weightless}"] if weightless else []
    left += [f"rows of leverage 1 not drawn: {full}"] if full else []
    write_title(ax, title, [*notes, status_note(results), *left])


def _linear(results: GLMResults) -> np.ndarray:
    return np.asarray(results.predict(which="linear"))


def _standardised(results: GLMResults, kind: Kind) -> np.ndarray:
    return np.asarray(getattr(results.get_influence(), f"rstandard_{kind}"))


def _row_names(results: GLMResults) -> np.ndarray:
    """The index of pandas' rows, or their numbers in the input."""
    frame = results.model.frame
    return frame.rows if frame.kept_index is None else np.asarray(frame.kept_index)


def _largest(size: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-np.abs(size), kind="stable")[:count]


def _named(kind: Kind) -> str:
    return "Pearson" if kind == "pearson" else kind


def _check(what: str, kind: Kind, n_labels: int) -> None:
    require_choice(what, "kind", kind, KINDS)
    require_number(what, "n_labels", n_labels, 0)
