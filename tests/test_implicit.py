"""Derivatives of a fit, against central differences of refits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import richardson, small

from jaxglm import Status, families, fit, links, penalties, solvers

DATA = small(n=14, p=3, seed=3)
SOLVER = solvers.IRLS(tol=1e-26)
SHARE = np.array([0.0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0])

# name: (family from its parameter or link's, parameter or None, response, further arguments)
CASES = {
    "gaussian log": (lambda _: families.Gaussian(links.Log()), None, DATA.positive, {}),
    "probit": (lambda _: families.Binomial(links.Probit()), None, 0.2 + 0.6 * SHARE, {}),
    "poisson sqrt": (lambda _: families.Poisson(links.Sqrt()), None, DATA.count + 1.0, {}),
    "gamma power": (lambda a: families.Gamma(links.Power(a)), 0.6, DATA.positive + 1.0, {}),
    "inverse gaussian log": (
        lambda _: families.InverseGaussian(links.Log()),
        None,
        DATA.positive,
        {},
    ),
    "negative binomial": (lambda a: families.NegativeBinomial(a), 0.7, DATA.count, {}),
    "negative binomial link": (
        lambda a: families.NegativeBinomial(0.5, links.NegativeBinomial(a)),
        0.7,
        DATA.count + 1.0,
        {},
    ),
    "tweedie": (lambda a: families.Tweedie(a), 1.6, DATA.positive, {"scale": "dev"}),
    "logit jeffreys": (
        lambda _: families.Binomial(),
        None,
        SHARE,
        {"penalty": penalties.Jeffreys()},
    ),
    "probit mean bias": (
        lambda _: families.Binomial(links.Probit()),
        None,
        SHARE,
        {"penalty": penalties.MeanBias()},
    ),
    "gamma ml": (lambda _: families.Gamma(links.Log()), None, DATA.positive, {"scale": "ml"}),
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
    }
    if parameter is not None:
        inputs["parameter"] = np.asarray(parameter)
    if "penalty" not in extra:
        inputs["penalty"] = np.asarray(0.4)
    return jax.tree.map(lambda v: jnp.asarray(v, float), inputs)


def statistics(name, solver=SOLVER):
    """The fit as a function of its inputs: one vector of all its statistics."""
    make, _, _, extra = CASES[name]

    def run(inputs):
        rest = {k: v for k, v in inputs.items() if k not in ("X", "y", "parameter")}
        family = make(inputs.get("parameter"))
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
    inside = (inputs["y"] > 0) & (inputs["y"] != 1)
    ways["y"]["y"] = jnp.where(inside, ways["y"]["y"], 0.0)
    return ways if np.any(inside) else {k: way for k, way in ways.items() if k != "y"}


def move(inputs, way, t):
    return jax.tree.map(lambda a, b: a + t * b, inputs, way)


def assert_derivatives(got, wanted, message=""):
    """Equal to 1e-8, a hundredth of what is promised, or to 1e-9 of the largest."""
    size = np.max(np.abs(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9 * size + 1e-12, err_msg=message)


def stack(ways):
    return jax.tree.map(lambda *v: jnp.stack(v), *ways.values())


@cache
def pushed(name):
    """The derivatives of all statistics along each direction, by forward mode."""
    inputs, run = inputs_of(name), statistics(name)
    push = jax.vmap(lambda way: jax.jvp(run, (inputs,), (way,))[1])
    return np.asarray(jax.jit(push)(stack(directions(inputs))))


@each_case
def test_forward_derivatives_are_differences_of_refits_in_every_input(name):
    inputs, run = inputs_of(name), statistics(name)
    ways = directions(inputs)
    refits = jax.jit(jax.vmap(lambda way, t: run(move(inputs, way, t)), (0, None)))
    wanted = richardson(lambda t: np.asarray(refits(stack(ways), t)))
    for i, key in enumerate(ways):
        assert np.any(wanted[i]), key
        assert_derivatives(pushed(name)[i], wanted[i], key)


REVERSE = ("probit", "gamma power", "negative binomial", "probit mean bias", "gamma ml")


@pytest.mark.parametrize("name", REVERSE)
def test_reverse_mode_is_the_transpose_of_forward_mode(name):
    inputs, run = inputs_of(name), statistics(name)
    ahead = pushed(name)
    weights = np.random.default_rng(2).standard_normal(ahead.shape[1])
    back = jax.jit(jax.grad(lambda v: run(v) @ weights))(inputs)
    for i, way in enumerate(directions(inputs).values()):
        along = sum(np.vdot(back[key], way[key]) for key in inputs)
        np.testing.assert_allclose(along, ahead[i] @ weights, rtol=1e-9, atol=1e-10)


SECOND = (*REVERSE[:3], "negative binomial link", "tweedie")


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
        wanted = richardson(lambda t, key=key: np.asarray(value(t)[key]))
        assert_derivatives(got[key], wanted, key)


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
        wanted = richardson(lambda h, s=step: np.asarray(slopes(points + h * s[None], SHARE)))
        assert_derivatives(hessians[:, i], wanted)
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
    family = families.Poisson(links.Sqrt())

    def slopes(start, solver):
        def total(offset, start):
            result = fit(DATA.X, DATA.count, family, offset=offset, start=start, solver=solver)
            return jnp.sum(result.params)

        by = (0,) if start is None else (0, 1)
        return jax.jit(jax.grad(total, by))(1.0 + 0.1 * DATA.offset, start)

    (wanted,) = slopes(None, solvers.IRLS())
    for solver in (solvers.IRLS(), solvers.Newton(), solvers.Gradient()):
        by_offset, by_start = slopes(jnp.array([1.0, 0.1, -0.1]), solver)
        np.testing.assert_allclose(by_offset, wanted, rtol=1e-8)
        np.testing.assert_array_equal(by_start, 0.0)


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
