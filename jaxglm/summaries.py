"""Floor 10: the printed summary of a fit, in the layout of statsmodels'."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxglm._tables import Summary, coefficient_block, format_number, pairs_block


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
    family = type(results.family)
    pairs = [
        ("Dep. Variable", results.endog_names),
        ("Model", "GLM"),
        ("Model Family", family.__name__),
        ("Link Function", type(results.family.link).__name__),
        ("Method", results.method),
        ("No. Iterations", str(results.n_iter)),
        ("Covariance Type", results.cov_type),
    ]
    if family.unknown is not None:
        name = family.unknown.field
        value = format_number(float(getattr(results.family, name)))
        error = results.family_parameter_se
        pairs.append(
            (name, value if np.isnan(error) else f"{value} (se {format_number(error, 3)})")
        )
    if results.has_offset or results.has_exposure:
        used = [
            name
            for name, there in (("offset", results.has_offset), ("exposure", results.has_exposure))
            if there
        ]
        pairs.append(("Offset", " + ".join(used)))
    return pairs


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
