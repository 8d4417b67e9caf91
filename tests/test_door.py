"""The door of a single fit: what goes in under any name, and what the model answers unfitted."""

import dataclasses
import os
import subprocess
import sys
import warnings
from functools import cache

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import close, small

import jaxglm
from jaxglm import FitWarning, Status, families, links, solvers
from jaxglm.frames import DomainWarning
from jaxglm.submodels import fit_constrained

N = 24
DATA = small(N)


@cache
def poisson():
    return jaxglm.GLM(DATA.count, DATA.X, families.Poisson()).fit()


@cache
def gamma():
    model = jaxglm.GLM(
        *(DATA.positive, DATA.X, families.Gamma(links.Log())),
        offset=DATA.offset,
        var_weights=DATA.weights,
    )
    return model.fit()


# Names


COLUMNS = dict(zip(("one", "age", "dose"), DATA.X.T, strict=True))


@pytest.mark.parametrize(
    ("endog", "exog"),
    (
        (pd.Series(DATA.count, name="cases"), pd.DataFrame(COLUMNS)),
        (pl.Series("cases", DATA.count), pl.DataFrame(COLUMNS)),
        ({"cases": DATA.count}, COLUMNS),
        (pd.Series(DATA.count.astype(int), name="cases", index=range(5, 5 + N)), COLUMNS),
    ),
    ids=("pandas", "polars", "mapping", "index"),
)
def test_names_come_from_the_frame(endog, exog):
    model = jaxglm.GLM(endog, exog, families.Poisson())
    assert (model.endog_names, model.exog_names) == ("cases", ["one", "age", "dose"])
    results = model.fit()
    close(results.params, poisson().params)
    assert results.exog_names == ("one", "age", "dose")
    assert "\ndose " in str(results.summary())
    close(results.wald_test("age = dose").statistic, poisson().wald_test("x1 = x2").statistic)
    close(results.predict(exog), poisson().mu)


def test_columns_of_arrays_are_numbered():
    assert poisson().model.exog_names == ["const", "x1", "x2"]
    turned = jaxglm.GLM(DATA.count, DATA.X[:, ::-1], families.Poisson())
    assert turned.exog_names == ["x1", "x2", "const"]
    assert poisson().model.endog_names == "y"


@pytest.mark.parametrize("family", ("poisson", families.Poisson, families.Poisson()))
def test_a_family_may_be_a_name_a_class_or_an_instance(family):
    assert type(jaxglm.GLM(DATA.count, DATA.X, family).family) is families.Poisson


def test_the_default_family_is_gaussian():
    results = jaxglm.GLM(DATA.gaussian, DATA.X).fit()
    close(results.params, np.linalg.lstsq(DATA.X, DATA.gaussian, rcond=None)[0])


def test_missing_rows_are_dropped_from_all_arrays_together():
    rng = np.random.default_rng(4)
    extra = [0, 9, 20, 25]
    columns = {"endog": DATA.positive, "exog": DATA.X}
    columns |= {"offset": DATA.offset, "var_weights": DATA.weights}
    longer = {
        k: np.insert(v, [0, 8, 18, 22], rng.uniform(1, 2), axis=0) for k, v in columns.items()
    }
    for row, name in zip(extra, longer, strict=True):
        longer[name][row] = np.nan
    model = jaxglm.GLM(family=families.Gamma(links.Log()), missing="drop", **longer)
    assert model.nobs == N and not np.isin(extra, model.frame.rows).any()
    close(model.fit().params, gamma().params)
    for missing in ("none", "raise"):
        with pytest.raises(ValueError, match=r"GLM\(endog=...\): NaN in 1 rows"):
            jaxglm.GLM(family=families.Gamma(links.Log()), missing=missing, **longer)
    results = model.fit()
    for found, wanted in (
        (results.expand(results.resid_deviance), gamma().resid_deviance),
        (results.expand(results.get_influence()).dfbeta, gamma().get_influence().dfbeta),
    ):
        assert np.isnan(found[extra]).all() and len(found) == N + 4
        close(np.delete(found, extra, axis=0), wanted)
    with pytest.raises(ValueError, match=r"expand: shape \(3,\); allowed is \(24, ...\)"):
        results.expand(np.ones(3))


def test_three_spellings_of_counts_are_one():
    trials = 1.0 + np.arange(N) % 4
    success = np.round(trials * DATA.share * 0.8)
    pairs = np.column_stack([success, trials - success])
    one = jaxglm.GLM(pairs, DATA.X, families.Binomial()).fit()
    other = jaxglm.GLM(success / trials, DATA.X, families.Binomial(), n_trials=trials).fit()
    for name in ("params", "bse", "llf", "deviance", "pearson_chi2", "null_deviance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    rows = np.repeat(np.arange(N), trials.astype(int))
    first = np.concatenate([np.arange(int(t)) < s for t, s in zip(trials, success, strict=True)])
    single = jaxglm.GLM(first, DATA.X[rows], families.Binomial()).fit()
    close(single.params, one.params, rtol=1e-9)
    close(single.bse, one.bse, rtol=1e-9)


def test_exposure_is_an_offset_of_its_logarithm():
    exposure = np.exp(DATA.offset)
    given = {"exposure": exposure}, {"offset": DATA.offset}
    fits = [jaxglm.GLM(DATA.count, DATA.X, families.Poisson(), **g).fit() for g in given]
    close(fits[0].params, fits[1].params)
    close(fits[0].null_deviance, fits[1].null_deviance)
    both = jaxglm.GLM(
        *(DATA.count, DATA.X, families.Poisson()), offset=-DATA.offset, exposure=exposure
    ).fit()
    close(both.params, poisson().params)


# Fitting


@pytest.mark.parametrize("method", ("newton", "lbfgs"))
def test_every_method_reaches_the_same_estimate(method):
    results = gamma().model.fit(method=method)
    assert results.converged
    close(results.params, gamma().params, rtol=1e-9)
    # Standard errors are those of the expected information whatever the method.
    close(results.bse, gamma().bse, rtol=1e-9)


def test_a_start_changes_nothing_and_a_solver_is_taken():
    model = gamma().model
    close(model.fit(start_params=gamma().params + 0.1).params, gamma().params)
    loose = model.fit(solver=solvers.IRLS(tol=1e-3))
    assert loose.n_iter < gamma().n_iter and loose.method == "IRLS"


def test_a_failed_fit_warns_once_where_it_was_called():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = gamma().model.fit(maxiter=1)
    assert [w.category for w in caught] == [FitWarning]
    assert caught[0].filename == __file__
    assert "status max_steps" in str(caught[0].message) and "maxiter" in str(caught[0].message)
    assert results.status is Status.max_steps and not results.converged


@pytest.mark.parametrize("scale", ("X2", "dev", "ml", 0.3))
def test_the_scale_may_be_chosen(scale):
    results = gamma().model.fit(scale=scale)
    wanted = {
        "X2": results.pearson_chi2 / results.df_resid,
        "dev": results.deviance / results.df_resid,
        0.3: 0.3,
    }
    close(results.params, gamma().params)
    close(results.bse, gamma().bse * np.sqrt(results.scale / gamma().scale))
    if scale == "ml":
        around = [results.llf_scaled(results.scale * f) for f in (0.99, 1.0, 1.01)]
        assert around[1] > max(around[0], around[2])
    else:
        close(results.scale, wanted[scale])
    close(results.llf, results.llf_scaled(results.scale))


# Equations


@pytest.mark.parametrize(
    "constraints",
    ("x1 = x2", "x1 + 2*x2 = 1, const = 0.3", (np.array([[0.0, 1.0, -1.0]]), 0.5)),
)
def test_a_fit_under_equations_is_that_of_the_lower_floor(constraints):
    results, model = gamma().model.fit_constrained(constraints), gamma().model
    R, q = {
        "x1 = x2": ([[0, 1, -1]], 0.0),
        "x1 + 2*x2 = 1, const = 0.3": ([[0, 1, 2], [1, 0, 0]], [1, 0.3]),
    }.get(constraints if isinstance(constraints, str) else None, ([[0, 1, -1]], 0.5))
    R, q = np.array(R, dtype=float), np.array(q)
    close(R @ results.params, np.broadcast_to(q, len(R)), atol=1e-12)
    below = fit_constrained(
        *(DATA.X, DATA.positive, model.family, R, q),
        offset=DATA.offset,
        var_weights=DATA.weights,
    )
    close(results.params, below.params, rtol=1e-9)
    close(results.cov, below.scale * below.cov_unscaled, rtol=1e-8, atol=1e-14)
    close(results.llf, below.loglike)
    assert results.rank == 3 - len(R) and results.df_resid == N - results.rank
    assert np.linalg.matrix_rank(results.cov, tol=1e-10) == results.rank
    close(results.mu, np.exp(DATA.X @ results.params + DATA.offset))
    found = gamma().compare_lr_test(results)
    assert found.df == len(R) and found.chi2 > 0
    with pytest.raises(ValueError, match="without equations"):
        results.anova()


def test_intervals_under_equations_are_those_of_the_model_written_out():
    results = poisson().model.fit_constrained("x1 = x2")
    written = np.column_stack([DATA.X[:, 0], DATA.X[:, 1] + DATA.X[:, 2]])
    other = jaxglm.GLM(DATA.count, written, families.Poisson()).fit()
    for method in ("profile", "score"):
        close(results.conf_int(method=method), other.conf_int(method=method)[[0, 1, 1]], rtol=1e-8)
    held = poisson().model.fit_constrained("x2 = 0.25").conf_int(method="profile")
    close(held[2], [0.25, 0.25])


def test_equations_that_hold_change_nothing():
    params = gamma().params
    held = gamma().model.fit_constrained(np.eye(3)[1:2], params[1:2])
    close(held.params, params, rtol=1e-9)
    close(held.deviance, gamma().deviance)
    assert held.bse[1] == 0.0
    close(held.resid_partial(), gamma().resid_partial(), atol=1e-9)
    close(held.null_deviance, gamma().null_deviance, rtol=1e-9)
    robust = held.with_covariance("HC0")
    assert np.isfinite(robust.bse).all() and robust.bse[0] > 0


def test_equations_make_up_for_dependent_columns():
    groups = np.arange(N) % 2
    dummies = np.column_stack([np.ones(N), groups == 0, groups == 1]).astype(float)
    model = jaxglm.GLM(DATA.count, dummies, families.Poisson())
    results = model.fit_constrained("x1 + x2 = 0")
    means = np.log([DATA.count[groups == g].mean() for g in (0, 1)])
    close(results.params, [means.mean(), *(means - means.mean())], rtol=1e-9)
    wider = jaxglm.GLM(DATA.count, np.column_stack([dummies, groups]), families.Poisson())
    with pytest.raises(ValueError, match="rank deficient under the constraints too"):
        wider.fit_constrained("x1 + x2 = 0")


def test_contradictory_equations_raise():
    model = gamma().model
    with pytest.raises(ValueError, match="contradict"):
        model.fit_constrained(np.array([[0, 1, 0], [0, 1, 0]]), [0.0, 1.0])
    with pytest.raises(ValueError, match="fix all"):
        model.fit_constrained(np.eye(3), np.zeros(3))


# The passes of a fit


@pytest.mark.parametrize("method", ("IRLS", "newton", "lbfgs"))
def test_the_history_ends_in_the_estimate(method):
    results = jaxglm.GLM(DATA.count, DATA.X, families.Poisson()).fit(method=method)
    history = results.fit_history
    close(history.params[-1], results.params)
    close(history.deviance[-1], results.deviance)
    assert np.all(np.diff(history.deviance) <= 1e-9 * results.deviance)
    # A gradient method is followed by its polish, whose passes alone are counted.
    more = len(history.deviance) - results.n_iter
    assert more > 0 if method == "lbfgs" else more == 0
    for params, found in zip(history.params, history.deviance, strict=True):
        close(poisson().model.evaluate(params).deviance, found)


def test_what_is_solved_for_jointly_has_no_history():
    with pytest.raises(ValueError, match="`evaluate` makes no passes"):
        _ = gamma().model.evaluate(gamma().params).fit_history
    working = poisson().working
    unknown = dataclasses.replace(working.problem, family=families.NegativeBinomial(None))
    with pytest.raises(ValueError, match="give the family's parameter"):
        dataclasses.replace(working, problem=unknown).history()


@pytest.mark.parametrize(
    ("family", "speaks"),
    (
        (families.Poisson(links.Identity()), True),
        (families.Gamma(links.Identity()), True),
        (families.Binomial(links.Log()), True),
        (families.Binomial(links.Probit()), False),
        (families.Poisson(links.Sqrt()), False),
        (families.Gaussian(links.Log()), False),
        (families.Gamma(), False),
    ),
)
def test_a_link_beyond_the_familys_means_is_spoken_of(family, speaks):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jaxglm.GLM(np.array([1.0, 0.5, 1.0]), np.ones((3, 1)), family)
    about = [w for w in caught if w.category is DomainWarning]
    assert len(about) == speaks
    assert all(w.filename == __file__ for w in about)


# The model at given coefficients


def test_evaluating_the_estimate_gives_the_results_of_the_fit():
    results = gamma().model.evaluate(gamma().params)
    assert results.status is Status.converged and results.n_iter == 0
    for name in ("params", "bse", "scale", "deviance", "llf", "llnull", "pearson_chi2", "aic"):
        close(getattr(results, name), getattr(gamma(), name), rtol=1e-9)
    elsewhere = gamma().model.evaluate(gamma().params + 0.1)
    assert elsewhere.status is Status.max_steps
    assert elsewhere.deviance > gamma().deviance
    close(elsewhere.mu, np.exp(DATA.X @ elsewhere.params + DATA.offset))
    with pytest.raises(ValueError, match="parameter to estimate"):
        jaxglm.GLM(DATA.count, DATA.X, families.NegativeBinomial(None)).evaluate(np.zeros(3))


@pytest.mark.parametrize("results", (poisson, gamma))
def test_score_and_information_are_derivatives_of_the_loglikelihood(results):
    model, params = results().model, results().params + np.array([0.1, -0.2, 0.1])
    scale, step = 0.7, 1e-5

    def slope(function):
        sides = [[function(params + s * e) for s in (step, -step)] for e in np.eye(3)]
        return np.array([(up - down) / (2 * step) for up, down in sides])

    score = slope(lambda b: model.loglike(b, scale))
    close(model.score(params, scale), score, rtol=1e-6)
    close(model.score_obs(params, scale).sum(axis=0), model.score(params, scale))
    close(model.exog.T @ model.score_factor(params, scale), model.score(params, scale))
    hessian = slope(lambda b: model.score(b, scale))
    close(model.hessian(params, scale), hessian, rtol=1e-6)
    close(model.information(params, scale, observed=True), -hessian, rtol=1e-6)
    w = model.hessian_factor(params, scale, observed=False)
    close(model.information(params, scale), (model.exog.T * w) @ model.exog)
    close(model.score(results().params), np.zeros(3), atol=1e-7)
    close(model.loglike(results().params), results().llf)
    close(np.linalg.inv(model.information(results().params)), results().cov, rtol=1e-9)


def test_the_gaussian_loglikelihood_is_concentrated():
    results = jaxglm.GLM(DATA.gaussian, DATA.X).fit()
    close(results.model.loglike(results.params), results.llf)
    close(results.model.estimate_scale(results.mu), results.scale)


def test_means_have_the_likelihood_of_their_coefficients():
    for results in (poisson(), gamma()):
        model, scale = results.model, results.scale
        close(model.loglike_mu(results.mu, scale), model.loglike(results.params, scale))
        close(model.estimate_scale(results.mu), results.pearson_chi2 / results.df_resid)
    with pytest.raises(ValueError, match=r"loglike_mu\(mu=...\): shape \(3,\); allowed is \(24,\)"):
        gamma().model.loglike_mu(gamma().params)


def test_score_tests_of_the_model_are_those_of_its_submodels():
    model = gamma().model
    smaller = jaxglm.GLM(
        *(DATA.positive, DATA.X[:, :2], model.family),
        offset=DATA.offset,
        var_weights=DATA.weights,
    )
    fit = smaller.fit()
    added = smaller.score_test(fit.params, exog_extra=DATA.X[:, 2])
    held = model.score_test(np.append(fit.params, 0.0), k_constraints=1)
    for found in (added, held):
        close(found.statistic, fit.score_test(DATA.X[:, 2]).statistic, rtol=1e-8)
        close(found.pvalue, fit.score_test(DATA.X[:, 2]).pvalue, rtol=1e-8)
    bound = model.fit_constrained("x1 = x2")
    equal = model.score_test(bound.params, 1)
    assert equal.df == 1 and 0 < equal.pvalue < 1
    with pytest.raises(ValueError, match="one of k_constraints=... and exog_extra"):
        model.score_test(fit.params)


def test_the_model_predicts_at_any_coefficients():
    model, params = gamma().model, np.array([0.1, 0.2, -0.3])
    eta = DATA.X @ params + DATA.offset
    close(model.predict(params), np.exp(eta))
    close(model.predict(params, which="linear"), eta)
    close(model.predict(params, DATA.X[:4], offset=DATA.offset[:4]), np.exp(eta[:4]))
    with pytest.raises(ValueError, match="fitted with an offset"):
        model.predict(params, DATA.X[:4])
    with pytest.raises(ValueError, match=r"params=...\): shape \(2,\); allowed are \(3,\)"):
        model.predict(params[:2])


def test_separation_is_detected_before_any_fit():
    y = (DATA.X[:, 1] > 0.1).astype(float)
    model = jaxglm.GLM(y, DATA.X, families.Binomial())
    assert model.detect_separation().separated
    assert not jaxglm.GLM(DATA.share, DATA.X, families.Binomial()).detect_separation().separated


# Precision


@pytest.mark.dtype
def test_results_are_float64_whatever_the_flag():
    assert poisson().params.dtype == poisson().mu.dtype == np.float64
    # More than float32 could hold: the score vanishes to rounding.
    residual = DATA.count - np.exp(DATA.X @ poisson().params)
    assert np.abs(DATA.X.T @ residual).max() < 1e-10
    for found in (poisson().conf_int(), poisson().pvalues, poisson().get_prediction().se):
        assert found.dtype == np.float64
    wanted = bool(jax.config.jax_enable_x64)
    assert jax.numpy.ones(1).dtype == (np.float64 if wanted else np.float32)


def test_the_flag_changes_no_digit():
    code = (
        "import numpy as np, jaxglm; from jaxglm import families\n"
        "X = np.column_stack([np.ones(24), np.sin(np.arange(24.0))])\n"
        "y = np.arange(24.0) % 5\n"
        "r = jaxglm.GLM(y, X, families.Poisson()).fit()\n"
        "print([v.hex() for v in (*r.params, *r.bse, r.llf, r.null_deviance)])"
    )
    printed = []
    for flag in ("0", "1"):
        env = {**os.environ, "JAX_ENABLE_X64": flag}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        printed.append(done.stdout)
    assert printed[0] == printed[1] and "0x" in printed[0]


def test_statsmodels_names_of_models_and_results_answer():
    random = np.random.default_rng(7)
    X = np.column_stack([np.ones(40), random.normal(size=(40, 2))])
    y, weights = random.poisson(2.0, 40).astype(float), random.integers(0, 3, 40).astype(float)
    model = jaxglm.GLM(y, X, families.Poisson(), offset=0.1 * X[:, 1], freq_weights=weights)
    results = model.fit(method="irls", scale="x2")
    assert (model.df_resid, model.df_model) == (results.df_resid, results.df_model)
    assert model.n_trials is None and model.var_weights is None
    np.testing.assert_array_equal(model.offset, 0.1 * X[:, 1])
    np.testing.assert_array_equal(model.freq_weights, weights)
    test = model.score_test(results.params, exog_extra=X[:, 1] ** 2)
    statistic, pvalue, df = test
    assert (statistic, pvalue, df) == (test.statistic, test.pvalue, test.df) and test[0] > 0
    found = results.get_prediction()
    np.testing.assert_allclose(found.predicted_mean, results.mu, rtol=1e-12)
    np.testing.assert_array_equal(found.conf_int()[:, 0], found.lower)
    assert str(results.summary2()) == str(results.summary())
    llf = results.family.loglike(y, results.mu, freq_weights=weights, scale=results.scale)
    np.testing.assert_allclose(llf, results.llf, rtol=1e-12)
    effects = results.get_margeff()
    assert effects.margeff is effects.effect and effects.margeff_se is effects.se


def test_the_informations_have_statsmodels_names():
    model = jaxglm.GLM(DATA.positive, DATA.X, families.Gamma(links.Log()))
    results = model.fit(method="newton", optim_hessian="eim")
    assert results.method == "IRLS" and model.fit(method="newton").method == "Newton"
    for name, own in (("eim", "nonrobust"), ("oim", "observed")):
        np.testing.assert_allclose(
            results.with_covariance(name).bse, results.with_covariance(own).bse, rtol=1e-14
        )


def test_passes_of_irls_shorten_the_way_of_another_method():
    random = np.random.default_rng(8)
    X = np.column_stack([np.ones(40), random.normal(size=(40, 2))])
    model = jaxglm.GLM(
        random.gamma(2.0, np.exp(X @ [0.5, 0.4, -0.3])), X, families.Gamma(links.Log())
    )
    alone, begun = (model.fit(method="newton", max_start_irls=k) for k in (0, 4))
    assert begun.n_iter < alone.n_iter
    np.testing.assert_allclose(begun.params, alone.params, rtol=1e-10)
