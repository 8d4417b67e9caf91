"""The logarithms of rows: exact to the last places, with the values of JAX at the edges."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import _logarithm as logarithm

EDGES = np.array([0.0, -1.0, -1.5, np.inf, -np.inf, np.nan, 1e-310, 2.3e-308, 1.7e308, 1.0])


def units_off(found, exact):
    """The error in units of the last place of the exact value, a long double."""
    return np.abs((np.asarray(found) - exact) / np.spacing(np.abs(exact.astype(float)))).max()


@pytest.mark.parametrize("reach", [700.0, 1.0, 1e-3, 1e-9])
def test_log_is_exact_at_every_size(reach):
    x = np.exp(np.random.default_rng(1).uniform(-reach, reach, 20_000))
    assert units_off(logarithm.log(x), np.log(x.astype(np.longdouble))) < 2.5


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (-1e-5, 1e-5), (-1e-20, 1e-20), (0.0, 1e3), (0.0, 1e300)]
)
def test_log1p_is_exact_at_every_size(low, high):
    x = np.random.default_rng(2).uniform(low, high, 20_000)
    assert units_off(logarithm.log1p(x), np.log1p(x.astype(np.longdouble))) < 3.0


@pytest.mark.parametrize("reach", [300.0, 1.0, 1e-3, 1e-9])
def test_log_ratio_is_exact_at_every_distance(reach):
    rng = np.random.default_rng(3)
    mu = np.exp(rng.uniform(-300.0, 300.0, 20_000))
    y = mu * np.exp(rng.uniform(-reach, reach, mu.size))
    wide_y, wide_mu = y.astype(np.longdouble), mu.astype(np.longdouble)
    wanted = np.log(wide_y / wide_mu) if reach > 1 else np.log1p((wide_y - wide_mu) / wide_mu)
    off = np.asarray(logarithm.log_ratio(y, mu)) - wanted
    assert (np.abs(off) <= 8e-16 * np.abs(wanted)).all()


def test_log_ratio_has_exact_slopes_however_small_the_ratio():
    y, mu = jnp.array([1e-200, 1e-20, 0.5, 2.0, 1e9]), jnp.array([3.0, 1.0, 0.6, 2.0, 1.0])
    slopes = jax.vmap(jax.grad(logarithm.log_ratio, (0, 1)))(y, mu)
    np.testing.assert_allclose(slopes, (1.0 / y, -1.0 / mu), rtol=1e-15)


@pytest.mark.parametrize("name", ["log", "log1p"])
def test_edges_and_float32_are_those_of_jax(name):
    ours, theirs = getattr(logarithm, name), getattr(jnp, name)
    np.testing.assert_allclose(ours(EDGES), theirs(EDGES), rtol=1e-15)
    narrow = np.linspace(0.1, 9.0, 50, dtype=np.float32)
    assert ours(narrow).dtype == np.float32
    np.testing.assert_array_equal(ours(narrow), theirs(narrow))


@pytest.mark.parametrize("name", ["log", "log1p"])
def test_slopes_are_exact_to_third_order(name):
    def third(fn, x):
        return jax.vmap(jax.grad(jax.grad(jax.grad(fn))))(x)

    x = jnp.array([1e-8, 0.3, 1.0, 40.0, 1e9])
    wanted = 2.0 / x**3 if name == "log" else 2.0 / (1.0 + x) ** 3
    np.testing.assert_allclose(third(getattr(logarithm, name), x), wanted, rtol=1e-14)


@pytest.mark.parametrize("name", ["log", "log1p"])
def test_second_derivatives_survive_a_scan(name):
    # Reverse over reverse, a scan differentiates the body of a rule and not the rule.
    def total(fn, r):
        k = jnp.arange(1.0, 20.0)
        return jax.lax.scan(lambda t, k: (t + jnp.exp(-fn(k * r)), None), 0.0, k)[0]

    ours, theirs = (partial(total, getattr(m, name)) for m in (logarithm, jnp))
    np.testing.assert_allclose(*(jax.grad(jax.grad(f))(1.3) for f in (ours, theirs)), rtol=1e-12)
