import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LINKS, MAKE_LINK, logistic_cdf, relative_error
from conftest import reference

from jaxglm import links

TABLE = reference("links")["links"]
each_link = pytest.mark.parametrize("row", LINKS, ids=lambda row: row.name)
each_reference = pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row['link']} {row['link_parameter'] or ''}".strip()
)


def onto_unit(link):
    return link.range.low == 0.0 and link.range.high == 1.0


@each_link
def test_link_undoes_its_inverse(row):
    eta = row.sample()
    np.testing.assert_allclose(row.link(row.link.inverse(eta)), eta, rtol=1e-11, atol=1e-11)


@each_link
def test_inverse_deriv_is_the_derivative_of_inverse(row):
    eta = row.sample()
    step = 1e-3
    shifts = np.array([-2.0, -1.0, 1.0, 2.0]) * step
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * step)
    inside = eta[1:-1]
    wanted = sum(w * row.link.inverse(inside + h) for w, h in zip(weights, shifts, strict=True))
    np.testing.assert_allclose(row.link.inverse_deriv(inside), wanted, rtol=1e-8, atol=1e-11)


@each_link
def test_inverse_deriv_agrees_with_automatic_differentiation(row):
    eta = jnp.asarray(row.sample())
    wanted = jax.vmap(jax.grad(row.link.inverse))(eta)
    np.testing.assert_allclose(row.link.inverse_deriv(eta), wanted, rtol=1e-9, atol=1e-300)
    second = jax.vmap(jax.grad(row.link.inverse_deriv))(eta)
    np.testing.assert_allclose(row.link.inverse_deriv2(eta), second, rtol=1e-12, atol=1e-300)


@each_link
def test_derivatives_of_the_two_directions_are_reciprocal(row):
    eta = row.sample()
    mu = row.link.inverse(eta)
    product = row.link.deriv(mu) * row.link.inverse_deriv(eta)
    np.testing.assert_allclose(product, 1.0, rtol=1e-10)
    # (g^-1)'' = -g'' (g^-1)'^3
    wanted = -row.link.deriv2(mu) * row.link.inverse_deriv(eta) ** 3
    np.testing.assert_allclose(row.link.inverse_deriv2(eta), wanted, rtol=1e-9, atol=1e-9)


@each_link
def test_mean_and_complement_sum_to_one(row):
    eta = row.sample()
    total = row.link.inverse(eta) + row.link.complement(eta)
    np.testing.assert_allclose(total, 1.0, rtol=1e-15, atol=1e-14)


@each_link
def test_direction_is_the_same_everywhere(row):
    sign = np.sign(row.link.inverse_deriv(row.sample()))
    assert np.all(np.abs(sign) == 1.0) and np.all(sign == sign[0])


@each_link
def test_outside_the_domain_the_mean_is_nan(row):
    domain = row.link.domain
    outside = [end + side for end, side in ((domain.low, -1.0), (domain.high, 1.0))]
    outside = np.array([x for x in outside if np.isfinite(x)])
    assert np.all(np.isnan(row.link.inverse(outside)))
    assert np.all(np.isnan(row.link.inverse_deriv(outside)))
    assert np.all(np.asarray(row.link.domain.contains(jnp.asarray(row.sample()))))


@each_link
def test_infinite_ends_are_reached_only_in_the_limit(row):
    for mu in row.link.infinite_at:
        assert not np.isfinite(row.link(mu)) or row.link(mu) == row.link.domain.high


@each_reference
def test_six_methods_match_the_reference(row):
    link = MAKE_LINK[row["link"]](row["link_parameter"])
    eta, mu = np.array(row["eta"]), np.array(row["mu"])
    for name in ("inverse", "complement", "inverse_deriv", "inverse_deriv2"):
        if row[name] is not None:
            error = relative_error(getattr(link, name)(eta), row[name])
            assert error < 1e-12, f"{name}: {error}"
    for name in ("value", "deriv", "deriv2"):
        got = (link if name == "value" else getattr(link, name))(mu)
        error = relative_error(got, row[name])
        assert error < 1e-12, f"{name}: {error}"


@each_reference
def test_logarithms_of_mean_and_complement_match_the_reference(row):
    link = MAKE_LINK[row["link"]](row["link_parameter"])
    close = {"rtol": 2e-12, "atol": 1e-15}
    mean, _ = link.at(jnp.asarray(row["eta"]))
    inverse = np.array(row["inverse"])
    if row["complement"] is None:
        positive = inverse > 0
        np.testing.assert_allclose(mean.log[positive], np.log(inverse[positive]), **close)
        below = inverse < 1
        wanted = np.log1p(-inverse[below])
        np.testing.assert_allclose(mean.log_complement[below], wanted, **close)
        return
    rest = np.array(row["complement"])
    for got, this, other in ((mean.log, inverse, rest), (mean.log_complement, rest, inverse)):
        inside = this > 0
        low = this < 0.5
        wanted = np.where(
            low, np.log(np.where(inside, this, 1.0)), np.log1p(-np.where(low, 0, other))
        )
        np.testing.assert_allclose(got[inside], wanted[inside], **close)


@pytest.mark.dtype
@each_link
def test_far_out_everything_is_finite_in_single_precision(row):
    eta = jnp.linspace(*row.far, 33, dtype=jnp.float32)
    mean, slope = row.link.at(eta)
    assert {value.dtype for value in (*mean, slope)} == {jnp.dtype(jnp.float32)}
    if row.name.startswith("cdf"):
        # A distribution given by its cdf alone has no logarithms of its tails to offer.
        mean = mean._replace(log=mean.mu, log_complement=mean.complement)
    fields = mean if onto_unit(row.link) else (mean.mu, mean.complement)
    for value in (*fields, slope):
        assert np.all(np.isfinite(value))


@pytest.mark.dtype
@each_link
def test_gradients_far_out_and_at_zero_are_finite(row):
    eta = jnp.linspace(*row.far, 33, dtype=jnp.float32)
    middle = jnp.zeros(1, jnp.float32) if row.far[0] < 0 < row.far[1] else eta[:1]
    for name in ("inverse", "complement", "inverse_deriv"):
        method = getattr(row.link, name)
        slopes = jax.vmap(jax.grad(method))(jnp.concatenate([eta, middle]))
        assert np.all(np.isfinite(slopes)), name


@each_link
def test_gradients_of_the_logarithms_are_slope_over_mean(row):
    eta = jnp.asarray(row.sample())
    fields = ("log", "log_complement") if onto_unit(row.link) else ("log",)
    eta = eta[np.asarray(row.link.inverse(eta)) > 0]
    mean, slope = row.link.at(eta)
    for name in fields:
        got = jax.vmap(jax.grad(lambda e, n=name: getattr(row.link.at(e)[0], n)))(eta)
        wanted = slope / mean.mu if name == "log" else -slope / mean.complement
        np.testing.assert_allclose(got, wanted, rtol=1e-9)


@pytest.mark.parametrize("power", [0.5, -1.3])
def test_power_is_differentiable_in_its_power(power):
    mu, eta = 1.7, 1.4
    got = jax.grad(lambda p: links.Power(p)(mu))(power)
    np.testing.assert_allclose(got, mu**power * np.log(mu), rtol=1e-13)
    got = jax.grad(lambda p: links.Power(p).inverse(eta))(power)
    np.testing.assert_allclose(got, -(eta ** (1 / power)) * np.log(eta) / power**2, rtol=1e-13)


@pytest.mark.parametrize(
    ("special", "power"),
    [(links.Identity(), 1.0), (links.Sqrt(), 0.5), (links.InversePower(), -1.0)]
    + [(links.InverseSquared(), -2.0)],
)
def test_power_meets_its_named_special_cases(special, power):
    eta = np.linspace(0.3, 3.0, 7)
    for name in ("inverse", "inverse_deriv", "inverse_deriv2", "__call__", "deriv", "deriv2"):
        got, wanted = getattr(links.Power(power), name)(eta), getattr(special, name)(eta)
        np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("given", "named", "rtol"),
    [
        (links.CDFLink(jax.scipy.stats.norm), links.Probit(), 1e-12),
        (links.CDFLink(logistic_cdf), links.Logit(), 1e-11),
        (links.CDFLink(jax.scipy.stats.cauchy), links.Cauchy(), 1e-12),
    ],
    ids=["norm", "logistic", "cauchy"],
)
def test_link_from_a_distribution_is_the_named_link(given, named, rtol):
    eta = np.linspace(-5.0, 5.0, 21)
    mu = named.inverse(eta)
    for name in ("inverse", "complement", "inverse_deriv", "inverse_deriv2"):
        got, wanted = getattr(given, name)(eta), getattr(named, name)(eta)
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-15)
    for name in ("__call__", "deriv", "deriv2"):
        got, wanted = getattr(given, name)(mu), getattr(named, name)(mu)
        np.testing.assert_allclose(got, wanted, rtol=max(rtol, 1e-9), atol=1e-12)


def test_link_from_a_cdf_alone_inverts_both_tails():
    mu = np.array([1e-12, 1e-6, 0.3, 1.0 - 1e-6])
    got = links.CDFLink(logistic_cdf)(mu)
    np.testing.assert_allclose(got, np.log(mu) - np.log1p(-mu), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: links.Power(0.0), "power"),
        (lambda: links.Power(float("nan")), "power"),
        (lambda: links.NegativeBinomial(0.0), "alpha"),
        (lambda: links.NegativeBinomial(-1.0), "alpha"),
        (lambda: links.NegativeBinomial(float("nan")), "alpha"),
        (lambda: links.Power(float("inf")), "power"),
    ],
)
def test_bad_parameters_raise_by_name(make, argument):
    with pytest.raises(ValueError, match=f"{argument}="):
        make()


@pytest.mark.dtype
@each_link
def test_integers_are_promoted(row):
    eta = 1 if row.link.domain.contains(jnp.asarray(1.0)) else -1
    wanted = row.link.inverse(float(eta))
    assert row.link.inverse(np.int32(eta)).dtype == jnp.result_type(float)
    np.testing.assert_allclose(row.link.inverse(np.int32(eta)), wanted, rtol=1e-6)


def test_link_parameters_are_leaves_that_can_be_mapped():
    powers = jnp.array([0.5, 2.0, -1.0])
    got = jax.vmap(lambda p: links.Power(p).inverse(1.7))(powers)
    np.testing.assert_allclose(got, 1.7 ** (1.0 / powers), rtol=1e-14)
    alphas = jnp.array([0.5, 2.0])
    got = jax.vmap(lambda a: links.NegativeBinomial(a).inverse(-0.7))(alphas)
    np.testing.assert_allclose(got, 1.0 / (alphas * np.expm1(0.7)), rtol=1e-14)
