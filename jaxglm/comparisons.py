"""Floor 10: tests of coefficients, of terms and between models, as methods of `GLMResults`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jaxglm import arguments
from jaxglm.anova import DevianceTable, Selection, criteria, drop_one, marginal, sequential
from jaxglm.frames import float64
from jaxglm.inference import (
    Adjustment,
    Contrasts,
    LikelihoodRatioTest,
    PairwiseTests,
    ScoreTest,
    WaldTest,
    contrasts,
    likelihood_ratio,
    pairwise,
    upper_tail,
    wald,
)
from jaxglm.inference import score_test as score_test_of
from jaxglm.working import as_fit


@float64()
def wald_test(results: Any, hypothesis: Any, q: Any = None) -> WaldTest:
    """Test R beta = q jointly: chi-squared, or F where `use_t`.

    hypothesis: R (k, p) or (p,), or text such as "x1 = x2 = 0" or "x1 + 2*x2 = 1, x3 = 0".
    """
    return jax.tree.map(float, wald(*_equations(results, hypothesis, q), results.df_test))


@float64()
def f_test(results: Any, hypothesis: Any, q: Any = None) -> WaldTest:
    """`wald_test` by F on df_resid_inference."""
    return jax.tree.map(
        float, wald(*_equations(results, hypothesis, q), results.df_resid_inference)
    )


@float64()
def wald_test_terms(
    results: Any, terms: dict[str, Any] | None = None, typ: int = 3
) -> dict[str, WaldTest]:
    """`wald_test` that all coefficients of a term are 0, for each; terms as in `anova`.

    By default each coefficient but the constant's is a term. Aliased ones have no part in it. typ 3
    is the test of the coefficients as they are; typ 2 that of what the term adds to those that do
    not contain it, W(term and containing) - W(containing), as car's Anova(test.statistic =
    "Wald"). Any `cov_type` counts.
    """
    if typ not in (2, 3):
        raise ValueError(f"wald_test_terms(typ={typ!r}): allowed are 2, 3.")
    columns = arguments.tested_columns(results, terms)
    containing = arguments.containing_terms(columns) if typ == 2 else {}
    outer = {t: [j for name in containing.get(t, ()) for j in columns[name]] for t in columns}
    return {term: _added_test(results, js, outer[term]) for term, js in columns.items()}


def _added_test(results: Any, own: list[int], outer: list[int]) -> WaldTest:
    """Wald's test of the columns `own`, those `outer` being left out of the model."""
    eye, df = np.eye(len(results.beta)), results.df_test
    whole = wald(*results.estimable(), eye[own + outer])
    rest = wald(*results.estimable(), eye[outer]) if outer else None
    chi2, rank = whole.statistic, whole.df
    if rest is not None:
        chi2, rank = chi2 - rest.statistic, rank - rest.df
    statistic = chi2 if df is None else chi2 / rank
    tail = upper_tail(statistic, rank, df)
    return WaldTest(*map(float, (statistic, rank, np.inf if df is None else df, tail)))


@float64()
def t_test(results: Any, hypothesis: Any, q: Any = None, alpha: float = 0.05) -> Contrasts:
    """Each row of R beta = q alone: estimate, standard error, z or t, p-value and limits."""
    params, cov, R, q = _equations(results, hypothesis, q)
    alpha = arguments.checked_alpha("t_test", alpha)
    found = contrasts(params, cov, R, 0.0 if q is None else q, results.df_test, alpha)
    return jax.tree.map(np.asarray, found)


@float64()
def t_test_pairwise(
    results: Any,
    columns: Any,
    reference: str | None = None,
    method: Adjustment = "holm-sidak",
    alpha: float = 0.05,
) -> PairwiseTests:
    """`t_test` of all differences between levels, later less earlier, with adjusted p-values.

    columns: a categorical term of the formula, or the names or numbers of the levels' dummies;
    reference: the name of a level before them that has none (treatment coding), known of a term.
    method as in `inference.adjust_pvalues`.
    """
    if isinstance(columns, str) and columns in (results.terms or {}):
        columns, reference = arguments.levels_of_term(results, columns, reference)
    pairs, R = arguments.level_contrasts(results.exog_names, columns, reference)
    alpha = arguments.checked_alpha("t_test_pairwise", alpha)
    found = pairwise(*results.estimable(), R, pairs, results.df_test, alpha, method)
    return jax.tree.map(np.asarray, found)


@float64()
def compare_lr_test(results: Any, restricted: Any) -> LikelihoodRatioTest:
    """The likelihood-ratio test against a model nested in this one, by chi-squared and F.

    Raises unless both were fitted to as many rows, with the same family and no penalty.
    """
    arguments.require_comparable(results, restricted)
    pair = as_fit(restricted), as_fit(results)
    return jax.tree.map(float, likelihood_ratio(*pair, known_scale=results.known_scale))


@float64()
def score_test(
    results: Any, exog_extra: Any, *, observed: bool = False, robust: bool = False
) -> ScoreTest:
    """Rao's test of columns (n, k) that the model leaves out.

    observed: with the observed information in place of the expected (R's). robust: with the
    variance of the score estimated from its rows (HC0), for when the variance function is wrong.
    """
    working = results.need_data("score_test")
    extra = working.filled(arguments.extra_columns(exog_extra, results.model.nobs)).X
    found = score_test_of(working.problem, working.fitted, extra, observed=observed, robust=robust)
    return jax.tree.map(np.asarray, found)


@float64()
def anova(
    results: Any, terms: dict[str, Any] | None = None, typ: int = 1, test: str | None = None
) -> DevianceTable:
    """The analysis of deviance: what each term costs and explains.

    typ 1: terms added in order, as R's anova. typ 2: each added to all terms that do not contain it
    ("a:b" contains "a" and "b"), as car's Anova. typ 3: each left out of the full model by itself,
    as R's drop1 and car's type III; its answer for a main effect beside an interaction depends
    on the coding. terms: names and column numbers of each term; by default each column but the
    constant is one. test: "chisq" (likelihood ratio), "F", "rao", or None for "F" where the
    scale is estimated and "chisq" where it is known; Wald's are in `wald_test_terms`.
    """
    if typ not in (1, 2, 3):
        raise ValueError(f"anova(typ={typ!r}): allowed are 1, 2, 3.")
    working = results.need_data("anova")
    problem, fitted = working.in_columns(results.model.exog)
    groups = arguments.term_groups(results, terms, list(working.factor.kept))
    options = {"test": test, "known_scale": results.known_scale}
    if typ == 2:
        names = list(groups)
        outer = arguments.containing_terms(groups).values()
        containing = [[names.index(name) for name in others] for others in outer]
        found = marginal(problem, fitted, list(groups.values()), containing, **options)
    else:
        table = sequential if typ == 1 else drop_one
        found = table(problem, fitted, list(groups.values()), **options)
    return dataclasses.replace(jax.tree.map(np.asarray, found), terms=tuple(groups))


@float64()
def step(
    results: Any,
    terms: dict[str, Any] | None = None,
    start: Sequence[str] | None = None,
    direction: str = "both",
    criterion: str = "aic",
) -> Selection:
    """The terms that a stepwise search by "aic" or "bic" chooses among this model's, as R's step.

    Each step fits, as one batch, the models with a term more or less, and takes the best while it
    is better. start: the terms to begin with, by default all ("both", "backward") or none
    ("forward"). A term stays while one that contains it does ("a" in "a:b"), and enters after those
    that it contains; columns that are no term's stay. terms as in `anova`. Tests of the model
    chosen do not know of the search.
    """
    allowed = {"both": "+-", "backward": "-", "forward": "+"}
    if direction not in allowed or criterion not in ("aic", "bic"):
        text = f"step(direction={direction!r}, criterion={criterion!r})"
        raise ValueError(f"{text}: allowed are 'both', 'backward', 'forward'; 'aic', 'bic'.")
    working = results.need_data("step")
    problem, fitted = working.in_columns(results.model.exog)
    groups = arguments.term_groups(results, terms, list(working.factor.kept))
    begin = (() if direction == "forward" else tuple(groups)) if start is None else tuple(start)
    if not set(begin) <= set(groups):
        raise ValueError(f"step(start={list(begin)}): the model's terms are {', '.join(groups)}.")
    cost = 2.0 if criterion == "aic" else float(np.log(results.n_total))

    def measured(present: frozenset[str]) -> np.ndarray:
        """Columns, deviance and criterion of the model, and of those with each term changed."""
        masks = np.ones((len(groups) + 1, problem.design.shape[1]), bool)
        for mask, changed in zip(masks, [frozenset(), *({t} for t in groups)], strict=True):
            for term in set(groups) - (present ^ changed):
                mask[groups[term]] = False
        return np.stack([masks.sum(axis=1), *criteria(problem, fitted, masks, cost)], axis=1)

    changes, present, path = _search(groups, frozenset(begin), allowed[direction], measured)
    size, deviance, value = np.array(path).T
    df_resid = float(fitted.df_resid) + problem.design.shape[1] - size
    chosen = tuple(term for term in groups if term in present)
    return Selection(df_resid, deviance, value, changes, chosen)


def _search(
    terms: Iterable[str],
    present: frozenset[str],
    signs: str,
    measured: Callable[[frozenset[str]], np.ndarray],
) -> tuple[tuple[str, ...], frozenset[str], list[np.ndarray]]:
    """The changes from `present` on, the terms at their end, and the measures along the way."""
    terms, containing = list(terms), arguments.containing_terms(terms)
    changes, path = [""], []
    while True:
        own, *others = measured(present)
        path.append(own)
        found = {}
        for term, row in zip(terms, others, strict=True):
            inner = [other for other in terms if term in containing[other]]
            free = not present & set(containing[term]) and present >= set(inner)
            sign = "-" if term in present else "+"
            if free and sign in signs and np.isfinite(row[2]):
                found[sign, term] = row[2]
        best = min(found, key=found.__getitem__, default=None)
        # R's margin, so that rounding makes no step.
        if best is None or found[best] >= own[2] - 1e-7:
            return tuple(changes), present, path
        changes.append(" ".join(best))
        present = present ^ {best[1]}


def _equations(results: Any, hypothesis: Any, q: Any) -> tuple[Any, Any, Any, Any]:
    return *results.estimable(), *arguments.hypothesis(results.exog_names, hypothesis, q)
