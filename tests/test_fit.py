import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PAIRS, data_of, family_of, pair, relative_error, small
from conftest import reference

from jaxglm import Status, families, fit, links, penalties
from jaxglm.designs import Augmented

DATA = small()
STATISTICS = ("params", "bse", "scale", "deviance", "loglike", "df_resid")
compiled = jax.jit(fit)


def same(got, wanted, rtol=1e-9, skip=()):
    for name in STATISTICS:
        if name not in skip:
            np.testing.assert_allclose(
                getattr(got, name), getattr(wanted, name), rtol=rtol, atol=1e-12, err_msg=name
            )


# Reference numbers


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=["-".join(p) for p in PAIRS])
def test_every_pair_matches_its_reference(family, link):
    row = pair(family, link)
    result = jax.jit(jax.vmap(lambda f, X, y, kw: fit(X, y, f, **kw)))(
        row.family, row.X, row.y, row.arguments
    )
    np.testing.assert_array_equal(result.status, int(Status.converged))
    wanted = row.answers
    in_bse = np.max(np.abs(result.params - wanted["params"]) / wanted["bse"])
    assert in_bse < 1e-9
    assert relative_error(result.bse, wanted["bse"]) < 1e-9
    assert relative_error(result.scale, wanted["scale"]) < 1e-9
    assert relative_error(result.deviance, wanted["deviance"]) < 1e-10
    known = ~np.isnan(wanted["loglike"])
    concentrated = (family, link) == ("gaussian", "identity")
    loglike = wanted["loglike_ml" if concentrated else "loglike"]
    assert relative_error(result.loglike[known], loglike[known]) < 1e-9


# Every family and link is in the pairs; these are whole data sets and what the pairs have not.
R_NAMES = (
    *("mtcars", "infert logit", "esoph logit counts", "warpbreaks", "quine negative binomial"),
    *("binomial no intercept offset", "poisson no intercept offset", "gamma log weighted"),
)
R_CASES = [case for case in reference("r_glm")["cases"] if case["name"] in R_NAMES]


@pytest.mark.parametrize("case", R_CASES, ids=[c["name"] for c in R_CASES])
def test_r_agrees(case):
    X, y, given = data_of(case)
    result = compiled(X, y, family_of(case), **given)
    assert result.converged
    assert relative_error(result.params, case["coefficients"]) < 1e-8
    assert relative_error(result.bse, case["standard_errors"]) < 1e-8
    assert relative_error(result.deviance, case["deviance"]) < 1e-9
    assert relative_error(result.scale, case["dispersion"]) < 1e-8
    assert result.df_resid == case["df_residual"]


# Their dispersion is known; with one to be estimated R adjusts its score too.
BR_NAMES = (
    "endometrial logit",
    "endometrial probit",
    "apart cauchit",
    "counts cloglog",
    "poisson sqrt",
)
BR_CASES = [case for case in reference("r_brglm2")["cases"] if case["name"] in BR_NAMES]
BIAS = {"AS_mean": penalties.MeanBias(), "MPL_Jeffreys": penalties.Jeffreys()}


@pytest.mark.parametrize("case", BR_CASES, ids=[f"{c['name']} {c['type']}" for c in BR_CASES])
def test_bias_reduced_coefficients_match_r(case):
    X, y, given = data_of(case)
    result = compiled(X, y, family_of(case), penalty=BIAS[case["type"]], **given)
    assert result.converged
    error = np.abs(result.params - np.array(case["coefficients"])) / result.bse
    assert np.max(error) < 1e-8
    wanted = np.sqrt(np.diagonal(np.array(case["vcov"])))
    np.testing.assert_allclose(result.bse, wanted, rtol=1e-7)


def test_jeffreys_is_finite_where_the_likelihood_separates():
    X = np.column_stack([np.ones(8), np.arange(8.0) - 3.5])
    y = (X[:, 1] > 0).astype(float)
    plain = compiled(X, y, families.Binomial())
    firth = compiled(X, y, families.Binomial(), penalty=penalties.Jeffreys())
    assert Status(int(plain.status)) is Status.separated and firth.converged
    assert np.all(np.abs(firth.params) < 5)
    mean = compiled(X, y, families.Binomial(), penalty=penalties.MeanBias())
    np.testing.assert_allclose(mean.params, firth.params, rtol=1e-9, atol=1e-11)


# Laws

LAWS = {
    "gaussian": (families.Gaussian(), DATA.gaussian),
    "gamma log": (families.Gamma(links.Log()), DATA.positive),
    "probit": (families.Binomial(links.Probit()), DATA.share),
    "negative binomial": (families.NegativeBinomial(0.7), DATA.count),
    "tweedie": (families.Tweedie(1.5), DATA.count),
}
each_law = pytest.mark.parametrize("name", LAWS)


@each_law
def test_frequency_two_is_a_row_twice_and_weight_zero_is_a_row_gone(name):
    family, y = LAWS[name]
    X, offset, precision = DATA.X, DATA.offset, DATA.weights
    frequency = np.arange(30) % 3.0
    times = frequency.astype(int)
    X, y, offset = (
        np.where((frequency == 0).reshape(-1, *[1] * (v.ndim - 1)), np.nan, v)
        for v in (X, y, offset)
    )
    given = {"offset": offset, "var_weights": precision, "freq_weights": frequency}
    weighted = compiled(X, y, family, **given)
    repeated = compiled(
        *(np.repeat(v, times, axis=0) for v in (X, y)),
        family,
        offset=np.repeat(offset, times),
        var_weights=np.repeat(precision, times),
    )
    assert weighted.converged and weighted.df_resid == times.sum() - 3
    same(weighted, repeated)


@each_law
def test_rows_of_zero_precision_are_gone(name):
    family, y = LAWS[name]
    keep = np.arange(30) % 3 > 0
    rubbish = np.where(keep, y, -np.inf)
    weights = np.where(keep, DATA.weights, 0.0)
    got = compiled(DATA.X, rubbish, family, var_weights=weights)
    wanted = compiled(DATA.X[keep], y[keep], family, var_weights=weights[keep])
    assert got.converged and got.df_resid == keep.sum() - 3
    same(got, wanted)


@each_law
def test_equivariance_and_invariance(name):
    family, y = LAWS[name]
    plain = compiled(DATA.X, y, family, offset=DATA.offset)
    A = np.array([[1.0, 0.3, -0.2], [0.0, 2.0, 0.5], [0.0, 0.0, -1.5]])
    mixed = compiled(DATA.X @ A, y, family, offset=DATA.offset)
    np.testing.assert_allclose(A @ np.asarray(mixed.params), plain.params, rtol=1e-9, atol=1e-11)
    cov = A @ np.asarray(mixed.cov_params) @ A.T
    np.testing.assert_allclose(cov, plain.cov_params, rtol=1e-8, atol=1e-12)
    same(mixed, plain, skip=("params", "bse"))
    order = np.random.default_rng(1).permutation(30)
    same(compiled(DATA.X[order], y[order], family, offset=DATA.offset[order]), plain)
    shifted = compiled(DATA.X, y, family, offset=DATA.offset + 0.25)
    moved = shifted.params + jnp.array([0.25, 0.0, 0.0])
    np.testing.assert_allclose(moved, plain.params, rtol=1e-8, atol=1e-11)
    same(shifted, plain, skip=("params",), rtol=1e-8)


def test_equal_precisions_change_the_scale_alone():
    family = families.Gamma(links.Log())
    plain = compiled(DATA.X, DATA.positive, family, var_weights=np.ones(30))
    doubled = compiled(DATA.X, DATA.positive, family, var_weights=np.full(30, 2.0))
    np.testing.assert_allclose(doubled.params, plain.params, rtol=1e-10)
    np.testing.assert_allclose(doubled.scale, 2 * plain.scale, rtol=1e-10)
    np.testing.assert_allclose(doubled.bse, plain.bse, rtol=1e-10)
    np.testing.assert_allclose(doubled.loglike, plain.loglike, rtol=1e-10)


def test_counts_of_successes_and_failures_are_a_proportion_with_trials():
    random = np.random.default_rng(2)
    trials = random.integers(1, 9, 30).astype(float)
    trials[4] = 0.0
    successes = np.minimum(random.integers(0, 9, 30), trials).astype(float)
    share = np.where(trials > 0, successes / np.where(trials > 0, trials, 1.0), 0.5)
    pairs = compiled(DATA.X, np.stack([successes, trials - successes], 1), families.Binomial())
    shares = compiled(DATA.X, share, families.Binomial(), n_trials=trials)
    assert pairs.converged and pairs.df_resid == 29 - 3
    same(pairs, shares)
    for bad in ((3.0, -1.0), (-1.0, 3.0), (np.nan, 1.0)):
        y = np.stack([successes, trials - successes], 1)
        y[7] = bad
        assert int(compiled(DATA.X, y, families.Binomial()).status) == Status.invalid_data


def test_grouped_binomial_equals_its_single_trials():
    groups = np.repeat(np.arange(6), 5)
    X = np.column_stack([np.ones(6), np.linspace(-1, 1, 6)])
    single = compiled(X[groups], DATA.share, families.Binomial())
    successes = np.bincount(groups, DATA.share)
    grouped = compiled(X, np.stack([successes, 5 - successes], 1), families.Binomial())
    np.testing.assert_allclose(grouped.params, single.params, rtol=1e-9)
    np.testing.assert_allclose(grouped.bse, single.bse, rtol=1e-9)


RIDGES = {
    "scalar": 0.7,
    "vector": np.array([0.0, 1.0, 3.0]),
    "matrix": np.array([[1.0, 0.2, 0.0], [0.2, 2.0, -0.5], [0.0, -0.5, 3.0]]),
}


@pytest.mark.parametrize("kind", RIDGES)
@pytest.mark.parametrize("wrap", [penalties.Ridge, lambda strength: strength])
def test_gaussian_ridge_has_its_closed_form(kind, wrap):
    strength = RIDGES[kind]
    P = {0: lambda: strength * np.eye(3), 1: lambda: np.diag(strength), 2: lambda: strength}
    P = P[np.ndim(strength)]()
    X, y = DATA.X, DATA.gaussian
    result = compiled(X, y, penalty=wrap(strength))
    inverse = np.linalg.inv(X.T @ X + P)
    np.testing.assert_allclose(result.params, inverse @ X.T @ y, rtol=1e-11)
    np.testing.assert_allclose(result.cov_unscaled, inverse, rtol=1e-11)
    np.testing.assert_allclose(result.deviance, np.sum((y - X @ result.params) ** 2), rtol=1e-12)


def test_ridge_solves_its_score_and_zero_strength_is_no_penalty():
    family, y = LAWS["probit"]
    none, zero = compiled(DATA.X, y, family), compiled(DATA.X, y, family, penalty=0.0)
    same(zero, none)
    strong = compiled(DATA.X, y, family, penalty=np.array([0.0, 1e8, 1e8]))
    assert strong.converged and np.all(np.abs(strong.params[1:]) < 1e-6)
    null = compiled(DATA.X[:, :1], y, family)
    np.testing.assert_allclose(strong.params[:1], null.params, rtol=1e-6)


def test_shared_and_varying_columns_make_one_design():
    X = DATA.X
    for varying, columns in ((X[:, 2], 1), (X[:, 1:], 2)):
        design = Augmented(jnp.asarray(X[:, : 3 - columns]), jnp.asarray(varying))
        got = fit(design, DATA.count, families.Poisson(), offset=DATA.offset)
        same(got, compiled(X, DATA.count, families.Poisson(), offset=DATA.offset))


# Transformations


def test_mapping_over_each_argument_is_a_loop():
    family, y = families.Gamma(links.Log()), DATA.positive
    random = np.random.default_rng(6)
    lanes = 3
    base = {
        "X": DATA.X,
        "y": y,
        "offset": DATA.offset,
        "var_weights": DATA.weights,
        "freq_weights": np.ones(30),
        "penalty": np.array(0.3),
        "start": np.zeros(3),
        "scale": np.array(0.5),
    }
    varied = {
        "X": DATA.X + 0.1 * random.standard_normal((lanes, 30, 3)),
        "y": y * random.uniform(0.5, 2.0, (lanes, 30)),
        "offset": random.standard_normal((lanes, 30)),
        "var_weights": random.uniform(0.0, 2.0, (lanes, 30)),
        "freq_weights": random.integers(0, 3, (lanes, 30)).astype(float),
        "penalty": np.array([0.0, 0.5, 2.0]),
        "start": 0.1 * random.standard_normal((lanes, 3)),
        "scale": np.array([0.5, 1.0, 2.0]),
    }

    def one(a):
        rest = {k: v for k, v in a.items() if k not in ("X", "y")}
        return fit(a["X"], a["y"], family, **rest)

    single = jax.jit(one)
    groups = (
        {"X"},
        {"y", "offset"},
        {"var_weights", "freq_weights"},
        {"penalty", "scale", "start"},
    )
    for mapped in groups:
        axes = {k: 0 if k in mapped else None for k in base}
        given = {k: varied[k] if k in mapped else base[k] for k in base}
        result = jax.jit(jax.vmap(one, (axes,)))(given)
        assert np.all(result.converged), mapped
        for i in range(lanes):
            alone = single({k: varied[k][i] if k in mapped else base[k] for k in base})
            same(jax.tree.map(lambda v, i=i: v[i], result), alone, rtol=1e-8)


def test_family_parameters_can_be_mapped_and_compile_once():
    traces = []

    @jax.jit
    def one(alpha):
        traces.append(alpha)
        return fit(DATA.X, DATA.count, families.NegativeBinomial(alpha)).params

    alphas = np.array([0.2, 0.7, 1.5])
    mapped = jax.vmap(one)(alphas)
    alone = np.stack([one(a) for a in alphas])
    np.testing.assert_allclose(mapped, alone, rtol=1e-9)
    assert len(traces) == 1


def test_derivatives_compose_with_jit():
    def coefficients(offset):
        return fit(DATA.X, DATA.count, families.Poisson(), offset=offset).params

    def total(offset):
        return jnp.sum(coefficients(offset))

    forward = jax.jit(jax.jacfwd(coefficients))(DATA.offset)
    reverse = jax.jit(jax.jacrev(coefficients))(DATA.offset)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-13)
    slope = jax.jit(jax.grad(total))(DATA.offset)
    np.testing.assert_allclose(slope, jnp.sum(reverse, axis=0), rtol=1e-9, atol=1e-13)
    hessian = jax.jit(jax.hessian(total))(DATA.offset)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8, atol=1e-12)
    assert np.all(np.isfinite(hessian)) and np.any(np.asarray(hessian) != 0)


def test_results_hold_neither_X_nor_y():
    result = compiled(DATA.X, DATA.count, families.Poisson())
    assert all(v.size <= 9 for v in jax.tree.leaves(result))


# Input errors

BAD_INPUT = {
    "long y": ({"y": np.ones(31)}, ValueError, "y"),
    "column y": ({"y": np.ones((30, 1))}, ValueError, "y"),
    "three-column y": ({"y": np.ones((30, 3))}, ValueError, "y"),
    "flat X": ({"X": np.ones(30)}, ValueError, "X"),
    "cubic X": ({"X": np.ones((2, 30, 3))}, ValueError, "X"),
    "no rows": ({"X": np.ones((0, 3)), "y": np.ones(0)}, ValueError, "X"),
    "no columns": ({"X": np.ones((30, 0))}, ValueError, "X"),
    "object X": ({"X": np.ones((30, 3), dtype=object)}, TypeError, "X"),
    "complex X": ({"X": np.ones((30, 3), dtype=complex)}, TypeError, "X"),
    "string y": ({"y": np.array(["yes"] * 30)}, TypeError, "y"),
    "complex y": ({"y": np.ones(30, dtype=complex)}, TypeError, "y"),
    "date y": ({"y": np.full(30, "2020-01-01", dtype="datetime64[D]")}, TypeError, "y"),
    "short offset": ({"offset": np.ones(29)}, ValueError, "offset"),
    "column offset": ({"offset": np.ones((30, 1))}, ValueError, "offset"),
    "column var_weights": ({"var_weights": np.ones((30, 1))}, ValueError, "var_weights"),
    "long freq_weights": ({"freq_weights": np.ones(31)}, ValueError, "freq_weights"),
    "string freq_weights": ({"freq_weights": np.array(["a"] * 30)}, TypeError, "freq_weights"),
    "trials": ({"n_trials": np.ones(30)}, ValueError, "n_trials"),
    "short start": ({"start": np.ones(2)}, ValueError, "start"),
    "column start": ({"start": np.ones((3, 1))}, ValueError, "start"),
    "long penalty": ({"penalty": np.ones(4)}, ValueError, "strength"),
    "negative penalty": ({"penalty": -1.0}, ValueError, "strength"),
    "vector scale": ({"scale": np.ones(30)}, ValueError, "scale"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_raises_by_name(name):
    change, error, argument = BAD_INPUT[name]
    given = {"X": DATA.X, "y": DATA.count, **change}
    X, y = given.pop("X"), given.pop("y")
    with pytest.raises(error, match=argument):
        fit(X, y, families.Poisson(), **given)


def test_families_and_links_may_be_given_as_classes():
    wanted = compiled(DATA.X, DATA.count, families.Poisson())
    same(fit(DATA.X, DATA.count, families.Poisson), wanted)
    same(fit(DATA.X, DATA.count, families.Poisson(links.Log)), wanted)


def test_scalars_stand_for_constant_columns():
    family = families.Gamma(links.Log())
    got = fit(DATA.X, DATA.positive, family, offset=0.5, var_weights=2.0, freq_weights=3.0)
    full = {"offset": 0.5, "var_weights": 2.0, "freq_weights": 3.0}
    wanted = compiled(DATA.X, DATA.positive, family, **{k: np.full(30, v) for k, v in full.items()})
    same(got, wanted)


def test_lists_are_arrays():
    same(
        fit(DATA.X.tolist(), DATA.count.tolist(), families.Poisson()),
        compiled(DATA.X, DATA.count, families.Poisson()),
    )
