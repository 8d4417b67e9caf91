"""Distribution functions: scipy's, and the integral of the density."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxglm import families, links
from jaxglm.distributions import DISTRIBUTIONS
from jaxglm.links import Mean

MU = np.array([0.3, 0.9, 3.0, 5.0, 8.0, 20.0, 0.02])
COUNTS = np.array([0.0, 1.0, 2.0, 14.0, 3.0, 40.0, 3.0])
POSITIVE = np.array([0.02, 1.0, 2.0, 25.0, 3.0, 70.0, 0.2])
CHANCES = np.array([0.3, 0.9, 0.5, 0.01, 0.999, 0.2, 0.6])
TRIALS = np.array([1.0, 5.0, 7.0, 30.0, 12.0, 40.0, 1.0])
SUCCESSES = np.array([1.0, 0.0, 3.0, 9.0, 5.0, 40.0, 0.0])
PHI = np.linspace(0.1, 1.5, 7)

# family, y, mu, trials, scipy's law of the response's count or value, and whether it is discrete
LAWS = {
    "gaussian": (families.Gaussian(), MU * 2 - 3, MU, 1, stats.norm(MU, PHI**0.5), False),
    "binomial": (
        *(families.Binomial(), SUCCESSES / TRIALS, CHANCES, TRIALS),
        *(stats.binom(TRIALS, CHANCES), True),
    ),
    "poisson": (families.Poisson(), COUNTS, MU, 1, stats.poisson(MU), True),
    "gamma": (families.Gamma(), POSITIVE, MU, 1, stats.gamma(1 / PHI, scale=MU * PHI), False),
    "inverse_gaussian": (
        *(families.InverseGaussian(), POSITIVE, MU, 1),
        *(stats.invgauss(MU * PHI, scale=1 / PHI), False),
    ),
    "negative_binomial": (
        *(families.NegativeBinomial(0.7), COUNTS, MU, 1),
        *(stats.nbinom(1 / 0.7, 1 / (1 + 0.7 * MU)), True),
    ),
    "negative_binomial at its edge": (
        *(families.NegativeBinomial(1.0).completed(jnp.array(0.0)), COUNTS, MU, 1),
        *(stats.poisson(MU), True),
    ),
    "tweedie 1": (families.Tweedie(1.0), COUNTS, MU, 1, stats.poisson(MU), True),
    "tweedie 2": (
        families.Tweedie(2.0), POSITIVE, MU, 1, stats.gamma(1 / PHI, scale=MU * PHI), False,
    ),
}  # fmt: skip


def tails_of(family, y, mu, trials, phi=PHI):
    arrays = [jnp.asarray(v, float) for v in (y, phi, np.broadcast_to(trials, y.shape))]
    mean = Mean.of(jnp.asarray(mu))
    return DISTRIBUTIONS[type(family)](family, arrays[0], mean, arrays[1], arrays[2])


@pytest.mark.parametrize("name", LAWS)
def test_both_tails_equal_those_of_scipy(name):
    family, y, mu, trials, law, discrete = LAWS[name]
    below, upto = tails_of(family, y, mu, trials)
    value = np.round(y * trials) if discrete else y
    np.testing.assert_allclose(upto.lower, law.cdf(value), rtol=1e-9, atol=1e-290)
    np.testing.assert_allclose(upto.upper, law.sf(value), rtol=1e-9, atol=1e-290)
    before = value - 1 if discrete else value
    np.testing.assert_allclose(below.lower, law.cdf(before), rtol=1e-9, atol=1e-290)
    np.testing.assert_allclose(below.upper, law.sf(before), rtol=1e-9, atol=1e-290)


@pytest.mark.parametrize("p", (1.2, 1.5, 1.8))
def test_the_tails_of_tweedie_are_integrals_of_its_density(p):
    family, phi = families.Tweedie(p, links.Log()), 0.6
    y, mu = np.array([0.0, 0.1, 1.0, 4.0, 20.0]), np.array([0.5, 0.5, 2.0, 1.0, 6.0])
    below, upto = tails_of(family, y, mu, 1, np.full(5, phi))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    # y = t^4 flattens the density's power at 0.
    half = 0.5 * y[:, None] ** 0.25
    t = half * (nodes + 1)[None]
    density = np.exp(family.loglike_obs(np.maximum(t**4, 1e-300), mu[:, None] + 0 * t, 1.0, phi))
    none = np.exp(family.loglike_obs(np.zeros(5), mu, 1.0, phi))
    mass = np.sum(weights[None] * half * density * 4 * t**3, axis=1)
    np.testing.assert_allclose(upto.lower, none + mass, rtol=1e-7)
    np.testing.assert_allclose(upto.lower + upto.upper, 1.0, rtol=1e-12)
    assert below.lower[0] == 0 and np.all(np.asarray(below.lower[1:] == upto.lower[1:]))


def test_a_tweedie_of_many_jumps_is_nearly_normal():
    family = families.Tweedie(1.5)
    phi, mu = np.full(5, 1e-4), np.full(5, 3.0)
    sd = np.sqrt(1e-4 * 3.0**1.5)
    z = np.array([-4.0, -1.0, 0.0, 1.0, 4.0])
    _, upto = tails_of(family, 3.0 + sd * z, mu, 1, phi)
    np.testing.assert_allclose(upto.lower, stats.norm.cdf(z), rtol=0.1, atol=3e-3)
    np.testing.assert_allclose(np.asarray(upto.lower + upto.upper), 1.0, rtol=1e-12)


def test_powers_without_a_law_give_nan():
    _, upto = tails_of(families.Tweedie(2.5), POSITIVE, MU, 1)
    assert np.all(np.isnan(upto.lower))


def test_an_upper_tail_of_the_inverse_gaussian_keeps_its_digits():
    mu, phi, y = 1.0, 0.5, 30.0
    wanted, _ = integrate.quad(stats.invgauss(mu * phi, scale=1 / phi).pdf, y, np.inf, epsabs=0)
    _, upto = tails_of(
        families.InverseGaussian(), np.array([y]), np.array([mu]), 1, np.array([phi])
    )
    assert float(upto.upper[0]) == pytest.approx(wanted, rel=1e-8)
