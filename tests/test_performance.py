"""Measures of a study against their formulas in R, and the smooth search against closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference
from scipy.stats import norm

from jaxglm import families
from jaxglm.simulate import (
    Analysis,
    Estimand,
    Sample,
    Study,
    performance,
    relative_precision,
    solve_power,
    wald_power,
)

FILE = reference("r_performance")
GAUSSIAN, BINOMIAL = families.Gaussian(), families.Binomial()
KEY = jax.random.key(6)
ROWS, SD = 40, 1.5
PAIRS = np.column_stack([np.ones(ROWS), np.arange(ROWS) % 2])
# Of two groups of n/2 the difference has the variance 4 sd^2 / n.
ASKED = norm.ppf(0.975) + norm.ppf(0.8)


def close(got, wanted, rtol=1e-10):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted, float), rtol=rtol)


def draws(method):
    return (np.array(method[k], float) for k in ("e", "se", "low", "high"))


@pytest.mark.parametrize("which", range(2))
def test_measures_are_those_of_their_formulas(which):
    method = FILE["methods"][which]
    found = performance(*draws(method), FILE["truth"], FILE["null"])
    assert set(found) == {*method["measures"], "mean"}
    for name, wanted in method["measures"].items():
        close([found[name].value, found[name].mcse], [wanted["value"], wanted["mcse"]])


def test_relative_precision_is_that_of_its_formula():
    one, other = (np.array(method["e"], float) for method in FILE["methods"])
    found, wanted = relative_precision(other, one), FILE["relative_precision"]
    close([found.value, found.mcse], [wanted["value"], wanted["mcse"]])


def two_groups(key, cell):
    n = cell.get("n", ROWS)
    return np.column_stack([np.ones(n), np.arange(n) % 2])


def drawn_groups(key, cell):
    return jnp.column_stack([jnp.ones(ROWS), jax.random.bernoulli(key, 0.3, (ROWS,))])


def study_of(design, factors, **more):
    estimands = {"difference": Estimand(1, lambda cell: cell["effect"])}
    response = None  # a smooth search draws none
    return Study(factors, design, response, {"wald": Analysis(GAUSSIAN)}, estimands, **more)


def truth(cell):
    return jnp.stack([jnp.zeros(()), jnp.asarray(cell["effect"], float)])


def test_the_power_of_two_groups_is_that_of_the_normal_test():
    d = 0.9 / np.sqrt(4 * SD**2 / ROWS)
    power = wald_power(Sample(PAIRS), GAUSSIAN, [1.0, 0.9], 1, scale=SD**2)
    close(power, norm.sf(norm.ppf(0.975) - d) + norm.cdf(-norm.ppf(0.975) - d))
    weighted = Sample(PAIRS, var_weights=np.full(ROWS, 2.0), freq_weights=np.full(ROWS, 3.0))
    close(
        wald_power(weighted, GAUSSIAN, [1.0, 0.9], 1),
        wald_power(Sample(PAIRS), GAUSSIAN, [1.0, 0.9], 1, size=6.0),
    )
    # Binomial shares p and q in m trials a row: log odds with variances 1 / (n/2 m p (1 - p)).
    p, q, m = 0.3, 0.45, 5.0
    logit = np.log([p / (1 - p), q / (1 - q)])
    sample = Sample(PAIRS, n_trials=np.full(ROWS, m))
    se = np.sqrt(2 / (ROWS * m) * (1 / (p * (1 - p)) + 1 / (q * (1 - q))))
    d = (logit[1] - logit[0]) / se
    power = wald_power(sample, BINOMIAL, [logit[0], logit[1] - logit[0]], 1, alpha=0.01)
    close(power, norm.sf(norm.ppf(0.995) - d) + norm.cdf(-norm.ppf(0.995) - d))


def test_the_sample_size_of_two_groups_and_its_derivative_are_those_of_the_textbook():
    def size(effect):
        study = study_of(two_groups, {"n": [0], "effect": [effect]}, fixed_design=True)
        found = solve_power(study, "n", 10, 500, GAUSSIAN, truth, key=KEY, dispersion=SD**2)
        return found.value, found

    (value, found), slope = jax.value_and_grad(size, has_aux=True)(0.7)
    # The other tail holds 1e-6 of the power.
    close(value, 4 * SD**2 * ASKED**2 / 0.7**2, rtol=1e-4)
    close(slope, -2 * value / 0.7, rtol=1e-4)
    close([found.se, found.powers[0]], [0.0, 0.8])


def test_an_effect_is_found_with_its_monte_carlo_error():
    study = study_of(drawn_groups, {"effect": [0]}, reps=24)

    def search(key):
        return solve_power(study, "effect", 0.1, 9.0, GAUSSIAN, truth, key=key, scale="linear")

    keys = jax.random.split(KEY, 200)
    found = jax.jit(jax.vmap(search))(keys)
    close(found.powers.mean(axis=1), np.full(200, 0.8), rtol=1e-6)
    # A standard deviation of 200 values has a relative error of 5 %.
    close(np.sqrt(np.mean(found.se**2)), np.std(found.value), rtol=0.2)
    assert np.all(found.se > 0)
    middle, step = float(found.value[0]), 1e-4
    ends = [powers_of_draws(study, keys[0], middle + sign * step) for sign in (-1, 0, 1)]
    close(ends[1], found.powers[0])
    close(found.slope[0], np.mean(ends[2] - ends[0]) / (2 * step), rtol=1e-6)


def powers_of_draws(study, key, effect):
    """The powers at the designs of the data sets that a study draws."""
    drawn = dataclasses.replace(study, response=lambda key, sample, cell: jnp.zeros(ROWS))
    designs = drawn.draw(key, 0, np.arange(study.reps)).X
    return np.array([wald_power(Sample(X), GAUSSIAN, [0.0, effect], 1) for X in designs])


def test_a_power_out_of_reach_is_nan_and_mistakes_are_named():
    study = study_of(two_groups, {"effect": [0]}, fixed_design=True)
    given = (GAUSSIAN, truth)
    few = solve_power(study, "effect", 0.01, 0.1, *given, key=KEY, scale="linear")
    assert np.isnan(few.value)
    with pytest.raises(ValueError, match="low=2"):
        solve_power(study, "effect", 2, 1, *given, key=KEY)
    with pytest.raises(ValueError, match='factor="n"'):
        solve_power(study, "n", 10, 20, *given, key=KEY)
    with pytest.raises(ValueError, match="estimand='slope': allowed are difference"):
        solve_power(study, "effect", 1, 2, *given, key=KEY, estimand="slope")
    with pytest.raises(ValueError, match="needs the true parameter"):
        wald_power(Sample(PAIRS), families.NegativeBinomial(alpha=None), [0.0, 1.0], 1)
