"""Bootstrap and jackknife: R's boot on the same draws, and what must hold for any draw."""

from functools import cache

import jax
import numpy as np
import pytest
from conftest import reference

from jaxglm import families, fit_many, links, resample
from jaxglm.draws import draw_frequencies, draw_shares
from jaxglm.frames import FitWarning
from jaxglm.resample import intervals

FILE = reference("r_boot")
CASES = {case["name"]: case for case in FILE["cases"]}
X, Y = np.array(FILE["X"]), np.array(FILE["y"])
N, P = X.shape
ALPHA = 1.0 - FILE["level"]
FAMILY = families.Gamma(links.Log())
KINDS = ("percentile", "basic", "normal", "student", "bca")
each_case = pytest.mark.parametrize("name", CASES)
REPS = 199


def close(got, wanted, rtol=1e-9, atol=0.0):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted, float), rtol=rtol, atol=atol)


@cache
def on_the_draws_of_r(name):
    case = CASES[name]
    indices = np.array(case["indices"]) - 1
    counts = np.array([np.bincount(row, minlength=N) for row in indices])
    strata = np.array(case["strata"])
    return resample.bootstrap(X, Y, FAMILY, key=0, reps=REPS, strata=strata, frequencies=counts)


def drawn(**more):
    given = {"key": 3, "reps": REPS} | more
    return resample.bootstrap(X, Y, FAMILY, **given)


@each_case
def test_replicates_are_those_of_boot(name):
    found, case = on_the_draws_of_r(name), CASES[name]
    close(found.estimate, case["t0"])
    close(found.estimate_bse**2, case["v0"])
    close(found.params, case["t"], atol=1e-9)
    close(found.bse**2, case["v"])
    assert found.tally() == {"converged": REPS}


@pytest.mark.parametrize("method", ["pairs", "bayesian", "parametric"])
def test_standard_errors_are_made_of_the_same_draws(method):
    found = drawn(method=method)
    again = found.refits.fit()
    close(again.params, found.params, atol=1e-9)
    close(found.bse, again.bse)
    assert found.bse is found.bse


@each_case
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_are_those_of_boot_ci(name, kind):
    found = on_the_draws_of_r(name).interval(kind, ALPHA)
    close(found, [ci[kind] for ci in CASES[name]["intervals"]], rtol=1e-8)


@each_case
def test_the_jackknife_influence_is_that_of_empinf(name):
    pull, counts = on_the_draws_of_r(name).influence()
    close(pull, CASES[name]["influence"]["jackknife"], atol=1e-8)
    close(counts, np.ones(N))


@each_case
def test_bca_takes_another_influence(name):
    case = CASES[name]
    pull = np.array(case["influence"]["regression"])
    found = on_the_draws_of_r(name).interval("bca", ALPHA, influence=pull)
    close(found, [ci["bca_regression"] for ci in case["intervals"]], rtol=1e-8)


def test_quantiles_at_whole_ranks_are_order_statistics_and_extremes_end_there():
    t = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    found = intervals.quantiles(t[:, None], np.array([0.05, 0.5, 0.001, 0.999]))
    close(found, [[5.0, 50.0, 1.0, 99.0]])
    with_gaps = np.append(t, [np.nan, np.nan])
    close(intervals.quantiles(with_gaps[:, None], np.array([0.05])), [[5.0]])


@pytest.mark.parametrize("method", ("pairs", "bayesian", "parametric", "wild"))
def test_a_method_centres_on_the_estimate_and_its_key_decides(method):
    found = drawn(method=method)
    again, other = drawn(method=method), drawn(method=method, key=jax.random.key(4))
    close(found.params, again.params, rtol=0)
    assert np.all(found.params != other.params)
    # A mean of 199 replicates: five of its standard errors, and the estimator's own bias.
    assert np.all(np.abs(found.bias) < 5 * found.se / np.sqrt(REPS) + 0.25 * found.se)
    assert np.all(found.se < 2 * found.estimate_bse) and np.all(found.se > found.estimate_bse / 2)


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("reps", (2000, 2**20 // N + 1))
@pytest.mark.parametrize(
    ("family", "given"),
    [
        (families.Binomial(), {}),
        (families.Binomial(), {"n_trials": 1.0 + np.arange(N) % 3}),
        (FAMILY, {"var_weights": 1.0 + np.arange(N) % 2}),
    ],
)
def test_responses_of_the_parametric_bootstrap_are_of_the_fitted_law(family, given, reps):
    y = Y if family is FAMILY else (Y > np.median(Y)).astype(float)
    more = given | {"key": 2, "reps": reps, "method": "parametric"}
    found = resample.bootstrap(X, y, family, **more)
    responses = found.refits.y.together()
    mu = np.asarray(family.link.inverse(X @ found.estimate))
    spread = np.asarray(family.variance(mu)) / (
        given.get("n_trials", 1.0) * given.get("var_weights", 1.0)
    )
    spread *= float(found.refits.y.scale)
    # A mean within five standard errors.
    assert np.all(np.abs(responses.mean(axis=0) - mu) < 5 * np.sqrt(spread / reps))
    close(responses.var(axis=0).mean(), spread.mean(), rtol=0.1)
    again = fit_many(X, responses, family, **given)
    assert np.array_equal(again.status == 0, found.status == 0)
    kept = found.status == 0
    close(again.params[kept], found.params[kept], rtol=1e-7, atol=1e-8)


def test_rows_of_frequency_two_are_two_observations():
    frequency = 1.0 + (np.arange(N) % 3 == 0)
    whole = np.repeat(np.arange(N), frequency.astype(int))
    once = resample.jackknife(X, Y, FAMILY, freq_weights=frequency)
    twice = resample.jackknife(X[whole], Y[whole], FAMILY)
    close(once.se, twice.se)
    close(once.bias, twice.bias, rtol=1e-6)
    close(np.repeat(once.influence, frequency.astype(int), axis=0), twice.influence, atol=1e-7)


def test_the_jackknife_of_a_mean_is_the_textbook_variance():
    y = np.array(Y)
    found = resample.jackknife(np.ones((N, 1)), y, families.Gaussian())
    close(found.se, [np.std(y, ddof=1) / np.sqrt(N)])
    close(found.bias, [0.0], atol=1e-12)
    close(found.influence[:, 0], y - y.mean(), atol=1e-12)


def test_groups_are_left_out_whole():
    labels = np.array(list("abcdef"))[np.arange(N) % 6]
    found = resample.jackknife(X, Y, FAMILY, groups=labels)
    assert found.params.shape == (6, P) and found.tally() == {"converged": 6}
    for label, params in zip("abcdef", found.params, strict=True):
        kept = (labels != label).astype(float)
        close(params, fit_many(X, Y, FAMILY, freq_weights=kept[None]).params[0], atol=1e-9)
    random = resample.jackknife(X, Y, FAMILY, groups=6, key=2)
    assert random.params.shape == (6, P) and np.all(random.params != found.params)


def test_draws_keep_to_clusters_and_strata():
    clusters, strata = np.arange(N) // 3, (np.arange(N) >= 12).astype(int)
    for method in ("pairs", "bayesian"):
        drawn(method=method, clusters=clusters, strata=strata)
    key = jax.random.key(0)
    weights = draw_frequencies(key, np.ones(N), 50, clusters, strata).together()
    by_cluster = weights.reshape(50, N // 3, 3)
    assert np.all(by_cluster == by_cluster[:, :, :1])
    assert np.all(by_cluster[:, :4, 0].sum(axis=1) == 4)
    shares = draw_shares(key, np.ones(N), 50, None, strata).together()
    close(shares[:, :12].sum(axis=1), np.full(50, 12.0))
    assert np.std(shares) > 0.8


def test_the_wild_bootstrap_of_least_squares_is_a_refit_to_signed_residuals():
    found = resample.bootstrap(X, Y, families.Gaussian(), key=5, reps=50, method="wild")
    # Its variance given the data is that of the HC0 sandwich.
    pinv = np.linalg.pinv(X)
    residual = Y - X @ pinv @ Y
    signs = np.linalg.lstsq(pinv * residual, (found.params - found.estimate).T, rcond=None)[0].T
    close(signs @ (pinv * residual).T, found.params - found.estimate, atol=1e-12)
    many = resample.bootstrap(X, Y, families.Gaussian(), key=5, reps=20_000, method="wild")
    hc0 = (pinv * residual**2) @ pinv.T
    # The relative error of a variance from B draws is sqrt(2 / B) = 1 %.
    close(many.se, np.sqrt(np.diagonal(hc0)), rtol=0.03)


def test_refits_that_fail_are_kept_counted_and_left_out():
    y = np.zeros(N)
    y[:2] = 1.0
    with pytest.warns(FitWarning, match="of 60 refits did not converge") as caught:
        found = resample.bootstrap(X[:, :1], y, families.Binomial(), key=1, reps=60)
    assert [w.filename for w in caught] == [__file__]
    failed = 60 - found.tally()["converged"]
    assert 2 <= failed <= 20 and found.params.shape == (60, 1)
    assert np.isnan(found.replicates).sum() == failed and np.isfinite(found.interval("basic")).all()


def test_mistakes_are_named():
    for given, match in (
        ({"reps": 1}, "reps=1: allowed are integers >= 2"),
        ({"method": "rows"}, "allowed are pairs, bayesian, parametric, wild"),
        ({"method": "wild", "strata": np.ones(N)}, "with strata"),
        ({"clusters": np.ones(3)}, "clusters: shape"),
        ({"method": "parametric", "clusters": np.arange(N) // 2}, "no clusters"),
        ({"clusters": np.arange(N) // 2, "strata": np.arange(N) % 2}, "a cluster has rows in more"),
        ({"frequencies": np.ones((REPS, 3))}, r"frequencies: shape \(199, 3\)"),
        ({"frequencies": np.ones((REPS, N)), "method": "wild"}, "with pairs"),
    ):
        with pytest.raises(ValueError, match=match):
            drawn(**given)
    with pytest.raises(ValueError, match="invalid data for Gamma"):
        resample.jackknife(X, -Y, FAMILY)
    with pytest.raises(ValueError, match="no standard errors"):
        drawn(method="wild").interval("student")
    with pytest.raises(ValueError, match="give influence"):
        drawn(method="parametric").interval("bca")
    with pytest.raises(ValueError, match='kind="t"'):
        on_the_draws_of_r("plain").interval("t")
