"""A factor of many levels, known by its products, is the dense design with its indicators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxglm
from jaxglm import designs, families

LEVELS, N = 12, 180


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.array([f"g{k:02d}" for k in random.permutation(np.arange(N) % LEVELS)])
    X = random.standard_normal((N, 2))
    design, levels = designs.OneWay.from_labels(X, labels)
    dense = np.concatenate([X, labels[:, None] == levels], axis=1).astype(float)
    Y = random.poisson(np.exp(0.3 * X[:, 0] + dense[:, 2:] @ np.linspace(0, 1, LEVELS)), (3, N))
    return design, dense, levels, Y.astype(float)


def test_levels_are_those_of_the_labels(data):
    _, _, levels, _ = data
    assert list(levels) == [f"g{k:02d}" for k in range(LEVELS)]


def test_its_fit_is_that_of_the_dense_design(data):
    design, dense, _, Y = data
    ours, wanted = (jaxglm.fit(X, Y[0], families.Poisson()) for X in (design, dense))
    assert wanted.converged and int(ours.n_iter) == int(wanted.n_iter)
    for name in ("params", "bse", "deviance", "loglike", "df_resid"):
        np.testing.assert_allclose(getattr(ours, name), getattr(wanted, name), rtol=1e-9)


def test_a_batch_shares_it_or_has_one_a_lane(data):
    design, dense, _, Y = data
    wanted = jaxglm.fit_many(dense, Y, families.Poisson())
    shared = jaxglm.fit_many(design, Y, families.Poisson())
    turned = np.stack([np.asarray(design.X), np.asarray(design.X)[:, ::-1], -np.asarray(design.X)])
    own = jaxglm.fit_many(designs.OneWay(turned, design.codes, LEVELS), Y[0], families.Poisson())
    np.testing.assert_allclose(shared.params, wanted.params, rtol=1e-9)
    np.testing.assert_allclose(shared.bse, wanted.bse, rtol=1e-9)
    np.testing.assert_allclose(own.params[1, :2], wanted.params[0, 1::-1], rtol=1e-8)
    np.testing.assert_allclose(own.params[2, :2], -wanted.params[0, :2], rtol=1e-8)


def test_its_derivatives_are_those_of_the_dense_design(data):
    design, dense, _, Y = data

    def slope(X, y):
        return jaxglm.fit(X, y, families.Poisson()).params[0]

    ours = jax.grad(lambda y: slope(design, y))(jnp.asarray(Y[0]))
    np.testing.assert_allclose(ours, jax.grad(slope, 1)(dense, Y[0]), rtol=1e-7, atol=1e-12)


def test_codes_that_are_none_are_invalid_data(data):
    design, _, _, Y = data
    for wrong in (-1, LEVELS, 0.5, np.nan):
        codes = np.asarray(design.codes, float)
        codes[7] = wrong
        found = jaxglm.fit(designs.OneWay(design.X, codes, LEVELS), Y[0], families.Poisson())
        assert int(found.status) == jaxglm.Status.invalid_data


def test_labels_that_are_missing_or_too_few_are_refused(data):
    design, _, _, _ = data
    with pytest.raises(ValueError, match="labels: 1 missing"):
        designs.OneWay.from_labels(design.X, np.append(np.zeros(N - 1), np.nan))
    with pytest.raises(ValueError, match="labels: shape"):
        designs.OneWay.from_labels(design.X, np.zeros(N - 1))
