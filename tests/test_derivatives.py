"""Every output of a fit in every input, forward, reverse and second order, by refits' differences.

A row of the table is a family with its link. One compiled function gives the statistics and their
forward derivatives along a direction for each input, another a gradient and its derivative along
all of them together; both at the points from which the differences are taken.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import richardson, small
from jax.scipy.special import gammaln, logsumexp

from jaxglm import Status, families, fit, fit_many, links, penalties, solvers
from jaxglm.covariance import heteroscedastic
from jaxglm.fit import prepare
from jaxglm.inference import wald
from jaxglm.prediction import predict

DATA = small(n=14, p=3, seed=3)
COIN = np.array([0.0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0])
SHARE, TRIALS = 0.2 + 0.6 * COIN, np.arange(2.0, 16.0)
BURSTS = np.array([0.0, 9, 1, 0, 4, 0, 12, 1, 0, 6, 2, 0, 7, 1])
LUMPS = np.where(COIN > 0, DATA.positive, 0.0) * (1.0 + TRIALS % 3)
# Near to the root of the score to all digits: the differences' own error is a hundredth of 1e-6.
SOLVER = solvers.IRLS(tol=1e-26)
RIDGE, VECTOR = np.asarray(0.4), np.array([0.0, 0.3, 0.7])
MATRIX = np.array([[0.5, 0.1, 0.0], [0.1, 0.8, -0.2], [0.0, -0.2, 0.6]])
AHEAD = np.array([[1.0, 0.3, -0.2], [1.0, -0.5, 0.4]])


def log_beta(y, mu, phi):
    a, b = mu * phi, (1 - mu) * phi
    norm = gammaln(phi) - gammaln(a) - gammaln(b)
    return norm + (a - 1) * jnp.log(y) + (b - 1) * jnp.log1p(-y)


def log_norm(theta, nu):
    k = jnp.arange(60)
    return logsumexp(theta * k - nu * gammaln(k + 1))


def log_base(y, nu):
    return -nu * gammaln(y + 1)


def power_of_mean(mu, power):
    return mu**power


def aranda_ordaz(eta, shape):
    return 1 - (1 + shape * jnp.exp(eta)) ** (-1 / shape)


class Row(NamedTuple):
    """`make` gives the family at its (or its link's) parameter."""

    make: Any
    y: np.ndarray
    parameter: float | None = None
    penalty: Any = RIDGE
    fixed: dict = {}  # arguments that are no inputs
    n_trials: np.ndarray | None = None
    second: bool = False


def powers(power):
    positive = {"mean_space": (0, np.inf), "support": (0, np.inf)}
    return families.from_variance(power_of_mean, power, link="log", **positive)


def com_poisson(nu):
    return families.from_cumulant(log_norm, nu, support=(0, np.inf), log_base=log_base, link="log")


def learnt(shape):
    return families.Binomial(links.from_inverse(aranda_ordaz, shape, range=(0, 1)))


def plain(family):
    return lambda _: family


B, P, G, IG = families.Binomial, families.Poisson, families.Gamma, families.InverseGaussian
NB, TW = families.NegativeBinomial, families.Tweedie
JEFFREYS, MEAN_BIAS = {"penalty": penalties.Jeffreys()}, {"penalty": penalties.MeanBias()}
POSITIVE = DATA.positive
TABLE = {
    "gaussian identity": Row(plain(families.Gaussian()), DATA.gaussian, penalty=MATRIX),
    "gaussian log": Row(plain(families.Gaussian(links.Log())), POSITIVE),
    "logit": Row(plain(B()), SHARE, penalty=VECTOR, n_trials=TRIALS, second=True),
    "probit": Row(plain(B(links.Probit())), SHARE, penalty=MATRIX, n_trials=TRIALS, second=True),
    "cauchit": Row(plain(B(links.Cauchy())), SHARE),
    "cloglog": Row(plain(B(links.CLogLog())), SHARE, n_trials=TRIALS),
    "poisson log": Row(plain(P()), DATA.count, penalty=None),
    "poisson sqrt": Row(plain(P(links.Sqrt())), DATA.count + 1.0, second=True),
    "poisson identity": Row(plain(P("identity")), DATA.count + 4.0, penalty=VECTOR),
    "gamma inverse": Row(plain(G()), POSITIVE + 1.0, penalty=None),
    "gamma power": Row(lambda a: G(links.Power(a)), POSITIVE + 1.0, 0.6, second=True),
    "gamma log, ml": Row(plain(G("log")), POSITIVE, fixed={"scale": "ml"}, second=True),
    "inverse gaussian log": Row(plain(IG("log")), POSITIVE),
    "inverse gaussian 1/mu^2": Row(plain(IG()), 0.2 * POSITIVE + 2.0, penalty=None),
    "negative binomial": Row(NB, DATA.count, 0.7, second=True),
    "negative binomial's link": Row(
        lambda a: NB(0.5, links.NegativeBinomial(a)), DATA.count + 1.0, 0.7, second=True
    ),
    "negative binomial, alpha by ml": Row(plain(NB(None)), BURSTS, penalty=VECTOR, second=True),
    "tweedie": Row(TW, POSITIVE, 1.6, fixed={"scale": "dev"}),
    "tweedie, power by ml": Row(plain(TW(None)), LUMPS),
    "logit, jeffreys": Row(plain(B()), COIN, penalty=None, fixed=JEFFREYS, second=True),
    "gamma log, mean bias": Row(plain(G("log")), POSITIVE, penalty=None, fixed=MEAN_BIAS),
    "probit, mean bias": Row(
        plain(B(links.Probit())), COIN, penalty=None, fixed=MEAN_BIAS, second=True
    ),
    "from_variance": Row(powers, POSITIVE, 1.7),
    "from_cumulant": Row(com_poisson, DATA.count, 1.4),
    "from_inverse": Row(learnt, SHARE, 1.3, n_trials=TRIALS, second=True),
    "from_log_prob": Row(
        lambda phi: families.from_log_prob(log_beta, phi, support=(0, 1)), SHARE, 8.0
    ),
}
SECOND = [name for name, row in TABLE.items() if row.second]


def inputs_of(name):
    """Every input of the fit that a derivative can be taken in."""
    row = TABLE[name]
    inputs = {
        "X": DATA.X,
        "y": row.y,
        "offset": 0.3 * DATA.offset,
        "var_weights": DATA.weights,
        "freq_weights": DATA.weights[::-1].copy(),
        "n_trials": row.n_trials,
        "parameter": row.parameter,
        "penalty": row.penalty,
    }
    return {k: jnp.asarray(v, float) for k, v in inputs.items() if v is not None}


def statistics(name):
    """The fit as a function of its inputs: all of its statistics, by name."""
    row = TABLE[name]

    def run(inputs):
        rest = {k: v for k, v in inputs.items() if k not in ("X", "y", "parameter")}
        family = row.make(inputs.get("parameter"))
        found = fit(inputs["X"], inputs["y"], family, solver=SOLVER, **row.fixed, **rest)
        named = {k: getattr(found, k) for k in ("params", "bse", "scale", "deviance", "loglike")}
        named["cov_params"] = found.cov_params[jnp.triu_indices(3)]
        named["prediction"] = predict(found.family, found.params, AHEAD)
        named["wald"] = wald(found.params, found.cov_params, np.eye(3)[1:]).statistic
        if family.is_estimated:
            named["estimated"] = getattr(found.family, family.unknown.field)
        if not family.has_likelihood:
            del named["loglike"]
        return {k: jnp.atleast_1d(v) for k, v in named.items()}

    return run


def directions(inputs, seed=0):
    """One random direction for each input alone; y is moved only where any y is possible."""
    random = np.random.default_rng(seed)
    ways = {}
    for key, value in inputs.items():
        way = jax.tree.map(jnp.zeros_like, inputs)
        step = random.standard_normal(value.shape) * 0.3
        way[key] = jnp.asarray(step + step.T if key == "penalty" and value.ndim == 2 else step)
        ways[key] = way
    inside = (inputs["y"] > 0) & (inputs["y"] != 1)
    ways["y"]["y"] = jnp.where(inside, ways["y"]["y"], 0.0)
    if "penalty" in inputs and inputs["penalty"].ndim == 1:
        ways["penalty"]["penalty"] = ways["penalty"]["penalty"].at[0].set(0.0)
    return ways if np.any(inside) else {k: way for k, way in ways.items() if k != "y"}


class Along(dict):
    """Values of a function at t times a direction, noted by t, to be read as a function of t."""

    def __call__(self, t):
        return self[round(t, 12)]


@cache
def steps():
    """0, then the t at which `richardson` asks."""
    asked = [0.0]

    def note(t):
        asked.append(t)
        return 0.0

    richardson(note)
    return np.array(asked)


def points(inputs, way):
    return jax.tree.map(lambda a, b: jnp.stack([a + t * b for t in steps()]), inputs, way)


def by_step(values):
    """The rows of an array as a function of t, and the one at 0."""
    values = np.asarray(values)
    return Along(zip(np.round(steps(), 12).tolist(), values, strict=True)), values[0]


def assert_near(got, wanted, message):
    """Equal to 1e-7, a tenth of what is promised, or to 1e-8 of the largest."""
    size = np.max(np.abs(wanted), initial=0.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-8 * size + 1e-11, err_msg=message)


@cache
def forward(name):
    """{input: (values at the steps, derivatives at the steps)}, each a dict of statistics."""
    inputs, run = inputs_of(name), statistics(name)
    ways = directions(inputs)
    push = jax.jit(jax.vmap(jax.vmap(lambda at, way: jax.jvp(run, (at,), (way,)), (0, None))))
    places = [points(inputs, way) for way in ways.values()]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *places)
    found = push(stacked, jax.tree.map(lambda *v: jnp.stack(v), *ways.values()))
    return {key: jax.tree.map(lambda v, i=i: v[i], found) for i, key in enumerate(ways)}


def thinned(names):
    """All names, of which every third is always due and the others are left to the night."""
    marks = {True: (), False: (pytest.mark.nightly,)}
    return [pytest.param(name, marks=marks[i % 3 == 0]) for i, name in enumerate(names)]


@pytest.mark.parametrize("name", thinned(TABLE))
def test_forward_derivatives_are_differences_of_refits(name):
    moved = set()
    for key, (values, slopes) in forward(name).items():
        for statistic, value in values.items():
            at_step, _ = by_step(value)
            assert np.all(np.isfinite(value)), (key, statistic)
            wanted = richardson(at_step)
            assert_near(slopes[statistic][0], wanted, f"d {statistic} / d {key}")
            moved |= {statistic} if np.any(np.abs(wanted) > 1e-6) else set()
    fixed = {"scale"} if TABLE[name].make(TABLE[name].parameter).fixed_scale else set()
    assert moved | fixed == set(values)


@pytest.mark.parametrize("name", thinned(SECOND))
def test_reverse_and_second_derivatives_are_differences_of_first_ones(name):
    inputs, run = inputs_of(name), statistics(name)
    way = jax.tree.map(lambda *v: sum(v), *directions(inputs, seed=4).values())
    random = np.random.default_rng(2)
    ahead = {
        key: jax.tree.map(lambda v: v[0], slopes) for key, (_, slopes) in forward(name).items()
    }
    weights = jax.tree.map(lambda v: random.standard_normal(v.shape), next(iter(ahead.values())))

    def total(inputs):
        return sum(jnp.vdot(weights[k], v) for k, v in run(inputs).items())

    both = jax.jit(jax.vmap(lambda at: jax.jvp(jax.grad(total), (at,), (way,))))
    first, second = both(points(inputs, way))
    alone = directions(inputs)
    for key, slopes in ahead.items():
        along = sum(np.vdot(first[k][0], alone[key][k]) for k in inputs)
        wanted = sum(np.vdot(weights[k], v) for k, v in slopes.items())
        np.testing.assert_allclose(along, wanted, rtol=1e-8, atol=1e-9, err_msg=key)
    for key in inputs:
        wanted = richardson(by_step(first[key])[0])
        assert_near(second[key][0], wanted, f"second derivative in {key}")


# Lane 1 is separated, lane 3 has a response outside the support.
LANES = np.stack([COIN, DATA.X[:, 1] > 0, COIN[::-1], np.where(COIN > 0, 1.0, -2.0), COIN])
STATUSES = ["converged", "separated", "converged", "invalid_data", "converged"]
CLOGLOG = families.Binomial(links.CLogLog())


def lane_total(found):
    """One number of each lane, from all of its statistics; and the statuses."""
    sums = [jnp.sum(v, axis=-1) for v in (found.params, found.bse)]
    return sum(sums) + found.deviance + found.loglike, found.status


def alone(at, y):
    return lane_total(fit(DATA.X, y, CLOGLOG, **at))


def test_lanes_of_a_batch_have_the_derivatives_of_their_own_fits():
    def batch(at):
        return lane_total(fit_many(DATA.X, LANES, CLOGLOG, chunk_size=2, **at))

    random = np.random.default_rng(8)
    way = {
        "offset": random.standard_normal((5, 14)),
        "freq_weights": random.uniform(0.0, 1.0, (5, 14)),
        "penalty": np.zeros(5),
    }
    point = jax.tree.map(lambda v: 0.1 * jnp.asarray(v), way)
    point["freq_weights"] = point["freq_weights"] + 1.0
    both = jax.jit(
        lambda at: (
            jax.jvp(batch, (at,), (way,), has_aux=True)[1],
            jax.grad(lambda at: jnp.sum(batch(at)[0]))(at),
            batch(at)[1],
        )
    )
    ahead, back, status = both(point)
    assert [Status(int(s)).name for s in status] == STATUSES
    single = jax.jit(jax.value_and_grad(alone, has_aux=True))
    for i, name in enumerate(STATUSES):
        _, wanted = single(jax.tree.map(lambda v, i=i: v[i], point), LANES[i])
        if name != "converged":
            assert np.isnan(ahead[i]) and all(np.all(np.isnan(v[i])) for v in back.values())
            continue
        along = sum(np.vdot(wanted[k], way[k][i]) for k in way)
        np.testing.assert_allclose(ahead[i], along, rtol=1e-8)
        for key, value in wanted.items():
            np.testing.assert_allclose(back[key][i], value, rtol=1e-8, atol=1e-9, err_msg=key)


def test_inputs_that_lanes_share_have_the_sum_of_their_derivatives():
    good = LANES[[0, 2]]
    point = {"offset": 0.3 * DATA.offset, "freq_weights": DATA.weights, "penalty": np.asarray(0.2)}
    point = jax.tree.map(jnp.asarray, point)

    def total(at):
        return jnp.sum(lane_total(fit_many(DATA.X, good, CLOGLOG, **at))[0])

    got = jax.jit(jax.grad(total))(point)
    single = jax.jit(jax.grad(lambda at, y: alone(at, y)[0]))
    wanted = jax.tree.map(lambda *v: sum(v), *(single(point, y) for y in good))
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-8, atol=1e-9, err_msg=key)


SINGLE = ("probit", "gamma log, ml", "poisson sqrt", "negative binomial, alpha by ml")


@pytest.mark.dtype
@pytest.mark.parametrize("name", thinned(SINGLE))
def test_derivatives_in_float32_hold_three_digits(name):
    random = np.random.default_rng(6)

    def slopes(dtype):
        """Forward and reverse derivatives of a weighted sum of all statistics."""
        row = TABLE[name]
        inputs = {k: jnp.asarray(v, dtype) for k, v in inputs_of(name).items()}

        def total(inputs):
            rest = {k: v for k, v in inputs.items() if k not in ("X", "y")}
            found = fit(inputs["X"], inputs["y"], row.make(None), **row.fixed, **rest)
            return jnp.sum(found.params) + jnp.sum(found.bse) + found.scale + found.loglike

        way = {k: jnp.asarray(v, dtype) for k, v in direction.items()}
        both = jax.jit(lambda at: (jax.jvp(total, (at,), (way,))[1], jax.grad(total)(at)))
        return jax.tree.map(lambda v: np.asarray(v, float), both(inputs))

    direction = {k: random.standard_normal(v.shape) for k, v in inputs_of(name).items()}
    with jax.enable_x64(True):
        forward, reverse = slopes(jnp.float64)
    with jax.enable_x64(False):
        forward32, reverse32 = slopes(jnp.float32)
    np.testing.assert_allclose(forward32, forward, rtol=1e-3)
    for key, value in reverse.items():
        size = np.max(np.abs(value))
        np.testing.assert_allclose(reverse32[key], value, atol=1e-3 * size, err_msg=key)


# The infinitesimal jackknife

JACKKNIFE = {
    "probit": (families.Binomial(links.Probit()), COIN, None),
    "poisson sqrt": (families.Poisson(links.Sqrt()), DATA.count + 1.0, None),
    "gamma inverse": (families.Gamma(), DATA.positive + 1.0, None),
    "gamma log": (families.Gamma(links.Log()), DATA.positive, None),
    "negative binomial": (families.NegativeBinomial(0.7), DATA.count, 0.4),
}


@pytest.mark.parametrize("name", thinned(JACKKNIFE))
def test_derivatives_in_the_weights_give_the_sandwich(name):
    family, y, penalty = JACKKNIFE[name]

    def params(weights):
        return fit(DATA.X, y, family, freq_weights=weights, penalty=penalty, solver=SOLVER).params

    moves = jax.jit(jax.jacrev(params))(jnp.ones(14)).T
    beta = jax.jit(params)(jnp.ones(14))

    def score(beta, x, y):
        mu, slope = jax.jvp(family.link.inverse, (x @ beta,), (jnp.ones(()),))
        return x * (y - mu) * slope / family.variance(mu)

    # White (1980) with observed information: H^-1 (sum of s s') H^-1, H minus the score's slope.
    scores = jax.vmap(score, (None, 0, 0))(beta, DATA.X, y)
    bread = -jnp.sum(jax.vmap(jax.jacfwd(score), (None, 0, 0))(beta, DATA.X, y), axis=0)
    inverse = jnp.linalg.inv(bread + (0.0 if penalty is None else penalty * jnp.eye(3)))
    np.testing.assert_allclose(moves, scores @ inverse.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(
        moves.T @ moves, inverse @ (scores.T @ scores) @ inverse, rtol=1e-8, atol=1e-9
    )
    problem, _ = prepare(DATA.X, y, family, penalty=penalty)
    found = fit(DATA.X, y, family, penalty=penalty, solver=SOLVER)
    robust = heteroscedastic(problem, found, "HC0", bread="observed")
    np.testing.assert_allclose(moves.T @ moves, robust, rtol=1e-8, atol=1e-9)


# Memory


def test_a_reverse_pass_needs_no_more_memory_for_more_iterations():
    def temporary(max_steps, X):
        solver = solvers.IRLS(max_steps=max_steps)

        def total(X):
            return jnp.sum(fit(X, DATA.count, families.Poisson("sqrt"), solver=solver).params ** 2)

        compiled = jax.jit(jax.grad(total)).lower(X).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = (temporary(steps, jnp.asarray(DATA.X)) for steps in (5, 500))
    assert 0 < many <= few
