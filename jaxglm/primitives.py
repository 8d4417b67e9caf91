"""Floor 10: the likelihood at any coefficients and its derivatives, as methods of `GLM`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm.arguments import checked_means, checked_params, extra_columns, predictive
from jaxglm.families import Tweedie
from jaxglm.fit import is_concentrated
from jaxglm.frames import float64
from jaxglm.inference import ScoreTest, score_test_at
from jaxglm.linalg import pivoted_qr
from jaxglm.model import (
    Problem,
    Rows,
    deviance,
    eta_score,
    expected_weight,
    observed_weight,
    pearson,
    penalised_score,
)
from jaxglm.model import loglike as loglike_at
from jaxglm.powers import profile_power
from jaxglm.predictive import Predictive


def get_distribution(
    model: Any,
    params: Any,
    scale: float | None = None,
    exog: Any = None,
    exposure: Any = None,
    offset: Any = None,
    var_weights: Any = None,
    n_trials: Any = None,
) -> Predictive:
    """The distribution of responses at params; scale as in `loglike`, the rest as in results'.

    The scale of Binomial, Poisson and NegativeBinomial is 1.
    """
    mean, scale = model.predict(params, exog, exposure, offset), _scale_at(model, params, scale)
    frame = model.frame if exog is None else None
    return predictive(model.family, scale, mean, frame, var_weights, n_trials)


@float64()
def loglike(model: Any, params: Any, scale: float | None = None) -> float:
    """The log-likelihood at params; scale None: 1 where it is known, else Pearson's there.

    For Gaussian with identity link None is deviance / n, as for `llf`. In this and the methods
    below NaN in params, an aliased coefficient, counts as 0.
    """
    problem, beta = _at(model, params)
    found = deviance(model.family, problem.rows, _eta(problem, beta))
    if scale is None and is_concentrated(model.family):
        scale = float(found / problem.rows.total_frequency)
    phi = jnp.asarray(_scale_at(model, params, scale))
    return float(loglike_at(model.family, problem.rows, phi, found))


@float64()
def loglike_mu(model: Any, mu: Any, scale: float = 1.0) -> float:
    """The log-likelihood at means mu (n,); NaN where one is no mean of the family."""
    rows, eta = _at_means(model, mu, "GLM.loglike_mu(mu=...)")
    found = deviance(model.family, rows, eta)
    return float(loglike_at(model.family, rows, jnp.asarray(scale), found))


@float64()
def score(model: Any, params: Any, scale: float | None = None) -> np.ndarray:
    """The derivative (p,) of the log-likelihood in params; scale as in `loglike`."""
    return np.asarray(penalised_score(*_at(model, params))) / _scale_at(model, params, scale)


@float64()
def score_factor(model: Any, params: Any, scale: float | None = None) -> np.ndarray:
    """The derivatives (n,) in the rows' linear predictors: score = exog' score_factor."""
    problem, beta = _at(model, params)
    rows = problem.rows
    s = rows.weigh(eta_score(model.family, rows.y, _eta(problem, beta)))
    return np.asarray(s)[: model.nobs] / _scale_at(model, params, scale)


def score_obs(model: Any, params: Any, scale: float | None = None) -> np.ndarray:
    """The rows (n, p) whose sum is `score`."""
    return model.score_factor(params, scale)[:, None] * model.exog


@float64()
def hessian_factor(
    model: Any, params: Any, scale: float | None = None, observed: bool = True
) -> np.ndarray:
    """The weights w (n,), positive where concave: information = exog' diag(w) exog."""
    problem, beta = _at(model, params)
    eta, rows = _eta(problem, beta), problem.rows
    if observed:
        w = rows.weigh(observed_weight(model.family, rows.y, eta))
    else:
        w = rows.weigh(expected_weight(model.family, eta))
    return np.asarray(w)[: model.nobs] / _scale_at(model, params, scale)


def information(
    model: Any, params: Any, scale: float | None = None, observed: bool = False
) -> np.ndarray:
    """The Fisher information (p, p), positive: expected, or observed (minus the Hessian)."""
    return model.exog.T @ (model.hessian_factor(params, scale, observed)[:, None] * model.exog)


def hessian(
    model: Any, params: Any, scale: float | None = None, observed: bool = True
) -> np.ndarray:
    """The second derivative (p, p) of the log-likelihood, or its expectation."""
    return -model.information(params, scale, observed)


@float64()
def estimate_scale(model: Any, mu: Any) -> float:
    """Pearson's chi-squared over n - rank at means mu (n,), n_trials included."""
    rows, eta = _at_means(model, mu, "GLM.estimate_scale(mu=...)")
    left = rows.total_frequency - pivoted_qr(model.exog[model.frame.present]).kept.size
    return float(pearson(model.family, rows, eta) / left)


@float64()
def estimate_tweedie_power(model: Any, mu: Any, low: float = 1.01, high: float = 1.99) -> float:
    """The var_power p in [low, high] of greatest likelihood at means mu (n,).

    The dispersion is maximized over beside p; weights count, the means stay,
    and an end is returned where the likelihood rises beyond it. At its own means this is the
    estimate of `Tweedie(var_power=None)`, which finds power and means together. statsmodels' method
    of this name solves a moment equation of Pearson's residuals instead, which is far less
    precise.

    Raises for another family than Tweedie, and for ends outside (1, 2): at other powers there is no
    density. Source: Dunn & Smyth (2005), section 5.
    """
    if type(model.family) is not Tweedie:
        raise ValueError(
            f"GLM.estimate_tweedie_power: the family is {type(model.family).__name__}, allowed is "
            "Tweedie."
        )
    if not 1.0 < low < high < 2.0:
        raise ValueError(
            f"GLM.estimate_tweedie_power(low={low}, high={high}): allowed are 1 < low < high < 2."
        )
    problem = model.problem_on(np.ones((model.nobs, 1)))
    rows, eta = _at_means(model, mu, "GLM.estimate_tweedie_power(mu=...)")
    return profile_power(dataclasses.replace(problem, rows=rows), eta, low, high)


@float64()
def score_test(
    model: Any,
    params_constrained: Any,
    k_constraints: int | None = None,
    exog_extra: Any = None,
    observed: bool = False,
) -> ScoreTest:
    """Rao's test that constraints hold, from coefficients (p,) fitted under them.

    Of `k_constraints` equations; or, with exog_extra (n, k), that these columns add nothing,
    params_constrained being those of exog. Expected information, as in R, or the `observed`, as
    statsmodels has by default; the scale is 1 where it is known, else Pearson's at
    params_constrained.
    """
    if (k_constraints is None) == (exog_extra is None):
        raise ValueError("GLM.score_test: pass one of k_constraints=... and exog_extra=... .")
    problem, beta = _at(model, params_constrained)
    if exog_extra is not None:
        extra = extra_columns(exog_extra, model.nobs)
        k_constraints = extra.shape[1]
        problem = model.problem_on(np.column_stack([model.exog, extra]))
        beta = jnp.append(beta, jnp.zeros(k_constraints))
    return jax.tree.map(np.asarray, score_test_at(problem, beta, k_constraints, observed=observed))


def _at(model: Any, params: Any) -> tuple[Problem, jax.Array]:
    """The problem in the user's columns, and coefficients of it."""
    if model.family.is_estimated:
        raise ValueError(
            "GLM: the family has a parameter to estimate; give it a value, as in "
            "GLM(..., family=results.family)."
        )
    beta = checked_params(params, model.exog.shape[1], "GLM: params")
    return model.problem_on(model.exog), jnp.asarray(beta)


def _at_means(model: Any, mu: Any, what: str) -> tuple[Rows, jax.Array]:
    """The rows without an offset, and the linear predictors of these means."""
    mu = checked_means(mu, model.nobs, what)
    rows = model.problem_on(np.ones((model.nobs, 1))).rows
    filled = np.append(mu, np.full(rows.y.shape[0] - model.nobs, mu[0]))
    rows = dataclasses.replace(rows, offset=None)
    return rows, rows.eta(model.family.link.g(jnp.asarray(filled)))


def _eta(problem: Problem, beta: jax.Array) -> jax.Array:
    return problem.rows.eta(problem.design.predictor(beta))


def _scale_at(model: Any, params: Any, scale: float | None) -> float:
    if scale is not None:
        return float(scale)
    if model.family.fixed_scale:
        return 1.0
    return model.estimate_scale(model.predict(params))
