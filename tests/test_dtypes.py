"""Precision: run with JAX_ENABLE_X64=1 and with 0."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PAIRS, pair, small
from conftest import x64_is_on

from jaxglm import Status, families, fit, links

pytestmark = pytest.mark.dtype
DATA = small()
FIELDS = ("params", "cov_unscaled", "scale", "deviance", "loglike", "df_resid", "bse")


def single(value):
    return jnp.asarray(np.asarray(value), jnp.float32)


def dtypes_of(result):
    return {getattr(result, name).dtype for name in FIELDS}


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=["-".join(p) for p in PAIRS])
def test_single_precision_reaches_the_reference_in_all_its_digits(family, link):
    row = pair(family, link)
    arguments = jax.tree.map(single, (row.family, row.X, row.y, row.arguments))
    result = jax.jit(jax.vmap(lambda f, X, y, kw: fit(X, y, f, **kw)))(*arguments)
    assert dtypes_of(result) == {jnp.dtype(jnp.float32)}
    np.testing.assert_array_equal(result.status, int(Status.converged))
    assert np.max(result.n_iter) <= 40
    # 24 bits are 6e-8; the data here are themselves rounded to that.
    error = np.abs(np.asarray(result.params, float) - row.answers["params"]) / row.answers["bse"]
    assert np.max(error) < 3e-5
    np.testing.assert_allclose(result.bse, row.answers["bse"], rtol=3e-5)
    np.testing.assert_allclose(result.deviance, row.answers["deviance"], rtol=3e-5)


SMALL_INTEGERS = [np.int32, np.int64, np.uint8, np.int8]


@pytest.mark.parametrize("dtype", SMALL_INTEGERS)
def test_integer_responses_are_promoted_before_any_arithmetic(dtype):
    X = DATA.X.astype(np.float32)
    wanted = fit(X, DATA.count.astype(np.float32), families.Poisson())
    got = fit(X, DATA.count.astype(dtype), families.Poisson())
    assert dtypes_of(got) == {jnp.dtype(jnp.float32)} and got.converged
    np.testing.assert_array_equal(got.params, wanted.params)


def test_integers_and_booleans_alone_take_the_default_float():
    X = np.column_stack([np.ones(30, int), np.arange(30) % 3, np.arange(30) % 2])
    y = DATA.share.astype(bool)
    got = fit(X, y, families.Binomial())
    assert dtypes_of(got) == {jnp.result_type(float)}
    wanted = fit(X.astype(np.float32), y.astype(np.float32), families.Binomial())
    np.testing.assert_allclose(got.params, wanted.params, rtol=1e-4, atol=1e-5)
    dummies = X.astype(bool)[:, :2]
    got = fit(dummies, y, families.Binomial())
    wanted = fit(dummies.astype(np.float32), y, families.Binomial())
    np.testing.assert_allclose(got.params, wanted.params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    X, y = jnp.asarray(DATA.X, dtype), jnp.asarray(DATA.count, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = fit(X, y, families.Poisson())
    assert dtypes_of(got) == {jnp.dtype(jnp.float32)} and got.converged
    wanted = fit(X.astype(jnp.float32), y.astype(jnp.float32), families.Poisson())
    np.testing.assert_array_equal(got.params, wanted.params)


def test_double_data_warn_once_where_they_cannot_be_kept():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = fit(DATA.X, DATA.count, families.Poisson(), offset=DATA.offset)
    about = [w for w in caught if "float64" in str(w.message)]
    assert len(about) == (0 if x64_is_on() else 1)
    assert all(w.filename == __file__ for w in about)
    assert dtypes_of(got) == {jnp.result_type(float)}


def test_python_numbers_do_not_decide_the_dtype():
    X, y = single(DATA.X), single(DATA.positive)
    got = fit(X, y, families.Gamma(links.Log()), offset=0.1, var_weights=2, penalty=0.5, scale=1.0)
    assert dtypes_of(got) == {jnp.dtype(jnp.float32)}


def test_an_estimated_alpha_keeps_the_dtype():
    X, y = single(DATA.X), single(DATA.count**2)
    got = fit(X, y, families.NegativeBinomial(None))
    assert got.family.alpha.dtype == jnp.float32 and dtypes_of(got) == {jnp.dtype(jnp.float32)}
    assert got.converged


def test_mixed_inputs_take_the_wider_dtype():
    if x64_is_on():
        got = fit(single(DATA.X), DATA.count, families.Poisson())
        assert dtypes_of(got) == {jnp.dtype(jnp.float64)}
    got = fit(single(DATA.X), jnp.asarray(DATA.count, jnp.bfloat16), families.Poisson())
    assert dtypes_of(got) == {jnp.dtype(jnp.float32)}


def test_single_precision_detects_separation_and_singularity():
    X = np.column_stack([np.ones(8), np.arange(8.0) - 3.5]).astype(np.float32)
    y = (X[:, 1] > 0).astype(np.float32)
    for link in (links.Logit(), links.Probit(), links.CLogLog()):
        status = Status(int(fit(X, y, families.Binomial(link)).status))
        assert status is Status.separated, (link, status)
    twice = np.column_stack([X, X[:, 1]])
    assert int(fit(twice, y * 1.5, families.Gaussian()).status) == Status.singular


def test_derivatives_keep_single_precision():
    X, y = single(DATA.X), single(DATA.count)

    def loss(offset):
        return jnp.sum(fit(X, y, families.Poisson(links.Sqrt()), offset=offset).params)

    slope = jax.jit(jax.grad(loss))(single(1.0 + 0.1 * DATA.offset))
    assert slope.dtype == jnp.float32 and np.all(np.isfinite(slope))
