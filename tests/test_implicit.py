"""Derivatives of a fit, against central differences of refits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import small

from jaxglm import Status, families, fit, links, penalties, solvers

DATA = small(n=14, p=3, seed=3)
SOLVER = solvers.IRLS(tol=1e-26)
SHARE = np.array([0.0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0])

# name: (family from its parameter, parameter, response, further arguments)
CASES = {
    "gaussian log": (lambda a: families.Gaussian(links.Log()), 1.0, DATA.positive, {}),
    "probit": (lambda a: families.Binomial(links.Probit()), 1.0, SHARE, {}),
    "poisson sqrt": (lambda a: families.Poisson(links.Sqrt()), 1.0, DATA.count + 1.0, {}),
    "gamma power": (lambda a: families.Gamma(links.Power(a)), 0.6, DATA.positive + 1.0, {}),
    "inverse gaussian log": (
        lambda a: families.InverseGaussian(links.Log()),
        1.0,
        DATA.positive,
        {},
    ),
    "negative binomial": (lambda a: families.NegativeBinomial(a), 0.7, DATA.count, {}),
    "tweedie": (lambda a: families.Tweedie(a), 1.6, DATA.positive, {"scale": "dev"}),
    "logit jeffreys": (
        lambda a: families.Binomial(),
        1.0,
        SHARE,
        {"penalty": penalties.Jeffreys()},
    ),
    "probit mean bias": (
        lambda a: families.Binomial(links.Probit()),
        1.0,
        SHARE,
        {"penalty": penalties.MeanBias()},
    ),
    "gamma ml": (lambda a: families.Gamma(links.Log()), 1.0, DATA.positive, {"scale": "ml"}),
}
each_case = pytest.mark.parametrize("name", CASES)


def inputs_of(name):
    """Every input of the fit that a derivative can be taken in."""
    _, parameter, y, extra = CASES[name]
    inputs = {
        "X": DATA.X,
        "y": y,
        "offset": 0.3 * DATA.offset,
        "var_weights": DATA.weights,
        "freq_weights": DATA.weights[::-1].copy(),
        "parameter": np.asarray(parameter),
    }
    if "penalty" not in extra:
        inputs["penalty"] = np.asarray(0.4)
    return jax.tree.map(lambda v: jnp.asarray(v, float), inputs)


def statistics(name, solver=SOLVER):
    """The fit as a function of its inputs: one vector of all its statistics."""
    make, _, _, extra = CASES[name]

    def run(inputs):
        rest = {k: v for k, v in inputs.items() if k not in ("X", "y", "parameter")}
        family = make(inputs["parameter"])
        result = fit(inputs["X"], inputs["y"], family, solver=solver, **extra, **rest)
        values = [result.params, result.bse, result.scale, result.deviance, result.loglike]
        return jnp.concatenate([jnp.atleast_1d(v) for v in values])

    return run


def directions(inputs, seed=0):
    """One random direction for each input alone; y is moved only where any y is possible."""
    random = np.random.default_rng(seed)
    ways = {}
    for key, value in inputs.items():
        way = jax.tree.map(jnp.zeros_like, inputs)
        way[key] = jnp.asarray(random.standard_normal(value.shape)) * 0.3
        ways[key] = way
    ways["y"]["y"] = jnp.where((inputs["y"] > 0) & (inputs["y"] != 1), ways["y"]["y"], 0.0)
    return ways


def move(inputs, way, t):
    return jax.tree.map(lambda a, b: a + t * b, inputs, way)


def richardson(f, h):
    """The derivative of f at 0 from central differences at h and h/2, error of order h^4."""
    wide, narrow = ((f(s) - f(-s)) / (2 * s) for s in (h, h / 2))
    return (4 * narrow - wide) / 3


def stack(ways):
    return jax.tree.map(lambda *v: jnp.stack(v), *ways.values())


@each_case
def test_forward_derivatives_are_differences_of_refits_in_every_input(name):
    inputs = inputs_of(name)
    run = statistics(name)
    ways = directions(inputs)

    def pushed(way):
        return jax.jvp(run, (inputs,), (way,))[1]

    def refit(way, t):
        return run(move(inputs, way, t))

    got = jax.jit(jax.vmap(pushed))(stack(ways))
    refits = jax.jit(jax.vmap(refit, (0, None)))
    wanted = richardson(lambda t: np.asarray(refits(stack(ways), t)), 2e-3)
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    assert np.all(np.isfinite(got))
    for i, key in enumerate(ways):
        np.testing.assert_allclose(
            got[i], wanted[i], rtol=2e-6, atol=2e-7 * scale[i, 0] + 1e-9, err_msg=key
        )
    still = [k for k in ways if scale[list(ways).index(k), 0] == 0.0]
    assert set(still) <= {"parameter", "y"}


REVERSE = ("probit", "gamma power", "negative binomial", "probit mean bias", "gamma ml")


@pytest.mark.parametrize("name", REVERSE)
def test_reverse_mode_is_the_transpose_of_forward_mode(name):
    inputs, run = inputs_of(name), statistics(name)
    ways = stack(directions(inputs, seed=1))
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(9))

    @jax.jit
    def both(inputs, ways):
        back = jax.grad(lambda v: run(v) @ weights)(inputs)
        ahead = jax.vmap(lambda way: jax.jvp(run, (inputs,), (way,))[1] @ weights)(ways)
        return back, ahead

    back, ahead = both(inputs, ways)
    parts = jax.tree.map(
        lambda b, w: jnp.sum(b[None] * w, axis=tuple(range(1, w.ndim))), back, ways
    )
    np.testing.assert_allclose(sum(jax.tree.leaves(parts)), ahead, rtol=1e-9, atol=1e-10)


SECOND = ("probit", "gamma power", "negative binomial")


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_are_differences_of_first_ones(name):
    inputs, run = inputs_of(name), statistics(name)
    ways = list(directions(inputs, seed=4).values())
    way = jax.tree.map(lambda *v: sum(v), *ways)
    weights = jnp.asarray(np.random.default_rng(5).standard_normal(9))

    def slope(t):
        return jax.grad(lambda v: run(v) @ weights)(move(inputs, way, t))

    value = jax.jit(slope)
    got = jax.jit(lambda: jax.jvp(slope, (0.0,), (1.0,))[1])()
    for key in inputs:
        wanted = richardson(lambda t, key=key: np.asarray(value(t)[key]), 2e-3)
        size = np.max(np.abs(wanted))
        np.testing.assert_allclose(
            got[key], wanted, rtol=1e-5, atol=1e-6 * size + 1e-8, err_msg=key
        )


def test_hessian_is_symmetric_and_right_under_vmap_and_jit():
    X, family = DATA.X, families.Binomial(links.CLogLog())

    def loss(v, y):
        result = fit(X, y, family, offset=v[0] * DATA.offset, penalty=jnp.exp(v[1]), solver=SOLVER)
        return jnp.sum(result.params**2) + result.deviance

    points = jnp.array([[0.3, -1.0], [0.9, 0.2]])
    hessians = jax.jit(jax.vmap(jax.hessian(loss), (0, None)))(points, SHARE)
    slopes = jax.jit(jax.vmap(jax.grad(loss), (0, None)))
    for i in range(2):
        step = jnp.zeros(2).at[i].set(1.0)
        wanted = richardson(lambda h, s=step: np.asarray(slopes(points + h * s[None], SHARE)), 1e-3)
        np.testing.assert_allclose(hessians[:, i], wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(hessians, hessians.transpose(0, 2, 1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_lane_without_a_root_has_nan_derivatives_and_its_neighbours_are_exact(mode):
    X, family = np.asarray(DATA.X), families.Binomial()
    apart = (X[:, 1] > 0).astype(float)
    lanes = jnp.asarray(np.stack([SHARE, apart, SHARE[::-1]]))

    def total(s, y):
        result = fit(X, y, family, offset=s * DATA.offset)
        return jnp.sum(result.params), result.status

    derive = (jax.jacfwd if mode == "forward" else jax.jacrev)(total, has_aux=True)
    slopes, statuses = jax.jit(jax.vmap(derive, (None, 0)))(0.5, lanes)
    assert [int(s) for s in statuses] == [Status.converged, Status.separated, Status.converged]
    assert np.isnan(slopes[1])
    alone = [jax.jit(derive)(0.5, lanes[i])[0] for i in (0, 2)]
    np.testing.assert_allclose(slopes[jnp.array([0, 2])], alone, rtol=1e-9)


def test_invalid_and_singular_fits_have_nan_derivatives():
    def total(s, y, X):
        return jnp.sum(fit(X, y, families.Poisson(), offset=s * DATA.offset).params)

    derive = jax.jit(jax.grad(total))
    twice = DATA.X.copy()
    twice[:, 2] = twice[:, 1]
    assert np.isfinite(derive(1.0, DATA.count, DATA.X))
    assert np.isnan(derive(1.0, DATA.count - 5.0, DATA.X))
    assert np.isnan(derive(1.0, DATA.count, twice))


def test_the_starting_point_and_the_solver_have_no_influence_on_derivatives():
    def total(s, start, solver):
        result = fit(
            DATA.X, DATA.count, families.Poisson(links.Sqrt()), offset=s, start=start, solver=solver
        )
        return jnp.sum(result.params)

    offset = 1.0 + 0.1 * DATA.offset
    start = jnp.array([1.0, 0.1, -0.1])
    wanted = jax.grad(total)(offset, None, solvers.IRLS())
    for solver in (solvers.IRLS(), solvers.Newton(), solvers.Gradient()):
        np.testing.assert_allclose(jax.grad(total)(offset, start, solver), wanted, rtol=1e-8)
    np.testing.assert_array_equal(jax.grad(total, argnums=1)(offset, start, solvers.IRLS()), 0.0)


def test_gaussian_derivatives_are_the_closed_ones():
    X, y = DATA.X, DATA.gaussian
    jacobian = jax.jacrev(lambda y: fit(X, y).params)(y)
    np.testing.assert_allclose(jacobian, np.linalg.pinv(X), rtol=1e-10, atol=1e-12)
    by_weight = jax.jacfwd(lambda w: fit(X, y, var_weights=w).params)(DATA.weights)
    W = DATA.weights[:, None]
    bread = np.linalg.inv(X.T @ (W * X))
    resid = y - X @ (bread @ (X.T @ (DATA.weights * y)))
    np.testing.assert_allclose(by_weight, bread @ (X * resid[:, None]).T, rtol=1e-9, atol=1e-12)


def test_derivatives_in_a_weight_of_zero_are_finite():
    weights = jnp.asarray(DATA.weights).at[3].set(0.0)

    def total(w, y):
        result = fit(DATA.X, y, families.Gamma(links.Log()), var_weights=w)
        return jnp.sum(result.params) + result.deviance

    by_weight, by_y = jax.grad(total, argnums=(0, 1))(weights, jnp.asarray(DATA.positive))
    assert np.all(np.isfinite(by_weight)) and np.all(np.isfinite(by_y)) and by_y[3] == 0.0
