from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from cases import FAMILIES, WITH_LIKELIHOOD, as_arrays

from jaxglm import families, links
from jaxglm._types import CLOSED_UNIT, POSITIVE, UNIT

each_family = pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
each_likelihood = pytest.mark.parametrize("row", WITH_LIKELIHOOD, ids=lambda row: row.name)


def interior(row):
    """The responses that are possible means too, hence with deviance zero there."""
    space = row.family.mean_space
    return np.array([y for y in row.y if space.holds(y)])


@each_family
def test_deviance_is_zero_at_the_response_and_positive_elsewhere(row):
    y = interior(row)
    np.testing.assert_allclose(row.family.unit_deviance(y, y), 0.0, atol=1e-14)
    deviance = np.asarray(row.family.unit_deviance(np.array(row.y), np.array(row.mu)))
    assert np.all(deviance[np.array(row.y) != np.array(row.mu)] > 0)


@each_family
def test_deviance_of_a_boundary_response_vanishes_as_the_mean_approaches(row):
    for end in row.family.support.closed_ends:
        if row.family.mean_space.holds(end) or not row.family.in_support(jnp.asarray(end)):
            continue
        mu = abs(end - 1e-12)
        # Tweedie's tends to zero with mu^(2 - p) only.
        assert 0 <= row.family.unit_deviance(end, mu) < (1e-4 if "1.5" in row.name else 1e-9)


@each_family
def test_a_response_far_below_its_mean_has_the_deviance_of_the_edge(row):
    mu = np.array(row.mu)
    if row.family.support.low == 0 and row.family.in_support(jnp.asarray(0.0)):
        near, at = (row.family.unit_deviance(y, mu) for y in (1e-30, 0.0))
        np.testing.assert_allclose(near, at, rtol=1e-12)


def test_a_proportion_without_trials_is_that_of_one_trial():
    one, y = jnp.asarray(1.0), jnp.array([0.0, 1e-9, 0.2, 0.5, 0.9, 1.0])

    def peak(n_trials, y):
        return families.Binomial().log_saturated(y, one, one, n_trials)

    np.testing.assert_allclose(peak(None, y), peak(one, y), rtol=1e-14, atol=4e-15)
    without, with_one = (jax.vmap(jax.grad(partial(peak, m)))(y[1:-1]) for m in (None, one))
    np.testing.assert_allclose(without, with_one, rtol=1e-13)


def test_gamma_deviance_has_its_logarithm_however_small_the_response():
    y, mu = np.array([1e-200, 1e-30, 1e-17, 1e-9, 0.1]), 3.0
    wanted = 2.0 * ((y - mu) / mu - (np.log(y) - np.log(mu)))
    np.testing.assert_allclose(families.Gamma().unit_deviance(y, mu), wanted, rtol=1e-14)


@each_family
def test_deviance_slope_is_minus_twice_the_residual_over_the_variance(row):
    y, mu = as_arrays(row.y, row.mu)
    got = jax.vmap(jax.grad(row.family.unit_deviance, argnums=1))(y, mu)
    wanted = -2.0 * (y - mu) / row.family.variance(mu)
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


@each_family
def test_deviance_keeps_its_digits_near_the_response(row):
    y = interior(row)[-1]
    step = 1e-6 * y
    wanted = step**2 / row.family.variance(y)
    np.testing.assert_allclose(row.family.unit_deviance(y, y + step), wanted, rtol=1e-4)


@each_likelihood
def test_loglike_differences_are_deviance_differences_over_twice_the_dispersion(row):
    y, mu = as_arrays(row.y, row.mu)
    other = mu * 0.9
    phi = 1.0 if row.family.fixed_scale or row.name == "tweedie 1" else 0.6
    weight = jnp.linspace(0.5, 2.0, len(y))
    extra = {"n_trials": 4.0} if row.family.counts_trials else {}
    trials = extra.get("n_trials", 1.0)

    def at(mu):
        return row.family.loglike_obs(y, mu, weight, phi, **extra)

    deviance = row.family.unit_deviance(y, mu) - row.family.unit_deviance(y, other)
    wanted = -0.5 * trials * weight * deviance / phi
    np.testing.assert_allclose(at(mu) - at(other), wanted, rtol=1e-9, atol=1e-11)


@each_family
def test_support_accepts_a_boundary_iff_inclusive(row):
    support = row.family.support
    for end, inclusive in (
        (support.low, support.low_inclusive),
        (support.high, support.high_inclusive),
    ):
        if np.isfinite(end) and not isinstance(row.family, families.Tweedie):
            assert bool(row.family.in_support(jnp.asarray(end))) == inclusive
    assert np.all(row.family.in_support(jnp.asarray(row.y)))
    assert not np.any(row.family.in_support(jnp.array([np.nan, np.inf, -np.inf])))


@pytest.mark.parametrize(
    ("power", "accepts"),
    [(-1.0, (1, 1)), (0.0, (1, 1)), (1.0, (0, 1)), (1.5, (0, 1)), (2.0, (0, 0))],
)
def test_tweedie_support_follows_its_power(power, accepts):
    got = families.Tweedie(power).in_support(jnp.array([-1.0, 0.0]))
    np.testing.assert_array_equal(got, np.array(accepts, dtype=bool))


@each_family
def test_variance_deriv_is_the_derivative_of_the_variance(row):
    mu, step = np.array(row.mu), 1e-4
    up, down = row.family.variance(mu * (1 + step)), row.family.variance(mu * (1 - step))
    wanted = (up - down) / (2.0 * step * mu)
    np.testing.assert_allclose(row.family.variance_deriv(mu), wanted, rtol=1e-6, atol=1e-8)


@each_family
def test_starting_means_lie_inside_the_mean_space(row):
    mu = row.family.starting_mu(jnp.asarray(row.y))
    assert np.all(row.family.mean_space.contains(mu))


# With 5 standard errors a bound fails by chance in 6e-7 of all keys.
SIGMAS, DRAWS = 5.0, 40_000
SAMPLED = [
    (families.Gaussian(), 2.0, 0.7),
    (families.Binomial(), 0.3, 1.0),
    (families.Poisson(), 2.0, 1.0),
    (families.Gamma(), 2.0, 0.3),
    (families.InverseGaussian(), 2.0, 0.3),
    (families.NegativeBinomial(0.7), 2.0, 1.0),
    (families.Tweedie(1.5), 2.0, 0.7),
    (families.Tweedie(0.0), 2.0, 0.7),
    (families.Tweedie(1.0), 2.0, 1.0),
    (families.Tweedie(2.0), 2.0, 0.3),
    (families.Tweedie(3.0), 2.0, 0.3),
]


@pytest.mark.parametrize(("family", "mu", "scale"), SAMPLED, ids=lambda v: type(v).__name__)
def test_draws_have_the_mean_and_variance(family, mu, scale):
    trials = 5 if family.counts_trials else 1
    sample = jax.jit(lambda key: family.sample(key, jnp.full(DRAWS, mu), scale, trials))
    y = np.asarray(sample(jax.random.key(11)))
    assert np.all(family.in_support(jnp.asarray(y)))
    variance = scale * float(family.variance(mu)) / trials
    assert abs(y.mean() - mu) < SIGMAS * np.sqrt(variance / DRAWS)
    squares = (y - mu) ** 2
    assert abs(squares.mean() - variance) < SIGMAS * squares.std() / np.sqrt(DRAWS)


def test_draws_repeat_with_the_key_and_differ_without():
    mu = jnp.full(5, 2.0)
    one, same, other = (families.Gamma().sample(jax.random.key(k), mu) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.all(np.asarray(one) != np.asarray(other))


def test_negative_binomial_tends_to_poisson():
    y, mu = as_arrays((0.0, 1.0, 4.0, 20.0), (0.5, 3.0, 3.0, 25.0))
    for alpha in (1e-15, 1e-13):
        near, limit = families.NegativeBinomial(alpha), families.Poisson()
        for name, arguments in (("unit_deviance", (y, mu)), ("loglike_obs", (y, mu))):
            got, wanted = getattr(near, name)(*arguments), getattr(limit, name)(*arguments)
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(near.variance(mu), limit.variance(mu), rtol=1e-11)


@pytest.mark.parametrize("alpha", [1e-12, 1e-6, 1e-3])
def test_derivatives_in_alpha_are_those_of_the_limit(alpha):
    y, mu = as_arrays((0.0, 1.0, 4.0, 20.0), (0.5, 3.0, 3.0, 25.0))

    def loglike(a):
        return families.NegativeBinomial(a).loglike_obs(y, mu)

    # At alpha = 0: ((y - mu)^2 - y) / 2 and -[y (y-1) (2y-1) / 6 + mu^3 (2/3) - y mu^2].
    first = 0.5 * ((y - mu) ** 2 - y)
    second = -y * (y - 1) * (2 * y - 1) / 6 - 2 * mu**3 / 3 + y * mu**2
    slope = jax.jacfwd(loglike)(alpha)
    curve = jax.jacfwd(jax.jacfwd(loglike))(1e-12)
    np.testing.assert_allclose(curve, second, rtol=1e-6, atol=1e-7)
    bound = np.abs(np.asarray(second)) * alpha * 1.05 + 1e-9
    assert np.all(np.abs(slope - first) <= bound)


NAMED = {
    0.0: families.Gaussian(),
    1.0: families.Poisson(),
    2.0: families.Gamma(),
    3.0: families.InverseGaussian(),
}


@pytest.mark.parametrize("power", NAMED)
def test_tweedie_is_the_named_family_at_its_power(power):
    y, mu = as_arrays((1.0, 2.0, 5.0), (1.5, 2.5, 3.0))
    tweedie, named = families.Tweedie(power), NAMED[power]
    np.testing.assert_allclose(tweedie.variance(mu), named.variance(mu), rtol=1e-14)
    got, wanted = tweedie.unit_deviance(y, mu), named.unit_deviance(y, mu)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    phi = 1.0 if power == 1.0 else 0.4
    got = tweedie.loglike_obs(y, mu, 2.0, phi)
    np.testing.assert_allclose(got, named.loglike_obs(y, mu, 2.0, phi), rtol=1e-12)


@pytest.mark.parametrize(("power", "side"), [(1.0, 1.0), (2.0, -1.0), (2.0, 1.0), (3.0, -1.0)])
def test_tweedie_deviance_is_continuous_in_its_power(power, side):
    y, mu = as_arrays((0.5, 2.0, 5.0), (1.5, 2.5, 3.0))
    wanted = families.Tweedie(power).unit_deviance(y, mu)
    for gap in (1e-12, 1e-9, 1e-6):
        got = families.Tweedie(power + side * gap).unit_deviance(y, mu)
        np.testing.assert_allclose(got, wanted, rtol=1e-11 + 20 * gap)
    slope = jax.jacfwd(lambda p: families.Tweedie(p).unit_deviance(y, mu))
    at, near = slope(power), slope(power + side * 1e-7)
    np.testing.assert_allclose(at, near, rtol=1e-4, atol=1e-6)


def test_tweedie_density_sums_to_one():
    family, mu, phi = families.Tweedie(1.4), 1.3, 0.6
    mass = float(jnp.exp(family.loglike_obs(0.0, mu, 1.0, phi)))
    y = np.linspace(0.0, 30.0, 20_001)[1:]
    density = np.exp(np.asarray(family.loglike_obs(y, np.full_like(y, mu), 1.0, phi)))
    rate = mu**0.6 / (phi * 0.6)
    np.testing.assert_allclose(mass, np.exp(-rate), rtol=1e-12)
    np.testing.assert_allclose(mass + scipy.integrate.trapezoid(density, y), 1.0, atol=2e-3)


@pytest.mark.parametrize(
    ("variance", "named", "space", "row"),
    [
        (lambda mu: jnp.ones_like(mu), families.Gaussian(), None, "gaussian"),
        (lambda mu: mu, families.Poisson(), POSITIVE, "poisson"),
        (lambda mu: mu**2, families.Gamma(), POSITIVE, "gamma"),
        (lambda mu: mu**3, families.InverseGaussian(), POSITIVE, "inverse_gaussian"),
        (lambda mu: mu * (1 - mu), families.Binomial(), UNIT, "binomial"),
    ],
    ids=["1", "mu", "mu^2", "mu^3", "mu(1-mu)"],
)
def test_quasi_deviance_is_that_of_the_family_with_its_variance(variance, named, space, row):
    row = next(r for r in FAMILIES if r.name == row)
    bounds = {} if space is None else {"mean_space": space}
    family = families.Quasi(variance, links.Identity(), **bounds)
    y, mu = as_arrays(row.y, row.mu)
    got, wanted = family.unit_deviance(y, mu), named.unit_deviance(y, mu)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    got = jax.vmap(jax.grad(family.unit_deviance, argnums=1))(y, mu)
    np.testing.assert_allclose(got, -2 * (y - mu) / variance(mu), rtol=1e-9, atol=1e-10)


def test_quasi_has_no_likelihood():
    family = families.Quasi(lambda mu: mu, links.Log(), mean_space=POSITIVE, support=CLOSED_UNIT)
    assert not family.has_likelihood and np.isnan(family.loglike_obs(0.5, 0.7))
    assert not family.in_support(jnp.asarray(1.5))
    with pytest.raises(NotImplementedError, match="Quasi"):
        family.sample(jax.random.key(0), 1.0)


Y = np.array([1.0, 2.0, 5.0, 0.0])
POSITIVE_Y = np.array([0.3, 2.0, 5.0, 1.0])
MU, PHI, WEIGHT = np.array([1.5, 1.9, 6.0, 0.4]), 0.7, np.array([0.5, 1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("family", "y", "wanted"),
    [
        (families.Gaussian(), Y, scipy.stats.norm.logpdf(Y, MU, np.sqrt(PHI / WEIGHT))),
        (
            families.Gamma(),
            POSITIVE_Y,
            scipy.stats.gamma.logpdf(POSITIVE_Y, WEIGHT / PHI, scale=MU * PHI / WEIGHT),
        ),
        (
            families.InverseGaussian(),
            POSITIVE_Y,
            scipy.stats.invgauss.logpdf(POSITIVE_Y, MU * PHI / WEIGHT, scale=WEIGHT / PHI),
        ),
        (families.Poisson(), Y, WEIGHT / PHI * scipy.stats.poisson.logpmf(Y, MU)),
        (
            families.NegativeBinomial(0.7),
            Y,
            WEIGHT / PHI * scipy.stats.nbinom.logpmf(Y, 1 / 0.7, 1 / (1 + 0.7 * MU)),
        ),
    ],
    ids=["gaussian", "gamma", "inverse_gaussian", "poisson", "negative_binomial"],
)
def test_log_density_is_the_textbook_one(family, y, wanted):
    got = family.loglike_obs(y, MU, WEIGHT, PHI)
    np.testing.assert_allclose(got, wanted, rtol=1e-11)


def test_binomial_log_density_is_the_textbook_one():
    k, n, p = np.array([0.0, 3.0, 7.0, 4.0]), 7.0, np.array([0.1, 0.4, 0.8, 0.6])
    got = families.Binomial().loglike_obs(k / n, p, WEIGHT, 1.0, n)
    np.testing.assert_allclose(got, WEIGHT * scipy.stats.binom.logpmf(k, n, p), rtol=1e-11)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: families.NegativeBinomial(alpha=0.0), "alpha=0"),
        (lambda: families.NegativeBinomial(alpha=-1.0), "alpha=-1"),
        (lambda: families.NegativeBinomial(alpha=float("nan")), "alpha=nan"),
        (lambda: families.NegativeBinomial(alpha=np.float64(-1.0)), "alpha=-1"),
        (lambda: families.NegativeBinomial(alpha=-1), "alpha=-1"),
        (lambda: families.Tweedie(var_power=0.5), "var_power=0.5"),
        (lambda: families.Tweedie(var_power=float("nan")), "var_power=nan"),
        (lambda: families.Poisson(link=links.Logit()), "link=Logit"),
        (lambda: families.Gamma(link=links.Probit()), "link=Probit"),
        (lambda: families.NegativeBinomial(link=links.CLogLog()), "link=CLogLog"),
    ],
)
def test_construction_errors_name_the_argument(make, argument):
    with pytest.raises(ValueError, match=argument):
        make()


@each_family
def test_gradients_are_finite_at_the_edge_of_the_support(row):
    y, mu = as_arrays(row.y, row.mu)
    for argument in (0, 1):
        slope = jax.vmap(jax.grad(row.family.unit_deviance, argnums=argument))(y, mu)
        inside = np.asarray(y) > 0 if argument == 0 else np.ones(len(y), bool)
        assert np.all(np.isfinite(np.asarray(slope)[inside]))
    assert np.all(np.isfinite(jax.vmap(jax.grad(row.family.variance))(mu)))
