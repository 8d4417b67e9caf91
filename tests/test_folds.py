"""Cross-validation: each fold refitted by hand, scikit-learn's scores, the one-standard-error rule."""

import numpy as np
import pytest
from sklearn import metrics

from jaxglm import families, fit
from jaxglm.resample import CrossValidation, cross_validate
from jaxglm.resample.folds import assign_folds

RNG = np.random.default_rng(31)
N, P, K = 60, 3, 4
X = np.column_stack([np.ones(N), RNG.normal(size=(N, P - 1))])
ETA = X @ [0.2, 1.0, -0.5]
BINARY = (RNG.uniform(size=N) < 1 / (1 + np.exp(-ETA))).astype(float)
GRID = np.array([0.01, 1.0, 100.0])
WEIGHTS = 1.0 + np.arange(N) % 3


def close(got, wanted, rtol=1e-8):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted, float), rtol=rtol)


def test_folds_are_fitted_and_scored_as_by_hand():
    found = cross_validate(
        X, BINARY, families.Binomial(), key=1, folds=K, repeats=2, penalties=GRID,
        freq_weights=WEIGHTS,
    )  # fmt: skip
    assert found.params.shape == (2, K, 3, P) and found.tally() == {"converged": 24}
    for repeat, fold, j in ((0, 0, 0), (1, 2, 1), (1, 3, 2)):
        out = found.folds[repeat] == fold
        kept = np.where(out, 0.0, WEIGHTS)
        alone = fit(X, BINARY, families.Binomial(), freq_weights=kept, penalty=GRID[j])
        close(found.params[repeat, fold, j], alone.params)
        y, w = BINARY[out], WEIGHTS[out]
        mu = 1 / (1 + np.exp(-X[out] @ np.asarray(alone.params)))
        scores = {name: v[repeat, fold, j] for name, v in found.scores.items()}
        close(scores["auc"], metrics.roc_auc_score(y, mu, sample_weight=w))
        close(scores["brier"], metrics.brier_score_loss(y, mu, sample_weight=w))
        close(scores["mse"], scores["brier"])
        log_loss = metrics.log_loss(y, mu, sample_weight=w)
        close(scores["log_score"], log_loss)
        close(scores["deviance"], 2 * log_loss)
        mean = np.full(len(y), np.average(y, weights=w))
        close(scores["d2"], 1 - log_loss / metrics.log_loss(y, mean, sample_weight=w))


def test_scores_of_counts_are_those_of_their_definition():
    y = np.round(np.exp(ETA))
    labels = np.arange(N) % K
    found = cross_validate(X, y, families.Poisson(), folds=labels)
    out = labels == 2
    mu = np.exp(X[out] @ found.params[0, 2, 0])
    close(found.scores["deviance"][0, 2, 0], metrics.mean_poisson_deviance(y[out], mu))
    close(found.scores["d2"][0, 2, 0], metrics.d2_tweedie_score(y[out], mu, power=1))
    close(found.scores["mse"][0, 2, 0], metrics.mean_squared_error(y[out], mu))
    assert "auc" not in found.scores and np.all(found.folds[0] == labels)


def test_trials_are_so_many_single_responses():
    trials = 1.0 + np.arange(N) % 4
    wins = np.floor(trials * (0.2 + 0.6 * (ETA > 0)))
    rows = np.repeat(np.arange(N), 2)
    y, f = np.tile([1.0, 0.0], N), np.column_stack([wins, trials - wins]).ravel()
    labels = np.arange(N) % K
    paired = cross_validate(
        X, np.column_stack([wins, trials - wins]), families.Binomial(), folds=labels
    )
    single = cross_validate(X[rows], y, families.Binomial(), folds=labels[rows], freq_weights=f)
    close(paired.params, single.params)
    close(paired.scores["auc"], single.scores["auc"])


def test_folds_are_equal_spread_strata_and_keep_groups():
    labels = assign_folds(0, np.ones(N, bool), K, 3)
    assert all(np.all(np.bincount(row) == N // K) for row in labels)
    assert len(np.unique(labels, axis=0)) == 3
    strata = (np.arange(N) < 20).astype(int)
    spread = assign_folds(0, np.ones(N, bool), K, 1, strata)[0]
    assert np.all(np.bincount(spread[:20]) == 5) and np.all(np.bincount(spread[20:]) == 10)
    groups = np.arange(N) // 5
    kept = assign_folds(0, np.ones(N, bool), K, 1, None, groups)[0].reshape(-1, 5)
    assert np.all(kept == kept[:, :1]) and np.all(np.bincount(kept[:, 0]) == 3)


def made(scores, penalties):
    """A record of one score (repeats, K, L)."""
    shape = np.shape(scores)
    codes = np.zeros(shape, int)
    both = {"deviance": np.array(scores), "auc": -np.array(scores)}
    return CrossValidation(codes[..., 0], np.array(penalties), np.zeros((*shape, 1)), codes, both)


def test_the_one_standard_error_rule_takes_the_strongest_penalty_near_the_best():
    by_fold = np.array([[[1.0, 0.9, 1.1, 3.0], [1.2, 1.1, 1.1, 3.2], [1.4, 1.3, 1.4, 3.1]]])
    found = made(by_fold, [10.0, 0.1, 30.0, 100.0])
    close(found.mean(), by_fold[0].mean(axis=0))
    close(found.se()[1], 0.2 / np.sqrt(3))
    # 1.1 + 0.115 holds 1.2 but for rounding; of 0.1, 10 and 30 the last is strongest.
    assert found.best() == 1 and found.one_standard_error() == 2
    assert found.best("auc") == 1 and found.one_standard_error("auc") == 2
    repeated = made(np.concatenate([by_fold, by_fold[:, ::-1]]), [1.0, 2.0, 3.0, 4.0])
    close(repeated.se(), found.se())


def test_a_penalty_with_a_failed_fold_is_not_chosen():
    y = (X[:, 1] > 0).astype(float)
    found = cross_validate(X, y, families.Binomial(), key=1, folds=K, penalties=[0.0, 1.0, 10.0])
    assert set(found.tally()) == {"separated", "converged"}
    assert np.isnan(found.mean()[0]) and found.best() == 1


def test_mistakes_are_named():
    for given, match in (
        ({"folds": 1}, "folds=1: allowed are integers >= 2"),
        ({"folds": np.zeros(3)}, "folds: shape"),
        ({"strata": BINARY, "groups": BINARY}, "give one of them"),
        ({"repeats": 0}, "repeats=0"),
    ):
        with pytest.raises(ValueError, match=match):
            cross_validate(X, BINARY, families.Binomial(), **given)
    with pytest.raises(ValueError, match="allowed are deviance, auc"):
        made(np.zeros((1, 2, 1)), [1.0]).mean("aic")
