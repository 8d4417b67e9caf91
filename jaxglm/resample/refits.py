"""Floor 11: the bootstrap and the jackknife: refits of a model to weighted or drawn rows."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import label_codes
from jaxglm._types import Array, ArrayLike, record, static
from jaxglm.bootstrap import (
    HELD,
    Model,
    as_key,
    fit_parts,
    model_of,
    require_count,
    start_near,
)
from jaxglm.covariance import estimating_rows
from jaxglm.dispersion import as_dispersion
from jaxglm.draws import Draws, Lanes, draw_frequencies, draw_shares
from jaxglm.families import Family
from jaxglm.fit import Fit, prepare, solve_by_all_cores
from jaxglm.frames import FitWarning, float64
from jaxglm.lanes import has_inference
from jaxglm.model import Problem
from jaxglm.penalties import Penalty
from jaxglm.prediction import simulate
from jaxglm.resample import intervals
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import require_solver, tally

__all__ = ["Bootstrap", "Jackknife", "bootstrap", "jackknife"]

Method = Literal["pairs", "bayesian", "parametric", "wild"]
Kind = Literal["percentile", "basic", "normal", "student", "bca"]


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Bootstrap replicates of a model's coefficients, and what is made of them.

    estimate and estimate_bse (p,), those of the data; params (R, p); status (R,), a `Status`;
    sound (R,), whether a replicate counts: it converged, or only the family's own parameter lies on
    its edge. Others stay in `params`, and are left out of the statistics. `refits`: the model whose
    lanes the replicates are, None of the wild bootstrap.
    """

    method: str
    estimate: np.ndarray
    estimate_bse: np.ndarray
    params: np.ndarray
    status: np.ndarray
    sound: np.ndarray
    refits: Model | None = dataclasses.field(repr=False)
    model: Model = dataclasses.field(repr=False)
    codes: np.ndarray | None = dataclasses.field(repr=False)
    strata: np.ndarray | None = dataclasses.field(repr=False)

    @cached_property
    @float64()
    def bse(self) -> np.ndarray | None:
        """Each replicate's model-based standard errors (R, p), None of the wild bootstrap.

        Few ask for them, so that they are made when asked for, by the same refits once more.
        """
        return None if self.refits is None else np.asarray(self.refits.fit().bse)

    @property
    def replicates(self) -> np.ndarray:
        """params (R, p), NaN in those that do not count."""
        return np.where(self.sound[:, None], self.params, np.nan)

    @property
    def bias(self) -> np.ndarray:
        """The mean of the replicates less the estimate (p,)."""
        return np.nanmean(self.replicates, axis=0) - self.estimate

    @property
    def cov(self) -> np.ndarray:
        """The covariance of the replicates (p, p)."""
        return np.atleast_2d(np.cov(self.params[self.sound], rowvar=False))

    @property
    def se(self) -> np.ndarray:
        """Their standard deviations (p,), the bootstrap's standard errors."""
        return np.sqrt(np.diagonal(self.cov))

    def tally(self) -> dict[str, int]:
        """How many replicates ended with each status."""
        return tally(self.status)

    @float64()
    def interval(
        self, kind: Kind = "bca", alpha: float = 0.05, influence: ArrayLike | None = None
    ) -> np.ndarray:
        """Limits (p, 2) at level 1 - alpha, as R's boot.ci has them on the same replicates.

        kind: "percentile", "basic", "normal", "student" (each replicate by its own model-based
        standard error) or "bca". BCa's acceleration is that of the jackknife over what was drawn
        (rows or clusters), one batch of refits, or of `influence` (units, p). Source: Davison &
        Hinkley (1997), chapter 5.
        """
        replicates = self.replicates
        if kind == "percentile":
            return intervals.percentile(replicates, alpha)
        if kind == "basic":
            return intervals.basic(self.estimate, replicates, alpha)
        if kind == "normal":
            return intervals.normal(self.estimate, replicates, alpha)
        if kind == "student":
            if self.bse is None:
                raise ValueError('kind="student": the wild bootstrap has no standard errors.')
            return intervals.student(self.estimate, self.estimate_bse, replicates, self.bse, alpha)
        if kind == "bca":
            given = influence is not None
            pull, counts = (np.asarray(influence), None) if given else self.influence()
            return intervals.bca(self.estimate, replicates, pull, alpha, counts)
        raise ValueError(
            f'kind="{kind}": allowed are "percentile", "basic", "normal", "student", "bca".'
        )

    @float64()
    def influence(self) -> tuple[np.ndarray, np.ndarray]:
        """The jackknife's empirical influence (units, p) of what was drawn, and its counts."""
        if self.method == "parametric":
            raise ValueError(
                'kind="bca": a parametric bootstrap has no rows to leave out; give influence.'
            )
        jack = _leave_out(self.model, self.codes)
        if self.strata is None:
            return jack.influence, jack.counts
        # Of a stratum's distribution: by its own number of observations.
        member = np.arange(len(self.strata)) if self.codes is None else self.codes
        of_unit = np.array([self.strata[np.argmax(member == unit)] for unit in jack.units])
        sizes = np.bincount(of_unit, jack.counts)[of_unit]
        return (sizes - 1.0)[:, None] * (self.estimate - jack.params), jack.counts


@dataclasses.dataclass(frozen=True)
class Jackknife:
    """Refits without one observation, or without one group.

    estimate (p,); params (units, p) and status (units,) of the refits, NaN where one failed;
    units (units,), the numbers of the rows, or of the groups in the order of their labels; counts
    (units,), the observations that a unit stands for: freq_weights, or 1 for a group.
    """

    units: np.ndarray
    estimate: np.ndarray
    params: np.ndarray
    status: np.ndarray
    counts: np.ndarray

    @property
    def _total(self) -> float:
        return float(np.sum(self.counts))

    @property
    def _mean(self) -> np.ndarray:
        kept = np.isfinite(self.params)
        return np.nansum(self.counts[:, None] * self.params, axis=0) / (self.counts @ kept)

    @property
    def bias(self) -> np.ndarray:
        """(N - 1) (mean of the refits - estimate) (p,), N observations or groups."""
        return (self._total - 1.0) * (self._mean - self.estimate)

    @property
    def cov(self) -> np.ndarray:
        """(N - 1)/N times the sum of squares of the refits about their mean (p, p)."""
        apart = np.nan_to_num(self.params - self._mean)
        total = self._total
        return (total - 1.0) / total * (apart.T * self.counts) @ apart

    @property
    def se(self) -> np.ndarray:
        """The jackknife's standard errors (p,)."""
        return np.sqrt(np.diagonal(self.cov))

    @property
    def influence(self) -> np.ndarray:
        """The empirical influence (N - 1) (estimate - refit) (units, p), of one observation."""
        return (self._total - 1.0) * (self.estimate - self.params)

    def tally(self) -> dict[str, int]:
        """How many refits ended with each status."""
        return tally(self.status)


@float64()
def bootstrap(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    *,
    key: Any,
    reps: int = 1000,
    method: Method = "pairs",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    frequencies: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> Bootstrap:
    """Refit a model to `reps` bootstrap samples of its data, as one batch over a shared design.

    method: "pairs", rows drawn with replacement; "bayesian", Dirichlet weights instead of counts
    (Rubin 1981); "parametric", responses drawn from the fitted model at its rows; "wild", each
    row's score times a random sign and one step from the estimate (Kline & Santos 2012), which for
    Gaussian with the identity link is the wild bootstrap of residuals (Wu 1986; Liu 1988).

    key: of jax.random, or a seed. clusters (n,): labels of what is drawn, or signed, as a whole.
    strata (n,): labels within which rows or clusters are drawn. frequencies (reps, n): draws of
    one's own for "pairs". The others as in `fit`. A row of freq_weights f is f observations, drawn
    one by one, so "parametric" has no use for them.

    Replicates that fail keep their status; a FitWarning says how many. A logistic sample that
    separates has no finite estimate: without it the distribution is cut off, which a penalty
    avoids. Raises ValueError for invalid data and for options that do not go together.
    """
    require_count("reps", reps, 2)
    given = {"offset": offset, "var_weights": var_weights, "freq_weights": freq_weights}
    problem = require_valid(X, y, family, given | {"n_trials": n_trials, "penalty": penalty})
    model = model_of(problem, scale, None, solver, chunk_size)
    present = model.freq_weights > 0
    codes = None if clusters is None else label_codes("clusters", clusters, present)
    blocks = None if strata is None else label_codes("strata", strata, present)
    if method not in _METHODS or (blocks is not None and method not in ("pairs", "bayesian")):
        allowed = ", ".join(_METHODS) if blocks is None else "pairs, bayesian (with strata)"
        raise ValueError(f'method="{method}": allowed are {allowed}.')
    if frequencies is not None and (method, np.shape(frequencies)) != (
        "pairs",
        (reps, len(present)),
    ):
        raise ValueError(
            f"frequencies: shape {np.shape(frequencies)}; allowed is (reps, n) with pairs."
        )
    if method in _WEIGHTS:
        draws = frequencies
        if draws is None:
            draws = _WEIGHTS[method](as_key(key), model.freq_weights, reps, codes, blocks)
        found = _refitted(dataclasses.replace(model, freq_weights=draws), _own_fit(problem, model))
    elif method == "wild":
        found = _signed(problem, model, as_key(key), reps, codes)
    else:
        found = _simulated(problem, model, key, reps, codes)
    result = Bootstrap(method, *found, model, codes, blocks)
    warn_of_failures(result.sound)
    return result


def require_valid(X: ArrayLike, y: ArrayLike, family: Family, given: dict[str, Any]) -> Problem:
    """The problem; raises where its data are invalid."""
    problem, invalid = prepare(X, y, family, **given)
    if invalid:
        raise ValueError(
            f"X, y: invalid data for {type(problem.family).__name__}: something is not finite, "
            "a response is outside the support, or a weight is negative."
        )
    return problem


def warn_of_failures(sound: np.ndarray) -> None:
    """Say once how many refits are left out."""
    failed = int(np.sum(~sound))
    if failed:
        text = f"{failed} of {sound.size} refits did not converge and are left out of statistics."
        warnings.warn(text, FitWarning, stacklevel=4)


# estimate, estimate_bse, params, status, sound, refits
_Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, Any]

_WEIGHTS: dict[str, Callable[..., Draws]] = {"pairs": draw_frequencies, "bayesian": draw_shares}
_METHODS = (*_WEIGHTS, "parametric", "wild")


def _refitted(model: Model, own: Fit) -> _Found:
    """The lanes of a model whose data have `own` as their fit."""
    model = dataclasses.replace(model, start=start_near(own))
    fits = model.fit(cov=False)
    sound = np.asarray(has_inference(fits))
    return own.params, np.asarray(own.bse), fits.params, fits.status, sound, model


def _own_fit(problem: Problem, model: Model) -> Fit:
    """The fit to the data themselves."""
    dispersion = as_dispersion(model.scale, problem.design.dtype)
    solver = require_solver(model.solver)
    fitted = solve_by_all_cores(problem, jnp.zeros((), bool), None, dispersion, solver)
    return jax.tree.map(np.asarray, fitted)


@record
class _Responses(Draws):
    """Responses of a law: a family at means (n,)."""

    lanes: Lanes
    family: Family
    mu: Array
    scale: Array
    n_trials: Array | None
    var_weights: Array | None
    n: int = static()

    def lane(self) -> Array:
        key = self.lanes.key
        return simulate(key, self.family, self.mu, self.scale, self.n_trials, self.var_weights)


def _simulated(
    problem: Problem, model: Model, key: Any, reps: int, codes: np.ndarray | None
) -> _Found:
    """Refits to responses drawn from the fitted model."""
    if codes is not None or np.any(model.freq_weights > 1):
        raise ValueError('method="parametric": rows are independent; no clusters or freq_weights.')
    own = _own_fit(problem, model)
    eta = problem.rows.eta(problem.design.predictor(jnp.asarray(own.params)))
    drawn = _Responses(
        lanes=Lanes.of(as_key(key), reps),
        family=own.family,
        mu=own.family.link.at(eta)[0].mu,
        scale=own.scale,
        n_trials=model.n_trials,
        var_weights=model.var_weights,
        n=eta.size,
    )
    family = model.family
    if family.counts_trials and model.n_trials is None:
        family = dataclasses.replace(family, binary=True)  # type: ignore[call-arg]
    return _refitted(dataclasses.replace(model, y=drawn, family=family), own)


def _signed(
    problem: Problem, model: Model, key: Any, reps: int, codes: np.ndarray | None
) -> _Found:
    """One step from the estimate by scores with random signs."""
    own = _own_fit(problem, model)
    problem = dataclasses.replace(problem, family=own.family)
    scores = np.asarray(estimating_rows(problem, jnp.asarray(own.params)))
    frequency = model.freq_weights
    if codes is not None:
        whole = np.zeros((codes.max() + 1, scores.shape[1]))
        np.add.at(whole, codes, frequency[:, None] * scores)
        scores, frequency = whole, np.ones(len(whole))
    # The sum of f signs is 2 Binomial(f, 1/2) - f.
    heads = jax.random.binomial(key, frequency, 0.5, (reps, len(frequency)))
    params = own.params + (2.0 * np.asarray(heads) - frequency) @ scores @ own.cov_unscaled
    status = np.full(reps, own.status)
    sound = np.full(reps, bool(has_inference(own)))
    return own.params, np.asarray(own.bse), params, status, sound, None


@float64()
def jackknife(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    *,
    groups: ArrayLike | int | None = None,
    key: Any = None,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> Jackknife:
    """Refit a model without each observation in turn, or without each group.

    groups: None for single observations (one of f, in a row of freq_weights f); labels (n,); or
    how many random groups of equal size to make by `key`, the delete-a-group jackknife (Kott
    2001). The others as in `fit`. One batch over a shared design. Source: Efron & Tibshirani
    (1993), chapter 11.
    """
    given = {"offset": offset, "var_weights": var_weights, "freq_weights": freq_weights}
    problem = require_valid(X, y, family, given | {"n_trials": n_trials, "penalty": penalty})
    model = model_of(problem, scale, None, solver, chunk_size)
    n = len(model.freq_weights)
    if groups is not None and np.ndim(groups) == 0:
        require_count("groups", groups, 2)
        groups = np.asarray(jax.random.permutation(as_key(key), np.arange(n) % int(groups)))
    codes = None if groups is None else label_codes("groups", groups, model.freq_weights > 0)
    result = _leave_out(model, codes)
    warn_of_failures(np.isfinite(result.params).all(axis=1))
    return result


def _leave_out(model: Model, codes: np.ndarray | None) -> Jackknife:
    """The jackknife over rows, or over groups of rows; the first lane is the data's own fit."""
    frequency = model.freq_weights
    if codes is None:
        units = np.flatnonzero(frequency > 0)
        counts = frequency[units]
    else:
        units = np.unique(codes[frequency > 0])
        counts = np.ones(len(units))
    member = np.arange(len(frequency)) if codes is None else codes
    less = np.minimum(frequency, 1.0) if codes is None else frequency

    def lanes(which: np.ndarray) -> Model:
        drop = (member == which[:, None]) * less
        return dataclasses.replace(model, freq_weights=frequency - drop)

    held = max(1, HELD // len(frequency))
    # -1 is the unit of no row.
    every = np.concatenate([[-1], units])
    fits = fit_parts(lanes(every[i : i + held]) for i in range(0, len(every), held))
    sound = np.asarray(has_inference(fits))
    params = np.where(sound[1:, None], fits.params[1:], np.nan)
    return Jackknife(units, fits.params[0], params, fits.status[1:], counts)
