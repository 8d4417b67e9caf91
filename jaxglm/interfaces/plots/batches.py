"""Floor 12: pictures of many fits: penalty paths, volcanoes, p-values against their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy.special import betaincinv, chdtri

from jaxglm.arguments import checked_alpha
from jaxglm.fit import Fit
from jaxglm.inference import ADJUSTMENTS
from jaxglm.interfaces.plots.canvas import (
    BLACK,
    BLUE,
    GREY,
    SMALL,
    VERMILION,
    as_numbers,
    axes_of,
    failures,
    label_points,
    penalty_scale,
    percent,
    point_style,
    require_choice,
    require_kind,
    require_number,
    style,
    write_title,
)
from jaxglm.lanes import adjusted, pvalues

__all__ = ["pvalue_qq", "regularisation_path", "volcano"]

# -log10 of what float64 holds; a p-value of 0 is smaller than that.
SMALLEST = 1e-300


def regularisation_path(
    penalties: Any,
    params: Any,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    status: Any = None,
) -> Axes:
    """Coefficients (L, p) by the strength of their penalty (L,), a line a column.

    Strengths are >= 0, in any order. names: p words at the lines' ends (None: x0, x1, ...); of
    more than 12 columns those of the largest coefficients are named. status (L,): lanes that did
    not converge are left as gaps and counted in the title; a lane with NaN is too. Leave the
    intercept out of params if it dwarfs the rest. Source: Hoerl & Kennard (1970).
    """
    what = "regularisation_path"
    strengths = as_numbers(f"{what}(penalties=...)", penalties, 1)
    values = as_numbers(f"{what}(params=...)", params, 2)
    count, p = values.shape
    if len(strengths) != count or not (np.isfinite(strengths) & (strengths >= 0)).all():
        raise ValueError(
            f"{what}(penalties=...): shape {strengths.shape}; allowed are ({count},) finite "
            "numbers >= 0, one a row of params."
        )
    names = _checked_names(what, "names", names, p, "x")
    drawn, note = _sound_rows(what, values, status)
    order = np.argsort(strengths, kind="stable")
    x, y = strengths[order], np.where(drawn[:, None], values, np.nan)[order]
    ax = axes_of(what, ax)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    for j in range(p):
        look = style(j)
        ax.plot(x, y[:, j], color=look.color, linestyle=look.linestyle, label=str(names[j]))
    penalty_scale(ax, x)
    ax.margins(x=0.02)
    ax.set_ylabel("coefficient")
    _name_lines(ax, names, y)
    write_title(ax, "Coefficients by penalty", [note])
    return ax


def _sound_rows(what: str, values: np.ndarray, status: Any) -> tuple[np.ndarray, str]:
    """Which lanes (L,) can be drawn, and what is said of the others."""
    finite = np.isfinite(values).all(axis=1)
    if status is None:
        gone = int(np.sum(~finite))
        return finite, f"{gone} of {len(finite)} penalties not drawn: not finite" if gone else ""
    found = np.asarray(status)
    if found.shape != finite.shape:
        raise ValueError(f"{what}(status=...): shape {found.shape}; allowed is {finite.shape}.")
    drawn = finite & (found == 0)
    return drawn, failures(found, drawn, "penalties")


def _name_lines(ax: Axes, names: Sequence[str], y: np.ndarray) -> None:
    """Names at the weak-penalty end, where lines are farthest apart, moved clear of each other."""
    rows = np.flatnonzero(np.isfinite(y).all(axis=1))
    if not len(rows):
        return
    ends = y[rows[0]]
    chosen = np.argsort(-np.abs(ends), kind="stable")[:12]
    chosen = chosen[np.argsort(ends[chosen], kind="stable")]
    low, high = ax.get_ylim()
    for j, height in zip(chosen, _apart(ends[chosen], 0.05 * (high - low)), strict=True):
        ax.annotate(
            str(names[j]),
            (0.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=style(int(j)).color,
        )
    left, right = ax.get_xlim()
    transform = ax.transScale + ax.transLimits
    # Room for the names: a seventh of the axis, whatever its scale.
    inverse = transform.inverted()
    ax.set_xlim(inverse.transform((-0.16, 0.0))[0], right)


def _apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Rising heights (k,), pushed apart to `gap` around where they were."""
    steps = gap * np.arange(len(heights))
    # Isotonic: blocks of what would overlap keep their common middle.
    blocks: list[list[float]] = []
    for value in heights - steps:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2], blocks[-1]
            blocks[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    return np.repeat([v for v, _ in blocks], [int(n) for _, n in blocks]) + steps


def volcano(
    fits: Fit,
    column: int,
    ax: Axes | None = None,
    *,
    adjust: str = "bh",
    level: float = 0.05,
    names: Sequence[Any] | None = None,
    n_labels: int = 10,
    use_t: bool = False,
) -> Axes:
    """-log10 of the p-value by the estimate of one coefficient, a point a lane of `fit_many`.

    Lanes whose p-value, adjusted over lanes by `adjust` ("bh", "holm", "holm-sidak" or
    "bonferroni"), is below `level` stand out, counted in the legend; the line is at the largest
    of their plain p-values. names: B labels, of which the n_labels smallest p-values that stand
    out are written. Lanes without inference are not drawn, and counted by status in the title.
    p-values below 1e-300 are drawn as triangles above all others.
    """
    what = "volcano"
    require_kind(what, "fits", fits, Fit, "fits of fit_many")
    require_choice(what, "adjust", adjust, ADJUSTMENTS)
    require_number(what, "n_labels", n_labels, 0)
    if np.ndim(fits.params) != 2:
        raise ValueError(f"{what}(fits=...): params of shape {fits.params.shape}; needs (B, p).")
    count, p = fits.params.shape
    require_choice(what, "column", column, range(p))
    labels = _checked_names(what, "names", names, count, "")
    plain = np.asarray(pvalues(fits, use_t))[:, column]
    corrected = np.asarray(adjusted(plain, adjust))
    at = _volcano_points(np.asarray(fits.params)[:, column], plain, corrected, _level(what, level))
    ax = axes_of(what, ax)
    _draw_volcano(ax, at, f"adjusted p < {level:g} ({adjust})")
    if names is not None and at.found.any():
        first = np.flatnonzero(at.found)[np.argsort(-at.y[at.found], kind="stable")[:n_labels]]
        label_points(ax, at.x, at.y, np.asarray(labels, dtype=object)[at.lanes], first)
    ax.set_xlabel(f"coefficient of column {column}")
    ax.set_ylabel("-log10 p")
    notes = [failures(fits.status, np.isfinite(plain), "lanes"), _note_of_tiny(plain[at.lanes])]
    write_title(ax, f"{len(at.x):,} lanes", notes)
    return ax


class _Volcano(NamedTuple):
    """The points (k,) of sound lanes: estimate, -log10 p, and which stand out or lie beyond."""

    lanes: np.ndarray
    x: np.ndarray
    y: np.ndarray
    found: np.ndarray
    beyond: np.ndarray


def _volcano_points(
    estimate: np.ndarray, plain: np.ndarray, corrected: np.ndarray, level: float
) -> _Volcano:
    lanes = np.flatnonzero(np.isfinite(plain) & np.isfinite(estimate))
    p = plain[lanes]
    return _Volcano(lanes, estimate[lanes], _height(p), corrected[lanes] < level, p < SMALLEST)


def _draw_volcano(ax: Axes, at: _Volcano, label: str) -> None:
    looks = point_style(len(at.x))
    rest, found = ~at.found, at.found & ~at.beyond
    ax.plot(at.x[rest], at.y[rest], color=GREY, label=f"others: {rest.sum():,}", **looks)
    text = f"{label}: {at.found.sum():,}"
    bold = looks | {"marker": "D", "markersize": looks["markersize"] + 1.5, "alpha": 0.9}
    ax.plot(at.x[found], at.y[found], color=VERMILION, label=text, **bold)
    if at.beyond.any():
        high = bold | {"marker": "^", "markersize": bold["markersize"] + 2.0}
        ax.plot(at.x[at.beyond], at.y[at.beyond], color=VERMILION, **high)
    if at.found.any():
        ax.axhline(np.min(at.y[at.found]), color=VERMILION, linestyle="--", linewidth=1.0)
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize=SMALL, loc="upper center")


def pvalue_qq(
    pvalues: Any, ax: Axes | None = None, *, alpha: float = 0.05, max_points: int = 5000
) -> Axes:
    """-log10 of sorted p-values by those of as many uniform ones, with their band.

    The i-th smallest of n is held against i / (n + 1); the band holds each with probability
    1 - alpha by itself, from its Beta(i, n - i + 1) law. In the title lambda_GC, the median of the
    chi-squared statistics over its expectation, 1 without confounding. Of more than max_points the
    smallest half of that number are drawn, and of the others as many, evenly on the axis. NaNs
    are no tests, and counted; p-values below 1e-300 are triangles above all others.
    Source: Devlin & Roeder (1999).
    """
    what = "pvalue_qq"
    require_number(what, "max_points", max_points, 10)
    alpha = checked_alpha(what, alpha)
    p, note = _sorted_pvalues(what, pvalues)
    ranks = _thinned(len(p), max_points)
    band = [-np.log10(betaincinv(ranks, len(p) - ranks + 1, q)) for q in (1 - alpha / 2, alpha / 2)]
    x, y = -np.log10(ranks / (len(p) + 1)), _height(p[ranks - 1])
    beyond = p[ranks - 1] < SMALLEST
    ax = axes_of(what, ax, (5.4, 5.0))
    label = f"{percent(alpha)} band"
    ax.fill_between(x, *band, color=GREY, alpha=0.35, linewidth=0.0, label=label)
    ax.plot([0.0, x[0]], [0.0, x[0]], color=BLACK, linestyle="--", linewidth=1.0)
    looks = point_style(len(x)) | {"alpha": 1.0}
    ax.plot(x[~beyond], y[~beyond], color=BLUE, **looks, label="p-values")
    ax.plot(x[beyond], y[beyond], color=VERMILION, **looks | {"marker": "^", "markersize": 7.0})
    ax.set_xlabel("-log10 p expected")
    ax.set_ylabel("-log10 p observed")
    ax.legend(fontsize=SMALL, loc="upper left")
    inflation = float(np.median(chdtri(1, p)) / chdtri(1, 0.5))
    notes = [note, _note_of_tiny(p)]
    notes += [f"{len(ranks):,} points drawn"] if len(ranks) < len(p) else []
    write_title(ax, f"{len(p):,} p-values, lambda_GC = {inflation:.3f}", notes)
    return ax


def _sorted_pvalues(what: str, pvalues: Any) -> tuple[np.ndarray, str]:
    """The p-values that are tests, rising, and what is said of the others."""
    given = as_numbers(f"{what}(pvalues=...)", np.ravel(np.asarray(pvalues)), 1)
    p = np.sort(given[~np.isnan(given)])
    if not len(p) or p[0] < 0 or p[-1] > 1:
        span = f"{p[0]:g} to {p[-1]:g}" if len(p) else "NaN only"
        raise ValueError(f"{what}(pvalues=...): {span}; allowed are numbers from 0 to 1.")
    none = len(given) - len(p)
    return p, f"{none:,} of {len(given):,} are NaN, not drawn" if none else ""


def _note_of_tiny(p: np.ndarray) -> str:
    count = int(np.sum(p < SMALLEST))
    return f"{count:,} with p < {SMALLEST:g}, as triangles" if count else ""


def _thinned(n: int, most: int) -> np.ndarray:
    """Ranks from 1 to n, at most so many: the smallest, then evenly on the logarithmic axis."""
    if n <= most:
        return np.arange(1, n + 1)
    head = most // 2
    tail = np.rint(np.geomspace(head + 1, n, most - head)).astype(int)
    return np.unique(np.concatenate([np.arange(1, head + 1), tail]))


def _height(p: np.ndarray) -> np.ndarray:
    """-log10 p; what is below `SMALLEST` stands a little above the rest."""
    y, beyond = -np.log10(np.maximum(p, SMALLEST)), p < SMALLEST
    y[beyond] = 1.08 * np.max(y[~beyond], initial=1.0)
    return y


def _level(what: str, level: Any) -> float:
    if not (np.ndim(level) == 0 and 0 < level < 1):
        raise ValueError(f"{what}(level={level!r}): allowed are numbers between 0 and 1.")
    return float(level)


def _checked_names(what: str, name: str, names: Any, count: int, stem: str) -> Sequence[Any]:
    """As many names as there are things to name."""
    found = [f"{stem}{j}" for j in range(count)] if names is None else list(names)
    if isinstance(names, str) or len(found) != count:
        raise ValueError(f"{what}({name}=...): {len(found)} names; allowed are {count}.")
    return found
