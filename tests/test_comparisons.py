"""Tables of terms, score tests and marginal effects of a result: car's and statsmodels' numbers."""

from functools import cache

import numpy as np
import pytest
from cases import close, data_of, family_of, small
from conftest import reference
from scipy import stats

import jaxglm
from jaxglm import families, links

TABLES = {case["name"]: case for case in reference("r_anova")["cases"]}
SEARCHES = {case["name"]: case for case in reference("r_step")["cases"]}
STATSMODELS = reference("statsmodels")
SCORES = {case["family"]: case for case in STATSMODELS["score_tests"]}
PREDICTIONS = {case["family"]: case for case in STATSMODELS["predictions"]}
MARGINS = {case["family"]: case for case in STATSMODELS["margins"]}
DATA = small()


@cache
def fitted(group, name):
    case = {"tables": TABLES, "searches": SEARCHES, "scores": SCORES, "margins": MARGINS}[group][
        name
    ]
    X, y, given = data_of(case)
    return jaxglm.GLM(y, X, family_of(case), **given).fit()


def terms_of(case):
    assign = np.array(case["assign"])
    return {t: np.flatnonzero(assign == k + 1).tolist() for k, t in enumerate(case["terms"])}


# Terms


@pytest.mark.nightly
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("typ", (2, 3))
def test_tables_of_either_type_are_those_of_car(name, typ):
    case, results = TABLES[name], fitted("tables", name)
    expected, terms = case["iii" if typ == 3 else "ii"], terms_of(case)
    table = results.anova(terms, typ=typ, test="chisq")
    close(table.df, expected["df"], rtol=0)
    # R stops its refits at a settled deviance.
    close(table.statistic, expected["lr"], rtol=1e-7, atol=1e-9)
    close(table.pvalue, expected["lr_pvalue"], rtol=1e-6)
    found = results.wald_test_terms(terms, typ=typ)
    assert list(found) == case["terms"]
    close([test.statistic for test in found.values()], expected["wald"], rtol=1e-7)
    close([test.pvalue for test in found.values()], expected["wald_pvalue"], rtol=1e-6)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("typ", (2, 3))
def test_f_tests_of_either_type_are_those_of_car(name, typ):
    case = TABLES[name]
    # car divides by Pearson's scale whatever the family.
    results = fitted("tables", name).model.fit(scale="X2")
    expected = case["iii" if typ == 3 else "ii"]
    table = results.anova(terms_of(case), typ=typ)
    assert table.test == "F"
    close(table.statistic, expected["f"], rtol=1e-7, atol=1e-9)
    close(table.pvalue, expected["f_pvalue"], rtol=1e-6)


def test_types_differ_by_what_stands_beside_the_term():
    name = "warpbreaks poisson"
    results, terms = fitted("tables", name), terms_of(TABLES[name])
    one, two, three = (results.anova(terms, typ=typ) for typ in (1, 2, 3))
    # The last term, and the last without the interaction, stand beside all that come before.
    close(one.deviance[1:], two.deviance[1:])
    close(two.deviance[2], three.deviance[2])
    assert abs(two.deviance[1] / three.deviance[1] - 1) > 0.05
    close(two.df_resid, [results.df_resid + 3, results.df_resid + 4, results.df_resid + 2], rtol=0)
    rao = results.anova(terms, typ=2, test="rao")
    close(rao.statistic[1:], results.anova(terms, test="rao").statistic[1:])


def test_a_robust_covariance_reaches_the_tests_of_terms():
    name = "gamma log weighted"
    results, terms = (
        fitted("tables", name).with_covariance("HC3", use_t=True),
        terms_of(TABLES[name]),
    )
    three, two = results.wald_test_terms(terms), results.wald_test_terms(terms, typ=2)
    for term in ("group:x1:x2", "x1"):
        own = results.wald_test(np.eye(len(results.params))[terms[term]])
        close(three[term].statistic, own.statistic)
    close(two["group:x1:x2"].pvalue, three["group:x1:x2"].pvalue)
    containing = [j for t in ("x1", "group:x1", "x1:x2", "group:x1:x2") for j in terms[t]]
    whole, rest = (
        results.wald_test(np.eye(len(results.params))[columns])
        for columns in (containing, containing[1:])
    )
    chi2 = whole.statistic * whole.df - rest.statistic * rest.df
    close(two["x1"].statistic, chi2)
    close(two["x1"].pvalue, stats.f.sf(chi2, 1, results.df_resid))
    with pytest.raises(ValueError, match=r"wald_test_terms\(typ=1\): allowed are 2, 3"):
        results.wald_test_terms(terms, typ=1)


# Searches


@pytest.mark.parametrize("name", SEARCHES)
def test_a_stepwise_search_takes_the_steps_of_r(name):
    case, results = SEARCHES[name], fitted("searches", name)
    for expected in case["searches"]:
        found = results.step(
            terms_of(case),
            start=None if expected["begin"] == "all" else [],
            direction=expected["direction"],
            criterion=expected["criterion"],
        )
        assert list(found.changes) == expected["changes"]
        assert set(found.terms) == set(expected["terms"])
        close(found.df_resid, expected["df_resid"], rtol=0)
        close(found.deviance, expected["deviance"], rtol=1e-8)
        close(found.criterion, expected["value"], rtol=1e-8)


def test_a_search_is_told_what_is_allowed():
    results = fitted("searches", "cars")
    terms = terms_of(SEARCHES["cars"])
    with pytest.raises(ValueError, match="direction='up'.*allowed"):
        results.step(terms, direction="up")
    with pytest.raises(ValueError, match=r"start=\['x9'\]\): the model's terms are wt, "):
        results.step(terms, start=["x9"])
    kept = results.step(terms, direction="forward", start=list(terms))
    assert kept.changes == ("",) and kept.terms == tuple(terms)
    assert kept.summary_frame().shape == (1, 3)


# Score tests


@pytest.mark.parametrize("name", SCORES)
def test_score_tests_are_those_of_statsmodels(name):
    case, results = SCORES[name], fitted("scores", name)
    for expected in case["answers"]:
        options = {"observed": expected["observed"], "robust": expected["robust"]}
        found = results.score_test(np.array(case["extra"]), **options)
        statistic, n = float(found.statistic), results.nobs
        if expected["robust"]:
            # statsmodels takes the mean score off: (n - 1)/n of (V - UU'/n)^-1 in U.
            statistic = (n - 1) / n * statistic / (1 - statistic / n)
        close(statistic, expected["statistic"], rtol=1e-9)
        close(stats.chi2.sf(statistic, 2), expected["pvalue"], rtol=1e-8)


def test_informations_agree_for_the_canonical_link_alone():
    extra = np.linspace(-1, 1, len(DATA.count)) ** 2
    for family, y, canonical in (
        (families.Poisson(), DATA.count, True),
        (families.Gamma(links.Log()), DATA.positive, False),
    ):
        results = jaxglm.GLM(y, DATA.X, family).fit()
        expected, observed = (results.score_test(extra, observed=o) for o in (False, True))
        assert np.isclose(expected.statistic, observed.statistic, rtol=1e-9) == canonical
        close(observed.z**2, observed.statistic)
        # The model's form, from the same coefficients.
        for o, found in ((False, expected), (True, observed)):
            alike = results.model.score_test(results.params, exog_extra=extra, observed=o)
            close(alike.statistic, found.statistic)


def test_a_robust_score_test_knows_neither_scale_nor_repetition():
    extra, frequency = np.linspace(-1, 1, len(DATA.count)) ** 2, np.arange(len(DATA.count)) % 3
    gamma = families.Gamma(links.Log())
    model = jaxglm.GLM(DATA.positive, DATA.X, gamma, freq_weights=frequency)
    found = model.fit().score_test(extra, robust=True)
    close(model.fit(scale=7.0).score_test(extra, robust=True).statistic, found.statistic)
    rows = np.repeat(np.arange(len(extra)), frequency)
    whole = jaxglm.GLM(DATA.positive[rows], DATA.X[rows], gamma).fit()
    close(whole.score_test(extra[rows], robust=True).statistic, found.statistic)


# Marginal effects


@pytest.mark.nightly
@pytest.mark.parametrize("name", MARGINS)
def test_marginal_effects_are_those_of_statsmodels(name):
    case, results = MARGINS[name], fitted("margins", name)
    for expected in case["answers"]:
        names = ("at", "method", "dummy", "count")
        question = {k: expected[k] for k in names if k in expected}
        values = {int(j): value for j, value in expected.get("atexog", {}).items()}
        found = results.get_margeff(**question, atexog=values)
        close(found.effect, expected["effects"], atol=1e-12)
        close(found.se, expected["se"], atol=1e-12)


def poisson(**more):
    return jaxglm.GLM(DATA.count, DATA.X, families.Poisson(), **more).fit()


@pytest.mark.nightly
def test_the_median_counts_frequencies_and_the_offset():
    frequency = np.arange(len(DATA.count)) % 4
    rows = np.repeat(np.arange(len(DATA.count)), frequency)
    found = poisson(freq_weights=frequency, offset=DATA.offset).get_margeff(at="median")
    X, offset = np.median(DATA.X[rows], axis=0), np.median(DATA.offset[rows])
    results = jaxglm.GLM(
        DATA.count[rows], DATA.X[rows], families.Poisson(), offset=DATA.offset[rows]
    ).fit()
    close(found.effect, results.params[1:] * np.exp(X @ results.params + offset))
    close(results.get_margeff(at="median").se, found.se)


def test_zero_has_no_offset_and_keeps_the_constant():
    results = poisson(offset=DATA.offset)
    found = results.get_margeff(at="zero")
    close(found.effect, results.params[1:] * np.exp(results.params[0]))
    moved = results.get_margeff(at="zero", atexog={"x2": 0.5})
    close(moved.effect, found.effect * np.exp(0.5 * results.params[2]))


def test_columns_may_be_set_by_name_or_number_for_each_row():
    results = poisson()
    values = np.linspace(0, 1, len(DATA.count))
    by_name, by_number = (results.get_margeff(atexog={c: values}) for c in ("x1", 1))
    close(by_name.effect, by_number.effect, rtol=0)
    X = DATA.X.copy()
    X[:, 1] = values
    close(by_name.effect, results.params[1:] * np.exp(X @ results.params).mean())
    with pytest.raises(ValueError, match="names of columns, const, x1, x2"):
        results.get_margeff(atexog={"x9": 1.0})
    with pytest.raises(ValueError, match="allowed are 'overall', 'mean', 'median', 'zero'"):
        results.get_margeff(at="all")


# Predictions


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_of_each_statistic_are_those_of_statsmodels(name):
    case, results = PREDICTIONS[name], fitted("scores", name)
    X = np.array(SCORES[name]["X"])[: len(case["weights"])]
    for expected in case["answers"]:
        question = {"which": expected["which"], "average": expected["average"], "alpha": 0.1}
        if expected["average"]:
            question["agg_weights"] = case["weights"]
        found = results.get_prediction(X, **question)
        # Where it needs the delta method, statsmodels differentiates numerically.
        exact = expected["which"] != "var_unscaled" and not expected["average"]
        frame = found.summary_frame()
        assert list(frame) == list(expected["frame"])
        for column, wanted in expected["frame"].items():
            close(frame[column], wanted, rtol=1e-9 if exact else 1e-6)
        close(found.conf_int(), frame[["ci_lower", "ci_upper"]])


def test_averages_count_frequencies_and_forget_rows_without():
    frequency = np.arange(len(DATA.count)) % 4
    X = np.where(frequency[:, None] > 0, DATA.X, 1e4)
    results = jaxglm.GLM(DATA.count, X, families.Poisson(), freq_weights=frequency).fit()
    rows = np.repeat(np.arange(len(DATA.count)), frequency)
    weights = np.linspace(0.0, 1.0, len(DATA.count))
    found = results.get_prediction(average=True, agg_weights=weights)
    wanted = results.get_prediction(DATA.X[rows], average=True, agg_weights=weights[rows])
    close(found.predicted, [np.mean(weights[rows] * results.predict(DATA.X[rows]))])
    close(found.predicted, wanted.predicted)
    close(found.se, wanted.se)
    assert found.lower < found.predicted < found.upper
    # The mean of the linear predictor is that of the mean row.
    level = results.get_prediction(which="linear", average=True)
    row = results.get_prediction(DATA.X[rows].mean(axis=0)[None])
    close([level.predicted, level.se], [row.linear, row.linear_se])
    with pytest.raises(ValueError, match="average=True"):
        results.get_prediction(agg_weights=weights)
    with pytest.raises(ValueError, match="which='median'"):
        results.get_prediction(which="median")
