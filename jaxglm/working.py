"""Floor 10: a fit as it was computed, and the way back to the user's columns.

The fit runs on Q of X[:, kept] = Q R, with rows of weight 0 filling up to a common length; the
coefficients gamma of Q are beta = R^-1 gamma of X. Under equations beta = b0 + N delta, X N takes
the place of X, and X b0 is part of the offset.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import bootstrap, covariance, diagnostics, intervals
from jaxglm.designs import Dense
from jaxglm.dispersion import Dispersion, at_scale, estimate
from jaxglm.families import Family
from jaxglm.fit import Fit, fit, is_concentrated
from jaxglm.frames import FitWarning, Frame, float64
from jaxglm.linalg import PivotedQR, inverse_pd, pivoted_qr, solve_triangular
from jaxglm.model import Problem, Rows, is_unrestricted, loglike, penalised_score, totals
from jaxglm.penalties import Penalty, Ridge
from jaxglm.solvers import Solver, Status
from jaxglm.solvers.base import RUNNING, decrement_tolerance

# With statsmodels' names for the two.
MODEL_BASED = {"nonrobust": "expected", "observed": "observed"}
MODEL_BASED |= {"eim": "expected", "oim": "observed"}
# Of clusters, the names in `covariance.clustered` with and without the correction.
CLUSTERED = {"cluster": ("HC1", "HC0"), "CR2": ("HC2", "HC2"), "CR3": ("HC3", "HC3")}
COV_TYPES = (*MODEL_BASED, *covariance.HETEROSCEDASTIC, *CLUSTERED, "HAC", "bootstrap")
# The share of a column not made up by earlier ones below which its coefficient is in doubt.
NEARLY_DEPENDENT = 1e-8


_totals, _score = jax.jit(totals), jax.jit(penalised_score)
_step = jax.jit(lambda solver, problem, state: solver.step(problem, state))


class Equations(NamedTuple):
    """beta = origin + basis delta: what linear equations leave of the coefficients (p,)."""

    basis: np.ndarray
    origin: np.ndarray


class FitHistory(NamedTuple):
    """The coefficients (k, p) and deviances (k,) after each of k passes over the data."""

    params: np.ndarray
    deviance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Working:
    """The factor of the design, the problem on its Q, and the fit of that problem."""

    factor: PivotedQR
    problem: Problem
    fitted: Fit
    dispersion: Dispersion
    equations: Equations | None = None
    solver: Solver | None = None
    start: Any = None

    @property
    def width(self) -> int:
        """Columns of the factored design."""
        return self.factor.kept.size + self.factor.aliased.size

    @property
    def known_scale(self) -> bool:
        """Whether the dispersion was not estimated: 1 by family, or a number given."""
        kind = self.dispersion.kind
        return self.problem.family.fixed_scale if kind is None else kind == "fixed"

    def spread(self, v: np.ndarray) -> np.ndarray:
        """Rows of v, one for each estimable coefficient, among NaN for the aliased ones."""
        whole = np.full((self.width, *v.shape[1:]), np.nan)
        whole[self.factor.kept] = v
        return whole

    def changes(self, gamma: Any) -> np.ndarray:
        """The changes (p, ...) of beta that changes (rank, ...) of gamma make."""
        found = self.spread(solve_triangular(self.factor.r, np.asarray(gamma)))
        return found if self.equations is None else self.equations.basis @ found

    def coefficients(self, gamma: Any) -> np.ndarray:
        """beta (p, ...) from gamma (rank, ...)."""
        found = self.changes(gamma)
        if self.equations is None:
            return found
        return found + self.equations.origin.reshape(-1, *[1] * (found.ndim - 1))

    def inner(self, beta: np.ndarray) -> np.ndarray:
        """gamma (rank,) from beta (p,)."""
        if self.equations is not None:
            beta = self.equations.basis.T @ (beta - self.equations.origin)
        return self.factor.r @ beta[self.factor.kept]

    def covariance(self, cov: Any) -> np.ndarray:
        """The covariance (p, p) of beta from that of gamma: R^-1 C R^-T, NaN where aliased."""
        kept, r = self.factor.kept, self.factor.r
        whole = np.full((self.width, self.width), np.nan)
        whole[np.ix_(kept, kept)] = solve_triangular(r, solve_triangular(r, np.asarray(cov)).T)
        if self.equations is None:
            return whole
        basis = self.equations.basis
        return basis @ whole @ basis.T

    def chosen_covariance(
        self, cov_type: str, options: dict[str, Any], present: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The covariance (p, p) of beta of the kind asked for, and what of `options` it used."""
        require_cov_type(cov_type)
        problem, fitted = self.problem, self.fitted
        used = _used_options(cov_type, options)
        bread, adjust, lags = (options[name] for name in ("bread", "use_correction", "maxlags"))
        if cov_type in MODEL_BASED:
            cov = covariance.model_based(problem, fitted, MODEL_BASED[cov_type])
        elif cov_type in covariance.HETEROSCEDASTIC:
            cov = covariance.heteroscedastic(problem, fitted, cov_type, bread=bread)
        elif cov_type in CLUSTERED:
            groups, count = cluster_labels(options["groups"], present, problem.design.shape[0])
            used, kind = used | {"n_groups": count}, CLUSTERED[cov_type][0 if adjust else 1]
            cov = covariance.clustered(problem, fitted, groups, kind, adjust=adjust, bread=bread)
        elif cov_type == "bootstrap":
            groups, key, reps = (options[name] for name in ("groups", "key", "reps"))
            if groups is not None:
                groups, count = cluster_labels(groups, present, problem.design.shape[0])
                used |= {"n_groups": count, "df_correction": options["df_correction"]}
            found = bootstrap.refit(problem, fitted, key, reps, groups, dispersion=self.dispersion)
            cov, used["failed"] = _spread_of(*found)
        else:
            if lags is None:
                raise ValueError('cov_type="HAC": needs maxlags, a number >= 0.')
            cov = covariance.autocorrelated(
                problem, fitted, lags, options["kernel"], adjust=adjust, bread=bread
            )
        return options["scaling_factor"] * self.covariance(cov), used

    def history(self) -> FitHistory:
        """The passes of the solver, and of its polish, made again one by one."""
        if self.solver is None:
            raise ValueError("fit_history: `evaluate` makes no passes.")
        problem = self.problem
        if problem.family.is_estimated or (problem.adjusts and not self.known_scale):
            raise ValueError(
                "fit_history: unknowns are solved for with the coefficients; give the family's "
                "parameter, or under a penalty that adjusts the scale."
            )
        problem = problem if self.dispersion.value is None else at_scale(problem, self.fitted.scale)
        betas, solver, start = [], self.solver, self.start
        while solver is not None:
            state = solver.init(problem, start)
            while int(state.status) == RUNNING:
                state = _step(solver, problem, state)
                betas.append(state.beta)
            solver, start = solver.polish, state.beta
        deviances = [float(_totals(problem, beta).deviance) for beta in betas]
        params = [self.coefficients(beta) for beta in betas]
        return FitHistory(np.array(params), np.array(deviances))

    def limits(self, X: np.ndarray, method: str, alpha: float, df: float | None) -> np.ndarray:
        """The "profile" or "score" limits (p, 2) of beta, for the design X it belongs to."""
        chosen = intervals.profile_interval if method == "profile" else intervals.score_interval
        if self.equations is None:
            problem, fitted = self.in_columns(X)
            return self.spread(np.asarray(chosen(problem, fitted, alpha, df)))
        found = np.stack([self.equations.origin] * 2, axis=1)
        for j in np.flatnonzero(self.equations.basis.any(axis=1)):
            problem, fitted = self._led_by(X, j)
            found[j] += np.asarray(chosen(problem, fitted, alpha, df))[0]
        return found

    def _led_by(self, X: np.ndarray, j: int) -> tuple[Problem, Fit]:
        """The problem under equations in terms of beta_j less its origin, and of the others' rest.

        delta = T eta with N_j T = (1, 0, ...): T is orthogonal but for the length of its first.
        """
        basis, origin = self.equations  # type: ignore[misc]
        turn = np.linalg.qr(basis[j][:, None], mode="complete")[0]
        turn[:, 0] /= basis[j] @ turn[:, 0]
        back = np.linalg.inv(turn) @ basis.T
        cov = back @ self.covariance(self.fitted.cov_unscaled) @ back.T
        eta = back @ (self.coefficients(self.fitted.params) - origin)
        design = self.filled(X @ basis @ turn)
        fitted = dataclasses.replace(
            self.fitted, params=jnp.asarray(eta), cov_unscaled=jnp.asarray(cov)
        )
        return dataclasses.replace(self.problem, design=design), fitted

    def in_columns(self, X: np.ndarray, *, bound: bool = False) -> tuple[Problem, Fit]:
        """The problem and its fit in terms of X's estimable columns, for what depends on them.

        Equations are refused unless `bound`, and then all columns stay, whose coefficients are not
        free to be fitted.
        """
        if self.equations is not None and not bound:
            text = "fit_constrained, or rank_deficient='minnorm' of dependent columns"
            raise ValueError(f"anova: needs a fit without equations ({text}).")
        kept = self.factor.kept if self.equations is None else np.arange(X.shape[1])
        problem = dataclasses.replace(self.problem, design=self.filled(X[:, kept]))
        if self.equations is not None and problem.rows.offset is not None:
            shift = problem.design.predictor(jnp.asarray(self.equations.origin))
            rows = dataclasses.replace(problem.rows, offset=problem.rows.offset - shift)
            problem = dataclasses.replace(problem, rows=rows)
        if self.equations is None and problem.penalty is not None and not problem.penalty.adjusts:
            gamma = problem.penalty.matrix(kept.size, jnp.float64)
            beta = self.factor.r.T @ gamma @ self.factor.r
            problem = dataclasses.replace(problem, penalty=type(problem.penalty)(jnp.asarray(beta)))
        beta = self.coefficients(self.fitted.params)[kept]
        cov = self.covariance(self.fitted.cov_unscaled)[np.ix_(kept, kept)]
        fitted = dataclasses.replace(
            self.fitted, params=jnp.asarray(beta), cov_unscaled=jnp.asarray(cov)
        )
        return problem, fitted

    def resid_partial(self, X: np.ndarray, centre: bool) -> np.ndarray:
        """Partial residuals of the problem's rows in X's columns, NaN where aliased."""
        problem, fitted = self.in_columns(X, bound=True)
        found = np.asarray(diagnostics.resid_partial(problem, fitted, centre=centre))
        return found if self.equations is not None else self.spread(found.T).T

    def filled(self, X: np.ndarray) -> Dense:
        """X as a design of the problem's length."""
        more = self.problem.design.shape[0] - X.shape[0]
        filled = np.concatenate([X, np.zeros((more, X.shape[1]))])
        return Dense(jnp.asarray(filled))

    def influence(self) -> diagnostics.Influence:
        """The measures of influence, as NumPy arrays of the problem's rows."""
        found = jax.tree.map(np.asarray, diagnostics.influence(self.problem, self.fitted))
        dfbeta = self.changes(found.dfbeta.T).T
        unscaled = np.sqrt(np.diagonal(self.covariance(self.fitted.cov_unscaled)))
        dfbetas = dfbeta / (found.sigma[:, None] * unscaled[None, :])
        return dataclasses.replace(found, dfbeta=dfbeta, dfbetas=dfbetas)

    def leave_one_out(self) -> diagnostics.LeaveOneOut:
        """The coefficients without each of the problem's rows, and the status of each refit."""
        given = self.dispersion
        scale = given.kind if given.value is None else given.value
        found = diagnostics.leave_one_out(self.problem, self.fitted, scale=scale)
        params = self.coefficients(np.asarray(found.params).T).T
        return diagnostics.LeaveOneOut(params, np.asarray(found.status))


def factorize(frame: Frame, X: np.ndarray, rank_deficient: str) -> PivotedQR:
    """The pivoted QR of the rows that count, zero in the others; speaks of dependent columns."""
    if rank_deficient not in ("warn", "error", "minnorm", "none"):
        raise ValueError(
            f"GLM.fit(rank_deficient={rank_deficient!r}): allowed are 'warn', 'error', 'minnorm'."
        )
    present = frame.present
    found = pivoted_qr(X[present])
    if rank_deficient in ("warn", "error"):
        _speak_of_dependence(found, frame.exog_names, rank_deficient == "error")
    if present.all():
        return found
    q = np.zeros((len(present), found.kept.size))
    q[present] = found.q
    return found._replace(q=q)


def row_space(factor: PivotedQR, X: np.ndarray) -> Equations:
    """The coefficients (p,) in the span of X's rows: the shortest of those with the same fit."""
    span = np.linalg.qr((factor.q.T @ X).T)[0]
    return Equations(span, np.zeros(X.shape[1]))


def _speak_of_dependence(found: PivotedQR, exog_names: tuple[str, ...], refuse: bool) -> None:
    """Raise or warn of aliased columns; warn of those that earlier ones nearly make up."""
    if found.aliased.size:
        names = ", ".join(exog_names[j] for j in found.aliased)
        text = f"exog has rank {found.kept.size} of {len(exog_names)}; aliased: {names}."
        if refuse:
            raise ValueError(f"GLM.fit(rank_deficient='error'): {text}")
        warnings.warn(f"{text} Their coefficients are NaN.", FitWarning, stacklevel=5)
    own = np.abs(np.diagonal(found.r)) / np.linalg.norm(found.r, axis=0)
    close = np.flatnonzero(own < NEARLY_DEPENDENT)
    if close.size:
        names = ", ".join(exog_names[found.kept[j]] for j in close)
        text = f"exog is nearly collinear (to {own.min():.1g}) in {names}"
        warnings.warn(f"{text}: digits of the coefficients are lost.", FitWarning, stacklevel=5)


def fit_at(problem: Problem, beta: Any, dispersion: Dispersion, estimated: float) -> Fit:
    """The statistics at given coefficients, of which `estimated` count against the observations.

    `converged` where they solve the score equations, else `max_steps` after no pass.
    """
    family, n = problem.family, problem.rows.total_frequency
    sums, score = _totals(problem, beta), _score(problem, beta)
    unscaled = inverse_pd(sums.information)
    scale = estimate(dispersion, problem, beta, sums, n - estimated)
    at = sums.deviance / n if is_concentrated(family) else scale
    solved = score @ unscaled @ score <= decrement_tolerance(None, np.dtype(np.float64)) * scale
    return Fit(
        params=beta,
        cov_unscaled=unscaled,
        scale=scale,
        deviance=sums.deviance,
        loglike=loglike(family, problem.rows, at, sums.deviance),
        df_resid=n - estimated,
        n_iter=jnp.asarray(0),
        status=jnp.where(solved, int(Status.converged), int(Status.max_steps)),
        family=family,
    )


def null_model(rows: Rows, family: Family, dispersion: Dispersion, constant: bool) -> Fit:
    """The intercept alone, offset included; without an intercept in the model, the offset alone.

    It has its own scale. The family's estimated parameters stay at the full model's, as in R's
    glm.nb.
    """
    alone = Problem(Dense(jnp.ones((rows.y.shape[0], 1))), rows, family, None)
    level = _null_level(alone, family) if constant else jnp.zeros(1)
    return fit_at(alone, level, dispersion, float(constant))


def _null_level(alone: Problem, family: Family) -> Any:
    """The intercept (1,): of the weighted mean, or refitted where an offset shifts the means."""
    rows = alone.rows
    weight = rows.weigh(jnp.ones_like(rows.y))
    mean = jnp.sum(weight * rows.y) / jnp.sum(weight)
    if rows.offset is not None:
        start = family.link.g(mean) - jnp.sum(weight * rows.offset) / jnp.sum(weight)
        found = _scored_level(alone, start[None]) if is_unrestricted(family) else None
        return fit_rows(alone).params if found is None else found
    # A mean on the edge of the mean space has an infinite linear predictor: stop just short.
    space = family.mean_space
    tiny = float(np.finfo(np.float64).tiny)
    mean = jnp.clip(mean, space.low + tiny, space.high - 1e-16) if space.bounded else mean
    return family.link.g(mean)[None]


def _scored_level(alone: Problem, start: jax.Array) -> jax.Array | None:
    """The intercept by Fisher scoring from `start`, or None; compiles what `fit_at` needs alone."""
    best, least, level, step = start, np.inf, start, jnp.zeros_like(start)
    for _ in range(100):
        sums = _totals(alone, level)
        if sums.deviance <= least or sums.deviance - least <= 1e-10 * least:
            best, least = level, float(sums.deviance)
            step = _score(alone, best) / sums.information[0]
            if abs(step[0]) <= 1e-13 * (1.0 + abs(best[0])):
                return best + step
        else:
            step = 0.5 * step
        level = best + step
    return None


def fit_rows(problem: Problem) -> Fit:
    """`fit` of a problem that is already prepared."""
    rows = problem.rows
    return fit(
        problem.design,
        rows.y,
        problem.family,
        offset=rows.offset,
        var_weights=rows.var_weights,
        freq_weights=rows.freq_weights,
        n_trials=rows.n_trials,
    )


def has_constant(factor: PivotedQR, present: np.ndarray) -> bool:
    """Whether the columns span a constant, as an intercept or as a full set of dummies."""
    one = present.astype(float)
    left = one - factor.q @ (factor.q.T @ one)
    return bool(np.linalg.norm(left) <= 1e-8 * np.linalg.norm(one))


def observations(rows: Rows, n: int) -> tuple[int, float]:
    """The number of the first n rows with a weight, and the sum of their frequencies."""
    prior = np.ones(n) if rows.prior is None else np.asarray(rows.prior)[:n]
    return int(np.sum(prior > 0)), float(rows.total_frequency)


def fitted_means(problem: Problem, fitted: Fit) -> jax.Array:
    """The fitted means (n,)."""
    eta = problem.rows.eta(problem.design.predictor(fitted.params))
    return fitted.family.link.at(eta)[0].mu


def per_row(function: Callable[[Problem, Fit], jax.Array]) -> property:
    """A property: a quantity of the fit with one value for each row of the data."""

    def get(results: Any) -> Any:
        working = results.need_data(function.__name__)
        with float64():
            return results.model.frame.label(function(working.problem, working.fitted))

    return property(get, doc=function.__doc__)


def pseudo_rsquared(kind: str, full: float, null: float, n: float) -> float:
    """ "cs" Cox-Snell 1 - exp(2 (null - full)/n), "mcf" McFadden 1 - full/null, or "nagelkerke"."""
    gain = 2.0 * (null - full) / n
    if kind == "mcf":
        return 1.0 - full / null
    if kind == "cs":
        return float(-np.expm1(gain))
    if kind == "nagelkerke":
        return float(np.expm1(gain) / np.expm1(2.0 * null / n))
    allowed = "'cs', 'mcf', 'nagelkerke', 'd2'"
    raise ValueError(f"pseudo_rsquared(kind={kind!r}): allowed are {allowed}.")


def _used_options(cov_type: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those that a covariance takes, but groups; raises for groups or lags that it does not."""
    own = dict.fromkeys(CLUSTERED, ("groups", "use_correction", "df_correction"))
    own |= {"HAC": ("maxlags", "kernel", "use_correction"), "bootstrap": ("groups", "reps")}
    taken = own.get(cov_type, ())
    for name in ("groups", "maxlags"):
        if options[name] is not None and name not in taken:
            raise ValueError(f"{name}: the covariance {cov_type!r} takes none.")
    taken += () if cov_type in (*MODEL_BASED, "bootstrap") else ("bread",)
    taken += () if options["scaling_factor"] == 1.0 else ("scaling_factor",)
    if not (np.ndim(options["scaling_factor"]) == 0 and 0 < options["scaling_factor"] < np.inf):
        raise ValueError(f"scaling_factor={options['scaling_factor']}: allowed are numbers > 0.")
    return {name: options[name] for name in taken if name != "groups"}


def _spread_of(params: np.ndarray, status: np.ndarray) -> tuple[np.ndarray, int]:
    """The covariance of the refits that converged, and how many did not, which is said."""
    good = status == int(Status.converged)
    failed = int(np.sum(~good))
    if failed:
        text = f"{failed} of {len(good)} refits did not converge and are left out"
        warnings.warn(f'cov_type="bootstrap": {text}.', FitWarning, stacklevel=5)
    if good.sum() < 2:
        return np.full((params.shape[1],) * 2, np.nan), failed
    return np.atleast_2d(np.cov(params[good], rowvar=False)), failed


def cluster_labels(groups: Any, present: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Codes for rows filled up to `length`, and the number of clusters (the fewer of two ways)."""
    if groups is None:
        raise ValueError('cov_type="cluster": needs groups, (n,) or (n, 2).')
    codes = covariance.cluster_codes(groups, present)
    more = np.zeros((length - len(present), *codes.shape[1:]), codes.dtype)
    return np.concatenate([codes, more]), 1 + int(np.min(codes.max(axis=0)))


def require_cov_type(cov_type: str) -> None:
    """Raise on a covariance that there is not."""
    if cov_type not in COV_TYPES:
        raise ValueError(f"cov_type={cov_type!r}: allowed are {', '.join(COV_TYPES)}.")


def turned(
    penalty: Penalty | None, factor: PivotedQR, equations: Equations | None = None
) -> Penalty | None:
    """The penalty in terms of gamma = R beta; only a ridge depends on the coordinates."""
    if penalty is None or penalty.adjusts:
        return penalty
    p = factor.kept.size + factor.aliased.size
    if equations is None:
        matrix = np.asarray(penalty.matrix(p, jnp.float64))
    else:
        basis = equations.basis
        matrix = basis.T @ np.asarray(penalty.matrix(len(basis), jnp.float64)) @ basis
    matrix = matrix[np.ix_(factor.kept, factor.kept)]
    inverse = np.linalg.inv(factor.r)
    return Ridge(inverse.T @ matrix @ inverse)


def as_fit(results: Any) -> Fit:
    """A `GLMResults`' numbers as `jaxglm.fit` returns them."""
    numbers = {
        "params": results.beta,
        "cov_unscaled": results.cov_unscaled,
        "scale": results.scale,
        "deviance": results.deviance,
        "loglike": results.llf,
        "df_resid": results.df_resid,
        "n_iter": results.n_iter,
        "status": int(results.status),
    }
    return Fit(family=results.family, **{name: jnp.asarray(v) for name, v in numbers.items()})
