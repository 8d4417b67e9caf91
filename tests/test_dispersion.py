import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PAIRS, data_of, family_of, pair, small
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


@pytest.mark.parametrize("scale", ["pearson", "x2", ""])
def test_unknown_scales_raise_by_name(scale):
    with pytest.raises(ValueError, match="scale="):
        fit(DATA.X, DATA.positive, families.Gamma(), scale=scale)


@pytest.mark.parametrize(
    "family", [families.Poisson(), families.Quasi(lambda mu: mu, links.Log())]
)
def test_no_maximum_likelihood_scale_without_a_likelihood_in_it(family):
    with pytest.raises(ValueError, match="ml"):
        fit(DATA.X, DATA.positive, family, scale="ml")


def test_no_degrees_of_freedom_leave_no_scale():
    result = fit(DATA.X[:3], DATA.gaussian[:3])
    assert result.df_resid == 0 and np.isnan(result.scale) and np.all(np.isfinite(result.params))


# The negative binomial's alpha


def unknown_alpha(case):
    return families.NegativeBinomial(None, family_of({**case, "theta": None}).link)


@pytest.mark.parametrize("case", NB_ML, ids=[str(i) for i in range(len(NB_ML))])
def test_alpha_matches_the_joint_maximum_of_the_reference(case):
    X, y, given = data_of(case)
    result = fit(X, y, unknown_alpha(case), **given)
    assert result.converged
    np.testing.assert_allclose(result.family.alpha, case["alpha"], rtol=1e-9)
    np.testing.assert_allclose(result.params, case["params"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(result.bse, case["bse"], rtol=1e-8)
    np.testing.assert_allclose(result.loglike, case["loglike"], rtol=1e-11)
    np.testing.assert_allclose(result.deviance, case["deviance"], rtol=1e-9)


@pytest.mark.parametrize("case", R_NB, ids=[c["name"] for c in R_NB])
def test_alpha_matches_r(case):
    X, y, given = data_of(case)
    result = fit(X, y, unknown_alpha(case), **given)
    assert result.converged
    np.testing.assert_allclose(1.0 / result.family.alpha, case["theta"], rtol=1e-6)
    np.testing.assert_allclose(result.params, case["coefficients"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.bse, case["standard_errors"], rtol=1e-6)
    np.testing.assert_allclose(2 * result.loglike, case["twologlik"], rtol=1e-9)


def test_underdispersed_counts_give_the_poisson_fit_on_the_boundary():
    y = np.round(np.exp(1.2 + 0.3 * DATA.X[:, 1]))
    result = fit(DATA.X, y, families.NegativeBinomial(None))
    poisson = fit(DATA.X, y, families.Poisson())
    assert Status(int(result.status)) is Status.boundary
    assert result.family.alpha == 0.0
    np.testing.assert_allclose(result.params, poisson.params, rtol=1e-10)
    np.testing.assert_allclose(result.loglike, poisson.loglike, rtol=1e-12)
    np.testing.assert_allclose(result.bse, poisson.bse, rtol=1e-9)


COUNTS = np.random.default_rng(4).negative_binomial(
    1.4, 1.0 / (1.0 + np.exp(0.9 + DATA.X[:, 1]) / 1.4), 40
).astype(float)


def profile(alpha, cox_reid):
    """The profile log-likelihood of alpha, from fits at fixed alpha."""
    result = fit(DATA.X, COUNTS, families.NegativeBinomial(alpha))
    adjustment = 0.5 * jnp.linalg.slogdet(result.cov_unscaled)[1]
    return result.loglike + (adjustment if cox_reid else 0.0)


@pytest.mark.parametrize("cox_reid", [False, True])
def test_alpha_is_a_maximum_of_its_profile(cox_reid):
    result = fit(DATA.X, COUNTS, families.NegativeBinomial(None, cox_reid=cox_reid))
    assert result.converged
    alpha = result.family.alpha
    value = jax.jit(jax.vmap(lambda a: profile(a, cox_reid)))
    points = alpha * jnp.exp(jnp.array([-0.5, -1e-2, 0.0, 1e-2, 0.5]))
    low, left, top, right, high = np.asarray(value(points))
    assert top > left > low and top > right > high
    # At the maximum of a parabola the two sides are equal.
    assert abs(right - left) < 2e-2 * (2 * top - right - left)


def test_cox_reid_raises_alpha():
    plain, adjusted = (
        fit(DATA.X, COUNTS, families.NegativeBinomial(None, cox_reid=c)).family.alpha
        for c in (False, True)
    )
    assert adjusted > plain


def derivative(f, x, h=1e-3):
    wide, narrow = ((f(x + s) - f(x - s)) / (2 * s) for s in (h, h / 2))
    return (4 * narrow - wide) / 3


@pytest.mark.parametrize("cox_reid", [False, True])
def test_derivatives_of_an_estimated_alpha_are_differences_of_refits(cox_reid):
    def estimates(t):
        family = families.NegativeBinomial(None, cox_reid=cox_reid)
        X = DATA.X + t * jnp.cos(jnp.arange(120.0)).reshape(40, 3) * 0.2
        result = fit(
            X, COUNTS * (1 + 0.1 * t), family, offset=t * DATA.offset, var_weights=DATA.weights**t
        )
        return jnp.append(result.params, result.family.alpha)

    refit = jax.jit(estimates)
    wanted = derivative(lambda t: np.asarray(refit(t)), 0.5, 2e-3)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(estimates))(0.5), wanted, rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.jacrev(estimates))(0.5), wanted, rtol=2e-6, atol=1e-8)


def test_lanes_with_their_own_alpha_do_not_disturb_one_another():
    under = np.round(np.exp(1.2 + 0.3 * DATA.X[:, 1]))
    y = np.stack([COUNTS, under, COUNTS[::-1]])
    family = families.NegativeBinomial(None)
    result = jax.jit(jax.vmap(lambda y: fit(DATA.X, y, family)))(y)
    assert [int(s) for s in result.status] == [0, Status.boundary, 0]
    alone = jax.jit(lambda y: fit(DATA.X, y, family))
    for i in (0, 2):
        single = alone(y[i])
        np.testing.assert_allclose(result.params[i], single.params, rtol=1e-9)
        np.testing.assert_allclose(result.family.alpha[i], single.family.alpha, rtol=1e-9)


# Tweedie's power


def tweedie_data(power, n=400):
    random = np.random.default_rng(12)
    X = np.column_stack([np.ones(n), random.uniform(-1, 1, n)])
    mu = np.exp(X @ np.array([0.4, 0.7]))
    return X, np.asarray(families.Tweedie(power).sample(jax.random.key(5), mu, 0.8))


@pytest.mark.parametrize("power", [1.3, 1.7])
def test_tweedie_power_is_recovered_and_is_a_maximum(power):
    X, y = tweedie_data(power)
    result = fit(X, y, families.Tweedie(None))
    assert result.converged
    found = float(result.family.var_power)
    # Five standard errors of the estimate are about 0.2 with 400 responses.
    assert abs(found - power) < 0.2

    def top(p):
        return fit(X, y, families.Tweedie(p), scale="ml").loglike

    low, here, high = np.asarray(jax.jit(jax.vmap(top))(jnp.array([found - 1e-3, found, found + 1e-3])))
    assert here > low and here > high
    assert abs(high - low) < 2e-2 * (2 * here - high - low)


def test_derivatives_of_an_estimated_power_are_differences_of_refits():
    X, y = tweedie_data(1.5, n=60)

    def estimates(t):
        result = fit(X, y, families.Tweedie(None), offset=t * X[:, 1] ** 2, freq_weights=1 + t * y)
        return jnp.append(result.params, result.family.var_power)

    refit = jax.jit(estimates)
    wanted = derivative(lambda t: np.asarray(refit(t)), 0.1, 4e-3)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(estimates))(0.1), wanted, rtol=1e-5, atol=1e-7)


def test_an_unknown_parameter_goes_with_a_penalty_and_another_solver():
    family = families.NegativeBinomial(None)
    plain = fit(DATA.X, COUNTS, family, penalty=penalties.Ridge(0.5))
    newton = fit(DATA.X, COUNTS, family, penalty=0.5, solver=solvers.Newton())
    assert plain.converged and newton.converged
    np.testing.assert_allclose(plain.params, newton.params, rtol=1e-9)
    np.testing.assert_allclose(plain.family.alpha, newton.family.alpha, rtol=1e-9)
