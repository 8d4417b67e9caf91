"""Floor 12: pictures of simulation studies, of searches for a power, and of cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from scipy.special import ndtr, ndtri

from jaxglm.arguments import checked_alpha
from jaxglm.interfaces.plots.canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    SMALL,
    VERMILION,
    axes_of,
    failures,
    penalty_scale,
    percent,
    require_choice,
    require_kind,
    require_number,
    shown,
    style,
    write_title,
)
from jaxglm.resample import CrossValidation
from jaxglm.resample.folds import LARGE_IS_GOOD
from jaxglm.simulate import Measure, PowerCurve, StudyResults
from jaxglm.solvers import Status

__all__ = ["cross_validation_curve", "lollipop", "nested_loop", "power_curve", "zip_plot"]

UNITS = {
    "relative_error": "relative error of the model's standard error, per cent",
    "empirical_se": "empirical standard error",
    "model_se": "model standard error",
    "mse": "mean squared error",
    "bias_eliminated_coverage": "bias-eliminated coverage",
    "rejection": "share rejected",
    "convergence": "share converged",
    "mean": "mean estimate",
}
MEASURES = ("bias", "coverage", *UNITS)
# The height of a factor's staircase under a nested loop plot, and of its name, in data heights.
STAIR, GAP = 0.07, 0.075


def zip_plot(
    results: StudyResults,
    analysis: str | None = None,
    estimand: str | None = None,
    cell: int = 0,
    ax: Axes | None = None,
    *,
    max_lines: int = 1000,
) -> Axes:
    """The limits of each replicate of a cell, ranked by |estimate - truth| / se: the zip.

    Height is the share of replicates, in per cent, that are nearer to the truth: those that miss it
    should begin at the level, and be as many on either side. The band is the coverage with its 95 %
    Monte Carlo limits. analysis, estimand: None for the only one. Of more than max_lines
    replicates as many are drawn, evenly by rank. Those that failed are counted in the title.
    Source: Morris, White & Crowther (2019).
    """
    what = "zip_plot"
    require_kind(what, "results", results, StudyResults, "results of Study.run")
    require_number(what, "max_lines", max_lines, 10)
    study = results.study
    require_choice(what, "cell", cell, range(len(study.cells)))
    analysis = _only(what, "analysis", analysis, study.analyses)
    estimand = _only(what, "estimand", estimand, study.estimands)
    at, note = _ranked(results, analysis, estimand, cell)
    if not len(at.low):
        raise ValueError(f"{what}(cell={cell}): {note}; nothing is left to draw.")
    ax = axes_of(what, ax)
    kept = np.unique(np.linspace(0, len(at.low) - 1, max_lines).astype(int))
    misses = (at.low > at.truth) | (at.high < at.truth)
    beyond = _draw_zip(ax, at, misses, kept)
    covered = results.performance(analysis, cell, estimand)["coverage"]
    _draw_coverage(ax, covered, study.alpha)
    ax.set_xlabel(f"{percent(study.alpha)} limits of {estimand}")
    ax.set_ylabel("rank of |z|, per cent")
    notes = [_cell_name(study.cells[cell], list(study.factors)), note]
    notes += [f"{len(kept):,} of {len(at.low):,} drawn"] if len(kept) < len(at.low) else []
    notes += [f"{beyond} run beyond the axis"] if beyond else []
    write_title(ax, f"{analysis}: coverage {100 * covered.value:.1f} %", notes)
    ax.legend(fontsize=SMALL, loc="lower right")
    return ax


class _Ranked(NamedTuple):
    """Limits (R,) of the replicates in order of |z|, their heights in per cent, and the truth."""

    low: np.ndarray
    high: np.ndarray
    height: np.ndarray
    truth: float


def _ranked(results: StudyResults, analysis: str, estimand: str, cell: int) -> tuple[_Ranked, str]:
    study, one = results.study, results.outcomes[analysis]
    j = list(study.estimands).index(estimand)
    truth = float(study.estimands[estimand].truth(study.cells[cell]))
    estimate, se, low, high = (np.asarray(v)[cell, :, j] for v in one[:4])
    drawn = np.asarray(one.sound)[cell] & np.isfinite([estimate, se, low, high]).all(axis=0)
    order = np.argsort(np.abs(estimate[drawn] - truth) / se[drawn], kind="stable")
    height = 100.0 * (np.arange(len(order)) + 0.5) / max(len(order), 1)
    note = failures(np.asarray(one.status)[cell], drawn, "replicates")
    return _Ranked(low[drawn][order], high[drawn][order], height, truth), note


def _draw_zip(ax: Axes, at: _Ranked, misses: np.ndarray, kept: np.ndarray) -> int:
    """The lines, within an axis that a few wide ones do not stretch; how many leave it."""
    looks = ((~misses, BLUE, 0.6, "hold the truth"), (misses, VERMILION, 1.4, "miss it"))
    for which, colour, width, label in looks:
        rows = kept[which[kept]]
        ends = [[(at.low[i], at.height[i]), (at.high[i], at.height[i])] for i in rows]
        label = f"{label}: {which.sum():,}"
        ax.add_collection(LineCollection(ends, colors=colour, linewidths=width, label=label))
    ax.axvline(at.truth, color=BLACK, linewidth=1.0)
    left = min(np.quantile(at.low, 0.005), at.truth)
    right = max(np.quantile(at.high, 0.995), at.truth)
    left, right = left - 0.05 * (right - left), right + 0.05 * (right - left)
    ax.set_xlim(left, right)
    ax.set_ylim(0.0, 100.0)
    return int(np.sum((at.low[kept] < left) | (at.high[kept] > right)))


def _draw_coverage(ax: Axes, covered: Measure, alpha: float) -> None:
    low, high = (100.0 * (covered.value + c * covered.mcse) for c in (-1.96, 1.96))
    label = "coverage, Monte Carlo limits"
    ax.axhspan(low, min(high, 100.0), color=GREEN, alpha=0.3, label=label, zorder=0.5)
    ax.axhline(100.0 * (1.0 - alpha), color=BLACK, linestyle="--", linewidth=1.0, label="level")


def nested_loop(
    results: StudyResults,
    measure: str = "bias",
    estimand: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A measure over all cells in order, a step line an analysis, above the factors' staircases.

    Cells stand in the order of `Study.cells`, the last factor moving fastest; beneath, each factor
    with more than one value has a staircase of its own. measure: one of `simulate.performance`;
    the thin line is where it should be: 0, the level, or for "rejection" alpha where the truth is
    the null. A cell of which no replicate could be used is a gap, counted in the title.
    Source: Ruecker & Schwarzer (2014).
    """
    table = _measured("nested_loop", results, measure, estimand)
    cells = results.study.cells
    ax = axes_of("nested_loop", ax, (8.0, 5.0))
    edges = np.arange(len(cells) + 1) - 0.5
    for i, (name, values) in enumerate(zip(results.study.analyses, table.value, strict=True)):
        look, steps = style(i), np.append(values, values[-1])
        ax.step(
            edges, steps, where="post", color=look.color, linestyle=look.linestyle, label=name,
            linewidth=1.6,
        )  # fmt: skip
    ax.step(edges, np.append(table.ideal, table.ideal[-1]), where="post", color=BLACK, lw=0.8)
    _draw_stairs(ax, cells, _moving(results), edges)
    ax.set_xlim(edges[0], edges[-1])
    ax.locator_params(axis="x", integer=True)
    ax.set_xlabel("cell")
    ax.set_ylabel(UNITS.get(measure, measure))
    write_title(ax, f"{measure}: {table.estimand}", table.notes)
    ax.legend(fontsize=SMALL, ncols=3)
    return ax


def _draw_stairs(
    ax: Axes, cells: Sequence[Mapping[str, Any]], factors: Sequence[str], edges: np.ndarray
) -> None:
    """A staircase for each factor beneath the data, and no ticks there."""
    low, high = ax.get_ylim()
    tall, floor = high - low, low
    ticks = [tick for tick in ax.get_yticks() if low <= tick <= high]
    for name in factors:
        values = list(dict.fromkeys(shown(cell[name]) for cell in cells))
        level = np.array([values.index(shown(cell[name])) for cell in cells])
        base = floor - (STAIR + GAP) * tall
        height = base + STAIR * tall * level / max(len(values) - 1, 1)
        ax.step(edges, np.append(height, height[-1]), where="post", color=GREY, lw=1.0)
        text = f"{name}: {', '.join(values)}"
        ax.text(edges[0], floor - 0.01 * tall, f" {text}", fontsize=SMALL, va="top")
        floor = base - 0.01 * tall
    ax.axhline(low, color=BLACK, linewidth=0.6)
    ax.set_yticks(ticks)
    ax.set_ylim(floor - 0.01 * tall, high)


def lollipop(
    results: StudyResults,
    measure: str = "bias",
    estimand: str | None = None,
    ax: Axes | None = None,
    *,
    alpha: float = 0.05,
) -> Axes:
    """A measure of each cell and analysis: a stem from where it should be, and Monte Carlo limits.

    The bar is value -+ c mcse at level 1 - alpha, c normal. measure and where it should be: as in
    `nested_loop`; a measure that should be nothing in particular has its stem from 0. What could
    not be measured is counted in the title. Source: Morris, White & Crowther (2019).
    """
    table = _measured("lollipop", results, measure, estimand)
    c = -ndtri(checked_alpha("lollipop", alpha) / 2.0)
    study = results.study
    count, cells = table.value.shape
    ax = axes_of("lollipop", ax, (6.4, max(2.4, 1.5 + cells * (0.12 + 0.17 * count))))
    for i, name in enumerate(study.analyses):
        look = style(i)
        places = np.arange(cells) + 0.7 * ((i + 0.5) / count - 0.5)
        start = np.where(np.isfinite(table.ideal), table.ideal, 0.0)
        ax.hlines(places, start, table.value[i], color=look.color, linewidth=4.0, alpha=0.3)
        ax.errorbar(
            table.value[i], places, xerr=c * table.mcse[i], fmt=look.marker, color=look.color,
            capsize=3, elinewidth=1.0, markersize=5, label=name,
        )  # fmt: skip
    edges = np.repeat(np.arange(cells + 1) - 0.5, 2)[1:-1]
    ax.plot(np.repeat(table.ideal, 2), edges, color=GREY, linestyle=":", linewidth=1.0)
    names = [_cell_name(cell, _moving(results)) or "all" for cell in study.cells]
    ax.set_yticks(np.arange(cells), names)
    ax.set_ylim(cells - 0.5, -0.5)
    ax.set_xlabel(f"{UNITS.get(measure, measure)}: {table.estimand}")
    write_title(ax, f"{measure} with {percent(alpha)} Monte Carlo limits", table.notes)
    if count > 1:
        ax.legend(fontsize=SMALL)
    return ax


class _Measured(NamedTuple):
    """A measure and its Monte Carlo error (analyses, cells), where it should be (cells,)."""

    estimand: str
    value: np.ndarray
    mcse: np.ndarray
    ideal: np.ndarray
    notes: list[str]


def _measured(what: str, results: Any, measure: str, estimand: str | None) -> _Measured:
    require_kind(what, "results", results, StudyResults, "results of Study.run")
    require_choice(what, "measure", measure, MEASURES)
    study = results.study
    name = _only(what, "estimand", estimand, study.estimands)
    found = [
        [results.performance(one, cell, name)[measure] for cell in range(len(study.cells))]
        for one in study.analyses
    ]
    value = np.array([[m.value for m in row] for row in found], dtype=float)
    mcse = np.array([[m.mcse for m in row] for row in found], dtype=float)
    ideal = np.array([_ideal(results, measure, name, cell) for cell in study.cells])
    empty = int(np.sum(~np.isfinite(value)))
    notes = [f"{empty} of {value.size} cells without a value, not drawn"] if empty else []
    return _Measured(name, value, mcse, ideal, [*notes, *_failed(results)])


def _ideal(results: StudyResults, measure: str, estimand: str, cell: Mapping[str, Any]) -> float:
    """Where a measure should be in a cell, or NaN."""
    about, alpha = results.study.estimands[estimand], results.study.alpha
    truth = float(about.truth(cell))
    if measure == "rejection":
        return alpha if truth == about.null else np.nan
    ideals = {"bias": 0.0, "relative_error": 0.0, "mean": truth, "convergence": 1.0}
    ideals |= {"coverage": 1.0 - alpha, "bias_eliminated_coverage": 1.0 - alpha}
    return ideals.get(measure, np.nan)


def _failed(results: StudyResults) -> list[str]:
    """Of each analysis, the replicates that no measure uses."""
    notes = ((n, failures(o.status, o.sound, "fits")) for n, o in results.outcomes.items())
    return [f"{name}: {note.replace('not drawn', 'not used')}" for name, note in notes if note]


def _moving(results: StudyResults) -> list[str]:
    """The factors with more than one value."""
    return [name for name, values in results.study.factors.items() if len(values) > 1]


def _cell_name(cell: Mapping[str, Any], factors: Sequence[str]) -> str:
    return ", ".join(f"{name} {shown(cell[name])}" for name in factors)


def _only(what: str, name: str, value: str | None, among: Mapping[str, Any]) -> str:
    """The name given, or the only one there is."""
    if value is None and len(among) == 1:
        return next(iter(among))
    require_choice(what, name, value, among)
    return str(value)


def power_curve(
    curve: PowerCurve, ax: Axes | None = None, *, label: str = "value", alpha: float = 0.05
) -> Axes:
    """The power simulated at each value, the probit curve through it, and where it is reached.

    Bars are Wilson's limits at level 1 - alpha of the simulated shares, values tried more than once
    taken together; the band is the curve's, from its covariance. The upright line is what
    `find_power` found, with the band of its Monte Carlo error, and the number is in the title.
    label: what the value is. Source of the limits: Wilson (1927).
    """
    what = "power_curve"
    require_kind(what, "curve", curve, PowerCurve, "what simulate.find_power returns")
    c = -ndtri(checked_alpha(what, alpha) / 2.0)
    values, place = np.unique(curve.values, return_inverse=True)
    wins, trials = (np.bincount(place, v) for v in (curve.rejections, curve.trials))
    share, limits = wins / trials, _wilson(wins, trials, c)
    ax = axes_of(what, ax)
    grid = np.linspace(values[0], values[-1], 200)
    low, high = _power_band(curve, grid, c)
    ax.fill_between(grid, low, high, color=BLUE, alpha=0.2, linewidth=0.0)
    ax.plot(grid, curve.at(grid), color=BLUE, linewidth=1.5, label="probit curve")
    ax.errorbar(
        values, share, np.abs(limits - share), fmt="o", color=BLACK, capsize=3, elinewidth=1.0,
        markersize=4, label=f"simulated, {percent(alpha)} limits",
    )  # fmt: skip
    ax.axhline(curve.power, color=GREY, linestyle="--", linewidth=1.0)
    text = f"Power {curve.power:g} is not reached here"
    if np.isfinite(curve.value):
        ax.axvline(curve.value, color=VERMILION, linestyle="-.", linewidth=1.2, label="found")
        ends = curve.value - c * curve.se, curve.value + c * curve.se
        ax.axvspan(*ends, color=VERMILION, alpha=0.15, linewidth=0.0)
        text = f"Power {curve.power:g} at {label} {curve.value:.4g}, standard error {curve.se:.2g}"
    ax.set_ylim(0.0, 1.03)
    ax.set_xlabel(label)
    ax.set_ylabel("power")
    write_title(ax, text, [f"{int(trials.sum()):,} data sets"])
    ax.legend(fontsize=SMALL, loc="lower right")
    return ax


def _wilson(wins: np.ndarray, trials: np.ndarray, c: float) -> np.ndarray:
    """Limits (2, k) of shares."""
    share, wide = wins / trials, c**2 / trials
    middle = (share + wide / 2.0) / (1.0 + wide)
    half = c * np.sqrt(share * (1.0 - share) / trials + wide / (4.0 * trials)) / (1.0 + wide)
    return np.clip([middle - half, middle + half], 0.0, 1.0)


def _power_band(curve: PowerCurve, values: np.ndarray, c: float) -> tuple[Any, Any]:
    t = np.sqrt(values) if curve.root else values
    rows = np.column_stack([np.ones_like(t), t])
    eta, se = rows @ curve.params, np.sqrt(np.sum((rows @ curve.cov) * rows, axis=1))
    return ndtr(eta - c * se), ndtr(eta + c * se)


def cross_validation_curve(
    found: CrossValidation, score: str = "deviance", ax: Axes | None = None
) -> Axes:
    """The mean score by penalty, -+ one standard error, with the best and the one-standard-error.

    penalties are strengths (L,), or, of vectors and matrices, their norms as in
    `CrossValidation.one_standard_error`. Penalties of which a fit failed have no mean: they are
    not drawn, and counted in the title with the fits by status. Source: Breiman et al. (1984).
    """
    what = "cross_validation_curve"
    require_kind(what, "found", found, CrossValidation, "what resample.cross_validate returns")
    require_choice(what, "score", score, found.scores)
    if found.penalties is None:
        raise ValueError(f"{what}(found=...): has no penalties; cross_validate(penalties=...).")
    strengths = np.linalg.norm(found.penalties.reshape(len(found.penalties), -1), axis=1)
    mean, se = found.mean(score), found.se(score)
    drawn = np.isfinite(mean)
    if not drawn.any():
        raise ValueError(f"{what}(found=...): no penalty has a mean; {found.tally()}.")
    order = np.flatnonzero(drawn)[np.argsort(strengths[drawn], kind="stable")]
    ax = axes_of(what, ax)
    ax.errorbar(
        strengths[order], mean[order], se[order], fmt="o-", color=BLUE, capsize=3, elinewidth=1.0,
        markersize=4, linewidth=1.2, label="mean -+ standard error",
    )  # fmt: skip
    best, near = found.best(score), found.one_standard_error(score)
    worse = -1.0 if score in LARGE_IS_GOOD else 1.0
    ax.axhline(mean[best] + worse * se[best], color=GREY, linestyle=":", linewidth=1.0)
    marks = ((best, GREEN, "--", "best"), (near, VERMILION, "-.", "one standard error"))
    for place, colour, dashes, name in marks:
        label = f"{name}: {strengths[place]:.4g}"
        ax.axvline(strengths[place], color=colour, linestyle=dashes, linewidth=1.2, label=label)
    penalty_scale(ax, strengths)
    ax.set_ylabel(f"mean {score}")
    _write_folds(ax, found, drawn, score)
    ax.legend(fontsize=SMALL)
    return ax


def _write_folds(ax: Axes, found: CrossValidation, drawn: np.ndarray, score: str) -> None:
    repeats, folds, _ = found.status.shape
    notes = [f"{np.sum(~drawn)} of {drawn.size} penalties not drawn"] if not drawn.all() else []
    notes += [failures(found.status, found.status == int(Status.converged), "fits")]
    again = f", {repeats} times" if repeats > 1 else ""
    text = [note.replace("fits not drawn", "fits failed") for note in notes]
    write_title(ax, f"{score} of {folds} folds{again}", text)
