"""Floor 12: formulas and data frames, by formulaic.

formulaic reads the right side: categories, interactions, splines, contrasts, stateful transforms.
Here is only what belongs to a GLM: responses with trials, offsets, the terms that tables and tests
speak of, and new rows to predict at.
"""

from __future__ import annotations

import dataclasses
import numbers
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
# formulaic's name for the columns that a dot stands for.
DOT = "__formulaic_variables_available__"


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

    The right side is formulaic's, intercept included; `.` is every column but the response's and
    `by`, and `offset(...)` terms join the linear predictor with coefficient 1. Levels that no row
    has are left out. The left side is a column or an expression; for Binomial also `cbind(success,
    failure)`, `success / trials` and text or categories, of which the first level is failure and
    all others are success, as in R. The caller's functions may be used; where that is a function
    of one's own around this one, `context` counts the calls up to its user.

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
    groups = None if by is None else np.asarray(_column(table, "by", by))
    if groups is not None and groups.shape != (len(table),):
        raise ValueError(
            f"by={by!r}: allowed are a column's name, or a label for each of {len(table)} rows."
        )
    left, right = _sides(formula)
    family = as_family(family)
    response = _response_parts(left, family.counts_trials and left not in table.columns)
    parts = [Formula(f"0 + {part}") for part in response]
    used = {by if isinstance(by, str) else None}.union(*(p.required_variables for p in parts))
    others = {DOT: [c for c in table.columns if isinstance(c, str) and c not in used]}
    parts = [Formula(right, _context=others), *parts]
    named = [name for name in (*given.values(), by) if isinstance(name, str)]
    complete = _complete(table, parts, named)
    _refuse_missing(complete, missing)

    kept = _settled(table[complete])
    spec = _matrix(parts[0], kept, scope).model_spec
    source = FormulaRows(spec, scope, {name: given[name] for name in ("offset", "exposure")})
    exog, shift = source.design(kept)
    if not exog.shape[1]:
        raise ValueError(
            f"formula={formula!r}: no coefficient to estimate; leave the intercept in."
        )
    endog, *trials = (_spread(_response(part, kept, scope, family), complete) for part in response)
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

    @property
    def references(self) -> dict[str, str]:
        """The level without a column of each treatment-coded term."""
        states = {str(factor): state for factor, (_, state) in self.spec.encoder_state.items()}
        levels = {f: [str(v) for v in s["categories"]] for f, s in states.items() if s}
        columns = set(self.spec.column_names)
        lacking = {f: [v for v in own if f"{f}[T.{v}]" not in columns] for f, own in levels.items()}
        return {f: f"{f}[{own[0]}]" for f, own in lacking.items() if len(own) == 1}

    def read(self, data: Any) -> tuple[Any, np.ndarray | None, np.ndarray]:
        """Design, `offset(...)` terms and the shift of named columns, for new rows.

        Rows with missing values are NaN.
        """
        table = _as_pandas("exog", data)
        complete = _complete(table, [self.spec], [])
        X, shift = self.design(_settled(table[complete]))
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
                found = _matrix(self.spec, table, self.context)
            except mismatch as error:
                levels = str(error).partition("dataset): ")[2].partition(". They")[0] or error
                raise ValueError(f"exog: levels that the fit did not see: {levels}.") from None
        strange = [f"{c} is {t}" for c, t in found.dtypes.items() if t.kind not in "biuf"]
        if strange:
            raise TypeError(f"formula: {strange[0]}; allowed are numbers, text and categories.")
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

    def __repr__(self) -> str:
        size = f"{len(self.labels)} groups, {len(self.names)} coefficients"
        return f"<GroupedResults: {size}; {self.tally()}>"

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


def _response(expression: str, table: Any, context: Any, family: Family) -> np.ndarray:
    """A part of the response as numbers; of a factor, whether it is past its first level."""
    name = expression.strip("{}` ")
    if name in table.columns and table[name].dtype.kind in "biuf":
        return table[name]
    found = _matrix(_formulaic()[0](f"0 + {expression}"), table, context)
    values = np.asarray(found)
    kinds = {kind.value for kind, _ in found.model_spec.encoder_state.values()}
    if "categorical" not in kinds:
        return values[:, 0] if values.shape[1] == 1 else values
    if not family.counts_trials:
        raise TypeError(
            f"formula: the response {name} is text or a category; {type(family).__name__} needs "
            "numbers (only Binomial takes two levels, failure and success)."
        )
    return 1.0 - values[:, 0]


def _matrix(formula: Any, table: Any, context: Any) -> Any:
    """formulaic's matrix of complete rows."""
    try:
        return formula.get_model_matrix(table, context=context, na_action="ignore")
    except TypeError as error:
        used = [table[name] for name in formula.required_variables if name in table.columns]
        dates = [column.name for column in used if column.dtype.kind in "mM"]
        hint = f" ({dates[0]} is a date: make it a number first)" if dates else ""
        raise TypeError(f"formula: {error}{hint}.") from error


def _settled(table: Any) -> Any:
    """Complete rows as formulaic should take them: numbers as numbers, levels that rows have.

    Objects that are all numbers would be categories; a level that no row has, a column of zeros.
    """
    table = table.infer_objects()
    objects = [name for name, dtype in table.dtypes.items() if dtype.name == "object"]
    counted = [c for c in objects if all(isinstance(v, numbers.Number) for v in table[c])]
    table = table.astype(dict.fromkeys(counted, float))
    for name in [c for c, dtype in table.dtypes.items() if dtype.name == "category"]:
        table[name] = table[name].cat.remove_unused_categories()
    return table


def _as_pandas(name: str, data: Any) -> Any:
    """The data as a pandas frame, columns of text as objects."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        table = data
    elif isinstance(data, Mapping):
        table = pd.DataFrame(dict(data))
    else:
        table = _from_narwhals(name, data)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{name}: more than one column is named {twice[0]!r}.")
    # formulaic takes pandas' nullable text for numbers.
    texts = [c for c, dtype in table.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    return table.astype(dict.fromkeys(texts, object)) if texts else table


def _from_narwhals(name: str, data: Any) -> Any:
    """Another package's frame as pandas'; of categories only an Enum's have an order."""
    import pandas as pd

    nw = narwhals()
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise TypeError(
            f"{name}: {type(data).__name__}; allowed are data frames and mappings of columns."
        ) from None
    columns = {}
    for column in frame.columns:
        values, dtype = frame[column], frame[column].dtype
        if dtype.is_numeric():
            columns[column] = values.to_numpy()
        elif dtype == nw.Enum:
            columns[column] = pd.Categorical(values.to_list(), list(dtype.categories))
        elif dtype == nw.Boolean and values.is_null().any():
            columns[column] = pd.array(values.to_list(), dtype="boolean")
        else:
            columns[column] = values.to_list()
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
        why = (
            "every row has a missing value; none is left" if complete.size else "there are no rows"
        )
        raise ValueError(f"glm(data=...): {why}.")
