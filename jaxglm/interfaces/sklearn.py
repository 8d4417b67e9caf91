"""Floor 12: estimators for scikit-learn.

The objective is that of scikit-learn's own GLMs: the weighted mean of half the unit deviance plus
alpha/2 times the squared length of the coefficients, the intercept left out. Data are centred, so
that neither depends on where a feature's zero lies; features that depend on each other get the
shortest of the equivalent coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import check_cv

from jaxglm.families import Binomial, Family, NegativeBinomial
from jaxglm.interfaces.estimation import (
    as_row,
    choose,
    classifier_tags,
    classify,
    count_tags,
    deviance_explained,
    learn,
    linear_predictor,
    means,
    probabilities,
    read,
    read_classes,
    regressor_tags,
    task_of,
)
from jaxglm.links import Link

__all__ = [
    "GLMClassifier",
    "GLMClassifierCV",
    "GeneralizedLinearRegressor",
    "GeneralizedLinearRegressorCV",
    "NegativeBinomialRegressor",
    "NegativeBinomialRegressorCV",
]


class GeneralizedLinearRegressor(RegressorMixin, BaseEstimator):
    """A generalized linear model as a regressor; `alpha` = 0 is maximum likelihood.

    family: of `jaxglm.families`, an instance, class or name; link: of `jaxglm.links`, None for the
    family's own. fit and predict take an `offset` (n,), score the mean deviance explained, D2.

    Fitted: coef_ (p,), intercept_, scale_, n_iter_, status_ (a `Status`'s name), family_. Warns
    with ConvergenceWarning where the fit did not converge.
    """

    def __init__(
        self,
        family: Family | type[Family] | str = "gaussian",
        link: Link | None = None,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.family = family
        self.link = link
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
    ) -> GeneralizedLinearRegressor:
        """Estimate the coefficients; sample_weight (n,) are precisions, 0 leaves a row out."""
        data = read(self, X, y, sample_weight, offset)
        return learn(self, task_of(self, self.family, data), self.alpha)

    predict = means
    score = deviance_explained

    __sklearn_tags__ = regressor_tags


class GeneralizedLinearRegressorCV(RegressorMixin, BaseEstimator):
    """`GeneralizedLinearRegressor` with alpha chosen by cross-validated deviance.

    All folds and penalties are lanes of one batch. alphas: those tried, None for 20 from 1e-4 to
    10. cv: the number of folds, a splitter of scikit-learn, or pairs of training and test rows, as
    list(GroupKFold().split(X, y, groups)). A parameter of the family that is to be estimated stays,
    while alpha is chosen, at its estimate under the smallest.

    Fitted besides: alpha_, alphas_ (k,), and deviance_path_ (k, folds), the held-out mean
    deviances.
    """

    def __init__(
        self,
        family: Family | type[Family] | str = "gaussian",
        link: Link | None = None,
        alphas: Iterable[float] | None = None,
        cv: Any = None,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.family = family
        self.link = link
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
    ) -> GeneralizedLinearRegressorCV:
        """Choose alpha and fit with it; arguments as of `GeneralizedLinearRegressor.fit`."""
        data = read(self, X, y, sample_weight, offset)
        return choose(self, task_of(self, self.family, data), check_cv(self.cv))

    predict = means
    score = deviance_explained

    __sklearn_tags__ = regressor_tags


class NegativeBinomialRegressor(RegressorMixin, BaseEstimator):
    """Overdispersed counts, V = mu + dispersion mu^2, with a log link unless another is given.

    dispersion None: by maximum likelihood with the coefficients; `alpha` is the ridge's strength.
    Fitted as `GeneralizedLinearRegressor`, and dispersion_.
    """

    def __init__(
        self,
        dispersion: float | None = None,
        link: Link | None = None,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.dispersion = dispersion
        self.link = link
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
    ) -> NegativeBinomialRegressor:
        """Estimate the coefficients and the dispersion."""
        data = read(self, X, y, sample_weight, offset)
        learn(self, task_of(self, NegativeBinomial(self.dispersion), data), self.alpha)
        self.dispersion_ = float(self.family_.alpha)
        return self

    predict = means
    score = deviance_explained

    __sklearn_tags__ = count_tags


class NegativeBinomialRegressorCV(RegressorMixin, BaseEstimator):
    """`NegativeBinomialRegressor` with alpha chosen as by `GeneralizedLinearRegressorCV`."""

    def __init__(
        self,
        dispersion: float | None = None,
        link: Link | None = None,
        alphas: Iterable[float] | None = None,
        cv: Any = None,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.dispersion = dispersion
        self.link = link
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
    ) -> NegativeBinomialRegressorCV:
        """Choose alpha and fit with it, the dispersion too."""
        data = read(self, X, y, sample_weight, offset)
        choose(self, task_of(self, NegativeBinomial(self.dispersion), data), check_cv(self.cv))
        self.dispersion_ = float(self.family_.alpha)
        return self

    predict = means
    score = deviance_explained

    __sklearn_tags__ = count_tags


class GLMClassifier(ClassifierMixin, BaseEstimator):
    """Two classes by a Binomial model with any link; `alpha` = 0 is maximum likelihood.

    Fitted: classes_ (2,), coef_ (1, p), intercept_ (1,), n_iter_, status_, family_. Where the
    classes separate there is no finite maximum: a warning says so, and the coefficients are those
    of a faint ridge, 1e-6 of the features' mean square; set alpha > 0 for a choice of yours.
    """

    def __init__(
        self,
        link: Link | None = None,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.link = link
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> GLMClassifier:
        """Estimate the coefficients of the second class's log odds, or another link's eta."""
        data = read_classes(self, X, y, sample_weight, offset)
        return as_row(learn(self, task_of(self, Binomial(), data), self.alpha))

    decision_function = linear_predictor
    predict_proba = probabilities
    predict = classify

    __sklearn_tags__ = classifier_tags


class GLMClassifierCV(ClassifierMixin, BaseEstimator):
    """`GLMClassifier` with alpha chosen as by `GeneralizedLinearRegressorCV`, folds stratified."""

    def __init__(
        self,
        link: Link | None = None,
        alphas: Iterable[float] | None = None,
        cv: Any = None,
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float | None = None,
    ) -> None:
        self.link = link
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> GLMClassifierCV:
        """Choose alpha and fit with it; arguments as of `GLMClassifier.fit`."""
        data = read_classes(self, X, y, sample_weight, offset)
        splitter = check_cv(self.cv, data.y, classifier=True)
        return as_row(choose(self, task_of(self, Binomial(), data), splitter))

    decision_function = linear_predictor
    predict_proba = probabilities
    predict = classify

    __sklearn_tags__ = classifier_tags
