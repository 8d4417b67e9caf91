"""pandas in, pandas out: index and names of the input are those of the output."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from cases import close, small

import jaxglm
from jaxglm import GLMResults, families, links

DATA = small()
N = len(DATA.count)
INDEX = pd.Index([f"row{i}" for i in range(N)], name="case")
FRAME = pd.DataFrame(DATA.X, columns=["one", "a", "b"], index=INDEX)
NAMES = ["one", "a", "b"]


def fitted(endog, exog, **more):
    return jaxglm.GLM(endog, exog, families.Gamma(links.Log()), **more).fit()


@pytest.fixture(scope="module")
def both():
    """The fit of a frame, and of its arrays."""
    return fitted(pd.Series(DATA.positive, INDEX), FRAME), fitted(DATA.positive, DATA.X)


ROWS = {
    "fittedvalues": lambda r: r.fittedvalues,
    "null": lambda r: r.null,
    "resid_response": lambda r: r.resid_response,
    "resid_deviance": lambda r: r.resid_deviance,
    "resid_working": lambda r: r.resid_working,
    "resid_anscombe": lambda r: r.resid_anscombe,
    "hat": lambda r: r.get_hat_matrix_diag(),
    "predict": lambda r: r.predict(),
    "linear": lambda r: r.predict(which="linear"),
    "mean interval": lambda r: r.get_prediction().upper,
    "new response": lambda r: r.prediction_interval().lower,
    "Cook": lambda r: r.get_influence().cooks_distance,
}
TABLES = {
    "dfbetas": (lambda r: r.get_influence().dfbetas, NAMES),
    "partial": (lambda r: r.resid_partial(), NAMES),
    "left out": (lambda r: r.leave_one_out().params, NAMES),
    "terms": (lambda r: r.predict_terms().value, NAMES[1:]),
}
COEFFICIENTS = ("params", "bse", "tvalues", "pvalues")


def test_arrays_of_pandas_have_no_index():
    model = jaxglm.GLM(pd.array(DATA.count.astype(int), dtype="Int64"), FRAME, "poisson")
    np.testing.assert_array_equal(model.endog, DATA.count)
    assert model.frame.index.equals(INDEX)


@pytest.mark.parametrize("ask", ROWS.values(), ids=ROWS)
def test_what_each_row_has_is_a_series_on_its_index(both, ask):
    labelled, plain = map(ask, both)
    assert isinstance(labelled, pd.Series) and labelled.index.equals(INDEX)
    assert isinstance(plain, np.ndarray)
    close(labelled, plain, rtol=0)


@pytest.mark.parametrize("ask, columns", TABLES.values(), ids=TABLES)
def test_what_each_row_has_for_each_column_is_a_frame(both, ask, columns):
    labelled, plain = map(ask, both)
    assert list(labelled.columns) == columns and labelled.index.equals(INDEX)
    assert isinstance(plain, np.ndarray)
    close(labelled, plain, rtol=0)


def test_coefficients_carry_their_names(both):
    labelled, plain = both
    for name in COEFFICIENTS:
        series = getattr(labelled, name)
        assert isinstance(series, pd.Series) and list(series.index) == NAMES
        assert isinstance(getattr(plain, name), np.ndarray)
        close(series, getattr(plain, name), rtol=0)
    for method in ("wald", "profile"):
        limits = labelled.conf_int(method=method)
        assert list(limits.index) == NAMES and list(limits.columns) == [0, 1]
        close(limits, plain.conf_int(method=method), rtol=0)
    for cov in (labelled.cov_params(), labelled.normalized_cov_params):
        assert list(cov.index) == list(cov.columns) == NAMES
    close(labelled.cov_params(), plain.cov_params(), rtol=0)
    assert str(labelled.summary()).count("\nb ") == 1


def test_limits_of_two_coefficients_are_not_named_by_them():
    results = fitted(DATA.positive, FRAME[["one", "a"]])
    assert list(results.conf_int().columns) == [0, 1]
    assert list(results.cov_params().columns) == ["one", "a"]


def test_new_rows_carry_their_own_index(both):
    labelled, plain = both
    new = FRAME.iloc[[4, 2]].set_axis(["p", "q"])
    for results in both:
        assert list(results.predict(new).index) == ["p", "q"]
        assert list(results.get_prediction(new).mean.index) == ["p", "q"]
        assert isinstance(results.predict(new.to_numpy()), np.ndarray)
    close(labelled.predict(new), plain.mu[[4, 2]])


def test_dropped_rows_are_missing_from_the_index_and_come_back_with_it():
    endog = pd.Series(DATA.positive, INDEX)
    endog.iloc[3] = np.nan
    results = fitted(endog, FRAME, missing="drop")
    assert results.mu.index.equals(INDEX.delete(3))
    whole = results.expand(results.mu)
    assert whole.index.equals(INDEX) and list(np.flatnonzero(whole.isna())) == [3]
    record = results.expand(results.get_influence())
    assert record.dfbetas.index.equals(INDEX) and list(record.dfbetas.columns) == NAMES


def test_rows_of_weight_zero_have_a_label_too():
    weights = np.arange(N) % 3
    results = fitted(DATA.positive, FRAME, freq_weights=weights)
    assert results.mu.index.equals(INDEX) and results.mu.notna().all()


def test_marginal_effects_are_named_by_their_columns(both):
    labelled, plain = (results.get_margeff() for results in both)
    assert list(labelled.effect.index) == ["a", "b"]
    close(labelled.se, plain.se, rtol=0)


def test_one_labelled_argument_is_enough():
    series = fitted(pd.Series(DATA.positive, INDEX), DATA.X)
    assert series.mu.index.equals(INDEX) and list(series.params.index) == ["const", "x1", "x2"]
    frame = fitted(DATA.positive, FRAME)
    assert frame.mu.index.equals(INDEX)


def test_arguments_that_are_not_aligned_are_refused():
    with pytest.raises(ValueError, match="their indexes differ"):
        fitted(pd.Series(DATA.positive, INDEX[::-1]), FRAME)


def test_labels_survive_saving(both, tmp_path):
    labelled = both[0]
    labelled.save(tmp_path / "fit.npz")
    for again in (GLMResults.load(tmp_path / "fit.npz"), pickle.loads(pickle.dumps(labelled))):
        assert again.params.equals(labelled.params) and again.bse.equals(labelled.bse)
        assert again.predict(FRAME).index.equals(INDEX)


def test_influence_and_margins_give_frames(both):
    for results in both:
        found = results.get_influence().summary_frame()
        close(found["cooks_distance"], results.get_influence().cooks_distance, rtol=0)
        close(found.filter(like="dfb_"), results.get_influence().dfbetas, rtol=0)
        margins = results.get_margeff().summary_frame()
        close(margins["se"], results.get_margeff().se, rtol=0)
    influence = both[0].get_influence().summary_frame()
    assert list(influence)[:3] == ["dfb_one", "dfb_a", "dfb_b"] and influence.index.equals(INDEX)
    assert list(both[0].get_margeff().summary_frame().index) == ["a", "b"]


def test_a_summary_frame_has_statsmodels_columns(both):
    for results in both:
        frame = results.get_prediction().summary_frame()
        assert list(frame) == ["mean", "mean_se", "mean_ci_lower", "mean_ci_upper"]
        close(frame["mean_ci_upper"], results.get_prediction().upper, rtol=0)
    assert both[0].get_prediction().summary_frame().index.equals(INDEX)


def test_tests_and_distributions_take_labelled_results(both):
    labelled, plain = both
    close(labelled.wald_test("a = b").statistic, plain.wald_test("x1 = x2").statistic)
    close(labelled.get_distribution().variance, plain.get_distribution().variance)
    close(labelled.with_covariance("HC3").bse, plain.with_covariance("HC3").bse)
    assert dataclasses.asdict(labelled.get_prediction())["mean"].index.equals(INDEX)
