"""Bias-reducing penalties: R's numbers, closed forms, and the equations with a dispersion."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import data_of, family_of, richardson, small
from conftest import reference

from jaxglm import Status, families, fit, links, penalties
from jaxglm.dispersion import at_scale
from jaxglm.fit import prepare
from jaxglm.model import deviance, loglike, pearson, penalised_score

DATA = small(n=24, p=3, seed=11)
PENALTY = {"AS_mean": penalties.MeanBias(), "MPL_Jeffreys": penalties.Jeffreys()}
GAMMA = families.Gamma(links.Log())
# For laws that hold for any family: its dispersion's equation has the least derivatives to compile.
INVERSE_GAUSSIAN = families.InverseGaussian(links.Log())
both_penalties = pytest.mark.parametrize("kind", PENALTY)


def stacked(cases):
    """X, y and the weights of cases on p columns, padded with rows of weight 0 to one length."""
    parts = [data_of(case) for case in cases]
    n = max(X.shape[0] for X, _, _ in parts)

    def pad(v):
        return np.concatenate([v, np.repeat(v[:1], n - v.shape[0], axis=0)])

    trials = [given.get("n_trials", np.ones(y.shape)) for _, y, given in parts]
    weights = np.array([np.arange(n) < y.shape[0] for _, y, _ in parts], float)
    columns = [
        np.stack([pad(v) for v in vs])
        for vs in ([a for a, _, _ in parts], [b for _, b, _ in parts], trials)
    ]
    return *columns, weights


# Reference numbers

ALL = reference("r_brglm2")["cases"]
GROUPS = tuple(dict.fromkeys((c["family"], c["link"], len(c["X"][0]), c["type"]) for c in ALL))


@pytest.mark.parametrize("group", GROUPS, ids=["-".join(map(str, g)) for g in GROUPS])
def test_coefficients_dispersion_and_covariance_match_brglm2(group):
    lanes = [c for c in ALL if (c["family"], c["link"], len(c["X"][0]), c["type"]) == group]
    X, y, trials, weights = stacked(lanes)
    family, counts = family_of(lanes[0]), group[0] == "binomial"

    def one(X, y, trials, weights):
        given = {"n_trials": trials} if counts else {}
        return fit(X, y, family, penalty=PENALTY[group[3]], freq_weights=weights, **given)

    result = jax.jit(jax.vmap(one))(X, y, trials, weights)
    for i, case in enumerate(lanes):
        assert result.status[i] == int(Status.converged), case["name"]
        wanted = np.array(case["coefficients"])
        error = np.abs(result.params[i] - wanted)
        assert np.all(error < 1e-7 * np.abs(wanted) + 1e-8 * result.bse[i]), case["name"]
        np.testing.assert_allclose(result.scale[i], case["dispersion"], rtol=1e-9)
        np.testing.assert_allclose(result.deviance[i], case["deviance"], rtol=1e-7)
        np.testing.assert_allclose(result.cov_params[i], case["vcov"], rtol=1e-6, atol=1e-9)


@both_penalties
def test_a_group_of_zero_counts_has_a_finite_mean(kind):
    X = np.column_stack([np.ones(10), np.arange(10) >= 6]).astype(float)
    y = np.array([3.0, 1, 2, 4, 0, 2, 0, 0, 0, 0])
    result = fit(X, y, families.Poisson(), penalty=PENALTY[kind])
    assert result.converged and np.all(np.isfinite(result.bse))
    # With the log link and one mean a group, half a count is added to each group.
    np.testing.assert_allclose(np.exp(X[[0, 9]] @ result.params), [12.5 / 6, 0.5 / 4], rtol=1e-9)


# Closed forms


def test_gaussian_dispersions_have_their_closed_forms():
    X, y = DATA.X, DATA.gaussian
    n, p = X.shape
    beta, (rss,) = np.linalg.lstsq(X, y)[:2]
    for kind, divisor in {"AS_mean": n - p, "MPL_Jeffreys": n + p + 2}.items():
        result = fit(X, y, penalty=PENALTY[kind])
        assert result.converged
        np.testing.assert_allclose(result.params, beta, rtol=1e-11)
        np.testing.assert_allclose(result.scale, rss / divisor, rtol=1e-11)


def test_inverse_gaussian_reduces_as_gaussian_does():
    # Its log density has the same -log(phi) / 2 an observation.
    X, y = DATA.X, DATA.positive
    for kind, divisor in {"AS_mean": 24 - 3, "MPL_Jeffreys": 24 + 3 + 2}.items():
        result = fit(X, y, INVERSE_GAUSSIAN, penalty=PENALTY[kind])
        assert result.converged
        np.testing.assert_allclose(result.scale, result.deviance / divisor, rtol=1e-10)


# Equations

SCALES = {
    "gamma X2": (GAMMA, DATA.positive, "X2"),
    "gamma dev": (GAMMA, DATA.positive, "dev"),
    "gamma ml": (GAMMA, DATA.positive, "ml"),
    "gamma 0.7": (GAMMA, DATA.positive, 0.7),
    "poisson X2": (families.Poisson(links.Sqrt()), DATA.count + 1.0, "X2"),
    "tweedie": (families.Tweedie(1.4), DATA.count, None),
    "quasi": (families.Quasi(lambda mu: mu**1.5, links.Log()), DATA.positive, None),
}


@pytest.mark.parametrize("name", SCALES)
def test_adjustments_hold_at_the_scale_that_is_reported(name):
    family, y, scale = SCALES[name]
    penalty = penalties.MeanBias()
    result = fit(DATA.X, y, family, penalty=penalty, scale=scale)
    assert result.converged and result.scale != 1.0
    problem, _ = prepare(DATA.X, y, family, penalty=penalty)
    score = penalised_score(at_scale(problem, result.scale), result.params)
    np.testing.assert_allclose(score, 0.0, atol=1e-9)
    off = penalised_score(at_scale(problem, 1.1 * result.scale), result.params)
    assert np.max(np.abs(off)) > 1e-5
    rows, eta = problem.rows, DATA.X @ result.params
    total = deviance(family, rows, eta)
    if scale in (None, "X2"):
        np.testing.assert_allclose(result.scale, pearson(family, rows, eta) / 21, rtol=1e-11)
    elif scale == "dev":
        np.testing.assert_allclose(result.scale, total / 21, rtol=1e-11)
    elif scale == "ml":
        slope = jax.grad(lambda phi: loglike(family, rows, phi, total))(result.scale)
        assert abs(slope) < 1e-8
    else:
        assert result.scale == scale


@both_penalties
def test_the_units_of_a_gaussian_response_carry_over(kind):
    y = DATA.positive
    one, small_unit = (
        fit(DATA.X, c * y, families.Gaussian(links.Log()), penalty=PENALTY[kind])
        for c in (1.0, 1e-4)
    )
    assert one.converged and small_unit.converged
    np.testing.assert_allclose(small_unit.scale, 1e-8 * one.scale, rtol=1e-9)
    shift = np.array([np.log(1e-4), 0.0, 0.0])
    np.testing.assert_allclose(small_unit.params - shift, one.params, rtol=1e-8, atol=1e-10)


# Laws


@both_penalties
def test_columns_and_frequencies_obey_their_laws(kind):
    X, y = DATA.X, DATA.positive
    times = np.arange(24) % 3
    turn = np.array([[1.0, 0.4, -2.0], [0.0, 2.0, 1.0], [0.0, 0.5, -3.0]])
    twice = np.repeat(np.arange(24), times)
    rest = np.zeros(24 - twice.size)
    rows = np.concatenate([twice, rest.astype(int)])
    present = np.concatenate([np.ones(twice.size), rest])
    lanes = [
        (X, y, times.astype(float)),
        (X @ turn, y, times.astype(float)),
        (X[rows], y[rows], present),
    ]
    result = jax.jit(
        jax.vmap(lambda X, y, f: fit(X, y, INVERSE_GAUSSIAN, freq_weights=f, penalty=PENALTY[kind]))
    )(*(np.stack(v) for v in zip(*lanes, strict=True)))
    np.testing.assert_array_equal(result.status, int(Status.converged))
    np.testing.assert_allclose(turn @ result.params[1], result.params[0], rtol=1e-9)
    np.testing.assert_allclose(
        turn @ result.cov_params[1] @ turn.T, result.cov_params[0], rtol=1e-8, atol=1e-12
    )
    for name in ("params", "bse", "scale", "deviance", "loglike", "df_resid"):
        values = getattr(result, name)
        np.testing.assert_allclose(values[2], values[0], rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(result.scale[1], result.scale[0], rtol=1e-10)


def test_derivatives_of_coefficients_and_dispersion_are_differences_of_refits():
    inputs = {"X": DATA.X, "y": DATA.positive, "offset": DATA.offset, "var_weights": DATA.weights}
    inputs = jax.tree.map(jnp.asarray, inputs)
    random = np.random.default_rng(5)
    ways = []
    for key in inputs:
        way = jax.tree.map(jnp.zeros_like, inputs)
        ways.append({**way, key: 0.1 * jnp.asarray(random.standard_normal(inputs[key].shape))})
    ways = jax.tree.map(lambda *v: jnp.stack(v), *ways)

    def statistics(inputs):
        rest = {k: inputs[k] for k in ("offset", "var_weights")}
        result = fit(
            inputs["X"], inputs["y"], INVERSE_GAUSSIAN, penalty=penalties.MeanBias(), **rest
        )
        return jnp.append(result.params, result.scale)

    def pushed(way):
        return jax.jvp(statistics, (inputs,), (way,))[1]

    def refit(way, t):
        return statistics(jax.tree.map(lambda a, b: a + t * b, inputs, way))

    got = jax.jit(jax.vmap(pushed))(ways)
    refits = jax.jit(jax.vmap(refit, (0, None)))
    wanted = richardson(lambda t: np.asarray(refits(ways, t)))
    assert np.all(np.abs(wanted) > 1e-4)
    np.testing.assert_allclose(got, wanted, rtol=1e-7)


# Ends


def test_no_scale_is_left_where_the_fit_is_perfect_or_saturated():
    for X, y in ((DATA.X, np.zeros(24)), (DATA.X[:3], DATA.gaussian[:3])):
        result = fit(X, y, penalty=penalties.MeanBias())
        assert Status(int(result.status)) is Status.boundary
        assert not result.scale > 0 and np.all(np.isfinite(result.params))


def test_a_singular_design_and_a_bad_scale_keep_their_status():
    X = np.column_stack([DATA.X, DATA.X[:, 1]])
    result = fit(X, DATA.positive, GAMMA, penalty=penalties.MeanBias(), scale="X2")
    assert Status(int(result.status)) is Status.singular and np.all(np.isnan(result.params))
    result = fit(
        DATA.X, DATA.positive, GAMMA, penalty=penalties.MeanBias(), scale=jnp.asarray(-1.0)
    )
    assert Status(int(result.status)) is Status.invalid_data


def test_maximum_likelihood_scale_needs_a_likelihood():
    with pytest.raises(ValueError, match="ml"):
        fit(DATA.X, DATA.count, families.Poisson(), penalty=penalties.Jeffreys(), scale="ml")


def test_a_scale_multiplies_the_adjustments_and_leaves_a_ridge_alone():
    problem, _ = prepare(DATA.X, DATA.positive, GAMMA, penalty=0.3)
    assert at_scale(problem, jnp.asarray(2.0)) is problem
    adjusted = dataclasses.replace(problem, penalty=penalties.Jeffreys())
    scaled = penalised_score(at_scale(adjusted, jnp.asarray(2.0)), DATA.X[0])
    plain = penalised_score(dataclasses.replace(problem, penalty=None), DATA.X[0])
    once = penalised_score(adjusted, DATA.X[0])
    np.testing.assert_allclose(scaled - plain, 2.0 * (once - plain), rtol=1e-9)
