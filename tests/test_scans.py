"""A scan equals the single fits and score tests of its lanes, and R's Rao statistics."""

from functools import cache

import jax
import numpy as np
import pytest
from conftest import reference
from scipy import stats

from jaxglm import Status, families, fit, links, penalties
from jaxglm.fit import prepare
from jaxglm.inference import score_test, wald
from jaxglm.scans import scan

N, B = 60, 9
FAMILIES = {
    "binomial": families.Binomial(),
    "gaussian": families.Gaussian(),
    "gamma": families.Gamma(links.Log()),
}


@cache
def make_data(name, k=None):
    """Covariates, varying columns (a distribution with large mean among them) and a response."""
    rng = np.random.default_rng(11)
    shared = np.column_stack([np.ones(N), rng.normal(size=(N, 2))])
    varying = rng.binomial(2, 0.4, size=(B, N) if k is None else (B, N, k)).astype(float)
    varying[1] += 1e3
    eta = shared @ [0.2, 0.5, -0.3]
    y = {
        "binomial": rng.binomial(1, 1 / (1 + np.exp(-eta))).astype(float),
        "gaussian": eta + rng.normal(size=N),
        "gamma": rng.gamma(2.0, np.exp(eta) / 2.0),
    }[name]
    return shared, varying, y


def design_of(shared, column):
    return np.column_stack([shared, column])


def same(actual, expected, rtol=1e-8):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol)


@pytest.mark.parametrize(
    ("name", "use_t"), [("binomial", False), ("gaussian", True), ("gamma", False)]
)
def test_wald_scan_is_the_single_fits(name, use_t):
    shared, varying, y = make_data(name)
    found = scan(shared, varying, y, FAMILIES[name], use_t=use_t)
    assert (found.status == Status.converged).all() and not found.refitted.any()
    for lane in (0, 1, 8):
        one = fit(design_of(shared, varying[lane]), y, FAMILIES[name])
        z = one.params[-1] / one.bse[-1]
        tail = stats.t.sf(abs(z), N - 4) if use_t else stats.norm.sf(abs(z))
        same(found.estimate[lane], one.params[-1], 1e-7)
        same(found.se[lane], one.bse[-1])
        same(found.z[lane], z, 1e-7)
        same(found.statistic[lane], z**2, 1e-7)
        same(found.pvalue[lane], 2 * tail, 1e-6)


@pytest.mark.parametrize("use_t", (False, True))
def test_wald_scan_of_blocks_is_joint(use_t):
    shared, varying, y = make_data("gaussian", 2)
    found = scan(shared, varying, y, families.Gaussian(), use_t=use_t)
    assert found.estimate.shape == found.se.shape == (B, 2) and found.pvalue.shape == (B,)
    one = fit(design_of(shared, varying[4]), y)
    R = np.eye(5)[3:]
    joint = wald(one.params, one.cov_params, R, df=one.df_resid if use_t else None)
    same(found.estimate[4], one.params[3:])
    same(found.statistic[4], joint.statistic)
    same(found.pvalue[4], joint.pvalue)


def weights_of(name):
    rng = np.random.default_rng(13)
    weights = rng.uniform(0.5, 2.0, size=N)
    weights[:3] = 0.0
    return {"offset": 0.1 * rng.normal(size=N), "var_weights": weights}


@pytest.mark.parametrize(("name", "k"), [("binomial", None), ("gamma", None), ("gamma", 2)])
def test_score_scan_is_the_single_score_tests(name, k):
    shared, varying, y = make_data(name, k)
    rows = weights_of(name)
    varying = varying.copy()
    # A row that is gone may hold anything.
    varying[:, 0] = np.nan
    found = scan(shared, varying, y, FAMILIES[name], test="score", **rows)
    assert (found.status == Status.converged).all()
    problem, _ = prepare(shared, y, FAMILIES[name], **rows)
    null = fit(shared, y, FAMILIES[name], **rows)
    for lane in (0, 1, 8):
        one = score_test(problem, null, varying[lane])
        same(found.statistic[lane], one.statistic, 1e-7)
        same(found.pvalue[lane], one.pvalue, 1e-6)
        if k is None:
            same(found.z[lane], one.z[0], 1e-7)


@pytest.mark.parametrize("test", ("score", "wald"))
def test_lanes_of_the_response_have_their_own_null_model(test):
    shared, varying, y = make_data("gamma")
    rng = np.random.default_rng(17)
    Y = y[None] * rng.uniform(0.5, 2.0, size=(B, N))
    weights = rng.uniform(0.5, 2.0, size=(B, N))
    family = FAMILIES["gamma"]
    found = scan(shared, varying, Y, family, var_weights=weights, test=test)
    for lane in (0, 7):
        rows = {"var_weights": weights[lane], "test": test}
        one = scan(shared, varying, Y[lane], family, **rows)
        same(found.z[lane], one.z[lane], 1e-7)
        same(found.pvalue[lane], one.pvalue[lane], 1e-6)


R_FAMILIES = {
    "poisson": families.Poisson,
    "binomial": families.Binomial,
    "gaussian": families.Gaussian,
    "Gamma": families.Gamma,
}
R_LINKS = {
    "log": links.Log(),
    "logit": links.Logit(),
    "identity": links.Identity(),
    "inverse": links.InversePower(),
}
CASES = {case["name"]: case for case in reference("r_inference")["cases"]}


def arguments_of(case):
    rows = {k: case[k] for k in ("offset", "var_weights", "n_trials") if case[k] is not None}
    family = R_FAMILIES[case["family"]](link=R_LINKS[case["link"]])
    return np.array(case["y"]), family, {k: np.array(v) for k, v in rows.items()}


@pytest.mark.parametrize("name", CASES)
def test_score_scan_gives_the_statistics_of_statmod(name):
    case = CASES[name]
    y, family, rows = arguments_of(case)
    columns = np.array(case["extra"]).T
    added = scan(np.array(case["X"]), columns, y, family, test="score", **rows)
    same(added.z, case["score_test_z"], 1e-9)


@pytest.mark.parametrize("name", ("warpbreaks poisson", "esoph logit counts", "gamma log"))
def test_score_scan_of_a_term_gives_the_statistic_of_r(name):
    case = CASES[name]
    y, family, rows = arguments_of(case)
    X, last = np.array(case["X"]), np.array(case["assign"]) == max(case["assign"])
    block = scan(X[:, ~last], X[None, :, last], y, family, test="score", scale=1.0, **rows)
    # R stops its smaller fits at a settled deviance; its table is not divided by the dispersion.
    same(block.statistic[0], case["sequential"]["rao"][-1], 1e-7)


def separable():
    """Lane 2 separates, lane 3 repeats a covariate, lane 4 is constant, lane 5 has a hole."""
    shared, varying, y = make_data("binomial")
    varying = varying.copy()
    varying[1] -= 1e3
    varying[2] = y
    varying[3] = shared[:, 1]
    varying[4] = 1.0
    varying[5, 7] = np.nan
    return shared, varying, y


BAD = {3: Status.singular, 4: Status.singular, 5: Status.invalid_data}


def test_lanes_that_separate_are_refitted_with_jeffreys_prior():
    shared, varying, y = separable()
    plain = scan(shared, varying, y)
    found = scan(shared, varying, y, fallback="firth")
    assert int(plain.status[2]) == Status.separated and np.isnan(plain.pvalue[2])
    assert list(np.flatnonzero(found.refitted)) == [2]
    assert {lane: int(found.status[lane]) for lane in BAD} == BAD
    one = fit(design_of(shared, varying[2]), y, families.Binomial(), penalty=penalties.Jeffreys())
    assert int(found.status[2]) == int(one.status) == Status.converged
    same(found.estimate[2], one.params[-1])
    same(found.se[2], one.bse[-1])
    same(found.pvalue[2], 2 * stats.norm.sf(abs(one.params[-1] / one.bse[-1])))
    others = [lane for lane in range(B) if lane != 2]
    for name in ("estimate", "se", "statistic", "pvalue", "status"):
        np.testing.assert_array_equal(
            np.asarray(getattr(found, name))[others], np.asarray(getattr(plain, name))[others]
        )


def test_a_score_scan_marks_columns_that_say_nothing():
    shared, varying, y = separable()
    found = scan(shared, varying, y, test="score")
    assert {lane: int(found.status[lane]) for lane in BAD} == BAD
    assert np.isfinite(found.pvalue[2])
    for values in (found.estimate, found.se, found.statistic, found.pvalue):
        np.testing.assert_array_equal(np.isnan(values), np.isin(np.arange(B), list(BAD)))


@pytest.mark.parametrize(("test", "status"), [("score", "separated"), ("wald", "invalid_data")])
def test_a_null_model_that_fails_fails_every_lane(test, status):
    shared, varying, y = make_data("binomial")
    bad = {"separated": y * 0.0, "invalid_data": np.where(y == 1, np.nan, y)}[status]
    found = scan(shared, varying, bad, test=test)
    assert (found.status == Status[status]).all()
    assert np.isnan(found.pvalue).all()


def test_chunks_are_irrelevant_to_a_score_scan():
    shared, varying, y = make_data("binomial")
    whole = scan(shared, varying, y, test="score")
    parts = scan(shared, varying, y, test="score", chunk_size=4)
    np.testing.assert_allclose(parts.statistic, whole.statistic, rtol=1e-10)


def test_a_scale_may_be_named_and_parameters_may_have_lanes():
    shared, varying, y = make_data("gamma")
    alpha = np.linspace(0.2, 1.0, B)
    found = scan(shared, varying, y, families.NegativeBinomial(alpha), test="score", scale="dev")
    family = families.NegativeBinomial(alpha[6])
    null = fit(shared, y, family, scale="dev")
    one = score_test(prepare(shared, y, family)[0], null, varying[6])
    same(found.z[6], one.z[0], 1e-7)


@pytest.mark.dtype
@pytest.mark.parametrize("test", ("wald", "score"))
def test_precision_follows_the_kind_of_array(test):
    shared, varying, y = make_data("binomial")
    varying = np.delete(varying, 1, axis=0)
    whole = scan(shared, varying.astype(np.int8), y, test=test)
    assert whole.pvalue.dtype == np.float64
    narrow = [jax.numpy.asarray(v, np.float32) for v in (shared, varying, y)]
    own = scan(*narrow, test=test)
    assert own.pvalue.dtype == own.estimate.dtype == np.float32
    np.testing.assert_allclose(own.z, whole.z, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"varying": np.zeros(N)}, r"varying: shape \(60,\)"),
        ({"y": np.zeros(N + 1)}, r"y: shape \(61,\)"),
        ({"y": np.zeros((B + 1, N))}, "varying: 9 lanes"),
        ({"test": "rao"}, "test='rao'"),
        ({"fallback": "ridge"}, "fallback='ridge'"),
        ({"fallback": "firth", "test": "score"}, "only with test='wald'"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    shared, varying, y = make_data("binomial")
    given = {"shared": shared, "varying": varying, "y": y} | change
    with pytest.raises(ValueError, match=message):
        scan(**given)


def test_a_scan_is_no_part_of_a_trace():
    shared, varying, y = make_data("binomial")
    with pytest.raises(TypeError, match="not under jit"):
        jax.jit(lambda v: scan(shared, v, y).pvalue)(varying)
