"""Floor 10: GLMResults, names put back on the numbers of a single fit.

Numbers that a summary needs are stored; what needs the data (residuals, influence, profiles) asks
`working`, which a saved or pickled result has left behind.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import comparisons, diagnostics, forecasts, tidy
from jaxglm._labels import by_name
from jaxglm._special import t_quantile, two_sided_normal, two_sided_t
from jaxglm._tables import Summary
from jaxglm.arguments import checked_alpha, checked_number, checked_scale
from jaxglm.bootstrap import as_key
from jaxglm.families import Family
from jaxglm.fit import as_array
from jaxglm.frames import FitWarning, float64
from jaxglm.model import loglike
from jaxglm.solvers import Status
from jaxglm.storage import read_results, state_of, write_results
from jaxglm.summaries import summarize
from jaxglm.working import FitHistory, Working, fitted_means, per_row, pseudo_rsquared

__all__ = ["FitWarning", "GLMResults"]


@dataclasses.dataclass(frozen=True)
class GLMResults:
    """A fitted GLM: host numbers under statsmodels' names.

    Aliased coefficients are NaN. `nobs` counts rows with a weight, `n_total` sums freq_weights;
    df_resid = n_total - rank, df_model = rank - 1 (rank without a constant), df_null counts the
    null model's. null_deviance and llnull are those of the intercept (of linkinv(offset) where the
    design has no constant), with the null model's own scale. z and chi-squared unless `use_t`.
    penalty: its class's name. family_parameter_se: 0 where the parameter was given. given: which
    of the offset and the weights were.

    Where endog or exog came from pandas (`labelled`), what has one value for each row is a Series
    on its index, and params, bse, tvalues, pvalues, conf_int and cov_params carry the names;
    `beta`, `cov_unscaled` and `cov` are arrays always.
    """

    beta: np.ndarray
    cov_unscaled: np.ndarray
    cov: np.ndarray
    scale: float
    known_scale: bool
    penalty: str | None
    deviance: float
    null_deviance: float
    pearson_chi2: float
    llf: float
    llnull: float
    null_level: float
    nobs: int
    n_total: float
    rank: int
    k_constant: int
    df_resid_inference: float
    n_iter: int
    status: Status
    family: Family
    family_parameter_se: float
    terms: dict[str, list[int]] | None
    endog_names: str
    exog_names: tuple[str, ...]
    given: tuple[str, ...]
    labelled: bool
    method: str
    cov_type: str
    cov_kwds: dict[str, Any]
    use_t: bool
    model: Any = None
    working: Working | None = None

    def __repr__(self) -> str:
        model = f"{type(self.family).__name__}, {type(self.family.link).__name__} link"
        size = f"{self.nobs} rows, {len(self.beta)} coefficients"
        return f"<GLMResults: {model}; {size}; {self.status.name}>"

    @property
    def params(self) -> Any:
        """The coefficients (p,)."""
        return self._named(self.beta)

    @property
    def normalized_cov_params(self) -> Any:
        """The inverse information at scale 1, (p, p)."""
        return self._named(self.cov_unscaled, square=True)

    def _named(self, values: np.ndarray, *, square: bool = False) -> Any:
        return by_name(values, self.exog_names if self.labelled else None, square=square)

    @property
    def converged(self) -> bool:
        """Whether the status is `converged`."""
        return self.status == Status.converged

    @property
    def df_model(self) -> int:
        """rank - 1, or the rank where the design has no constant."""
        return self.rank - self.k_constant

    @property
    def df_resid(self) -> float:
        """n_total - rank."""
        return self.n_total - self.rank

    @property
    def df_null(self) -> float:
        """n_total less 1 where there is a constant."""
        return self.n_total - self.k_constant

    @property
    def aliased(self) -> np.ndarray:
        """Which coefficients are not estimable (p,)."""
        return np.isnan(self.beta) & (self.rank > 0) & (self.rank < len(self.beta))

    @property
    def bse(self) -> Any:
        """Standard errors (p,)."""
        return self._named(np.sqrt(np.diagonal(self.cov)))

    @property
    def tvalues(self) -> Any:
        """params / bse (p,): z, or t where `use_t`."""
        return self.params / self.bse

    @property
    def df_test(self) -> float | None:
        """Degrees of freedom of t and F tests, or None for z and chi-squared."""
        return self.df_resid_inference if self.use_t else None

    @property
    @float64()
    def pvalues(self) -> Any:
        """Two-sided p-values (p,) of `tvalues`."""
        t = jnp.asarray(np.asarray(self.tvalues))
        found = two_sided_t(t, self.df_test) if self.use_t else two_sided_normal(t)
        return self._named(np.asarray(found))

    @float64()
    def conf_int(self, alpha: float = 0.05, method: str = "wald") -> Any:
        """Limits (p, 2) at level 1 - alpha, by "wald", "profile" (as R's confint) or "score"."""
        df, alpha = self.df_test, checked_alpha("conf_int", alpha)
        if method == "wald":
            half = -float(t_quantile(alpha / 2.0, np.inf if df is None else df)) * self.bse
            return self._named(np.column_stack([self.params - half, self.params + half]))
        if method not in ("profile", "score"):
            raise ValueError(
                f"conf_int(method={method!r}): allowed are 'wald', 'profile', 'score'."
            )
        return self._named(self.need_data("conf_int").limits(self.model.exog, method, alpha, df))

    def cov_params(
        self,
        r_matrix: Any = None,
        column: Any = None,
        scale: float | None = None,
        cov_p: Any = None,
        other: Any = None,
    ) -> Any:
        """The covariance (p, p) of the coefficients, of the kind `cov_type`.

        r_matrix R: that of R params, or of R params with `other` params. column: the entries of one
        coefficient or several, by number. scale: the model-based one at this dispersion. cov_p:
        another covariance to take.
        """
        cov = self.cov if scale is None else scale * self.cov_unscaled
        cov = cov if cov_p is None else np.asarray(cov_p, dtype=np.float64)
        if column is not None:
            return cov[column, column] if np.ndim(column) == 0 else cov[np.ix_(column, column)]
        if r_matrix is None:
            return self._named(cov, square=True)
        R = np.asarray(r_matrix, dtype=np.float64)
        return R @ np.nan_to_num(cov) @ (R if other is None else np.asarray(other)).T

    def coef_table(self, alpha: float = 0.05) -> dict[str, Any]:
        """The numbers of the summary's table by column, as a data frame's constructor takes them.

        "statistic" is z, or t where `use_t`; lower and upper are Wald limits at level 1 - alpha.
        """
        limits = np.asarray(self.conf_int(alpha))
        return {
            "term": list(self.exog_names),
            "estimate": self.beta,
            "se": np.asarray(self.bse),
            "statistic": np.asarray(self.tvalues),
            "p": np.asarray(self.pvalues),
            "lower": limits[:, 0],
            "upper": limits[:, 1],
        }

    @float64()
    def with_covariance(
        self,
        cov_type: str | None = None,
        *,
        use_t: bool | None = None,
        groups: Any = None,
        maxlags: int | None = None,
        kernel: str = "bartlett",
        use_correction: bool = True,
        df_correction: bool = True,
        scaling_factor: float = 1.0,
        bread: str = "expected",
        reps: int = 1000,
        key: Any = None,
    ) -> GLMResults:
        """The same fit with another covariance; None: with another `use_t` alone.

        - "nonrobust" or "eim": expected information; "observed" or "oim": observed.
        - "HC0" to "HC4": whatever the variance is, as R's sandwich.
        - "cluster": `groups` (n,) or (n, 2), times G/(G - 1) (n - 1)/(n - k) where
          `use_correction`, as Stata's regress and statsmodels.
        - "CR2", "CR3": clusters whose scores are freed of their own pull (`covariance.clustered`),
          times (G - 1)/G, the jackknife's, unless `use_correction`.
        - "HAC": `kernel` and `maxlags`, times n/(n - k) where `use_correction`.
        - "bootstrap": of `reps` fits to rows, or whole `groups` (n,), drawn with replacement, as
          sandwich's vcovBS; `key` of jax.random, or a seed (None: 0).

        bread: "expected" (R) or "observed" information (statsmodels). scaling_factor multiplies the
        covariance. df_correction: df_resid_inference of clusters is G - 1. What was used is kept in
        `cov_kwds`, of the groups their number. groups may have a label for every row of the input
        where missing="drop" left rows out.
        """
        use_t = self.use_t if use_t is None else use_t
        plain = cov_type == self.cov_type == "nonrobust" and scaling_factor == 1.0
        if cov_type is None or plain:
            return dataclasses.replace(self, use_t=use_t)
        working = self.need_data("with_covariance")
        groups = None if groups is None else self.model.frame.kept(as_array("groups", groups))
        options = {"maxlags": maxlags, "kernel": kernel, "bread": bread}
        options |= {"groups": groups, "use_correction": use_correction}
        options |= {"df_correction": df_correction, "scaling_factor": scaling_factor}
        options |= {"reps": reps, "key": key}
        cov, used = working.chosen_covariance(cov_type, options, self.model.frame.present)
        adjusted = used.get("df_correction", False)
        df = float(used["n_groups"] - 1) if adjusted else self.df_resid
        return dataclasses.replace(
            self, cov=cov, cov_type=cov_type, cov_kwds=used, use_t=use_t, df_resid_inference=df
        )

    @property
    def aic(self) -> float:
        """-2 llf + 2 rank, the dispersion not counted (statsmodels'); `info_criteria` has R's."""
        return -2.0 * self.llf + 2.0 * self.rank

    @property
    def bic(self) -> float:
        """-2 llf + rank log(n_total)."""
        return -2.0 * self.llf + self.rank * float(np.log(self.n_total))

    bic_llf = bic

    @property
    def bic_deviance(self) -> float:
        """deviance - df_resid log(n_total), Stata's."""
        return self.deviance - self.df_resid * float(np.log(self.n_total))

    @float64()
    def info_criteria(
        self, crit: str = "aic", scale: float | None = None, dk_params: int = 0
    ) -> float:
        """aic, aicc, bic or qaic, with dk_params more parameters and the likelihood at `scale`.

        R's AIC of Gaussian, Gamma and InverseGaussian is "aic" with scale = deviance / n_total and
        dk_params = 1; in the last two R takes precision weights for repeated rows, so its number is
        that of the fit with freq_weights in the place of var_weights. qaic = -2 llf(scale=1) /
        scale + 2 (rank + dk_params), at `scale` or the fitted one. aicc adds 2 k (k + 1) /
        (n_total - k - 1), k = rank + dk_params (Hurvich & Tsai 1989).
        """
        k = self.rank + checked_number("info_criteria(dk_params", dk_params)
        if crit == "qaic":
            over = self.scale if scale is None else scale
            return -2.0 * self.llf_scaled(1.0) / over + 2.0 * k
        costs = {"aic": 2.0, "bic": np.log(self.n_total), "aicc": 2.0}
        if crit not in costs:
            raise ValueError(
                f"info_criteria(crit={crit!r}): allowed are 'aic', 'bic', 'qaic', 'aicc'."
            )
        more = 2.0 * k * (k + 1) / (self.n_total - k - 1) if crit == "aicc" else 0.0
        llf = self.llf if scale is None else self.llf_scaled(scale)
        return float(-2.0 * llf + k * costs[crit] + more)

    @float64()
    def llf_scaled(self, scale: float | None = None) -> float:
        """The log-likelihood at the fitted coefficients and another scale; needs the data."""
        working = self.need_data("llf_scaled")
        fitted, rows = working.fitted, working.problem.rows
        phi = checked_scale("llf_scaled", self.scale if scale is None else scale).value
        return float(loglike(fitted.family, rows, phi, fitted.deviance))

    def pseudo_rsquared(self, kind: str = "cs") -> float:
        """ "cs" Cox-Snell, "mcf" McFadden, "nagelkerke", or "d2" deviance explained.

        n is the sum of freq_weights, and llnull stands at the null model's own scale.
        """
        if kind == "d2":
            return 1.0 - self.deviance / self.null_deviance
        return pseudo_rsquared(kind, self.llf, self.llnull, self.n_total)

    @property
    def mu(self) -> Any:
        """The fitted means (n,), also of rows of weight 0; a proportion for Binomial."""
        means, frame = self._present_means, self.model.frame
        if frame.present.all():
            return means
        return frame.label(np.where(frame.present, means, self.predict()))

    fittedvalues = mu

    @property
    @float64()
    def null(self) -> Any:
        """The null model's means (n,)."""
        self.need_data("null")
        shift = self.model.frame.offset
        eta = self.null_level + (np.zeros(self.model.nobs) if shift is None else shift)
        return self.model.frame.label(self.family.link.inverse(eta))

    _present_means = per_row(fitted_means)
    resid_response = per_row(diagnostics.resid_response)
    resid_working = per_row(diagnostics.resid_working)
    resid_pearson = per_row(diagnostics.resid_pearson)
    resid_deviance = per_row(diagnostics.resid_deviance)
    resid_anscombe = per_row(diagnostics.resid_anscombe)
    resid_anscombe_scaled = resid_anscombe
    resid_anscombe_unscaled = per_row(diagnostics.resid_anscombe_unscaled)

    @float64()
    def resid_quantile(self, key: Any) -> Any:
        """Randomised quantile residuals (n,), standard normal under the model, by key or seed."""
        working = self.need_data("resid_quantile")
        found = diagnostics.resid_quantile(as_key(key), working.problem, working.fitted)
        return self.model.frame.label(found)

    @float64()
    def resid_partial(self, centre: bool = True) -> Any:
        """Partial residuals (n, p), as R's residuals(type = "partial"); NaN where aliased."""
        found = self.need_data("resid_partial").resid_partial(self.model.exog, centre)
        return self.model.frame.label(found)

    @float64()
    def get_influence(self) -> diagnostics.Influence:
        """Leverages, Cook's distances and the rest with R's definitions, as NumPy arrays.

        Expected information throughout; dfbeta and dfbetas (n, p) are NaN where aliased.
        """
        found = self.need_data("get_influence").influence()
        return self.model.frame.label(found)

    def get_hat_matrix_diag(self) -> Any:
        """The leverages (n,), of the expected information."""
        return self.get_influence().hat_diagonal

    @float64()
    def leave_one_out(self) -> diagnostics.LeaveOneOut:
        """The exact coefficients (n, p) without each row, and the status (n,) of each refit."""
        found = self.need_data("leave_one_out").leave_one_out()
        return self.model.frame.label(found)

    @property
    @float64()
    def fit_history(self) -> FitHistory:
        """The passes of the fit, made again on the host: nothing is kept unless it is asked for."""
        return self.need_data("fit_history").history()

    def expand(self, values: Any) -> Any:
        """Values of the kept rows (n, ...) at all rows of the input, as R's na.exclude gives them.

        NaN stands where missing="drop" left a row out. values: an array, or a record of arrays as
        `get_influence` and `get_prediction` return them.
        """
        self.need_data("expand")
        return jax.tree.map(self.model.frame.expand, values)

    predict = forecasts.predict
    predict_terms = forecasts.predict_terms
    get_prediction = forecasts.get_prediction
    prediction_interval = forecasts.prediction_interval
    get_margeff = forecasts.get_margeff
    get_distribution = forecasts.get_distribution
    simulate = forecasts.simulate

    wald_test = comparisons.wald_test
    f_test = comparisons.f_test
    wald_test_terms = comparisons.wald_test_terms
    t_test = comparisons.t_test
    t_test_pairwise = comparisons.t_test_pairwise
    compare_lr_test = comparisons.compare_lr_test
    score_test = comparisons.score_test
    anova = comparisons.anova
    step = comparisons.step

    augment = tidy.augment
    glance = tidy.glance
    tidy = tidy.tidy

    def summary(self, alpha: float = 0.05) -> Summary:
        """The printed summary, as text, HTML in notebooks, Markdown and LaTeX."""
        return summarize(self, checked_alpha("summary", alpha))

    summary2 = summary

    def remove_data(self) -> GLMResults:
        """The same results without the data: small, and answering all but what needs the rows."""
        return dataclasses.replace(self, model=None, working=None)

    def __getstate__(self) -> dict[str, Any]:
        return state_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def save(self, path: str | Path) -> None:
        """Write the results, without the data, to one .npz file that needs no pickle to read."""
        write_results(path, state_of(self))

    @classmethod
    def load(cls, path: str | Path) -> GLMResults:
        """Read what `save` wrote."""
        return cls(**read_results(path))

    def need_data(self, what: str) -> Working:
        """The fit as it was computed; raises where saved results have left it behind."""
        if self.working is None:
            raise ValueError(
                f"{what}: needs the data, which save, pickle and remove_data leave behind; refit."
            )
        return self.working

    def estimable(self) -> tuple[jax.Array, jax.Array]:
        """Coefficients and covariance with 0 for the aliased."""
        return jnp.asarray(np.nan_to_num(self.beta)), jnp.asarray(np.nan_to_num(self.cov))
