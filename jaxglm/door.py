"""Floor 10: GLM, the door of a single fit of host data.

Everything is computed in float64, whatever the process's flag, and handed back as NumPy arrays.
The design goes in as the Q of its pivoted QR factorization: coefficients then have the digits of
an orthogonal method, dependent columns are found as R finds them, and the weighted information
stays well conditioned. Coefficients come back through R.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families
from jaxglm.dispersion import as_dispersion, parameter_se
from jaxglm.families import Family
from jaxglm.fit import Fit, as_penalty, prepare, solve_prepared
from jaxglm.frames import Frame, float64, read_frame
from jaxglm.linalg import PivotedQR, pivoted_qr
from jaxglm.model import (
    Problem,
    deviance,
    eta_score,
    loglike,
    penalised_score,
    score_jacobian,
    totals,
)
from jaxglm.penalties import Penalty, Ridge
from jaxglm.results import FitWarning, GLMResults
from jaxglm.separation import Separation, detect_separation
from jaxglm.solvers import IRLS, Gradient, Newton, Solver, Status
from jaxglm.working import Working, has_constant, null_model, observations

__all__ = ["GLM"]

FAMILIES = {
    "gaussian": families.Gaussian,
    "binomial": families.Binomial,
    "poisson": families.Poisson,
    "gamma": families.Gamma,
    "inverse_gaussian": families.InverseGaussian,
    "negative_binomial": families.NegativeBinomial,
    "tweedie": families.Tweedie,
}
METHODS = ("IRLS", "newton", "lbfgs")


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
        self.family = _as_family(family)
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
        factor = _factorize(self.frame, rank_deficient)
        chosen = solver if solver is not None else _as_solver(method, tol, maxiter)
        start = None
        if start_params is not None:
            start = jnp.asarray(
                factor.r @ _checked_start(start_params, self.exog.shape[1])[factor.kept]
            )
        problem = self._problem(factor.q, _turn(as_penalty(penalty), factor))
        dispersion = as_dispersion(scale, np.float64)
        fitted = solve_prepared(problem, jnp.asarray(False), start, dispersion, chosen)
        _warn_unless_converged(fitted, problem.family)
        results = self._results(Working(factor, problem, fitted, dispersion), type(chosen).__name__)
        return results.with_covariance(cov_type, use_t=use_t, **(cov_kwds or {}))

    def _results(self, working: Working, method: str) -> GLMResults:
        """Names and host numbers for a fit."""
        problem, fitted = working.problem, working.fitted
        family = jax.tree.map(float, fitted.family)
        unscaled = working.covariance(fitted.cov_unscaled)
        nobs, n_total = observations(problem.rows, self.nobs)
        constant = has_constant(working.factor, self.frame.present)
        null = null_model(working, constant)
        rank = working.factor.kept.size
        estimated = self.family.is_estimated
        held = dataclasses.replace(problem, family=fitted.family)
        return GLMResults(
            params=working.coefficients(fitted.params),
            normalized_cov_params=unscaled,
            cov=float(fitted.scale) * unscaled,
            scale=float(fitted.scale),
            deviance=float(fitted.deviance),
            null_deviance=null.deviance,
            pearson_chi2=float(totals(held, fitted.params).pearson),
            llf=float(fitted.loglike),
            llnull=null.loglike,
            nobs=nobs,
            n_total=n_total,
            rank=rank,
            k_constant=int(constant),
            df_resid_inference=n_total - rank,
            n_iter=int(fitted.n_iter),
            status=Status(int(fitted.status)),
            family=family,
            family_parameter_se=float(parameter_se(held, fitted.params, fitted.scale))
            if estimated
            else float("nan"),
            endog_names=self.endog_names,
            exog_names=self.frame.exog_names,
            has_offset=self.frame.has_offset,
            has_exposure=self.frame.has_exposure,
            method=method,
            cov_type="nonrobust",
            use_t=False,
            model=self,
            working=working,
        )

    def _problem(self, X: np.ndarray, penalty: Penalty | None = None) -> Problem:
        """The problem on another design of the same rows, filled up to a common length.

        Rows of weight 0 fill up, so that data of nearly the same length share one compilation.
        """
        frame, n = self.frame, len(self.endog)
        more = _common_length(n) - n
        frequency = np.ones(n) if frame.freq_weights is None else frame.freq_weights
        weighted = more > 0 or frame.freq_weights is not None

        def fill(column: np.ndarray | None, value: float) -> np.ndarray | None:
            return None if column is None else np.append(column, np.full(more, value))

        problem, _ = prepare(
            np.concatenate([X, np.zeros((more, X.shape[1]))]),
            np.append(frame.endog, np.full(more, frame.endog[0])),
            self.family,
            offset=fill(frame.offset, 0.0),
            var_weights=fill(frame.var_weights, 1.0),
            freq_weights=fill(frequency, 0.0) if weighted else None,
            n_trials=fill(frame.n_trials, 1.0),
            penalty=penalty,
        )
        return problem

    @float64()
    def loglike(self, params: Any, scale: float | None = None) -> float:
        """The log-likelihood at params; scale None: estimated there (1 where it is known)."""
        problem = self._problem(self.exog)
        eta = problem.rows.eta(problem.design.predictor(jnp.asarray(params)))
        phi = jnp.asarray(self._scale_at(params, scale))
        return float(
            loglike(self.family, problem.rows, phi, deviance(self.family, problem.rows, eta))
        )

    @float64()
    def score(self, params: Any, scale: float | None = None) -> np.ndarray:
        """The derivative (p,) of the log-likelihood in params."""
        problem = self._problem(self.exog)
        return np.asarray(penalised_score(problem, jnp.asarray(params))) / self._scale_at(
            params, scale
        )

    @float64()
    def score_obs(self, params: Any, scale: float | None = None) -> np.ndarray:
        """The rows (n, p) whose sum is `score`."""
        problem = self._problem(self.exog)
        eta = problem.rows.eta(problem.design.predictor(jnp.asarray(params)))
        s = problem.rows.weigh(eta_score(self.family, problem.rows.y, eta))
        return np.asarray(problem.design.weighted_rows(s))[: self.nobs] / self._scale_at(
            params, scale
        )

    @float64()
    def information(
        self, params: Any, scale: float | None = None, observed: bool = False
    ) -> np.ndarray:
        """The Fisher information (p, p), positive: expected, or observed (minus the Hessian)."""
        problem = self._problem(self.exog)
        beta = jnp.asarray(params, jnp.float64)
        found = score_jacobian(problem, beta) if observed else totals(problem, beta).information
        return np.asarray(found) / self._scale_at(params, scale)

    def hessian(self, params: Any, scale: float | None = None, observed: bool = True) -> np.ndarray:
        """The second derivative (p, p) of the log-likelihood, or its expectation."""
        return -self.information(params, scale, observed)

    @float64()
    def estimate_scale(self, params: Any) -> float:
        """Pearson's chi-squared over n - p at params, n_trials included."""
        problem = self._problem(self.exog)
        sums = totals(problem, jnp.asarray(params, jnp.float64))
        return float(sums.pearson / (problem.rows.total_frequency - self.exog.shape[1]))

    def _scale_at(self, params: Any, scale: float | None) -> float:
        if scale is not None:
            return float(scale)
        return 1.0 if self.family.fixed_scale else self.estimate_scale(params)

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


def _as_family(family: Family | type[Family] | str | None) -> Family:
    if family is None:
        return families.Gaussian()
    if isinstance(family, str):
        if family not in FAMILIES:
            close = difflib.get_close_matches(family.lower(), FAMILIES, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"GLM(family={family!r}): allowed are {', '.join(FAMILIES)}.{hint}")
        return FAMILIES[family]()
    return family() if isinstance(family, type) else family


def _as_solver(method: str, tol: float | None, maxiter: int) -> Solver:
    if method not in METHODS:
        raise ValueError(f"GLM.fit(method={method!r}): allowed are {', '.join(METHODS)}.")
    if method == "IRLS":
        return IRLS(tol, maxiter)
    newton = Newton(tol, maxiter)
    return newton if method == "newton" else Gradient(max_steps=maxiter, polish=newton)


def _factorize(frame: Frame, rank_deficient: str) -> PivotedQR:
    """The pivoted QR of the rows that count, zero in the others; speaks of dependent columns."""
    if rank_deficient not in ("warn", "error"):
        raise ValueError(
            f"GLM.fit(rank_deficient={rank_deficient!r}): allowed are 'warn', 'error'."
        )
    present = frame.present
    found = pivoted_qr(frame.exog[present])
    if found.aliased.size:
        names = ", ".join(frame.exog_names[j] for j in found.aliased)
        text = f"exog has rank {found.kept.size} of {frame.exog.shape[1]}; aliased: {names}."
        if rank_deficient == "error":
            raise ValueError(f"GLM.fit(rank_deficient='error'): {text}")
        warnings.warn(f"{text} Their coefficients are NaN.", FitWarning, stacklevel=5)
    if present.all():
        return found
    q = np.zeros((len(present), found.kept.size))
    q[present] = found.q
    return found._replace(q=q)


def _turn(penalty: Penalty | None, factor: PivotedQR) -> Penalty | None:
    """The penalty in terms of gamma = R beta; only a ridge depends on the coordinates."""
    if penalty is None or penalty.adjusts:
        return penalty
    p = factor.kept.size + factor.aliased.size
    matrix = np.asarray(penalty.matrix(p, jnp.float64))[np.ix_(factor.kept, factor.kept)]
    inverse = np.linalg.inv(factor.r)
    return Ridge(inverse.T @ matrix @ inverse)


def _checked_start(start: Any, p: int) -> np.ndarray:
    start = np.asarray(start, dtype=np.float64)
    if start.shape != (p,) or not np.isfinite(start).all():
        raise ValueError(
            f"GLM.fit(start_params=...): shape {start.shape}; allowed are ({p},) finite numbers."
        )
    return start


def _common_length(n: int) -> int:
    """n rounded up to one of sixteen lengths an octave."""
    step = 1 << max(0, n.bit_length() - 5)
    return -(-n // step) * step


_ADVICE = {
    Status.separated: " penalty=penalties.Jeffreys() (Firth) gives finite estimates.",
    Status.max_steps: " Raise maxiter, or give start_params.",
    Status.boundary: " Standard errors and tests do not hold there.",
}


def _warn_unless_converged(fitted: Fit, family: Family) -> None:
    status = Status(int(fitted.status))
    if status != Status.converged:
        text = f"GLM.fit: status {status.name}. {status.meaning}{_ADVICE.get(status, '')}"
        warnings.warn(text, FitWarning, stacklevel=4)
