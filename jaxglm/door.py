"""Floor 10: GLM, the door of a single fit of host data.

Everything is computed in float64, whatever the process's flag, and handed back as NumPy arrays.
The design goes in as the Q of its pivoted QR factorization: coefficients then have the digits of
an orthogonal method, dependent columns are found as R finds them, and the weighted information
stays well conditioned. Coefficients come back through R.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import prediction, primitives
from jaxglm.arguments import (
    as_family,
    as_solver,
    checked_options,
    checked_params,
    checked_penalty,
    checked_scale,
    checked_start,
    hypothesis,
    new_rows,
    total_offset,
)
from jaxglm.covariance import likelihood_scale
from jaxglm.edges import follow_to_edge
from jaxglm.families import Family
from jaxglm.fit import prepare, solve_by_all_cores
from jaxglm.frames import DomainWarning, FitWarning, Frame, RowSource, float64, read_frame
from jaxglm.joint import parameter_se
from jaxglm.lane_arguments import common_length
from jaxglm.model import (
    Problem,
    totals,
)
from jaxglm.penalties import Penalty
from jaxglm.results import GLMResults
from jaxglm.separation import Separation, detect_separation
from jaxglm.solvers import Solver, Status
from jaxglm.solvers.base import require_solver
from jaxglm.submodels import null_space
from jaxglm.working import (
    Equations,
    Working,
    factorize,
    fit_at,
    has_constant,
    null_model,
    observations,
    require_cov_type,
    row_space,
    turned,
)

__all__ = ["GLM"]


class GLM:
    """A generalized linear model of host data, with statsmodels' names, order and meaning.

    endog (n,), for Binomial 0/1, proportions with `n_trials`, or (success, failure) (n, 2); exog
    (n, p), no intercept is added; family an instance or class of `jaxglm.families`, or its name
    (default Gaussian). offset (n,) is added to the linear predictor, log(exposure) too.
    var_weights are precisions, freq_weights replications; a row of weight 0 is gone. missing:
    "none" and "raise" refuse NaN, "drop" leaves out rows with NaN in any argument. source: where
    exog came from, of a formula.

    Raises ValueError or TypeError on bad data, naming the argument.
    """

    def __init__(
        self,
        endog: Any,
        exog: Any,
        family: Family | type[Family] | str | None = None,
        offset: Any = None,
        exposure: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        n_trials: Any = None,
        missing: str = "none",
        *,
        source: RowSource | None = None,
    ) -> None:
        self.family = as_family(family)
        self.source = source
        with float64():
            self.frame: Frame = read_frame(
                endog,
                exog,
                self.family,
                offset=offset,
                exposure=exposure,
                freq_weights=freq_weights,
                var_weights=var_weights,
                n_trials=n_trials,
                missing=missing,
            )
        if self.family.counts_trials and self.frame.fractions_without_trials.size:
            row = self.frame.fractions_without_trials[0]
            text = f"proportions without n_trials (first at row {row}: {self.endog[row]:g})"
            warnings.warn(f"GLM(endog=...): {text}; each counts as 1 trial.", FitWarning, 2)
        _speak_of_domain(self.family)

    @classmethod
    def from_formula(
        cls,
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
        """`jaxglm.glm` under statsmodels' name: the model of a formula and a data frame."""
        # formulaic is optional, and formulas stand above arrays: this door opens when it is asked.
        glm = importlib.import_module("jaxglm.interfaces.formula").glm
        rows = (offset, exposure, freq_weights, var_weights, n_trials)
        return glm(formula, data, family, *rows, missing, by, context + 1)

    @property
    def endog(self) -> np.ndarray:
        """The response (n,); a proportion where (success, failure) was given."""
        return self.frame.endog

    @property
    def exog(self) -> np.ndarray:
        """The design (n, p)."""
        return self.frame.exog

    @property
    def endog_names(self) -> str:
        """The response's name."""
        return self.frame.endog_name

    @property
    def exog_names(self) -> list[str]:
        """The columns' names."""
        return list(self.frame.exog_names)

    @property
    def nobs(self) -> int:
        """Rows of the data."""
        return len(self.frame.endog)

    @property
    def offset(self) -> np.ndarray | None:
        """What is added to the linear predictor (n,), log(exposure) included, or None."""
        return self.frame.offset

    @property
    def n_trials(self) -> np.ndarray | None:
        """Trials behind the proportions (n,), or None."""
        return self.frame.n_trials

    @property
    def freq_weights(self) -> np.ndarray | None:
        """Replications (n,), or None."""
        return self.frame.freq_weights

    @property
    def var_weights(self) -> np.ndarray | None:
        """Precisions (n,), or None."""
        return self.frame.var_weights

    @property
    def df_model(self) -> float:
        """The design's rank, less 1 where it has a constant."""
        factor = factorize(self.frame, self.exog, "none")
        return float(factor.kept.size - has_constant(factor, self.frame.present))

    @property
    def df_resid(self) -> float:
        """The sum of freq_weights over rows that count, less the design's rank."""
        present, frequency = self.frame.present, self.frame.freq_weights
        count = present.sum() if frequency is None else frequency[present].sum()
        return float(count - factorize(self.frame, self.exog, "none").kept.size)

    @float64()
    def fit(
        self,
        start_params: Any = None,
        maxiter: int = 100,
        method: str = "IRLS",
        tol: float | None = None,
        scale: str | float | None = None,
        cov_type: str = "nonrobust",
        cov_kwds: dict[str, Any] | None = None,
        use_t: bool = False,
        *,
        penalty: Penalty | Any = None,
        solver: Solver | None = None,
        rank_deficient: str = "warn",
        max_start_irls: int = 0,
        optim_hessian: str = "oim",
    ) -> GLMResults:
        """Estimate the coefficients.

        method "IRLS", "newton" or "lbfgs" ("bfgs" too), or any `solver`, to `tol` (Newton decrement
        in units of the dispersion) within `maxiter` passes. scale: None (1 for Binomial, Poisson
        and NegativeBinomial, else Pearson's), "X2", "dev", "ml" or a number. cov_type, cov_kwds:
        see `GLMResults.with_covariance`; use_t has t and F replace z and chi-squared. penalty: see
        `jaxglm.fit`. rank_deficient "warn" gives aliased coefficients NaN, as R does; "error"
        raises; "minnorm" gives of all coefficients with the same fitted values the shortest, as
        statsmodels' pinv does, with the pseudo-inverse of the information as covariance: these
        depend on the columns' units, and only combinations in the span of exog's rows have a
        meaning. max_start_irls: passes of IRLS from whose end another method starts. optim_hessian:
        the information of "newton", "oim" (observed) or "eim" (expected: scoring).

        Warns once where the fit did not converge; the reason is `GLMResults.status`.
        """
        require_cov_type(cov_type)
        p, frame = self.exog.shape[1], self.frame
        factor, equations = factorize(frame, self.exog, rank_deficient), None
        if not factor.kept.size:
            raise ValueError("GLM(exog=...): every column is 0; there is nothing to estimate.")
        named = as_solver(method, tol, maxiter, optim_hessian)
        chosen = named if solver is None else require_solver(solver)
        penalty = checked_penalty(penalty, p)
        if rank_deficient == "minnorm" and factor.aliased.size:
            equations = row_space(factor, self.exog)
            factor = factorize(frame, self.exog @ equations.basis, "none")
        problem = self.problem_on(factor.q, penalty=turned(penalty, factor, equations))
        working = Working(factor, problem, None, checked_scale("GLM.fit", scale), equations)
        begin = as_solver("IRLS", None, max_start_irls) if max_start_irls else None
        results = self._solved(working, start_params, chosen, penalty, begin)
        return results.with_covariance(cov_type, use_t=use_t, **checked_options(cov_kwds))

    @float64()
    def fit_constrained(
        self,
        constraints: Any,
        q: Any = None,
        start_params: Any = None,
        maxiter: int = 100,
        method: str = "IRLS",
        tol: float | None = None,
        scale: str | float | None = None,
        cov_type: str = "nonrobust",
        cov_kwds: dict[str, Any] | None = None,
        use_t: bool = False,
    ) -> GLMResults:
        """Estimate the coefficients under linear equations R beta = q.

        constraints: R (k, p), the pair (R, q), or text such as "x1 = x2, x3 = 1"; the rest as in
        `fit`. With N a basis of R's null space, the covariance N C N' is singular and df_resid
        counts the equations. They may make up for a rank deficient exog; where they do not, this
        raises. The null model is the constrained one's, without a constant if that has none.
        `anova` is not offered, as its submodels would need equations of their own; refit with more
        of these, and use `compare_lr_test`.
        """
        require_cov_type(cov_type)
        R, q = hypothesis(self.exog_names, constraints, q)
        basis, origin = null_space(R, 0.0 if q is None else q)
        if basis.shape[1] == 0:
            raise ValueError("fit_constrained(constraints=...): they fix all; use evaluate.")
        # What is 0 but for rounding would be a standard error of 1e-17.
        basis, origin = (np.where(np.abs(v) < 1e-15, 0.0, v) for v in (basis, origin))
        factor = factorize(self.frame, self.exog @ basis, "none")
        if factor.aliased.size:
            raise ValueError("fit_constrained: exog is rank deficient under the constraints too.")
        problem = self.problem_on(factor.q, shift=self.exog @ origin)
        dispersion, equations = checked_scale("fit_constrained", scale), Equations(basis, origin)
        working = Working(factor, problem, None, dispersion, equations)
        results = self._solved(working, start_params, as_solver(method, tol, maxiter))
        return results.with_covariance(cov_type, use_t=use_t, **checked_options(cov_kwds))

    @float64()
    def evaluate(self, params: Any, scale: str | float | None = None) -> GLMResults:
        """The results that the coefficients (p,) would have, without a fit.

        The status is `converged` if they solve the score equations, else `max_steps`. Aliased
        coefficients count as 0. A family's parameter must be given.
        """
        if self.family.is_estimated:
            raise ValueError("evaluate: the family has a parameter to estimate; give its value.")
        factor = factorize(self.frame, self.exog, "none")
        beta = checked_params(params, self.exog.shape[1], "evaluate(params=...)")
        gamma = jnp.asarray(factor.r @ beta[factor.kept])
        problem, dispersion = self.problem_on(factor.q), checked_scale("evaluate", scale)
        fitted = fit_at(problem, gamma, dispersion, float(factor.kept.size))
        return self._results(Working(factor, problem, fitted, dispersion), "evaluate")

    def _solved(
        self,
        working: Working,
        start: Any,
        solver: Solver,
        penalty: Penalty | None = None,
        begin: Solver | None = None,
    ) -> GLMResults:
        """The results of the fit, from where `begin` ends; warns unless it converged."""
        start = checked_start(start, len(self.exog_names))
        start = None if start is None else jnp.asarray(working.inner(start))
        solve = partial(solve_by_all_cores, working.problem, jnp.asarray(False))
        if begin is not None:
            start = solve(start, working.dispersion, begin).params
        fitted = solve(start, working.dispersion, solver)
        if int(fitted.status) == Status.boundary:
            fitted = follow_to_edge(working.problem, fitted, working.dispersion)
        status = Status(int(fitted.status))
        if status != Status.converged:
            text = f"GLM.fit: status {status.name}. {status.meaning}{_ADVICE.get(status, '')}"
            warnings.warn(text, FitWarning, stacklevel=4)
        working = dataclasses.replace(working, fitted=fitted, solver=solver, start=start)
        return self._results(working, type(solver).__name__, penalty)

    def _results(self, working: Working, method: str, penalty: Penalty | None = None) -> GLMResults:
        """Names and host numbers for a fit."""
        problem, fitted = working.problem, working.fitted
        unscaled = working.covariance(fitted.cov_unscaled)
        rows = self.problem_on(np.ones((self.nobs, 1))).rows
        nobs, n_total = observations(rows, self.nobs)
        constant = has_constant(working.factor, self.frame.present)
        null = null_model(rows, fitted.family, working.dispersion, constant)
        rank = working.factor.kept.size
        held = dataclasses.replace(problem, family=fitted.family)
        error = 0.0 if fitted.family.parameters else float("nan")
        if self.family.is_estimated:
            error = float(parameter_se(held, fitted.params, likelihood_scale(problem, fitted)))
        return GLMResults(
            beta=working.coefficients(fitted.params),
            cov_unscaled=unscaled,
            cov=float(fitted.scale) * unscaled,
            scale=float(fitted.scale),
            known_scale=working.known_scale,
            penalty=None if penalty is None else type(penalty).__name__,
            deviance=float(fitted.deviance),
            null_deviance=float(null.deviance),
            pearson_chi2=float(totals(held, fitted.params).pearson),
            llf=float(fitted.loglike),
            llnull=float(null.loglike),
            null_level=float(null.params[0]),
            nobs=nobs,
            n_total=n_total,
            rank=rank,
            k_constant=int(constant),
            df_resid_inference=n_total - rank,
            n_iter=int(fitted.n_iter),
            status=Status(int(fitted.status)),
            family=jax.tree.map(float, fitted.family),
            family_parameter_se=error,
            terms=None if self.source is None else self.source.terms,
            endog_names=self.endog_names,
            exog_names=self.frame.exog_names,
            given=self.frame.given,
            labelled=self.frame.index is not None,
            method=method,
            cov_type="nonrobust",
            cov_kwds={},
            use_t=False,
            model=self,
            working=working,
        )

    def problem_on(
        self, X: np.ndarray, *, penalty: Penalty | None = None, shift: np.ndarray | None = None
    ) -> Problem:
        """The problem on another design of the same rows, filled up to a common length.

        `shift` is added to the offset. Rows of weight 0 fill up, so that data of nearly the same
        length share one compilation.
        """
        frame, n = self.frame, len(self.endog)
        more = common_length(n) - n
        frequency = np.ones(n) if frame.freq_weights is None else frame.freq_weights
        weighted = more > 0 or frame.freq_weights is not None
        offset = frame.offset
        if shift is not None:
            offset = shift if offset is None else offset + shift

        def fill(column: np.ndarray | None, value: float) -> np.ndarray | None:
            return None if column is None else np.append(column, np.full(more, value))

        problem, _ = prepare(
            np.concatenate([X, np.zeros((more, X.shape[1]))]),
            np.append(frame.endog, np.full(more, frame.endog[0])),
            self.family,
            offset=fill(offset, 0.0),
            var_weights=fill(frame.var_weights, 1.0),
            freq_weights=fill(frequency, 0.0) if weighted else None,
            n_trials=fill(frame.n_trials, 1.0),
            penalty=penalty,
        )
        return problem

    def predict(
        self,
        params: Any,
        exog: Any = None,
        exposure: Any = None,
        offset: Any = None,
        which: str = "mean",
    ) -> np.ndarray:
        """The "mean", "linear" predictor or "var_unscaled" V(mu) (n,) at params and exog.

        exog None: in the sample, with its offset unless one is given.
        """
        if exog is not None:
            X, shift = new_rows(self.source, self.frame, exog, exposure, offset)
        elif offset is None and exposure is None:
            X, shift = self.exog, self.frame.offset
        else:
            X, shift = self.exog, total_offset(offset, exposure, False, self.nobs)
        beta = checked_params(params, X.shape[1], "predict(params=...)")
        with float64():
            return np.asarray(prediction.predict(self.family, jnp.asarray(beta), X, shift, which))

    get_distribution = primitives.get_distribution
    loglike = primitives.loglike
    loglike_mu = primitives.loglike_mu
    score = primitives.score
    score_factor = primitives.score_factor
    score_obs = primitives.score_obs
    hessian_factor = primitives.hessian_factor
    information = primitives.information
    hessian = primitives.hessian
    estimate_scale = primitives.estimate_scale
    estimate_tweedie_power = primitives.estimate_tweedie_power
    score_test = primitives.score_test

    @float64()
    def detect_separation(self) -> Separation:
        """Whether the maximum likelihood estimate is finite, by linear programming."""
        frame = self.frame
        weights = np.ones(self.nobs)
        for column in (frame.freq_weights, frame.var_weights):
            weights = weights if column is None else weights * column
        return detect_separation(
            self.exog, self.endog, self.family, n_trials=frame.n_trials, weights=weights
        )


def _speak_of_domain(family: Family) -> None:
    """Warn of a link that leaves the family's means; of a canonical one everyone knows."""
    link, space = family.link, family.mean_space
    if not (space.covers(link.range) or family.is_canonical):
        name, owner = type(link).__name__, type(family).__name__
        text = f"{name} reaches means in {link.range}, beyond the {space} of {owner}"
        warnings.warn(f"GLM(family=...): {text}; log or logit would not.", DomainWarning, 3)


_ADVICE = {
    Status.separated: " penalty=penalties.Jeffreys() (Firth) gives finite estimates.",
    Status.max_steps: " Raise maxiter, or give start_params.",
    Status.boundary: " Standard errors and tests do not hold there.",
}
