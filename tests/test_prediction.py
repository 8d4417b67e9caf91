"""Predictions, marginal effects and simulation: R's and statsmodels' numbers, and laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import close, data_of, family_of
from conftest import reference
from scipy import stats

from jaxglm import families, links
from jaxglm.fit import fit
from jaxglm.prediction import (
    average_marginal_effects,
    mean_intervals,
    observation_intervals,
    predict,
    simulate,
    simulated_intervals,
)

CASES = {case["name"]: case for case in reference("r_inference")["cases"]}
MARGINS = {case["name"]: case for case in reference("margins")["cases"]}
Z = stats.norm.isf(0.025)


def fitted(case):
    X, y, given = data_of(case)
    return fit(X, y, family_of(case), **given)


def small_model(family=None):
    """Coefficients, a covariance and rows, the last far from the others."""
    params = jnp.array([0.5, -0.3])
    cov = jnp.array([[0.04, -0.01], [-0.01, 0.02]])
    X = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.5]])
    return family or families.Gamma(), params, cov, X


@pytest.mark.parametrize("name", CASES)
def test_predictions_and_their_errors_are_those_of_r(name):
    case = CASES[name]
    found, expected = fitted(case), case["predict"]
    rows = expected["rows"]
    X = np.array(case["X"])[rows]
    offset = None if case["offset"] is None else np.array(case["offset"])[rows]
    got = mean_intervals(found.family, found.params, found.cov_params, X, offset)
    close(got.linear, expected["link"])
    close(got.linear_se, expected["link_se"])
    close(got.mean, expected["response"])
    close(got.se, expected["response_se"])
    close(predict(found.family, found.params, X, offset, "linear"), expected["link"])
    close(predict(found.family, found.params, X, offset), expected["response"])


def test_endpoint_limits_are_those_of_the_linear_predictor():
    for link in (links.Log(), links.Logit(), links.CLogLog(), links.LogC()):
        family, params, cov, X = small_model(families.Quasi(lambda mu: mu, link=link))
        params = params - 2.0
        got = mean_intervals(family, params, cov, X, alpha=0.2, df=7)
        half = stats.t.isf(0.1, 7) * got.linear_se
        ends = np.sort([link.inverse(got.linear - half), link.inverse(got.linear + half)], axis=0)
        close([got.lower, got.upper], ends)
        assert np.all(got.lower < got.mean) and np.all(got.mean < got.upper)


def test_endpoint_limits_stop_at_the_edge_of_the_domain():
    got = mean_intervals(*small_model())
    # 1 / mu reaches down to eta = 0, where the mean is infinite.
    assert np.isfinite(got.upper[0]) and np.all(np.isinf(got.upper[1:]))
    assert np.all(got.lower > 0)
    _, params, cov, X = small_model()
    rate = mean_intervals(families.Poisson(link=links.Identity()), params, cov, X)
    assert np.asarray(rate.lower).tolist()[1:] == [0.0, 0.0] and np.all(np.isfinite(rate.upper))


def test_delta_limits_are_symmetric():
    got = mean_intervals(*small_model(), method="delta")
    close(got.upper - got.mean, Z * got.se)
    close(got.mean - got.lower, Z * got.se)
    numeric = jax.jacfwd(lambda b: predict(*small_model()[:1], b, small_model()[3]))(
        small_model()[1]
    )
    close(got.se, np.sqrt(np.einsum("ij,jk,ik->i", numeric, small_model()[2], numeric)))


def test_variance_is_that_of_the_family():
    family, params, _, X = small_model()
    close(predict(family, params, X, which="var_unscaled"), predict(family, params, X) ** 2)
    with pytest.raises(ValueError, match="which='median'"):
        predict(family, params, X, which="median")


def test_gaussian_observation_intervals_have_students_coverage():
    _, params, cov, X = small_model(families.Gaussian())
    got = observation_intervals(families.Gaussian(), params, cov, X, scale=2.0, df=5)
    variance = 2.0 + np.einsum("ij,jk,ik->i", X, cov, X)
    close(got.upper - got.mean, stats.t.isf(0.025, 5) * np.sqrt(variance))
    weighted = observation_intervals(
        families.Gaussian(), params, cov, X, scale=2.0, var_weights=4.0, df=5
    )
    close((weighted.upper - weighted.mean) ** 2 / stats.t.isf(0.025, 5) ** 2, variance - 1.5)


def test_observation_intervals_stay_in_the_support():
    family, params, cov, X = small_model(families.Poisson())
    got = observation_intervals(family, params - 1.0, cov, X)
    assert np.all(np.asarray(got.lower) == 0.0) and np.all(got.upper > got.mean)


def test_simulated_intervals_are_quantiles_of_the_response():
    family, params, _, X = small_model(families.Poisson())
    key = jax.random.key(11)
    got = simulated_intervals(key, family, params, jnp.zeros((2, 2)), X, n_draws=20000, alpha=0.1)
    law = stats.poisson(np.asarray(predict(family, params, X)))
    # Limits are counts; one of 20000 draws may sit next to the exact quantile.
    assert np.max(np.abs(got.lower - law.ppf(0.05))) <= 1
    assert np.max(np.abs(got.upper - law.ppf(0.95))) <= 1
    assert np.all(np.asarray(got.upper) == np.round(got.upper))


def test_simulated_intervals_count_the_error_of_the_coefficients():
    _, params, cov, X = small_model(families.Gaussian())
    args = (families.Gaussian(), params, 100.0 * cov, X)
    got = simulated_intervals(jax.random.key(3), *args, scale=2.0, n_draws=40000)
    exact = observation_intervals(*args, scale=2.0)
    # The standard error of a 2.5 % quantile from 40000 draws is 1.3 % of a standard deviation.
    close(got.upper - got.mean, exact.upper - exact.mean, rtol=0.04)


@pytest.mark.parametrize("name", MARGINS)
def test_marginal_effects_are_those_of_statsmodels(name):
    case = MARGINS[name]
    params, cov, X = (jnp.array(case[k]) for k in ("params", "cov", "X"))
    for expected in case["margins"]:
        got = average_marginal_effects(
            family_of(case),
            params,
            cov,
            X,
            columns=tuple(expected["columns"]),
            at=expected["at"],
            kind=expected["kind"],
            discrete=tuple(expected["discrete"]),
        )
        close(got.effect, expected["effects"])
        close(got.se, expected["se"])
        close(got.pvalue, expected["pvalues"])
        close(got.upper - got.lower, 2 * Z * got.se)


def test_marginal_effects_follow_weights_and_offset():
    family, params, cov, X = small_model(families.Poisson())
    offset, weights = jnp.array([0.2, -0.1, 0.4]), jnp.array([2.0, 1.0, 0.0])
    got = average_marginal_effects(family, params, cov, X.at[2].set(jnp.nan), offset, weights)
    repeated = jnp.array([0, 0, 1])
    expected = average_marginal_effects(family, params, cov, X[repeated], offset[repeated])
    close(got.effect, expected.effect)
    close(got.se, expected.se)
    # d mu / d x_j = beta_j mu for the log link.
    means = np.asarray(predict(family, params, X[repeated], offset[repeated]))
    close(got.effect, np.asarray(params) * means.mean())


def test_discrete_effects_on_the_log_scale_are_coefficients():
    family, params, cov, X = small_model(families.Poisson())
    got = average_marginal_effects(family, params, cov, X, columns=(1,), kind="eydx", discrete=(1,))
    close(got.effect, params[1:])
    close(got.se, jnp.sqrt(cov[1, 1])[None])
    with pytest.raises(ValueError, match="discrete"):
        average_marginal_effects(family, params, cov, X, kind="eyex", discrete=(1,))


@pytest.mark.parametrize("name", ("columns", "discrete", "counts"))
def test_marginal_effects_of_columns_that_are_not_there_are_refused(name):
    params, cov, X = jnp.zeros(2), jnp.eye(2), jnp.ones((4, 2))
    with pytest.raises(ValueError, match=rf"{name}=\(2,\): allowed are numbers of the 2 columns"):
        average_marginal_effects(families.Poisson(), params, cov, X, **{name: (2,)})


@pytest.mark.parametrize(
    "family, scale, weight, n_trials",
    [
        (families.Gaussian(), 2.0, 4.0, 1),
        (families.Gamma(), 0.3, 2.0, 1),
        (families.Poisson(), 1.0, None, 1),
        (families.Binomial(), 1.0, None, 5),
    ],
    ids=lambda v: type(v).__name__,
)
def test_simulated_moments_are_the_models(family, scale, weight, n_trials):
    mu = jnp.array([0.3, 0.6])
    n = 40000
    y = simulate(jax.random.key(5), family, mu, scale, n_trials, weight, n_draws=n)
    assert y.shape == (n, 2)
    variance = scale * np.asarray(family.variance(mu)) / ((weight or 1.0) * n_trials)
    # Five standard errors of a mean; a variance's is at most 2.5 % here.
    close(np.mean(y, axis=0), mu, rtol=0, atol=5 * np.sqrt(np.max(variance) / n))
    close(np.var(y, axis=0), variance, rtol=0.1)


def test_counts_are_not_simulated_with_var_weights():
    with pytest.raises(ValueError, match="var_weights"):
        simulate(jax.random.key(0), families.Poisson(), jnp.ones(3), var_weights=2.0)
