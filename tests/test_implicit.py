"""Derivatives of a fit where there is more to say than that they are right; see test_derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import richardson, small

from jaxglm import Status, families, fit, fit_many, links, solvers

DATA = small(n=14, p=3, seed=3)
SOLVER = solvers.IRLS(tol=1e-26)
SHARE = np.array([0.0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0])


def assert_derivatives(got, wanted, message=""):
    """Equal to 1e-8, a hundredth of what is promised, or to 1e-9 of the largest."""
    size = np.max(np.abs(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9 * size + 1e-12, err_msg=message)


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


def test_second_derivatives_pass_through_the_chunks_of_a_batch():
    # Chunks are a scan, in which a rule that JAX forgets would leave a constant root.
    lanes = jnp.stack([DATA.count, DATA.count + 1.0, 2.0 * DATA.count])

    def loss(many):
        def total(s):
            found = many(lanes, DATA.X, 1.0 + s * DATA.offset)
            return jnp.sum(found.params**2) + jnp.sum(found.bse)

        return jax.jit(jax.grad(jax.grad(total)))(0.7)

    def chunked(y, X, offset):
        return fit_many(X, y, families.Poisson(), offset=offset, chunk_size=2)

    def mapped(y, X, offset):
        return jax.vmap(lambda y: fit(X, y, families.Poisson(), offset=offset))(y)

    np.testing.assert_allclose(loss(chunked), loss(mapped), rtol=1e-10)
