"""Floor 9: analysis of deviance, the tables of a model's terms.

The submodels of a table differ by the columns they leave out, so they are fitted as one batch over
a shared design.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import as_frame
from jaxglm._types import Array, record, static
from jaxglm.fit import Fit
from jaxglm.inference import upper_tail
from jaxglm.linalg import highest, inverse_pd
from jaxglm.model import Problem, loglike, penalised_score, totals
from jaxglm.solvers import IRLS, Solver, Status
from jaxglm.submodels import Masked, fit_held, hold

__all__ = ["DevianceTable", "Selection", "criteria", "drop_one", "marginal", "sequential"]

TEST_NAMES = (None, "chisq", "F", "rao")
TestName = Literal["chisq", "F", "rao"] | None


@record
class DevianceTable:
    """An analysis of deviance, one entry a term; fields (T,).

    df, deviance: what the term costs and explains; df_resid, residual_deviance: of the model that
    the row leaves (sequential: with the terms so far; drop_one: without the term). statistic is
    deviance / scale ("chisq"), that over df ("F"), or Rao's score statistic / scale ("rao");
    status: a `Status` of each row's fit; one that did not converge leaves NaN. terms: their names,
    where the table is of a `GLMResults`.
    """

    df: Array
    deviance: Array
    df_resid: Array
    residual_deviance: Array
    statistic: Array
    pvalue: Array
    status: Array
    test: str = static()
    terms: tuple[str, ...] = static(default=())

    def summary_frame(self) -> Any:
        """A pandas frame, a row a term."""
        frame = as_frame({f.name: getattr(self, f.name) for f in dataclasses.fields(self)[:-3]})
        return frame.set_axis(list(self.terms), axis=0) if self.terms else frame


@record
class Selection:
    """A stepwise search: the terms it chose, and a row for its start and each change (S,).

    changes: "+ term" or "- term", and "" of the start; the other columns are of the model after it.
    """

    df_resid: Array
    deviance: Array
    criterion: Array
    changes: tuple[str, ...] = static()
    terms: tuple[str, ...] = static()

    def summary_frame(self) -> Any:
        """A pandas frame, a row a step."""
        names = ("df_resid", "deviance", "criterion")
        frame = as_frame({name: getattr(self, name) for name in names})
        return frame.set_axis(list(self.changes), axis=0)


def sequential(
    problem: Problem,
    fitted: Fit,
    groups: Sequence[Sequence[int]],
    *,
    test: TestName = None,
    known_scale: bool | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> DevianceTable:
    """Analysis of deviance, terms added in order (type I), as R's anova.glm.

    `groups` are the columns of each term; columns in none (the intercept) are in every model. All
    models share the scale of `fitted`, the largest; a family's parameter is held at its estimate.
    test: None takes "F" where the scale is estimated, "chisq" where it is known.
    """
    member = _membership(groups, problem.design.shape[1])
    # Row t holds the columns of the model before term t, and after it.
    before = np.stack([~member[t:].any(axis=0) for t in range(len(groups))])
    after = before | member
    return _table(problem, fitted, before, after, None, test, known_scale, solver)


def drop_one(
    problem: Problem,
    fitted: Fit,
    groups: Sequence[Sequence[int]],
    *,
    test: TestName = None,
    known_scale: bool | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> DevianceTable:
    """Analysis of deviance, each term left out of the full model by itself, as R's drop1.

    See `sequential`. The statistics use the scale of `fitted`: where R's drop1 takes
    deviance / df_resid (its F), fit with scale="dev"; its n log(D0 / D1) of a Gaussian model is
    not given.
    """
    member = _membership(groups, problem.design.shape[1])
    full = np.ones_like(member)
    upper = jnp.broadcast_to(fitted.deviance, len(groups))
    return _table(problem, fitted, full & ~member, full, upper, test, known_scale, solver)


def marginal(
    problem: Problem,
    fitted: Fit,
    groups: Sequence[Sequence[int]],
    containing: Sequence[Sequence[int]],
    *,
    test: TestName = None,
    known_scale: bool | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> DevianceTable:
    """Analysis of deviance, each term added to those that do not contain it (type II).

    containing[t]: the numbers of the terms that contain term t, as an interaction does its
    factors: these are in neither model of its row. See `sequential`; as car's Anova, whose F too
    divides by Pearson's scale of the largest model.
    """
    member = _membership(groups, problem.design.shape[1])
    outer = np.stack([member[list(others)].any(axis=0) for others in containing])
    after = ~outer
    masks = [jnp.asarray(m, fitted.params.dtype) for m in (after, after)]
    upper, _, _ = _fit_rows(hold(problem, fitted), *masks, solver)
    return _table(problem, fitted, after & ~member, after, upper, test, known_scale, solver)


def criteria(
    problem: Problem,
    fitted: Fit,
    masks: np.ndarray,
    cost: float = 2.0,
    *,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> tuple[Array, Array]:
    """Deviance and -2 log L + cost * rank (M,) of the models of the columns `masks` (M, p).

    As R's extractAIC: a dispersion that is not known is deviance / n, and costs 2. A family's
    parameter is held at its estimate in `fitted`. A model that did not converge has NaN.
    """
    dtype = fitted.params.dtype
    given = jnp.asarray(masks, dtype), jnp.asarray(cost, dtype)
    return _criterion_rows(hold(problem, fitted), *given, solver)


@jax.jit
def _criterion_rows(
    problem: Problem, masks: Array, cost: Array, solver: Solver
) -> tuple[Array, Array]:
    family, rows = problem.family, problem.rows

    def row(mask: Array) -> tuple[Array, Array]:
        found = fit_held(problem, mask, jnp.zeros_like(mask), None, solver)
        deviance = totals(problem, found.params).deviance
        deviance = jnp.where(found.status == int(Status.converged), deviance, jnp.nan)
        scale = jnp.ones_like(deviance) if family.fixed_scale else deviance / rows.total_frequency
        fixed = 0.0 if family.fixed_scale else 2.0
        return deviance, fixed + cost * mask.sum() - 2.0 * loglike(family, rows, scale, deviance)

    return jax.vmap(row)(masks)


def _membership(groups: Sequence[Sequence[int]], p: int) -> np.ndarray:
    """Which columns (T, p) belong to which term; raises unless each belongs to at most one."""
    member = np.zeros((len(groups), p), dtype=bool)
    for t, columns in enumerate(groups):
        index = np.asarray(columns, dtype=int)
        if index.size == 0 or index.min() < 0 or index.max() >= p:
            raise ValueError(f"groups[{t}]={list(columns)}: allowed are columns 0 to {p - 1}.")
        member[t, index] = True
    if len(groups) == 0 or (member.sum(axis=0) > 1).any():
        raise ValueError("groups: each column belongs to one term at most, and there is one term.")
    return member


def _table(
    problem: Problem,
    fitted: Fit,
    before: np.ndarray,
    after: np.ndarray,
    upper: Array | None,
    test: TestName,
    known_scale: bool | None,
    solver: Solver,
) -> DevianceTable:
    """Each row compares the model of the columns `before` with that of `after`, all in (T, p).

    `upper` are the deviances of the latter (T,), None where each model after a row is the next
    row's before it. The row shows the model before it if they are given, else the one after.
    """
    if test not in TEST_NAMES:
        raise ValueError(f"test={test!r}: allowed are None, 'chisq', 'F', 'rao'.")
    known = fitted.family.fixed_scale if known_scale is None else known_scale
    test = test or ("chisq" if known else "F")
    dtype = fitted.params.dtype
    masks = [jnp.asarray(m, dtype) for m in (before, after)]
    lower, rao, status = _fit_rows(hold(problem, fitted), *masks, solver)
    shown = before if upper is not None else after
    upper = jnp.append(lower[1:], fitted.deviance) if upper is None else upper
    df = jnp.asarray((after & ~before).sum(axis=1), dtype)
    df_resid = fitted.df_resid + jnp.asarray((~shown).sum(axis=1), dtype)
    statistic = (rao if test == "rao" else lower - upper) / fitted.scale
    statistic = statistic / df if test == "F" else statistic
    denominator = (jnp.inf if known else fitted.df_resid) if test == "F" else None
    return DevianceTable(
        df=df,
        deviance=lower - upper,
        df_resid=df_resid,
        residual_deviance=lower if shown is before else upper,
        statistic=statistic,
        pvalue=upper_tail(statistic, df, denominator),
        status=status,
        test=test,
    )


@jax.jit
def _fit_rows(
    problem: Problem, before: Array, after: Array, solver: Solver
) -> tuple[Array, Array, Array]:
    """Deviance of each model `before`, the score statistic of what `after` adds, and the status."""
    return jax.vmap(partial(_fit_row, problem, solver))(before, after)


def _fit_row(
    problem: Problem, solver: Solver, before: Array, after: Array
) -> tuple[Array, Array, Array]:
    found = fit_held(problem, before, jnp.zeros_like(before), None, solver)
    sums = totals(problem, found.params)
    larger = dataclasses.replace(problem, design=Masked(problem.design, after))
    information = totals(larger, found.params).information
    score = after * penalised_score(problem, found.params)
    # The deviance of a fit that stopped short is no minimum, and a test with it no test.
    sound = jnp.where(found.status == int(Status.converged), 1.0, jnp.nan)
    rao = score @ highest(inverse_pd(information), score)
    return sound * sums.deviance, sound * rao, found.status
