"""Floor 10: the arguments of a model's and a result's methods, read and handed down."""

from __future__ import annotations

import difflib
import itertools
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families
from jaxglm._labels import by_name
from jaxglm.dispersion import Dispersion, as_dispersion
from jaxglm.families import Family
from jaxglm.fit import as_penalty
from jaxglm.frames import Frame, RowSource, to_float, to_matrix
from jaxglm.hypotheses import parse_hypotheses
from jaxglm.penalties import Penalty
from jaxglm.prediction import Margins, average_marginal_effects
from jaxglm.predictive import Predictive
from jaxglm.solvers import IRLS, Gradient, Newton, Solver
from jaxglm.solvers.base import is_count, is_tolerance
from jaxglm.summaries import SHIFTS

FAMILIES = {
    "gaussian": families.Gaussian,
    "binomial": families.Binomial,
    "poisson": families.Poisson,
    "gamma": families.Gamma,
    "inverse_gaussian": families.InverseGaussian,
    "negative_binomial": families.NegativeBinomial,
    "tweedie": families.Tweedie,
}
# Polished by Newton, quasi-Newton methods end in the same numbers: one stands for both.
METHODS = ("IRLS", "newton", "lbfgs", "bfgs")


def as_family(family: Family | type[Family] | str | None) -> Family:
    """The family of an instance, a class, a name, or None (Gaussian)."""
    if family is None:
        return families.Gaussian()
    if isinstance(family, str):
        if family not in FAMILIES:
            close = difflib.get_close_matches(family.lower(), FAMILIES, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"GLM(family={family!r}): allowed are {', '.join(FAMILIES)}.{hint}")
        return FAMILIES[family]()
    family = family() if isinstance(family, type) else family
    if getattr(family, "in_support", None) is None:
        raise TypeError(
            f"GLM(family=...): {type(family).__name__}; allowed are the families of "
            f"jaxglm.families and their names, {', '.join(FAMILIES)}."
        )
    if not np.all(family.parameters_valid()):
        names = ", ".join(name for name, _ in family.parameters)
        raise ValueError(f"GLM(family=...): {family} has an impossible {names}.")
    return family


def as_solver(method: str, tol: float | None, maxiter: int, hessian: str = "oim") -> Solver:
    """The solver of a method's name and controls; Newton's with hessian "eim" is scoring."""
    names = {name.lower(): name for name in METHODS}
    if not isinstance(method, str) or method.lower() not in names:
        raise ValueError(f"GLM.fit(method={method!r}): allowed are {', '.join(METHODS)}.")
    if hessian not in ("oim", "eim"):
        raise ValueError(f"GLM.fit(optim_hessian={hessian!r}): allowed are 'oim', 'eim'.")
    method = names[method.lower()]
    if not is_tolerance(tol):
        raise ValueError(f"GLM.fit(tol={tol}): allowed are None and finite numbers > 0 and < 1.")
    if not is_count(maxiter):
        raise ValueError(f"GLM.fit(maxiter={maxiter}): allowed are integers >= 1.")
    if method == "IRLS" or (method, hessian) == ("newton", "eim"):
        return IRLS(tol, maxiter)
    newton = Newton(tol, maxiter)
    return newton if method == "newton" else Gradient(max_steps=maxiter, polish=newton)


def checked_scale(what: str, scale: Any) -> Dispersion:
    """The dispersion of one fit: a kind, or a single number."""
    found = as_dispersion(scale, np.float64)
    if found.value is not None and found.value.shape != ():
        raise ValueError(f"{what}(scale=...): shape {found.value.shape}; allowed is one number.")
    return found


def checked_number(what: str, value: Any) -> float:
    """A finite number."""
    if not (isinstance(value, numbers.Real) and np.isfinite(value)):
        raise ValueError(f"{what}={value!r}): allowed are finite numbers.")
    return float(value)


def checked_options(cov_kwds: Any) -> dict[str, Any]:
    """The arguments of `with_covariance` as a dictionary."""
    if cov_kwds is not None and not isinstance(cov_kwds, Mapping):
        raise TypeError(f"GLM.fit(cov_kwds={cov_kwds!r}): allowed are None and dictionaries.")
    return dict(cov_kwds or {})


def checked_alpha(what: str, alpha: Any) -> float:
    """A level in (0, 1): intervals cover with probability 1 - alpha."""
    if not (np.ndim(alpha) == 0 and isinstance(alpha, numbers.Real) and 0 < alpha < 1):
        raise ValueError(f"{what}(alpha={alpha!r}): allowed are numbers between 0 and 1.")
    return float(alpha)


def hypothesis(exog_names: Sequence[str], what: Any, q: Any) -> tuple[np.ndarray, Any]:
    """(R, q) of R beta = q, from text, from the pair, or as given."""
    if isinstance(what, tuple) and len(what) == 2 and np.ndim(what[0]) == 2:
        what, q = what if q is None else (what, q)
    if not _is_text(what):
        R = np.atleast_2d(to_float("hypothesis", what))
        q = None if q is None else to_float("q", q)
        if not np.isfinite(R).all() or not (q is None or np.isfinite(q).all()):
            raise ValueError("hypothesis, q: NaN or infinite; allowed are finite numbers.")
        if R.ndim != 2 or R.shape[1] != len(exog_names):
            raise ValueError(
                f"hypothesis: shape {np.shape(what)}; allowed is (k, {len(exog_names)}), a row a "
                "hypothesis, or text."
            )
        return R, q
    if q is not None:
        raise ValueError("q: already given by the text of the hypothesis; pass one.")
    return parse_hypotheses(what, exog_names)


def _is_text(what: Any) -> bool:
    several = isinstance(what, (list, tuple)) and len(what) > 0
    return isinstance(what, str) or (several and all(isinstance(v, str) for v in what))


def term_columns(exog_names: Sequence[str], terms: Mapping[str, Any]) -> dict[str, list[int]]:
    """The column numbers of each term, from names or numbers; raises for one that is not there."""
    names, found = list(exog_names), {}
    for term, columns in terms.items():
        columns = [columns] if isinstance(columns, (str, int)) else list(columns)
        found[term] = [names.index(c) if c in names else c for c in columns]
        allowed = range(len(names))
        strange = [c for c in found[term] if isinstance(c, str) or c not in allowed]
        if strange or not columns:
            raise ValueError(
                f"terms[{term!r}]: {columns}; allowed are numbers below {len(names)} and names of "
                f"columns, {', '.join(names)}."
            )
    return found


def tested_columns(results: Any, terms: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """The estimable columns of each term; by default each but the constant's is one."""
    constant = {"const", "Intercept", "(Intercept)"}
    names, given = results.exog_names, results.terms if terms is None else terms
    given = {n: n for n in names if n not in constant} if given is None else given
    columns = term_columns(names, given)
    kept = {term: [j for j in js if not results.aliased[j]] for term, js in columns.items()}
    return {term: js for term, js in kept.items() if js}


def term_groups(
    results: Any, terms: Mapping[str, Any] | None, kept: Sequence[int]
) -> dict[str, list[int]]:
    """The places among the `kept` columns of each term; by default each that varies is one."""
    columns = varying_terms(results, terms)
    found = {term: [kept.index(j) for j in js if j in kept] for term, js in columns.items()}
    return found if terms is not None else {term: js for term, js in found.items() if js}


def containing_terms(terms: Iterable[str]) -> dict[str, list[str]]:
    """For each term those whose factors include all of its own and more: "a:b:c" for "c:a"."""
    factors = {term: set(term.split(":")) for term in terms}
    return {
        term: [other for other, f in factors.items() if own < f] for term, own in factors.items()
    }


def varying_terms(results: Any, terms: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """The columns of each term; by default the formula's, or each column that varies."""
    terms = results.terms if terms is None else terms
    if terms is None:
        varies = np.ptp(results.model.exog, axis=0) > 0
        terms = {name: j for j, name in enumerate(results.exog_names) if varies[j]}
    return term_columns(results.exog_names, terms)


def level_contrasts(
    exog_names: Sequence[str], columns: Any, reference: str | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """The names "b - a" of all pairs of levels, and the rows (k, p) of their contrasts."""
    (places,) = term_columns(exog_names, {"columns": columns}).values()
    levels = {exog_names[j]: np.eye(len(exog_names))[j] for j in places}
    if reference is not None:
        levels = {reference: np.zeros(len(exog_names))} | levels
    pairs = list(itertools.combinations(levels, 2))
    if not pairs:
        raise ValueError(f"t_test_pairwise(columns={columns!r}): needs two levels or a reference.")
    rows = np.array([levels[b] - levels[a] for a, b in pairs])
    return tuple(f"{b} - {a}" for a, b in pairs), rows


def levels_of_term(results: Any, term: str, reference: str | None) -> tuple[list[str], str | None]:
    """The dummies of a formula's term, and its level without one where there is such a level."""
    names = [results.exog_names[j] for j in results.terms[term]]
    source = getattr(results.model, "source", None)
    known = {} if source is None else source.references
    if reference is None and all("[T." in name for name in names):
        reference = known.get(term, f"{term}[reference]")
    return names, reference


def checked_means(mu: Any, n: int, what: str) -> np.ndarray:
    """Means (n,) as float64."""
    mu = to_float(what, mu)
    if mu.shape != (n,):
        raise ValueError(f"{what}: shape {mu.shape}; allowed is ({n},), a mean for each row.")
    return mu


def checked_params(params: Any, p: int, what: str) -> np.ndarray:
    """Coefficients (p,) as float64, 0 for NaN (an aliased one)."""
    beta = to_float(what, params)
    if beta.shape != (p,) or np.isinf(beta).any():
        raise ValueError(f"{what}: shape {beta.shape}; allowed are ({p},) finite numbers.")
    return np.nan_to_num(beta)


class NewDesign(NamedTuple):
    """New rows of a design, and what shifts their linear predictors."""

    X: np.ndarray
    own: np.ndarray | None  # the `offset(...)` terms of a formula
    named: np.ndarray | None  # columns that the fit was given by name
    lacking: bool  # whether the fit had an offset that is among neither


def new_design(source: RowSource | None, model: Any, exog: Any) -> NewDesign:
    """New rows from a frame of the formula's variables, or from the design's own columns.

    `model` has their names and what was given beside them: a `Frame`, or results.
    """
    names = model.exog_names
    own = exog if isinstance(exog, Mapping) else getattr(exog, "columns", None)
    if source is None or own is None or set(names) <= set(map(str, own)):
        lacking = not set(SHIFTS).isdisjoint(model.given)
        return NewDesign(matched_columns(exog, names), None, None, lacking)
    rows, shift, named = source.read(exog)
    return NewDesign(np.asarray(rows), shift, named, bool(source.arrays))


def new_rows(
    source: RowSource | None, model: Any, exog: Any, exposure: Any, offset: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """The design and offset of new rows; see `new_design`.

    An offset or exposure given here stands for that of the fit, beside a formula's own terms.
    """
    X, own, named, lacking = new_design(source, model, exog)
    if lacking or offset is not None or exposure is not None:
        named = total_offset(offset, exposure, lacking, X.shape[0])
    shifts = [shift for shift in (own, named) if shift is not None]
    return X, sum(shifts) if shifts else None


def matched_columns(exog: Any, exog_names: Sequence[str]) -> np.ndarray:
    """A new design, a frame's columns in the order of the model's."""
    own = exog if isinstance(exog, Mapping) else getattr(exog, "columns", None)
    if own is not None and set(exog_names) <= set(map(str, own)):
        columns = {str(name): exog[name] for name in own}
        exog = {name: columns[name] for name in exog_names}
    try:
        X = to_matrix("predict(exog=...)", exog)
    except TypeError as error:
        raise TypeError(
            f"{error} The model's columns are {', '.join(exog_names)}; a formula is left behind by "
            "save and pickle."
        ) from error
    if X.shape[1] != len(exog_names):
        raise ValueError(
            f"predict(exog=...): {X.shape[1]} columns; the model has {len(exog_names)}: "
            f"{', '.join(exog_names)}."
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
    total = np.zeros(n)
    if offset is not None:
        total = total + new_column("predict(offset=...)", offset, n, positive=False)
    if exposure is not None:
        total = total + np.log(new_column("predict(exposure=...)", exposure, n, positive=True))
    return total


def new_column(name: str, value: Any, n: int, *, positive: bool = True) -> np.ndarray:
    """A column for n new rows: (n,) or a number, finite, and above 0 where `positive`."""
    column = to_float(name, value)
    sound = np.isfinite(column) & ((column > 0) | (not positive))
    if column.shape not in ((), (n,)) or not sound.all():
        kind = "positive finite" if positive else "finite"
        raise ValueError(
            f"{name}: shape {column.shape}; allowed are ({n},) {kind} numbers, or one."
        )
    return column


def extra_columns(exog_extra: Any, n: int) -> np.ndarray:
    """The columns (n, k) of a score test."""
    extra = to_float("score_test(exog_extra=...)", exog_extra)
    extra = extra[:, None] if extra.ndim == 1 else extra
    if extra.ndim != 2 or extra.shape[0] != n or not np.isfinite(extra).all():
        raise ValueError(
            f"score_test(exog_extra=...): shape {extra.shape}; allowed is ({n}, k), finite."
        )
    return extra


def marginal_effects(
    results: Any, at: str, kind: str, atexog: Any, dummy: bool, count: bool, alpha: float
) -> Margins:
    """The average effects in the sample of all columns but constant and aliased ones."""
    X = results.model.exog[results.model.frame.present]
    varying = [j for j in range(X.shape[1]) if np.ptp(X[:, j]) > 0 and not results.aliased[j]]
    whole = [j for j in varying if np.all((X[:, j] >= 0) & (X[:, j] % 1 == 0))]
    binary = [j for j in whole if X[:, j].max() == 1]
    rows, offset, weights = _effect_rows(results, at, atexog)
    alpha = checked_alpha("get_margeff", alpha)
    found = average_marginal_effects(
        results.family,
        *results.estimable(),
        rows,
        offset,
        weights,
        tuple(varying),
        "overall",
        kind,
        tuple(binary) if dummy else (),
        tuple(sorted(set(whole) - set(binary))) if count else (),
        alpha,
        results.df_test,
    )
    names = [results.exog_names[j] for j in varying] if results.labelled else None
    return by_name(jax.tree.map(np.asarray, found), names)


def _effect_rows(results: Any, at: str, atexog: Any) -> tuple[np.ndarray, Any, Any]:
    """The rows, offsets and weights over which effects are averaged, or the one row `at`."""
    if at not in ("overall", "mean", "median", "zero"):
        raise ValueError(
            f"get_margeff(at={at!r}): allowed are 'overall', 'mean', 'median', 'zero'."
        )
    frame = results.model.frame
    given = {} if atexog is None else dict(atexog)
    columns = term_columns(results.exog_names, {str(name): name for name in given})
    X = np.array(frame.exog)
    X[:, np.ptp(X[frame.present], axis=0) > 0] *= at != "zero"
    for (j,), value in zip(columns.values(), given.values(), strict=True):
        X[:, j] = value
    offset = np.zeros(len(X)) if frame.offset is None or at == "zero" else frame.offset
    weights = np.ones(len(X)) if frame.freq_weights is None else frame.freq_weights
    both, weights = np.column_stack([X, offset])[frame.present], weights[frame.present]
    if at == "median":
        both = _medians(both, weights)[None, :]
    elif at != "overall":
        both = np.average(both, axis=0, weights=weights)[None, :]
    return both[:, :-1], both[:, -1], weights if at == "overall" else None


def _medians(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of each column (n, k), rows repeated by their weights."""
    order = np.argsort(columns, axis=0)
    upto, ordered = np.cumsum(weights[order], axis=0), np.take_along_axis(columns, order, axis=0)
    half, places = upto[-1] / 2.0, np.arange(columns.shape[1])
    low, high = np.argmax(upto >= half, axis=0), np.argmax(upto > half, axis=0)
    return 0.5 * (ordered[low, places] + ordered[high, places])


def predictive(
    family: Family,
    scale: float,
    mean: np.ndarray,
    frame: Frame | None,
    var_weights: Any,
    n_trials: Any,
) -> Predictive:
    """The distribution at `mean` (n,), with the sample's weights and trials where it is given."""
    if frame is not None:
        var_weights = _where_present(frame.var_weights) if var_weights is None else var_weights
        n_trials = _where_present(frame.n_trials) if n_trials is None else n_trials
    weight, trials = (np.asarray(1.0 if v is None else v) for v in (var_weights, n_trials))
    phi = 1.0 if family.fixed_scale else scale / weight
    wide = (np.broadcast_to(np.asarray(v, dtype=np.float64), mean.shape) for v in (phi, trials))
    return Predictive(family, mean, *wide)


def _where_present(weight: np.ndarray | None) -> np.ndarray | None:
    """A row of weight 0 has no distribution."""
    return None if weight is None else np.where(weight > 0, weight, np.nan)


def require_comparable(full: Any, restricted: Any) -> None:
    """Raise unless two results are maxima of likelihoods of the same rows and family."""
    if type(restricted) is not type(full):
        kind = type(restricted).__name__
        raise TypeError(f"compare_lr_test(restricted=...): {kind}; allowed are results of a fit.")
    for results in (full, restricted):
        if results.penalty is not None:
            raise ValueError(
                f"compare_lr_test: a model was fitted with the penalty {results.penalty}; the "
                "ratio has its law for maximum likelihood only: fit without a penalty."
            )
    for name in ("nobs", "n_total", "endog_names"):
        mine, other = getattr(full, name), getattr(restricted, name)
        if mine != other:
            raise ValueError(
                f"compare_lr_test(restricted=...): {name} is {other}, here {mine}; models must be "
                "fitted to the same data."
            )
    if type(full.family) is not type(restricted.family):
        raise ValueError(
            f"compare_lr_test(restricted=...): the family is {type(restricted.family).__name__}, "
            f"here {type(full.family).__name__}; allowed are models of one family."
        )


def checked_penalty(penalty: Any, p: int) -> Penalty | None:
    """The penalty as a record; raises where it is no positive semidefinite matrix."""
    penalty = as_penalty(penalty)
    if penalty is None or penalty.adjusts:
        return penalty
    matrix = np.asarray(penalty.matrix(p, jnp.float64))
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0.0):
        raise ValueError("GLM.fit(penalty=...): the matrix is not symmetric.")
    if not np.isfinite(matrix).all() or np.linalg.eigvalsh(matrix)[0] < -1e-10 * matrix.max():
        raise ValueError(
            "GLM.fit(penalty=...): a negative or non-finite strength; allowed are numbers >= 0 "
            "and positive semidefinite matrices."
        )
    return penalty


def checked_start(start: Any, p: int) -> np.ndarray | None:
    """Starting coefficients (p,) as float64, or None."""
    if start is None:
        return None
    start = to_float("GLM.fit(start_params=...)", start)
    if start.shape != (p,) or not np.isfinite(start).all():
        shape = f"shape {start.shape}" + ("" if start.shape != (p,) else " with NaN or infinity")
        raise ValueError(f"GLM.fit(start_params=...): {shape}; allowed are ({p},) finite numbers.")
    return start
