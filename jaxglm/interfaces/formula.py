"""Floor 12: formulas and data frames, by formulaic.

formulaic reads the right side: categories, interactions, splines, contrasts, stateful transforms.
Here is only what belongs to a GLM: responses with trials, offsets, the terms that tables and tests
speak of, and new rows to predict at.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxglm._labels import narwhals
from jaxglm.arguments import as_family
from jaxglm.door import GLM
from jaxglm.families import Family
from jaxglm.fit import Fit
from jaxglm.lanes import fit_groups, to_frame
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Solver

__all__ = ["GroupedGLM", "GroupedResults", "glm"]

OFFSET = "offset("


def glm(
    formula: str,
    data: Any,
    family: Family | type[Family] | str | None = None,
    offset: Any = None,
    exposure: Any = None,
    freq_weights: Any = None,
    var_weights: Any = None,
    n_trials: Any = None,
    missing: str = "drop",
    by: str | None = None,
    context: int = 0,
) -> Any:
    """A `GLM` of a formula and a data frame: `glm("y ~ x + C(g) + offset(log(t))", data).fit()`.

    The right side is formulaic's, intercept included; `offset(...)` terms join the linear predictor
    with coefficient 1. The left side is a column or an expression; for Binomial also
    `cbind(success, failure)` and `success / trials`. The caller's functions may be used; where
    that is a function of one's own around this one, `context` counts the calls up to its user.

    data: pandas, polars or another frame that narwhals reads, or a mapping of columns. offset,
    exposure, freq_weights, var_weights and n_trials: names of columns, or arrays of a value a row.
    missing: "drop" leaves out rows with a missing value in any column used; "none" and "raise"
    refuse them. by: a column, to fit the same model to each of its groups, see `GroupedGLM`.

    Results predict at frames of new data, where `offset(...)` and columns given by name are read
    anew. Needs the extra `formula`. Raises as `GLM`; ValueError for columns that are not there and
    levels of a category that the fit did not see.
    """
    Formula, capture_context, _ = _formulaic()
    scope = _scope(capture_context(context + 1))
    table = _as_pandas("glm(data=...)", data)
    given = {"offset": offset, "exposure": exposure, "freq_weights": freq_weights}
    given |= {"var_weights": var_weights, "n_trials": n_trials}
    columns = {name: _column(table, name, value) for name, value in given.items()}
    groups = _column(table, "by", by)
    left, right = _sides(formula)
    family = as_family(family)
    response = _response_parts(left, family.counts_trials and left not in table.columns)
    parts = [Formula(right), *(Formula(f"0 + {part}") for part in response)]
    named = [name for name in (*given.values(), by) if isinstance(name, str)]
    complete = _complete(table, parts, named)
    _refuse_missing(complete, missing)

    kept = table[complete]
    spec = parts[0].get_model_matrix(kept, context=scope, na_action="ignore").model_spec
    source = FormulaRows(spec, scope, {name: given[name] for name in ("offset", "exposure")})
    exog, shift = source.design(kept)
    endog, *trials = (_spread(_evaluate(part, kept, scope), complete) for part in response)
    if shift is not None:
        own = 0.0 if offset is None else columns["offset"]
        columns["offset"] = own + _spread(shift, complete)
    if trials and n_trials is not None:
        raise ValueError("glm(n_trials=...): the formula's response has its trials already.")
    columns["n_trials"] = trials[0] if trials else columns["n_trials"]
    X = type(table)(_spread(exog, complete), columns=exog.columns, index=table.index)
    if by is not None:
        return GroupedGLM(endog, X, columns, groups, family, complete)
    # A Series has the response's name.
    y = type(table)({left: endog}, index=table.index)[left] if endog.ndim == 1 else endog
    return GLM(y, X, family, **columns, missing=missing, source=source)


@dataclasses.dataclass(frozen=True)
class FormulaRows:
    """How rows of data become rows of the design: what a `GLM` keeps of its formula.

    spec: formulaic's, with its states; named: columns or arrays given as offset and exposure.
    """

    spec: Any
    context: Any
    named: Mapping[str, Any]

    @property
    def terms(self) -> dict[str, list[int]]:
        """The columns of each term but the intercept and offsets."""
        place = {j: k for k, j in enumerate(self._own)}
        found = {str(t): [place[j] for j in js if j in place] for t, js in self._indices.items()}
        return {term: js for term, js in found.items() if term != "1" and js}

    @property
    def arrays(self) -> list[str]:
        """Of offset and exposure those that were no column, and must be given for new rows."""
        return [k for k, v in self.named.items() if v is not None and not isinstance(v, str)]

    def read(self, data: Any) -> tuple[Any, np.ndarray | None, np.ndarray]:
        """Design, `offset(...)` terms and the shift of named columns, for new rows.

        Rows with missing values are NaN.
        """
        table = _as_pandas("exog", data)
        complete = _complete(table, [self.spec], [])
        X, shift = self.design(table[complete])
        X, shift = (None if v is None else _spread(v, complete) for v in (X, shift))
        more = np.zeros(len(table))
        for name, column in self.named.items():
            if isinstance(column, str):
                values = np.asarray(_column(table, name, column), dtype=float)
                more = more + (np.log(values) if name == "exposure" else values)
        return X, shift, more

    def design(self, table: Any) -> tuple[Any, np.ndarray | None]:
        """The design's columns of complete rows, and the sum of the offsets or None."""
        mismatch = _formulaic()[2]
        with warnings.catch_warnings():
            # A level that the fit did not see would be taken for the reference.
            warnings.simplefilter("error", mismatch)
            try:
                found = self.spec.get_model_matrix(table, context=self.context, na_action="ignore")
            except mismatch as error:
                raise ValueError(f"exog: {error}") from None
        offsets = [j for j in range(found.shape[1]) if j not in self._own]
        shift = np.asarray(found.iloc[:, offsets], dtype=float).sum(axis=1) if offsets else None
        return found.iloc[:, self._own].astype(float), shift

    @property
    def _indices(self) -> dict[Any, list[int]]:
        return self.spec.term_indices

    @property
    def _own(self) -> list[int]:
        return [j for t, js in self._indices.items() if not str(t).startswith(OFFSET) for j in js]


@dataclasses.dataclass(frozen=True)
class GroupedGLM:
    """The same model for each group of rows; `fit` computes them as one batch."""

    endog: Any
    exog: Any
    columns: Mapping[str, Any]
    groups: np.ndarray
    family: Family
    complete: np.ndarray

    def fit(
        self,
        *,
        penalty: Penalty | Any = None,
        scale: str | float | None = None,
        solver: Solver = IRLS(),  # noqa: B008 - frozen
        progress: bool = False,
    ) -> GroupedResults:
        """A fit for each group; arguments as in `fit_many`. A group fails alone, by its status."""
        rows = {k: None if v is None else np.asarray(v, float) for k, v in self.columns.items()}
        exposure, offset = rows.pop("exposure"), rows["offset"]
        if exposure is not None:
            rows["offset"] = np.log(exposure) + (0.0 if offset is None else offset)
        given = [np.asarray(self.endog), np.asarray(self.exog), *rows.values()]
        keep = self.complete.copy()
        for values in given:
            keep &= True if values is None else ~np.isnan(values.reshape(len(keep), -1)).any(axis=1)
        rows = {k: None if v is None else v[keep] for k, v in rows.items()}
        found = fit_groups(
            np.asarray(self.exog)[keep],
            np.asarray(self.endog)[keep],
            self.groups[keep],
            self.family,
            **rows,
            penalty=penalty,
            scale=scale,
            solver=solver,
            progress=progress,
        )
        return GroupedResults(found.labels, tuple(map(str, self.exog.columns)), found.fits)


@dataclasses.dataclass(frozen=True)
class GroupedResults:
    """Fits (G,) of groups with these labels, and the names of their coefficients."""

    labels: np.ndarray
    names: tuple[str, ...]
    fits: Fit

    def to_frame(self, backend: Any = "pandas", use_t: bool = False) -> Any:
        """A tidy table, a row per group and term; see `lanes.to_frame`."""
        return to_frame(self.fits, self.names, self.labels, backend, use_t)

    def tally(self) -> dict[str, int]:
        """How many groups ended with each status."""
        return self.fits.tally()


def _formulaic() -> tuple[Any, Any, Any]:
    try:
        from formulaic import Formula
        from formulaic.errors import DataMismatchWarning
        from formulaic.utils.context import capture_context
    except ImportError as error:
        raise ImportError("glm needs formulaic: pip install 'jaxglm[formula]'.") from error
    return Formula, capture_context, DataMismatchWarning


def _scope(callers: Any) -> Any:
    """The functions that a formula may use beside formulaic's and the caller's own."""
    from formulaic.utils.layered_mapping import LayeredMapping

    def cbind(*columns: Any) -> np.ndarray:
        return np.column_stack(columns)

    return LayeredMapping({"offset": np.asarray, "cbind": cbind}, callers)


def _sides(formula: str) -> tuple[str, str]:
    left, tilde, right = formula.partition("~")
    if not (tilde and left.strip() and right.strip()):
        raise ValueError(f'formula={formula!r}: allowed is "response ~ terms".')
    return left.strip(), right.strip()


def _response_parts(left: str, counts: bool) -> list[str]:
    """The expressions of the response and, for `success / trials`, of its trials."""
    depth, slashes = 0, []
    for place, character in enumerate(left):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "/" and depth == 0:
            slashes.append(place)
    # Braces have formulaic take an expression as Python's.
    whole = left if left.startswith("cbind(") else f"{{{left}}}"
    if not counts or len(slashes) != 1:
        return [whole]
    return [whole, f"{{{left[slashes[0] + 1 :]}}}"]


def _evaluate(expression: str, table: Any, context: Any) -> np.ndarray:
    Formula = _formulaic()[0]
    name = expression.strip("{}")
    if name in table.columns:
        return table[name]
    found = Formula(f"0 + {expression}").get_model_matrix(
        table, context=context, na_action="ignore"
    )
    values = np.asarray(found)
    return values[:, 0] if values.shape[1] == 1 else values


def _as_pandas(name: str, data: Any) -> Any:
    """The data as a pandas frame, columns of text as objects."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, Mapping):
        return pd.DataFrame(dict(data))
    try:
        frame = narwhals().from_native(data, eager_only=True)
    except TypeError:
        raise TypeError(
            f"{name}: {type(data).__name__}; allowed are data frames and mappings of columns."
        ) from None
    numeric = {c: frame[c].dtype.is_numeric() for c in frame.columns}
    columns = {c: frame[c].to_numpy() if numeric[c] else frame[c].to_list() for c in numeric}
    return pd.DataFrame(columns)


def _column(table: Any, argument: str, value: Any) -> Any:
    """A column by name, or what else was given."""
    if not isinstance(value, str):
        return value
    if value not in table.columns:
        names = ", ".join(map(str, table.columns))
        raise ValueError(f"{argument}={value!r}: the data have no such column; they have {names}.")
    return np.asarray(table[value])


def _complete(table: Any, formulas: Iterable[Any], names: Iterable[str]) -> np.ndarray:
    """The rows with a value in every column that is used; names of functions are none."""
    used = {v for formula in formulas for v in formula.required_variables} | set(names)
    present = [str(name) for name in used if name in table.columns]
    return ~np.asarray(table[present].isna()).any(axis=1)


def _spread(values: Any, complete: np.ndarray) -> np.ndarray:
    """Values of the complete rows at all rows, NaN at the others."""
    values = np.asarray(values, dtype=float)
    whole = np.full((len(complete), *values.shape[1:]), np.nan)
    whole[complete] = values
    return whole


def _refuse_missing(complete: np.ndarray, missing: str) -> None:
    if missing != "drop" and not complete.all():
        raise ValueError(
            f"glm(data=...): missing values in {(~complete).sum()} rows (first at row "
            f'{(~complete).argmax()}); pass missing="drop" to leave them out.'
        )
    if not complete.any():
        raise ValueError("glm(data=...): every row has a missing value; none is left.")
