"""A batch's fits begun in float32 end where fits in float64 do."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import batch, families, fit, fit_many, links
from jaxglm.designs import Augmented
from jaxglm.fit import prepare
from jaxglm.penalties import Ridge
from jaxglm.solvers import IRLS, Newton, Status
from jaxglm.solvers.base import RUNNING
from jaxglm.solvers.draft import MAX_ROWS, Drafted

LANES, N, P = 24, 120, 4

MODELS = {
    "logit": families.Binomial(),
    "probit": families.Binomial(links.Probit()),
    "cloglog": families.Binomial(links.CLogLog()),
    "poisson": families.Poisson(),
    "poisson sqrt": families.Poisson(links.Sqrt()),
    "poisson identity": families.Poisson(links.Identity()),
    "gamma log": families.Gamma(links.Log()),
    "gamma inverse": families.Gamma(),
    "inverse gaussian": families.InverseGaussian(),
    "negative binomial": families.NegativeBinomial(alpha=0.5),
    "gaussian": families.Gaussian(),
}


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Small batches take the way of large ones."""
    monkeypatch.setattr(batch, "FILLED_ELEMENTS", 1)


def data(family, lanes=LANES, n=N, p=P, seed=0):
    random = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), random.uniform(0, 1, (n, p - 1))])
    beta = np.array([0.6, 0.4, 0.3, 0.2])[:p] * random.uniform(0.8, 1.2, (lanes, 1))
    eta = beta @ X.T
    link = family.link
    if isinstance(family, families.Binomial):
        return X, (random.random(eta.shape) < np.asarray(link.at(jnp.asarray(eta))[0].mu)) * 1.0
    mu = np.asarray(link.at(jnp.asarray(eta))[0].mu)
    if isinstance(family, (families.Poisson, families.NegativeBinomial)):
        return X, random.poisson(3 * mu) * 1.0
    if isinstance(family, families.Gaussian):
        return X, mu + random.standard_normal(mu.shape)
    return X, random.gamma(20.0, mu / 20.0)


def assert_same(many, one):
    """Equal to a thousandth of a millionth of a standard error, and in status."""
    assert int(many.status) == int(one.status)
    apart = np.asarray(many.params - one.params) / np.asarray(one.bse)
    np.testing.assert_allclose(apart, 0.0, atol=1e-9)
    np.testing.assert_allclose(many.cov_unscaled, one.cov_unscaled, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(many.deviance, one.deviance, rtol=1e-11)


@pytest.mark.parametrize("solver", [IRLS(), Newton()], ids=["irls", "newton"])
@pytest.mark.parametrize("name", MODELS)
def test_lanes_are_fits(name, solver):
    family = MODELS[name]
    X, y = data(family)
    many = fit_many(X, y, family, solver=solver)
    for i in (0, 7, LANES - 1):
        assert_same(batch_lane(many, i), fit(X, y[i], family, solver=solver))


def batch_lane(fits, i):
    pick = {name: getattr(fits, name)[i] for name in ("params", "cov_unscaled", "scale", "status")}
    return dataclasses.replace(fits, deviance=fits.deviance[i], **pick)


@pytest.mark.parametrize("what", ["offset", "weights", "penalty", "stacked", "augmented"])
def test_shapes_of_work(what):
    family = families.Poisson()
    X, y = data(family)
    random = np.random.default_rng(1)
    rows = random.uniform(0.2, 1.0, y.shape)
    own = random.standard_normal((LANES, N))
    every = {
        "offset": ((X, y), {"offset": rows}, lambda i: ((X, y[i]), {"offset": rows[i]})),
        "weights": (
            (X, y),
            {"freq_weights": np.round(3 * rows)},
            lambda i: ((X, y[i]), {"freq_weights": np.round(3 * rows[i])}),
        ),
        "penalty": (
            (X, y),
            {"penalty": Ridge(0.3)},
            lambda i: ((X, y[i]), {"penalty": Ridge(0.3)}),
        ),
        "stacked": (
            (X + 0.1 * own[:, :, None], y),
            {},
            lambda i: ((X + 0.1 * own[i][:, None], y[i]), {}),
        ),
        "augmented": (
            (Augmented(X, own), y[0]),
            {},
            lambda i: ((Augmented(jnp.asarray(X), jnp.asarray(own[i])), y[0]), {}),
        ),
    }
    arguments, named, lane = every[what]
    many = fit_many(*arguments, family, **named)
    for i in (0, 11):
        one, options = lane(i)
        assert_same(batch_lane(many, i), fit(*one, family, **options))


@pytest.mark.parametrize("name", ["logit", "poisson", "gamma log"])
def test_one_pass_in_float64_is_left(name):
    X, y = data(MODELS[name])
    problem, _ = prepare(X, y[0], MODELS[name])
    solver = Drafted(IRLS())
    state = solver.init(problem, None)
    assert int(state.n_iter) >= 1 and int(state.status) == RUNNING
    assert int(solver.step(problem, state).status) == int(Status.converged)


@pytest.mark.parametrize("name", ["logit", "poisson", "gamma log"])
def test_the_drafts_information_serves_where_its_digits_are_enough(name):
    X, y = data(MODELS[name])
    problem, _ = prepare(X, y[0], MODELS[name])
    wide = Drafted(IRLS())
    exact = wide.step(problem, wide.init(problem, None))
    state = Drafted(IRLS(), near_enough=True).init(problem, None)
    assert int(state.status) == int(Status.converged)
    one = fit(X, y[0], MODELS[name])
    apart = np.asarray(state.beta - exact.beta) / np.asarray(one.bse)
    assert 0 < np.max(np.abs(apart)) < 1e-9
    strict = Drafted(IRLS(tol=1e-20), near_enough=True).init(problem, None)
    assert int(strict.status) == RUNNING


@pytest.mark.parametrize("name", MODELS)
def test_coefficients_alone_are_near_enough(name):
    X, y = data(MODELS[name], p=2 if "identity" in name else P)
    full = fit_many(X, y, MODELS[name])
    bare = fit_many(X, y, MODELS[name], cov=False, likelihood=False)
    np.testing.assert_array_equal(bare.status, full.status)
    apart = np.asarray(bare.params - full.params) / np.asarray(full.bse)
    assert np.nanmax(np.abs(apart)) < 1e-9


def test_nearly_collinear_columns_keep_coefficients_alone_near_enough():
    """The draft's matrix has lost the digits of the last step: float64 takes over."""
    random = np.random.default_rng(4)
    x, noise = random.standard_normal((2, 120))
    X = np.column_stack([np.ones(120), x, x + 2e-3 * noise])
    y = (random.random((1000, 120)) < 1 / (1 + np.exp(-0.3 - 0.8 * x))) * 1.0
    whole = fit_many(X, y, families.Binomial())
    bare = fit_many(X, y, families.Binomial(), cov=False, likelihood=False)
    apart = np.abs(np.asarray(bare.params - whole.params)) / np.asarray(whole.bse)
    assert apart.max() < 1e-8
    np.testing.assert_array_equal(bare.status, whole.status)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X: X * np.array([1.0, 1e25, 1e-25, 1.0]),
        lambda X: X + np.array([0.0, 1e5, 0.0, 0.0]),
        lambda X: np.column_stack([X[:, :3], X[:, 1] + 1e-5 * X[:, 3]]),
    ],
    ids=["scales", "means", "collinear"],
)
def test_what_float32_cannot_do_is_done_in_float64(spoil):
    family = families.Poisson()
    X, y = data(family)
    X = spoil(X)
    many = fit_many(X, y, family)
    assert many.tally() == {"converged": LANES}
    one = fit(X, y[3], family)
    apart = np.asarray(many.params[3] - one.params) / np.asarray(one.bse)
    np.testing.assert_allclose(apart, 0.0, atol=1e-5)


def test_many_rows_are_not_drafted():
    family = families.Binomial()
    X, y = data(family, lanes=2, n=MAX_ROWS + 1)
    many = fit_many(X, y, family)
    one = fit(X, y[1], family)
    assert int(many.n_iter[1]) == int(one.n_iter)


def test_bad_lanes_leave_the_others_bit_identical():
    family = families.Binomial()
    X, y = data(family)
    clean = fit_many(X, y, family)
    bad = y.copy()
    bad[3], bad[5, 0], bad[8] = (X[:, 1] > 0.5), np.nan, 0.0
    found = fit_many(X, bad, family)
    others = np.setdiff1d(np.arange(LANES), [3, 5, 8])
    for name in ("params", "cov_unscaled", "deviance", "n_iter"):
        np.testing.assert_array_equal(
            np.asarray(getattr(found, name))[others], np.asarray(getattr(clean, name))[others]
        )
    wanted = [Status.separated, Status.invalid_data, Status.separated]
    assert [int(s) for s in np.asarray(found.status)[[3, 5, 8]]] == wanted


def test_a_maximum_on_the_edge_is_reached_from_inside():
    random = np.random.default_rng(3)
    X = np.column_stack([np.ones(N), random.uniform(0, 1, N)])
    y = random.poisson(np.maximum(4 * X[:, 1] - 0.4, 0.0), (LANES, N)) * 1.0
    family = families.Poisson(links.Identity())
    many = fit_many(X, y, family)
    for i in range(6):
        one = fit(X, y[i], family)
        assert int(many.status[i]) == int(one.status)
        assert float(many.deviance[i]) <= float(one.deviance) * (1 + 1e-6)
