"""Floor 12: pictures of one fit: coefficients, effects, calibration, ROC, convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.special import ndtri

from jaxglm._special import t_quantile
from jaxglm.arguments import checked_alpha, term_columns
from jaxglm.frames import float64, to_float
from jaxglm.interfaces.plots.canvas import (
    BLUE,
    GREY,
    SMALL,
    axes_of,
    percent,
    require_choice,
    require_number,
    require_results,
    status_note,
    style,
    write_title,
)
from jaxglm.results import GLMResults
from jaxglm.solvers import Status

__all__ = ["calibration", "coefficient_forest", "fit_trace", "partial_effect", "roc"]

CONSTANTS = ("const", "Intercept", "(Intercept)")
LIMITS = {"wald": "Wald", "profile": "profile", "score": "score"}


def coefficient_forest(
    results: GLMResults | Mapping[str, GLMResults],
    ax: Axes | None = None,
    *,
    columns: Sequence[str] | None = None,
    alpha: float = 0.05,
    method: Literal["wald", "profile", "score"] = "wald",
    exponentiate: bool = False,
) -> Axes:
    """Coefficients with limits at level 1 - alpha, a line each, of one fit or of several by name.

    columns: names, in order from the top; None: all that any of the fits has, but constants.
    method: as in `GLMResults.conf_int`. exponentiate: exp of coefficients and limits on a
    logarithmic axis: rate, odds or mean ratios under a log or logit link. The title counts what a
    fit cannot estimate, and names the fits that did not converge, which have no limits to draw.
    """
    what = "coefficient_forest"
    require_choice(what, "method", method, LIMITS)
    alpha = checked_alpha(what, alpha)
    fits = dict(results) if isinstance(results, Mapping) else {"": results}
    if not fits:
        raise ValueError(f"{what}(results={{}}): empty; allowed are results of fits, by name.")
    tables = {n: _estimates(require_results(what, r), alpha, method) for n, r in fits.items()}
    failed = {n for n, r in fits.items() if r.status not in (Status.converged, Status.boundary)}
    names = _forest_names(what, tables, columns)
    ax = axes_of(what, ax, (6.4, max(2.4, 1.4 + (0.26 + 0.14 * len(fits)) * len(names))))
    missing = 0
    for i, (label, table) in enumerate(tables.items()):
        places = np.arange(len(names)) + 0.6 * ((i + 0.5) / len(fits) - 0.5)
        values = np.array([table.get(name, [np.nan] * 3) for name in names]).T
        missing += sum(np.isnan(table[name][0]) for name in names if name in table)
        if label in failed:
            continue
        _draw_limits(ax, np.exp(values) if exponentiate else values, places, i, label)
    ax.axvline(1.0 if exponentiate else 0.0, color=GREY, linestyle=":", linewidth=1.0)
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    if exponentiate:
        _ratio_scale(ax)
    ax.set_xlabel(_forest_label(list(fits.values()), exponentiate))
    notes = [status_note(r, n) + ", not drawn" * (n in failed) for n, r in fits.items()]
    notes += [f"not estimable, not drawn: {missing}"] if missing else []
    write_title(ax, f"Coefficients with {percent(alpha)} limits ({LIMITS[method]})", notes)
    if len(fits) > 1:
        ax.legend(fontsize=SMALL)
    return ax


def _estimates(results: GLMResults, alpha: float, method: str) -> dict[str, np.ndarray]:
    """(estimate, lower, upper) by name."""
    rows = np.column_stack([results.beta, np.asarray(results.conf_int(alpha, method))])
    return dict(zip(results.exog_names, rows, strict=True))


def _forest_names(
    what: str, tables: Mapping[str, Mapping[str, Any]], columns: Sequence[str] | None
) -> list[str]:
    every = list(dict.fromkeys(name for table in tables.values() for name in table))
    if columns is None:
        return [name for name in every if name not in CONSTANTS] or every
    if isinstance(columns, str) or not len(columns) or not set(columns) <= set(every):
        raise ValueError(f"{what}(columns={columns!r}): allowed are some of {', '.join(every)}.")
    return list(columns)


def _draw_limits(ax: Axes, values: np.ndarray, places: np.ndarray, i: int, label: str) -> None:
    """Estimates (3, k) with their limits at heights (k,), in the look of series i."""
    look, (estimate, low, high) = style(i), values
    ax.hlines(places, low, high, color=look.color, linewidth=1.5)
    ax.plot(
        estimate, places, color=look.color, marker=look.marker, linestyle="none", markersize=6,
        label=label or None,
    )  # fmt: skip


def _ratio_scale(ax: Axes) -> None:
    """A logarithmic axis with plain numbers."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _forest_label(fits: Sequence[GLMResults], exponentiate: bool) -> str:
    links = {type(results.family.link).__name__ for results in fits}
    unit = f" ({links.pop()} link)" if len(links) == 1 else ""
    return f"exp(coefficient){unit}" if exponentiate else f"coefficient{unit}"


def partial_effect(
    results: GLMResults,
    column: str | int,
    ax: Axes | None = None,
    *,
    scale: Literal["mean", "linear"] = "mean",
    alpha: float = 0.05,
    n_points: int = 200,
    rows: Any = None,
    offset: Any = None,
) -> Axes:
    """The mean, or linear predictor, along one column, with limits at level 1 - alpha.

    column: a name or number of the design, over its range in the sample; the other columns stand
    at their means there, by freq_weights, and so does the offset unless one number is given. A
    column of two values is drawn as two points. Columns that depend on this one (powers, splines,
    interactions) do not follow it; for these pass `rows`, what `GLMResults.get_prediction` takes
    as exog: a frame of a formula's variables, say, in which `column` is the one drawn and all else
    is as you choose, with its own offset. Ticks above the axis are the sample's values.
    """
    what = "partial_effect"
    require_results(what, results)
    require_choice(what, "scale", scale, ("mean", "linear"))
    require_number(what, "n_points", n_points, 2)
    alpha = checked_alpha(what, alpha)
    results.need_data(what)
    if rows is None:
        along = _along_column(results, column, n_points, offset)
    else:
        along = _Along(_of_rows(what, rows, column), rows, offset, None)
    limits = results.get_prediction(along.rows, offset=along.offset, alpha=alpha)
    found = _on_scale(results, limits, scale, alpha)
    ax = axes_of(what, ax)
    _draw_effect(ax, along.values, *found)
    if along.sample is not None:
        _draw_rug(ax, along.sample)
    response = results.endog_names
    ax.set_xlabel(str(column) if isinstance(column, str) else results.exog_names[column])
    ax.set_ylabel(f"mean of {response}" if scale == "mean" else f"linear predictor of {response}")
    others = "other columns at their means" if rows is None else "at the rows given"
    write_title(ax, f"Effect with {percent(alpha)} limits, {others}", [status_note(results)])
    return ax


class _Along(NamedTuple):
    """The values (k,) of a column, rows with them, their offset, and the sample's values."""

    values: np.ndarray
    rows: Any
    offset: Any
    sample: np.ndarray | None


def _along_column(results: GLMResults, column: str | int, n_points: int, offset: Any) -> _Along:
    if isinstance(column, str) and column not in results.exog_names:
        raise ValueError(
            f"partial_effect(column={column!r}): allowed are columns of the design, "
            f"{', '.join(results.exog_names)}; along a formula's variable pass rows=... ."
        )
    ((j,),) = term_columns(results.exog_names, {"column": column}).values()
    frame = results.model.frame
    there = frame.present
    weight = None if frame.freq_weights is None else frame.freq_weights[there]
    sample = frame.exog[there]
    values = np.unique(sample[:, j])
    if len(values) > 2:
        values = np.linspace(values[0], values[-1], n_points)
    rows = np.tile(np.average(sample, axis=0, weights=weight), (len(values), 1))
    rows[:, j] = values
    if offset is None and frame.offset is not None:
        offset = float(np.average(frame.offset[there], weights=weight))
    return _Along(values, rows, offset, sample[:, j])


def _of_rows(what: str, rows: Any, column: str | int) -> np.ndarray:
    try:
        return to_float(f"{what}(rows=...)", rows[:, column] if _is_array(rows) else rows[column])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{what}(column={column!r}): not in rows; allowed are its columns."
        ) from error


def _is_array(rows: Any) -> bool:
    return isinstance(rows, np.ndarray)


@float64()
def _on_scale(results: GLMResults, limits: Any, scale: str, alpha: float) -> tuple[Any, Any, Any]:
    """The middle and the limits (k,), as arrays."""
    if scale == "mean":
        return tuple(np.asarray(v) for v in (limits.mean, limits.lower, limits.upper))
    middle, se = np.asarray(limits.linear), np.asarray(limits.linear_se)
    df = results.df_test
    c = -ndtri(alpha / 2.0) if df is None else -float(t_quantile(alpha / 2.0, df))
    return middle, middle - c * se, middle + c * se


def _draw_effect(ax: Axes, x: np.ndarray, middle: Any, low: Any, high: Any) -> None:
    if len(x) <= 2:
        ax.errorbar(x, middle, [middle - low, high - middle], fmt="o", color=BLUE, capsize=4)
        ax.set_xticks(x)
        ax.margins(x=0.3)
        return
    order = np.argsort(x, kind="stable")
    ax.fill_between(x[order], low[order], high[order], color=BLUE, alpha=0.2, linewidth=0.0)
    ax.plot(x[order], middle[order], color=BLUE, linewidth=1.5)


def _draw_rug(ax: Axes, sample: np.ndarray) -> None:
    values = np.unique(sample)
    values = values[:: max(1, len(values) // 500)]
    ax.plot(
        values, np.full(len(values), 0.012), transform=ax.get_xaxis_transform(), color=GREY,
        marker="|", markersize=6, linestyle="none", label="sample",
    )  # fmt: skip


class _Observed(NamedTuple):
    """Responses, their predicted means and weights v f m, each (n,)."""

    y: np.ndarray
    mu: np.ndarray
    weight: np.ndarray


def _observed(what: str, results: GLMResults, endog: Any, exog: Any, offset: Any) -> _Observed:
    """The sample, or new rows with their predictions; rows of weight 0 left out."""
    if (endog is None) != (exog is None):
        raise ValueError(f"{what}(endog=..., exog=...): one is None; allowed are both or neither.")
    if exog is not None:
        return _new_rows(what, results, endog, exog, offset)
    results.need_data(what)
    frame = results.model.frame
    weight = np.ones(len(frame.endog))
    for given in (frame.var_weights, frame.freq_weights, frame.n_trials):
        weight = weight if given is None else weight * given
    found = _Observed(frame.endog, np.asarray(results.mu), weight)
    return _Observed(*(v[frame.present] for v in found))


def _new_rows(what: str, results: GLMResults, endog: Any, exog: Any, offset: Any) -> _Observed:
    mu, y = np.asarray(results.predict(exog, offset=offset)), to_float(f"{what}(endog=...)", endog)
    weight = np.ones(len(mu))
    if results.family.counts_trials and y.shape == (len(mu), 2):
        weight = y.sum(axis=1)
        y = np.divide(y[:, 0], weight, out=np.zeros(len(mu)), where=weight > 0)
    if y.shape != mu.shape or not np.isfinite(y).all():
        raise ValueError(
            f"{what}(endog=...): shape {y.shape}; exog has {len(mu)} rows, so allowed are "
            f"({len(mu)},) finite numbers."
        )
    return _Observed(*(v[weight > 0] for v in (y, mu, weight)))


@float64()
def calibration(
    results: GLMResults,
    ax: Axes | None = None,
    *,
    bins: int = 10,
    alpha: float = 0.05,
    endog: Any = None,
    exog: Any = None,
    offset: Any = None,
) -> Axes:
    """Mean response by mean prediction in `bins` groups of rows of about equal prediction.

    The groups hold as many rows each, tied predictions together, so that there may be fewer. Means
    are by the weights v f m, and the bars what the model says of their sampling error:
    c sqrt(scale sum w V(mu)) / sum w, c normal, not the error of the predictions. On the sample a
    model is calibrated on the whole by its fit; endog and exog are new rows, with their offset as
    in `GLMResults.predict`; a binomial endog may be (success, failure) (n, 2).
    """
    what = "calibration"
    require_results(what, results)
    require_number(what, "bins", bins, 1)
    c = -ndtri(checked_alpha(what, alpha) / 2.0)
    y, mu, w = _observed(what, results, endog, exog, offset)
    group = _groups(mu, bins)
    total = np.bincount(group, w)
    predicted, observed = (np.bincount(group, w * v) / total for v in (mu, y))
    variance = results.scale * np.asarray(results.family.variance(mu))
    half = c * np.sqrt(np.bincount(group, w * variance)) / total
    support = results.family.support
    bars = np.clip([observed - half, observed + half], support.low, support.high)
    ax = axes_of(what, ax)
    ax.axline((predicted[0], predicted[0]), slope=1.0, color=GREY, linestyle="--", linewidth=1.0)
    ax.errorbar(
        predicted, observed, np.abs(bars - observed), fmt="o", color=BLUE, capsize=3, elinewidth=1.0
    )
    ax.set_xlabel("mean predicted")
    ax.set_ylabel(f"mean of {results.endog_names}")
    text = f"Calibration in {len(total)} groups, {percent(alpha)} bars"
    write_title(ax, text, [status_note(results)])
    return ax


def _groups(mu: np.ndarray, bins: int) -> np.ndarray:
    """The number (n,) of each row's group, 0, 1, ... without gaps; ties together."""
    order = np.argsort(mu, kind="stable")
    values, first = np.unique(mu[order], return_index=True)
    raw = (bins * first) // len(mu)
    return np.unique(raw[np.searchsorted(values, mu)], return_inverse=True)[1]


def roc(
    results: GLMResults,
    ax: Axes | None = None,
    *,
    endog: Any = None,
    exog: Any = None,
    offset: Any = None,
) -> Axes:
    """The share of successes by the share of failures predicted above each threshold.

    The area under it, in the title, is the chance that a success is predicted above a failure,
    ties half. Binomial only; a row of m trials counts as its successes and failures. endog, exog
    and offset: new rows, as in `calibration`. Source: Hanley & McNeil (1982).
    """
    require_results("roc", results)
    if not results.family.counts_trials:
        name = type(results.family).__name__
        raise ValueError(f"roc(results=...): the family is {name}; allowed is Binomial.")
    y, mu, w = _observed("roc", results, endog, exog, offset)
    success, failure = w * y, w * (1.0 - y)
    if not (success.sum() > 0 and failure.sum() > 0):
        raise ValueError("roc(endog=...): all of one class; needs successes and failures.")
    false, true = _roc_steps(mu, success, failure)
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2.0)
    ax = axes_of("roc", ax, (5.0, 5.0))
    ax.plot([0.0, 1.0], [0.0, 1.0], color=GREY, linestyle="--", linewidth=1.0, label="chance")
    ax.plot(false, true, color=BLUE, linewidth=1.5, label="model")
    ax.set_aspect("equal")
    ax.set_xlabel("share of failures above the threshold")
    ax.set_ylabel("share of successes above the threshold")
    write_title(ax, f"ROC curve: area {area:.3f}", [status_note(results)])
    ax.legend(fontsize=SMALL, loc="lower right")
    return ax


def _roc_steps(
    mu: np.ndarray, success: np.ndarray, failure: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1), a step for each different mu."""
    order = np.argsort(-mu, kind="stable")
    last = np.flatnonzero(np.append(np.diff(mu[order]) != 0, True))
    rates = [np.append(0.0, np.cumsum(v[order])[last] / v.sum()) for v in (failure, success)]
    return rates[0], rates[1]


def fit_trace(results: GLMResults, ax: Axes | None = None) -> Axes:
    """How the fit went: what was left to go after each pass over the data, on a logarithmic axis.

    Two lines: |D_k - D_end| / (|D_end| + 1) of the deviances, and from the second pass on the
    largest step of a coefficient, in its standard error where that is finite. A quadratic solver
    doubles the digits with each pass. What is 0 is drawn on the lower edge, at 1e-17. The passes
    are made again, see `GLMResults.fit_history`.
    """
    history = require_results("fit_trace", results).fit_history
    se = np.asarray(results.bse)
    unit = np.where(np.isfinite(se) & (se > 0), se, 1.0)
    end, passes = history.deviance[-1], np.arange(1, len(history.deviance) + 1)
    left = np.abs(history.deviance - end) / (abs(end) + 1.0)
    steps = np.max(np.abs(np.diff(np.nan_to_num(history.params), axis=0)) / unit, axis=1)
    ax = axes_of("fit_trace", ax)
    _draw_trace(ax, passes, left, 0, "deviance above its end, relative")
    _draw_trace(ax, passes[1:], steps, 1, "largest step, in standard errors")
    ax.set_yscale("log")
    ax.set_xticks(passes[:: max(1, len(passes) // 15)])
    ax.set_xlabel("pass over the data")
    ax.set_ylabel("left to go")
    text = f"{results.method}: {results.status.name} after {len(passes)} passes"
    write_title(ax, text, ["" if results.converged else results.status.meaning])
    ax.legend(fontsize=SMALL)
    return ax


def _draw_trace(ax: Axes, passes: np.ndarray, values: np.ndarray, i: int, label: str) -> None:
    look = style(i)
    ax.plot(passes, np.maximum(values, 1e-17), label=label, **look._asdict())
