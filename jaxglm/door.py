"""Floor 10: GLM, the door of a single fit of host data.

Everything is computed in float64, whatever the process's flag, and handed back as NumPy arrays.
The design goes in as the Q of its pivoted QR factorization: coefficients then have the digits of
an orthogonal method, dependent columns are found as R finds them, and the weighted information
stays well conditioned. Coefficients come back through R.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import prediction
from jaxglm.arguments import (
    as_family,
    as_solver,
    checked_means,
    checked_params,
    checked_penalty,
    checked_start,
    extra_columns,
    hypothesis,
    matched_columns,
    total_offset,
)
from jaxglm.dispersion import as_dispersion
from jaxglm.families import Family
from jaxglm.fit import is_concentrated, prepare, solve_prepared
from jaxglm.frames import FitWarning, Frame, float64, read_frame
from jaxglm.inference import ScoreTest, score_test_at
from jaxglm.joint import parameter_se
from jaxglm.linalg import PivotedQR, pivoted_qr
from jaxglm.model import (
    Problem,
    Rows,
    deviance,
    eta_score,
    expected_weight,
    loglike,
    observed_weight,
    pearson,
    penalised_score,
    totals,
)
from jaxglm.penalties import Penalty, Ridge
from jaxglm.results import GLMResults
from jaxglm.separation import Separation, detect_separation
from jaxglm.solvers import Solver, Status
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
)

__all__ = ["GLM"]


class GLM:
    """A generalized linear model of host data, with statsmodels' names, order and meaning.

    endog (n,), for Binomial 0/1, proportions with `n_trials`, or (success, failure) (n, 2); exog
    (n, p), no intercept is added; family an instance or class of `jaxglm.families`, or its name
    (default Gaussian). offset (n,) is added to the linear predictor, log(exposure) too.
    var_weights are precisions, freq_weights replications; a row of weight 0 is gone. missing:
    "none" and "raise" refuse NaN, "drop" leaves out rows with NaN in any argument.

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
    ) -> None:
        self.family = as_family(family)
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
    ) -> GLMResults:
        """Estimate the coefficients.

        method "IRLS", "newton" or "lbfgs", or any `solver`, to `tol` (Newton decrement in units of
        the dispersion) within `maxiter` passes. scale: None (1 for Binomial, Poisson and
        NegativeBinomial, else Pearson's), "X2", "dev", "ml" or a number. cov_type and cov_kwds: see
        `GLMResults.with_covariance`; use_t has t and F replace z and chi-squared. penalty: see
        `jaxglm.fit`. rank_deficient "warn" gives aliased coefficients NaN, as R does; "error"
        raises.

        Warns once where the fit did not converge; the reason is `GLMResults.status`.
        """
        require_cov_type(cov_type)
        p, frame = self.exog.shape[1], self.frame
        factor = factorize(frame, self.exog, rank_deficient)
        chosen = solver if solver is not None else as_solver(method, tol, maxiter)
        penalty = checked_penalty(penalty, p)
        problem = self._problem(factor.q, penalty=_turn(penalty, factor))
        working = Working(factor, problem, None, as_dispersion(scale, np.float64))
        results = self._solved(working, start_params, chosen, penalty)
        return results.with_covariance(cov_type, use_t=use_t, **(cov_kwds or {}))

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
        Profile and score intervals and `anova` are not offered, as their submodels would need
        equations of their own; refit with more of these, and use `compare_lr_test`.
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
        problem = self._problem(factor.q, shift=self.exog @ origin)
        dispersion, equations = as_dispersion(scale, np.float64), Equations(basis, origin)
        working = Working(factor, problem, None, dispersion, equations)
        results = self._solved(working, start_params, as_solver(method, tol, maxiter))
        return results.with_covariance(cov_type, use_t=use_t, **(cov_kwds or {}))

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
        problem, dispersion = self._problem(factor.q), as_dispersion(scale, np.float64)
        fitted = fit_at(problem, gamma, dispersion, float(factor.kept.size))
        return self._results(Working(factor, problem, fitted, dispersion), "evaluate")

    def _solved(
        self, working: Working, start: Any, solver: Solver, penalty: Penalty | None = None
    ) -> GLMResults:
        """The results of the fit; warns unless it converged."""
        start = checked_start(start, len(self.exog_names))
        start = None if start is None else jnp.asarray(working.inner(start))
        fitted = solve_prepared(
            working.problem, jnp.asarray(False), start, working.dispersion, solver
        )
        status = Status(int(fitted.status))
        if status != Status.converged:
            text = f"GLM.fit: status {status.name}. {status.meaning}{_ADVICE.get(status, '')}"
            warnings.warn(text, FitWarning, stacklevel=4)
        working = dataclasses.replace(working, fitted=fitted)
        return self._results(working, type(solver).__name__, penalty)

    def _results(self, working: Working, method: str, penalty: Penalty | None = None) -> GLMResults:
        """Names and host numbers for a fit."""
        problem, fitted = working.problem, working.fitted
        unscaled = working.covariance(fitted.cov_unscaled)
        rows = self._problem(np.ones((self.nobs, 1))).rows
        nobs, n_total = observations(rows, self.nobs)
        constant = has_constant(working.factor, self.frame.present)
        null = null_model(rows, fitted.family, working.dispersion, constant)
        rank = working.factor.kept.size
        held = dataclasses.replace(problem, family=fitted.family)
        error = 0.0 if fitted.family.parameters else float("nan")
        if self.family.is_estimated:
            error = float(parameter_se(held, fitted.params, fitted.scale))
        return GLMResults(
            params=working.coefficients(fitted.params),
            normalized_cov_params=unscaled,
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
            endog_names=self.endog_names,
            exog_names=self.frame.exog_names,
            given=self.frame.given,
            method=method,
            cov_type="nonrobust",
            cov_kwds={},
            use_t=False,
            model=self,
            working=working,
        )

    def _problem(
        self, X: np.ndarray, *, penalty: Penalty | None = None, shift: np.ndarray | None = None
    ) -> Problem:
        """The problem on another design of the same rows, filled up to a common length.

        `shift` is added to the offset. Rows of weight 0 fill up, so that data of nearly the same
        length share one compilation.
        """
        frame, n = self.frame, len(self.endog)
        more = _common_length(n) - n
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
        frame = self.frame
        X = self.exog if exog is None else matched_columns(exog, self.exog_names)
        if exog is None and offset is None and exposure is None:
            shift = frame.offset
        else:
            shift = total_offset(offset, exposure, frame.has_offset, X.shape[0])
        beta = checked_params(params, X.shape[1], "predict(params=...)")
        with float64():
            return np.asarray(prediction.predict(self.family, jnp.asarray(beta), X, shift, which))

    @float64()
    def loglike(self, params: Any, scale: float | None = None) -> float:
        """The log-likelihood at params; scale None: 1 where it is known, else Pearson's there.

        For Gaussian with identity link None is deviance / n, as for `llf`. In this and the methods
        below NaN in params, an aliased coefficient, counts as 0.
        """
        problem, beta = self._at(params)
        found = deviance(self.family, problem.rows, self._eta(problem, beta))
        if scale is None and is_concentrated(self.family):
            scale = float(found / problem.rows.total_frequency)
        return float(
            loglike(self.family, problem.rows, jnp.asarray(self._scale_at(params, scale)), found)
        )

    @float64()
    def loglike_mu(self, mu: Any, scale: float = 1.0) -> float:
        """The log-likelihood at means mu (n,); NaN where one is no mean of the family."""
        rows, eta = self._at_means(mu, "GLM.loglike_mu(mu=...)")
        found = deviance(self.family, rows, eta)
        return float(loglike(self.family, rows, jnp.asarray(scale), found))

    @float64()
    def score(self, params: Any, scale: float | None = None) -> np.ndarray:
        """The derivative (p,) of the log-likelihood in params; scale as in `loglike`."""
        return np.asarray(penalised_score(*self._at(params))) / self._scale_at(params, scale)

    @float64()
    def score_factor(self, params: Any, scale: float | None = None) -> np.ndarray:
        """The derivatives (n,) in the rows' linear predictors: score = exog' score_factor."""
        problem, beta = self._at(params)
        rows = problem.rows
        s = rows.weigh(eta_score(self.family, rows.y, self._eta(problem, beta)))
        return np.asarray(s)[: self.nobs] / self._scale_at(params, scale)

    def score_obs(self, params: Any, scale: float | None = None) -> np.ndarray:
        """The rows (n, p) whose sum is `score`."""
        return self.score_factor(params, scale)[:, None] * self.exog

    @float64()
    def hessian_factor(
        self, params: Any, scale: float | None = None, observed: bool = True
    ) -> np.ndarray:
        """The weights w (n,), positive where concave: information = exog' diag(w) exog."""
        problem, beta = self._at(params)
        eta, rows = self._eta(problem, beta), problem.rows
        if observed:
            w = rows.weigh(observed_weight(self.family, rows.y, eta))
        else:
            w = rows.weigh(expected_weight(self.family, eta))
        return np.asarray(w)[: self.nobs] / self._scale_at(params, scale)

    def information(
        self, params: Any, scale: float | None = None, observed: bool = False
    ) -> np.ndarray:
        """The Fisher information (p, p), positive: expected, or observed (minus the Hessian)."""
        return self.exog.T @ (self.hessian_factor(params, scale, observed)[:, None] * self.exog)

    def hessian(self, params: Any, scale: float | None = None, observed: bool = True) -> np.ndarray:
        """The second derivative (p, p) of the log-likelihood, or its expectation."""
        return -self.information(params, scale, observed)

    @float64()
    def estimate_scale(self, mu: Any) -> float:
        """Pearson's chi-squared over n - rank at means mu (n,), n_trials included."""
        rows, eta = self._at_means(mu, "GLM.estimate_scale(mu=...)")
        left = rows.total_frequency - pivoted_qr(self.exog[self.frame.present]).kept.size
        return float(pearson(self.family, rows, eta) / left)

    @float64()
    def score_test(
        self, params_constrained: Any, k_constraints: int | None = None, exog_extra: Any = None
    ) -> ScoreTest:
        """Rao's test that constraints hold, from coefficients (p,) fitted under them.

        Of `k_constraints` equations; or, with exog_extra (n, k), that these columns add nothing,
        params_constrained being those of exog. Expected information; the scale is 1 where it is
        known, else Pearson's at params_constrained.
        """
        if (k_constraints is None) == (exog_extra is None):
            raise ValueError("GLM.score_test: pass one of k_constraints=... and exog_extra=... .")
        problem, beta = self._at(params_constrained)
        if exog_extra is not None:
            extra = extra_columns(exog_extra, self.nobs)
            k_constraints = extra.shape[1]
            problem = self._problem(np.column_stack([self.exog, extra]))
            beta = jnp.append(beta, jnp.zeros(k_constraints))
        return jax.tree.map(np.asarray, score_test_at(problem, beta, k_constraints))

    def _at(self, params: Any) -> tuple[Problem, jax.Array]:
        """The problem in the user's columns, and coefficients of it."""
        if self.family.is_estimated:
            raise ValueError(
                "GLM: the family has a parameter to estimate; give it a value, as in "
                "GLM(..., family=results.family)."
            )
        beta = checked_params(params, self.exog.shape[1], "GLM: params")
        return self._problem(self.exog), jnp.asarray(beta)

    def _at_means(self, mu: Any, what: str) -> tuple[Rows, jax.Array]:
        """The rows without an offset, and the linear predictors of these means."""
        mu = checked_means(mu, self.nobs, what)
        rows = self._problem(np.ones((self.nobs, 1))).rows
        filled = np.append(mu, np.full(rows.y.shape[0] - self.nobs, mu[0]))
        rows = dataclasses.replace(rows, offset=None)
        return rows, rows.eta(self.family.link.g(jnp.asarray(filled)))

    def _eta(self, problem: Problem, beta: jax.Array) -> jax.Array:
        return problem.rows.eta(problem.design.predictor(beta))

    def _scale_at(self, params: Any, scale: float | None) -> float:
        if scale is not None:
            return float(scale)
        if self.family.fixed_scale:
            return 1.0
        return self.estimate_scale(self.predict(params))

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


def _turn(penalty: Penalty | None, factor: PivotedQR) -> Penalty | None:
    """The penalty in terms of gamma = R beta; only a ridge depends on the coordinates."""
    if penalty is None or penalty.adjusts:
        return penalty
    p = factor.kept.size + factor.aliased.size
    matrix = np.asarray(penalty.matrix(p, jnp.float64))[np.ix_(factor.kept, factor.kept)]
    inverse = np.linalg.inv(factor.r)
    return Ridge(inverse.T @ matrix @ inverse)


def _common_length(n: int) -> int:
    """n rounded up to one of sixteen lengths an octave."""
    step = 1 << max(0, n.bit_length() - 5)
    return -(-n // step) * step


_ADVICE = {
    Status.separated: " penalty=penalties.Jeffreys() (Firth) gives finite estimates.",
    Status.max_steps: " Raise maxiter, or give start_params.",
    Status.boundary: " Standard errors and tests do not hold there.",
}
