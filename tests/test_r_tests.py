"""The models of R's own tests and examples of glm, and what those tests assert of them.

`r_tests.json` says which file of R each model is from. Where jaxglm answers otherwise on purpose,
the test says so, and docs/differences.md why.
"""

import warnings
from functools import cache
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from cases import data_of, family_of
from conftest import reference

import jaxglm
from jaxglm import GLM, FitWarning, Status, families, links

NUMBERS = reference("r_tests")
CASES = {case["name"]: case for case in NUMBERS["cases"]}


def rank(case):
    return sum(value is not None for value in case["coefficients"])


def shape(case):
    return case["family"], case["link"], rank(case)


GROUPS = {key: list(cases) for key, cases in groupby(sorted(CASES.values(), key=shape), shape)}


def rows(names):
    """Parameters of the cases; nightly those that hardly share what they compile."""
    slow = {name: len(GROUPS[shape(CASES[name])]) < 3 for name in names}
    return [pytest.param(n, marks=[pytest.mark.nightly] if slow[n] else []) for n in slow]


def having(*fields):
    return rows(name for name, case in CASES.items() if all(f in case for f in fields))


@cache
def fitted(name):
    """The fit of a case, brought to its group's length by rows of weight 0."""
    case = CASES[name]
    X, y, given = data_of(case)
    n, longest = len(y), max(len(other["y"]) for other in GROUPS[shape(case)])
    given = {"offset": np.zeros(n), "var_weights": np.ones(n)} | given
    more = longest - n
    filling = {"offset": 0.0, "var_weights": 0.0, "n_trials": 1.0}
    given = {k: np.append(v, np.full(more, filling[k])) for k, v in given.items()}
    X, y = np.append(X, X[:1].repeat(more, 0), 0), np.append(y, y[:1].repeat(more))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GLM(y, X, family_of(case), **given).fit(scale="X2" if case["quasi"] else None)


def of(name, field):
    return np.array(CASES[name][field], dtype=float)


def aic(results, case):
    """R's AIC."""
    if results.known_scale:
        return results.aic
    return results.info_criteria(scale=results.deviance / results.n_total, dk_params=1)


# Every model


@pytest.mark.parametrize("name", rows(CASES))
def test_the_models_of_r_s_tests_have_r_s_numbers(name):
    case, results = CASES[name], fitted(name)
    assert results.converged
    params, se = of(name, "coefficients"), of(name, "standard_errors")
    np.testing.assert_array_equal(np.isnan(results.params), np.isnan(params))
    assert np.nanmax(np.abs(results.params - params) / se) < 1e-9
    np.testing.assert_allclose(results.bse, se, rtol=1e-9)
    np.testing.assert_allclose(results.scale, case["dispersion"], rtol=1e-9)
    np.testing.assert_allclose(results.deviance, case["deviance"], rtol=1e-9, atol=1e-12)
    assert results.df_resid == case["df_residual"]


@pytest.mark.parametrize("name", rows(CASES))
def test_null_models_are_r_s_but_where_columns_add_up_to_one(name):
    case, results = CASES[name], fitted(name)
    if case["intercept"] or not results.k_constant:
        wanted = np.array(case["null_deviance"], dtype=float)  # NaN where linkinv(0) is no mean
        np.testing.assert_allclose(results.null_deviance, wanted, rtol=1e-9, atol=1e-12)
        assert results.df_null == case["df_null"]
    else:  # R looks at the formula, jaxglm at what the columns span
        assert results.df_null == case["df_null"] - 1
        assert results.null_deviance < case["null_deviance"] * (1 - 1e-3)


@pytest.mark.parametrize("name", rows(CASES))
def test_aic_is_r_s_but_where_r_s_is_none(name):
    case = CASES[name]
    gone = case["family"] == "gaussian" and 0 in (case["var_weights"] or ())
    counted = case["family"] == "inverse.gaussian" and case["var_weights"] is not None
    if case["quasi"]:
        assert case["aic"] is None
    elif gone:  # R takes the logarithm of the weight 0
        assert np.isinf(case["aic"]) and np.isfinite(aic(fitted(name), case))
    elif counted:  # R takes precisions for repeated rows
        assert abs(case["aic"] / aic(fitted(name), case) - 1) > 0.1
    else:
        np.testing.assert_allclose(aic(fitted(name), case), case["aic"], rtol=1e-9)


# What else the tests assert


@pytest.mark.parametrize("name", having("resid_response"))
def test_residuals_are_r_s_and_rows_of_weight_0_have_none(name):
    case, results = CASES[name], fitted(name)
    n = len(case["y"])
    kept = np.array(case["var_weights"] or np.ones(n)) > 0
    for kind in ("response", "working", "deviance", "pearson"):
        found = getattr(results, f"resid_{kind}")[:n]
        np.testing.assert_allclose(found[kept], of(name, f"resid_{kind}")[kept], rtol=1e-7)
        assert np.all(np.isnan(found[~kept]))


@pytest.mark.parametrize("name", having("rstandard"))
def test_influence_is_r_s_and_none_at_a_leverage_of_one(name):
    n, found = len(CASES[name]["y"]), fitted(name).get_influence()
    alone = of(name, "hatvalues") > 1 - 1e-9
    same = ("hatvalues", "rstandard", "rstudent", "cooks_distance", "dffits", "covratio")
    own = {"hatvalues": "hat_diagonal", "rstandard": "rstandard_deviance"}
    for theirs in same:
        values = getattr(found, own.get(theirs, theirs))[:n]
        np.testing.assert_allclose(values[~alone], of(name, theirs)[~alone], rtol=1e-7)
        assert theirs == "hatvalues" or np.isnan(values[alone]).all()


def terms_of(case):
    assign = np.array(case["assign"])
    return {f"term {t}": list(np.flatnonzero(assign == t)) for t in range(1, assign.max() + 1)}


@pytest.mark.nightly
@pytest.mark.parametrize("name", having("sequential"))
def test_tables_of_terms_are_r_s(name):
    case, results = CASES[name], fitted(name)
    added = results.anova(terms_of(case)).deviance
    np.testing.assert_allclose(added, case["sequential"], rtol=1e-7, atol=1e-10)
    left = results.anova(terms_of(case), typ=3).residual_deviance
    wanted = case["dropped"]  # R leaves out terms that no other contains: here the last
    np.testing.assert_allclose(left[-len(wanted) :], wanted, rtol=1e-7)


def test_the_trial_s_tests_are_r_s():
    found = fitted("trial, quasi").anova(terms_of(CASES["trial, quasi"]), test="F").statistic
    np.testing.assert_allclose(found, of("trial, quasi", "sequential_f"), rtol=1e-9, atol=1e-12)
    score = fitted("trial").score_test(of("trial", "extra")).statistic
    np.testing.assert_allclose(score, CASES["trial"]["rao"], rtol=1e-9)


def test_quasi_poisson_errors_are_poisson_s_times_the_dispersion_s_root():
    quasi, plain = fitted("trial, quasi"), fitted("trial")
    np.testing.assert_allclose(quasi.cov_params(scale=1.0), plain.cov_params(), rtol=1e-12)
    np.testing.assert_allclose(quasi.bse, np.sqrt(quasi.scale) * plain.bse, rtol=1e-12)


@pytest.mark.parametrize("name", having("new_eta"))
def test_predictions_at_new_rows_are_r_s(name):
    X = of(name, "new_X")
    found = fitted(name).get_prediction(X, offset=np.zeros(len(X)))
    for ours, theirs in (("linear", "new_eta"), ("linear_se", "new_se"), ("mean", "new_mu")):
        np.testing.assert_allclose(getattr(found, ours), of(name, theirs), rtol=1e-9)


def test_predictions_of_a_model_with_an_offset_are_r_s_in_the_sample_and_as_new_rows():
    case, results = CASES["trial, exposure"], fitted("trial, exposure")
    for rows_given in ((None, None, None), (of("trial, exposure", "X"), None, case["offset"])):
        found = results.get_prediction(*rows_given)
        np.testing.assert_allclose(found.linear, case["eta"], rtol=1e-9)
        np.testing.assert_allclose(found.linear_se, case["eta_se"], rtol=1e-9)


def test_doses_that_kill_a_share_follow_from_the_coefficients_and_their_covariance():
    case, results = CASES["budworm, a level each"], fitted("budworm, a level each")
    level, slope = results.params[[0, 2]]
    doses = (np.log([1 / 3, 1.0, 3.0]) - level) / slope
    np.testing.assert_allclose(doses, case["doses"], rtol=1e-9)
    gradient = -np.column_stack([np.ones(3), np.zeros(3), doses]) / slope
    se = np.sqrt(np.diagonal(results.cov_params(gradient)))
    np.testing.assert_allclose(se, case["doses_se"], rtol=1e-9)


@pytest.mark.nightly
@pytest.mark.parametrize("name", having("profile"))
def test_profile_limits_are_those_of_mass_to_its_splines(name):
    found = fitted(name).conf_int(method="profile")
    np.testing.assert_allclose(found, of(name, "profile"), rtol=2e-3)


@pytest.mark.nightly
def test_the_shape_of_a_gamma_by_maximum_likelihood_is_that_of_mass():
    X, y, _ = data_of(CASES["clotting, lot 1"])
    model = GLM(y, X, families.Gamma())
    np.testing.assert_allclose(
        1 / model.fit(scale="ml").scale, CASES["clotting, lot 1"]["shape"], rtol=1e-9
    )


@pytest.mark.nightly
def test_leaving_one_out_of_a_gaussian_model_follows_from_the_leverages():
    X, y, _ = data_of(CASES["mammals"])
    found = GLM(y, X).fit().leave_one_out().params
    error = np.mean((y - np.sum(X * found, axis=1)) ** 2)
    np.testing.assert_allclose(error, CASES["mammals"]["loo"], rtol=1e-9)


@pytest.mark.nightly
def test_a_ratio_of_sums_has_the_same_limits_by_either_link():
    ratio, inverse = fitted("sales, identity"), fitted("sales, inverse")
    X, y, _ = data_of(CASES["sales, identity"])
    np.testing.assert_allclose(ratio.params, y.sum() / X.sum(), rtol=1e-12)
    limits = ratio.conf_int(method="profile")[0]
    np.testing.assert_allclose(1 / inverse.conf_int(method="profile")[0][::-1], limits, rtol=1e-6)
    # The likelihood of the inverse is quadratic.
    np.testing.assert_allclose(1 / inverse.conf_int()[0][::-1], limits, rtol=1e-3)


# Statements about models, on small data


LINE = np.column_stack([np.ones(10), np.arange(1.0, 11.0)])
Y = np.array([0.8, 2.1, 3.4, 3.6, 5.2, 6.1, 7.3, 7.7, 9.4, 10.2])
BINARY = np.tile([0.0, 1.0, 1.0, 0.0, 1.0], 2)


def small(y, family=None, X=LINE, **given):
    """A fit of ten rows and two columns, offset and weights given: one compilation a family."""
    return GLM(y, X, family, **({"offset": np.zeros(10), "var_weights": np.ones(10)} | given)).fit()


def same_fit(one, other, kept=slice(None)):
    for field in ("params", "bse", "deviance", "null_deviance", "scale", "df_resid", "nobs", "aic"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=1e-10)
    np.testing.assert_allclose(one.resid_deviance[kept], other.resid_deviance[kept], atol=1e-10)


def test_a_difference_of_responses_is_an_offset():
    same_fit(small(Y - 0.3 * LINE[:, 1]), small(Y, offset=0.3 * LINE[:, 1]))


def test_a_row_of_weight_0_is_as_good_as_left_out():
    weights = np.arange(10.0)
    full = small(np.append(90.0, Y[1:]), var_weights=weights)
    other = small(np.append(-5.0, Y[1:]), var_weights=weights)
    same_fit(full, other, slice(1, None))
    assert full.nobs == 9 and full.df_resid == 7
    influence = full.get_influence()
    assert np.isnan(influence.rstudent[0]) and np.isfinite(influence.rstudent[1:]).all()


def test_counts_are_proportions_with_trials():
    died = np.array([1.0, 4, 9, 13, 18, 0, 2, 6, 10, 12])
    pairs = small(np.column_stack([died, 20 - died]), families.Binomial())
    same_fit(pairs, small(died / 20, families.Binomial(), n_trials=np.full(10, 20.0)))


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::jaxglm.frames.DomainWarning")
def test_pearson_residuals_of_a_saturated_model_do_not_know_the_link():
    cells = np.column_stack([np.ones(10), np.tile([0.0, 1.0], 5)])
    by_logit = small(BINARY, families.Binomial(), cells)
    by_log = small(BINARY, families.Binomial(links.Log()), cells)
    np.testing.assert_allclose(by_logit.resid_pearson, by_log.resid_pearson, rtol=1e-9)


@pytest.mark.nightly
def test_a_perfect_quadratic_leaves_nothing():
    X = np.vander(np.arange(1.0, 11.0), 3, increasing=True)
    results = small(X[:, 1], X=X)
    np.testing.assert_allclose(results.params, [0.0, 1.0, 0.0], atol=1e-12)
    assert results.anova().residual_deviance[-1] < 1e-20


@pytest.mark.nightly
def test_a_variance_of_one_s_own_is_quasi_poisson():
    counts = np.array([8.0, 12, 9, 11, 7, 13, 10, 6, 14, 9])
    own = small(counts, families.Quasi(lambda mu: mu, links.Log()))
    X, given = LINE, {"offset": np.zeros(10), "var_weights": np.ones(10)}
    named = GLM(counts, X, families.Poisson(), **given).fit(scale="X2")
    np.testing.assert_allclose(own.params, named.params, rtol=1e-9)
    np.testing.assert_allclose(own.bse, named.bse, rtol=1e-9)
    np.testing.assert_allclose(own.deviance, named.deviance, rtol=1e-9)
    assert np.isnan(own.aic)  # R's quasi families have none


@pytest.mark.nightly
def test_a_link_of_one_s_own_fits_shares_of_survivors():
    """Nests of which a daily share survives: exposed three days, mu = logistic(eta)^3."""
    link = links.from_inverse(lambda eta: jax.nn.sigmoid(eta) ** 3, range=(0.0, 1.0))
    results = small(
        BINARY, families.Binomial(link), np.column_stack([np.ones(10), np.arange(10) > 3])
    )
    cells = [BINARY[:4].mean(), BINARY[4:].mean()]
    daily = np.array(cells) ** (1 / 3)
    eta = np.log(daily / (1 - daily))
    np.testing.assert_allclose(results.params, [eta[0], eta[1] - eta[0]], rtol=1e-8)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::jaxglm.frames.DomainWarning")
def test_a_mean_that_is_one_whatever_the_coefficient_is_an_edge():
    """R finds no coefficient: with x = 0 and the log link a mean is 1."""
    success = np.array([13.0, 12, 11, 14, 14, 11, 13, 11, 12])
    x = np.append(0.0, 5.0 ** np.arange(8))
    y = np.column_stack([success, np.append(np.zeros(7), [2.0, 2.0])])
    with pytest.warns(FitWarning, match="boundary"):
        results = GLM(y, x[:, None], families.Binomial(links.Log())).fit()
    assert results.status is Status.boundary and np.all((results.mu > 0) & (results.mu <= 1))


def test_dependent_columns_can_be_refused():
    with pytest.raises(ValueError, match="aliased: x2"):
        GLM(Y, np.column_stack([LINE, 2 * LINE[:, 1]])).fit(rank_deficient="error")


def test_too_few_steps_are_said():
    with pytest.warns(FitWarning, match="max_steps"):
        results = GLM(np.exp(Y), LINE, families.Poisson()).fit(maxiter=1)
    assert not results.converged


@pytest.mark.parametrize(
    ("given", "message"),
    (
        ({"exog": np.zeros((10, 0))}, r"GLM\(exog=...\): shape"),
        ({"exog": np.zeros((10, 1))}, r"GLM\(exog=...\): every column is 0"),
        ({"endog": np.array(["yes", "no"] * 5)}, r"GLM\(endog=...\): dtype"),
        ({"offset": np.zeros((10, 1))}, r"GLM\(offset=...\): shape"),
    ),
    ids=("no column", "a column of 0", "a factor", "an offset that is a column"),
)
@pytest.mark.filterwarnings("ignore::jaxglm.FitWarning")
def test_what_r_takes_and_jaxglm_refuses(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GLM(**({"endog": BINARY, "exog": LINE, "family": families.Binomial()} | given)).fit()


# Formulas


TABLE = pd.DataFrame(
    {"y": Y, "x": LINE[:, 1], "o1": 0.9 * Y, "o2": -0.2 * Y, "w": [0, 2, 0, 4, 0, 6, 7, 8, 9, 10]},
    index=list("abcdefghij"),
)


def test_offsets_add_up_and_new_rows_bring_theirs():
    one = jaxglm.glm("y ~ x", TABLE, offset=0.7 * Y).fit()
    for formula, offset in (
        ("y ~ x + offset(o1) + offset(o2)", None),
        ("y ~ x + offset(o1)", "o2"),
    ):
        results = jaxglm.glm(formula, TABLE, offset=offset).fit()
        same_fit(results, one)
        np.testing.assert_allclose(results.predict(TABLE), one.fittedvalues, rtol=1e-12)
        assert list(results.predict(TABLE).index) == list(TABLE.index)


def test_a_level_alone_predicts_at_every_new_row():
    results = jaxglm.glm("y ~ 1", TABLE).fit()
    assert len(results.predict(pd.DataFrame({"x": np.arange(5.0)}))) == 5


def test_missing_values_are_left_out_and_expanded():
    table = TABLE.assign(x=[*LINE[:9, 1], np.nan])
    results = jaxglm.glm("y ~ x", table, var_weights="w").fit()
    assert results.nobs == 6
    with pytest.raises(ValueError, match="missing values in 1 row"):
        jaxglm.glm("y ~ x", table, missing="raise")
    spread = np.asarray(results.expand(results.fittedvalues))
    assert np.isnan(spread[9]) and np.isfinite(spread[:9]).all()


def test_residuals_of_counts_keep_the_names_of_the_rows():
    table = TABLE.assign(s=[3, 4, 2, 5, 7, 6, 8, 7, 9, 9], n=10)
    for left in ("cbind(s, n - s)", "s / n"):
        results = jaxglm.glm(f"{left} ~ x", table, "binomial").fit()
        assert list(results.resid_deviance.index) == list(TABLE.index)


# Steps, edges, other doors


@pytest.mark.nightly
def test_a_fit_starts_from_its_own_solution():
    X, y, given = data_of(CASES["ships, offset"])
    again = GLM(y, X, families.Poisson(), **given).fit(start_params=fitted("ships, offset").params)
    assert again.converged and again.n_iter <= 2
    np.testing.assert_allclose(again.deviance, CASES["ships, offset"]["deviance"], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::jaxglm.frames.DomainWarning")
@pytest.mark.parametrize("edge", NUMBERS["edges"], ids=lambda edge: edge["name"])
def test_identity_poisson_reaches_an_edge_that_r_is_led_to_by_its_start(edge):
    x, y = np.array(edge["x"]), np.array(edge["y"])
    with pytest.warns(FitWarning):
        results = GLM(
            y, np.column_stack([np.ones(len(x)), x]), families.Poisson(links.Identity())
        ).fit()
    assert edge["boundary"] and results.status is Status.boundary
    assert np.all(results.mu >= 0) and results.deviance <= edge["deviance"] * (1 + 1e-6)


@pytest.mark.nightly
def test_weights_of_a_negative_binomial_are_repeated_rows():
    case = NUMBERS["yeast"]
    y, times = np.array(case["y"]), np.array(case["fr"])
    family = families.NegativeBinomial(alpha=None)
    weighted = GLM(y, np.ones((6, 1)), family, freq_weights=times).fit()
    repeated = GLM(np.repeat(y, times), np.ones((400, 1)), family).fit()
    for results in (weighted, repeated):
        np.testing.assert_allclose(results.params, case["coefficients"], rtol=1e-9)
        np.testing.assert_allclose(1 / results.family.alpha, case["theta"], rtol=1e-7)
        np.testing.assert_allclose(results.deviance, case["deviance"], rtol=1e-7)


def test_links_and_their_slopes_are_r_s_on_the_unit_interval():
    at = jnp.array(NUMBERS["links"]["at"])
    for name, theirs in NUMBERS["links"]["functions"].items():
        link = links.NAMED[name]()
        values = {"linkfun": link.g(at), "linkinv": link.inverse(at)}
        values["mu_eta"] = link.inverse_deriv(at)
        for field, ours in values.items():
            wanted = np.array(theirs[field], dtype=float)
            # R's domains have their ends; here a link outside its own is NaN.
            outside = ~link.domain.contains(at) & (field != "linkfun")
            ours = np.where(outside, wanted, ours)
            np.testing.assert_allclose(ours, wanted, rtol=1e-9, err_msg=f"{name} {field}")


@pytest.mark.nightly
def test_draws_at_a_gaussian_with_log_link_vary_as_the_data_do():
    results = small(Y, families.Gaussian(links.Log()), np.column_stack([np.ones(10), BINARY]))
    draws = np.asarray(results.simulate(jax.random.key(7), 4000))
    assert abs(draws.var(axis=0).mean() / results.scale - 1) < 0.02
