"""Groups, tables and tests of many fits: each lane as it would be by itself."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxglm import Status, families, fit, fit_many, links
from jaxglm.inference import adjust_pvalues, wald
from jaxglm.lanes import (
    adjusted,
    fit_groups,
    group_batch,
    has_inference,
    pvalues,
    to_frame,
    wald_lanes,
)

N, P, B = 40, 3, 6
FIELDS = ("params", "bse", "scale", "deviance", "loglike", "df_resid")


def make_design(n=N, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, P))
    X[:, 0] = 1.0
    return X


@pytest.fixture(scope="module")
def many():
    """Six Poisson fits, of which lane 2 has no data to fit."""
    X = make_design()
    Y = np.random.default_rng(1).poisson(np.exp(X @ [0.4, 0.3, 0.0]), size=(B, N)).astype(float)
    Y[2, 0] = np.nan
    return fit_many(X, Y, families.Poisson())


SOUND = np.array([0, 1, 3, 4, 5])


def test_pvalues_are_two_sided_tails(many):
    z = np.asarray(many.params / many.bse)[SOUND]
    np.testing.assert_allclose(pvalues(many)[SOUND], 2 * stats.norm.sf(np.abs(z)), rtol=1e-10)
    t = 2 * stats.t.sf(np.abs(z), N - P)
    np.testing.assert_allclose(pvalues(many, use_t=True)[SOUND], t, rtol=1e-10)
    assert np.isnan(pvalues(many)[2]).all()


def test_wald_lanes_are_single_wald_tests(many):
    R, q = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.1, 0.0])
    for use_t in (False, True):
        tests = wald_lanes(many, R, q, use_t=use_t)
        assert np.isnan(tests.statistic[2]) and np.isnan(tests.pvalue[2])
        for lane in SOUND:
            df = many.df_resid[lane] if use_t else None
            one = wald(many.params[lane], many.cov_params[lane], R, q, df)
            np.testing.assert_allclose(tests.statistic[lane], one.statistic, rtol=1e-9)
            np.testing.assert_allclose(tests.pvalue[lane], one.pvalue, rtol=1e-9)
            assert tests.df[lane] == 2


@pytest.mark.parametrize("method", ("bh", "holm", "bonferroni"))
def test_failed_lanes_are_no_tests(many, method):
    p = np.asarray(pvalues(many))
    expected = np.full((B, P), np.nan)
    for term in range(P):
        expected[SOUND, term] = adjust_pvalues(p[SOUND, term], method)
    np.testing.assert_allclose(adjusted(many, method), expected, rtol=1e-12)
    np.testing.assert_allclose(adjusted(p, method), expected, rtol=1e-12)
    np.testing.assert_allclose(adjusted(p[:, 1], method), expected[:, 1], rtol=1e-12)


@pytest.mark.parametrize("backend", ("pandas", "polars"))
def test_the_table_has_a_row_per_lane_and_term(many, backend):
    pytest.importorskip(backend)
    frame = to_frame(many, ["const", "a", "b"], [f"g{i}" for i in range(B)], backend)
    assert type(frame).__module__.split(".")[0] == backend
    assert list(frame.columns) == ["lane", "term", "estimate", "se", "z", "p", "status"]
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    assert len(frame) == B * P
    assert list(columns["lane"][: P + 1]) == ["g0", "g0", "g0", "g1"]
    assert list(columns["term"][: P + 1]) == ["const", "a", "b", "const"]
    assert set(columns["status"][2 * P : 3 * P]) == {"invalid_data"}
    assert set(np.delete(columns["status"], np.s_[2 * P : 3 * P])) == {"converged"}
    for name, values in (("estimate", many.params), ("se", many.bse), ("p", pvalues(many))):
        np.testing.assert_array_equal(columns[name], np.ravel(values))
    np.testing.assert_allclose(columns["z"], np.ravel(many.params / many.bse), rtol=1e-15)


def test_the_table_names_what_is_wrong(many, monkeypatch):
    with pytest.raises(ValueError, match="2 terms"):
        to_frame(many, ["a", "b"])
    with pytest.raises(ValueError, match="allowed are fits of fit_many"):
        to_frame(jax.tree.map(lambda v: v[0], many))


# Groups


SIZES = {"d": 7, "b": 30, "a": 2, "c": 13, "e": 120}


def stores(seed=3):
    """Rows of five stores in mixed order, with every argument by row; store c has a NaN."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(list(SIZES), list(SIZES.values())))
    n = groups.size
    X = make_design(n, seed)
    y = rng.gamma(3.0, np.exp(0.3 + 0.2 * X[:, 1]) / 3.0, size=n)
    rows = {
        "offset": 0.1 * rng.normal(size=n),
        "var_weights": rng.uniform(0.5, 2.0, size=n),
        "freq_weights": rng.integers(1, 3, size=n).astype(float),
    }
    X[np.flatnonzero(groups == "c")[4], 1] = np.nan
    return X, y, groups, rows


def test_groups_equal_separate_fits():
    X, y, groups, rows = stores()
    family = families.Gamma(links.Log())
    labels, fits = fit_groups(X, y, groups, family, **rows)
    assert list(labels) == ["a", "b", "c", "d", "e"]
    status = [Status(int(code)).name for code in fits.status]
    assert status == ["singular", "converged", "invalid_data", "converged", "converged"]
    for lane in (1, 3, 4):
        mine = groups == labels[lane]
        single = fit(X[mine], y[mine], family, **{k: v[mine] for k, v in rows.items()})
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(fits, name)[lane], getattr(single, name), rtol=1e-9, err_msg=name
            )


def test_padding_has_no_weight_and_few_lengths():
    X, y, groups, rows = stores()
    batch = group_batch(X, y, groups, offset=rows["offset"], var_weights=2.0)
    assert batch.X.shape == (5, 128, P) and batch.y.shape == (5, 128)
    np.testing.assert_array_equal(batch.freq_weights.sum(1), [SIZES[g] for g in batch.labels])
    for lane, label in enumerate(batch.labels):
        mine, inside = groups == label, batch.freq_weights[lane] > 0
        np.testing.assert_array_equal(batch.X[lane][inside], X[mine])
        np.testing.assert_array_equal(batch.offset[lane][inside], rows["offset"][mine])
        assert np.isfinite(batch.X[lane][~inside]).all()
    assert batch.n_trials is None and (batch.var_weights[:, 0] == 2.0).all()
    lengths = {group_batch(X[:n], y[:n], np.zeros(n)).y.shape[1] for n in range(1, 130)}
    assert sorted(lengths) == [8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def test_groups_of_proportions_and_counts_agree():
    X, _, groups, _ = stores()
    X[np.isnan(X)] = 0.0
    rng = np.random.default_rng(5)
    trials = rng.integers(1, 5, size=len(X)).astype(float)
    # Store e has proportions, the others only 0 and 1.
    trials[groups != "e"] = 1.0
    wins = rng.binomial(trials.astype(int), 0.4).astype(float)
    by_count = fit_groups(X, np.stack([wins, trials - wins], 1), groups, families.Binomial())
    by_share = fit_groups(X, wins / trials, groups, families.Binomial(), n_trials=trials)
    by_weight = fit_groups(X, wins / trials, groups, families.Binomial(), var_weights=trials)
    for other in (by_share, by_weight):
        np.testing.assert_array_equal(by_count.fits.status, other.fits.status)
        np.testing.assert_allclose(by_count.fits.params, other.fits.params, rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.zeros(3)}, r"groups: shape \(3,\)"),
        ({"groups": np.where(np.arange(254) == 7, np.nan, 1.0)}, "first at row 7"),
        ({"groups": np.array(["a", None] + ["b"] * 252, object)}, "first at row 1"),
        ({"y": np.zeros(253)}, r"y: shape \(253,\)"),
        ({"X": np.zeros(254)}, r"X: shape \(254,\)"),
        ({"offset": np.zeros((254, 1))}, "offset: shape"),
    ],
)
def test_wrong_groups_are_named(change, message):
    given = {"X": np.ones((254, 2)), "y": np.zeros(254), "groups": np.zeros(254)} | change
    with pytest.raises(ValueError, match=message):
        group_batch(**given)


@pytest.mark.dtype
def test_a_lane_at_alpha_zero_has_inference():
    X = make_design()
    rng = np.random.default_rng(8)
    Y = np.stack([rng.binomial(6, 0.5, size=N), rng.negative_binomial(1.0, 0.2, size=N)])
    fits = fit_many(X, Y.astype(float), families.NegativeBinomial(alpha=None))
    assert [Status(int(s)).name for s in fits.status] == ["boundary", "converged"]
    assert has_inference(fits).all() and np.isfinite(pvalues(fits)).all()


@pytest.mark.dtype
def test_lanes_keep_their_precision():
    X, y = make_design(), np.random.default_rng(2).poisson(1.5, size=N).astype(float)
    groups = np.repeat(["a", "b"], N // 2)
    for dtype in (np.float32, np.float64):
        fits = fit_groups(X, y, groups, families.Poisson(), dtype=dtype).fits
        assert fits.params.dtype == pvalues(fits).dtype == adjusted(fits).dtype == dtype
        assert wald_lanes(fits, np.eye(P)[1:]).pvalue.dtype == dtype
        frame = to_frame(fits, lanes=["a", "b"])
        assert frame["p"].dtype == frame["se"].dtype == dtype and frame["p"].notna().all()
