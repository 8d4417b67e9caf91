from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PAIRS, data_of, family_of, pair, richardson, small
from conftest import reference

from jaxglm import Status, families, fit, links, penalties, solvers

DATA = small(n=40, p=3, seed=21)
NB_ML = reference("nb_ml")["cases"]
R_NB = reference("r_inference")["negative_binomial"]


def test_scale_is_one_or_pearsons_by_default_and_as_asked_otherwise():
    X, y = DATA.X, DATA.count
    for family, fixed in ((families.Poisson(), True), (families.Gaussian(), False)):
        by = {s: fit(X, y, family, scale=s) for s in (None, "X2", "dev", 2.5)}
        params = by[None].params
        mu = family.link.inverse(X @ np.asarray(params))
        pearson = np.sum((y - mu) ** 2 / family.variance(mu))
        np.testing.assert_allclose(by["X2"].scale, pearson / 37, rtol=1e-12)
        np.testing.assert_allclose(by["dev"].scale, by[None].deviance / 37, rtol=1e-14)
        assert by[2.5].scale == 2.5
        np.testing.assert_allclose(by[None].scale, 1.0 if fixed else by["X2"].scale)
        for result in by.values():
            np.testing.assert_array_equal(result.params, params)
            wanted = np.sqrt(np.diagonal(result.cov_unscaled) * result.scale)
            np.testing.assert_allclose(result.bse, wanted, rtol=1e-14)


WITH_ML = [
    p
    for p in PAIRS
    if p[0] in ("gaussian", "gamma", "inverse_gaussian") and p[1] in ("log", "power", "identity")
]


@pytest.mark.parametrize(("family", "link"), WITH_ML, ids=["-".join(p) for p in WITH_ML])
def test_maximum_likelihood_scale_matches_the_reference(family, link):
    row = pair(family, link)

    def one(family, X, y, arguments):
        result = fit(X, y, family, scale="ml", **arguments)
        return result.scale, result.loglike

    scale, loglike = jax.jit(jax.vmap(one))(row.family, row.X, row.y, row.arguments)
    np.testing.assert_allclose(scale, row.answers["scale_ml"], rtol=1e-9)
    np.testing.assert_allclose(loglike, row.answers["loglike_ml"], rtol=1e-9)


@pytest.mark.parametrize("scale", ["pearson", "x3", ""])
def test_unknown_scales_raise_by_name(scale):
    with pytest.raises(ValueError, match="scale="):
        fit(DATA.X, DATA.positive, families.Gamma(), scale=scale)


@pytest.mark.parametrize("family", [families.Poisson(), families.Quasi(lambda mu: mu, links.Log())])
def test_no_maximum_likelihood_scale_without_a_likelihood_in_it(family):
    with pytest.raises(ValueError, match="ml"):
        fit(DATA.X, DATA.positive, family, scale="ml")


def test_no_degrees_of_freedom_leave_no_scale():
    result = fit(DATA.X[:3], DATA.gaussian[:3])
    assert result.df_resid == 0 and np.isnan(result.scale) and np.all(np.isfinite(result.params))


# The negative binomial's alpha

COUNTS = (
    np.random.default_rng(4)
    .negative_binomial(1.4, 1.0 / (1.0 + np.exp(0.9 + DATA.X[:, 1]) / 1.4), 40)
    .astype(float)
)
UNDER = np.round(np.exp(1.2 + 0.3 * DATA.X[:, 1]))
LOG_CASES = [case for case in NB_ML if case["link"] == "log"]


def padded(v, fill):
    v = np.asarray(v, dtype=float)
    return np.concatenate([v, np.full((60 - len(v), *v.shape[1:]), fill)])


@cache
def estimated():
    """Fits with alpha unknown, compiled once: the references, overdispersed, underdispersed."""
    data = [data_of(case) for case in LOG_CASES]
    data += [(DATA.X, COUNTS, {}), (DATA.X, UNDER, {})]
    lanes = [
        (
            padded(X, 1.0),
            padded(y, 1.0),
            padded(given.get("offset", np.zeros(len(y))), 0.0),
            padded(given.get("var_weights", np.ones(len(y))), 0.0),
        )
        for X, y, given in data
    ]

    def one(X, y, offset, weights):
        family = families.NegativeBinomial(None)
        return fit(X, y, family, offset=offset, var_weights=weights)

    return jax.jit(jax.vmap(one))(*map(np.stack, zip(*lanes, strict=True)))


def lane(i):
    return jax.tree.map(lambda v: v[i], estimated())


def matches_reference(result, case):
    assert result.converged
    np.testing.assert_allclose(result.family.alpha, case["alpha"], rtol=1e-9)
    np.testing.assert_allclose(result.params, case["params"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(result.bse, case["bse"], rtol=1e-8)
    np.testing.assert_allclose(result.loglike, case["loglike"], rtol=1e-11)
    np.testing.assert_allclose(result.deviance, case["deviance"], rtol=1e-9)


@pytest.mark.parametrize("i", range(len(LOG_CASES)))
def test_alpha_matches_the_joint_maximum_of_the_reference(i):
    matches_reference(lane(i), LOG_CASES[i])


def test_alpha_off_the_log_link_matches_the_reference():
    (case,) = (case for case in NB_ML if case["link"] == "sqrt")
    X, y, given = data_of(case)
    result = fit(X, y, families.NegativeBinomial(None, links.Sqrt()), **given)
    matches_reference(result, case)


def test_alpha_matches_r():
    case = R_NB[0]
    X, y, given = data_of(case)
    result = fit(
        X, y, families.NegativeBinomial(None, family_of({**case, "theta": 1}).link), **given
    )
    assert result.converged
    np.testing.assert_allclose(1.0 / result.family.alpha, case["theta"], rtol=1e-6)
    np.testing.assert_allclose(result.params, case["coefficients"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.bse, case["standard_errors"], rtol=1e-6)
    np.testing.assert_allclose(2 * result.loglike, case["twologlik"], rtol=1e-9)


def test_underdispersed_counts_give_the_poisson_fit_on_the_boundary():
    result, poisson = lane(-1), fit(DATA.X, UNDER, families.Poisson())
    assert Status(int(result.status)) is Status.boundary
    assert result.family.alpha == 0.0
    np.testing.assert_allclose(result.params, poisson.params, rtol=1e-10)
    np.testing.assert_allclose(result.loglike, poisson.loglike, rtol=1e-12)
    np.testing.assert_allclose(result.bse, poisson.bse, rtol=1e-9)


def profile(alphas):
    """The profile log-likelihood of alpha, plain and adjusted, from fits at fixed alpha."""

    def one(alpha):
        result = fit(DATA.X, COUNTS, families.NegativeBinomial(alpha))
        return result.loglike, result.loglike + 0.5 * jnp.linalg.slogdet(result.cov_unscaled)[1]

    return np.asarray(jax.jit(jax.vmap(one))(alphas))


def test_alpha_is_the_maximum_of_its_profile_plain_or_adjusted():
    adjusted = fit(DATA.X, COUNTS, families.NegativeBinomial(None, cox_reid=True))
    assert lane(-2).converged and adjusted.converged
    assert adjusted.family.alpha > lane(-2).family.alpha
    # The adjusted score holds the means fixed, which moves its root a little off that of the profile.
    for i, (result, share) in enumerate(((lane(-2), 2e-2), (adjusted, 0.5))):
        points = result.family.alpha * jnp.exp(jnp.array([-0.5, -1e-2, 0.0, 1e-2, 0.5]))
        low, left, top, right, high = profile(points)[i]
        assert top > left > low and top > right > high
        # At the maximum of a parabola the two sides are equal.
        assert abs(right - left) < share * (2 * top - right - left)


def test_derivatives_of_an_estimated_alpha_are_differences_of_refits():
    def estimates(t):
        family = families.NegativeBinomial(None, cox_reid=True)
        X = DATA.X + t * jnp.cos(jnp.arange(120.0)).reshape(40, 3) * 0.2
        weights = jnp.asarray(DATA.weights) ** t
        result = fit(X, COUNTS * (1 + 0.1 * t), family, offset=t * DATA.offset, var_weights=weights)
        return jnp.append(result.params, result.family.alpha)

    both = jax.jit(lambda t: jax.jvp(estimates, (t,), (1.0,)))
    wanted = richardson(lambda t: np.asarray(both(0.5 + t)[0]))
    np.testing.assert_allclose(both(0.5)[1], wanted, rtol=1e-7)


# Tweedie's power


POWERS = np.array([1.3, 1.7])


@cache
def tweedie_data():
    """X (400, 2), and a response for each of `POWERS`."""
    X = np.column_stack([np.ones(400), np.random.default_rng(12).uniform(-1, 1, 400)])
    mu = np.exp(X @ np.array([0.4, 0.7]))
    draw = jax.vmap(lambda p: families.Tweedie(p).sample(jax.random.key(5), mu, 0.8))
    return X, np.asarray(draw(POWERS))


@jax.jit
def estimate_power(y, t):
    """(beta, power), its derivative in t, and whether it converged."""
    X, _ = tweedie_data()

    def estimates(t):
        result = fit(X, y, families.Tweedie(None), offset=t * X[:, 1] ** 2, freq_weights=1 + t * y)
        return jnp.append(result.params, result.family.var_power), result.converged

    value, pull, converged = jax.vjp(estimates, t, has_aux=True)
    return value, jax.vmap(pull)(jnp.eye(3))[0], converged


@pytest.mark.nightly
def test_tweedie_power_is_recovered_and_is_a_maximum():
    X, Y = tweedie_data()
    fits = [estimate_power(y, 0.0) for y in Y]
    assert all(converged for _, _, converged in fits)
    found = np.array([value[-1] for value, _, _ in fits])
    # Five standard errors of the estimate are about 0.2 with 400 responses.
    assert np.all(np.abs(found - POWERS) < 0.2)

    def top(p, y):
        return fit(X, y, families.Tweedie(p), scale="ml").loglike

    points = found[:, None] + np.array([[-1e-3, 0.0, 1e-3]])
    low, here, high = np.asarray(jax.jit(jax.vmap(jax.vmap(top, (0, None))))(points, Y)).T
    assert np.all(here > low) and np.all(here > high)
    assert np.all(np.abs(high - low) < 2e-2 * (2 * here - high - low))


def test_derivatives_of_an_estimated_power_are_differences_of_refits():
    y = tweedie_data()[1][0]
    wanted = richardson(lambda t: np.asarray(estimate_power(y, 0.1 + t)[0]))
    np.testing.assert_allclose(estimate_power(y, 0.1)[1], wanted, rtol=1e-7)


def test_an_unknown_parameter_goes_with_a_penalty_and_another_solver():
    family = families.NegativeBinomial(None)
    result = fit(DATA.X, COUNTS, family, penalty=penalties.Ridge(0.5), solver=solvers.Newton())
    assert result.converged
    known = fit(DATA.X, COUNTS, families.NegativeBinomial(result.family.alpha), penalty=0.5)
    np.testing.assert_allclose(result.params, known.params, rtol=1e-9)
