"""Separation: data sets whose answer is known by construction, and the fits that it explains."""

import cases
import numpy as np
import pytest
from conftest import reference

from jaxglm import families, links
from jaxglm.fit import Status, fit
from jaxglm.separation import detect_separation

NAN, INF = np.nan, np.inf
LINE = np.arange(1.0, 7.0)
ONE = np.ones(6)
GROUP = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
BIT = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])

# name: X, y, family, keywords, separated, complete, directions
SMALL = {
    "complete: a threshold on a line": (
        [ONE, LINE], [0, 0, 0, 1, 1, 1], families.Binomial(), {}, True, True, [-INF, INF]),
    "complete: through the origin": (
        [LINE - 3.5], [1, 1, 1, 0, 0, 0], families.Binomial(), {}, True, True, [-INF]),
    "complete: centred, the intercept's sign is open": (
        [ONE, LINE - 3.5], [0, 0, 0, 1, 1, 1], families.Binomial(), {}, True, True, [NAN, INF]),
    "quasi: an overlap at one point": (
        [np.ones(7), np.array([1, 2, 3, 3, 4, 5, 6])], [0, 0, 0, 1, 1, 1, 1],
        families.Binomial(), {}, True, False, [-INF, INF]),
    "quasi: a group without failures": (
        [ONE, GROUP], [0, 1, 0, 1, 1, 1], families.Binomial(), {}, True, False, [0, INF]),
    "quasi: a base group without successes": (
        [ONE, GROUP], [0, 0, 0, 1, 0, 1], families.Binomial(), {}, True, False, [-INF, INF]),
    "quasi: all successes": (
        [ONE, GROUP], [1, 1, 1, 1, 1, 1], families.Binomial(), {}, True, True, [INF, NAN]),
    "quasi: grouped counts": (
        [ONE[:4], GROUP[1:5], BIT[:4]], [0.5, 0.25, 0.0, 0.0], families.Binomial(),
        {"n_trials": [2, 4, 3, 3]}, True, False, [0, -INF, 0]),
    "none: grouped counts": (
        [ONE[:4], GROUP[1:5]], [0.5, 0.25, 0.0, 0.5], families.Binomial(),
        {"n_trials": [2, 4, 3, 4]}, False, False, [0, 0]),
    "none: an overlap": (
        [ONE, LINE], [0, 0, 1, 0, 1, 1], families.Binomial(), {}, False, False, [0, 0]),
    "none: the row that separates is gone": (
        [np.append(ONE, 1), np.append(GROUP, 2)], [0, 1, 0, 1, 0, 1, 1], families.Binomial(),
        {"weights": [1, 1, 1, 1, 1, 1, 0]}, False, False, [0, 0]),
    "quasi: only without the row that is gone": (
        [np.append(ONE, 1), np.append(GROUP, 1)], [0, 1, 0, 1, 1, 1, 0], families.Binomial(),
        {"weights": [1, 1, 1, 1, 1, 1, 0]}, True, False, [0, INF]),
    "decreasing link: log(1 - mu) at y = 1": (
        [ONE, GROUP], [0, 1, 0, 1, 1, 1], families.Binomial(links.LogC()), {},
        True, False, [0, -INF]),
    "log link: y = 1 is reached at a finite eta": (
        [ONE, GROUP], [0, 1, 0, 1, 1, 1], families.Binomial(links.Log()), {},
        False, False, [0, 0]),
    "log link: a group of zeros": (
        [ONE, GROUP], [0, 1, 0, 0, 0, 0], families.Binomial(links.Log()), {},
        True, False, [0, -INF]),
    "poisson: a group of zeros": (
        [ONE, GROUP], [0, 3, 1, 0, 0, 0], families.Poisson(), {}, True, False, [0, -INF]),
    "poisson: zeros by chance": (
        [ONE, GROUP], [0, 3, 1, 0, 2, 0], families.Poisson(), {}, False, False, [0, 0]),
    "poisson: nothing but zeros": (
        [ONE], [0, 0, 0, 0, 0, 0], families.Poisson(), {}, True, True, [-INF]),
    "poisson: the root link reaches 0": (
        [ONE, GROUP], [0, 3, 1, 0, 0, 0], families.Poisson(links.Sqrt()), {},
        False, False, [0, 0]),
    "negative binomial: a group of zeros": (
        [ONE, GROUP], [0, 3, 1, 0, 0, 0], families.NegativeBinomial(0.5), {},
        True, False, [0, -INF]),
    "gamma: none": (
        [ONE, GROUP], [1, 3, 1, 2, 1, 4], families.Gamma(links.Log()), {}, False, False, [0, 0]),
    "an aliased column": (
        [ONE, GROUP, 1 - GROUP], [0, 1, 0, 1, 1, 1], families.Binomial(), {},
        True, False, [0, INF, NAN]),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_sets_have_their_known_answer(name):
    columns, y, family, given, separated, complete, directions = SMALL[name]
    found = detect_separation(np.column_stack(columns), np.array(y, float), family, **given)
    assert (found.separated, found.complete) == (separated, complete)
    np.testing.assert_array_equal(found.directions, np.array(directions, float))


@pytest.mark.parametrize("name", SMALL)
def test_the_scale_of_columns_and_the_order_of_rows_are_irrelevant(name):
    columns, y, family, given, *_ = SMALL[name]
    X, y = np.column_stack(columns), np.array(y, float)
    order = np.random.default_rng(2).permutation(len(y))
    turned = {k: np.array(v)[order] for k, v in given.items()}
    scales = 10.0 ** np.arange(-4, -4 + 3 * X.shape[1], 3)
    one = detect_separation(X, y, family, **given)
    two = detect_separation((X * scales)[order], y[order], family, **turned)
    assert (one.separated, one.complete) == (two.separated, two.complete)
    np.testing.assert_array_equal(one.directions, two.directions)


BRGLM = {c["name"]: c for c in reference("r_brglm2")["cases"] if c["family"] == "binomial"}


@pytest.mark.parametrize("name", BRGLM)
def test_larger_sets_have_their_known_answer(name):
    X, y, given = cases.data_of(BRGLM[name])
    n_trials = given.get("n_trials")
    found = detect_separation(X, y, cases.family_of(BRGLM[name]), n_trials=n_trials)
    assert found.separated == BRGLM[name]["separated"]


def test_endometrial_cancer_has_one_infinite_estimate():
    """Heinze & Schemper (2002): neovasculation, the second column, alone."""
    X, y, _ = cases.data_of(BRGLM["endometrial logit"])
    found = detect_separation(X, y)
    assert not found.complete
    np.testing.assert_array_equal(found.directions, [0, INF, 0, 0])


def test_success_and_failure_columns_are_counts():
    X = np.column_stack([ONE[:4], GROUP[1:5]])
    counts = np.array([[1.0, 1.0], [0.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    found = detect_separation(X, counts)
    np.testing.assert_array_equal(found.directions, [0, INF])


def test_the_solver_finds_what_linear_programming_finds():
    random = np.random.default_rng(11)
    X = np.concatenate([np.ones((40, 7, 1)), random.standard_normal((40, 7, 2))], axis=2)
    y = (random.uniform(size=(40, 7)) < 0.5).astype(float)
    expected = [detect_separation(X[i], y[i]).separated for i in range(40)]
    assert 3 < sum(expected) < 37
    for i, separated in enumerate(expected):
        status = int(fit(X[i], y[i], families.Binomial()).status)
        assert status == (Status.separated if separated else Status.converged)
