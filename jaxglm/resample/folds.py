"""Floor 11: cross-validation: folds and penalties as lanes of one batch over a shared design."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import label_codes
from jaxglm._types import Array, ArrayLike
from jaxglm.bootstrap import HELD, Model, as_key, fit_parts, model_of, require_count
from jaxglm.families import Family
from jaxglm.fit import Fit
from jaxglm.frames import float64
from jaxglm.lanes import has_inference
from jaxglm.model import Problem
from jaxglm.resample.refits import require_valid
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import tally

__all__ = ["CrossValidation", "assign_folds", "cross_validate"]

LARGE_IS_GOOD = ("d2", "auc")


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """Scores of a model on rows that it was not fitted to.

    folds (repeats, n), the fold of each row; penalties (L, ...) or None, as given; params
    (repeats, K, L, p), status (repeats, K, L); scores, by name, (repeats, K, L), NaN where the fit
    failed. L is 1 without a grid.
    """

    folds: np.ndarray
    penalties: np.ndarray | None
    params: np.ndarray
    status: np.ndarray
    scores: dict[str, np.ndarray]

    def mean(self, score: str = "deviance") -> np.ndarray:
        """The mean over folds and repeats (L,); NaN where any of the fits failed."""
        return self._of(score).mean(axis=(0, 1))

    def se(self, score: str = "deviance") -> np.ndarray:
        """The standard error (L,) of one repeat's mean: sd over the K folds / sqrt(K).

        The variances of the repeats are averaged; folds share rows, so that it is a rule of thumb.
        """
        variance = self._of(score).var(axis=1, ddof=1).mean(axis=0)
        return np.sqrt(variance / self.status.shape[1])

    def best(self, score: str = "deviance") -> int:
        """The number in the grid of the best mean."""
        return int(np.nanargmin(self._loss(score)))

    def one_standard_error(self, score: str = "deviance") -> int:
        """The number in the grid of the strongest penalty within one standard error of the best.

        Strength is the norm of a penalty. Source: Breiman et al. (1984), section 3.4.3.
        """
        best, loss = self.best(score), self._loss(score)
        near = np.flatnonzero(loss <= loss[best] + self.se(score)[best])
        if self.penalties is None:
            return best
        strength = np.linalg.norm(self.penalties.reshape(len(self.penalties), -1), axis=1)
        return int(near[np.argmax(strength[near])])

    def tally(self) -> dict[str, int]:
        """How many fits ended with each status."""
        return tally(self.status)

    def _of(self, score: str) -> np.ndarray:
        if score not in self.scores:
            raise ValueError(f'score="{score}": allowed are {", ".join(self.scores)}.')
        return self.scores[score]

    def _loss(self, score: str) -> np.ndarray:
        return -self.mean(score) if score in LARGE_IS_GOOD else self.mean(score)


@float64()
def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    *,
    key: Any = None,
    folds: int | ArrayLike = 5,
    repeats: int = 1,
    penalties: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> CrossValidation:
    """Fit a model without each fold of its rows in turn, and score it on that fold.

    folds: K random folds, `repeats` times, by `key`; or the labels of one's own, (n,) or
    (repeats, n). strata (n,): labels spread evenly over the folds; groups (n,): labels whose rows
    stay in one fold. penalties: L ridge strengths (L,), vectors (L, p) or matrices (L, p, p); a
    bare strength holds for the intercept too.

    Scores of a fold, means by the weight v f m of its rows: "deviance" d(y, mu); "d2", 1 less its
    ratio to the deviance at the fold's own mean; "mse" (y - mu)^2; "log_score", minus the log
    density at the training scale, per observation; for Binomial "brier", the mse by its name, and
    "auc", the share of (success, failure) pairs that are ranked right, ties half. The others as in
    `fit`. A fit that failed has NaN for its scores.
    """
    rows = {"offset": offset, "var_weights": var_weights, "freq_weights": freq_weights}
    problem = require_valid(X, y, family, rows | {"n_trials": n_trials})
    model = model_of(problem, scale, None, solver, chunk_size)
    labels: np.ndarray
    if np.ndim(folds) == 0:
        require_count("folds", folds, 2)
        require_count("repeats", repeats, 1)
        labels = assign_folds(key, model.freq_weights > 0, folds, repeats, strata, groups)
    else:
        given = np.atleast_2d(np.asarray(folds))
        labels = np.unique(given, return_inverse=True)[1].reshape(len(given), -1)
    if labels.shape[-1] != len(model.freq_weights):
        raise ValueError(f"folds: shape {np.shape(folds)}; allowed are K, (n,) and (repeats, n).")
    grid = None if penalties is None else np.asarray(penalties, np.float64)
    count = int(labels.max()) + 1
    held_out = (labels[:, None, :] == np.arange(count)[:, None]).reshape(-1, labels.shape[-1])
    strengths = 1 if grid is None else len(grid)
    fits = _fit_folds(model, held_out, grid, strengths)
    scores = _score_folds(problem, fits, np.repeat(held_out, strengths, axis=0))
    shape = (len(labels), count, strengths)
    return CrossValidation(
        labels,
        grid,
        fits.params.reshape(*shape, -1),
        fits.status.reshape(shape),
        {name: v.reshape(shape) for name, v in scores.items()},
    )


def assign_folds(
    key: Any,
    present: np.ndarray,
    folds: int,
    repeats: int = 1,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> np.ndarray:
    """Random folds 0 to folds - 1 of the rows (repeats, n), as equal as can be, also by stratum."""
    if strata is not None and groups is not None:
        raise ValueError("strata, groups: give one of them.")
    codes = np.arange(len(present)) if groups is None else label_codes("groups", groups, present)
    units = int(codes.max()) + 1
    first = np.zeros(units, int) if strata is None else label_codes("strata", strata, present)
    gone = np.zeros(units, bool) if groups is not None else ~present
    draws = np.asarray(jax.random.uniform(as_key(key), (repeats, units), jnp.float32))
    labels = np.empty((repeats, units), int)
    for row, draw in zip(labels, draws, strict=True):
        row[np.lexsort((draw, first, gone))] = np.arange(units) % folds
    return labels[:, codes]


def _fit_folds(model: Model, held_out: np.ndarray, grid: np.ndarray | None, strengths: int) -> Fit:
    """Fits to the rows that are not held out, a lane per split and penalty."""
    p, size = model.X.shape[1], max(1, HELD // (strengths * held_out.shape[1]))

    def lanes(part: np.ndarray) -> Model:
        frequency = np.repeat(np.where(part, 0.0, model.freq_weights), strengths, axis=0)
        return dataclasses.replace(model, freq_weights=frequency, penalty=tiled(len(part)))

    def tiled(splits: int) -> np.ndarray | None:
        if grid is None:
            return None
        # As vectors or matrices: as many lanes as columns would make strengths a shared vector.
        whole = grid[:, None] * np.ones(p) if grid.ndim == 1 else grid
        whole = whole[:, :, None] * np.eye(p) if whole.ndim == 2 else whole
        return np.tile(whole, (splits, 1, 1))

    return fit_parts(lanes(held_out[i : i + size]) for i in range(0, len(held_out), size))


def _score_folds(problem: Problem, fits: Fit, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """The scores (B,) of each lane on its own rows."""
    longest = int(held_out.sum(axis=1).max())
    index = np.argsort(~held_out, axis=1, kind="stable")[:, :longest]
    inside = np.take_along_axis(held_out, index, axis=1)
    scores = _score_lanes(problem, fits.params, fits.scale, fits.family, index, inside)
    sound = np.asarray(has_inference(fits))
    return {name: np.where(sound, v, np.nan) for name, v in scores.items()}


@jax.jit
def _score_lanes(
    problem: Problem, params: Array, scale: Array, family: Family, index: Array, inside: Array
) -> dict[str, Array]:
    return jax.lax.map(
        lambda lane: _score(problem, *lane), (params, scale, family, index, inside), batch_size=64
    )


def _score(
    problem: Problem, params: Array, scale: Array, family: Family, index: Array, inside: Array
) -> dict[str, Array]:
    """The scores of one fit on rows `index` (r,), of which those `inside` count."""
    rows = problem.rows
    weight, frequency = (v[index] * inside for v in rows.replicates)
    trials = jnp.ones_like(weight) if rows.n_trials is None else rows.n_trials[index]
    eta, y = rows.eta(problem.design.predictor(params))[index], rows.y[index]
    mu, share = family.link.at(eta)[0].mu, weight * frequency
    share = share / jnp.sum(share)
    null = jnp.sum(share * y)
    deviance = jnp.sum(share * family.unit_deviance(y, mu))
    least = jnp.sum(share * family.unit_deviance(y, null))
    scores = {"deviance": deviance, "d2": 1.0 - deviance / least}
    scores["mse"] = jnp.sum(share * (y - mu) ** 2)
    if family.has_likelihood:
        precision = jnp.where(frequency > 0, weight / trials, 1.0)
        density = family.loglike_obs(y, mu, precision, scale, trials)
        each = jnp.where(frequency > 0, frequency * density, 0.0)
        scores["log_score"] = -jnp.sum(each) / jnp.sum(frequency)
    if family.counts_trials:
        scores["brier"] = scores["mse"]
        scores["auc"] = _auc(eta, share * y, share * (1.0 - y))
    return scores


def _auc(eta: Array, success: Array, failure: Array) -> Array:
    """The share of pairs of a success and a failure in which the success has the larger eta."""
    order = jnp.argsort(eta)
    at, success, failure = eta[order], success[order], failure[order]
    before = jnp.concatenate([jnp.zeros(1, eta.dtype), jnp.cumsum(failure)])
    low, high = (jnp.searchsorted(at, at, side=side) for side in ("left", "right"))
    below = 0.5 * (before[low] + before[high])
    return jnp.sum(success * below) / (jnp.sum(success) * jnp.sum(failure))
