"""Floor 10: the printed summary of a fit, in the layout of statsmodels'."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np

from jaxglm._tables import Summary, coefficient_block, format_number, pairs_block

SHIFTS = ("offset", "exposure")
WEIGHTS = ("freq_weights", "var_weights", "n_trials")


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
