"""Fifteen answers that statsmodels 0.15.0 gets wrong, by R's numbers or by law.

Each test names what goes wrong there; statsmodels itself is not asked.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
from cases import data_of, family_of
from conftest import reference

import jaxglm
from jaxglm import FitWarning, Status, families

pytestmark = pytest.mark.filterwarnings("ignore::jaxglm.frames.DomainWarning")
GLM_CASES = {case["name"]: case for case in reference("r_glm")["cases"]}
SANDWICH = {case["name"]: case for case in reference("r_sandwich")["cases"]}


def close(got, wanted, rtol=1e-10, atol=0.0):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=rtol, atol=atol)


def model_of(case):
    X, y, given = data_of(case)
    return jaxglm.GLM(y, X, family_of(case), **given)


@cache
def fitted(name):
    return model_of(GLM_CASES[name]).fit()


def test_1_hc1_hc2_and_hc3_are_not_hc0():
    case = SANDWICH["gamma log"]
    results = model_of(case).fit()
    kinds = ("HC0", "HC1", "HC2", "HC3")
    errors = [results.with_covariance(kind).bse for kind in kinds]
    for kind, bse in zip(kinds, errors, strict=True):
        close(bse, np.sqrt(np.diagonal(case["hc"][kind])), rtol=1e-8)
    gaps = [np.abs(a - b).min() for a, b in zip(errors[:-1], errors[1:], strict=True)]
    assert min(gaps) > 1e-4


def test_2_pearsons_scale_of_counts_includes_the_trials():
    case = GLM_CASES["binomial logit counts"]
    results = model_of(case).fit(scale="X2")
    close(results.scale, case["pearson_chi2"] / case["df_residual"])
    close(results.scale, results.pearson_chi2 / results.df_resid)


@pytest.mark.parametrize("observed", (False, True))
def test_3_the_information_is_positive(observed):
    results = fitted("gamma log")
    found = results.model.information(results.params, observed=observed)
    assert np.linalg.eigvalsh(found)[0] > 0
    close(results.model.hessian(results.params, observed=observed), -found)
    if not observed:
        close(np.linalg.inv(found), results.cov_params(), rtol=1e-9)


def test_4_working_residuals_of_counts_are_those_of_r():
    case = GLM_CASES["binomial logit counts"]
    close(fitted("binomial logit counts").resid_working, case["resid_working"], rtol=1e-9)


def test_5_the_null_model_has_its_own_scale():
    results = fitted("mtcars gaussian")
    alone = jaxglm.GLM(results.model.endog, np.ones((32, 1))).fit()
    close(results.llnull, alone.llf)
    # For a Gaussian with identity link Cox and Snell's R2 is the usual one.
    close(results.pseudo_rsquared("cs"), 1 - results.deviance / results.null_deviance)


def test_6_pseudo_r2_counts_the_frequencies():
    X, y, _ = data_of(GLM_CASES["poisson log"])
    frequency = 1 + np.arange(20) % 3
    repeat = np.repeat(np.arange(20), frequency)
    once = jaxglm.GLM(y, X, families.Poisson(), freq_weights=frequency).fit()
    often = jaxglm.GLM(y[repeat], X[repeat], families.Poisson()).fit()
    close(once.pseudo_rsquared("cs"), often.pseudo_rsquared("cs"))
    gain = 2 * (once.llnull - once.llf)
    assert abs(once.pseudo_rsquared("cs") + np.expm1(gain / 20)) > 0.01


def test_7_a_family_used_twice_remembers_nothing():
    family = families.Binomial()
    X, y, _ = data_of(GLM_CASES["binomial logit 0/1"])
    bernoulli = jaxglm.GLM(y, X, family).fit()
    before = bernoulli.deviance, bernoulli.llf, bernoulli.resid_deviance
    many, shares, given = data_of(GLM_CASES["binomial logit counts"])
    jaxglm.GLM(shares, many, family, **given).fit()
    again = jaxglm.GLM(y, X, family).fit()
    for results in (bernoulli, again):
        for got, was in zip(
            (results.deviance, results.llf, results.resid_deviance), before, strict=True
        ):
            np.testing.assert_array_equal(got, was)
    with pytest.raises(dataclasses.FrozenInstanceError):
        family.link = None


def test_8_ridge_solves_its_own_equations():
    X, y, _ = data_of(GLM_CASES["mtcars gaussian"])
    results = jaxglm.GLM(y, X).fit(penalty=3.0)
    close(results.params, np.linalg.solve(X.T @ X + 3.0 * np.eye(3), X.T @ y), rtol=1e-9)


@pytest.mark.parametrize("name", ("gamma log", "binomial cauchit 0/1"))
def test_9_influence_takes_the_expected_information(name):
    found = fitted(name).get_influence()
    close(found.hat_diagonal, GLM_CASES[name]["hatvalues"], rtol=1e-9)
    close(found.cooks_distance, GLM_CASES[name]["cooks_distance"], rtol=1e-7)


def test_10_a_fit_cut_short_says_so():
    with pytest.warns(FitWarning, match="max_steps") as caught:
        results = model_of(GLM_CASES["poisson log"]).fit(maxiter=1)
    assert len(caught) == 1 and not results.converged


def test_10_means_of_an_identity_link_stay_positive():
    case, results = GLM_CASES["poisson identity"], fitted("poisson identity")
    assert results.deviance >= 0 and results.mu.min() > 0
    close(results.params, case["coefficients"])


def test_11_dependent_columns_take_no_more_steps():
    X, y, _ = data_of(GLM_CASES["poisson log"])
    wide = np.column_stack([X, X[:, 1] - 2 * X[:, 2]])
    with pytest.warns(FitWarning, match="aliased: x3"):
        results = jaxglm.GLM(y, wide, families.Poisson()).fit()
    plain = fitted("poisson log")
    assert results.converged and results.n_iter <= plain.n_iter + 1
    close(results.params[:3], plain.params)
    close(results.bse[:3], plain.bse)


@pytest.mark.parametrize(
    ("family", "wrong"),
    (
        (families.Binomial(), 2.0),
        (families.Gamma(), 0.0),
        (families.Poisson(), -1.0),
        (families.InverseGaussian(), 0.0),
    ),
)
def test_12_impossible_responses_are_refused(family, wrong):
    X, _, _ = data_of(GLM_CASES["poisson log"])
    y = np.where(np.arange(20) == 17, wrong, 1.0)
    with pytest.raises(ValueError, match=r"GLM\(endog=...\): 1 values outside .*first at row 17"):
        jaxglm.GLM(y, X, family)


@pytest.mark.parametrize("alpha", (1e-8, 1e-12, 1e-15))
def test_13_the_likelihood_tends_to_poissons(alpha):
    X, y, _ = data_of(GLM_CASES["poisson log"])
    poisson = fitted("poisson log")
    found = jaxglm.GLM(y, X, families.NegativeBinomial(alpha)).loglike(poisson.params)
    # d loglike / d alpha is half the sum of (y - mu)^2 - y.
    slope = 0.5 * np.sum((y - poisson.mu) ** 2 - y)
    close(found, poisson.llf + alpha * slope, rtol=1e-13)


def test_14_results_without_data_keep_their_numbers():
    results = fitted("gamma log")
    bare = results.remove_data()
    assert bare.model is None
    assert str(bare.summary()) == str(results.summary())
    assert (bare.llf, bare.aic, bare.deviance) == (results.llf, results.aic, results.deviance)


def test_15_rows_of_weight_zero_do_not_count():
    X, y, given = data_of(GLM_CASES["gamma log weighted"])
    family = family_of(GLM_CASES["gamma log weighted"])
    weights = np.where(np.arange(20) < 3, 0.0, given["var_weights"])
    zero = jaxglm.GLM(y, X, family, var_weights=weights, offset=given["offset"]).fit()
    left = {"var_weights": weights[3:], "offset": given["offset"][3:]}
    deleted = jaxglm.GLM(y[3:], X[3:], family, **left).fit()
    assert zero.df_resid == deleted.df_resid == 14
    close(zero.bse, deleted.bse)
    close(zero.llf, deleted.llf)
    assert zero.converged and np.isfinite(zero.llf)


def test_there_are_fifteen():
    names = [name for name in globals() if name.startswith("test_") and name[5].isdigit()]
    assert {int(name.split("_")[1]) for name in names} == set(range(1, 16))
    assert all(fitted(n).status is Status.converged for n in ("gamma log", "poisson identity"))
