"""Floor 10: the host's side of the door: arrays, names and missing values, checked and aligned.

Data may come as arrays, lists, pandas, polars or mappings of columns; names are taken off here
and kept. Whatever is wrong is said before anything is computed, by the argument's name, with what
was got and what is allowed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import by_row, index_of
from jaxglm.families import Family
from jaxglm.fit import as_array
from jaxglm.links import Log

MISSING = ("none", "drop", "raise")
# Beyond these a sum of squares leaves the range of float64.
SMALLEST, LARGEST = 1e-140, 1e140


class FitWarning(UserWarning):
    """Something a fit's user should know: no convergence, dependent columns, missing trials."""


class DomainWarning(UserWarning):
    """The link reaches means that the family does not have: steps are cut short of these."""


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """float64 inside, whatever the process's flag; also a decorator of host functions."""
    with jax.enable_x64(True):
        yield


class RowSource(Protocol):
    """Where a design came from: its terms, and how new data become rows of it."""

    @property
    def terms(self) -> dict[str, list[int]]:
        """The columns of each term but the intercept."""
        ...

    @property
    def arrays(self) -> list[str]:
        """Those of offset and exposure that new data do not contain."""
        ...

    @property
    def references(self) -> dict[str, str]:
        """The level without a column of each treatment-coded term."""
        ...

    def read(self, data: Any) -> tuple[Any, np.ndarray | None, np.ndarray]:
        """New rows (n, p), the offset (n,) that belongs to them, and that of named columns."""
        ...


@dataclasses.dataclass(frozen=True)
class Frame:
    """A model's data as float64 arrays of n rows, and the names of its columns.

    `offset` includes log(exposure). `given` names the arguments besides endog and exog, `rows` are
    the rows of the input that were kept, of `n_read`; `index` is the input's where it was pandas'.
    """

    endog: np.ndarray
    exog: np.ndarray
    offset: np.ndarray | None
    freq_weights: np.ndarray | None
    var_weights: np.ndarray | None
    n_trials: np.ndarray | None
    endog_name: str
    exog_names: tuple[str, ...]
    given: tuple[str, ...]
    rows: np.ndarray
    n_read: int
    index: Any

    def label(self, found: Any) -> Any:
        """An array or record whose first n entries are the rows', as NumPy or on pandas' index."""
        found = jax.tree.map(lambda v: np.asarray(v)[: len(self.rows)], found)
        return by_row(found, self.kept_index, self.exog_names)

    @property
    def kept_index(self) -> Any:
        """pandas' index of the kept rows, or None."""
        return None if self.index is None else self.index[self.rows]

    def expand(self, values: Any) -> Any:
        """Values of the kept rows (n, ...) at all rows of the input, NaN at those left out."""
        labelled = index_of(values) is not None
        values = np.asarray(values)
        if values.shape[:1] != self.rows.shape:
            raise ValueError(f"expand: shape {values.shape}; allowed is ({len(self.rows)}, ...).")
        whole = np.full((self.n_read, *values.shape[1:]), np.nan)
        whole[self.rows] = values
        return by_row(whole, self.index, self.exog_names) if labelled else whole

    def kept(self, values: Any) -> Any:
        """Values of all rows of the input (n_read, ...) as those of the kept rows."""
        return values[self.rows] if values.shape[:1] == (self.n_read,) else values

    @property
    def present(self) -> np.ndarray:
        """Which rows have a weight."""
        present = np.ones(len(self.endog), dtype=bool)
        for weight in (self.freq_weights, self.var_weights, self.n_trials):
            present &= True if weight is None else weight > 0
        return present

    @property
    def has_offset(self) -> bool:
        """Whether the linear predictor is shifted."""
        return self.offset is not None

    @property
    def fractions_without_trials(self) -> np.ndarray:
        """The rows whose var_weights * endog is no whole number and that have no n_trials."""
        if self.n_trials is not None:
            return np.zeros(0, dtype=int)
        successes = self.endog * (1.0 if self.var_weights is None else self.var_weights)
        # R's tolerance: shares are typed with few digits.
        return np.flatnonzero(self.present & (np.abs(successes - np.round(successes)) > 1e-3))


def read_frame(
    endog: Any,
    exog: Any,
    family: Family,
    *,
    offset: Any,
    exposure: Any,
    freq_weights: Any,
    var_weights: Any,
    n_trials: Any,
    missing: str,
) -> Frame:
    """Read and check the arguments of `GLM`."""
    if missing not in MISSING:
        raise ValueError(f"GLM(missing={missing!r}): allowed are {', '.join(map(repr, MISSING))}.")
    dropping = missing == "drop"
    indexes = [index for index in (index_of(endog), index_of(exog)) if index is not None]
    if (
        len(indexes) == 2
        and len(indexes[0]) == len(indexes[1])
        and not indexes[0].equals(indexes[1])
    ):
        raise ValueError(
            "GLM(endog=..., exog=...): their indexes differ; align them, or .to_numpy()."
        )
    X = to_matrix("GLM(exog=...)", exog, dropping)
    y = to_float("GLM(endog=...)", endog, dropping)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    n = X.shape[0]
    pairs = family.counts_trials and y.ndim == 2 and y.shape[1] == 2
    if y.shape[0] != n or not (y.ndim == 1 or pairs):
        also = f" or ({n}, 2) for (success, failure)" if family.counts_trials else ""
        raise ValueError(
            f"GLM(endog=...): shape {y.shape}; exog has {n} rows, so allowed is ({n},){also}."
        )
    if exposure is not None and type(family.link) is not Log:
        raise ValueError(
            f"GLM(exposure=...): needs the log link, the link is {type(family.link).__name__}; "
            "use offset."
        )
    rows = {
        "offset": offset,
        "exposure": exposure,
        "freq_weights": freq_weights,
        "var_weights": var_weights,
        "n_trials": n_trials,
    }
    columns = {k: _to_rows(f"GLM({k}=...)", v, n, dropping) for k, v in rows.items()}
    keep = _complete_rows({"endog": y, "exog": X} | columns, missing)
    y, X = y[keep], X[keep]
    columns = {k: None if v is None else v[keep] for k, v in columns.items()}
    y, columns["n_trials"] = _split_pairs(y, columns["n_trials"], pairs)
    _check_values(y, X, columns, family)
    offsets = [columns["offset"]] if columns["offset"] is not None else []
    offsets += [np.log(columns["exposure"])] if columns["exposure"] is not None else []
    return Frame(
        endog=y,
        exog=X,
        offset=sum(offsets) if offsets else None,
        freq_weights=columns["freq_weights"],
        var_weights=columns["var_weights"],
        n_trials=columns["n_trials"],
        endog_name=_response_name(endog),
        exog_names=column_names(exog, X),
        given=tuple(name for name, value in rows.items() if value is not None),
        rows=np.flatnonzero(keep),
        n_read=n,
        index=index_of(exog, endog),
    )


def to_float(name: str, value: Any, dropping: bool = False) -> np.ndarray:
    """value as a float64 array; TypeError for anything that is not real numbers.

    None and pandas' NA are refused too, unless rows with NaN are being dropped.
    """
    if isinstance(value, Mapping):
        value = np.column_stack([np.asarray(column) for column in value.values()])
    array = np.asarray(as_array(name, value))
    if array.dtype.kind == "O":
        array = _from_objects(name, array, dropping)
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: dtype {array.dtype}; allowed are real numbers and booleans.")
    return array.astype(np.float64)


def _from_objects(name: str, array: np.ndarray, dropping: bool) -> np.ndarray:
    """Objects that are all numbers, or missing (None, pandas' NA) as nullable columns give them."""
    flat = list(array.ravel())
    missing = [v is None or str(v) in ("<NA>", "NaT") for v in flat]
    if any(missing) and not dropping:
        raise TypeError(
            f"{name}: dtype object with missing values (first: {flat[missing.index(True)]!r}); "
            'allowed are real numbers; pass missing="drop" to leave such rows out.'
        )
    values = [np.nan if absent else v for v, absent in zip(flat, missing, strict=True)]
    strange = next((v for v in values if isinstance(v, str) or not np.isscalar(v)), None)
    if strange is not None:
        raise TypeError(
            f"{name}: dtype object, contains {strange!r}; allowed are real numbers and booleans."
        )
    return np.array(values).reshape(array.shape)


def to_matrix(name: str, value: Any, dropping: bool = False) -> np.ndarray:
    """A design (n, p) with at least one row and column."""
    X = to_float(name, value, dropping)
    if X.ndim == 1:
        raise ValueError(
            f"{name}: shape {X.shape}; allowed is (n, p): reshape one column by x[:, None]."
        )
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{name}: shape {X.shape}; allowed is (n, p) with n, p >= 1.")
    return X


def _to_rows(name: str, value: Any, n: int, dropping: bool) -> np.ndarray | None:
    if value is None:
        return None
    array = to_float(name, value, dropping)
    if array.shape not in ((n,), ()):
        raise ValueError(f"{name}: shape {array.shape}; allowed are ({n},) and a number.")
    return np.broadcast_to(array, (n,))


def column_names(exog: Any, X: np.ndarray) -> tuple[str, ...]:
    """The frame's own names, or const, x1, x2, ... as statsmodels names array columns."""
    own = exog.keys() if isinstance(exog, Mapping) else getattr(exog, "columns", None)
    if own is not None:
        return tuple(str(name) for name in own)
    constant = np.ptp(X, axis=0) == 0
    first = int(np.argmax(constant & (X[0] != 0))) if np.any(constant & (X[0] != 0)) else -1
    others = iter(range(1, X.shape[1] + 1))
    return tuple("const" if j == first else f"x{next(others)}" for j in range(X.shape[1]))


def _response_name(endog: Any) -> str:
    if isinstance(endog, Mapping):
        return " + ".join(map(str, endog))
    return str(getattr(endog, "name", None) or "y")


def _complete_rows(arrays: dict[str, np.ndarray | None], missing: str) -> np.ndarray:
    """The rows to keep: all, or those without NaN in any argument; raises unless dropping."""
    present = {k: v for k, v in arrays.items() if v is not None}
    n = present["exog"].shape[0]
    keep = np.ones(n, dtype=bool)
    for name, array in present.items():
        bad = np.isnan(array.reshape(n, -1)).any(axis=1)
        if missing != "drop" and bad.any():
            raise ValueError(
                f"GLM({name}=...): NaN in {bad.sum()} rows (first at row {bad.argmax()}); "
                'pass missing="drop" to leave them out.'
            )
        keep &= ~bad
    if not keep.any():
        raise ValueError('GLM(missing="drop"): every row has a missing value; none is left.')
    return keep


def _split_pairs(
    y: np.ndarray, n_trials: np.ndarray | None, pairs: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """(success, failure) columns as proportions with trials; counts must not be negative."""
    if not pairs:
        return y, n_trials
    if n_trials is not None:
        raise ValueError("GLM(n_trials=...): endog's (success, failure) columns give them already.")
    _refuse("GLM(endog=...)", (y < 0).any(axis=1), "negative", "counts (success, failure) >= 0")
    trials = y.sum(axis=1)
    return np.divide(y[:, 0], trials, out=np.zeros_like(trials), where=trials > 0), trials


def _check_values(
    y: np.ndarray, X: np.ndarray, columns: dict[str, np.ndarray | None], family: Family
) -> None:
    """Raise on the first value that no model of the family can have."""
    _refuse("GLM(exog=...)", ~np.isfinite(X).all(axis=1), "infinite", "finite numbers")
    size = np.abs(X).max(axis=0)
    extreme = np.flatnonzero((size > LARGEST) | ((size > 0) & (size < SMALLEST)))
    if extreme.size:
        raise ValueError(
            f"GLM(exog=...): column {extreme[0]} has a largest value of {size[extreme[0]]:g}; "
            f"allowed are {SMALLEST:g} to {LARGEST:g}, or 0: rescale the column."
        )
    weights = {k: columns[k] for k in ("freq_weights", "var_weights", "n_trials")}
    present = np.ones(len(y), dtype=bool)
    for name, weight in weights.items():
        if weight is not None:
            bad = ~(np.isfinite(weight) & (weight >= 0))
            _refuse(f"GLM({name}=...)", bad, "negative or infinite", "finite numbers >= 0")
            present &= weight > 0
    if not present.any():
        given = ", ".join(f"{name}=..." for name, weight in weights.items() if weight is not None)
        raise ValueError(f"GLM({given}): the weights of all rows are 0; nothing is left to fit.")
    if columns["offset"] is not None:
        bad = ~np.isfinite(columns["offset"])
        _refuse("GLM(offset=...)", bad, "infinite", "finite numbers")
    if columns["exposure"] is not None:
        bad = ~(np.isfinite(columns["exposure"]) & (columns["exposure"] > 0))
        _refuse("GLM(exposure=...)", bad, "zero, negative or infinite", "finite numbers > 0")
    if columns["n_trials"] is not None and not family.counts_trials:
        raise ValueError(
            f"GLM(n_trials=...): only for Binomial; the family is {type(family).__name__}."
        )
    outside = present & ~np.asarray(family.in_support(jnp.asarray(y)))
    if outside.any():
        hint = "; code the two classes as 0 and 1, or" if family.counts_trials else ""
        hint += " divide counts by n_trials" if family.counts_trials else ""
        raise ValueError(
            f"GLM(endog=...): {outside.sum()} values outside the support (first at row "
            f"{outside.argmax()}: {y[outside.argmax()]:g}); {type(family).__name__} needs endog in "
            f"{family.support}{hint}."
        )


def _refuse(name: str, bad: np.ndarray, what: str, allowed: str) -> None:
    if bad.any():
        raise ValueError(
            f"{name}: {bad.sum()} {what} values (first at row {bad.argmax()}); allowed are "
            f"{allowed}."
        )
