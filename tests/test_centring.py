"""float32 loses nothing to columns far from zero, and beta stays what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import families, fit, fit_many, penalties
from jaxglm.centring import centring
from jaxglm.fit import prepare

RNG = np.random.default_rng(3)
N = 60
X = np.column_stack([np.full(N, 2.0), RNG.normal(size=(N, 2)) + [100.0, -300.0]])
X = X.astype(np.float32)
Y = RNG.poisson(np.exp(0.4 * (X[:, 1] - 100.0))).astype(np.float32)
SINGLE = (jnp.asarray(X), jnp.asarray(Y))
DOUBLE = (np.asarray(X, np.float64), np.asarray(Y, np.float64))
FAMILY = families.Poisson()


def agree(single, double, tolerance=2e-5):
    error = np.abs(np.asarray(single.params, np.float64) - double.params) / double.bse
    assert single.params.dtype == np.float32 and np.max(error) < tolerance
    np.testing.assert_allclose(single.bse, double.bse, rtol=tolerance)


@pytest.mark.parametrize("penalty", (None, 0.5, penalties.Ridge([0.0, 3.0, 1.0])))
def test_slopes_and_errors_keep_single_precision(penalty):
    agree(fit(*SINGLE, FAMILY, penalty=penalty), fit(*DOUBLE, FAMILY, penalty=penalty))


def test_garbage_in_rows_that_are_gone_moves_nothing():
    w = np.ones(N, np.float32)
    w[[0, 7]] = 0.0
    bad = X.copy()
    bad[0], bad[7, 1] = 1e30, np.nan
    clean = fit(SINGLE[0], SINGLE[1], FAMILY, var_weights=jnp.asarray(w))
    soiled = fit(jnp.asarray(bad), SINGLE[1], FAMILY, var_weights=jnp.asarray(w))
    np.testing.assert_array_equal(clean.params, soiled.params)


def test_lanes_of_one_design_share_its_centring():
    y = RNG.poisson(2.0, (5, N)).astype(np.float32)
    many = fit_many(SINGLE[0], jnp.asarray(y), FAMILY)
    for lane in range(5):
        alone = fit(DOUBLE[0], y[lane].astype(float), FAMILY)
        agree(jax.tree.map(lambda v, i=lane: v[i], many), alone)


def test_the_weights_of_other_lanes_have_no_say():
    W = RNG.integers(0, 3, (5, N)).astype(np.float32)
    others = W.copy()
    others[1:, ::2] = 0.0
    one, two = (fit_many(*SINGLE, FAMILY, freq_weights=jnp.asarray(w)) for w in (W, others))
    np.testing.assert_array_equal(one.params[0], two.params[0])
    own = fit_many(jnp.stack([SINGLE[0]] * 5), SINGLE[1], FAMILY, freq_weights=jnp.asarray(W))
    for lane, w in enumerate(W):
        alone = fit(*DOUBLE, FAMILY, freq_weights=np.asarray(w, np.float64))
        agree(jax.tree.map(lambda v, i=lane: v[i], own), alone)


def test_derivatives_are_those_of_double_precision():
    def slope(X, y):
        return fit(X, y, FAMILY).params[1]

    single, double = (
        jax.grad(slope, (0, 1))(*SINGLE),
        jax.grad(slope, (0, 1))(*map(jnp.asarray, DOUBLE)),
    )
    for a, b in zip(single, double, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())


def test_without_a_constant_nothing_is_moved():
    problem = prepare(SINGLE[0][:, 1:], SINGLE[1], FAMILY)[0]
    np.testing.assert_array_equal(centring(problem), np.eye(2))
    assert centring(prepare(*map(jnp.asarray, DOUBLE), FAMILY)[0]) is None
