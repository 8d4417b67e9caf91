"""Families and links from one function: closed forms, direct maximization, finite differences."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import digamma, gammaln, logsumexp, polygamma, xlogy
from scipy import optimize, stats

from jaxglm import GLM, diagnostics, families, fit, fit_many, links, solvers
from jaxglm.families import Interval
from jaxglm.fit import prepare
from jaxglm.links import Mean
from jaxglm.model import eta_score, expected_weight, observed_weight

N = 80
RNG = np.random.default_rng(5)
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 2))])
COUNTS = RNG.poisson(np.exp(X @ [0.6, 0.4, -0.3])).astype(float)
CHANCES = 1.0 / (1.0 + np.exp(-X @ [0.3, 0.5, -0.7]))
COINS = RNG.binomial(1, CHANCES).astype(float)
SHARES = RNG.beta(8.0 * CHANCES, 8.0 * (1.0 - CHANCES))
WILD = X @ [1.0, 0.5, -0.5] + RNG.standard_cauchy(N)
SIZES = np.exp(X @ [0.5, 0.3, -0.2]) * RNG.gamma(4.0, 0.25, N)
PRECISION, NU = 8.0, 1.7


def log_poisson(y, mu):
    return xlogy(y, mu) - mu - gammaln(y + 1)


def log_beta(y, mu, phi):
    a, b = mu * phi, (1 - mu) * phi
    norm = gammaln(phi) - gammaln(a) - gammaln(b)
    return norm + (a - 1) * jnp.log(y) + (b - 1) * jnp.log1p(-y)


def log_cauchy(y, mu, width):
    return -jnp.log1p(((y - mu) / width) ** 2) - jnp.log(jnp.pi * width)


def log_binomial(y, mu, m):
    choose = gammaln(m + 1) - gammaln(y + 1) - gammaln(m - y + 1)
    return choose + xlogy(y, mu / m) + xlogy(m - y, 1 - mu / m)


def log_negative_binomial(y, mu, alpha):
    k = 1 / alpha
    norm = gammaln(y + k) - gammaln(k) - gammaln(y + 1)
    return norm - k * jnp.log1p(alpha * mu) + xlogy(y, alpha * mu / (1 + alpha * mu))


def log_norm(theta, nu):
    k = jnp.arange(100)
    return logsumexp(theta * k - nu * gammaln(k + 1))


def log_base(y, nu):
    return -nu * gammaln(y + 1)


def log_gamma_norm(theta):
    return -jnp.log(-theta)


def aranda_ordaz(eta, shape):
    return 1 - (1 + shape * jnp.exp(eta)) ** (-1 / shape)


def root_power(eta, power):
    return eta ** (1 / power)


def power_of_mean(mu, power):
    return mu**power


POISSON = families.from_log_prob(log_poisson, support=(0, np.inf), discrete=True)
BETA = families.from_log_prob(log_beta, PRECISION, support=(0, 1))
CAUCHY = families.from_log_prob(log_cauchy, 1.0, support=(-np.inf, np.inf))


def com_poisson(nu, link=None):
    return families.from_cumulant(log_norm, nu, support=(0, np.inf), log_base=log_base, link=link)


def close(got, wanted, rtol):
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol)


def with_slope(fn):
    """fn and its derivative, by one compilation."""
    return jax.jit(lambda t: jax.jvp(fn, (t,), (jnp.ones_like(t),)))


def assert_slope(both, at, step=1e-4):
    """The derivative is the difference of refits."""
    (high, _), (low, _) = both(jnp.asarray(at + step)), both(jnp.asarray(at - step))
    close(both(jnp.asarray(at))[1], (high - low) / (2 * step), 1e-6)


# Links


LINKS = {
    "logit": (
        links.from_inverse(lambda eta: 1 / (1 + jnp.exp(-eta)), range=(0, 1)),
        links.Logit(),
        np.linspace(-5.0, 5.0, 9),
    ),
    "aranda_ordaz": (
        links.from_inverse(aranda_ordaz, 1.0, range=(0, 1)),
        links.Logit(),
        np.linspace(-5.0, 5.0, 9),
    ),
    "decreasing": (
        links.from_inverse(root_power, -2.0, domain=(0, np.inf), range=(0, np.inf)),
        links.InverseSquared(),
        np.geomspace(1e-3, 1e3, 9),
    ),
    "far away": (
        links.from_inverse(lambda eta: jnp.exp(eta - 500.0), range=(0, np.inf)),
        links.from_inverse(lambda eta, shift: jnp.exp(eta - shift), 500.0, range=(0, np.inf)),
        np.linspace(480.0, 510.0, 4),
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_from_its_inverse_is_the_link(name):
    own, link, eta = LINKS[name]
    mu = link.inverse(eta)
    six = jax.jit(
        lambda link: (
            link.g(mu),
            link.deriv(mu),
            link.deriv2(mu),
            link.inverse(eta),
            link.inverse_deriv(eta),
            link.inverse_deriv2(eta),
        )
    )
    found = six(own)
    close(found[0], eta, 1e-11)
    for got, wanted in zip(found, six(link), strict=True):
        close(got, wanted, 1e-8)


def test_a_link_from_its_inverse_ends_where_it_was_told():
    link = LINKS["decreasing"][0]
    assert np.isnan(link.inverse([-1.0, 0.0])).all() and np.isnan(link([-1.0, np.nan])).all()
    assert LINKS["logit"][0].infinite_at == (0.0, 1.0) and link.infinite_at == ()
    with pytest.raises(ValueError, match="must increase"):
        links.from_inverse(aranda_ordaz, 1.0, range=(1, 0))


def test_a_parameter_of_a_link_can_be_learnt():
    def params(shape):
        link = links.from_inverse(aranda_ordaz, shape, range=(0, 1))
        return fit(X, COINS, families.Binomial(link)).params

    both = with_slope(params)
    assert_slope(both, 1.3)
    close(both(jnp.asarray(1.0))[0], fit(X, COINS, families.Binomial()).params, 1e-9)


# Log densities


def test_a_poisson_of_ones_own_is_poisson():
    own, wanted = fit(X, COUNTS, POISSON), fit(X, COUNTS, families.Poisson())
    for name in ("params", "bse", "deviance", "loglike", "scale", "df_resid"):
        close(getattr(own, name), getattr(wanted, name), 1e-9)
    assert own.converged and type(POISSON.link) is links.Log


CHANCE = jnp.asarray([0.02, 0.3, 0.5, 0.93])
RATES = jnp.asarray([0.01, 1.0, 40.0, 64.0, 100.0, 1e4])
FEW = jnp.asarray([0.5, 4.0, 199.0])
MOMENTS = {
    "poisson": (POISSON, RATES, RATES, 1 / RATES),
    "negative binomial": (
        families.from_log_prob(log_negative_binomial, 0.8, support=(0, np.inf), discrete=True),
        RATES[:-1],
        RATES[:-1] * (1 + 0.8 * RATES[:-1]),
        1 / (RATES[:-1] * (1 + 0.8 * RATES[:-1])),
    ),
    "binomial": (
        families.from_log_prob(log_binomial, 200.0, support=(0, 200), discrete=True),
        FEW,
        FEW * (1 - FEW / 200),
        1 / (FEW * (1 - FEW / 200)),
    ),
    "beta": (
        BETA,
        CHANCE,
        CHANCE * (1 - CHANCE) / (1 + PRECISION),
        PRECISION**2 * (polygamma(1, CHANCE * 8.0) + polygamma(1, (1 - CHANCE) * 8.0)),
    ),
    "cauchy": (CAUCHY, RATES, None, jnp.full_like(RATES, 0.5)),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_are_those_of_the_distribution(name):
    family, mu, variance, information = MOMENTS[name]
    found = jax.jit(lambda mu: (family.variance(mu), family.inverse_information_at(Mean.of(mu))))
    got, inverse = found(mu)
    np.testing.assert_allclose(inverse * information, 1.0, rtol=1e-8)
    if variance is not None:
        np.testing.assert_allclose(got, variance, rtol=1e-8)


def test_deviance_is_zero_at_the_best_mean_and_poissons():
    y, mu = jnp.asarray([0.0, 0.0, 2.0, 7.0, 900.0]), jnp.asarray([0.1, 3.0, 2.0, 4.0, 1000.0])
    both = jax.jit(lambda family: (family.unit_deviance(y, mu), family.loglike_obs(y, mu)))
    for got, wanted in zip(both(POISSON), both(families.Poisson()), strict=True):
        close(got, wanted, 1e-10)


def test_beta_regression_is_the_root_of_its_score():
    def score(beta):
        mu = 1.0 / (1.0 + np.exp(-X @ beta))
        centre = digamma(mu * PRECISION) - digamma((1.0 - mu) * PRECISION)
        z = np.log(SHARES) - np.log1p(-SHARES) - np.asarray(centre)
        return X.T @ (PRECISION * z * mu * (1.0 - mu))

    found = fit(X, SHARES, BETA)
    wanted = optimize.root(score, np.zeros(3), tol=1e-13).x
    mu = 1.0 / (1.0 + np.exp(-X @ wanted))
    bend = polygamma(1, mu * PRECISION) + polygamma(1, (1.0 - mu) * PRECISION)
    w = PRECISION**2 * np.asarray(bend) * (mu * (1.0 - mu)) ** 2
    assert found.converged and type(BETA.link) is links.Logit
    close(found.params, wanted, 1e-9)
    close(found.cov_params, np.linalg.inv(X.T @ (w[:, None] * X)), 1e-8)
    close(found.loglike, jnp.sum(log_beta(SHARES, mu, PRECISION)), 1e-10)


def test_beta_regression_can_be_differentiated_in_its_precision():
    def numbers(precision):
        found = fit(X, SHARES, families.from_log_prob(log_beta, precision, support=(0, 1)))
        return jnp.stack([*found.params, *found.bse, found.loglike])

    assert_slope(with_slope(numbers), PRECISION)


@pytest.mark.nightly
def test_lanes_may_have_parameters_of_their_own():
    precisions = np.array([2.0, 8.0, 30.0])
    family = families.from_log_prob(log_beta, precisions, support=(0, 1))
    lanes = fit_many(X, SHARES, family)
    close(lanes.params[1], fit(X, SHARES, BETA).params, 1e-9)
    assert lanes.converged.all() and np.ptp(lanes.params[:, 1]) > 1e-4


def test_expected_information_is_the_mean_of_the_observed():
    eta = jnp.asarray([0.3])
    y = jnp.arange(60.0)
    p = jnp.exp(log_poisson(y, jnp.exp(eta)))
    score, observed, expected = jax.jit(
        lambda eta: (
            eta_score(POISSON, y, eta),
            observed_weight(POISSON, y, eta),
            expected_weight(POISSON, eta),
        )
    )(jnp.full_like(y, eta[0]))
    close(p @ score, 0.0, 1e-12)
    close(p @ observed, expected[0], 1e-10)


@pytest.mark.parametrize("solver", (solvers.IRLS(), solvers.Newton()), ids=("IRLS", "Newton"))
def test_an_indefinite_observed_information_does_no_harm(solver):
    def score(beta):
        r = WILD - X @ beta
        return X.T @ (2.0 * r / (1.0 + r * r))

    start = np.array([6.0, 0.0, 0.0])
    weight = jax.jit(observed_weight)(CAUCHY, WILD, X @ start)
    assert np.linalg.eigvalsh(X.T @ (np.asarray(weight)[:, None] * X)).min() < 0.0
    found = fit(X, WILD, CAUCHY, start=start, solver=solver)
    assert found.converged
    close(found.params, optimize.root(score, found.params, tol=1e-13).x, 1e-8)
    assert found.loglike > jnp.sum(log_cauchy(WILD, X @ start, 1.0))


# Cumulants


def com_poisson_moments(theta):
    k = np.arange(100)
    log_p = theta[:, None] * k - NU * np.asarray(gammaln(k + 1.0))
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ k, p @ k**2 - (p @ k) ** 2


def test_com_poisson_is_the_root_of_its_score():
    def score(beta):
        return X.T @ (COUNTS - com_poisson_moments(X @ beta)[0])

    found = fit(X, COUNTS, com_poisson(NU))
    wanted = optimize.root(score, np.zeros(3), tol=1e-13).x
    variance = com_poisson_moments(X @ wanted)[1]
    norm = jax.vmap(lambda theta: log_norm(theta, NU))(X @ wanted)
    close(found.params, wanted, 1e-9)
    close(found.cov_params, np.linalg.inv(X.T @ (variance[:, None] * X)), 1e-9)
    close(found.loglike, jnp.sum(COUNTS * (X @ wanted) - norm + log_base(COUNTS, NU)), 1e-10)


@pytest.mark.nightly
def test_com_poisson_can_be_differentiated_in_its_dispersion():
    def numbers(nu):
        found = fit(X, COUNTS, com_poisson(nu, "log"))
        return jnp.stack([*found.params, *found.bse, found.loglike, found.deviance])

    both = with_slope(numbers)
    assert_slope(both, NU)
    close(both(jnp.asarray(1.0))[0][:3], fit(X, COUNTS, families.Poisson()).params, 1e-9)


def test_the_cumulant_of_the_gamma_is_the_gamma():
    own = families.from_cumulant(
        log_gamma_norm,
        support=Interval(0.0, np.inf),
        natural_space=(-np.inf, 0),
        link="log",
        fixed_scale=False,
    )
    found, wanted = fit(X, SIZES, own), fit(X, SIZES, families.Gamma(links.Log()))
    for name in ("params", "bse", "scale", "deviance"):
        close(getattr(found, name), getattr(wanted, name), 1e-9)
    assert np.isnan(found.loglike)


def test_the_canonical_link_of_a_cumulant_is_canonical():
    family = com_poisson(1.0)
    mu = jnp.asarray([0.2, 1.0, 9.0])
    y = jnp.asarray([0.0, 3.0, 4.0])
    assert family.is_canonical and family.is_log_concave and family.can_separate
    three = jax.jit(
        lambda family: (family.link(mu), family.variance(mu), family.unit_deviance(y, mu))
    )
    for got, wanted in zip(three(family), three(families.Poisson()), strict=True):
        close(got, wanted, 1e-10)


def test_one_function_makes_one_structure():
    assert jax.tree.structure(com_poisson(1.0)) == jax.tree.structure(com_poisson(2.0))


# Variance functions


def test_a_variance_goes_by_its_name_and_copies_keep_it():
    family = families.Quasi(variance=jnp.square, link=links.Log())
    assert family.variance(3.0) == 9.0 and family.variance_function is jnp.square
    other = dataclasses.replace(family, link=links.Identity())
    assert other.variance(3.0) == 9.0 and type(other.link) is links.Identity
    by_place = families.Quasi(jnp.square, links.Log())
    assert jax.tree.structure(family) == jax.tree.structure(by_place)


def test_a_variance_function_may_have_a_parameter():
    def numbers(power):
        family = families.from_variance(
            power_of_mean, power, link="log", mean_space=(0, np.inf), support=(0, np.inf)
        )
        found = fit(X, SIZES, family)
        return jnp.stack([*found.params, *found.bse, found.scale, found.deviance])

    both = with_slope(numbers)
    assert_slope(both, 1.6)
    found, wanted = both(jnp.asarray(2.0))[0], fit(X, SIZES, families.Gamma(links.Log()))
    close(found[:3], wanted.params, 1e-9)
    close(found[-1], wanted.deviance, 1e-8)


# What is refused, and what is shown


def draw_poisson(key, mu):
    return jax.random.poisson(key, mu).astype(mu.dtype)


def draw_com_poisson(key, mu, nu):
    return jnp.full_like(mu, nu)


def test_samples_are_drawn_by_the_function_given():
    own = families.from_log_prob(
        log_poisson, support=(0, np.inf), discrete=True, sample=draw_poisson
    )
    key, mu = jax.random.key(3), jnp.full(4000, 2.5)
    np.testing.assert_array_equal(own.sample(key, mu), draw_poisson(key, mu))
    assert abs(jnp.var(own.sample(key, mu)) - own.variance(2.5)) < 0.3
    cumulant = families.from_cumulant(log_norm, NU, support=(0, np.inf), sample=draw_com_poisson)
    np.testing.assert_array_equal(cumulant.sample(key, mu), NU)


def test_working_and_deviance_residuals_follow_the_score():
    problem, _ = prepare(X, SHARES, BETA)
    found = fit(X, SHARES, BETA)
    eta = X @ found.params
    working = jax.jit(diagnostics.resid_working)(problem, found)
    ratio = jax.jit(lambda eta: eta_score(BETA, SHARES, eta) / expected_weight(BETA, eta))
    close(working, ratio(eta), 1e-12)
    signed = jax.jit(diagnostics.resid_deviance)(problem, found)
    np.testing.assert_array_equal(np.sign(signed), np.sign(working))
    pearson = jax.jit(diagnostics.resid_pearson)(problem, found)
    mu = 1.0 / (1.0 + np.exp(-eta))
    close(pearson, (SHARES - mu) / np.sqrt(mu * (1 - mu) / (1 + PRECISION)), 1e-8)


def test_results_show_the_parameters_of_a_function_and_do_not_save_it(tmp_path):
    family = families.from_variance(
        power_of_mean, 2.0, link="log", mean_space=(0, np.inf), support=(0, np.inf)
    )
    results = GLM(SIZES, X, family).fit()
    assert re.search(r"power: +2\.0+ \(fixed\)", str(results.summary()))
    with pytest.raises(ValueError, match=r"variance_function=.*function"):
        results.save(tmp_path / "results.npz")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: links.from_inverse(np.exp), "from_inverse(fn=<ufunc 'exp'>)"),
        (lambda: links.CDFLink(stats.norm), "CDFLink(cdf="),
        (lambda: links.CDFLink(jax.scipy.stats.norm.cdf, sf=np.exp), "CDFLink(sf="),
        (lambda: families.Quasi(np.square), "Quasi(variance="),
        (lambda: families.from_variance(lambda mu, k: np.power(mu, k), 2.0), "Quasi(variance="),
        (lambda: families.from_cumulant(np.exp, support=(0, np.inf)), "from_cumulant(b="),
        (
            lambda: families.from_log_prob(lambda y, mu: -((y - float(mu)) ** 2), support=(0, 1)),
            "from_log_prob(fn=",
        ),
    ],
)
def test_functions_that_jax_cannot_trace_are_refused_at_once(make, named):
    with pytest.raises(TypeError, match=re.escape(named) + ".*cannot trace.*jax.numpy"):
        make()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="discrete needs a finite lower end"):
        families.from_log_prob(log_poisson, support=(-np.inf, np.inf), discrete=True)
    with pytest.raises(ValueError, match="the link reaches means in"):
        families.from_log_prob(log_poisson, support=(0, np.inf), link="logit")
    with pytest.raises(NotImplementedError, match="pass sample="):
        POISSON.sample(jax.random.key(0), 1.0)


def test_the_example_of_the_readme_runs():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.split("## A family or link of your own")[1]
    names = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1), names)
    (slope,) = jax.tree.leaves(names["slopes"])
    assert np.isfinite(slope) and slope != 0.0
    assert all(row.link.range.low == 0.0 for row in (names["beta"], names["binomial"]))
