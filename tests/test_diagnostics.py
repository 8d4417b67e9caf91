"""Residuals and influence: R's numbers, and the laws of weights and refits."""

from functools import cache

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference

from jaxglm import diagnostics, families, links, penalties
from jaxglm._special import hyp2f1_anscombe, incomplete_beta_23
from jaxglm.fit import Fit, Status, fit, prepare

CASES = {c["name"]: c for c in reference("r_glm")["cases"] if c.get("hatvalues")}
each_case = pytest.mark.parametrize("name", CASES)
RESIDUALS = ("response", "working", "pearson", "deviance")
MEASURES = (
    *("cooks_distance", "rstandard_deviance", "rstandard_pearson", "rstudent"),
    *("dffits", "covratio", "dfbeta", "dfbetas"),
)


def blank_fit(params, scale, family, cov_unscaled=None):
    """A `Fit` at given coefficients, for what depends on these alone."""
    zero = jnp.zeros(())
    values = [jnp.asarray(v, float) for v in (params, scale)]
    return Fit(values[0], cov_unscaled, values[1], zero, zero, zero, zero, zero, family)


@cache
def case(name):
    """Problem and fit at R's own coefficients."""
    stored = CASES[name]
    X, y, given = cases.data_of(stored)
    problem, invalid = prepare(X, y, cases.family_of(stored), **given)
    assert not invalid
    return problem, blank_fit(stored["coefficients"], stored["dispersion"], problem.family)


def both(X, y, family, **given):
    return prepare(X, y, family, **given)[0], fit(X, y, family, **given)


def error(got, wanted):
    """The largest difference, relative to the largest value of its column."""
    got, wanted = np.asarray(got), np.array(wanted, dtype=float)
    return float(np.max(np.abs(got - wanted) / np.max(np.abs(wanted), axis=0)))


@each_case
def test_residuals_equal_r(name):
    for kind in RESIDUALS:
        got = getattr(diagnostics, f"resid_{kind}")(*case(name))
        assert error(got, CASES[name][f"resid_{kind}"]) < 1e-10, kind


@each_case
def test_partial_residuals_equal_r(name):
    centre = CASES[name]["intercept"]
    problem, fitted = case(name)
    got = np.asarray(diagnostics.resid_partial(problem, fitted, centre=centre))
    assert error(got[:, 1:] if centre else got, CASES[name]["resid_partial"]) < 1e-10
    if centre:
        assert error(got[:, 0], diagnostics.resid_working(problem, fitted)) < 1e-15


@each_case
def test_influence_equals_r(name):
    found = diagnostics.influence(*case(name))
    assert error(found.hat_diagonal, CASES[name]["hatvalues"]) < 1e-11
    for measure in MEASURES:
        assert error(getattr(found, measure), CASES[name][measure]) < 1e-9, measure


def test_each_function_gives_its_field():
    problem, fitted = case("poisson log")
    found = diagnostics.influence(problem, fitted)
    names = (
        "hat_diagonal",
        "cooks_distance",
        "rstudent",
        "dffits",
        "covratio",
        "dfbeta",
        "dfbetas",
    )
    for name in names:
        got = getattr(diagnostics, name)(problem, fitted)
        np.testing.assert_array_equal(got, getattr(found, name))
    for kind in ("deviance", "pearson"):
        got = diagnostics.rstandard(problem, fitted, kind)
        np.testing.assert_array_equal(got, getattr(found, f"rstandard_{kind}"))
    with pytest.raises(ValueError, match="kind='response'"):
        diagnostics.rstandard(problem, fitted, "response")


def test_leverages_stay_leverages_where_the_observed_information_is_indefinite():
    problem, fitted = case("binomial cauchit 0/1")
    hat = np.asarray(diagnostics.hat_diagonal(problem, fitted))
    assert np.all((hat > 0) & (hat < 1))
    assert hat.sum() == pytest.approx(3, rel=1e-12)


# The integral of V^(-1/3), and V^(1/6): Cox & Snell (1968) and McCullagh & Nelder (1989).
ANSCOMBE = {
    "gaussian": (lambda t: t, lambda mu: jnp.ones_like(mu)),
    "binomial": (incomplete_beta_23, lambda mu: (mu * (1 - mu)) ** (1 / 6)),
    "poisson": (lambda t: 1.5 * t ** (2 / 3), lambda mu: mu ** (1 / 6)),
    "gamma": (lambda t: 3 * t ** (1 / 3), lambda mu: mu ** (1 / 3)),
    "inverse_gaussian": (jnp.log, jnp.sqrt),
    "negative_binomial": (
        lambda t: 1.5 * t ** (2 / 3) * hyp2f1_anscombe(0.7 * t),
        lambda mu: (mu * (1 + 0.7 * mu)) ** (1 / 6),
    ),
    "tweedie 1.5": (lambda t: 2 * t**0.5, lambda mu: mu**0.25),
    "tweedie 2.5": (lambda t: 6 * t ** (1 / 6), lambda mu: mu ** (5 / 12)),
}


@pytest.mark.parametrize(
    "row", [r for r in cases.FAMILIES if r.name in ANSCOMBE], ids=lambda r: r.name
)
def test_anscombe_residuals_have_their_closed_forms(row):
    y, mu, weights = np.array(row.y), np.array(row.mu), np.linspace(0.5, 2.0, 6)
    problem, _ = prepare(np.eye(6), y, row.family, var_weights=weights)
    fitted = blank_fit(row.family.link(mu), 1.7, problem.family)
    integral, root = ANSCOMBE[row.name]
    wanted = np.sqrt(weights) * (integral(y) - integral(mu)) / root(mu)
    got = diagnostics.resid_anscombe_unscaled(problem, fitted)
    assert error(got, wanted) < 1e-12
    scaled = diagnostics.resid_anscombe(problem, fitted)
    assert error(scaled, wanted / np.sqrt(1.7)) < 1e-12


def every_row_value(problem, fitted):
    """All that has a value for each row, by name."""
    found = diagnostics.influence(problem, fitted)
    kinds = (*RESIDUALS, "anscombe", "partial")
    return {
        **{k: getattr(diagnostics, f"resid_{k}")(problem, fitted) for k in kinds},
        **{k: getattr(found, k) for k in ("hat_diagonal", "sigma", *MEASURES)},
    }


def test_frequencies_repeat_rows():
    data, family = cases.small(), families.Gamma(links.Log())
    frequency = np.random.default_rng(3).integers(1, 4, 30)
    times = np.repeat(np.arange(30), frequency)
    short = both(data.X, data.positive, family, var_weights=data.weights,
                 freq_weights=frequency.astype(float))  # fmt: skip
    long = both(data.X[times], data.positive[times], family, var_weights=data.weights[times])
    wanted = every_row_value(*long)
    for name, got in every_row_value(*short).items():
        assert error(np.asarray(got)[times], wanted[name]) < 1e-9, name


def test_rows_of_weight_zero_are_gone():
    data, family = cases.small(), families.Gamma(links.Log())
    keep = np.arange(30) % 5 != 2
    X, y = data.X.copy(), data.positive.copy()
    X[~keep], y[~keep] = np.nan, np.inf
    weights = np.where(keep, data.weights, 0.0)
    with_gone = both(X, y, family, var_weights=weights)
    wanted = every_row_value(*both(X[keep], y[keep], family, var_weights=weights[keep]))
    for name, got in every_row_value(*with_gone).items():
        got = np.asarray(got)
        assert error(got[keep], wanted[name]) < 1e-9, name
        assert name == "dfbeta" or np.all(np.isnan(got[~keep])), name
    left = diagnostics.leave_one_out(*with_gone)
    assert np.all(np.isnan(left.params[~keep])) and np.all(np.isfinite(left.params[keep]))
    assert np.all(np.asarray(left.status)[~keep] == Status.invalid_data)


def test_a_row_with_leverage_one_has_nan():
    data = cases.small()
    X = np.column_stack([data.X, np.arange(30) == 7])
    found = diagnostics.influence(*both(X, data.gaussian, families.Gaussian()))
    assert found.hat_diagonal[7] == 1 and np.all(found.dfbeta[7] == 0)
    for name in ("cooks_distance", "rstandard_deviance", "rstudent", "dffits", "covratio"):
        values = np.asarray(getattr(found, name))
        assert np.flatnonzero(np.isnan(values)).tolist() == [7], name


def test_an_estimated_scale_of_counts_enters_the_studentised_residuals():
    data = cases.small()
    found = [
        diagnostics.influence(*(prepare(data.X, data.count, families.Poisson())[0],
                                fit(data.X, data.count, families.Poisson(), scale=scale)))
        for scale in (None, "X2")
    ]  # fmt: skip
    assert error(found[1].rstudent, found[0].rstudent / found[0].sigma) < 1e-12


def test_leave_one_out_equals_refits():
    data, family = cases.small(), families.Gamma(links.Log())
    weights = {"var_weights": data.weights, "offset": data.offset}
    left = diagnostics.leave_one_out(*both(data.X, data.positive, family, **weights), chunk_size=7)
    assert np.all(np.asarray(left.status) == Status.converged)
    for i in (0, 13, 29):
        rest = np.arange(30) != i
        given = {k: v[rest] for k, v in weights.items()}
        refit = fit(data.X[rest], data.positive[rest], family, **given)
        assert error(left.params[i], refit.params) < 1e-9


@pytest.mark.parametrize("scale", (0.5, "dev"))
def test_leave_one_out_finds_the_scale_of_a_bias_penalty_as_the_fit_did(scale):
    data, rest = cases.small(), np.arange(30) != 13
    given = {"family": families.Gaussian(links.Log()), "penalty": penalties.Jeffreys()}
    problem, _ = prepare(data.X, data.positive, **given)
    fitted = fit(data.X, data.positive, **given, scale=scale)
    left = diagnostics.leave_one_out(problem, fitted, scale=scale)
    refit = fit(data.X[rest], data.positive[rest], **given, scale=scale)
    assert error(left.params[13], refit.params) < 1e-9


def test_leave_one_out_takes_one_replicate():
    data, family = cases.small(), families.Gamma(links.Log())
    frequency = np.where(np.arange(30) % 2 == 0, 1.0, 3.0)
    problem, fitted = both(data.X, data.positive, family, freq_weights=frequency)
    left = diagnostics.leave_one_out(problem, fitted)
    for i in (4, 5):
        less = frequency - (np.arange(30) == i)
        wanted = fit(data.X, data.positive, family, freq_weights=less).params
        assert error(left.params[i], wanted) < 1e-9


def test_leave_one_out_tells_what_cannot_be_fitted():
    data = cases.small()
    X = np.column_stack([data.X[:, :2], np.arange(30) == 7])
    left = diagnostics.leave_one_out(*both(X, data.gaussian, families.Gaussian()))
    wanted = np.where(np.arange(30) == 7, Status.singular, Status.converged)
    np.testing.assert_array_equal(left.status, wanted)


def test_leave_one_out_of_a_linear_model_is_dfbeta():
    data = cases.small()
    problem, fitted = both(data.X, data.gaussian, families.Gaussian())
    left = diagnostics.leave_one_out(problem, fitted)
    assert error(fitted.params[None] - left.params, diagnostics.dfbeta(problem, fitted)) < 1e-10


def test_maps_over_responses_as_one_by_one():
    data = cases.small()
    Y = np.random.default_rng(5).poisson(3.0, (3, 30)).astype(float)

    def values(y):
        pair = both(data.X, y, families.Poisson())
        return {**every_row_value(*pair), "left": diagnostics.leave_one_out(*pair).params}

    together = jax.jit(jax.vmap(values))(Y)
    for i, y in enumerate(Y):
        for name, alone in values(y).items():
            assert error(together[name][i], alone) < 1e-9, name


def test_derivatives_equal_finite_differences():
    data = cases.small()

    def measure(t):
        y = data.positive * jnp.where(jnp.arange(30) == 4, jnp.exp(t), 1.0)
        pair = both(data.X, y, families.Gamma(links.Log()))
        values = every_row_value(*pair)
        return sum(jnp.sum(v[4]) for v in values.values())

    slope = jax.jit(jax.grad(measure))(0.0)
    around = jax.jit(jax.vmap(measure))(jnp.array([-1e-4, 1e-4]))
    assert float(slope) == pytest.approx(float(around[1] - around[0]) / 2e-4, rel=1e-6)


QUANTILE = tuple(
    row for row in cases.WITH_LIKELIHOOD if row.name not in ("tweedie 0", "tweedie 1.1")
)


@pytest.mark.parametrize("row", QUANTILE, ids=lambda row: row.name)
def test_quantile_residuals_are_standard_normal_under_the_model(row):
    n, scale = 3000, 1.0 if row.family.fixed_scale or row.name == "tweedie 1" else 0.4
    mu = jnp.tile(jnp.array(row.mu), n // 6)
    trials = {"n_trials": np.full(n, 5.0)} if row.family.counts_trials else {}
    keys = jax.random.split(jax.random.key(4))
    y = row.family.sample(keys[0], mu, scale, trials.get("n_trials", 1.0))
    problem, invalid = prepare(np.ones((n, 1)), y, row.family, offset=row.family.link(mu), **trials)
    assert not invalid
    fitted = blank_fit(np.zeros(1), scale, problem.family)
    z = np.sort(np.asarray(diagnostics.resid_quantile(keys[1], problem, fitted)))
    distance = np.abs(jax.scipy.stats.norm.cdf(z) - (np.arange(n) + 0.5) / n)
    # Kolmogorov's statistic exceeds this with probability 0.0007.
    assert np.max(distance) < 2.0 / np.sqrt(n)


def test_quantile_residuals_depend_on_the_key_where_the_response_is_discrete_alone():
    data, keys = cases.small(), jax.random.split(jax.random.key(1))
    for family, y in (
        (families.Poisson(), data.count),
        (families.Gamma(links.Log()), data.positive),
    ):
        pair = both(data.X, y, family)
        one, two = (diagnostics.resid_quantile(key, *pair) for key in keys)
        assert np.all(np.asarray(one != two)) == (y is data.count)


def test_quantile_residuals_keep_weights_and_leave_out_rows_that_are_gone():
    data, family = cases.small(), families.Gaussian()
    weights = np.where(np.arange(30) == 3, 0.0, data.weights)
    problem, fitted = both(data.X, data.gaussian, family, var_weights=weights)
    z = np.asarray(diagnostics.resid_quantile(jax.random.key(0), problem, fitted))
    assert np.flatnonzero(np.isnan(z)).tolist() == [3]
    pearson = diagnostics.resid_pearson(problem, fitted) / jnp.sqrt(fitted.scale)
    assert error(np.delete(z, 3), np.delete(np.asarray(pearson), 3)) < 1e-9


def test_quantile_residuals_of_a_quasi_family_raise():
    data = cases.small()
    family = families.Quasi(jnp.square, links.Log())
    problem, _ = prepare(data.X, data.positive, family)
    with pytest.raises(ValueError, match="Quasi has no distribution"):
        diagnostics.resid_quantile(
            jax.random.key(0), problem, blank_fit(np.zeros(3), 1.0, problem.family)
        )
