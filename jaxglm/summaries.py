"""Floor 10: the printed summary of a fit, in the layout of statsmodels', and of several."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxglm._tables import Summary, Table, coefficient_block, format_number, pairs_block

SHIFTS = ("offset", "exposure")
WEIGHTS = ("freq_weights", "var_weights", "n_trials")
# A star for each level that the p-value is below: statsmodels' levels.
LEVELS = (0.1, 0.05, 0.01)


def summarize(results: Any, alpha: float) -> Summary:
    """Text, HTML, Markdown and LaTeX of a `GLMResults`, with limits at level 1 - alpha."""
    notes = [_status_note(results)] if not results.converged else []
    if results.aliased.any():
        names = ", ".join(np.array(results.exog_names)[results.aliased])
        notes.append(f"Aliased (the design has rank {results.rank}): {names}.")
    blocks = [pairs_block(_left(results), _right(results)), _coefficients(results, alpha)]
    return Summary("Generalized Linear Model Regression Results", blocks, notes)


def _status_note(results: Any) -> str:
    return f"Status {results.status.name}: {results.status.meaning}"


def _left(results: Any) -> list[tuple[str, str]]:
    family, link = type(results.family), results.family.link
    pairs = [
        ("Dep. Variable", results.endog_names),
        ("Model", "GLM"),
        ("Model Family", family.__name__),
        ("Link Function", type(link).__name__),
        *_parameters(link, "link "),
        ("Method", results.method),
        ("No. Iterations", str(results.n_iter)),
        ("Covariance Type", results.cov_type),
    ]
    for name, value in _parameters(results.family):
        error = results.family_parameter_se
        given = error == 0 or results.family.unknown is None
        known = "fixed" if given else f"se {format_number(error, 3)}"
        pairs.append((name, f"{value} ({known})"))
    if results.penalty is not None:
        pairs.append(("Penalty", results.penalty))
    for title, names in (("Offset", SHIFTS), ("Weights", WEIGHTS)):
        used = [name for name in results.given if name in names]
        pairs += [(title, " + ".join(used))] if used else []
    return pairs


def _parameters(row: Any, prefix: str = "") -> list[tuple[str, str]]:
    """The numbers that a family or link holds, by name."""
    values = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    numbers = {k: v for k, v in values.items() if isinstance(v, float)}
    own = getattr(row, "values", ())
    # Those of a function of the user's, by the names that it gives to its last arguments.
    made_by = [v for v in values.values() if own and inspect.isfunction(v)]
    names = [*inspect.signature(made_by[0]).parameters][-len(own) :] if made_by else []
    numbers |= {k: float(v) for k, v in zip(names, own, strict=False)}
    return [(prefix + name, format_number(value)) for name, value in numbers.items()]


def _right(results: Any) -> list[tuple[str, str]]:
    return [
        ("No. Observations", str(results.nobs)),
        ("Df Residuals", f"{results.df_resid:g}"),
        ("Df Model", f"{results.df_model:g}"),
        ("Scale", f"{results.scale:#8.5g}".strip()),
        ("Log-Likelihood", f"{results.llf:#8.5g}".strip()),
        ("Deviance", f"{results.deviance:#8.5g}".strip()),
        ("Pearson chi2", f"{results.pearson_chi2:#6.3g}".strip()),
        ("Pseudo R-squ. (CS)", f"{results.pseudo_rsquared():#6.4g}".strip()),
    ]


def _coefficients(results: Any, alpha: float) -> Any:
    letter = "t" if results.use_t else "z"
    headers = (
        "coef",
        "std err",
        letter,
        f"P>|{letter}|",
        f"[{alpha / 2:.3g}",
        f"{1 - alpha / 2:.3g}]",
    )
    numbers = np.column_stack(
        [results.params, results.bse, results.tvalues, results.pvalues, results.conf_int(alpha)]
    )
    rows = [
        (
            name,
            format_number(row[0]),
            format_number(row[1], 3),
            f"{row[2]:.3f}",
            f"{row[3]:.3f}",
            format_number(row[4], 3),
            format_number(row[5], 3),
        )
        for name, row in zip(results.exog_names, numbers, strict=True)
    ]
    return coefficient_block(headers, rows)


def summary_col(
    results: Sequence[Any],
    model_names: Sequence[str] = (),
    stars: bool = False,
    regressor_order: Sequence[str] = (),
    drop_omitted: bool = False,
) -> Summary:
    """Several fits side by side: estimates, standard errors beneath them in parentheses.

    Below stand family, link, kind of covariance, rows, deviance, AIC, log-likelihood and scale.
    model_names: a column's head each, by default the responses' names, numbered where they repeat.
    stars: *, **, *** for p < 0.1, 0.05, 0.01. regressor_order: the terms to begin with, or with
    drop_omitted the only ones. A term that a model lacks, or that is aliased in it, is left blank.
    Text, HTML, Markdown and LaTeX as `GLMResults.summary`. Raises ValueError for no results, for
    names of another number, and for ordered terms that no model has.
    """
    if not results or len(model_names) not in (0, len(results)):
        raise ValueError(
            f"summary_col(results=..., model_names=...): {len(results)} results and "
            f"{len(model_names)} names; allowed are at least one, and a name each or none."
        )
    names = list(model_names) or _told_apart([found.endog_names for found in results])
    columns = [_estimates(found, stars) for found in results]
    rows = []
    for term in _ordered_terms(columns, regressor_order, drop_omitted):
        pairs = [column.get(term, ("", "")) for column in columns]
        rows += [(term, *(above for above, _ in pairs)), ("", *(below for _, below in pairs))]
    measures = [_measures(found) for found in results]
    rows += [("",) * (1 + len(results))]
    rows += [(label, *(of[label] for of in measures)) for label in measures[0]]
    notes = ["Standard errors in parentheses."]
    marks = [f"{'*' * k} p < {level:g}" for k, level in enumerate(LEVELS, 1)]
    notes += [", ".join(marks) + "."] if stars else []
    failed = [(n, found) for n, found in zip(names, results, strict=True) if not found.converged]
    notes += [f"{name}: {_status_note(found)}" for name, found in failed]
    return Summary("Generalized Linear Models", [Table(rows, ("", *names))], notes)


def _told_apart(names: list[str]) -> list[str]:
    """Names, followed by their number where there are several of one."""
    return [
        name if names.count(name) == 1 else f"{name} ({1 + names[:place].count(name)})"
        for place, name in enumerate(names)
    ]


def _estimates(found: Any, stars: bool) -> dict[str, tuple[str, str]]:
    """By term: the estimate, and its standard error in parentheses."""
    columns = (found.exog_names, found.beta, np.asarray(found.bse), np.asarray(found.pvalues))
    cells = {}
    for name, estimate, error, p in zip(*columns, strict=True):
        mark = "*" * sum(p < level for level in LEVELS) if stars else ""
        given = (format_number(estimate) + mark, f"({format_number(error)})")
        cells[name] = ("", "") if np.isnan(estimate) else given
    return cells


def _ordered_terms(
    columns: Sequence[dict[str, Any]], first: Sequence[str], only: bool
) -> list[str]:
    """The terms of all models, as they come, those of `first` before the others."""
    terms = list(dict.fromkeys(term for column in columns for term in column))
    strange = [term for term in first if term not in terms]
    if strange:
        raise ValueError(
            f"summary_col(regressor_order=...): no model has {', '.join(strange)}; they have "
            f"{', '.join(terms)}."
        )
    return list(dict.fromkeys([*first, *([] if only else terms)]))


def _measures(found: Any) -> dict[str, str]:
    numbers = {
        "Deviance": found.deviance,
        "AIC": found.aic,
        "Log-Likelihood": found.llf,
        "Scale": found.scale,
    }
    return {
        "Family": type(found.family).__name__,
        "Link": type(found.family.link).__name__,
        "Covariance Type": found.cov_type,
        "No. Observations": str(found.nobs),
        **{name: f"{value:.6g}" for name, value in numbers.items()},
    }
