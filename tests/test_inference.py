"""Tests, tables and intervals: R's numbers, and the laws that tie them to one another."""

import dataclasses
from fractions import Fraction
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from cases import close, data_of, family_of
from conftest import reference
from scipy import stats

from jaxglm import families
from jaxglm.anova import drop_one, sequential
from jaxglm.fit import fit, prepare
from jaxglm.hypotheses import parse_hypotheses
from jaxglm.inference import (
    adjust_pvalues,
    contrasts,
    likelihood_ratio,
    score_test,
    score_test_at,
    wald,
)
from jaxglm.intervals import profile_interval, score_interval, wald_interval
from jaxglm.solvers import Status
from jaxglm.submodels import fit_constrained

CASES = {case["name"]: case for case in reference("r_inference")["cases"]}
each_case = pytest.mark.parametrize("name", CASES)
Z = stats.norm.isf(0.025)


@cache
def fitted(name):
    X, y, given = data_of(CASES[name])
    family = family_of(CASES[name])
    return prepare(X, y, family, **given)[0], fit(X, y, family, **given)


def groups_of(case):
    assign = np.array(case["assign"])
    return [np.flatnonzero(assign == term).tolist() for term in range(1, assign.max() + 1)]


def droppable(case):
    """The terms that drop1 offers: those in no interaction."""
    groups = groups_of(case)
    return groups[-1:] if any(":" in term for term in case["terms"]) else groups


@each_case
def test_sequential_deviances_are_those_of_r(name):
    expected = CASES[name]["sequential"]
    table = sequential(*fitted(name), groups_of(CASES[name]), test="chisq")
    assert np.all(np.asarray(table.status) == Status.converged)
    close(table.df, expected["df"])
    close(table.df_resid, expected["residual_df"])
    close(table.deviance, expected["deviance"])
    close(table.residual_deviance, expected["residual_deviance"])
    close(table.pvalue, expected["chisq_pvalue"])


@each_case
def test_sequential_f_tests_are_those_of_r(name):
    expected = CASES[name]["sequential"]
    table = sequential(*fitted(name), groups_of(CASES[name]), test="F")
    close(table.statistic, expected["f"])
    close(table.pvalue, expected["f_pvalue"])


@each_case
def test_sequential_score_tests_are_those_of_r(name):
    expected, problem = CASES[name]["sequential"], fitted(name)
    table = sequential(*problem, groups_of(CASES[name]), test="rao")
    # R stops its smaller fits at a settled deviance, so its coefficients hold half the digits.
    close(table.statistic * problem[1].scale, expected["rao"], rtol=1e-7)
    # In the far tail an error of the statistic counts statistic / 2 times.
    close(table.pvalue, expected["rao_pvalue"], rtol=1e-5)


@each_case
def test_dropped_terms_cost_what_r_says(name):
    case, problem = CASES[name], fitted(name)
    expected = case["drop_one"]
    table = drop_one(*problem, droppable(case), test="chisq")
    close(table.residual_deviance, expected["deviance"])
    close(table.df, expected["df"])
    rao = drop_one(*problem, droppable(case), test="rao")
    # R's smaller fits stop early, as above.
    close(rao.statistic, expected["rao"], rtol=1e-7)
    if case["family"] != "gaussian":  # R's scaled deviance is n log(D0 / D1) there
        close(table.statistic, expected["lrt"])
        close(table.pvalue, expected["chisq_pvalue"])


@each_case
def test_dropped_terms_have_rs_f_at_the_deviance_scale(name):
    (problem, found), expected = fitted(name), CASES[name]["drop_one"]
    found = dataclasses.replace(found, scale=found.deviance / found.df_resid)
    table = drop_one(problem, found, droppable(CASES[name]), test="F", known_scale=False)
    close(table.statistic, expected["f"])
    close(table.pvalue, expected["f_pvalue"])


def test_the_table_takes_f_where_the_scale_is_estimated():
    problem = fitted("gamma log")
    groups = groups_of(CASES["gamma log"])
    assert sequential(*problem, groups).test == "F"
    assert sequential(*problem, groups, known_scale=True).test == "chisq"
    poisson = fitted("warpbreaks poisson")
    assert sequential(*poisson, groups_of(CASES["warpbreaks poisson"])).test == "chisq"


@each_case
def test_score_tests_of_added_columns_are_those_of_statmod(name):
    case = CASES[name]
    found = score_test(*fitted(name), np.array(case["extra"]))
    close(found.z, case["score_test_z"])
    close(found.pvalue, stats.chi2.sf(float(found.statistic), 2))


def test_score_tests_at_a_constrained_fit_and_of_added_columns_agree():
    case = CASES["gamma log"]
    X, y, family = np.array(case["X"]), np.array(case["y"]), family_of(case)
    R = np.eye(6)[[4, 5]]
    held = fit_constrained(X, y, family, R)
    at = score_test_at(fitted("gamma log")[0], held.params, df=2)
    smaller, _ = prepare(X[:, :4], y, family)
    added = score_test(smaller, fit(X[:, :4], y, family), X[:, 4:])
    close(at.statistic, added.statistic)
    close(at.pvalue, added.pvalue)


def test_rows_without_weight_do_not_reach_the_score_test():
    case = CASES["gamma log weighted"]
    (X, y, given), family = data_of(case), family_of(case)
    rows = np.r_[0, np.arange(len(y)), 1]
    options = {k: v[rows] for k, v in given.items()}
    options["var_weights"][[0, -1]] = 0.0
    extra = np.array(case["extra"])[rows]
    extra[[0, -1]] = np.nan
    problem, _ = prepare(X[rows], y[rows], family, **options)
    found = fit(X[rows], y[rows], family, **options)
    close(score_test(problem, found, extra).z, case["score_test_z"])


PROFILED = ["esoph logit counts", "gamma inverse", "gamma log weighted"]


@pytest.mark.parametrize("name", PROFILED)
def test_profile_intervals_solve_rs_equation(name):
    found = profile_interval(*fitted(name))
    close(found, CASES[name]["confint_exact"], rtol=1e-9)
    # MASS interpolates the profile with splines.
    close(found, CASES[name]["confint_mass"], rtol=0, atol=1e-4)


def test_profile_and_score_intervals_of_a_gaussian_are_wald_intervals():
    problem, found = fitted("mtcars gaussian")
    expected = wald_interval(found.params, found.bse, 0.1, df=27)
    close(expected[:, 1] - found.params, stats.t.isf(0.05, 27) * found.bse)
    close(profile_interval(problem, found, 0.1, df=27), expected, rtol=1e-8)
    # The score's information does not move with the coefficients here, nor does the scale.
    close(score_interval(problem, found, 0.1, df=27), expected, rtol=1e-8)


@pytest.mark.parametrize("successes", (0, 3, 9))
def test_score_interval_of_a_proportion_is_wilsons(successes):
    n, X = 10, np.ones((10, 1))
    y = np.r_[np.ones(successes), np.zeros(n - successes)]
    problem, _ = prepare(X, y, families.Binomial())
    found = score_interval(problem, fit(X, y, families.Binomial()))[0]
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n * n))
    close(1 / (1 + np.exp(-found)), [centre - half, centre + half], rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("interval", (profile_interval, score_interval))
def test_limits_of_some_coefficients_are_those_among_all(interval):
    problem, found = fitted("esoph logit counts")
    whole = interval(problem, found)
    close(interval(problem, found, columns=(3, -1)), whole[np.array([3, -1])], rtol=1e-9)
    for wrong in (len(whole), 0.5):
        with pytest.raises(ValueError, match=r"columns=.*allowed are numbers of the \d+ columns"):
            interval(problem, found, columns=(wrong,))


def test_profile_of_no_success_ends_where_the_deviance_says():
    X, y = np.ones((10, 1)), np.zeros(10)
    problem, _ = prepare(X, y, families.Binomial())
    low, high = np.asarray(profile_interval(problem, fit(X, y, families.Binomial())))[0]
    # D(b) = 20 log(1 + e^b), with infimum 0.
    assert low == -np.inf
    close(20 * np.log1p(np.exp(high)), Z**2, rtol=1e-8)


def test_profile_of_a_separated_coefficient_is_open_on_one_side_only():
    right = np.repeat([0.0, 1.0], 6)
    X, y = np.c_[np.ones(12), right], np.r_[np.tile([0.0, 1.0], 3), np.ones(6)]
    problem, _ = prepare(X, y, families.Binomial())
    found = fit(X, y, families.Binomial())
    assert int(found.status) == Status.separated
    intercept, slope = np.asarray(profile_interval(problem, found))
    # The deviance has infimum 12 log 2, that of the left group, half of whom succeed.
    assert slope[1] == np.inf
    at = fit(X[:, :1], y, families.Binomial(), offset=slope[0] * right)
    close(at.deviance - 12 * np.log(2.0), Z**2, rtol=1e-7)
    # The intercept's profile is that group's alone.
    close(intercept, [-intercept[1], intercept[1]], rtol=1e-7)
    share = 1 / (1 + np.exp(-intercept[1]))
    close(-6 * np.log(4 * share * (1 - share)), Z**2, rtol=1e-7)


def test_intervals_of_an_invalid_fit_are_nan():
    case = CASES["warpbreaks poisson"]
    X, y = np.array(case["X"]), -np.array(case["y"])
    problem, _ = prepare(X, y, families.Poisson())
    assert np.all(np.isnan(profile_interval(problem, fit(X, y, families.Poisson()))))


def test_a_nan_statistic_has_no_pvalue():
    params, cov = jnp.array([1.0, 2.0]), jnp.full((2, 2), jnp.nan)
    for df in (None, 5.0):
        assert np.isnan(wald(params, cov, np.eye(2), df=df).pvalue)
        assert np.all(np.isnan(contrasts(params, cov, np.eye(2), df=df).pvalue))


def test_penalised_models_have_no_submodel_intervals():
    case = CASES["warpbreaks poisson"]
    problem, _ = prepare(np.array(case["X"]), np.array(case["y"]), families.Poisson(), penalty=1.0)
    with pytest.raises(ValueError, match="penalty"):
        profile_interval(problem, fitted("warpbreaks poisson")[1])


def test_wald_of_one_row_is_the_square_of_its_contrast():
    _, found = fitted("gamma log")
    R = [0.0, 1.0, -1.0, 0.0, 0.0, 0.0]
    by_chi2 = wald(found.params, found.cov_params, R, 0.3)
    by_z = contrasts(found.params, found.cov_params, R, 0.3)
    close(by_chi2.statistic, by_z.statistic[0] ** 2)
    close(by_chi2.pvalue, by_z.pvalue[0])
    by_f = wald(found.params, found.cov_params, R, 0.3, df=34)
    by_t = contrasts(found.params, found.cov_params, R, 0.3, df=34)
    close(by_f.pvalue, by_t.pvalue[0])
    close(by_t.pvalue, 2 * stats.t.sf(np.abs(by_t.statistic), 34))


def test_wald_sees_the_hypothesis_not_how_it_is_written():
    _, found = fitted("gamma log")
    R, q = np.eye(6)[1:4], np.array([0.1, -0.2, 0.3])
    A = np.array([[1.0, 2.0, 0.0], [0.0, 1e-3, 0.0], [5.0, 0.0, 1e3]])
    first = wald(found.params, found.cov_params, R, q)
    close(wald(found.params, found.cov_params, A @ R, A @ q).statistic, first.statistic, 1e-9)
    redundant = wald(found.params, found.cov_params, np.r_[R, R[:1]], np.append(q, q[0]))
    close(redundant.statistic, first.statistic, rtol=1e-9)
    assert float(redundant.df) == float(first.df) == 3
    contradiction = wald(found.params, found.cov_params, np.r_[R, R[:1]], np.append(q, 1.0))
    assert np.isnan(contradiction.statistic) and np.isnan(contradiction.pvalue)


def test_wald_and_ratio_tests_agree_for_a_gaussian():
    case, (_, full) = CASES["mtcars gaussian"], fitted("mtcars gaussian")
    X, y = np.array(case["X"]), np.array(case["y"])
    by_ratio = likelihood_ratio(fit(X[:, :3], y), full)
    by_wald = wald(full.params, full.cov_params, np.eye(5)[3:], df=full.df_resid)
    close(by_ratio.f, by_wald.statistic)
    close(by_ratio.f_pvalue, by_wald.pvalue)
    close(by_ratio.f, case["drop_one"]["f"][-1])


def test_ratio_test_of_a_known_scale_is_chi_squared_twice():
    case, (_, full) = CASES["warpbreaks poisson"], fitted("warpbreaks poisson")
    X, y = np.array(case["X"]), np.array(case["y"])
    restricted = fit(X[:, :4], y, families.Poisson())
    found = likelihood_ratio(restricted, full)
    close(found.chi2, 2 * (full.loglike - restricted.loglike))
    close(found.pvalue, case["drop_one"]["chisq_pvalue"][0])
    close(found.f_pvalue, found.pvalue)
    quasi = likelihood_ratio(restricted, full, known_scale=False)
    close(quasi.f_pvalue, stats.f.sf(float(quasi.f), 2, 48))


def test_ratio_test_with_two_alphas_is_by_likelihood():
    case = CASES["warpbreaks poisson"]
    X, y = np.array(case["X"]), np.array(case["y"])
    full = fit(X, y, families.NegativeBinomial(alpha=0.1))
    same = fit(X[:, :4], y, families.NegativeBinomial(alpha=0.1))
    other = fit(X[:, :4], y, families.NegativeBinomial(alpha=0.2))
    close(likelihood_ratio(same, full).chi2, 2 * (full.loglike - same.loglike), rtol=1e-9)
    assert float(other.loglike) < float(full.loglike)
    close(likelihood_ratio(other, full).chi2, 2 * (full.loglike - other.loglike))


def test_ratio_test_wants_the_larger_model_second():
    case, (_, full) = CASES["warpbreaks poisson"], fitted("warpbreaks poisson")
    restricted = fit(np.array(case["X"])[:, :4], np.array(case["y"]), families.Poisson())
    with pytest.raises(ValueError, match="more coefficients"):
        likelihood_ratio(full, restricted)
    with pytest.raises(ValueError, match="nested"):
        likelihood_ratio(fit(np.ones((54, 1)), np.full(54, 3.0), families.Poisson()), full)


def test_equality_constraint_merges_columns():
    X, y, options = data_of(CASES["gamma log weighted"])
    family = family_of(CASES["gamma log weighted"])
    R, q = parse_hypotheses("b = c, 2*d = 1", ["a", "b", "c", "d", "x"])
    held = fit_constrained(X, y, family, R, q, **options)
    options["offset"] = options["offset"] + 0.5 * X[:, 3]
    merged = fit(np.c_[X[:, 0], X[:, 1] + X[:, 2], X[:, 4]], y, family, **options)
    close(R @ held.params, q, atol=1e-12)
    close(
        held.params,
        np.asarray(merged.params)[[0, 1, 1, 0, 2]] * [1, 1, 1, 0, 1] + [0, 0, 0, 0.5, 0],
    )
    close(np.asarray(held.bse)[[0, 1, 2, 4]], np.asarray(merged.bse)[[0, 1, 1, 2]])
    close(held.bse[3], 0.0, atol=1e-8)
    close(held.deviance, merged.deviance)
    close(held.df_resid, merged.df_resid)
    close(held.scale, merged.scale)


def test_constraints_may_repeat_but_not_contradict():
    case = CASES["mtcars gaussian"]
    X, y, R = np.array(case["X"]), np.array(case["y"]), np.eye(5)[[1, 1]]
    once = fit_constrained(X, y, families.Gaussian(), R[:1], 1.0)
    twice = fit_constrained(X, y, families.Gaussian(), R, 1.0)
    close(twice.params, once.params)
    assert float(twice.df_resid) == 28
    with pytest.raises(ValueError, match="contradict"):
        fit_constrained(X, y, families.Gaussian(), R, [1.0, 2.0])
    with pytest.raises(ValueError, match="every coefficient"):
        fit_constrained(X, y, families.Gaussian(), np.eye(5), 1.0)


def adjusted_by_definition(p, method):
    """The smallest level at which the procedure rejects each hypothesis."""
    p, m = np.asarray(p), len(p)
    order = np.argsort(p)
    steps = {
        "bonferroni": [p[i] * m for i in order],
        "holm-sidak": [
            float(max(1 - (1 - Fraction(p[i])) ** (m - k) for k, i in enumerate(order[: r + 1])))
            for r in range(m)
        ],
        "holm": [max(p[i] * (m - k) for k, i in enumerate(order[: r + 1])) for r in range(m)],
        "bh": [min(p[i] * m / (k + r + 1) for k, i in enumerate(order[r:])) for r in range(m)],
    }[method]
    out = np.empty(m)
    out[order] = np.minimum(steps, 1.0)
    return out


@pytest.mark.parametrize("method", ("bonferroni", "holm", "holm-sidak", "bh"))
def test_adjusted_pvalues_follow_their_definition(method):
    p = np.random.default_rng(3).uniform(size=(4, 9)) ** 3
    p[1, 2] = p[1, 5]
    expected = np.stack([adjusted_by_definition(row, method) for row in p])
    close(adjust_pvalues(p, method), expected)
    close(adjust_pvalues(p[0], method), expected[0])
    holes = np.insert(p, [0, 4], np.nan, axis=1)
    close(adjust_pvalues(holes, method), np.insert(expected, [0, 4], np.nan, axis=1))


def test_unknown_adjustment_is_named():
    with pytest.raises(ValueError, match="method='fdr'"):
        adjust_pvalues(jnp.ones(3), "fdr")


NAMES = ["x1", "x10", "C(g)[T.b]", "a b", "a", "3rd", "a-b"]
HYPOTHESES = [
    ("x1 = x10 = 0", [{"x1": 1, "x10": -1}, {"x10": 1}], [0, 0]),
    ("x1 + 2*x10 = 1, a = 0", [{"x1": 1, "x10": 2}, {"a": 1}], [1, 0]),
    ("2*(x1 - x10) = a", [{"x1": 2, "x10": -2, "a": -1}], [0]),
    ("C(g)[T.b] / 4 = -1e-1", [{"C(g)[T.b]": 0.25}], [-0.1]),
    ("`a b` = 'x1'", [{"a b": 1, "x1": -1}], [0]),
    ("a b = .5", [{"a b": 1}], [0.5]),
    ("-(x1 + 1)", [{"x1": -1}], [1]),
    ("a - x1", [{"a": 1, "x1": -1}], [0]),
    ("a-b = 3rd", [{"a-b": 1, "3rd": -1}], [0]),
    (["x1 = 1", "x1 * 3 = x1 + 2"], [{"x1": 1}, {"x1": 2}], [1, 2]),
]


@pytest.mark.parametrize("text, rows, constants", HYPOTHESES, ids=str)
def test_hypotheses_are_read_as_written(text, rows, constants):
    R, q = parse_hypotheses(text, NAMES)
    expected = [[row.get(name, 0.0) for name in NAMES] for row in rows]
    close(R, expected)
    close(q, constants, atol=1e-15)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("x2 = 0", "no known name at '2 = 0'|no known name at 'x2 = 0'"),
        ("x1 * a = 0", "by no number"),
        ("x1 / 0 = 0", "by no number"),
        ("x1 = ", "the end"),
        ("(x1 = 0", r"allowed here: '\)'"),
        ("1 = 1", "no coefficient"),
        ("x1 a", "allowed here: ','"),
        ("", "none given"),
    ],
)
def test_hypotheses_that_mean_nothing_raise(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_hypotheses(text, NAMES)
