"""Floor 0: labels of rows: those of groups as integers, and pandas' index and names.

What came in with an index goes out with it. pandas is imported only where its objects were given,
or asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np


def index_of(*inputs: Any) -> Any:
    """The index of the first pandas object among the inputs that has one, or None."""
    for value in inputs:
        if type(value).__module__.partition(".")[0] == "pandas":
            index = getattr(value, "index", None)  # arrays of pandas have none
            if index is not None:
                return index
    return None


def by_row(found: Any, index: Any, columns: Sequence[str] | None = None) -> Any:
    """An array or record whose (n, ...) arrays are Series or DataFrames on this index of n rows.

    `columns` name those of (n, k) arrays. Where index is None all stays as it is.
    """
    return found if index is None else jax.tree.map(partial(_labelled, index, columns), found)


def by_name(found: Any, names: Sequence[str] | None, *, square: bool = False) -> Any:
    """`by_row` of p rows with these names; those of (p, p) arrays name the columns too."""
    return by_row(found, None if names is None else list(names), names if square else None)


def as_frame(columns: dict[str, Any], backend: Any = "pandas") -> Any:
    """A data frame of columns (n,); pandas' is on their index where they are Series.

    backend: "pandas", another eager one of narwhals, or None for the columns as they are.
    """
    if backend is None:
        return columns
    if backend == "pandas":
        import pandas as pd

        return pd.DataFrame(columns)
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return narwhals().from_dict(arrays, backend=backend).to_native()


def narwhals() -> Any:
    """The package, where it is installed."""
    try:
        import narwhals
    except ImportError as error:
        raise ImportError("frames need narwhals: pip install 'jaxglm[frames]'.") from error
    return narwhals


def _labelled(index: Any, columns: Sequence[str] | None, values: Any) -> Any:
    import pandas as pd

    if np.shape(values)[:1] != (len(index),):
        return values
    values = np.asarray(values)
    if values.ndim == 1:
        return pd.Series(values, index=index)
    return pd.DataFrame(values, index=index, columns=None if columns is None else list(columns))


def is_missing(labels: np.ndarray) -> np.ndarray:
    """Which labels are None, NaN, NaT or NA."""
    if labels.dtype.kind == "O":
        words = ("None", "nan", "<NA>", "NaT")
        flags = [not isinstance(v, str) and str(v) in words for v in labels.ravel()]
        return np.array(flags, bool).reshape(labels.shape)
    # NaN and NaT differ from themselves.
    return labels != labels


def column_numbers(name: str, columns: Any, p: int) -> tuple[int, ...]:
    """Numbers of the p columns of X, those below 0 counted from the end; raises for any others."""
    given = np.atleast_1d(np.asarray(columns))
    whole = given.ndim == 1 and given.dtype.kind in "iu"
    if given.size and not (whole and np.all((-p <= given) & (given < p))):
        raise ValueError(f"{name}={columns}: allowed are numbers of the {p} columns of X.")
    return tuple(int(number) % p for number in given)


def label_codes(name: str, labels: Any, present: np.ndarray) -> np.ndarray:
    """Labels (n,) as integers 0, 1, ... in their order; raises on missing ones.

    A row that is not `present` joins the first that is, whatever its label.
    """
    found = np.asarray(labels)
    if found.shape != present.shape:
        raise ValueError(f"{name}: shape {found.shape}; allowed is {present.shape}, one way.")
    missing = is_missing(found) & present
    if missing.any():
        raise ValueError(f"{name}: {missing.sum()} missing (first at row {missing.argmax()}).")
    filled = np.where(present, found, found[present.argmax()])
    try:
        return np.unique(filled, return_inverse=True)[1].reshape(-1)
    except (TypeError, ArithmeticError) as error:
        raise TypeError(
            f"{name}: labels of different kinds; allowed are numbers, or text."
        ) from error
