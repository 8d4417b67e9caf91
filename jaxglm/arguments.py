"""Floor 10: the arguments of a result's methods, read and checked against its model."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxglm.frames import to_float, to_matrix
from jaxglm.hypotheses import parse_hypotheses


def hypothesis(exog_names: tuple[str, ...], what: Any, q: Any) -> tuple[np.ndarray, Any]:
    """(R, q) of R beta = q, from text or as given."""
    if not isinstance(what, str):
        return np.atleast_2d(np.asarray(what, dtype=np.float64)), q
    if q is not None:
        raise ValueError("q: already given by the text of the hypothesis; pass one.")
    return parse_hypotheses(what, exog_names)


def cluster_labels(groups: Any, present: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Labels for rows filled up to `length`, and the number of clusters (the fewer of two ways)."""
    if groups is None:
        raise ValueError('cov_type="cluster": needs groups, (n,) or (n, 2).')
    labels, n = np.asarray(groups), len(present)
    if labels.shape[:1] != (n,):
        raise ValueError(f"groups: shape {labels.shape}; allowed are ({n},) and ({n}, 2).")
    counts = [np.unique(column[present]).size for column in np.atleast_2d(labels.T)]
    return np.concatenate([labels, np.repeat(labels[:1], length - n, axis=0)]), min(counts)


def matched_columns(exog: Any, exog_names: tuple[str, ...]) -> np.ndarray:
    """A new design, a frame's columns in the order of the model's."""
    names = getattr(exog, "columns", None)
    if names is not None and set(exog_names) <= set(map(str, names)):
        exog = exog[list(exog_names)]
    X = to_matrix("predict(exog=...)", exog)
    if X.shape[1] != len(exog_names):
        raise ValueError(
            f"predict(exog=...): {X.shape[1]} columns; the model has {len(exog_names)}."
        )
    return X


def total_offset(offset: Any, exposure: Any, needed: bool, n: int) -> np.ndarray | None:
    """offset + log(exposure) for n new rows; a model fitted with one needs one."""
    if offset is None and exposure is None:
        if needed:
            raise ValueError(
                "predict: the model was fitted with an offset or exposure; pass offset=... or "
                "exposure=... for the new rows (offset=0 for none)."
            )
        return None
    total = np.zeros(n) if offset is None else to_float("predict(offset=...)", offset)
    if exposure is not None:
        total = total + np.log(to_float("predict(exposure=...)", exposure))
    if total.shape not in ((), (n,)) or not np.isfinite(total).all():
        raise ValueError(
            f"predict(offset=...): shape {total.shape}; allowed are ({n},) or a number, finite."
        )
    return np.broadcast_to(total, (n,))


def marginal_columns(
    X: np.ndarray, aliased: np.ndarray, dummy: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The columns that have a marginal effect, and which of them are 0/1 where `dummy` asks."""
    varying = [j for j in range(X.shape[1]) if np.ptp(X[:, j]) > 0 and not aliased[j]]
    binary = [j for j in varying if dummy and np.isin(X[:, j], (0.0, 1.0)).all()]
    return tuple(varying), tuple(binary)
