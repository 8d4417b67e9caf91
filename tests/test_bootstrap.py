"""Bootstrap covariances: draws, refits, and sandwich's vcovBS."""

import jax
import numpy as np
import pytest
from cases import close, data_of, family_of, small
from conftest import reference

import jaxglm
from jaxglm import FitWarning, families, fit_many, links
from jaxglm.bootstrap import refit
from jaxglm.draws import _words, draw_frequencies, draw_shares

CASE = reference("r_anova")["bootstrap"]
DATA = small()
N = len(DATA.count)
KEY = jax.random.key(8)


def fitted(**more):
    return jaxglm.GLM(DATA.positive, DATA.X, families.Gamma(links.Log()), **more).fit()


@pytest.mark.parametrize("share", (1.0, 0.75))
def test_a_draw_has_as_many_observations_as_the_sample(share):
    frequency = share * (np.arange(N) % 4)
    drawn = draw_frequencies(KEY, frequency, 500).together()
    assert np.all(drawn.sum(axis=1) == round(frequency.sum())) and np.all(
        drawn[:, frequency == 0] == 0
    )
    # Of a mean over 500 draws of variance near f: five standard errors.
    close(drawn.mean(axis=0), frequency, atol=5 * np.sqrt(3 / 500), rtol=0)
    strata = np.arange(N) // 10 % 2
    within = draw_frequencies(KEY, frequency, 50, None, strata).together()
    for stratum in (0, 1):
        assert np.all(
            within[:, strata == stratum].sum(axis=1) == round(frequency[strata == stratum].sum())
        )


def test_counts_hold_what_one_row_can_have():
    many = np.array([300.0, 0.0, 1.0])
    drawn = draw_frequencies(KEY, many, 20).together()
    assert drawn.dtype == np.uint16 and np.all(drawn.sum(axis=1) == 301) and drawn.max() > 255
    assert draw_frequencies(KEY, np.ones(3), 20).together().dtype == np.uint8


@pytest.mark.parametrize("n", (300, 301))
def test_counts_of_many_equal_rows_are_small_and_by_the_key_alone(n):
    drawn = draw_frequencies(KEY, np.ones(n), 600).together()
    assert drawn.dtype == np.uint8 and np.all(drawn.sum(axis=1, dtype=int) == n)
    np.testing.assert_array_equal(drawn[:1], draw_alone(n, 600))
    expected = 600 * n * np.array([(1 - 1 / n) ** n, (1 - 1 / n) ** (n - 1)])
    found = [np.sum(drawn == count) for count in (0, 1)]
    # Counts are far less variable than independent ones: six standard errors of those.
    close(np.array(found), expected, atol=6 * np.sqrt(600 * n / 4), rtol=0)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_words_are_those_of_jax(kind):
    with jax.enable_x64(True):
        key = jax.random.key(2**40 + 3, impl=kind)
        words = np.asarray(jax.random.bits(key, (37,), np.uint64))
        low, high = map(np.asarray, _words(key, 37))
    np.testing.assert_array_equal(low, words.astype(np.uint32))
    np.testing.assert_array_equal(high, (words >> np.uint64(32)).astype(np.uint32))


def draw_alone(n, reps):
    """The first of so many draws, by its own key: slots by the halves of 64-bit words."""
    with jax.enable_x64(True):
        key = jax.random.split(KEY, reps)[0]
        words = np.asarray(jax.random.bits(key, ((n + 1) // 2,), np.uint64))
    slots = np.concatenate([words & np.uint64(2**32 - 1), words >> np.uint64(32)])[:n]
    return np.bincount((slots * (n / 2**32)).astype(int), minlength=n)[None]


def test_clusters_are_drawn_whole():
    frequency, codes = 1.0 + np.arange(N) % 2, np.arange(N) // 5
    drawn = draw_frequencies(KEY, frequency, 50, codes).together() / frequency
    by_cluster = drawn.reshape(50, N // 5, 5)
    assert np.all(by_cluster == by_cluster[:, :, :1])
    assert np.all(by_cluster[:, :, 0].sum(axis=1) == N // 5)


def test_refits_are_fits_to_the_drawn_rows():
    results = fitted(offset=DATA.offset, var_weights=DATA.weights)
    working = results.working
    params, status = refit(working.problem, working.fitted, 3, 4)
    drawn = draw_frequencies(jax.random.key(3), working.problem.rows.replicates[1], 4).together()[
        :, :N
    ]
    assert np.all(status == 0)
    for weights, gamma in zip(drawn, params, strict=True):
        rows = np.repeat(np.arange(N), weights.astype(int))
        again = jaxglm.GLM(
            DATA.positive[rows],
            DATA.X[rows],
            families.Gamma(links.Log()),
            offset=DATA.offset[rows],
            var_weights=DATA.weights[rows],
        ).fit()
        close(working.coefficients(gamma), again.params, rtol=1e-7)


@pytest.mark.parametrize("by", ("rows", "clusters"))
def test_the_covariance_is_that_of_vcov_bs(by):
    X, y, given = data_of(CASE)
    results = jaxglm.GLM(y, X, family_of(CASE), **given).fit()
    groups = None if by == "rows" else np.array(CASE["g"])
    found = results.with_covariance("bootstrap", groups=groups, reps=8000, key=1)
    # A variance from B draws has a relative error of sqrt(2 / B): 1.6 % here, 1 % in R. Tails of
    # the draws are heavier than the normal's; four times both.
    se = np.sqrt(np.diagonal(np.array(CASE[by])))
    close(found.bse, se, rtol=0.04)
    correlation = np.array(CASE[by]) / np.outer(se, se)
    close(found.cov / np.outer(found.bse, found.bse), correlation, atol=0.06, rtol=0)
    assert found.df_resid_inference == (15 if by == "clusters" else results.df_resid)


def test_the_key_decides_and_options_are_kept():
    results = fitted()
    one, same, other = (results.with_covariance("bootstrap", reps=40, key=k) for k in (5, 5, 6))
    close(one.cov, same.cov, rtol=0)
    assert np.all(one.cov != other.cov)
    typed = results.with_covariance("bootstrap", reps=40, key=jax.random.key(5))
    close(one.cov, typed.cov, rtol=0)
    assert one.cov_kwds == {"reps": 40, "failed": 0}
    grouped = fitted().with_covariance("bootstrap", reps=40, groups=np.arange(N) // 3)
    assert grouped.cov_kwds["n_groups"] == N // 3 and grouped.df_resid_inference == N // 3 - 1


def test_refits_that_fail_are_counted_and_left_out():
    rare = np.zeros(N)
    rare[:2] = 1.0
    X = np.column_stack([np.ones(N), np.linspace(-1, 1, N)])
    y = np.where(np.arange(N) % 2 == 0, 0.0, 1.0) * rare
    results = jaxglm.GLM(y, X[:, :1], families.Binomial()).fit()
    with pytest.warns(FitWarning, match="of 60 refits did not converge") as caught:
        found = results.with_covariance("bootstrap", reps=60)
    assert [w.filename for w in caught] == [__file__]
    # Without the one success the maximum is at minus infinity: a share of 1/e.
    assert 8 <= found.cov_kwds["failed"] <= 36 and np.isfinite(found.bse).all()


def test_mistakes_are_named():
    results = fitted()
    with pytest.raises(ValueError, match="reps=1: allowed are integers >= 2"):
        results.with_covariance("bootstrap", reps=1)
    with pytest.raises(ValueError, match="one way"):
        results.with_covariance("bootstrap", groups=np.arange(2 * N).reshape(N, 2))
    with pytest.raises(ValueError, match="maxlags"):
        results.with_covariance("bootstrap", maxlags=2)


@pytest.mark.parametrize("reps", (20, 36_000))
@pytest.mark.parametrize("draw", (draw_frequencies, draw_shares))
@pytest.mark.parametrize("by", ("rows", "clusters"))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_lanes_that_draw_their_weights_are_those_with_the_weights(reps, draw, by, dtype):
    codes = None if by == "rows" else np.arange(N) // 4
    frequency = np.ones(N) if reps > 20 else 1.0 + np.arange(N) % 2
    draws = draw(KEY, frequency, reps, codes, np.arange(N) // 20)
    assert draws.shape == (reps, N)
    X, y = jax.numpy.asarray(DATA.X, dtype), DATA.count
    # Some need more passes than the first round has, and are gathered.
    found, expected = (
        fit_many(X, y, families.Poisson(), freq_weights=w, start=np.full(X.shape[1], 3.0))
        for w in (draws, draws.together())
    )
    np.testing.assert_array_equal(found.status, expected.status)
    close(found.params, expected.params, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert found.params.dtype == dtype
