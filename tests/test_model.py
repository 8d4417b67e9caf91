import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PAIRS, pair

from jaxglm import families, links, penalties
from jaxglm.designs import Dense
from jaxglm.fit import prepare
from jaxglm.model import (
    Problem,
    eta_score,
    evaluate,
    expected_weight,
    observed_weight,
    penalised_score,
    score_jacobian,
    totals,
)

each_pair = pytest.mark.parametrize(("family", "link"), PAIRS, ids=["-".join(p) for p in PAIRS])


def problem_of(family, link, lane=1, penalty=None):
    """A weighted problem of the pair, and coefficients off its maximum."""
    row = pair(family, link)
    family, X, y, arguments = row.lane(lane)
    problem, invalid = prepare(X, y, family, penalty=penalty, **arguments)
    assert not invalid
    beta = jnp.asarray(row.answers["params"][lane])
    return problem, beta, row.answers


@each_pair
def test_score_vanishes_at_the_reference_and_is_the_gradient_of_the_loglike(family, link):
    problem, beta, answers = problem_of(family, link)
    at_root = penalised_score(problem, beta)
    bse = answers["bse"][1] / np.sqrt(answers["scale"][1])
    assert np.max(np.abs(at_root * bse)) < 1e-8
    phi = 1.0 if problem.family.fixed_scale else 0.6
    away = beta + 0.03 * jnp.asarray(bse)
    if np.isnan(answers["loglike"][1]):
        return

    rows = problem.rows

    def value(beta):
        mu = problem.family.link.inverse(rows.eta(problem.design.X @ beta))
        v = 1.0 if rows.var_weights is None else jnp.where(rows.prior > 0, rows.var_weights, 1.0)
        m = 1.0 if rows.n_trials is None else rows.n_trials
        terms = problem.family.loglike_obs(rows.y, mu, v, phi, m)
        return jnp.sum(jnp.where(rows.prior > 0, terms, 0.0))

    wanted = phi * jax.grad(value)(away)
    got = penalised_score(problem, away)
    np.testing.assert_allclose(got * bse, wanted * bse, rtol=1e-8, atol=1e-9)


@each_pair
def test_observed_weight_is_the_slope_of_the_score(family, link):
    problem, beta, _ = problem_of(family, link)
    family, rows = problem.family, problem.rows
    eta = rows.eta(problem.design.X @ beta)
    step = 1e-5 * jnp.maximum(jnp.abs(eta), 0.1)
    up, down = eta_score(family, rows.y, eta + step), eta_score(family, rows.y, eta - step)
    got = observed_weight(family, rows.y, eta)
    wanted = -(up - down) / (2 * step)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.max(np.abs(got)))
    mean, slope = family.link.at(eta)
    wanted = slope**2 / family.variance(mean.mu)
    np.testing.assert_allclose(expected_weight(family, eta), wanted, rtol=1e-11)
    if family.is_canonical:
        np.testing.assert_allclose(got, expected_weight(family, eta), rtol=1e-12)


@each_pair
def test_observed_weight_averages_to_the_expected(family, link):
    # E over y of the observed weight is the expected: it is linear in y, so y = mu gives it.
    problem, beta, _ = problem_of(family, link)
    eta = problem.rows.eta(problem.design.X @ beta)
    mu = problem.family.link.inverse(eta)
    got = observed_weight(problem.family, mu, eta)
    np.testing.assert_allclose(got, expected_weight(problem.family, eta), rtol=1e-9)


CANONICAL = [
    families.Gaussian(),
    families.Binomial(),
    families.Poisson(),
    families.Gamma(),
    families.InverseGaussian(),
]


@pytest.mark.parametrize("family", CANONICAL, ids=lambda f: type(f).__name__)
def test_canonical_ratio_is_slope_over_variance(family):
    eta = jnp.linspace(0.3, 2.0, 7)
    mean, slope = family.link.at(eta)
    assert family.is_canonical
    np.testing.assert_allclose(slope / family.variance(mean.mu), family.canonical_ratio, rtol=1e-12)


def test_negative_binomial_with_its_own_link_has_equal_informations():
    family = families.NegativeBinomial(0.7, links.NegativeBinomial(0.7))
    eta, y = jnp.linspace(-3.0, -0.2, 5), jnp.array([0.0, 1.0, 2.0, 5.0, 1.0])
    got = observed_weight(family, y, eta)
    np.testing.assert_allclose(got, expected_weight(family, eta), rtol=1e-11)


FEW = [("binomial", "probit"), ("gamma", "log"), ("negative_binomial", "sqrt")]


@pytest.mark.parametrize(
    ("family", "link", "rubbish"),
    [("poisson", "sqrt", np.nan), ("gamma", "log", np.inf), ("negative_binomial", "sqrt", -1e300)],
)
def test_rows_of_weight_zero_contribute_nothing(family, link, rubbish):
    problem, beta, answers = problem_of(family, link)
    row = pair(family, link)
    family, X, y, arguments = row.lane(1)
    gone = arguments["var_weights"] == 0
    assert gone.any()
    X, y, offset = X.copy(), y.copy(), arguments["offset"].copy()
    X[gone], y[gone], offset[gone] = rubbish, rubbish, rubbish
    spoiled, invalid = prepare(X, y, family, **{**arguments, "offset": offset})
    assert not invalid
    wanted, got = totals(problem, beta), totals(spoiled, beta)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    np.testing.assert_allclose(got.deviance, answers["deviance"][1], rtol=1e-9)
    slope = jax.jacfwd(penalised_score, argnums=1)(spoiled, beta)
    np.testing.assert_array_equal(slope, jax.jacfwd(penalised_score, argnums=1)(problem, beta))
    back = jax.grad(
        lambda X: penalised_score(Problem(Dense(X), spoiled.rows, family, None), beta)[0]
    )(spoiled.design.X)
    assert np.all(np.isfinite(back)) and np.all(np.asarray(back)[gone] == 0)


PENALTIES = {
    "none": None,
    "ridge": 0.3,
    "jeffreys": penalties.Jeffreys(),
    "mean": penalties.MeanBias(),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("family", "link"), FEW, ids=["-".join(p) for p in FEW])
def test_score_jacobian_is_minus_the_derivative_of_the_score(family, link, penalty):
    problem, beta, _ = problem_of(family, link, penalty=PENALTIES[penalty])
    wanted = -jax.jacfwd(penalised_score, argnums=1)(problem, beta)
    scale = np.max(np.abs(wanted))
    np.testing.assert_allclose(score_jacobian(problem, beta), wanted, rtol=1e-9, atol=1e-10 * scale)
    now = evaluate(problem, beta, observed=True, needs_deviance=True)
    np.testing.assert_allclose(now.score, penalised_score(problem, beta), rtol=1e-9, atol=1e-9)
    assert int(now.invalid) == 0


@pytest.mark.parametrize(("family", "link"), FEW, ids=["-".join(p) for p in FEW])
def test_jeffreys_score_is_the_gradient_of_half_the_log_determinant(family, link):
    problem, beta, _ = problem_of(family, link, penalty=penalties.Jeffreys())
    plain = Problem(problem.design, problem.rows, problem.family, None)

    def half_log_determinant(beta):
        eta = problem.rows.eta(problem.design.X @ beta)
        w = problem.rows.weigh(expected_weight(problem.family, eta))
        return 0.5 * jnp.linalg.slogdet(problem.design.gram(w))[1]

    got = penalised_score(problem, beta) - penalised_score(plain, beta)
    np.testing.assert_allclose(got, jax.grad(half_log_determinant)(beta), rtol=1e-8, atol=1e-9)
