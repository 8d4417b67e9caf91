"""The bundled tables are the published ones: their totals, and a known fit solves the score."""

import numpy as np
import pytest
from conftest import reference

from jaxglm import datasets

TABLES = ("scotland", "ships", "quine", "warpbreaks", "budworm")


def expit(eta):
    return 1 / (1 + np.exp(-eta))


def facts_of(name):
    file = "datasets_scotland" if name == "scotland" else "datasets"
    return reference(file)[name]


@pytest.mark.parametrize("name", TABLES)
def test_totals_are_those_of_the_source(name):
    data, facts = getattr(datasets, name)(), facts_of(name)
    assert data.name == facts["name"]
    assert data.exog_names == tuple(facts["exog"]["names"])
    assert data.exog.shape == (facts["n"], len(data.exog_names))
    np.testing.assert_allclose(data.endog.sum(), facts["endog_sum"], rtol=1e-13)
    np.testing.assert_allclose((data.endog**2).sum(), facts["endog_squares"], rtol=1e-13)
    np.testing.assert_allclose(data.exog.sum(axis=0), facts["exog"]["sums"], rtol=1e-13)
    np.testing.assert_allclose((data.exog**2).sum(axis=0), facts["exog"]["squares"], rtol=1e-13)


@pytest.mark.parametrize("name", ("ships", "quine", "warpbreaks"))
def test_poisson_score_vanishes_at_the_coefficients_of_r(name):
    data, facts = getattr(datasets, name)().with_constant(), facts_of(name)
    months = 1.0 if data.exposure is None else data.exposure
    mu = months * np.exp(data.exog @ np.array(facts["coef"]))
    np.testing.assert_allclose(data.exog.T @ (data.endog - mu), 0, atol=1e-9 * data.endog.sum())


def test_binomial_score_vanishes_at_the_coefficients_of_r():
    data, facts = datasets.budworm().with_constant(), facts_of("budworm")
    residual = data.n_trials * (data.endog - expit(data.exog @ np.array(facts["coef"])))
    assert data.n_trials.sum() == facts["n_trials_sum"]
    np.testing.assert_allclose(data.exog.T @ residual, 0, atol=1e-10)


def test_gamma_score_vanishes_at_the_coefficients_of_statsmodels():
    data, facts = datasets.scotland().with_constant(), facts_of("scotland")
    mu = np.exp(data.exog @ np.array(facts["coef"]))
    score = data.exog.T @ (data.endog / mu - 1)
    np.testing.assert_allclose(score / np.abs(data.exog).sum(axis=0), 0, atol=1e-10)


def test_ships_leaves_out_the_cells_without_service():
    data = datasets.ships()
    assert data.exposure.min() > 0
    assert data.exposure.sum() == facts_of("ships")["exposure_sum"]


def test_challenger_gives_the_published_fit_to_its_printed_digits():
    data, facts = datasets.challenger().with_constant(), facts_of("challenger")
    assert len(data.endog) == facts["n"]
    assert data.columns["damaged"].sum() == facts["damaged"]
    assert data.n_trials.sum() == facts["n_trials_sum"]
    beta = np.array(facts["published_coef"])
    for _ in range(5):
        mu = expit(data.exog @ beta)
        information = (data.exog.T * (data.n_trials * mu * (1 - mu))) @ data.exog
        beta = beta + np.linalg.solve(
            information, data.exog.T @ (data.n_trials * (data.endog - mu))
        )
    assert [round(beta[0], 3), round(beta[1], 4)] == facts["published_coef"]


@pytest.mark.parametrize("name", (*TABLES, "challenger"))
def test_a_data_set_is_complete_and_says_where_it_is_from(name):
    data = getattr(datasets, name)()
    rows = len(data.endog)
    assert data.endog.dtype == data.exog.dtype == np.float64
    assert np.isfinite(data.endog).all() and np.isfinite(data.exog).all()
    assert all(len(column) == rows for column in data.columns.values())
    assert np.linalg.matrix_rank(data.with_constant().exog) == data.exog.shape[1] + 1
    assert data.source and data.licence


def test_with_constant_puts_the_constant_first_and_leaves_the_original_alone():
    data = datasets.quine()
    widened = data.with_constant()
    assert widened.exog_names == ("const", *data.exog_names)
    np.testing.assert_array_equal(widened.exog[:, 0], 1.0)
    np.testing.assert_array_equal(widened.exog[:, 1:], data.exog)
    assert data.exog.shape[1] == len(data.exog_names)
