"""A fit whose rows are shared out among the cores is the fit of all rows together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import GLM, Status, designs, families, fit, links, shares
from jaxglm.dispersion import as_dispersion
from jaxglm.fit import prepare, solve_by_all_cores, solve_prepared
from jaxglm.solvers import IRLS, Gradient, Newton, base

RANDOM = np.random.default_rng(53)
N = 11001
X = np.column_stack([np.ones(N), RANDOM.uniform(-1, 1, (N, 4))])
ETA = X @ [0.4, 0.5, -0.3, 0.2, -0.1]
COUNTS = RANDOM.poisson(np.exp(ETA)).astype(float)
EVENTS = RANDOM.binomial(1, 1 / (1 + np.exp(-ETA))).astype(float)
POSITIVE = RANDOM.gamma(2.0, np.exp(ETA) / 2.0)
WEIGHTS = RANDOM.integers(0, 3, N).astype(float)

CASES = {
    "logistic": (families.Binomial(), EVENTS, {}),
    "probit": (families.Binomial(links.Probit()), EVENTS, {}),
    "poisson, offset": (families.Poisson(), COUNTS, {"offset": 0.1 * X[:, 1]}),
    "gamma-log, weights": (families.Gamma(links.Log()), POSITIVE, {"freq_weights": WEIGHTS}),
    "gamma-inverse": (families.Gamma(), POSITIVE + 0.5, {"var_weights": 0.5 + WEIGHTS}),
    "gaussian": (families.Gaussian(), ETA + RANDOM.standard_normal(N), {}),
    "trials": (families.Binomial(), np.column_stack([WEIGHTS, 3.0 - WEIGHTS]), {}),
    "ridge": (families.Poisson(), COUNTS, {"penalty": 3.0}),
}


@pytest.fixture(autouse=True)
def long_from_few_rows(monkeypatch):
    """Three cores, and few rows are many."""
    monkeypatch.setattr(shares, "cores", lambda: 3)
    monkeypatch.setattr(shares, "LARGE", 1)
    monkeypatch.setattr(base, "LONG", 4096)


@pytest.fixture
def asked(monkeypatch):
    """What `solve_by_shares` has returned."""
    found, solve = [], shares.solve_by_shares

    def watched(*arguments):
        found.append(solve(*arguments))
        return found[-1]

    monkeypatch.setitem(solve_by_all_cores.__globals__, "solve_by_shares", watched)
    return found


def pair(X, y, family, solver=None, scale=None, **rows):
    """The fits by shares and of all rows together."""
    problem, invalid = prepare(X, y, family, **rows)
    rest = (problem, invalid, None, as_dispersion(scale, jnp.float64), solver or IRLS())
    return solve_by_all_cores(*rest), solve_prepared(*rest)


def assert_same(found, wanted):
    assert found.status == wanted.status
    np.testing.assert_allclose(found.params, wanted.params, rtol=1e-9)
    np.testing.assert_allclose(found.cov_unscaled, wanted.cov_unscaled, rtol=1e-9, atol=1e-15)
    for name in ("scale", "deviance", "loglike", "df_resid"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_shares_give_the_fit_of_all_rows(name, asked):
    family, y, rows = CASES[name]
    found, wanted = pair(X, y, family, **rows)
    assert len(asked) == 1 and asked[0] is not None
    assert found.converged
    assert_same(found, wanted)


@pytest.mark.parametrize("solver", [Newton(), IRLS(tol=1e-20)], ids=["newton", "fine"])
def test_the_solver_is_the_one_asked_for(solver, asked):
    found, wanted = pair(X, EVENTS, families.Binomial(links.CLogLog()), solver)
    assert asked[0] is not None and found.n_iter == wanted.n_iter
    assert_same(found, wanted)


@pytest.mark.parametrize("scale", ["X2", "dev", "ml", 2.0])
def test_the_dispersion_is_that_of_all_rows(scale):
    assert_same(*pair(X, POSITIVE, families.Gamma(links.Log()), scale=scale))


def test_of_many_columns_a_score_alone_is_asked_for(asked):
    wide = np.column_stack([X, RANDOM.uniform(-1, 1, (N, 5))])
    found, wanted = pair(wide, COUNTS, families.Poisson())
    assert asked[0] is not None
    assert_same(found, wanted)


def test_the_rows_are_parted_once_each_and_not_copied():
    problem, invalid = prepare(X, COUNTS, families.Poisson(), penalty=2.0)
    parts = shares.shares_of(problem, invalid, IRLS())
    assert len(parts) == 3
    np.testing.assert_array_equal(np.concatenate([p.design.X for p in parts]), X)
    np.testing.assert_array_equal(np.concatenate([p.rows.y for p in parts]), COUNTS)
    assert [p.penalty is None for p in parts] == [False, True, True]
    first = problem.design.X.unsafe_buffer_pointer()
    whole = range(first, first + X.nbytes)
    assert all(p.design.X.unsafe_buffer_pointer() in whole for p in parts)


def test_a_sample_without_a_fit_leaves_it_to_all_rows(asked):
    # Rows of the sample are 16 or 17 apart.
    rare = np.zeros(N)
    rare[[1, 2, 3]] = 1.0
    y = COUNTS.copy()
    y[[1, 2, 3]] = [0.0, 2.0, 4.0]
    found, wanted = pair(np.column_stack([X, rare]), y, families.Poisson())
    assert asked == [None] and found.converged
    np.testing.assert_array_equal(found.params, wanted.params)


def test_separation_is_found():
    y = (X[:, 1] > 0).astype(float)
    assert fit(X, y, families.Binomial()).status == Status.separated


def test_invalid_data_are_found():
    spoiled = X.copy()
    spoiled[N - 1, 2] = np.nan
    assert fit(spoiled, COUNTS, families.Poisson()).status == Status.invalid_data


def test_what_is_traced_or_another_solver_goes_its_own_way(asked):
    family = families.Poisson()
    traced = jax.jit(lambda y: fit(X, y, family))(COUNTS)
    slope = jax.grad(lambda y: fit(X, y, family).params.sum())(jnp.asarray(COUNTS))
    fit(X, COUNTS, family, solver=Gradient())
    fit(designs.OneWay.from_labels(X[:, 1:], WEIGHTS)[0], COUNTS, family)
    fit(X, COUNTS, families.NegativeBinomial(alpha=None))
    fit(X, COUNTS, family, start=traced.params)
    assert asked == [] and bool(jnp.all(jnp.isfinite(slope)))
    assert_same(fit(X, COUNTS, family), traced)
    assert len(asked) == 1


def test_the_model_of_host_data_takes_it_too(asked):
    found = GLM(COUNTS, X, families.Poisson()).fit()
    assert len(asked) >= 1
    wanted = solve_prepared(
        *prepare(X, COUNTS, families.Poisson()), None, as_dispersion(None, jnp.float64), IRLS()
    )
    np.testing.assert_allclose(found.params, wanted.params, rtol=1e-9)
    np.testing.assert_allclose(found.llf, wanted.loglike, rtol=1e-12)
