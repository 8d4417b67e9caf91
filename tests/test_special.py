"""Special functions agree with mpmath at every size of argument, and so do their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference

from jaxglm import _loggamma as loggamma
from jaxglm import _special as special
from jaxglm._likelihood import log_poisson_peak

SPECIAL = reference("special")
TABLES = SPECIAL["tables"]
INF = np.inf


def columns(name):
    return [np.array([float(v) for v in column]) for column in zip(*TABLES[name], strict=True)]


def assert_close(got, wanted, rtol, floor=0.0):
    """Relative to max(floor, |wanted|)."""
    scale = np.maximum(np.abs(wanted), max(floor, 1e-290))
    np.testing.assert_array_less(np.abs(np.asarray(got) - wanted) / scale, rtol)


def chi2_tails(x, df):
    return special.chi2_cdf(x, df), special.chi2_sf(x, df)


def f_tails(x, d1, d2):
    return special._f_tails(*loggamma.align(x, d1, d2))


def t_cdf_mirrored(t, df):
    return special.t_cdf(-t, df)


def nb_derivatives(y, alpha):
    first = jax.grad(loggamma.nb_peak_excess, 1)
    both = jax.jit(jax.vmap(lambda *a: (first(*a), jax.grad(first, 1)(*a))))
    return both(y, alpha)


VALUES = [
    ("stirling_remainder", loggamma.stirling_remainder, 2e-15, 0),
    ("poisson_peak", jax.jit(log_poisson_peak), 2e-15, 1),
    ("nb_peak_excess", loggamma.nb_peak_excess, 1e-13, 1),
    ("nb_derivatives", nb_derivatives, 2e-12, 1),
    ("normal_sf", special.normal_sf, 3e-13, 0),
    ("log_normal_cdf", special.log_normal_cdf, 1e-13, 0),
    ("t_sf", special.t_sf, 1e-12, 0),
    ("t_sf", t_cdf_mirrored, 1e-12, 0),
    ("f_tails", f_tails, 2e-12, 0),
    ("chi2_tails", chi2_tails, 2e-12, 0),
    ("tweedie_log_density", special.tweedie_log_density, 1e-12, 1),
    ("incomplete_beta_23", special.incomplete_beta_23, 1e-13, 0),
    ("hyp2f1_anscombe", special.hyp2f1_anscombe, 1e-13, 0),
]


@pytest.mark.parametrize(("name", "function", "rtol", "floor"), VALUES)
def test_values_agree_with_mpmath(name, function, rtol, floor):
    table = columns(name)
    n_results = 2 if name in ("nb_derivatives", "f_tails", "chi2_tails") else 1
    got = function(*table[:-n_results])
    for value, wanted in zip(got if n_results == 2 else [got], table[-n_results:], strict=True):
        assert_close(value, wanted, rtol, floor)


def test_stirlings_series_is_the_reference_scripts():
    np.testing.assert_allclose(loggamma._STIRLING, SPECIAL["stirling_series"], rtol=1e-15)


def test_the_peak_of_a_count_depends_on_no_neighbour():
    counts = np.arange(1.0, 300.0)
    alone = jax.jit(jax.vmap(log_poisson_peak))(counts[:255])
    beside = jax.jit(jax.vmap(log_poisson_peak))(np.append(counts, 0.5))
    np.testing.assert_array_equal(beside[:255], alone)


def test_the_peak_has_its_derivatives_inside_a_scan():
    y = jnp.array([0.0, 2.0, 5.0, 300.0, 0.7])
    direct = jax.hessian(lambda y: jnp.sum(log_poisson_peak(y)))(y)
    within = jax.hessian(lambda y: jnp.sum(jax.lax.map(log_poisson_peak, y)))(y)
    np.testing.assert_allclose(within, direct, rtol=1e-12)
    # psi'(y + 1) - 1/y, with the sign turned.
    assert_close(-jnp.diag(direct)[1], np.pi**2 / 6 - 1 - 1 / 4 - 1 / 2, 1e-14)


@pytest.mark.parametrize(
    ("name", "quantile"),
    [("chi2_tails", special.chi2_quantile), ("f_tails", special.f_quantile)],
)
def test_quantiles_invert_the_distribution(name, quantile):
    x, *df, p, _ = columns(name)
    told = (p > 1e-290) & (p < 0.9)
    assert_close(quantile(p[told], *[d[told] for d in df]), x[told], 1e-12)


def test_t_quantile_inverts_the_distribution():
    t, df, p = columns("t_sf")
    told = p < 0.49
    assert_close(special.t_quantile(p[told], df[told]), -t[told], 1e-12)
    assert_close(special.t_quantile(1 - 1e-3, df[told]), -special.t_quantile(1e-3, df[told]), 1e-10)


@pytest.mark.parametrize("quantile", [special.t_quantile, special.chi2_quantile])
def test_quantiles_at_the_edges(quantile):
    low, high, outside, above = quantile(np.array([0.0, 1.0, -0.1, 1.1]), 3.0)
    assert low in (0.0, -INF) and high == INF and np.isnan(outside) and np.isnan(above)


def test_two_sided_tails_are_twice_the_tail():
    z = np.array([-3.0, -0.5, 0.0, 2.0])
    np.testing.assert_allclose(special.two_sided_normal(z), 2 * special.normal_sf(np.abs(z)))
    np.testing.assert_allclose(special.two_sided_t(z, 4.0), 2 * special.t_sf(np.abs(z), 4.0))
    np.testing.assert_allclose(special.two_sided_t(z, INF), special.two_sided_normal(z), rtol=1e-13)


def test_deviance_term_is_exact_near_equality():
    mu = np.array([1e-3, 1.0, 1e6])
    gap = 1e-9 * mu
    wanted = gap**2 / (2 * mu)
    assert_close(loggamma.deviance_term(mu + gap, mu), wanted, 3e-7)
    np.testing.assert_array_equal(loggamma.deviance_term(np.zeros(3), mu), mu)


@pytest.mark.parametrize("near", [1.0, 2.0])
def test_tweedie_deviance_is_smooth_through_poisson_and_gamma(near):
    y, mu = 1.7, 0.6
    slope = jax.jit(jax.grad(special.tweedie_deviance, 2))
    values = [(special.tweedie_deviance(y, mu, p), slope(y, mu, p)) for p in (near, near + 1e-9)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-7)
    poisson = 2 * loggamma.deviance_term(y, mu)
    gamma = 2 * loggamma.deviance_term(1.0, y / mu)
    np.testing.assert_allclose(values[0][0], poisson if near == 1 else gamma, rtol=1e-13)


def test_tweedie_mass_and_density_sum_to_one():
    mu, phi, p = 1.3, 0.7, 1.4
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y, w = 20 * (nodes + 1), 20 * weights
    density = np.exp(special.tweedie_log_density(y, mu, phi, p))
    mass = np.exp(special.tweedie_log_density(0.0, mu, phi, p))
    np.testing.assert_allclose(mass + w @ density, 1, rtol=1e-5)
    np.testing.assert_allclose(w @ (y * density), mu, rtol=1e-5)


SMOOTH = [
    (special.t_sf, ([1.3, -0.4, 0.0], [5.0, 2.0, 3.0])),
    (special.f_sf, ([1.3, 0.2], [4.0, 3.0], [9.0, 6.0])),
    (special.chi2_sf, ([2.0, 7.0], [4.0, 3.0])),
    (special.f_quantile, ([0.3, 0.8], [5.0, 4.0], [7.0, 2.0])),
    (special.t_quantile, ([0.2, 0.5, 0.95], [6.0, 6.0, 2.0])),
    (special.log_normal_cdf, ([1.1, -2.0],)),
    (loggamma.deviance_term, ([2.0, 2.0, 2.0], [2.7, 9.0, 0.3])),
    (special.tweedie_log_density, ([1.3, 0.3], [1.0, 1.0], [0.4, 0.02], [1.6, 1.1])),
    (special.hyp2f1_anscombe, ([0.7, 0.02],)),
    (special.incomplete_beta_23, ([0.3, 0.8],)),
]
named = pytest.mark.parametrize(
    ("function", "at"), SMOOTH, ids=lambda v: getattr(v, "__name__", "")
)


def slopes_of(function, n):
    """The elementwise slopes in all n arguments, by reverse mode."""
    return jax.grad(lambda *at: jnp.sum(function(*at)), tuple(range(n)))


def central(function, at, i, h=2e-4):
    """Fourth-order difference quotients in the i-th argument, elementwise."""
    steps = np.repeat([-2.0, -1.0, 1.0, 2.0], len(at[0])) * h
    moved = [np.tile(v, 4) + steps * (k == i) for k, v in enumerate(at)]
    ends = np.asarray(function(*moved)).reshape(4, -1)
    return np.array([1.0, -8.0, 8.0, -1.0]) @ ends / (12 * h)


@named
def test_slopes_agree_with_differences_in_both_modes(function, at):
    at, compiled = [np.array(v) for v in at], jax.jit(function)
    reverse = jax.jit(slopes_of(function, len(at)))(*at)
    forward = jax.jit(lambda at, dots: jax.jvp(function, at, dots)[1])
    for i, slope in enumerate(reverse):
        wanted = central(compiled, at, i)
        dots = [np.full_like(v, k == i) for k, v in enumerate(at)]
        np.testing.assert_allclose(slope, wanted, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(forward(at, dots), wanted, rtol=1e-7, atol=1e-9)


@named
def test_second_derivatives_in_the_first_argument(function, at):
    at = [np.array(v) for v in at]
    slope = jax.grad(lambda *a: jnp.sum(function(*a)))
    second = jax.jit(jax.grad(lambda *a: jnp.sum(slope(*a))))(*at)
    np.testing.assert_allclose(second, central(jax.jit(slope), at, 0), rtol=1e-6, atol=1e-7)


def test_tweedie_hessian_agrees_with_differences():
    function, at = special.tweedie_log_density, (1.3, 1.0, 0.4, 1.6)
    hessian = jax.jit(jax.hessian(function, (1, 2, 3)))(*at)
    slopes = jax.jit(slopes_of(function, 4))
    arrays = [np.array([v]) for v in at]
    wanted = [
        [central(lambda *a, i=i: slopes(*a)[i], arrays, j)[0] for j in (1, 2, 3)] for i in (1, 2, 3)
    ]
    np.testing.assert_allclose(np.array(hessian), wanted, rtol=1e-6, atol=1e-8)


def test_functions_broadcast_and_map():
    t, df = np.linspace(-3, 3, 4), np.array([1.0, 4.0, INF])
    grid = special.t_sf(t[:, None], df)
    mapped = jax.vmap(lambda a: jax.vmap(lambda b: special.t_sf(a, b))(df))(t)
    np.testing.assert_allclose(mapped, grid, rtol=1e-14)


DOMAIN = [
    (special.t_sf, ([0.0, -2.0, 30.0, 1e9], [1.0, 5.0, 1e6, 3.0])),
    (special.chi2_sf, ([0.0, 1e-30, 50.0, INF], [3.0, 1.0, 2.0, 5.0])),
    (special.f_sf, ([0.0, 1e-30, 50.0, INF], [3.0, 1.0, 2.0, 5.0], [7.0, INF, 4.0, 5.0])),
    (special.t_quantile, ([1e-10, 0.3, 0.5, 0.9], [3.0, 1.0, 7.0, INF])),
    (special.f_quantile, ([1e-10, 0.3, 0.5, 0.9], [3.0, 1.0, 2.0, 5.0], [7.0, INF, 4.0, 5.0])),
    (loggamma.nb_peak_excess, ([0.0, 1.0, 1e8, 3.0, 0.0], [0.0, 1e-30, 0.1, 1e6, 2.0])),
    (loggamma.deviance_term, ([0.0, 1.0, 1e-20, 1e6], [1.0, 1e-6, 3.0, 1e6])),
    (
        special.tweedie_log_density,
        ([0.0, 1e-20, 1e-3, 1.0, 1e4], [2.0] * 5, [0.5] * 5, [1.01, 1.01, 1.5, 1.99, 1.5]),
    ),
    (special.log_normal_cdf, ([-1e5, -36.0, -12.5, -11.5, 0.0, 8.0, 40.0],)),
    (special.incomplete_beta_23, ([0.0, 1e-20, 0.5, 1.0],)),
    (special.hyp2f1_anscombe, ([0.0, 1e-20, 0.04, 0.06, 1e10],)),
]


@pytest.mark.dtype
@pytest.mark.parametrize("dtype", [jnp.float32, None], ids=["float32", "default"])
@pytest.mark.parametrize(("function", "at"), DOMAIN, ids=lambda v: getattr(v, "__name__", ""))
def test_values_and_slopes_are_finite_over_the_whole_domain(function, at, dtype):
    arrays = [jnp.asarray(a, dtype or float) for a in at]
    value = function(*arrays)
    assert value.dtype == arrays[0].dtype
    assert np.isfinite(value).all()
    every = tuple(range(len(arrays)))
    slopes = jax.jit(jax.grad(lambda *a: jnp.sum(function(*a)), every))(*arrays)
    for slope, array in zip(slopes, arrays, strict=True):
        assert np.isfinite(slope[np.isfinite(array)]).all()


@pytest.mark.dtype
@pytest.mark.parametrize(
    ("name", "function", "floor"),
    [
        (n, f, fl)
        for n, f, _, fl in VALUES
        if n in ("normal_sf", "t_sf", "nb_peak_excess", "tweedie_log_density", "hyp2f1_anscombe")
    ],
)
def test_float32_holds_its_digits(name, function, floor):
    *arguments, wanted = columns(name)
    tame = (np.abs(wanted) < 1e4) & ((np.abs(wanted) > 1e-20) | (floor > 0))
    for a in arguments:
        tame &= (np.abs(a) < 1e4) | np.isinf(a)
    got = function(*[jnp.asarray(a[tame], jnp.float32) for a in arguments])
    assert_close(got, wanted[tame], 3e-5, floor)
