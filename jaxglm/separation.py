"""Floor 3: whether the maximum likelihood estimate is finite, by linear programming on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxglm._types import ArrayLike
from jaxglm.families import Binomial, Family
from jaxglm.linalg import pivoted_qr

__all__ = ["Separation", "detect_separation"]

# Directions have norm about 1; the linear programmes are solved to 1e-7.
TOLERANCE = 1e-6


class Separation(NamedTuple):
    """Whether and how the data let coefficients run to infinity.

    separated: no finite maximum exists. complete: some linear predictor fits every row perfectly
    in the limit. directions (p,): 0 where the estimate is finite, inf or -inf where it runs off
    in that direction, NaN where the data leave the sign open or the column is aliased.
    """

    separated: bool
    complete: bool
    directions: np.ndarray


def detect_separation(
    X: ArrayLike,
    y: ArrayLike,
    family: Family = Binomial(),  # noqa: B008 - frozen
    *,
    n_trials: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Separation:
    """Decide by linear programming whether the maximum likelihood estimate is finite.

    A direction d along which the likelihood never falls has x_i'd = 0 in rows whose best mean is
    finite, and x_i'd >= 0 (or <= 0) where y is an end of the support that only an infinite linear
    predictor reaches: 0 and 1 for a logit, 0 for a Poisson log. One with x_i'd != 0 somewhere is
    a separation (Albert & Anderson 1984; Konis 2007). A family that cannot separate has none.

    On the host: X (n, p), y (n,) or (success, failure) columns (n, 2), in NumPy; n_trials and
    weights of 0 mark rows that are gone. Offsets are irrelevant. Imports scipy.optimize when
    called, and not before, since that takes a second.
    """
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    if y.ndim == 2:
        totals = y.sum(axis=1)
        n_trials, y = totals, y[:, 0] / np.where(totals > 0, totals, 1.0)
    present = np.ones(len(X), dtype=bool)
    for weight in (n_trials, weights):
        present &= True if weight is None else np.asarray(weight) > 0
    rows = np.unique(np.column_stack([_pull(y, family), X])[present], axis=0)
    pull, factored = rows[:, 0], pivoted_qr(rows[:, 1:])
    # Orthonormal columns: a direction of length 1 moves the rows by 1 in the mean square.
    q = factored.q * np.sqrt(len(rows))
    cone = Cone(pull[pull != 0, None] * q[pull != 0], q[pull == 0])
    directions = np.zeros(X.shape[1])
    directions[factored.aliased] = np.nan
    if len(cone.ahead) == 0 or cone.reach(cone.ahead.mean(axis=0)) <= TOLERANCE:
        return Separation(False, False, directions)
    # Coefficients are R^-1 d: row j of R^-1 is the slope of the j-th.
    for column, slope in zip(factored.kept, np.linalg.inv(factored.r), strict=True):
        directions[column] = _direction(cone, slope / np.max(np.abs(slope)))
    return Separation(True, cone.has_inner_point(), directions)


def _pull(y: np.ndarray, family: Family) -> np.ndarray:
    """1 or -1 where y draws eta to that infinity, else 0."""
    pull = np.zeros(len(y))
    if not family.can_separate:
        return pull
    low, high = family.mean_space.low, family.mean_space.high
    inside = np.array([low + 0.25, low + 0.75])
    rises = 1.0 if np.diff(np.asarray(family.link(inside)))[0] > 0 else -1.0
    for end in family.support.closed_ends:
        if end in family.link.infinite_at:
            pull[y == end] = rises if end == high else -rises
    return pull


class Cone(NamedTuple):
    """The directions d with `ahead` d >= 0 and `fixed` d = 0, within the box [-1, 1]."""

    ahead: np.ndarray
    fixed: np.ndarray

    def reach(self, slope: np.ndarray) -> float:
        """The largest slope'd."""
        return _largest(slope, self.ahead, self.fixed)

    def has_inner_point(self) -> bool:
        """Whether some d has ahead d > 0 in every row, and no row is fixed."""
        if len(self.fixed):
            return False
        # The depth t is one more unknown: ahead d - t >= 0.
        deeper = np.column_stack([self.ahead, -np.ones(len(self.ahead))])
        depth = np.append(np.zeros(self.ahead.shape[1]), 1.0)
        return _largest(depth, deeper, np.zeros((0, len(depth)))) > TOLERANCE


def _direction(cone: Cone, slope: np.ndarray) -> float:
    up, down = cone.reach(slope) > TOLERANCE, cone.reach(-slope) > TOLERANCE
    if up and down:
        return np.nan
    return np.inf if up else -np.inf if down else 0.0


def _largest(slope: np.ndarray, ahead: np.ndarray, fixed: np.ndarray) -> float:
    """The maximum of slope'd over ahead d >= 0, fixed d = 0, -1 <= d <= 1."""
    from scipy.optimize import linprog

    answer = linprog(
        -slope,
        A_ub=-ahead if len(ahead) else None,
        b_ub=np.zeros(len(ahead)) if len(ahead) else None,
        A_eq=fixed if len(fixed) else None,
        b_eq=np.zeros(len(fixed)) if len(fixed) else None,
        bounds=(-1.0, 1.0),
        method="highs",
    )
    if not answer.success:
        raise RuntimeError(f"detect_separation: linear programming failed: {answer.message}")
    return -float(answer.fun)
