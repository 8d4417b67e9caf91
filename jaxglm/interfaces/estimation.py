"""Floor 12: what scikit-learn's estimators have in common: data, fits, folds, predictions."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxglm.arguments import as_family
from jaxglm.batch import fit_many
from jaxglm.families import Family
from jaxglm.fit import Fit, Status, fit
from jaxglm.frames import float64
from jaxglm.solvers import IRLS

__all__ = [
    "Data",
    "Task",
    "as_row",
    "choose",
    "classifier_tags",
    "classify",
    "count_tags",
    "deviance_explained",
    "learn",
    "linear_predictor",
    "means",
    "probabilities",
    "read",
    "read_classes",
    "regressor_tags",
    "task_of",
]

# The ridge under which a fit without a finite maximum has one, in mean squares of the features.
FAINT = 1e-6


class Data(NamedTuple):
    """Rows of scikit-learn's kind, as float64 arrays."""

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


class Task(NamedTuple):
    """What is fitted: to which data, in which coordinates."""

    family: Family
    data: Data
    at: _Coordinates


def read(estimator: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Data:
    """Data of a regressor."""
    X, y = validate_data(estimator, X, y, dtype=np.float64, y_numeric=True)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return Data(X, y.astype(float), weight, _offset(offset, len(X)))


def read_classes(estimator: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Data:
    """Data whose y is 1 for the second class; sets classes_."""
    X, y = validate_data(estimator, X, y, dtype=np.float64)
    check_classification_targets(y)
    encoder = LabelEncoder().fit(y)
    estimator.classes_ = encoder.classes_
    count = len(encoder.classes_)
    if count != 2:
        raise ValueError(
            f"Only binary classification is supported. {type(estimator).__name__}: y has "
            f"{count} class{'es'[: 2 * (count != 1)]}; needed are 2."
        )
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    return Data(X, encoder.transform(y).astype(float), weight, _offset(offset, len(X)))


def _offset(offset: Any, n: int) -> np.ndarray | None:
    if offset is None:
        return None
    found = np.asarray(offset, dtype=float)
    if found.shape not in ((), (n,)) or not np.isfinite(found).all():
        raise ValueError(f"offset: shape {found.shape}; allowed are finite numbers, ({n},).")
    return np.broadcast_to(found, (n,))


def task_of(estimator: Any, family: Any, data: Data) -> Task:
    """The estimator's link put into the family, and the data into coordinates."""
    family, link = as_family(family), estimator.link
    family = family if link is None else dataclasses.replace(family, link=link)
    _check_response(family, data)
    return Task(family, data, _coordinates(data, estimator.fit_intercept))


def _check_alpha(alpha: Any) -> None:
    if not (np.isscalar(alpha) and np.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha={alpha!r}: allowed are finite numbers >= 0.")


def _check_response(family: Family, data: Data) -> None:
    with float64():
        inside = np.asarray(family.in_support(jnp.asarray(data.y)))
    outside = ~inside & (data.weight > 0)
    if outside.any():
        raise ValueError(
            f"y: {outside.sum()} values outside the support of {type(family).__name__}, "
            f"{family.support} (first: {data.y[outside.argmax()]:g})."
        )


def _coordinates(data: Data, intercept: bool) -> _Coordinates:
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


def learn(estimator: Any, task: Task, alpha: float) -> Any:
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


def choose(estimator: Any, task: Task, splitter: Any) -> Any:
    """Fit with the alpha of least held-out deviance, and set what tells of the choice."""
    given = estimator.alphas
    alphas = np.logspace(-4, 1, 20) if given is None else np.asarray(list(given))
    for alpha in alphas.tolist():
        _check_alpha(alpha)
    known = task
    if task.family.is_estimated:
        # Deviances are comparable at one parameter alone.
        least = float(alphas.min()) * task.data.weight.sum()
        known = task._replace(family=_fitted(estimator, task, least).family)
    folds = [test for _, test in splitter.split(task.data.X, task.data.y)]
    estimator.alphas_, estimator.deviance_path_ = alphas, _held_out(estimator, known, alphas, folds)
    path = np.where(np.isfinite(estimator.deviance_path_), estimator.deviance_path_, np.inf)
    estimator.alpha_ = float(alphas[int(np.argmin(path.mean(axis=1)))])
    return learn(estimator, task, estimator.alpha_)


def as_row(estimator: Any) -> Any:
    """A classifier's coefficients, in scikit-learn's shapes."""
    estimator.coef_ = estimator.coef_[None]
    estimator.intercept_ = np.atleast_1d(estimator.intercept_)
    return estimator


def _fitted(estimator: Any, task: Task, strength: float) -> Fit:
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
    estimator: Any, task: Task, alphas: np.ndarray, folds: list[np.ndarray]
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
            likelihood=False,
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


def probabilities(self: Any, X: Any, offset: Any = None) -> np.ndarray:
    """Probabilities (n, 2) of the classes, in the order of classes_."""
    mean = means(self, X, offset)
    return np.column_stack([1.0 - mean, mean])


def classify(self: Any, X: Any, offset: Any = None) -> np.ndarray:
    """The likelier class (n,)."""
    second = means(self, X, offset) > 0.5
    return self.classes_[second.astype(int)]


def regressor_tags(self: Any) -> Any:
    """scikit-learn's tags of a regressor with a `family`, whose support may be positive."""
    tags = RegressorMixin.__sklearn_tags__(self)
    tags.target_tags.positive_only = as_family(self.family).support.low >= 0
    return tags


def count_tags(self: Any) -> Any:
    """scikit-learn's tags of a regressor of counts."""
    tags = RegressorMixin.__sklearn_tags__(self)
    tags.target_tags.positive_only = True
    return tags


def classifier_tags(self: Any) -> Any:
    """scikit-learn's tags of a classifier of two classes."""
    tags = ClassifierMixin.__sklearn_tags__(self)
    tags.classifier_tags.multi_class = False
    return tags
