"""Floor 10: what a result says of means, terms and new responses, as methods of `GLMResults`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import arguments, prediction
from jaxglm._labels import by_row, index_of
from jaxglm.frames import Frame, RowSource, float64
from jaxglm.predictive import Predictive


@float64()
def predict(
    results: Any, exog: Any = None, exposure: Any = None, offset: Any = None, which: str = "mean"
) -> np.ndarray:
    """The "mean", "linear" predictor or "var_unscaled" V(mu) (n,), at exog or in the sample.

    A model fitted with an offset or exposure needs one here. Columns of a frame are matched
    by name. Aliased coefficients count as 0.
    """
    X, shift, index = _new_rows(results, exog, exposure, offset)
    params = jnp.asarray(np.nan_to_num(results.beta))
    found = prediction.predict(results.family, params, X, shift, which)
    return by_row(np.asarray(found), index)


@float64()
def get_prediction(
    results: Any,
    exog: Any = None,
    exposure: Any = None,
    offset: Any = None,
    alpha: float = 0.05,
    method: str = "endpoint",
    which: str | None = None,
    average: bool = False,
    agg_weights: Any = None,
) -> prediction.MeanIntervals | prediction.Predictions:
    """Means with standard errors and limits, by "endpoint" (of eta) or "delta".

    which: "mean", "linear" or "var_unscaled" as in `predict`, for `Predictions` of that. average:
    the mean over the rows in their place, of each times its weight where agg_weights (n,) are
    given; in the sample a row counts freq_weights times.
    """
    X, shift, index = _new_rows(results, exog, exposure, offset)
    given = (results.family, *results.estimable(), X, shift)
    alpha, df = arguments.checked_alpha("get_prediction", alpha), results.df_test
    if average:
        shares = _shares(results.model.frame if exog is None else None, agg_weights, len(X))
        found = prediction.average_prediction(*given, which or "mean", shares, alpha, df)
    elif agg_weights is not None:
        raise ValueError("get_prediction(agg_weights=...): these are of an average; average=True.")
    elif which is None:
        found = prediction.mean_intervals(*given, alpha, method, df)
    else:
        found = prediction.statistic_intervals(*given, which, alpha, method, df)
    return by_row(jax.tree.map(np.asarray, found), None if average else index)


def _shares(frame: Frame | None, agg_weights: Any, n: int) -> np.ndarray:
    """The share (n,) of each row in an average."""
    counts = np.ones(n) if frame is None else _counts(frame)
    name = "get_prediction(agg_weights=...)"
    weight = (
        1.0 if agg_weights is None else arguments.new_column(name, agg_weights, n, positive=False)
    )
    return counts * weight / counts.sum()


def _counts(frame: Frame) -> np.ndarray:
    """How often each row (n,) of the data counts."""
    return np.where(frame.present, 1.0 if frame.freq_weights is None else frame.freq_weights, 0.0)


@float64()
def predict_terms(
    results: Any, exog: Any = None, terms: Mapping[str, Any] | None = None
) -> prediction.TermContributions:
    """What each term adds to the linear predictor, with errors, as R's predict(type = "terms").

    terms as in `anova`. Columns are centred at their means in the sample (by freq_weights) where
    the model has a constant; `constant` holds what that takes away.
    """
    results.need_data("predict_terms")
    frame = results.model.frame
    X = frame.exog if exog is None else arguments.new_design(_source(results), results, exog).X
    centre = np.average(frame.exog, axis=0, weights=_counts(frame)) * bool(results.k_constant)
    columns = arguments.varying_terms(results, terms)
    found = prediction.term_contributions(*results.estimable(), X, centre, columns)
    found = jax.tree.map(np.asarray, found)
    return by_row(found, frame.kept_index if exog is None else index_of(exog), found.names)


@float64()
def prediction_interval(
    results: Any,
    exog: Any = None,
    exposure: Any = None,
    offset: Any = None,
    alpha: float = 0.05,
    var_weights: Any = 1.0,
    n_trials: Any = 1.0,
    key: Any = None,
    n_draws: int = 2000,
) -> prediction.ObservationIntervals:
    """Limits for new observations, from their variance and that of the estimated mean.

    With a `key`, from n_draws responses at drawn coefficients, which keep the shape of the law.
    """
    X, shift, index = _new_rows(results, exog, exposure, offset)
    family, scale, (params, cov) = results.family, results.scale, results.estimable()
    alpha = arguments.checked_alpha("prediction_interval", alpha)
    var_weights, n_trials = (
        arguments.new_column(f"prediction_interval({name}=...)", value, X.shape[0])
        for name, value in (("var_weights", var_weights), ("n_trials", n_trials))
    )
    if key is None:
        found = prediction.observation_intervals(
            *(family, params, cov, X, shift, scale, var_weights, n_trials, alpha),
            df=results.df_test,
        )
    else:
        weights = None if family.fixed_scale and np.all(var_weights == 1.0) else var_weights
        found = prediction.simulated_intervals(
            *(key, family, params, cov, X, shift, scale, weights, n_trials, alpha), n_draws
        )
    return by_row(jax.tree.map(np.asarray, found), index)


@float64()
def get_margeff(
    results: Any,
    at: str = "overall",
    method: str = "dydx",
    atexog: Mapping[Any, Any] | None = None,
    dummy: bool = False,
    count: bool = False,
    alpha: float = 0.05,
) -> prediction.Margins:
    """Average marginal effects of all columns but the constant, with delta-method errors.

    at: the mean of the rows' effects ("overall"), or the effect at the rows' "mean" or "median",
    offset included, or at "zero" for all columns that vary, and for the offset. method: "dydx",
    "eyex", "dyex" or "eydx". atexog: values for columns, by name or number, a number or (n,), in
    place of the sample's. dummy: 0/1 columns as the change from 0 to 1; count: columns of other
    whole numbers >= 0 as half the change from x - 1 to x + 1. freq_weights count.
    """
    results.need_data("get_margeff")
    return arguments.marginal_effects(results, at, method, atexog, dummy, count, alpha)


def get_distribution(
    results: Any,
    exog: Any = None,
    exposure: Any = None,
    offset: Any = None,
    var_weights: Any = None,
    n_trials: Any = None,
) -> Predictive:
    """The estimated distribution of responses at exog, or in the sample: cdf, sample, ...

    var_weights and n_trials are 1 at new rows, the model's own in the sample, unless given.
    """
    sampled = exog is None and results.model is not None
    within = sampled and offset is None and exposure is None
    mean = np.asarray(results.mu if within else results.predict(exog, exposure, offset))
    frame = results.model.frame if sampled else None
    family, scale = results.family, results.scale
    return arguments.predictive(family, scale, mean, frame, var_weights, n_trials)


def simulate(results: Any, key: Any, n_draws: int | None = None) -> np.ndarray:
    """Responses drawn at the fitted means, by key or seed: (n,), or (n_draws, n)."""
    results.need_data("simulate")
    return results.get_distribution().sample(key, n_draws)


def _new_rows(results: Any, exog: Any, exposure: Any, offset: Any) -> tuple[np.ndarray, Any, Any]:
    """The design, offset and pandas index to predict at; in the sample where none is given."""
    if exog is not None:
        X, shift = arguments.new_rows(_source(results), results, exog, exposure, offset)
        return X, shift, index_of(exog)
    results.need_data("predict")
    frame = results.model.frame
    if offset is None and exposure is None:
        return frame.exog, frame.offset, frame.kept_index
    shift = arguments.total_offset(offset, exposure, False, len(frame.endog))
    return frame.exog, shift, frame.kept_index


def _source(results: Any) -> RowSource | None:
    return None if results.model is None else results.model.source
