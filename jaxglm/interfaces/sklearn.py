"""Floor 12: estimators for scikit-learn.

The objective is that of scikit-learn's own GLMs: the weighted mean of half the unit deviance plus
alpha/2 times the squared length of the coefficients, the intercept left out. Data are centred, so
that neither depends on where a feature's zero lies; features that depend on each other get the
shortest of the equivalent coefficients.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxglm.arguments import as_family
from jaxglm.batch import fit_many
from jaxglm.families import Binomial, Family, NegativeBinomial
from jaxglm.fit import Fit, Status, fit
from jaxglm.frames import float64
from jaxglm.links import Link
from jaxglm.solvers import IRLS

__all__ = [
    "GLMClassifier",
    "GeneralizedLinearRegressor",
    "GeneralizedLinearRegressorCV",
    "NegativeBinomialRegressor",
    "deviance_explained",
    "linear_predictor",
    "means",
]

# The ridge under which a fit without a finite maximum has one, in mean squares of the features.
FAINT = 1e-6


def linear_predictor(self: Any, X: Any, offset: Any = None) -> np.ndarray:
    """Linear predictors (n,) of a fitted estimator."""
    check_is_fitted(self)
    X = validate_data(self, X, dtype=np.float64, reset=False)
    shift = _offset(offset, len(X))
    return (
        X @ np.ravel(self.coef_) + np.ravel(self.intercept_)[0] + (0.0 if shift is None else shift)
    )


def means(self: Any, X: Any, offset: Any = None) -> np.ndarray:
    """Means (n,) of a fitted estimator."""
    eta = linear_predictor(self, X, offset)
    with float64():
        return np.asarray(self.family_.link.inverse(jnp.asarray(eta)))


def deviance_explained(
    self: Any, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
) -> float:
    """D2, the share of the deviance about the weighted mean of y that the model explains.

    With an offset, the model that it is compared with has none.
    """
    mu = means(self, X, offset)
    y = np.asarray(y, dtype=float)
    weight = _check_sample_weight(sample_weight, y, dtype=np.float64)
    centre = np.full_like(y, np.average(y, weights=weight))
    with float64():
        full, null = (_mean_deviance(self.family_, y, m, weight) for m in (mu, centre))
    return float(1.0 - full / null) if null > 0 else float(full == 0)


def regressor_tags(self: Any) -> Any:
    """scikit-learn's tags of a regressor with a `family`, whose support may be positive."""
    tags = RegressorMixin.__sklearn_tags__(self)
    tags.target_tags.positive_only = as_family(self.family).support.low >= 0
    return tags


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
        data = _read(self, X, y, sample_weight, offset)
        return _learn(self, _task(self, self.family, data), self.alpha)

    predict = means
    score = deviance_explained

    __sklearn_tags__ = regressor_tags


class GeneralizedLinearRegressorCV(RegressorMixin, BaseEstimator):
    """`GeneralizedLinearRegressor` with alpha chosen by cross-validated deviance.

    All folds and penalties are lanes of one batch. alphas: those tried, None for 20 from 1e-4 to
    10; cv: folds or a splitter of scikit-learn. Fitted besides: alpha_, alphas_ (k,), and
    deviance_path_ (k, folds), the held-out mean deviances.
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
        data = _read(self, X, y, sample_weight, offset)
        task = _task(self, self.family, data)
        alphas = np.logspace(-4, 1, 20) if self.alphas is None else np.asarray(list(self.alphas))
        for alpha in alphas.tolist():
            _check_alpha(alpha)
        folds = [test for _, test in check_cv(self.cv).split(data.X, data.y)]
        self.alphas_, self.deviance_path_ = alphas, _held_out(self, task, alphas, folds)
        mean = np.nanmean(
            np.where(np.isfinite(self.deviance_path_), self.deviance_path_, np.inf), 1
        )
        self.alpha_ = float(alphas[int(np.argmin(mean))])
        return _learn(self, task, self.alpha_)

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
        data = _read(self, X, y, sample_weight, offset)
        _learn(self, _task(self, NegativeBinomial(self.dispersion), data), self.alpha)
        self.dispersion_ = float(self.family_.alpha)
        return self

    predict = means
    score = deviance_explained

    def __sklearn_tags__(self) -> Any:
        tags = RegressorMixin.__sklearn_tags__(self)
        tags.target_tags.positive_only = True
        return tags


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
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        if len(self.classes_) != 2:
            raise ValueError(
                "Only binary classification is supported. GLMClassifier: y has "
                f"{len(self.classes_)} class{'es'[: 2 * (len(self.classes_) != 1)]}; needed are 2."
            )
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        data = _Data(X, encoder.transform(y).astype(float), weight, _offset(offset, len(X)))
        _learn(self, _task(self, Binomial(), data), self.alpha)
        self.coef_, self.intercept_ = self.coef_[None], np.atleast_1d(self.intercept_)
        return self

    def decision_function(self, X: Any, offset: Any = None) -> np.ndarray:
        """Linear predictors (n,)."""
        return linear_predictor(self, X, offset)

    def predict_proba(self, X: Any, offset: Any = None) -> np.ndarray:
        """Probabilities (n, 2) of the classes, in the order of classes_."""
        mean = means(self, X, offset)
        return np.column_stack([1.0 - mean, mean])

    def predict(self, X: Any, offset: Any = None) -> np.ndarray:
        """The likelier class (n,)."""
        second = means(self, X, offset) > 0.5
        return self.classes_[second.astype(int)]

    def __sklearn_tags__(self) -> Any:
        tags = ClassifierMixin.__sklearn_tags__(self)
        tags.classifier_tags.multi_class = False
        return tags


class _Data(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None


class _Coordinates(NamedTuple):
    """The design that is fitted, (X - centre) basis with an intercept, and the way back."""

    design: np.ndarray
    centre: np.ndarray
    basis: np.ndarray
    penalised: np.ndarray  # 1 for columns that the penalty shrinks, 0 for the intercept


class _Task(NamedTuple):
    """What is fitted: to which data, in which coordinates."""

    family: Family
    data: _Data
    at: _Coordinates


def _read(estimator: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> _Data:
    X, y = validate_data(estimator, X, y, dtype=np.float64, y_numeric=True)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return _Data(X, y.astype(float), weight, _offset(offset, len(X)))


def _offset(offset: Any, n: int) -> np.ndarray | None:
    if offset is None:
        return None
    found = np.asarray(offset, dtype=float)
    if found.shape not in ((), (n,)) or not np.isfinite(found).all():
        raise ValueError(f"offset: shape {found.shape}; allowed are finite numbers, ({n},).")
    return np.broadcast_to(found, (n,))


def _task(estimator: Any, family: Any, data: _Data) -> _Task:
    family, link = as_family(family), estimator.link
    family = family if link is None else dataclasses.replace(family, link=link)
    _check_response(family, data)
    return _Task(family, data, _coordinates(data, estimator.fit_intercept))


def _check_alpha(alpha: Any) -> None:
    if not (np.isscalar(alpha) and np.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha={alpha!r}: allowed are finite numbers >= 0.")


def _check_response(family: Family, data: _Data) -> None:
    with float64():
        inside = np.asarray(family.in_support(jnp.asarray(data.y)))
    outside = ~inside & (data.weight > 0)
    if outside.any():
        raise ValueError(
            f"y: {outside.sum()} values outside the support of {type(family).__name__}, "
            f"{family.support} (first: {data.y[outside.argmax()]:g})."
        )


def _coordinates(data: _Data, intercept: bool) -> _Coordinates:
    X, weight = data.X, data.weight
    p = X.shape[1]
    centre = np.average(X, axis=0, weights=weight) if intercept else np.zeros(p)
    moved = X - centre
    present = moved[weight > 0]
    length = np.linalg.norm(present, axis=0)
    unit = present / np.where(length > 0, length, 1.0)
    basis = np.eye(p)
    if np.linalg.eigvalsh(unit.T @ unit)[0] < 1e-10:
        # The row space: coefficients there are the shortest, and lengths do not change.
        _, size, rows = np.linalg.svd(present, full_matrices=False)
        rank = int(np.sum(size > size[0] * max(present.shape) * np.finfo(float).eps))
        basis = rows[:rank].T
    ones = [np.ones((len(X), 1))] if intercept else []
    design = np.concatenate([moved @ basis, *ones], axis=1)
    penalised = np.append(np.ones(basis.shape[1]), np.zeros(len(ones)))
    if design.shape[1] == 0:
        # All features are 0 and there is no intercept: a coefficient held at 0.
        return _Coordinates(np.zeros((len(X), 1)), centre, np.zeros((p, 1)), np.ones(1))
    return _Coordinates(design, centre, basis, penalised)


def _learn(estimator: Any, task: _Task, alpha: float) -> Any:
    """Fit, and set what a fitted estimator has."""
    _check_alpha(alpha)
    weight, at = task.data.weight, task.at
    # A column of zeros needs a penalty to have a solution.
    least = 0.0 if at.basis.any() or estimator.fit_intercept else 1.0
    fitted = _fitted(estimator, task, max(least, alpha * weight.sum()))
    status = Status(int(fitted.status))
    if status == Status.separated:
        least = FAINT * float(weight @ np.mean(at.design**2, axis=1))
        fitted = _fitted(estimator, task, max(least, alpha * weight.sum()))
    _put(estimator, fitted, at, status)
    return estimator


def _fitted(estimator: Any, task: _Task, strength: float) -> Fit:
    family, data, at = task
    with float64():
        return fit(
            at.design,
            data.y,
            family,
            offset=data.offset,
            var_weights=data.weight,
            penalty=None if strength == 0 else strength * at.penalised,
            solver=IRLS(estimator.tol, estimator.max_iter),
        )


def _put(estimator: Any, fitted: Fit, at: _Coordinates, status: Status) -> None:
    params = np.asarray(fitted.params)
    estimator.coef_ = at.basis @ params[: at.basis.shape[1]]
    level = params[-1] if estimator.fit_intercept else 0.0
    estimator.intercept_ = float(level - at.centre @ estimator.coef_)
    estimator.scale_, estimator.n_iter_ = float(fitted.scale), max(1, int(fitted.n_iter))
    estimator.family_, estimator.status_ = fitted.family, status.name
    if status not in (Status.converged, Status.boundary):
        name = type(estimator).__name__
        warnings.warn(f"{name}: {status.name}. {status.meaning}", ConvergenceWarning, stacklevel=4)


def _held_out(
    estimator: Any, task: _Task, alphas: np.ndarray, folds: list[np.ndarray]
) -> np.ndarray:
    """Mean deviances (k, folds) of rows left out, for each penalty: all fits in one batch."""
    family, data, at = task
    left = np.zeros((len(folds), len(data.y)), dtype=bool)
    for fold, rows in zip(left, folds, strict=True):
        fold[rows] = True
    weight = np.where(left, 0.0, data.weight)
    strength = np.outer(alphas, weight.sum(axis=1)).reshape(-1, 1) * at.penalised
    with float64():
        fits = fit_many(
            at.design,
            data.y,
            family,
            offset=data.offset,
            var_weights=np.tile(weight, (len(alphas), 1)),
            penalty=strength,
            solver=IRLS(estimator.tol, estimator.max_iter),
            cov=False,
        )
        eta = np.asarray(fits.params) @ at.design.T
        eta = eta if data.offset is None else eta + data.offset
        mu = np.asarray(family.link.inverse(jnp.asarray(eta)))
        held = np.tile(np.where(left, data.weight, 0.0), (len(alphas), 1))
        found = [_mean_deviance(family, data.y, m, w) for m, w in zip(mu, held, strict=True)]
    return np.array(found).reshape(len(alphas), len(folds))


def _mean_deviance(family: Family, y: np.ndarray, mu: np.ndarray, weight: np.ndarray) -> float:
    found = np.asarray(family.unit_deviance(jnp.asarray(y), jnp.asarray(mu)))
    return float(np.average(found, weights=weight))
