"""The variance power of a Tweedie model at given means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import close
from scipy import optimize
from scipy.special import wright_bessel

import jaxglm
from jaxglm import families

TRUE = 1.5


def sample(n=60, seed=4):
    """A design, its means, responses of power `TRUE` and frequencies, some 0."""
    random = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), random.uniform(-1, 1, n)])
    mu = np.exp(X @ [0.6, 0.5])
    y = np.asarray(families.Tweedie(TRUE).sample(jax.random.key(seed), jnp.asarray(mu), 0.9))
    return X, mu, y, random.integers(0, 3, n), random.uniform(0.5, 2.0, n)


def log_density(y, mu, phi, p):
    """Of one response, by Wright's generalized Bessel function."""
    a = (2 - p) / (p - 1)
    slope = (y * mu ** (1 - p) / (1 - p) - mu ** (2 - p) / (2 - p)) / phi
    if y == 0:
        return slope
    x = (y / (p - 1)) ** a / ((2 - p) * phi ** (1 + a))
    return np.log(wright_bessel(a, 0.0, x) / y) + slope


def maximized(y, mu, frequency, precision):
    """(p, log phi) of greatest likelihood, by a search that knows no derivatives."""

    def cost(at):
        phi = np.exp(at[1]) / precision
        rows = zip(y, mu, phi, frequency, strict=True)
        return -sum(f * log_density(*row, at[0]) for *row, f in rows if f > 0)

    tight = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000}
    bounds = [(1.05, 1.95), (-3, 3)]
    return optimize.minimize(cost, [1.6, 0.1], bounds=bounds, method="Nelder-Mead", options=tight).x


@pytest.mark.nightly
def test_the_power_is_that_of_a_direct_search():
    X, mu, y, frequency, precision = sample()
    given = {"freq_weights": frequency, "var_weights": precision}
    model = jaxglm.GLM(y, X, families.Tweedie(1.3), **given)
    power = model.estimate_tweedie_power(mu)
    # The search sees the likelihood alone, flat to 1e-14 within 1e-7 of its top.
    close(power, maximized(y, mu, frequency, precision)[0], rtol=3e-7)
    repeated = np.repeat(np.arange(len(y)), frequency)
    again = jaxglm.GLM(
        y[repeated], X[repeated], families.Tweedie(1.8), var_weights=precision[repeated]
    )
    close(again.estimate_tweedie_power(mu[repeated]), power)


@pytest.mark.nightly
def test_at_its_own_means_the_power_is_that_of_the_joint_fit():
    X, _, y, *_ = sample()
    joint = jaxglm.GLM(y, X, families.Tweedie(None)).fit()
    power = joint.model.estimate_tweedie_power(joint.mu)
    close(power, joint.family.var_power, rtol=1e-9)
    # Where the likelihood rises beyond it, the end.
    ends = {"low": power + 0.1, "high": power + 0.2}
    close(joint.model.estimate_tweedie_power(joint.mu, **ends), power + 0.1)


def test_what_has_no_power_is_refused():
    X, mu, y, *_ = sample()
    with pytest.raises(ValueError, match="the family is Poisson, allowed is Tweedie"):
        jaxglm.GLM(np.round(y), X, families.Poisson()).estimate_tweedie_power(mu)
    model = jaxglm.GLM(y, X, families.Tweedie(1.5))
    with pytest.raises(ValueError, match="allowed are 1 < low < high < 2"):
        model.estimate_tweedie_power(mu, high=5.0)
    with pytest.raises(ValueError, match=r"mu=...\): shape \(1,\)"):
        model.estimate_tweedie_power(mu[:1])
