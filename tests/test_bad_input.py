"""Wrong input: the host door raises by the argument's name, a lane fails alone by its status."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxglm
from jaxglm import FitWarning, Status, families, fit, fit_many, links, penalties, solvers

N = 8
X = np.column_stack([np.ones(N), np.linspace(-1.0, 1.0, N)])
Y = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
COUNTS = np.array([1.0, 0.0, 2.0, 1.0, 3.0, 2.0, 4.0, 3.0])
POSITIVE = COUNTS + 0.5


def at(row, value, y=COUNTS):
    """y with one value replaced."""
    y = np.array(y, dtype=float)
    y[row] = value
    return y


def glm(endog=COUNTS, exog=X, family=families.Poisson, **given):
    return jaxglm.GLM(endog, exog, family, **given)


# Each row: what is passed, and what the error must say: the argument, what was got, what is
# allowed.
REFUSED = {
    "nan in y": (ValueError, {"endog": at(2, np.nan)}, r"endog=.*NaN in 1 rows .*row 2.*drop"),
    "nan in X": (ValueError, {"exog": at((3, 1), np.nan, X)}, r"exog=.*NaN in 1 rows .*row 3"),
    "inf in X": (ValueError, {"exog": at((3, 1), np.inf, X)}, r"exog=.*1 infinite .*row 3.*finite"),
    "inf in y": (ValueError, {"endog": at(2, np.inf)}, r"endog=.*row 2: inf.*Poisson needs"),
    "nan weight": (ValueError, {"var_weights": at(1, np.nan)}, r"var_weights=.*NaN .*row 1"),
    "None in y": (
        TypeError,
        {"endog": np.array([None, *COUNTS[1:]], dtype=object)},
        r"endog=.*dtype object .*None.*allowed are real numbers",
    ),
    "negative count": (ValueError, {"endog": at(4, -1)}, r"endog=.*row 4: -1\).*\[0, inf\)"),
    "binomial 2": (
        ValueError,
        {"endog": at(4, 2, Y), "family": families.Binomial},
        r"endog=.*row 4: 2\).*\[0, 1\].*divide counts by n_trials",
    ),
    "classes -1, 1": (
        ValueError,
        {"endog": 2 * Y - 1, "family": families.Binomial},
        r"endog=.*3 values.*code the two classes as 0 and 1",
    ),
    "more successes than trials": (
        ValueError,
        {"endog": np.column_stack([COUNTS, 2 - COUNTS]), "family": families.Binomial},
        r"endog=.*3 negative values \(first at row 4\).*\(success, failure\) >= 0",
    ),
    "proportions above 1": (
        ValueError,
        {"endog": COUNTS / 2, "family": families.Binomial, "n_trials": 2.0},
        r"endog=.*row 4: 1.5\)",
    ),
    "gamma 0": (ValueError, {"endog": COUNTS, "family": families.Gamma}, r"endog=.*\(0, inf\)"),
    "gamma -1": (ValueError, {"endog": at(0, -1, POSITIVE), "family": families.Gamma}, "row 0: -1"),
    "inverse gaussian 0": (
        ValueError,
        {"endog": COUNTS, "family": families.InverseGaussian},
        r"endog=.*InverseGaussian needs endog in \(0, inf\)",
    ),
    "tweedie -1": (ValueError, {"endog": at(0, -1), "family": families.Tweedie(1.5)}, "row 0: -1"),
    "tweedie 2.5 at 0": (ValueError, {"family": families.Tweedie(2.5)}, r"endog=.*row 1: 0"),
    "words": (TypeError, {"endog": ["yes", "no"] * 4}, r"endog=.*dtype <U3.*real numbers"),
    "unknown family": (
        ValueError,
        {"family": "poison"},
        "poison.*gaussian.*Did you mean 'poisson'",
    ),
    "no family": (TypeError, {"family": links.Log()}, r"family=.*Log.*jaxglm.families"),
    "exposure, identity": (
        ValueError,
        {"family": families.Poisson(links.Identity()), "exposure": COUNTS + 1},
        r"exposure=.*log link, the link is Identity; use offset",
    ),
    "negative weight": (
        ValueError,
        {"freq_weights": at(5, -1)},
        r"freq_weights=.*1 neg.*row 5.*>= 0",
    ),
    "infinite weight": (ValueError, {"var_weights": at(5, np.inf)}, r"var_weights=.*row 5"),
    "no weight at all": (ValueError, {"freq_weights": np.zeros(N)}, "all rows are 0"),
    "short weights": (ValueError, {"var_weights": np.ones(7)}, r"var_weights=.*\(7,\).*\(8,\)"),
    "column of weights": (ValueError, {"var_weights": np.ones((N, 1))}, r"var_weights=.*\(8, 1\)"),
    "short offset": (ValueError, {"offset": np.ones(7)}, r"offset=.*\(7,\).*allowed are \(8,\)"),
    "column of offsets": (ValueError, {"offset": np.ones((N, 1))}, r"offset=.*\(8, 1\)"),
    "infinite offset": (ValueError, {"offset": at(6, -np.inf)}, r"offset=.*1 infinite .*row 6"),
    "exposure 0": (ValueError, {"exposure": at(6, 0, POSITIVE)}, r"exposure=.*row 6.*> 0"),
    "exposure -1": (ValueError, {"exposure": at(6, -1, POSITIVE)}, r"exposure=.*row 6.*> 0"),
    "lengths": (ValueError, {"endog": COUNTS[:7]}, r"endog=.*\(7,\); exog has 8 rows"),
    "X 1-d": (ValueError, {"exog": X[:, 1]}, r"exog=.*\(8,\).*\(n, p\).*x\[:, None\]"),
    "X 3-d": (ValueError, {"exog": X[:, :, None]}, r"exog=.*\(8, 2, 1\).*allowed is \(n, p\)"),
    "y of 3 columns": (
        ValueError,
        {"endog": np.ones((N, 3))},
        r"endog=.*\(8, 3\).*allowed is \(8,\)",
    ),
    "pairs for poisson": (ValueError, {"endog": np.ones((N, 2))}, r"endog=.*\(8, 2\)"),
    "n = 0": (ValueError, {"endog": COUNTS[:0], "exog": X[:0]}, r"exog=.*\(0, 2\).*n, p >= 1"),
    "p = 0": (ValueError, {"exog": X[:, :0]}, r"exog=.*\(8, 0\).*n, p >= 1"),
    "complex X": (TypeError, {"exog": X + 0j}, r"exog=.*complex128.*real numbers"),
    "objects in X": (TypeError, {"exog": np.array([[{}, 1]] * N)}, r"exog=.*dtype object.*\{\}"),
    "sparse X": (TypeError, {"exog": scipy.sparse.csr_matrix(X)}, r"exog=.*sparse.*toarray"),
    "masked y": (TypeError, {"endog": np.ma.masked_less(COUNTS, 1)}, r"endog=.*masked.*drop"),
    "X of 1e200": (ValueError, {"exog": 1e200 * X}, r"exog=.*column 0 .*1e\+200.*rescale"),
    "trials for poisson": (ValueError, {"n_trials": 3.0}, r"n_trials=.*only for Binomial.*Poisson"),
    "missing=": (ValueError, {"missing": "ignore"}, r"missing='ignore'.*'none', 'drop', 'raise'"),
    "every row missing": (
        ValueError,
        {"endog": np.full(N, np.nan), "missing": "drop"},
        "every row has a missing value",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_data_are_refused_by_name(name):
    error, given, says = REFUSED[name]
    with pytest.raises(error, match=says):
        glm(**given)


CONTROLS = {
    "tol 0": ({"tol": 0.0}, "tol=0.0.*> 0"),
    "tol -1": ({"tol": -1.0}, "tol=-1.0.*> 0"),
    "maxiter 0": ({"maxiter": 0}, "maxiter=0.*integers >= 1"),
    "maxiter -5": ({"maxiter": -5}, "maxiter=-5.*integers >= 1"),
    "maxiter 2.5": ({"maxiter": 2.5}, "maxiter=2.5.*integers >= 1"),
    "long start": ({"start_params": np.ones(3)}, r"start_params=.*\(3,\).*\(2,\) finite"),
    "nan in start": ({"start_params": [0.0, np.nan]}, r"start_params=.*NaN.*\(2,\) finite"),
    "method": ({"method": "powell"}, "method='powell'.*IRLS, newton, lbfgs, bfgs"),
    "scale": ({"scale": "pearson"}, "scale='pearson'.*X2, dev, ml"),
    "scale 0": ({"scale": 0.0}, "scale=0.0.*> 0"),
    "penalty": ({"penalty": -1.0}, "-1.0.*>= 0"),
    "penalties": ({"penalty": np.array([1.0, -1.0])}, "penalty=.*negative.*semidefinite"),
    "cov_type": ({"cov_type": "HC7"}, "HC7.*nonrobust, observed, eim, oim, HC0"),
    "one cluster": (
        {"cov_type": "cluster", "cov_kwds": {"groups": np.ones(N)}},
        "groups: one cluster",
    ),
    "short groups": (
        {"cov_type": "cluster", "cov_kwds": {"groups": np.ones(7)}},
        r"groups: shape \(7,\).*\(8,\)",
    ),
    "no groups": ({"cov_type": "cluster"}, "needs groups"),
    "no maxlags": ({"cov_type": "HAC"}, "needs maxlags"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_wrong_controls_are_refused_by_name(name):
    given, says = CONTROLS[name]
    with pytest.raises(ValueError, match=says):
        glm().fit(**given)


@pytest.mark.parametrize(
    ("make", "says"),
    (
        (lambda: families.Quasi(3), r"Quasi\(variance=3\): allowed are functions"),
        (lambda: families.from_log_prob(3, support=(0, 1)), r"from_log_prob\(fn=3\)"),
        (lambda: families.from_cumulant(3, support=(0, 1)), r"from_cumulant\(b=3\)"),
        (lambda: links.from_inverse(3), r"from_inverse\(fn=3\)"),
        (lambda: penalties.Ridge("a"), r"Ridge\(strength='a'\)"),
        (lambda: solvers.Gradient(3), r"Gradient\(transformation=3\).*optax"),
        (lambda: fit(X, COUNTS, solver="irls"), "solver='irls'.*jaxglm.solvers"),
        (
            lambda: fit_many(X, COUNTS[None], families.Poisson(), solver=solvers.IRLS),
            "solver=.*as IRLS",
        ),
        (
            lambda: fit_many(X, COUNTS[None], families.Poisson(), devices=3),
            "devices=3.*jax.devices",
        ),
        (
            lambda: fit_many(X, COUNTS[None], families.Poisson(), devices=[]),
            r"devices=\[\].*jax.devices",
        ),
        (lambda: glm().fit(cov_kwds=3), "cov_kwds=3.*dictionaries"),
        (lambda: glm().fit(scale=[1.0, 2.0]), r"scale=...\): shape \(2,\); allowed is one"),
        (lambda: glm().fit().info_criteria(dk_params="a"), "dk_params='a'"),
        (lambda: glm().fit().simulate("a"), "key='a'.*seeds"),
        (lambda: glm().fit().simulate(1, n_draws=0), "n_draws=0.*>= 1"),
        (lambda: families.Tweedie(0.5), "var_power=0.5"),
        (lambda: families.NegativeBinomial(0.0), "alpha=0.0"),
        (lambda: families.NegativeBinomial(-1.0), "alpha=-1.0"),
        (lambda: families.NegativeBinomial(np.nan), "alpha=nan"),
        (lambda: families.Poisson(links.Logit()), r"Poisson\(link=Logit"),
    ),
)
def test_what_is_none_of_its_kind_is_refused(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_asking_results_the_impossible_is_refused():
    results = glm().fit()
    for ask, says in (
        (lambda: results.predict(X[:, :1]), "1 columns; the model has 2"),
        (lambda: results.predict(X[:, 1]), r"predict\(exog=...\): shape \(8,\)"),
        (lambda: results.wald_test("x9 = 0"), "x9"),
        (lambda: results.wald_test(np.eye(3)), r"\(3, 3\).*\(k, 2\)"),
        (lambda: results.conf_int(method="boot"), "'wald', 'profile', 'score'"),
        (lambda: results.score_test(np.ones(3)), r"exog_extra=...\): shape \(3, 1\).*\(8, k\)"),
        (lambda: results.pseudo_rsquared("r2"), "'cs', 'mcf', 'nagelkerke', 'd2'"),
        (lambda: results.info_criteria("dic"), "'aic', 'bic', 'qaic', 'aicc'"),
        (lambda: results.anova(typ="III"), "allowed are 1, 2, 3"),
    ):
        with pytest.raises(ValueError, match=says):
            ask()


def same(one, other):
    np.testing.assert_allclose(one.params, other.params, rtol=1e-12)
    assert one.deviance == pytest.approx(other.deviance, rel=1e-12)


@pytest.mark.parametrize(
    "given",
    (
        {"endog": COUNTS[:, None]},
        {"endog": list(COUNTS), "exog": X.tolist()},
        {"endog": COUNTS.astype(np.uint8)},
        {"endog": COUNTS.astype(np.float16), "exog": X.astype(object)},
        {"endog": jnp.asarray(COUNTS, jnp.bfloat16)},
        {"offset": 0.0},
        {"freq_weights": 1, "var_weights": True},
        {"family": "poisson"},
        {"family": families.Poisson(links.Power(1.0 + 0.0)), "start": True},
        {
            "endog": np.append(COUNTS, [np.nan, 1.0]),
            "exog": np.vstack([X, X[:2]]),
            "offset": np.append(np.zeros(9), np.nan),
            "missing": "drop",
        },
    ),
)
def test_unusual_but_sound_input_is_taken(given):
    if given.pop("start", False):
        given = {"family": families.Poisson(links.Log)}
    same(glm(**given).fit(), glm().fit())


def test_counts_beyond_int32_are_kept():
    results = glm(COUNTS.astype(np.int64) + 2**40, X.astype(int), families.Poisson).fit()
    assert results.mu.mean() == pytest.approx(2**40 + COUNTS.mean(), rel=1e-14)


def test_shares_without_trials_warn_once():
    shares = np.linspace(0.1, 0.9, N)
    with pytest.warns(
        FitWarning, match=r"endog=...\): proportions without n_trials .*row 0: 0.1"
    ) as w:
        results = glm(shares, X, families.Binomial).fit()
    assert len(w) == 1 and results.converged
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glm(shares, X, families.Binomial, n_trials=10)
        # Weights that make the successes whole stand for trials, as R has it.
        glm(COUNTS / 5, X, families.Binomial, var_weights=np.full(N, 5))
        glm(Y, X, families.Binomial)


@pytest.mark.parametrize(
    ("endog", "family"),
    ((np.zeros(N), families.Poisson), (np.ones(N), families.Binomial)),
)
def test_responses_on_the_edge_are_separated_with_one_warning(endog, family):
    with pytest.warns(FitWarning, match="separated.*Jeffreys") as caught:
        results = glm(endog, X, family).fit()
    assert len(caught) == 1
    assert results.status is Status.separated and not results.converged
    assert results.deviance < 1e-6


def test_a_constant_response_is_fitted_exactly():
    results = glm(np.full(N, 3.0), X, families.Gaussian).fit()
    assert results.converged
    np.testing.assert_allclose(results.params, [3.0, 0.0], atol=1e-14)
    assert results.deviance < 1e-28 and results.scale < 1e-28


def test_fewer_rows_than_columns_leave_nothing_for_the_scale():
    with pytest.warns(FitWarning, match="rank 2 of 3; aliased: x2"):
        results = glm([1.0, 2.0], [[1.0, 2.0, 3.0], [1.0, 5.0, 2.0]], families.Gaussian).fit()
    assert results.df_resid == 0 and np.isnan(results.scale) and np.isnan(results.bse).all()
    np.testing.assert_allclose(results.mu, [1.0, 2.0], rtol=1e-14)


def test_a_column_of_zeros_is_not_estimable():
    with pytest.warns(FitWarning, match="aliased"):
        results = glm(exog=np.column_stack([X, np.zeros(N)])).fit()
    assert np.isnan([results.params[2], results.bse[2]]).all()
    np.testing.assert_allclose(results.params[:2], glm().fit().params)


def test_a_huge_offset_only_moves_the_intercept():
    plain, far = glm().fit(), glm(offset=800.0).fit()
    assert far.converged
    np.testing.assert_allclose(far.params + [800.0, 0.0], plain.params, rtol=1e-9)
    assert far.llf == pytest.approx(plain.llf, rel=1e-10)


def test_a_far_start_is_brought_back():
    y, one = np.array([1.0, 1.0, 1.0, 0.0]), np.ones((4, 1))
    results = jaxglm.GLM(y, one, families.Binomial()).fit(start_params=[-1.81])
    np.testing.assert_allclose(results.params, np.log(3.0), rtol=1e-12)


# Lanes: the same data where nothing can raise

LANES = {
    "sound": {},
    "nan in y": {"y": at(2, np.nan)},
    "inf in y": {"y": at(2, np.inf)},
    "negative y": {"y": at(4, -1)},
    "nan in X": {"X": at((3, 1), np.nan, X)},
    "inf in X": {"X": at((3, 1), np.inf, X)},
    "1e200 in X": {"X": at((3, 1), 1e200, X)},
    "nan weight": {"var_weights": at(1, np.nan)},
    "negative weight": {"var_weights": at(5, -1)},
    "no weight": {"var_weights": np.zeros(N)},
    "infinite offset": {"offset": at(6, -np.inf)},
    "nan offset": {"offset": at(6, np.nan)},
}
SOUND = {"X": X, "y": COUNTS, "var_weights": np.ones(N), "offset": np.zeros(N)}


def is_blank(found):
    return bool(np.isnan(found.params).all() and np.isnan(found.loglike))


@pytest.mark.parametrize("name", LANES)
def test_a_single_fit_reports_invalid_data(name):
    found = fit(family=families.Poisson(), **(SOUND | LANES[name]))
    assert int(found.status) == (Status.converged if name == "sound" else Status.invalid_data)
    assert is_blank(found) == (name != "sound")


def test_a_bad_lane_fails_alone():
    stacked = {k: np.stack([(SOUND | lane)[k] for lane in LANES.values()]) for k in SOUND}
    found = fit_many(family=families.Poisson(), **stacked)
    wanted = [Status.converged if n == "sound" else Status.invalid_data for n in LANES]
    assert found.status.tolist() == wanted
    assert np.isnan(found.params[1:]).all()
    np.testing.assert_allclose(found.params[0], glm().fit().params, rtol=1e-12)
    assert found.tally() == {"converged": 1, "invalid_data": len(LANES) - 1}


@pytest.mark.parametrize(
    ("family", "wrong"),
    (
        (families.Binomial(), (2.0, -1.0)),
        (families.Gamma(links.Log()), (0.0, -1.0)),
        (families.InverseGaussian(links.Log()), (0.0, -1.0)),
        (families.Tweedie(1.5), (-1.0, -0.1)),
        (families.Tweedie(2.5), (0.0, -1.0)),
    ),
)
def test_impossible_responses_fail_in_their_lane(family, wrong):
    sound = Y if type(family) is families.Binomial else POSITIVE
    lanes = np.stack([sound, *(at(2, v, sound) for v in wrong)])
    found = fit_many(X, lanes, family)
    assert found.status.tolist() == [Status.converged] + [Status.invalid_data] * 2
    assert np.isnan(found.params[1:]).all() and np.isfinite(found.params[0]).all()


def test_a_family_parameter_that_is_none_fails_in_its_lane():
    family = families.NegativeBinomial(np.array([0.5, -1.0, np.nan]))
    found = fit_many(X, np.tile(COUNTS, (3, 1)), family)
    assert found.status.tolist() == [Status.converged, Status.invalid_data, Status.invalid_data]


def test_lanes_on_the_edge_and_without_rank_have_their_codes():
    y = np.stack([COUNTS, np.zeros(N), COUNTS])
    designs = np.stack([X, X, np.column_stack([X[:, 1], X[:, 1]])])
    found = fit_many(designs, y, families.Poisson())
    assert found.status.tolist() == [Status.converged, Status.separated, Status.singular]
