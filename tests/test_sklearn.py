"""The estimators keep scikit-learn's contract, and agree with its GLMs and with the array door.

scikit-learn's own checks compile for many shapes: by default one estimator takes them, with
HYPOTHESIS_PROFILE=nightly all.
"""

import os
import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from jaxglm import GLM, families, links
from jaxglm.interfaces.sklearn import (
    GeneralizedLinearRegressor,
    GeneralizedLinearRegressorCV,
    GLMClassifier,
    GLMClassifierCV,
    NegativeBinomialRegressor,
    NegativeBinomialRegressorCV,
)

RNG = np.random.default_rng(8)
N = 60
X = RNG.normal(size=(N, 3)) + [0.0, 2.0, 0.0]
ETA = 0.3 + X @ [0.4, -0.3, 0.2]
COUNT = RNG.poisson(np.exp(ETA)).astype(float)
POSITIVE = RNG.gamma(2.0, np.exp(ETA) / 2.0)
CLASS = np.where(RNG.random(N) < 1.0 / (1.0 + np.exp(-ETA)), "yes", "no")
WEIGHT = RNG.uniform(0.5, 2.0, N)

ESTIMATORS = [
    GeneralizedLinearRegressor(),
    GLMClassifier(),
    GeneralizedLinearRegressorCV(alphas=[0.1, 1.0], cv=3),
    NegativeBinomialRegressor(dispersion=0.5, alpha=0.1),
    GLMClassifierCV(alphas=[0.1, 1.0], cv=2),
    NegativeBinomialRegressorCV(dispersion=0.5, alphas=[0.1, 1.0], cv=2),
]
CHECKED = ESTIMATORS if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else ESTIMATORS[:1]


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda e: type(e).__name__)
def test_the_checks_of_scikit_learn_pass(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert failed == [] and len(results) > 50


@pytest.mark.parametrize("alpha", [0.01, 0.5])
@pytest.mark.parametrize(
    ("family", "theirs", "y"),
    [("poisson", PoissonRegressor, COUNT), (families.Gamma(links.Log()), GammaRegressor, POSITIVE)],
    ids=["poisson", "gamma"],
)
def test_the_objective_is_that_of_scikit_learn(family, theirs, y, alpha):
    ours = GeneralizedLinearRegressor(family, alpha=alpha).fit(X, y, WEIGHT)
    wanted = theirs(alpha=alpha, solver="newton-cholesky", tol=1e-10).fit(X, y, WEIGHT)
    np.testing.assert_allclose(ours.coef_, wanted.coef_, rtol=1e-7)
    assert ours.intercept_ == pytest.approx(wanted.intercept_, rel=1e-7)
    np.testing.assert_allclose(ours.predict(X), wanted.predict(X), rtol=1e-7)
    assert ours.score(X, y, WEIGHT) == pytest.approx(wanted.score(X, y, WEIGHT), rel=1e-7)


def test_the_classifier_is_logistic_regression_under_its_penalty():
    ours = GLMClassifier(alpha=0.02).fit(X, CLASS, WEIGHT)
    wanted = LogisticRegression(
        C=1.0 / (0.02 * WEIGHT.sum()), solver="newton-cholesky", tol=1e-10
    ).fit(X, CLASS, WEIGHT)
    np.testing.assert_allclose(ours.coef_, wanted.coef_, rtol=1e-7)
    np.testing.assert_allclose(ours.predict_proba(X), wanted.predict_proba(X), rtol=1e-7)
    assert (ours.predict(X) == wanted.predict(X)).all()


def test_without_penalty_the_fit_is_that_of_the_array_door():
    offset = 0.1 * RNG.normal(size=N)
    found = NegativeBinomialRegressor().fit(X, COUNT + 3.0 * (X[:, 0] > 1), offset=offset)
    wanted = GLM(
        COUNT + 3.0 * (X[:, 0] > 1),
        np.column_stack([np.ones(N), X]),
        families.NegativeBinomial(None),
        offset=offset,
    ).fit()
    np.testing.assert_allclose([found.intercept_, *found.coef_], wanted.params, rtol=1e-7)
    assert found.dispersion_ == pytest.approx(wanted.family.alpha, rel=1e-6)
    np.testing.assert_allclose(found.predict(X, offset=offset), wanted.mu, rtol=1e-7)


def test_cross_validation_is_a_loop_of_fits():
    alphas, folds = [1e-3, 0.1, 3.0], KFold(4, shuffle=True, random_state=1)
    found = GeneralizedLinearRegressorCV("poisson", alphas=alphas, cv=folds).fit(X, COUNT)
    for i, alpha in enumerate(alphas):
        for j, (train, test) in enumerate(folds.split(X)):
            # The batch centres at the mean of all rows, which changes no fit with an intercept.
            alone = GeneralizedLinearRegressor("poisson", alpha=alpha).fit(X[train], COUNT[train])
            mu = alone.predict(X[test])
            deviance = np.mean(families.Poisson().unit_deviance(COUNT[test], mu))
            assert found.deviance_path_[i, j] == pytest.approx(float(deviance), rel=1e-7)
    assert found.alpha_ == alphas[int(np.argmin(found.deviance_path_.mean(axis=1)))]
    whole = GeneralizedLinearRegressor("poisson", alpha=found.alpha_).fit(X, COUNT)
    np.testing.assert_allclose(found.coef_, whole.coef_, rtol=1e-9)


@pytest.mark.parametrize(
    ("chosen", "alone", "y"),
    [
        (GLMClassifierCV(alphas=[0.02, 0.5], cv=3), GLMClassifier, CLASS),
        (NegativeBinomialRegressorCV(alphas=[0.02, 0.5], cv=3), NegativeBinomialRegressor, COUNT),
    ],
    ids=["classes", "counts"],
)
def test_what_is_chosen_is_fitted(chosen, alone, y):
    found = clone(chosen).fit(X, y)
    wanted = alone(alpha=found.alpha_).fit(X, y)
    assert found.alpha_ == found.alphas_[np.argmin(found.deviance_path_.mean(axis=1))]
    np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-9)
    assert found.score(X, y) == wanted.score(X, y)
    assert found.deviance_path_.shape == (2, 3) and np.isfinite(found.deviance_path_).all()


def test_dependent_features_get_the_shortest_coefficients():
    twice = np.column_stack([X, X[:, 0] + X[:, 1]])
    found = GeneralizedLinearRegressor("poisson").fit(twice, COUNT)
    plain = GeneralizedLinearRegressor("poisson").fit(X, COUNT)
    np.testing.assert_allclose(found.predict(twice), plain.predict(X), rtol=1e-8)
    null = np.array([1.0, 1.0, 0.0, -1.0])
    assert abs(found.coef_ @ null) < 1e-9


def test_pipelines_clones_and_searches():
    model = make_pipeline(StandardScaler(), GeneralizedLinearRegressor("poisson", alpha=0.1))
    scores = cross_val_score(clone(model), X, COUNT, cv=3)
    assert scores.shape == (3,) and np.isfinite(scores).all()
    assert model.fit(X, COUNT, generalizedlinearregressor__offset=np.zeros(N)).score(X, COUNT) > 0


def test_offsets_and_weights_are_routed_and_estimators_travel():
    offset, plain = 0.1 * X[:, 0], GeneralizedLinearRegressor("poisson", alpha=0.1)
    with sklearn.config_context(enable_metadata_routing=True):
        asks = clone(plain).set_fit_request(offset=True, sample_weight=True)
        asks.set_score_request(offset=True, sample_weight=True)
        search = GridSearchCV(asks, {"alpha": [0.1]}, cv=2)
        search.fit(X, COUNT, offset=offset, sample_weight=WEIGHT)
    wanted = plain.fit(X, COUNT, WEIGHT, offset)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_allclose(again.predict(X, offset), wanted.predict(X, offset), rtol=1e-12)


def test_classes_that_separate_are_said_and_still_predicted():
    y = (X[:, 0] > 0).astype(int)
    with pytest.warns(ConvergenceWarning, match="separated"):
        found = GLMClassifier().fit(X, y)
    assert found.status_ == "separated" and found.score(X, y) == 1.0
    assert np.isfinite(found.coef_).all()


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (
            GeneralizedLinearRegressor("poisson"),
            COUNT - 5.0,
            "y: .* outside the support of Poisson",
        ),
        (GeneralizedLinearRegressor(alpha=-1.0), COUNT, "alpha=-1.0"),
        (GeneralizedLinearRegressorCV(alphas=[-1.0]), COUNT, "alpha=-1.0"),
        (GeneralizedLinearRegressor("poison"), COUNT, "Did you mean 'poisson'"),
    ],
    ids=["support", "alpha", "alphas", "family"],
)
def test_wrong_arguments_are_named(estimator, y, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)


def test_a_wrong_offset_is_named():
    with pytest.raises(ValueError, match=r"offset: shape \(2,\)"):
        GeneralizedLinearRegressor().fit(X, COUNT, offset=np.zeros(2))
