"""The results of a single fit: R's numbers under statsmodels' names, and what must hold of them."""

import dataclasses
import pickle
import warnings
from functools import cache

import jax
import numpy as np
import pytest
from cases import close, data_of, family_of, small
from conftest import reference

import jaxglm
from jaxglm import FitWarning, GLMResults, Status, datasets, families, links, penalties, working
from jaxglm.inference import adjust_pvalues

# One case has a link that leaves the family's means; `test_door` has the warning.
pytestmark = pytest.mark.filterwarnings("ignore::jaxglm.frames.DomainWarning")

GLM_CASES = {case["name"]: case for case in reference("r_glm")["cases"]}
SANDWICH = {case["name"]: case for case in reference("r_sandwich")["cases"]}
INFERENCE = {case["name"]: case for case in reference("r_inference")["cases"]}
# One for each way a row can enter; the lower floors run over all cases.
CASEWISE = (
    "gaussian identity weighted",
    "binomial logit counts offset",
    "binomial cauchit counts",
    "poisson no intercept offset",
    "gamma log weighted",
    "inverse gaussian log weighted",
    "negative binomial log weighted",
)
FITS = CASEWISE + (
    "mtcars gaussian",
    "gaussian no intercept",
    "binomial log 0/1",
    "binomial no intercept offset",
    "poisson log weighted",
    "gamma inverse",
    "inverse gaussian 1/mu^2",
)
# R takes the precision weights of these for repeated rows, in the log-likelihood alone.
REPEATED = ("gamma log weighted", "inverse gaussian log weighted")
DISPERSED = ("gaussian", "Gamma", "inverse.gaussian")


def model_of(case, **more):
    X, y, given = data_of(case)
    return jaxglm.GLM(y, X, family_of(case), **given, **more)


@cache
def fitted(name):
    return model_of(GLM_CASES[name]).fit()


# R's numbers


@pytest.mark.parametrize("name", FITS)
def test_the_fit_is_that_of_r(name):
    case, results = GLM_CASES[name], fitted(name)
    assert results.converged
    close(results.params, case["coefficients"])
    close(results.bse, case["standard_errors"])
    close(results.scale, case["dispersion"])
    close(results.deviance, case["deviance"])
    close(results.pearson_chi2, case["pearson_chi2"])
    # R stops the null model at a settled deviance.
    close(results.null_deviance, case["null_deviance"], rtol=1e-9)
    assert (results.df_resid, results.df_null) == (case["df_residual"], case["df_null"])
    assert results.df_model == results.rank - case["intercept"]


@pytest.mark.parametrize("name", [name for name in FITS if name not in REPEATED])
def test_information_criteria_have_rs_meaning_on_request(name):
    case, results = GLM_CASES[name], fitted(name)
    dispersed = case["family"] in DISPERSED
    scale = results.deviance / results.n_total if dispersed else None
    close(results.info_criteria("aic", scale, dk_params=dispersed), case["aic"])
    close(results.info_criteria("bic", scale, dk_params=dispersed), case["bic"])
    close(results.llf_scaled(scale), case["loglik"])


@pytest.mark.parametrize("name", REPEATED)
def test_rs_aic_of_precision_weights_is_that_of_repeated_rows(name):
    case, weights = GLM_CASES[name], np.array(GLM_CASES[name]["var_weights"])
    results = model_of(case | {"var_weights": None}, freq_weights=weights).fit()
    scale = results.deviance / results.n_total
    close(results.info_criteria("aic", scale, dk_params=1), case["aic"])
    close(results.params, case["coefficients"])


@pytest.mark.parametrize("name", CASEWISE)
def test_residuals_are_those_of_r(name):
    case, results = GLM_CASES[name], fitted(name)
    for kind in ("response", "working", "pearson", "deviance"):
        close(getattr(results, f"resid_{kind}"), case[f"resid_{kind}"], rtol=1e-8, atol=1e-10)
    terms = slice(1 if case["intercept"] else 0, None)
    partial = results.resid_partial(centre=case["intercept"])[:, terms]
    close(partial, case["resid_partial"], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", CASEWISE)
def test_influence_is_that_of_r(name):
    case, found = GLM_CASES[name], fitted(name).get_influence()
    close(found.hat_diagonal, case["hatvalues"], rtol=1e-9)
    close(fitted(name).get_hat_matrix_diag(), case["hatvalues"], rtol=1e-9)
    for kind in ("cooks_distance", "rstandard_deviance", "rstandard_pearson", "rstudent"):
        close(getattr(found, kind), case[kind], rtol=1e-7, atol=1e-10)
    for kind in ("dffits", "covratio", "dfbeta", "dfbetas"):
        close(getattr(found, kind), case[kind], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", SANDWICH)
def test_robust_covariances_are_those_of_sandwich(name):
    case, labels = SANDWICH[name], reference("r_sandwich")
    results = model_of(case).fit()
    for kind in ("HC0", "HC1", "HC2", "HC3", "HC4"):
        close(results.with_covariance(kind).cov, case["hc"][kind], rtol=1e-8, atol=1e-12)
    groups = {"g1": labels["g1"], "g2": labels["g2"]}
    groups["both"] = np.column_stack([labels["g1"], labels["g2"]])
    for row in case["cluster"]:
        # The correction is G/(G - 1) and (n - 1)/(n - k) together, or neither.
        if (row["type"] == "HC1") == row["cadjust"]:
            found = results.with_covariance(
                "cluster", groups=groups[row["by"]], use_correction=row["cadjust"]
            )
            close(found.cov, row["cov"], rtol=1e-8, atol=1e-12)
    for row in case["hac"]:
        lags = row["lag"] if row["kind"] == "newey_west" else row["bandwidth"] - 1
        found = results.with_covariance("HAC", maxlags=lags, use_correction=row["adjust"])
        close(found.cov, row["cov"], rtol=1e-8, atol=1e-12)


def test_a_covariance_is_remembered_with_what_made_it():
    results = fitted("gamma log weighted")
    labels = np.arange(results.nobs) % 6
    assert results.cov_kwds == {}
    expected = results.with_covariance("HC0")
    assert expected.cov_kwds == {"bread": "expected"}
    observed = expected.with_covariance("HC0", bread="observed")
    assert np.abs(observed.bse / expected.bse - 1).max() > 1e-3
    by_t = observed.with_covariance(use_t=True)
    assert by_t.cov_type == "HC0" and by_t.use_t
    np.testing.assert_array_equal(by_t.cov, observed.cov)
    clustered = results.with_covariance("cluster", groups=labels)
    assert clustered.cov_kwds["n_groups"] == 6
    assert clustered.df_resid_inference == 5
    again = {"groups": labels, "df_correction": False, "scaling_factor": 4.0}
    scaled = results.with_covariance("cluster", **again)
    close(scaled.bse, 2.0 * clustered.bse)
    assert scaled.df_resid_inference == results.df_resid
    assert scaled.cov_kwds["scaling_factor"] == 4.0
    freed = [results.with_covariance(kind, groups=labels) for kind in ("CR2", "CR3")]
    assert (freed[0].bse < freed[1].bse).all() and freed[1].df_resid_inference == 5
    jackknife = results.with_covariance("CR3", groups=labels, use_correction=False)
    close(jackknife.cov, 5 / 6 * freed[1].cov)
    back = clustered.with_covariance("nonrobust")
    close(back.cov, results.cov)
    assert back.df_resid_inference == results.df_resid
    R = np.array([[0.0, 1.0, -1.0]])
    close(clustered.cov_params(R), R @ clustered.cov @ R.T)
    close(clustered.cov_params(R, other=np.eye(3)), R @ clustered.cov)
    close(clustered.cov_params(column=1), clustered.cov[1, 1])
    close(clustered.cov_params(column=[0, 2]), clustered.cov[::2, ::2])
    close(clustered.cov_params(scale=2.0), 2.0 * results.normalized_cov_params)
    close(clustered.cov_params(R, cov_p=np.eye(3)), R @ R.T)
    with pytest.raises(ValueError, match="groups: the covariance 'HC0' takes none"):
        results.with_covariance("HC0", groups=labels)


def test_fit_takes_the_covariance_as_an_argument():
    case = SANDWICH["gamma log"]
    groups = reference("r_sandwich")["g1"]
    results = model_of(case).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    wanted = [r for r in case["cluster"] if r["by"] == "g1" and r["type"] == "HC1" and r["cadjust"]]
    close(results.cov_params(), wanted[0]["cov"], rtol=1e-8, atol=1e-12)
    assert results.cov_type == "cluster"
    assert results.df_resid_inference == len(set(groups)) - 1
    with pytest.raises(ValueError, match="HC9.*allowed are nonrobust"):
        results.with_covariance("HC9")
    with pytest.raises(TypeError):
        model_of(case).fit(cov_type="cluster", cov_kwds={"grops": groups})


@pytest.mark.parametrize("name", ("warpbreaks poisson", "gamma log weighted", "mtcars gaussian"))
def test_tables_tests_and_intervals_are_those_of_r(name):
    case = INFERENCE[name]
    results = model_of(case).fit()
    assign, wanted = np.array(case["assign"]), case["sequential"]
    terms = {term: np.flatnonzero(assign == k + 1) for k, term in enumerate(case["terms"])}
    table = results.anova(terms)
    close(table.deviance, wanted["deviance"])
    by_f = case["family"] in DISPERSED
    assert table.test == ("F" if by_f else "chisq")
    close(table.pvalue, wanted["f_pvalue" if by_f else "chisq_pvalue"])
    dropped = results.anova(terms, typ=3)
    close(dropped.residual_deviance[-1], case["drop_one"]["deviance"][-1])
    close(results.score_test(case["extra"]).z, case["score_test_z"])
    close(results.conf_int(method="profile"), case["confint_exact"], rtol=1e-8)


@pytest.mark.parametrize("name", ("warpbreaks poisson", "gamma log weighted"))
def test_predictions_have_rs_standard_errors(name):
    case = INFERENCE[name]
    results, wanted = model_of(case).fit(), INFERENCE[name]["predict"]
    rows = wanted["rows"]
    shift = None if case["offset"] is None else np.array(case["offset"])[rows]
    found = results.get_prediction(np.array(case["X"])[rows], offset=shift)
    close(found.linear, wanted["link"])
    close(found.linear_se, wanted["link_se"])
    close(found.mean, wanted["response"])
    close(found.se, wanted["response_se"])
    z = -results.conf_int()[0, 0] + results.params[0]
    half = z / results.bse[0] * found.linear_se
    close(found.lower, results.family.link.inverse(found.linear - half))
    close(found.upper, results.family.link.inverse(found.linear + half))
    new = results.prediction_interval(np.array(case["X"])[rows], offset=shift)
    drawn = results.prediction_interval(
        np.array(case["X"])[rows], offset=shift, key=jax.random.key(4), n_draws=4000
    )
    close(drawn.mean, new.mean)
    assert np.all((drawn.lower < new.mean) & (new.mean < drawn.upper))
    assert np.all(np.abs(np.log((drawn.upper - drawn.lower) / (new.upper - new.lower))) < 0.4)


def test_the_table_of_coefficients_holds_what_is_printed():
    results = fitted("gamma log weighted")
    table = results.coef_table(0.1)
    assert table["term"] == list(results.exog_names)
    close(table["estimate"] / table["se"], table["statistic"])
    close(np.column_stack([table["lower"], table["upper"]]), results.conf_int(0.1))
    close(table["p"], results.pvalues)
    extra = results.info_criteria("aicc") - results.aic
    close(extra, 2 * 3 * 4 / (results.n_total - 4))


@pytest.mark.parametrize("name", ("warpbreaks poisson", "gamma log weighted"))
def test_contributions_of_terms_are_those_of_r(name):
    case, results = INFERENCE[name], model_of(INFERENCE[name]).fit()
    wanted, assign = case["predict"], np.array(case["assign"])
    terms = {term: np.flatnonzero(assign == t + 1) for t, term in enumerate(case["terms"])}
    X = np.array(case["X"])[wanted["rows"]]
    found = results.predict_terms(X, terms)
    assert found.names == tuple(case["terms"])
    close(found.value, wanted["terms"], atol=1e-12)
    close(found.se, wanted["terms_se"], atol=1e-12)
    close(found.constant, wanted["terms_constant"])
    alone, shift = results.predict_terms(), 0.0 if case["offset"] is None else case["offset"]
    assert alone.value.shape == (results.nobs, len(results.params) - 1)
    whole = alone.value.sum(axis=1) + alone.constant + np.array(shift)
    close(whole, results.predict(which="linear"), atol=1e-12)


def test_alpha_is_estimated_with_its_standard_error():
    case = reference("nb_ml")["cases"][0]
    results = model_of(case | {"family_parameter": None}).fit()
    close(results.params, case["params"])
    close(results.family.alpha, case["alpha"])
    close(results.bse, case["bse"])
    close(results.family_parameter_se, case["alpha_se"], rtol=1e-8)
    close(results.llf, case["loglike"])
    shown = f"{case['alpha']:.4f} (se {case['alpha_se']:.3f})"
    assert shown in str(results.summary())


def test_glm_nb_is_reproduced():
    case = next(c for c in reference("r_inference")["negative_binomial"] if c["name"] == "quine")
    X, y, _ = data_of(case)
    results = jaxglm.GLM(y, X, families.NegativeBinomial(None)).fit()
    close(results.params, case["coefficients"], rtol=1e-9)
    close(results.bse, case["standard_errors"], rtol=1e-9)
    close(1 / results.family.alpha, case["theta"], rtol=1e-9)
    close(2 * results.llf, case["twologlik"])


# Weights


def everything(results):
    """All statistics of a fit that are no rows', by name."""
    names = (
        *("scale", "deviance", "null_deviance", "pearson_chi2", "llf", "llnull", "n_total"),
        *("rank", "k_constant", "df_model", "df_resid", "df_null", "df_resid_inference"),
        *("aic", "bic", "bic_llf", "bic_deviance", "params", "bse", "tvalues", "pvalues"),
        *("cov", "normalized_cov_params", "status", "family_parameter_se"),
    )
    found = {name: getattr(results, name) for name in names}
    for kind in ("cs", "mcf", "nagelkerke", "d2"):
        found[kind] = results.pseudo_rsquared(kind)
    found["aic of R"] = results.info_criteria("aic", results.deviance / results.n_total, 1)
    found["qaic"] = results.info_criteria("qaic", 1.3)
    for method in ("wald", "profile"):
        found[method] = results.conf_int(method=method)
    for kind in ("observed", "HC0", "HC1", "HC2", "HC3", "HC4"):
        found[kind] = results.with_covariance(kind).cov
    found["wald test"] = dataclasses.astuple(results.wald_test(np.eye(3)[1:]))
    found["margins"] = results.get_margeff().effect
    found["margin errors"] = results.get_margeff().se
    model = results.model
    if model.family.is_estimated:
        return found
    found["score"] = model.score(1.1 * results.params)
    found["information"] = model.information(1.1 * results.params, observed=True)
    found["loglike"] = model.loglike(1.1 * results.params)
    return found


def by_row(results):
    """The statistics that have one value for each row, by name."""
    kinds = ("response", "working", "pearson", "deviance", "anscombe")
    found = {kind: getattr(results, f"resid_{kind}") for kind in kinds}
    found["mu"] = results.mu
    influence = results.get_influence()
    return found | {f.name: getattr(influence, f.name) for f in dataclasses.fields(influence)}


# With one row fewer or more the door fills up to the same length, 72, and nothing is recompiled.
N_ROWS = 71


@cache
def weighted_models():
    """(family, y, keywords) for `small`'s design, each with what weights may meet."""
    data = small(N_ROWS)
    trials = 1.0 + np.arange(N_ROWS) % 5
    shares = np.round(trials / (1 + np.exp(-data.gaussian))) / trials
    weights = {"freq_weights": np.ones(N_ROWS), "var_weights": data.weights}
    return {
        "gamma": (families.Gamma(links.Log()), data.positive, weights | {"offset": data.offset}),
        "binomial": (families.Binomial(), shares, weights | {"n_trials": trials}),
        "negative binomial": (families.NegativeBinomial(None), 3 * data.count, weights),
    }


each_weighted = pytest.mark.parametrize("name", ("gamma", "binomial", "negative binomial"))


def refit(name, rows, **changed):
    """The results on these rows, with keywords (n,) changed before the rows are taken."""
    family, y, given = weighted_models()[name]
    columns = {"endog": y, "exog": small(N_ROWS).X} | given | changed
    return jaxglm.GLM(family=family, **{k: v[rows] for k, v in columns.items()}).fit()


def agree(got, wanted, loose=()):
    for key in wanted:
        rtol = 1e-6 if key in loose else 1e-9
        np.testing.assert_allclose(got[key], wanted[key], rtol=rtol, atol=1e-10, err_msg=key)


ALL = np.arange(N_ROWS)


@each_weighted
def test_a_frequency_is_so_many_repeated_rows_in_every_statistic(name):
    frequency = np.where(ALL < 60, 1 + (ALL % 12 == 3) - (ALL % 12 == 5), 1)
    repeat = np.repeat(ALL, frequency)
    once, often = refit(name, ALL, freq_weights=frequency), refit(name, repeat)
    assert often.nobs == once.n_total == len(repeat)
    agree(everything(once), everything(often), loose=("profile",))
    agree({k: v[repeat] for k, v in by_row(once).items()}, by_row(often))
    labels = ALL // 6
    pair = [once.with_covariance("cluster", groups=labels)]
    pair.append(often.with_covariance("cluster", groups=labels[repeat]))
    assert pair[0].df_resid_inference == pair[1].df_resid_inference
    close(pair[0].cov, pair[1].cov, rtol=1e-9, atol=1e-12)
    lagged = [r.with_covariance("HAC", maxlags=2).cov for r in (once, often)]
    close(*lagged, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weight", ("freq_weights", "var_weights", "n_trials"))
@each_weighted
def test_a_row_of_weight_zero_is_a_row_deleted_in_every_statistic(name, weight):
    if weight == "n_trials" and name != "binomial":
        return
    gone = np.isin(ALL, (0, 40))
    _, y, given = weighted_models()[name]
    # What stands in a deleted row must not matter, an impossible response included.
    spoiled = np.where(gone, -3.0, y)
    zero = refit(name, ALL, endog=spoiled, **{weight: np.where(gone, 0.0, given[weight])})
    deleted = refit(name, ~gone)
    assert zero.nobs == deleted.nobs == N_ROWS - 2
    agree(everything(zero), everything(deleted), loose=("profile",))
    rows = by_row(zero)
    agree({k: v[~gone] for k, v in rows.items()}, by_row(deleted))
    assert all(np.isnan(rows[k][gone]).all() for k in ("response", "hat_diagonal", "dfbeta"))
    close(rows["mu"][gone], zero.predict()[gone])


# Dependent columns


@cache
def deficient():
    """A fit whose third column is the sum of the others, the same without it, and the warnings."""
    data = small(24)
    X = np.column_stack([data.X[:, :2], data.X[:, 0] + data.X[:, 1], data.X[:, 2]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = jaxglm.GLM(data.count, X, families.Poisson()).fit()
    return whole, jaxglm.GLM(data.count, data.X, families.Poisson()).fit(), caught


def test_aliased_columns_are_nan_and_change_nothing_else():
    whole, reduced, caught = deficient()
    kept = [0, 1, 3]
    assert [str(w.message).count("x2") for w in caught] == [1]
    assert "rank 3 of 4" in str(caught[0].message) and caught[0].filename == __file__
    assert list(whole.aliased) == [False, False, True, False]
    for name in ("params", "bse", "tvalues", "pvalues"):
        assert np.isnan(getattr(whole, name)[2])
        close(getattr(whole, name)[kept], getattr(reduced, name))
    close(whole.cov[np.ix_(kept, kept)], reduced.cov)
    assert np.isnan(whole.cov[2]).all() and np.isnan(whole.cov[:, 2]).all()
    for name in ("rank", "df_model", "df_resid", "deviance", "llf", "aic", "null_deviance"):
        close(getattr(whole, name), getattr(reduced, name))
    close(whole.conf_int(method="profile")[kept], reduced.conf_int(method="profile"), rtol=1e-7)
    close(whole.resid_partial()[:, kept], reduced.resid_partial(), atol=1e-12)
    close(whole.get_influence().cooks_distance, reduced.get_influence().cooks_distance, atol=1e-14)
    close(whole.predict(whole.model.exog), reduced.mu)
    close(whole.with_covariance("HC3").cov[np.ix_(kept, kept)], reduced.with_covariance("HC3").cov)
    assert "Aliased (the design has rank 3): x2" in str(whole.summary())


def test_dependent_columns_raise_on_request():
    model = deficient()[0].model
    with pytest.raises(ValueError, match=r"rank_deficient='error'.*rank 3 of 4; aliased: x2"):
        model.fit(rank_deficient="error")
    with pytest.raises(ValueError, match="allowed are 'warn', 'error', 'minnorm'"):
        model.fit(rank_deficient="drop")


def test_the_shortest_coefficients_are_those_of_statsmodels_pinv():
    case = reference("statsmodels")["minnorm"]
    model = model_of(case)
    results = model.fit(rank_deficient="minnorm")
    for name in ("params", "bse", "deviance", "df_model", "df_resid"):
        close(getattr(results, name), case[name], rtol=1e-12)
    information = model.exog.T @ (results.mu[:, None] * model.exog)
    close(results.cov, np.linalg.pinv(information, rcond=1e-10), atol=1e-14)


def test_the_shortest_coefficients_fit_as_any_others():
    whole = deficient()[0]
    results = whole.model.fit(rank_deficient="minnorm", cov_type="HC2")
    same = ("deviance", "llf", "rank", "df_resid", "null_deviance", "mu", "resid_pearson")
    for name in same:
        close(getattr(results, name), getattr(whole, name), atol=1e-13)
    X = whole.model.exog
    space = np.linalg.svd(X)[2]
    close(space[3] @ results.params, 0.0, atol=1e-14)
    close(results.params, np.linalg.pinv(X) @ X @ np.nan_to_num(whole.params))
    # What can be estimated has the same error in either.
    contrast = X[:3]
    robust = whole.with_covariance("HC2")
    close(results.t_test(contrast).se, robust.t_test(contrast).se)
    close(results.get_influence().cooks_distance, whole.get_influence().cooks_distance, atol=1e-14)
    with pytest.raises(ValueError, match="rank_deficient='minnorm'"):
        results.anova()


def test_a_design_of_full_rank_has_one_answer():
    model = jaxglm.GLM(small().count, small().X, families.Poisson())
    one, other = model.fit(rank_deficient="minnorm"), model.fit()
    close(one.params, other.params, rtol=0)
    assert one.anova().df.tolist() == other.anova().df.tolist()


def test_a_ridge_in_the_span_of_the_rows_solves_its_equations():
    model = deficient()[0].model
    results = model.fit(rank_deficient="minnorm", penalty=0.7)
    score = model.exog.T @ (model.endog - results.mu)
    close(score, 0.7 * results.params, atol=1e-10)


def test_nearly_dependent_columns_are_kept_with_a_warning():
    data = small(24)
    X = np.column_stack([data.X, data.X[:, 1] + 1e-9 * data.X[:, 2] ** 2])
    with pytest.warns(FitWarning, match="nearly collinear .* in x3"):
        results = jaxglm.GLM(data.gaussian, X).fit()
    assert results.rank == 4 and np.isfinite(results.params).all()


# Results that travel


def travelled(tmp_path):
    results = fitted("gamma log weighted")
    results.save(tmp_path / "fit.npz")
    return {
        "pickle": pickle.loads(pickle.dumps(results)),
        "load": GLMResults.load(tmp_path / "fit.npz"),
        "remove_data": results.remove_data(),
    }


def test_results_without_data_answer_all_that_needs_none(tmp_path):
    results = fitted("gamma log weighted")
    X = small(20).X
    for how, found in travelled(tmp_path).items():
        assert found.model is None and found.working is None, how
        assert str(found.summary()) == str(results.summary()), how
        for name in ("params", "bse", "pvalues", "llf", "aic", "bic", "deviance", "converged"):
            np.testing.assert_array_equal(getattr(found, name), getattr(results, name), how)
        np.testing.assert_array_equal(found.predict(X, offset=0.1), results.predict(X, offset=0.1))
        assert found.t_test("x1 = x2").pvalue == results.t_test("x1 = x2").pvalue
        assert found.family.link.inverse(0.3) == results.family.link.inverse(0.3)
        smaller = dataclasses.replace(found, deviance=found.deviance + 1, rank=2)
        assert found.compare_lr_test(smaller).pvalue == results.compare_lr_test(smaller).pvalue


@pytest.mark.parametrize(
    "ask",
    (
        lambda r: r.resid_deviance,
        lambda r: r.mu,
        lambda r: r.get_influence(),
        lambda r: r.conf_int(method="profile"),
        lambda r: r.with_covariance("HC0"),
        lambda r: r.anova(),
        lambda r: r.score_test(np.ones(20)),
        lambda r: r.llf_scaled(1.0),
        lambda r: r.predict(),
        lambda r: r.simulate(jax.random.key(0)),
        lambda r: r.predict_terms(),
        lambda r: r.fit_history,
        lambda r: r.expand(np.ones(20)),
    ),
)
def test_what_needs_the_data_says_so(ask):
    with pytest.raises(ValueError, match="needs the data, which save, pickle and remove_data"):
        ask(fitted("gamma log weighted").remove_data())


def test_stored_results_are_small_and_hold_no_data(tmp_path):
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(20_000), rng.standard_normal((20_000, 2))])
    results = jaxglm.GLM(X @ [1.0, 2.0, 3.0] + rng.standard_normal(20_000), X).fit()
    results.save(tmp_path / "fit.npz")
    assert (tmp_path / "fit.npz").stat().st_size < 5_000
    assert len(pickle.dumps(results)) < 5_000


def test_a_family_that_holds_a_function_is_not_saved(tmp_path):
    data = small(24)
    results = jaxglm.GLM(data.positive, data.X, families.Quasi(lambda mu: mu, links.Log())).fit()
    with pytest.raises(ValueError, match=r"save: Quasi\(variance_function=...\) holds a function"):
        results.save(tmp_path / "fit.npz")
    assert np.isnan([results.llf, results.aic, results.bic]).all()


# Summary


def test_the_summary_of_the_scottish_vote_is_the_published_one():
    scotland = datasets.scotland().with_constant()
    results = jaxglm.GLM(scotland.response, scotland.design, families.Gamma()).fit()
    text = str(results.summary()).splitlines()
    published = reference("tables")
    for row in published["rows"]:
        assert [line.split() for line in text if line.startswith(row["cells"][0] + " ")] == [
            row["cells"]
        ]


def test_the_summary_shows_offsets_and_failures():
    data = small(24)
    model = jaxglm.GLM(
        data.count, data.X, families.Poisson(), offset=data.offset, exposure=np.full(24, 2.0)
    )
    assert "offset + exposure" in str(model.fit().summary())
    with pytest.warns(FitWarning):
        short = model.fit(maxiter=1)
    assert "Status max_steps" in str(short.summary())


def test_the_summary_shows_parameters_weights_and_penalties():
    data = small(24)
    weighted = jaxglm.GLM(
        data.count,
        data.X,
        families.NegativeBinomial(0.7, links.Power(0.5)),
        var_weights=data.weights,
        freq_weights=np.ones(24),
    )
    text = str(weighted.evaluate([1.5, 0.0, 0.0]).summary())
    assert "0.7000 (fixed)" in text and "freq_weights + var_weights" in text
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("link power")] == [
        ["link", "power:", "0.5000"]
    ]
    ridge = jaxglm.GLM(data.gaussian, data.X).fit(penalty=1.0)
    assert "Ridge" in str(ridge.summary())


# Testing


def test_t_replaces_z_on_request():
    from scipy import stats

    results = fitted("gamma log weighted")
    t = results.with_covariance(use_t=True)
    close(results.pvalues, 2 * stats.norm.sf(np.abs(results.tvalues)))
    close(t.pvalues, 2 * stats.t.sf(np.abs(t.tvalues), t.df_resid))
    half = stats.t.isf(0.05, t.df_resid) * t.bse
    close(t.conf_int(0.1), np.column_stack([t.params - half, t.params + half]))
    joint = t.wald_test("x1 = x2 = 0")
    assert joint.df_denominator == t.df_resid
    close(joint.pvalue, stats.f.sf(joint.statistic, 2, t.df_resid))
    close(joint.statistic, results.f_test("x1 = x2 = 0").statistic)
    close(results.wald_test("x1 = x2 = 0").statistic, 2 * joint.statistic)
    assert "P>|t|" in str(t.summary())


def test_terms_are_tested_together():
    results = fitted("gamma log weighted")
    found = results.wald_test_terms({"both": ["x1", "x2"], "second": 2})
    close(dataclasses.astuple(found["both"]), dataclasses.astuple(results.wald_test("x1 = x2 = 0")))
    close(found["second"].statistic, results.tvalues[2] ** 2)
    assert list(results.wald_test_terms()) == ["x1", "x2"]
    with pytest.raises(ValueError, match=r"terms\['a'\].*names of columns, const, x1, x2"):
        results.wald_test_terms({"a": ["x9"]})


def test_levels_are_compared_in_pairs_whatever_the_coding():
    data, level = small(24), np.arange(24) % 5 % 3
    dummies = (level[:, None] == np.arange(3)).astype(float)

    def fit(X):
        return jaxglm.GLM(data.count, X, families.Poisson()).fit()

    full = fit(dict(zip("abc", dummies.T, strict=True))).t_test_pairwise(["a", "b", "c"])
    treated = fit({"one": np.ones(24), "b": dummies[:, 1], "c": dummies[:, 2]})
    against = treated.t_test_pairwise(["b", "c"], reference="a", method="holm")
    assert full.pairs == against.pairs == ("b - a", "c - a", "c - b")
    for name in ("estimate", "se", "pvalue", "lower"):
        close(getattr(full, name), getattr(against, name), rtol=1e-9)
    close(against.estimate[:2], treated.params[1:])
    close(against.adjusted, adjust_pvalues(against.pvalue, "holm"))
    close(full.adjusted, adjust_pvalues(full.pvalue, "holm-sidak"))
    with pytest.raises(ValueError, match="two levels or a reference"):
        treated.t_test_pairwise("b")


def test_an_estimated_scale_of_counts_makes_f_tests():
    data = small(24)
    model = jaxglm.GLM(data.count, data.X, families.Poisson())
    plain, quasi = model.fit(), model.fit(scale="X2")
    assert (plain.anova().test, quasi.anova().test) == ("chisq", "F")
    smaller = jaxglm.GLM(data.count, data.X[:, :2], families.Poisson()).fit()
    assert plain.compare_lr_test(smaller).df_denominator == np.inf
    found = quasi.compare_lr_test(smaller)
    assert found.df_denominator == quasi.df_resid
    close(found.f, (smaller.deviance - quasi.deviance) / quasi.scale)
    close(quasi.anova().statistic[-1], found.f, rtol=1e-8)
    close(quasi.bse, plain.bse * np.sqrt(quasi.scale))
    fixed = jaxglm.GLM(data.gaussian, data.X).fit(scale=0.25)
    assert fixed.anova().test == "chisq"


def test_only_nested_fits_to_the_same_rows_are_compared():
    data = small(24)
    full = jaxglm.GLM(data.count, data.X, families.Poisson()).fit()
    fewer = jaxglm.GLM(data.count[:20], data.X[:20, :2], families.Poisson()).fit()
    with pytest.raises(ValueError, match=r"compare_lr_test\(restricted=...\): nobs is 20, here 24"):
        full.compare_lr_test(fewer)
    gaussian = jaxglm.GLM(data.count, data.X[:, :2]).fit()
    with pytest.raises(ValueError, match="the family is Gaussian, here Poisson"):
        full.compare_lr_test(gaussian)
    with pytest.raises(ValueError, match="degrees of freedom"):
        full.compare_lr_test(full)


# Prediction


def test_an_offset_is_asked_for_at_prediction():
    results, X = fitted("gamma log weighted"), small(20).X
    with pytest.raises(ValueError, match="fitted with an offset or exposure; pass offset"):
        results.predict(X)
    shift = np.linspace(-1.0, 1.0, 20)
    close(results.predict(X, offset=shift), np.exp(X @ results.params + shift))
    close(results.predict(X, exposure=np.exp(shift)), results.predict(X, offset=shift))
    close(results.predict(), results.mu)
    close(results.predict(X, offset=0.0, which="linear"), X @ results.params)
    mean = results.predict(X, offset=0.0)
    close(results.predict(X, offset=0.0, which="var_unscaled"), mean**2)
    with pytest.raises(ValueError, match=r"exposure=...\): .*positive"):
        results.predict(X, exposure=-1.0)
    with pytest.raises(ValueError, match="which='median'"):
        results.predict(X, offset=0.0, which="median")


def test_new_columns_are_matched_by_name_and_counted():
    data = small(24)
    columns = dict(zip(("one", "a", "b"), data.X.T, strict=True))
    results = jaxglm.GLM(data.count, columns, families.Poisson()).fit()
    close(results.predict({k: columns[k] for k in ("b", "one", "a")}), results.mu)
    close(results.predict(columns | {"c": data.offset}), results.mu)
    with pytest.raises(ValueError, match="2 columns; the model has 3: one, a, b"):
        results.predict(data.X[:, :2])


def test_the_distribution_is_the_familys_at_the_means():
    data = small(24)
    for family, y in ((families.Poisson(), data.count), (families.Gamma(), data.positive)):
        results = jaxglm.GLM(y, data.X, family).fit()
        found = results.get_distribution()
        again = results.model.get_distribution(results.params, results.scale)
        close([again.mean, again.phi], [found.mean, found.phi])
        close(found.mean, results.mu)
        close(found.variance, results.scale * np.asarray(family.variance(results.mu)))
        # Poisson's scale is 1, so that its density is the likelihood's; Gamma's is at Pearson's.
        close(found.log_prob(y).sum(), results.llf)
        assert found.cdf(-1.0).max() == 0.0 and found.cdf(np.inf).min() == 1.0
        draws = found.sample(jax.random.key(3), 4000)
        shares = (draws <= y).mean(axis=0)
        np.testing.assert_allclose(shares, found.cdf(y), atol=4.5 * 0.5 / np.sqrt(4000))
        assert draws.shape == (4000, 24)
        elsewhere = results.get_distribution(data.X[:5])
        close(elsewhere.mean, results.mu[:5])
    np.testing.assert_array_equal(
        results.simulate(jax.random.key(5)), found.sample(jax.random.key(5))
    )


def test_the_null_model_is_a_fit_of_its_own(monkeypatch):
    data = small(24)
    # Where every linear predictor has a mean, no second fit is compiled for it.
    monkeypatch.setattr(working, "fit_rows", None)
    for family, y in ((families.Poisson(), data.count), (families.Gamma("log"), data.positive)):
        given = {"offset": data.offset, "var_weights": data.weights}
        results = jaxglm.GLM(y, data.X, family, **given).fit()
        alone = jaxglm.GLM(y, data.X[:, :1], family, **given).fit()
        close(results.null_deviance, alone.deviance)
        close(results.llnull, alone.llf)
        close(results.null, alone.mu)
        without = jaxglm.GLM(y, data.X[:, 1:], family, **given).fit()
        close(without.null, np.exp(data.offset))


def test_penalised_fits_have_no_ratio_test():
    data = small(24)
    model = jaxglm.GLM(data.count, data.X, families.Poisson())
    smaller = jaxglm.GLM(data.count, data.X[:, :2], families.Poisson())
    for pair in (
        (model.fit(penalty=1.0), smaller.fit()),
        (model.fit(), smaller.fit(penalty=penalties.Jeffreys())),
    ):
        with pytest.raises(ValueError, match="the penalty (Ridge|Jeffreys).*maximum likelihood"):
            pair[0].compare_lr_test(pair[1])


def test_penalties_reach_the_door():
    data = small(24)
    strength = np.array([0.0, 2.0, 3.0])
    results = jaxglm.GLM(data.gaussian, data.X).fit(penalty=strength)
    P = np.diag(strength)
    wanted = np.linalg.solve(data.X.T @ data.X + P, data.X.T @ data.gaussian)
    close(results.params, wanted)
    firth = jaxglm.GLM(data.share, data.X, families.Binomial()).fit(penalty=penalties.Jeffreys())
    assert firth.status is Status.converged
    with pytest.raises(ValueError, match="without a penalty"):
        results.anova()
