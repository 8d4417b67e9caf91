"""Where a fit begins, and that it matters to the number of passes alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import Status, batch, designs, families, fit, fit_many, links, solvers
from jaxglm.fit import prepare
from jaxglm.solvers.base import LONG, Near
from jaxglm.solvers.scoring import MANY

RANDOM = np.random.default_rng(31)
FAMILIES = {
    "logistic": families.Binomial(),
    "poisson": families.Poisson(),
    "gamma-log": families.Gamma(links.Log()),
    "gamma-inverse": families.Gamma(),
}


def draw(family, mu):
    if family.startswith("gamma"):
        return RANDOM.gamma(2.0, mu / 2.0)
    return RANDOM.poisson(mu) if family == "poisson" else RANDOM.binomial(1, mu)


def data(name, X, slopes):
    family = FAMILIES[name]
    eta = X @ slopes + (3.0 if name == "gamma-inverse" else 0.0)
    return draw(name, np.asarray(family.link.at(jnp.asarray(eta))[0].mu)).astype(float)


def design(n, p):
    return np.column_stack([np.ones(n), RANDOM.uniform(-1, 1, (n, p - 1))])


def in_standard_errors(found, wanted):
    return np.max(np.abs(found.params - wanted.params) / wanted.bse)


# Very many rows

TALL = design(LONG, 2)


@pytest.mark.parametrize("name", ["logistic", "gamma-inverse"])
def test_a_sample_saves_passes_and_changes_no_number(name):
    y = data(name, TALL, [0.3, -0.5])
    found = fit(TALL, y, FAMILIES[name])
    plain = fit(TALL, y, FAMILIES[name], start=found.params + 3 * found.bse)
    shorter = fit(TALL[:-1], y[:-1], FAMILIES[name])
    assert found.converged and in_standard_errors(found, plain) < 1e-9
    np.testing.assert_allclose(found.bse, plain.bse, rtol=1e-10)
    assert found.n_iter <= 2 < shorter.n_iter


def test_a_sample_that_lacks_a_level_does_no_harm():
    rare = np.zeros(LONG)
    # Rows of the sample are 16 or 17 apart: these are the numbers 1, 2 and 3.
    rare[[1, 2, 3]] = 1.0
    X = np.column_stack([TALL, rare])
    y = data("poisson", TALL, [0.3, -0.5])
    y[[1, 2, 3]] = [0.0, 2.0, 4.0]
    found = fit(X, y, families.Poisson())
    plain = fit(X, y, families.Poisson(), start=np.zeros(3))
    assert found.converged and in_standard_errors(found, plain) < 1e-9


def test_rows_in_the_order_of_their_responses_and_of_a_period_do_no_harm():
    X = np.column_stack([TALL, np.arange(LONG) % 16 == 0])
    y = np.sort(data("logistic", TALL, [0.3, -0.5]))
    found = fit(X, y, families.Binomial())
    plain = fit(X, y, families.Binomial(), start=np.zeros(3))
    assert found.converged and in_standard_errors(found, plain) < 1e-9


# Units

UNITS = [1e-120, 1e-42, 1e-38, 1e38, 1e39, 1e120]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["gamma-log", "gamma-inverse"])
def test_units_beyond_those_of_float32_have_a_start(name, unit):
    X, family = design(200, 3), FAMILIES[name]
    y = data(name, X, [0.3, -0.5, 0.2])
    found, plain = fit(X, unit * y, family), fit(X, y, family)
    many = fit_many(X, np.tile(unit * y, (6000, 1)), family)
    assert found.converged and many.tally() == {"converged": 6000}
    np.testing.assert_allclose(found.deviance, plain.deviance, rtol=1e-9)
    np.testing.assert_allclose(many.deviance, plain.deviance, rtol=1e-9)


# Many columns

WIDE = design(300, MANY + 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_two_steps_by_one_information_reach_the_maximum(name):
    y = data(name, WIDE, np.r_[0.2, 0.4 * RANDOM.uniform(-1, 1, MANY)])
    found = fit(WIDE, y, FAMILIES[name])
    exact = fit(WIDE, y, FAMILIES[name], solver=solvers.Newton(tol=1e-28))
    assert found.converged and in_standard_errors(found, exact) < 1e-11
    np.testing.assert_allclose(found.bse, exact.bse, rtol=1e-10)


def test_a_pass_over_many_columns_converges_with_order_three():
    y = data("poisson", WIDE, np.r_[0.2, 0.4 * RANDOM.uniform(-1, 1, MANY)])
    exact = fit(WIDE, y, families.Poisson())
    start = exact.params + 0.5 * RANDOM.standard_normal(MANY + 1) * exact.bse
    problem, _ = prepare(WIDE, y, families.Poisson())
    solver = solvers.IRLS()
    state, left = solver.init(problem, jnp.asarray(start)), []
    for _ in range(3):
        state = solver.step(problem, state)
        beta = state.beta + (state.direction if state.status < 0 else 0.0)
        left.append(float(np.max(np.abs(beta - exact.params) / exact.bse)))
    # Of order two the second would be at best the square of the first.
    assert left[0] < 0.1 and left[1] < left[0] ** 2.5


# Lanes that share a start

N, LANES = 200, 24
SHARED = design(N, 3)


@pytest.fixture
def from_the_null_model(monkeypatch):
    """Batches of any size take the start that long ones do."""
    monkeypatch.setattr(batch, "FILLED_ELEMENTS", 1)


@pytest.mark.parametrize(("name", "k"), [("logistic", None), ("gamma-inverse", 2)])
def test_lanes_that_start_from_the_null_model_are_single_fits(name, k, from_the_null_model):
    y = data(name, SHARED, [0.2, 0.5, -0.3])
    varying = RANDOM.integers(0, 3, (LANES, N) if k is None else (LANES, N, k)).astype(float)
    found = fit_many(designs.Augmented(SHARED, varying), y, FAMILIES[name])
    stacked = [np.column_stack([SHARED, column]) for column in varying]
    plain = fit_many(np.stack(stacked), y, FAMILIES[name])
    assert found.tally() == {"converged": LANES}
    assert in_standard_errors(found, plain) < 1e-8
    np.testing.assert_allclose(found.bse, plain.bse, rtol=1e-8)
    assert np.mean(found.n_iter) < np.mean(plain.n_iter)


def test_lanes_fail_alone_whatever_they_start_from(from_the_null_model):
    y = data("logistic", SHARED, [0.2, 0.5, -0.3])
    varying = RANDOM.standard_normal((LANES, N))
    varying[1, 7], varying[2], varying[3] = np.nan, SHARED[:, 1], y
    found = fit_many(designs.Augmented(SHARED, varying), y, families.Binomial())
    wanted = [Status.invalid_data, Status.singular, Status.separated]
    assert [Status(int(s)) for s in found.status[1:4]] == wanted
    assert np.all(np.delete(found.status, [1, 2, 3]) == Status.converged)


def test_a_null_model_without_a_fit_is_no_start(from_the_null_model):
    shared = np.column_stack([SHARED, SHARED[:, 1]])
    varying = RANDOM.standard_normal((LANES, N))
    y = data("logistic", SHARED, [0.2, 0.5, -0.3])
    found = fit_many(designs.Augmented(shared, varying), y, families.Binomial())
    assert found.tally() == {"singular": LANES}


def test_reweighted_lanes_may_start_from_their_common_fit():
    y = data("logistic", SHARED, [0.2, 0.5, -0.3])
    weights = RANDOM.multinomial(N, np.full(N, 1 / N), LANES)
    own = fit(SHARED, y, families.Binomial())
    near = fit_many(SHARED, y, families.Binomial(), freq_weights=weights, start=Near(own.params))
    plain = fit_many(SHARED, y, families.Binomial(), freq_weights=weights)
    assert near.tally() == {"converged": LANES} and in_standard_errors(near, plain) < 1e-9
    assert np.mean(near.n_iter) < np.mean(plain.n_iter)


@pytest.mark.parametrize("elements", [1, 2**30], ids=["drafted", "plain"])
@pytest.mark.parametrize("value", [1e150, 1e300, np.nan])
def test_a_start_nearby_does_not_see_rows_that_are_gone(monkeypatch, elements, value):
    monkeypatch.setattr(batch, "FILLED_ELEMENTS", elements)
    X = np.vstack([SHARED, [1.0, value, -2.0]])
    y = np.append(data("logistic", SHARED, [0.2, 0.5, -0.3]), 0.0)
    weights = np.pad(RANDOM.multinomial(N, np.full(N, 1 / N), LANES), [(0, 0), (0, 1)])
    for family in (families.Binomial(), families.Poisson()):
        own = fit(X[:-1], y[:-1], family)
        found = fit_many(X, y, family, freq_weights=weights, start=Near(own.params))
        clean = fit_many(X[:-1], y[:-1], family, freq_weights=weights[:, :-1])
        assert found.tally() == {"converged": LANES} and in_standard_errors(found, clean) < 1e-9
