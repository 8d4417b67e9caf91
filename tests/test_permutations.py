"""Permutation tests: every permutation by hand, max-T by its definition, stated error rates."""

import itertools

import numpy as np
import pytest

from jaxglm import families, links
from jaxglm.resample import PermutationTest, permutation_test
from jaxglm.resample.permutations import draw_permutations

RNG = np.random.default_rng(12)
N = 24
X = np.column_stack([np.ones(N), RNG.normal(size=N), RNG.normal(size=N)])
X[:, 2] += 0.6 * X[:, 1]
GAUSSIAN, POISSON = families.Gaussian(), families.Poisson()
NOISE = RNG.normal(size=(40, N))


def wald(X, y, column):
    """t^2 of one coefficient in least squares."""
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ X.T @ y
    phi = np.sum((y - X @ beta) ** 2) / (len(y) - X.shape[1])
    return beta[column] ** 2 / (phi * inverse[column, column])


@pytest.mark.parametrize("method", ("raw", "freedman-lane", "regressor"))
def test_statistics_are_those_of_permuted_rows(method):
    y = 1.0 + X[:, 1] + NOISE[0]
    found = permutation_test(X, y, GAUSSIAN, 2, key=7, reps=20, method=method)
    rest = X[:, :2]
    projection = rest @ np.linalg.pinv(rest)
    assert found.statistic.shape == (1,) and found.null.shape == (20, 1)
    np.testing.assert_allclose(found.statistic, [wald(X, y, 2)], rtol=1e-9)
    for order, statistic in zip(draw_permutations(7, N, 20), found.null[:, 0], strict=True):
        if method == "raw":
            wanted = wald(X, y[order], 2)
        elif method == "freedman-lane":
            fitted = projection @ y
            wanted = wald(X, fitted + (y - fitted)[order], 2)
        else:
            residual = X[:, 2] - projection @ X[:, 2]
            wanted = wald(np.column_stack([rest, residual[order]]), y, 2)
        np.testing.assert_allclose(statistic, wanted, rtol=1e-8, atol=1e-10)


def test_weights_and_offset_move_with_their_response():
    weights, offset = RNG.uniform(0.5, 2.0, N), RNG.normal(size=N)
    y = offset + NOISE[0]
    more = {"var_weights": weights, "offset": offset}
    found = permutation_test(X, y, GAUSSIAN, 2, key=7, reps=20, **more)
    order = draw_permutations(7, N, 20)[3]
    root = np.sqrt(weights[order])
    wanted = wald(root[:, None] * X, root * (y - offset)[order], 2)
    np.testing.assert_allclose(found.null[3, 0], wanted, rtol=1e-9)


def test_all_orders_of_few_rows_are_drawn_evenly_and_strata_are_kept():
    orders = draw_permutations(1, 4, 24_000)
    counts = {order: 0 for order in itertools.permutations(range(4))}
    for order in orders:
        counts[tuple(int(i) for i in order)] += 1
    # Expected 1,000 each, sd 31.
    assert all(abs(count - 1000) < 5 * 31 for count in counts.values())
    strata = np.array([1, 0, 1, 0, 0])
    moved = draw_permutations(1, 5, 200, strata)
    assert np.all(np.sort(moved, axis=1) == np.arange(5)) and np.all(strata[moved] == strata)
    assert len(np.unique(moved, axis=0)) == 12


def test_pvalues_under_the_null_are_uniform_and_one_true_effect_is_found():
    Y = 1.0 + NOISE
    Y[5] += 1.5 * X[:, 2]
    found = permutation_test(X, Y, GAUSSIAN, [1, 2], key=3, reps=199)
    null = np.delete(found.pvalue, 5)
    # 39 uniform values: a mean's standard error is 0.046.
    assert abs(null.mean() - 0.5) < 4 * 0.046
    assert found.pvalue[5] == 1 / 200 and found.adjusted[5] <= 0.02
    assert np.all(found.adjusted >= found.pvalue) and np.sum(found.adjusted < 0.05) == 1
    assert found.tally() == {"converged": 40 * 199}


def test_max_t_steps_down_through_the_responses():
    statistic = np.array([2.0, 9.0, np.nan, 5.0])
    null = np.array([[1.0, 3.0, 99.0, 6.0], [4.0, 1.0, 99.0, 1.0], [1.0, 1.0, 99.0, np.nan]])
    codes = np.zeros(4, int), np.zeros((3, 4), int)
    found = PermutationTest(statistic, null, *codes)
    # Against 9: max of all three, 6, 4, inf. Against 5: of the last two, 6, 4, inf. Against 2: 1, 4, 1.
    np.testing.assert_allclose(found.adjusted, [3 / 4, 2 / 4, np.nan, 3 / 4])
    np.testing.assert_allclose(found.pvalue, [2 / 4, 1 / 4, np.nan, 3 / 4])


def test_the_regressor_test_of_counts_keeps_its_level_with_a_confounder():
    mu = np.exp(0.5 + 0.8 * X[:, 1])
    Y = np.random.default_rng(5).poisson(mu, size=(40, N)).astype(float)
    found = permutation_test(X, Y, POISSON, 2, key=3, reps=199, method="regressor")
    # 40 tests at 10 %: 4 expected, sd 1.9.
    assert np.sum(found.pvalue <= 0.1) <= 4 + 3 * 1.9
    assert abs(np.mean(found.pvalue) - 0.5) < 4 * 0.046


def test_mistakes_are_named():
    y = NOISE[0]
    for given, match in (
        ({"columns": 3}, "columns=3: allowed are numbers of the 3 columns"),
        ({"columns": 1, "method": "rows"}, "allowed are raw, freedman-lane, regressor"),
        ({"columns": 1, "reps": 0}, "reps=0"),
        ({"columns": [0, 1, 2], "method": "regressor"}, "needs a column not tested"),
    ):
        with pytest.raises(ValueError, match=match):
            permutation_test(X, y, GAUSSIAN, **{"key": 0, **given})
    gamma = families.Gamma(links.Log())
    with pytest.raises(ValueError, match="has no residuals to move"):
        permutation_test(X, np.exp(y), gamma, 1, key=0, method="freedman-lane")
