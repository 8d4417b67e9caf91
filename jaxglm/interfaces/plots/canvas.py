"""Floor 12: what all pictures share: axes, colours, captions, and the words of their errors.

The colours are Okabe & Ito's, which colour-blind readers tell apart; what differs by colour differs
by marker or line too. matplotlib's settings are used as they are found, and never changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
except ImportError as error:
    raise ImportError(
        "jaxglm.interfaces.plots needs matplotlib: pip install 'jaxglm[plots]'."
    ) from error

from jaxglm.results import GLMResults
from jaxglm.solvers import Status
from jaxglm.solvers.base import tally

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "SMALL",
    "VERMILION",
    "Style",
    "as_numbers",
    "axes_grid",
    "axes_of",
    "failures",
    "label_points",
    "penalty_scale",
    "percent",
    "point_style",
    "require_choice",
    "require_kind",
    "require_number",
    "require_results",
    "shown",
    "status_note",
    "style",
    "write_title",
]

BLACK, GREY = "#000000", "#8C8C8C"
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
# The palette's yellow is left out: lines of it are lost on white.
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
SMALL = "small"
# Beyond so many points a vector picture is slow to show and no clearer.
MANY = 10_000
# Where a point's name may stand, in distances from the point, the best first.
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
SIDES += ((1, 2), (-1, 2), (1, -2), (-1, -2))


class Style(NamedTuple):
    """How one of several series is drawn."""

    color: str
    marker: str
    linestyle: Any


def style(number: int) -> Style:
    """The look of series 0, 1, ...; the colours return after 7, with other lines and markers."""
    again = number // len(COLOURS)
    return Style(
        COLOURS[number % len(COLOURS)],
        MARKERS[(number + again) % len(MARKERS)],
        LINES[(number + again) % len(LINES)],
    )


def point_style(count: int) -> dict[str, Any]:
    """Markers that so many points leave room for; of very many, as pixels in a vector picture."""
    size = 5.0 if count <= 200 else 3.5 if count <= 2000 else 2.0
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": size,
        "markeredgewidth": 0.0,
        "alpha": 0.7 if count <= 2000 else 0.4,
        "rasterized": count > MANY,
    }


def axes_of(what: str, ax: Any, size: tuple[float, float] | None = None) -> Axes:
    """The axes given, or those of a new figure of pyplot's, of this size in inches."""
    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    require_kind(what, "ax", ax, Axes, "matplotlib Axes, or None for a new figure")
    return ax


def axes_grid(
    what: str, axes: Any, shape: tuple[int, int], size: tuple[float, float]
) -> np.ndarray:
    """The array of axes given, or that of a new figure."""
    if axes is None:
        return plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)[1]
    grid = np.asarray(axes, dtype=object)
    if grid.size != shape[0] * shape[1] or not all(isinstance(ax, Axes) for ax in grid.flat):
        raise ValueError(
            f"{what}(axes=...): {type(axes).__name__} of shape {grid.shape}; allowed are None and "
            f"{shape[0] * shape[1]} matplotlib Axes, as plt.subplots{shape} gives them."
        )
    return grid


def write_title(ax: Axes, text: str, notes: Iterable[str] = ()) -> None:
    """A title, and beneath it what the picture leaves out or the reader must know."""
    inches = ax.get_figure(root=True).get_size_inches()[0] * ax.get_position().width
    width = max(24, int(inches / 0.072))
    lines = [line for part in (text, *notes) if part for line in textwrap.wrap(part, width)]
    ax.set_title("\n".join(lines), loc="left", fontsize="medium")


def failures(status: Any, drawn: Any, what: str) -> str:
    """ "3 of 500 <what> not drawn: 2 separated, 1 singular", or "" where all are drawn."""
    status, left = np.ravel(np.asarray(status)), ~np.ravel(np.asarray(drawn))
    if not left.any():
        return ""
    counts = ", ".join(f"{count} {name}" for name, count in tally(status[left]).items())
    return f"{left.sum():,} of {left.size:,} {what} not drawn: {counts}"


def status_note(results: GLMResults, name: str = "") -> str:
    """What a reader must know of how the fit ended; "" where it converged."""
    if results.status == Status.converged:
        return ""
    return f"{name}{': ' if name else ''}status {results.status.name}"


def label_points(
    ax: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[Any], which: np.ndarray
) -> None:
    """Names beside some of the points, where they hide neither each other nor these points."""
    if not len(which):
        return
    unit = 72.0 / ax.get_figure(root=True).dpi
    ax.autoscale_view()  # the limits are otherwise not yet those of the points
    at = unit * ax.transData.transform(np.column_stack([x[which], y[which]]))
    frame = unit * ax.get_window_extent().extents
    taken = [np.array([u - 3.0, v - 3.0, u + 3.0, v + 3.0]) for u, v in at]
    for i, (u, v) in zip(which, at, strict=True):
        # In points: the mean width of a sign, the height of a line.
        half = np.array([2.7 * len(str(labels[i])), 4.5])
        side, box = _free_side(np.array([u, v]), half, frame, taken)
        taken.append(box)
        offset = side * (half + 5.0)
        ax.annotate(
            str(labels[i]),
            (x[i], y[i]),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
        )


def _free_side(
    at: np.ndarray, half: np.ndarray, frame: np.ndarray, taken: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The first side of a point on which a box (its half sizes) is free, and that box."""
    boxes = []
    for side in SIDES:
        middle = at + np.array(side) * (half + 5.0)
        box = np.concatenate([middle - half, middle + half])
        boxes.append(box)
        inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
        if inside and not any(_overlap(box, other) for other in taken):
            return np.array(side), box
    return np.array(SIDES[0]), boxes[0]


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[:2] < b[2:]).all() and (b[:2] < a[2:]).all())


def penalty_scale(ax: Axes, strengths: np.ndarray) -> None:
    """A logarithmic axis of penalties, linear from 0 to the smallest where 0 is among them."""
    if np.any(strengths == 0):
        ax.set_xscale("symlog", linthresh=float(np.min(strengths[strengths > 0], initial=1.0)))
    else:
        ax.set_xscale("log")
    ax.set_xlabel("penalty")


def percent(alpha: float) -> str:
    """The level 1 - alpha, in per cent."""
    return f"{100.0 * (1.0 - alpha):g} %"


def shown(value: Any) -> str:
    """A factor's value in few signs."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return f"{value:g}" if number else textwrap.shorten(str(value), 24, placeholder="...")


def as_numbers(what: str, values: Any, ndim: int) -> np.ndarray:
    """values as float64 with so many axes, none of length 0."""
    found = np.asarray(values)
    if found.dtype.kind not in "biuf" or found.ndim != ndim or found.size == 0:
        shape = "(" + ", ".join(["L", "p"][:ndim]) + ("," if ndim == 1 else "") + ")"
        raise ValueError(
            f"{what}: dtype {found.dtype}, shape {found.shape}; allowed are real numbers {shape}."
        )
    return found.astype(np.float64)


def require_results(what: str, results: Any) -> GLMResults:
    """The results of one fit; raises for anything else."""
    require_kind(what, "results", results, GLMResults, "results of GLM.fit")
    return results


def require_kind(what: str, name: str, value: Any, kind: type, allowed: str) -> None:
    """Raise unless value is of a kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{what}({name}=...): {type(value).__name__}; allowed are {allowed}.")


def require_choice(what: str, name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raise unless value is one of those allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{what}({name}={value!r}): allowed are {', '.join(map(repr, allowed))}.")


def require_number(what: str, name: str, value: Any, least: int) -> None:
    """Raise unless value is a whole number, at least so large."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{what}({name}={value!r}): allowed are integers >= {least}.")
