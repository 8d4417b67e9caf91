"""Covariances: R's sandwich package, and the laws that hold for any data."""

import dataclasses
from functools import cache, partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference

from jaxglm import covariance, families, links
from jaxglm.dispersion import scale_score
from jaxglm.fit import fit, prepare
from jaxglm.penalties import Jeffreys, MeanBias, Ridge

FILE = reference("r_sandwich")
CASES = {case["name"]: case for case in FILE["cases"]}
GROUPS = {
    "g1": np.array(FILE["g1"]),
    "g2": np.array(FILE["g2"]),
    "both": np.column_stack([FILE["g1"], FILE["g2"]]),
}
TYPES = ("HC0", "HC1", "HC2", "HC3", "HC4")
each_case = pytest.mark.parametrize("name", CASES)


@cache
def fitted_case(name):
    X, y, given = cases.data_of(CASES[name])
    family = cases.family_of(CASES[name])
    return prepare(X, y, family, **given)[0], fit(X, y, family, **given)


def both(X, y, family, **given):
    return prepare(X, y, family, **given)[0], fit(X, y, family, **given)


def error(got, wanted):
    """The largest difference, in units of the product of two standard errors."""
    got, wanted = np.asarray(got), np.asarray(wanted, dtype=float)
    se = np.sqrt(np.abs(np.diagonal(wanted, axis1=-2, axis2=-1)))
    return float(np.max(np.abs(got - wanted) / (se[..., :, None] * se[..., None, :])))


def every_estimator(groups):
    """Each robust covariance by name, as a function of problem and fit."""
    return {
        **{f"{kind} {bread}": partial(covariance.heteroscedastic, kind=kind, bread=bread)
           for kind in TYPES for bread in ("expected", "observed")},
        **{f"cluster {kind}": partial(covariance.clustered, groups=groups, kind=kind)
           for kind in covariance.CLUSTERED},
        "bartlett": partial(covariance.autocorrelated, max_lags=2.5, adjust=True),
        "uniform": partial(covariance.autocorrelated, max_lags=2, kernel="uniform"),
        "model": covariance.model_based,
        "model observed": partial(covariance.model_based, information="observed"),
    }  # fmt: skip


@each_case
def test_heteroscedastic_equals_vcov_hc(name):
    problem, fitted = fitted_case(name)
    for kind in TYPES:
        got = covariance.heteroscedastic(problem, fitted, kind)
        assert error(got, CASES[name]["hc"][kind]) < 1e-10, kind


@each_case
def test_types_differ(name):
    """They are silently all HC0 in some packages."""
    problem, fitted = fitted_case(name)
    errors = [np.sqrt(np.diagonal(covariance.heteroscedastic(problem, fitted, k))) for k in TYPES]
    gaps = [np.max(np.abs(a / b - 1)) for i, a in enumerate(errors) for b in errors[:i]]
    assert min(gaps) > 2e-3


@each_case
def test_clustered_equals_vcov_cl(name):
    problem, fitted = fitted_case(name)
    for row in CASES[name]["cluster"]:
        got = covariance.clustered(
            problem, fitted, GROUPS[row["by"]], row["type"], adjust=row["cadjust"]
        )
        assert error(got, row["cov"]) < 1e-10, row


@each_case
def test_autocorrelated_equals_newey_west_and_kern_hac(name):
    problem, fitted = fitted_case(name)
    for row in CASES[name]["hac"]:
        lags = row["lag"] if row["kind"] == "newey_west" else row["bandwidth"] - 1
        got = covariance.autocorrelated(problem, fitted, lags, adjust=row["adjust"])
        assert error(got, row["cov"]) < 1e-10, row


@each_case
def test_model_based_is_scale_times_inverse_information(name):
    problem, fitted = fitted_case(name)
    assert error(covariance.model_based(problem, fitted), fitted.cov_params) < 1e-15
    observed = covariance.model_based(problem, fitted, "observed")
    canonical = fitted.family.is_canonical
    assert (error(observed, fitted.cov_params) < 1e-9) == canonical


@each_case
def test_clusters_of_one_row_each_are_heteroscedastic(name):
    problem, fitted = fitted_case(name)
    alone = np.arange(problem.rows.y.shape[0])
    got = covariance.clustered(problem, fitted, alone, adjust=False)
    assert error(got, covariance.heteroscedastic(problem, fitted)) < 1e-12
    for kind in ("HC2", "HC3"):
        got = covariance.clustered(problem, fitted, alone, kind)
        assert error(got, covariance.heteroscedastic(problem, fitted, kind)) < 1e-12


def test_cr3_of_a_linear_model_is_the_jackknife_over_clusters():
    problem, fitted = fitted_case("gaussian identity")
    X, y, _ = cases.data_of(CASES["gaussian identity"])
    labels = GROUPS["g1"]
    count = len(set(labels))
    left = [np.linalg.lstsq(X[labels != g], y[labels != g], rcond=None)[0] for g in set(labels)]
    moved = np.array(left) - np.asarray(fitted.params)
    jackknife = (count - 1) / count * moved.T @ moved
    got = covariance.clustered(problem, fitted, labels, "HC3", adjust=False)
    assert error(got, jackknife) < 1e-12
    # CR2 is without bias where the model holds, so it lies between plain and jackknife.
    sizes = [covariance.clustered(problem, fitted, labels, kind, adjust=False)[1, 1]
             for kind in ("HC0", "HC2", "HC3")]  # fmt: skip
    assert sizes[0] < sizes[1] * count / (count - 1) < sizes[2] * count / (count - 1)


def test_a_cluster_that_alone_determines_a_coefficient_has_no_cr3():
    data = cases.small()
    labels = np.arange(30) // 5
    X = np.column_stack([data.X[:, :2], labels == 2])
    problem, fitted = both(X, data.count, families.Poisson())
    assert np.isnan(covariance.clustered(problem, fitted, labels, "HC3")).all()
    assert np.isfinite(covariance.clustered(problem, fitted, labels, "HC1")).all()


@each_case
def test_breads_agree_for_the_canonical_link_alone(name):
    problem, fitted = fitted_case(name)
    expected = covariance.heteroscedastic(problem, fitted, bread="expected")
    observed = covariance.heteroscedastic(problem, fitted, bread="observed")
    assert (error(observed, expected) < 1e-9) == fitted.family.is_canonical


def test_observed_bread_is_the_curvature_of_the_likelihood():
    problem, fitted = fitted_case("gamma log weighted")
    X, y = problem.design.X, problem.rows.y

    def loglike(beta):
        eta = X @ beta + problem.rows.offset
        return fitted.family.loglike_obs(y, jnp.exp(eta), problem.rows.var_weights, 1.0).sum()

    hessian = jax.hessian(loglike)(fitted.params)
    got = covariance.model_based(problem, fitted, "observed")
    assert error(got, -fitted.scale * np.linalg.inv(hessian)) < 1e-10


def test_reparametrisation_transforms_every_covariance():
    data = cases.small()
    A = np.array([[1.0, 0.5, -2.0], [0.0, 2.0, 1.0], [0.0, 0.0, -0.3]])
    family, groups = families.Gamma(links.Log()), np.arange(30) // 4
    one = both(data.X, data.positive, family, offset=data.offset, var_weights=data.weights)
    two = both(data.X @ A, data.positive, family, offset=data.offset, var_weights=data.weights)
    for name, estimator in every_estimator(groups).items():
        assert error(A @ estimator(*two) @ A.T, estimator(*one)) < 1e-9, name


def replicated(weight_zero):
    """Data with frequencies, and the same with rows repeated and those of frequency 0 left out."""
    data = cases.small()
    frequency = np.random.default_rng(3).integers(0 if weight_zero else 1, 4, 30)
    times = np.repeat(np.arange(30), frequency)
    family = families.Gamma(links.Log())
    short = both(data.X, data.positive, family, var_weights=data.weights,
                 freq_weights=frequency.astype(float))  # fmt: skip
    long = both(data.X[times], data.positive[times], family, var_weights=data.weights[times])
    return short, long, np.arange(30) // 4, times


@pytest.mark.parametrize("weight_zero", (False, True))
def test_frequencies_repeat_rows(weight_zero):
    short, long, groups, times = replicated(weight_zero)
    others = every_estimator(groups[times])
    for name, estimator in every_estimator(groups).items():
        assert error(estimator(*short), others[name](*long)) < 1e-10, name


def test_rows_of_weight_zero_are_gone():
    data = cases.small()
    keep = np.arange(30) % 5 != 2
    X, y = data.X.copy(), data.positive.copy()
    X[~keep], y[~keep] = np.nan, np.inf
    groups = np.where(keep, np.arange(30) // 4, 99)
    family, weights = families.Gamma(links.Log()), np.where(keep, data.weights, 0.0)
    with_gone = both(X, y, family, var_weights=weights)
    without = both(X[keep], y[keep], family, var_weights=weights[keep])
    others = every_estimator(groups[keep])
    for name, estimator in every_estimator(groups).items():
        assert error(estimator(*with_gone), others[name](*without)) < 1e-10, name


def test_estimating_rows_sum_to_the_score_and_vanish_where_gone():
    data = cases.small()
    weights = np.where(np.arange(30) < 3, 0.0, 2.0)
    problem, fitted = both(data.X, data.count, families.Poisson(), freq_weights=weights)
    rows = np.asarray(covariance.estimating_rows(problem, fitted.params))
    assert np.all(rows[:3] == 0)
    assert np.max(np.abs(weights @ rows)) < 1e-10
    manual = (data.count - np.exp(data.X @ fitted.params))[:, None] * data.X
    np.testing.assert_allclose(rows[3:], manual[3:], rtol=1e-12)


def test_traced_codes_give_what_labels_give():
    problem, fitted = fitted_case("poisson log")
    labels = np.array(["abcdefghi"[g - 1] for g in FILE["g1"]])
    one = jax.jit(partial(covariance.clustered, n_groups=12))(problem, fitted, GROUPS["g1"])
    assert error(one, covariance.clustered(problem, fitted, labels)) < 1e-12
    two = jax.jit(partial(covariance.clustered, n_groups=(10, 7)))(problem, fitted, GROUPS["both"])
    assert error(two, covariance.clustered(problem, fitted, GROUPS["both"])) < 1e-12


def test_traced_codes_out_of_range_or_all_equal_give_nan():
    problem, fitted = fitted_case("poisson log")
    apart = covariance.clustered(problem, fitted, GROUPS["g1"], n_groups=9)
    together = covariance.clustered(problem, fitted, jnp.zeros(48, int), n_groups=9)
    assert np.all(np.isnan(apart)) and np.all(np.isnan(together))


def test_maps_over_responses_as_one_by_one():
    data = cases.small()
    Y = np.random.default_rng(5).poisson(3.0, (4, 30)).astype(float)
    groups = np.arange(30) // 4

    def covariances(y):
        pair = both(data.X, y, families.Poisson())
        return {name: estimator(*pair) for name, estimator in every_estimator(groups).items()}

    together = jax.jit(jax.vmap(covariances))(Y)
    for i, y in enumerate(Y):
        for name, alone in covariances(y).items():
            assert error(together[name][i], alone) < 1e-10, name


def test_derivatives_equal_finite_differences():
    data = cases.small()

    def standard_error(t):
        y = data.positive * jnp.where(jnp.arange(30) == 4, jnp.exp(t), 1.0)
        pair = both(data.X, y, families.Gamma(links.Log()))
        first = covariance.heteroscedastic(*pair, "HC3")[1, 1]
        return first + covariance.autocorrelated(*pair, 2)[1, 1]

    slope = jax.jit(jax.grad(standard_error))(0.0)
    around = jax.jit(jax.vmap(standard_error))(jnp.array([-1e-4, 1e-4]))
    assert float(slope) == pytest.approx(float(around[1] - around[0]) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("penalty", (Ridge(0.7), Jeffreys()))
def test_penalties_enter_the_bread_and_not_the_meat(penalty):
    data = cases.small()
    problem, fitted = both(data.X, data.share, families.Binomial(), penalty=penalty)
    mu = np.asarray(fitted.family.link.inverse(data.X @ fitted.params))
    matrix = np.asarray(penalty.matrix(3, float))
    inverse = np.linalg.inv((data.X.T * mu * (1 - mu)) @ data.X + matrix)
    meat = (data.X.T * (data.share - mu) ** 2) @ data.X
    assert error(covariance.heteroscedastic(problem, fitted), inverse @ meat @ inverse) < 1e-10


def test_observed_information_holds_a_bias_penalty_at_the_scale():
    data = cases.small()
    family = families.Gaussian(links.Log())
    problem, fitted = both(data.X, data.positive, family, penalty=Jeffreys())

    def log_posterior(beta):
        mu = jnp.exp(data.X @ beta)
        prior = 0.5 * jnp.linalg.slogdet((data.X.T * mu[None] ** 2) @ data.X)[1]
        return prior - jnp.sum((data.positive - mu) ** 2) / (2.0 * fitted.scale)

    wanted = np.linalg.inv(-jax.hessian(log_posterior)(fitted.params))
    assert error(covariance.model_based(problem, fitted, "observed"), wanted) < 1e-9


def test_leverage_one_gives_nan_and_no_number():
    data = cases.small()
    X = np.column_stack([data.X, np.arange(30) == 7])
    problem, fitted = both(X, data.gaussian, families.Gaussian())
    assert np.all(np.isnan(covariance.heteroscedastic(problem, fitted, "HC3")))
    assert np.all(np.isfinite(covariance.heteroscedastic(problem, fitted, "HC1")))


def test_an_estimated_family_parameter_is_filled_in():
    data = cases.small()
    problem, fitted = both(data.X, data.count, families.NegativeBinomial(0.6))
    unknown = dataclasses.replace(problem, family=families.NegativeBinomial(None))
    for name, estimator in every_estimator(np.arange(30) // 4).items():
        assert error(estimator(unknown, fitted), estimator(problem, fitted)) == 0.0, name


def test_the_adjustments_beside_a_var_power_stand_at_phi_of_the_likelihood():
    data, family = cases.small(), families.Tweedie(1.5)
    y = data.positive * (np.arange(30) % 4 > 0)
    # Any coefficients will do.
    fitted = dataclasses.replace(both(data.X, y, families.Poisson())[1], family=family)
    unknown, _ = prepare(data.X, y, families.Tweedie(None), penalty=MeanBias())
    known = dataclasses.replace(unknown, family=fitted.family)
    phi = covariance.likelihood_scale(unknown, fitted)
    eta = data.X @ fitted.params
    assert abs(scale_score(known, eta, jnp.log(phi))) < 1e-8
    assert covariance.likelihood_scale(known, fitted) == fitted.scale != phi
    other = dataclasses.replace(fitted, scale=2.0 * fitted.scale)
    once, twice = (covariance.model_based(unknown, each, "observed") for each in (fitted, other))
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-12)


MISTAKES = {
    "kind": (covariance.heteroscedastic, {"kind": "HC9"}, "kind='HC9': allowed are 'HC0'"),
    "bread": (covariance.heteroscedastic, {"bread": "eim"}, "bread='eim'"),
    "information": (covariance.model_based, {"information": "x"}, "information='x'"),
    "cluster kind": (covariance.clustered, {"groups": GROUPS["g1"], "kind": "HC4"}, "kind='HC4'"),
    "shape": (covariance.clustered, {"groups": GROUPS["g1"][:5]}, "groups: shape"),
    "one cluster": (covariance.clustered, {"groups": np.ones(48)}, "groups: one cluster"),
    "missing": (
        covariance.clustered,
        {"groups": np.where(GROUPS["g1"] == 2, np.nan, GROUPS["g1"])},
        "groups: .* missing",
    ),
    "codes": (covariance.clustered, {"groups": np.ones(48), "n_groups": 3}, "groups: float"),
    "lags": (covariance.autocorrelated, {"max_lags": -1}, "max_lags=-1"),
    "kernel": (covariance.autocorrelated, {"max_lags": 1, "kernel": "flat"}, "kernel='flat'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_raise_and_name_the_argument(mistake):
    estimator, given, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        estimator(*fitted_case("poisson log"), **given)


def test_traced_labels_without_a_number_of_groups_raise():
    with pytest.raises(ValueError, match="n_groups"):
        jax.jit(covariance.clustered)(*fitted_case("poisson log"), GROUPS["g1"])
