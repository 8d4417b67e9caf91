"""Floor 11: permutation tests of coefficients, over one response or many at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxglm._labels import column_numbers, label_codes
from jaxglm._threads import cores, threads
from jaxglm._types import REAL, ArrayLike
from jaxglm.bootstrap import HELD, Model, as_key, model_of, require_count
from jaxglm.designs import Augmented
from jaxglm.draws import DRAWN, Lanes, Words
from jaxglm.families import Family
from jaxglm.fit import Fit, to_host
from jaxglm.frames import float64
from jaxglm.lanes import has_inference
from jaxglm.penalties import Penalty
from jaxglm.resample.refits import require_valid
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import tally

__all__ = ["PermutationTest", "draw_permutations", "permutation_test"]

Method = Literal["raw", "freedman-lane", "regressor"]


@dataclasses.dataclass(frozen=True)
class PermutationTest:
    """Wald statistics of m responses, and of the same responses permuted.

    statistic (m,) and null (reps, m), NaN where a fit failed; status (m,) and null_status
    (reps, m).
    """

    statistic: np.ndarray
    null: np.ndarray
    status: np.ndarray
    null_status: np.ndarray

    @property
    def pvalue(self) -> np.ndarray:
        """(1 + number of permutations as extreme) / (1 + reps), (m,).

        A permuted fit that failed counts as extreme, a response whose own fit failed has NaN.
        Source: Phipson & Smyth (2010).
        """
        return self._share_above(np.where(np.isnan(self.null), np.inf, self.null))

    @property
    def adjusted(self) -> np.ndarray:
        """p-values (m,) that control the probability of any false rejection, step-down max-T.

        Responses in falling order of statistic; each is compared with the largest permuted
        statistic among those that follow. Source: Westfall & Young (1993), algorithm 4.1.
        """
        known = ~np.isnan(self.statistic)
        order = np.argsort(np.where(known, -self.statistic, np.inf), kind="stable")
        null = np.where(np.isnan(self.null), np.inf, self.null)
        null = np.where(known, null, -np.inf)[:, order]
        largest = np.maximum.accumulate(null[:, ::-1], axis=1)[:, ::-1]
        stepped = np.empty_like(self.statistic)
        shares = (1.0 + np.sum(largest >= self.statistic[order], axis=0)) / (1.0 + len(null))
        stepped[order] = np.maximum.accumulate(shares)
        return np.where(known, stepped, np.nan)

    def _share_above(self, null: np.ndarray) -> np.ndarray:
        share = (1.0 + np.sum(null >= self.statistic, axis=0)) / (1.0 + len(null))
        return np.where(np.isnan(self.statistic), np.nan, share)

    def tally(self) -> dict[str, int]:
        """How many of the permuted fits ended with each status."""
        return tally(self.null_status)


@float64()
def permutation_test(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    columns: int | Sequence[int],
    *,
    key: Any,
    reps: int = 999,
    method: Method = "raw",
    strata: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> PermutationTest:
    """Test whether the coefficients of `columns` are all 0, by refits to permuted rows.

    y (n,), or (m, n) for m responses that are permuted alike. The statistic is Wald's, b'C^-1 b,
    z^2 for one column. strata (n,): permute within these labels only.

    method: "raw" moves responses, with their offset, weights and trials, against the whole design
    (Manly 1997): exact if nothing but the intercept acts. "freedman-lane" moves the residuals of
    the model without `columns`, each times the root of its weight (Freedman & Lane 1983), for
    families on the whole real line. "regressor" moves the residuals of `columns` on the others,
    for any family (Potter 2005). The last two are asymptotic. The other arguments as in `fit`;
    observations are exchanged one by one, hence no freq_weights.
    """
    require_count("reps", reps, 1)
    Y = np.atleast_2d(np.asarray(to_host("y", y), np.float64))
    rows = {"offset": offset, "var_weights": var_weights, "n_trials": n_trials, "penalty": penalty}
    problem = require_valid(X, Y[0], family, rows)
    model = dataclasses.replace(
        model_of(problem, scale, None, solver, chunk_size), freq_weights=None
    )
    n, p = problem.design.shape
    tested = np.array(column_numbers("columns", columns, p), int)
    if tested.size == 0:
        raise ValueError(f"columns={columns}: allowed are one or more of the {p} columns of X.")
    blocks = None if strata is None else label_codes("strata", strata, np.ones(n, bool))
    orders = np.concatenate([np.arange(n)[None], draw_permutations(key, n, reps, blocks)])
    if method not in _METHODS:
        raise ValueError(f'method="{method}": allowed are {", ".join(_METHODS)}.')
    X = np.asarray(to_host("X", X), np.float64)
    lanes = _METHODS[method](model, X, Y, orders, tested)
    # Under "regressor" the design begins with the columns that are not tested.
    places = p - tested.size + np.arange(tested.size) if method == "regressor" else tested
    parts = [_wald(part.fit(), places) for part in lanes]
    statistic, status = (np.concatenate(v).reshape(len(Y), -1).T for v in zip(*parts, strict=True))
    return PermutationTest(statistic[0], statistic[1:], status[0], status[1:])


def draw_permutations(key: Any, n: int, reps: int, strata: np.ndarray | None = None) -> np.ndarray:
    """Random orders (reps, n) of n rows, which stay in their strata (codes, (n,)).

    Rows are sorted by words of 64 bits: the stratum, what is drawn, and the row's own number.
    """
    codes = np.zeros(n, np.uint64) if strata is None else np.asarray(strata, np.uint64)
    above, below = int(codes.max()).bit_length(), n.bit_length()
    own = (codes << np.uint64(64 - above) if above else codes) | np.arange(n, dtype=np.uint64)
    free = np.uint64((1 << 64 - above) - (1 << below))
    places = slice(None) if strata is None else np.argsort(codes, kind="stable")
    lanes, orders = Lanes.of(as_key(key), reps), np.empty((reps, n), int)
    size = min(reps, max(1, DRAWN // n))

    def part(first: int) -> None:
        some = slice(first, first + size)
        words = Words(dataclasses.replace(lanes, numbers=lanes.numbers[some]), n).together() & free
        words |= own
        words.sort(axis=1)
        orders[some, places] = words & np.uint64((1 << below) - 1)

    # All of one length; the last is moved back to the end.
    firsts = (min(first, reps - size) for first in range(0, reps, size))
    for _ in threads(cores()).map(part, firsts):
        pass
    return orders


def _raw(
    model: Model, X: np.ndarray, Y: np.ndarray, orders: np.ndarray, tested: np.ndarray
) -> Iterator[Model]:
    """Responses in every order, with what belongs to a response."""
    names = ("offset", "var_weights", "n_trials")
    rows = {k: v for k in names if (v := getattr(model, k)) is not None}
    for part in _some(Y, orders):
        moved = {k: np.tile(np.asarray(v)[orders], (len(part), 1)) for k, v in rows.items()}
        yield dataclasses.replace(model, y=_as_lanes(part[:, orders]), **moved)


def _freedman_lane(
    model: Model, X: np.ndarray, Y: np.ndarray, orders: np.ndarray, tested: np.ndarray
) -> Iterator[Model]:
    """Fits of the model without the tested columns, plus their residuals in every order."""
    if model.family.support != REAL:
        raise ValueError(
            f'method="freedman-lane": {type(model.family).__name__} has no residuals to move; '
            'use "regressor".'
        )
    if model.penalty is not None:
        raise ValueError('method="freedman-lane": takes no penalty.')
    rest = np.delete(X, tested, axis=1)
    root = 1.0 if model.var_weights is None else np.sqrt(np.asarray(model.var_weights))
    for part in _some(Y, orders):
        params = dataclasses.replace(model, X=rest, y=part).fit(cov=False).params
        eta = params @ rest.T + (0.0 if model.offset is None else np.asarray(model.offset))
        mu = np.asarray(model.family.link.inverse(jnp.asarray(eta)))[:, None, :]
        moved = ((part[:, None, :] - mu) * root)[:, 0, :][:, orders] / root
        yield dataclasses.replace(model, y=_as_lanes(mu + moved))


def _regressor(
    model: Model, X: np.ndarray, Y: np.ndarray, orders: np.ndarray, tested: np.ndarray
) -> Iterator[Model]:
    """The residuals of the tested columns on the others, in every order, beside the others."""
    rest = np.delete(X, tested, axis=1)
    if rest.shape[1] == 0 or model.penalty is not None:
        raise ValueError('method="regressor": needs a column not tested, and takes no penalty.')
    residual = X[:, tested] - rest @ np.linalg.lstsq(rest, X[:, tested], rcond=None)[0]
    for part in _some(Y, orders):
        moved = np.tile(residual[orders], (len(part), 1, 1))
        y = np.repeat(part, len(orders), axis=0)
        yield dataclasses.replace(model, X=Augmented(rest, moved), y=y)


_METHODS = {"raw": _raw, "freedman-lane": _freedman_lane, "regressor": _regressor}


def _some(Y: np.ndarray, orders: np.ndarray) -> Iterator[np.ndarray]:
    """So many responses that all their orders can be held."""
    held = max(1, HELD // orders.size)
    return (Y[i : i + held] for i in range(0, len(Y), held))


def _as_lanes(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1])


def _wald(fits: Fit, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """b'C^-1 b of the tested coefficients (B,), NaN without inference, and the statuses."""
    b, cov = fits.params[:, tested], np.asarray(fits.cov_params)[:, tested[:, None], tested]
    sound = np.asarray(has_inference(fits)) & np.isfinite(cov).all(axis=(1, 2))
    cov = np.where(sound[:, None, None], cov, np.eye(len(tested)))
    solved = np.linalg.solve(cov, b[:, :, None])[:, :, 0]
    return np.where(sound, np.sum(b * solved, axis=1), np.nan), fits.status
