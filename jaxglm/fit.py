"""Floor 7: `fit`, the waist through which every model passes.

Names and validation stop above; below are a problem, a solver and a root. Here they are joined:
prepare the rows, solve, attach the derivative of the root, and compute every statistic from the
attached coefficients by plain differentiable code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike, as_floats, record
from jaxglm.centring import centred, centring
from jaxglm.designs import Design, as_design
from jaxglm.dispersion import Dispersion, as_dispersion, estimate
from jaxglm.endless import has_ended, is_endless
from jaxglm.families import Family, Gaussian
from jaxglm.implicit import guard, keep
from jaxglm.joint import Solution, joint_solve
from jaxglm.linalg import highest, inverse_pd, row_sum
from jaxglm.links import Identity
from jaxglm.model import (
    Problem,
    Rows,
    Totals,
    inverse_information,
    is_unrestricted,
    loglike,
    totals,
)
from jaxglm.penalties import Penalty, Ridge
from jaxglm.shares import shares_of, solve_by_shares
from jaxglm.solvers import IRLS, Solver, Status
from jaxglm.solvers.base import as_status, require_solver, tally

__all__ = ["Fit", "Status", "fit", "prepare"]


@record
class Fit:
    """A fitted model: arrays only, neither X nor y. In a batch every field has a leading axis B.

    params (p,); cov_unscaled (p, p), the inverse of the expected information without phi; scale,
    phi; deviance, unscaled; loglike at `scale` (Gaussian with identity link: at deviance / n), both
    None where `fit_many` left them out; df_resid, sum of freq_weights minus p; n_iter, passes over
    the data; status, a `Status`; family, its estimated parameters filled in.
    """

    params: Array
    cov_unscaled: Array | None
    scale: Array
    deviance: Array | None
    loglike: Array | None
    df_resid: Array
    n_iter: Array
    status: Array
    family: Family

    @property
    def cov_params(self) -> Array:
        """The model-based covariance phi (X'wX + P)^-1, (..., p, p)."""
        with _own_precision(self.scale):
            return self.scale[..., None, None] * self._unscaled

    @property
    def bse(self) -> Array:
        """Standard errors, (..., p)."""
        with _own_precision(self.scale):
            variances = jnp.diagonal(self._unscaled, axis1=-2, axis2=-1)
            return jnp.sqrt(self.scale[..., None] * variances)

    @property
    def _unscaled(self) -> Array:
        if self.cov_unscaled is None:
            raise ValueError("cov=False was passed to fit_many: this fit has no covariance.")
        return self.cov_unscaled

    @property
    def converged(self) -> Array:
        """Whether the status is `Status.converged`."""
        return self.status == int(Status.converged)

    @property
    def failed(self) -> np.ndarray:
        """The numbers of the lanes whose status is not `converged`, on the host."""
        return np.flatnonzero(np.asarray(self.status) != int(Status.converged))

    def tally(self) -> dict[str, int]:
        """How many lanes ended with each status, on the host; statuses of no lane left out."""
        return tally(self.status)


def _own_precision(v: Array) -> contextlib.AbstractContextManager[Any]:
    """float64 where v is, so that a float64 fit can be used whatever the process's flag."""
    return jax.enable_x64(True) if v.dtype == np.float64 else contextlib.nullcontext()


def fit(
    X: ArrayLike | Design,
    y: ArrayLike,
    family: Family = Gaussian(),  # noqa: B008 - frozen
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    start: ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> Fit:
    """Fit one generalized linear model by penalised maximum likelihood.

    g(E y) = X beta + offset, Var y = scale V(mu) / var_weights. Pure: works under `jax.jit`,
    `vmap`, `grad`, `jacfwd`, `jacrev` and `hessian`, with derivatives in X, y, offset, weights,
    penalty strength and the parameters of family and link. No intercept is added.

    X (n, p), or a `designs.Design`; y (n,), for Binomial 0/1, proportions with `n_trials`, or
    (success, failure) columns (n, 2). offset, var_weights (precision), freq_weights (replication)
    and n_trials are (n,) or scalars; a row of weight 0 is gone. penalty: a `Penalty`, or a strength
    for `Ridge`. scale: None (1 for Binomial, Poisson and NegativeBinomial, else Pearson's),
    "X2", "dev", "ml" or a number. start: coefficients (p,) to begin from.

    The dtype follows the inputs, integers becoming JAX's default float. Wrong shapes and dtypes
    raise; wrong values give `Status.invalid_data` and NaN. Derivatives of a fit whose status is
    not `converged` are NaN.
    """
    problem, invalid = prepare(
        X,
        y,
        family,
        offset=offset,
        var_weights=var_weights,
        freq_weights=freq_weights,
        n_trials=n_trials,
        penalty=penalty,
    )
    p, dtype = problem.design.shape[1], problem.design.dtype
    if start is not None:
        start = jax.lax.stop_gradient(jnp.asarray(to_host("start", start), dtype))
        _require_shape("start", start, (p,))
    dispersion = as_dispersion(scale, dtype)
    if dispersion.value is not None:
        _require_shape("scale", dispersion.value, ())
    return solve_by_all_cores(problem, invalid, start, dispersion, require_solver(solver))


def prepare(
    X: ArrayLike | Design,
    y: ArrayLike,
    family: Family,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
) -> tuple[Problem, Array]:
    """The problem that `fit` solves, and whether its data are invalid (a traced boolean).

    Rows of weight 0, and rows that make the data invalid, carry harmless values.
    """
    family = as_model_family(family)
    named = {"y": y, "offset": offset, "var_weights": var_weights}
    named |= {"freq_weights": freq_weights, "n_trials": n_trials}
    found = {name: to_host(name, v) for name, v in named.items() if v is not None}
    X = X if isinstance(X, Design) else to_host("X", X)
    dtype = _common_dtype([*jax.tree.leaves(X), *found.values()])
    design = as_design(jax.tree.map(lambda v: as_floats(v, dtype), X))
    if len(design.shape) != 2 or 0 in design.shape:
        raise ValueError(f"X: shape {design.shape}; allowed is (n, p) with n, p >= 1.")
    n, p = design.shape
    arrays = {name: None for name in named} | {k: as_floats(v, dtype) for k, v in found.items()}
    arrays = _split_counts(arrays, family, n)
    for name, value in arrays.items():
        if value is not None:
            scalar = name != "y" and value.ndim == 0
            arrays[name] = value = jnp.broadcast_to(value, (n,)) if scalar else value
            _require_shape(name, value, (n,), f", X being {design.shape}")
    family, penalty = jax.tree.map(lambda v: jnp.asarray(v, dtype), (family, as_penalty(penalty)))
    rows, invalid = _clean_rows(design, arrays, family)
    if penalty is not None:
        penalty.matrix(p, dtype)
        invalid = invalid | ~penalty.is_valid()
    # Only a row that is gone may hold anything; without such rows the design is not copied.
    design = design if rows.prior is None else _clean_design(design)
    return Problem(design, rows, family, penalty), invalid


_clean_design = jax.jit(lambda design: design.cleaned())


@jax.jit
def _clean_rows(
    design: Design, arrays: dict[str, Array | None], family: Family
) -> tuple[Rows, Array]:
    """Replace what must not be computed with, and say whether any of it counted."""
    spoiled = design.spoiled()
    y, offset, n_trials = arrays["y"], arrays["offset"], arrays["n_trials"]
    weights = [
        arrays[k] for k in ("var_weights", "freq_weights", "n_trials") if arrays[k] is not None
    ]
    wrong = jnp.zeros_like(spoiled)
    prior = None
    for weight in weights:
        sound = (weight >= 0) & jnp.isfinite(weight)
        wrong = wrong | ~sound
        weight = jnp.where(sound, weight, 0.0)
        prior = weight if prior is None else prior * weight
    present = jnp.ones_like(spoiled) if prior is None else prior > 0
    usable = family.in_support(y)
    if offset is not None:
        usable = usable & jnp.isfinite(offset)
    wrong = wrong | (present & (spoiled | ~usable))
    # Counted: a CPU adds numbers faster than it looks through booleans.
    counted = row_sum(wrong.astype(jnp.float32)) > 0
    empty = jnp.asarray(False) if prior is None else ~(row_sum(prior) > 0)
    invalid = keep(counted | empty | ~family.parameters_valid())
    # What is replaced has no slope; an invalid fit's must be NaN, not 0.
    y = guard(y, ~invalid)
    if offset is not None:
        offset = jnp.where(present & usable, guard(offset, ~invalid), 0.0)
    rest = _resting_mean(family)
    rows = Rows(
        y=jnp.where(present & family.in_support(y), y, rest),
        offset=offset,
        var_weights=arrays["var_weights"],
        freq_weights=arrays["freq_weights"],
        n_trials=None if n_trials is None else jnp.where(present, n_trials, 1.0),
        prior=prior,
        resting_eta=None if prior is None else family.link.g(jnp.asarray(rest, y.dtype)),
    )
    return rows, invalid


def solve_by_all_cores(
    problem: Problem, invalid: Array, start: Array | None, dispersion: Dispersion, solver: Solver
) -> Fit:
    """`solve_prepared`, of very many rows on a CPU with a share of them to every core."""
    shares = shares_of(problem, invalid, solver) if start is None else None
    found = None if shares is None else solve_by_shares(solver, problem, shares)
    if found is None:
        return solve_prepared(problem, invalid, start, dispersion, solver)
    return _finish(problem, invalid, dispersion, None, True, True, *found)


@partial(jax.jit, static_argnames=("cov", "likelihood"))
def solve_prepared(
    problem: Problem,
    invalid: Array,
    start: Array | None,
    dispersion: Dispersion,
    solver: Solver,
    limit: Array | None = None,
    cov: bool = True,
    likelihood: bool = True,
) -> Fit:
    """Solve, attach the derivative, and compute the statistics at the root."""
    T = centring(problem)
    if T is None:
        return _solved(problem, invalid, start, dispersion, solver, limit, cov, likelihood)
    # T is its own inverse's mirror: I + e m'.
    back = 2.0 * jnp.eye(T.shape[0], dtype=T.dtype) - T
    start = jax.tree.map(partial(highest, back), start)
    problem = centred(problem, T)
    found = _solved(problem, invalid, start, dispersion, solver, limit, cov, likelihood)
    unscaled = found.cov_unscaled
    return dataclasses.replace(
        found,
        params=highest(T, found.params),
        cov_unscaled=None if unscaled is None else highest(highest(T, unscaled), T.T),
    )


def _solved(
    problem: Problem,
    invalid: Array,
    start: Array | None,
    dispersion: Dispersion,
    solver: Solver,
    limit: Array | None,
    cov: bool,
    likelihood: bool,
) -> Fit:
    solution = joint_solve(solver, problem, start, dispersion, limit)
    found = dataclasses.replace(problem, family=solution.family)
    sums = totals(found, solution.beta)
    # Only of weights without an edge do the solver's last ones tell of those at the solution.
    if cov or not (is_unrestricted(found.family) and found.family.fixed_scale):
        solution = solution._replace(faint=None)
    return _finished(problem, invalid, dispersion, limit, cov, likelihood, solution, sums)


def _finished(
    problem: Problem,
    invalid: Array,
    dispersion: Dispersion,
    limit: Array | None,
    cov: bool,
    likelihood: bool,
    solution: Solution,
    sums: Totals,
) -> Fit:
    """The fit of a solution, from the sums over the rows at it."""
    estimated = problem.family.is_estimated
    beta, family, status = solution.beta, solution.family, solution.status
    problem = dataclasses.replace(problem, family=family)
    faint = solution.faint
    if faint is None:
        faint, unscaled = sums.faint, inverse_pd(sums.information)
    else:
        # Nobody asks for the information: it has a say in the status where one of these is.
        seen = (faint > 0) | (status != int(Status.converged))
        unscaled = inverse_information(*jax.lax.stop_gradient((problem, beta)), seen)
    n = problem.rows.total_frequency
    df_resid = n - beta.shape[0]
    scale = solution.scale
    if scale is None:
        scale = estimate(dispersion, problem, beta, sums, df_resid)
    if family.can_separate:
        ended = has_ended(status, solution.n_iter, limit, estimated)
        endless = is_endless(problem, scale * unscaled, solution.last_step, faint)
        status = jnp.where(ended & endless, as_status(Status.separated), status)
    # Weights that have all but vanished: where the likelihood flattens out far from the data.
    found = status == int(Status.converged)
    status = jnp.where(found & ~jnp.all(jnp.isfinite(unscaled)), as_status(Status.singular), status)
    invalid = invalid | ~dispersion.valid
    # Before the deviance has a say: who asks for coefficients alone, or for their derivatives, need
    # not wait for it.
    void = invalid | (status == int(Status.singular))
    sound = jnp.all(jnp.isfinite(beta)) & (jnp.isfinite(scale) | (df_resid <= 0))
    settled = (status == int(Status.converged)) & ~invalid & sound
    at = sums.deviance / n if is_concentrated(family) else scale
    llf = loglike(family, problem.rows, at, sums.deviance) if likelihood else None
    sound = sound & jnp.isfinite(sums.deviance) if likelihood else sound
    status = jnp.where(
        (status == int(Status.converged)) & ~sound, as_status(Status.diverged), status
    )
    status = jnp.where(invalid, as_status(Status.invalid_data), status)
    result = Fit(
        params=beta,
        cov_unscaled=unscaled if cov else None,
        scale=jnp.asarray(scale, beta.dtype),
        deviance=sums.deviance if likelihood else None,
        loglike=llf,
        df_resid=df_resid,
        n_iter=solution.n_iter,
        status=status,
        family=family,
    )
    return _guarded(_blank(result, keep(void)), keep(settled))


_finish = jax.jit(_finished, static_argnames=("cov", "likelihood"))


def _blank(result: Fit, void: Array) -> Fit:
    """NaN for every number of a fit that has none; its status and counts stay."""
    # A product, as in `guard`: a select would pass zeros backwards.
    factor = jnp.where(void, jnp.nan, 1.0).astype(result.params.dtype)
    nan = {
        name: getattr(result, name) * factor
        for name in ("params", "cov_unscaled", "scale", "deviance", "loglike")
        if getattr(result, name) is not None
    }
    return dataclasses.replace(result, **nan)


def _guarded(result: Fit, sound: Array) -> Fit:
    """The fit, with NaN for every derivative of one that did not converge."""
    floats = {
        name: jax.tree.map(lambda v: guard(v, sound), getattr(result, name))
        for name in ("params", "cov_unscaled", "scale", "deviance", "loglike", "family")
    }
    return dataclasses.replace(result, **floats)


def is_concentrated(family: Family) -> bool:
    """Whether the log-likelihood is reported at scale deviance / n, as statsmodels does."""
    return type(family) is Gaussian and type(family.link) is Identity


def as_model_family(family: Any) -> Family:
    """A family, or that of a class; raises TypeError for anything else."""
    family = family() if isinstance(family, type) else family
    if getattr(family, "in_support", None) is None:
        raise TypeError(f"family={family!r}: allowed are the families of jaxglm.families.")
    return family


def as_penalty(penalty: Penalty | ArrayLike | None) -> Penalty | None:
    """A `Penalty` as it is, a bare strength as a `Ridge`; raises for what is no strength."""
    if penalty is None or isinstance(penalty, Penalty):
        return penalty
    strength = to_host("penalty", penalty)
    if np.ndim(strength) == 0 and not isinstance(penalty, jax.Array) and not strength >= 0:
        raise ValueError(f"penalty={penalty}: strength must be >= 0.")
    return Ridge(penalty)


def _split_counts(
    arrays: dict[str, Array | None], family: Family, n: int
) -> dict[str, Array | None]:
    """(success, failure) columns become proportions with trials."""
    y, n_trials = arrays["y"], arrays["n_trials"]
    if not family.counts_trials:
        if n_trials is not None:
            raise ValueError(f"n_trials: only for Binomial; the family is {type(family).__name__}.")
        return arrays
    if y.shape != (n, 2):
        return arrays
    if n_trials is not None:
        raise ValueError("n_trials: already given by y's (success, failure) columns; pass one.")
    trials = y[:, 0] + y[:, 1]
    # A negative count must not pass as a proportion: 3 of 3 - 1, say.
    sound = (y[:, 0] >= 0) & (y[:, 1] >= 0)
    share = y[:, 0] / jnp.where(trials > 0, trials, 1.0)
    return arrays | {
        "y": jnp.where(sound, share, jnp.nan),
        "n_trials": jnp.where(sound, trials, 1.0),
    }


def _require_shape(name: str, value: Array, shape: tuple[int, ...], why: str = "") -> None:
    if value.shape != shape:
        raise ValueError(f"{name}: shape {value.shape}; allowed is {shape}{why}.")


def to_host(name: str, value: Any) -> Any:
    """A real array, or a `jax.Array` as it is; raises TypeError for other kinds of numbers."""
    value = as_array(name, value)
    kind = jnp.dtype(value.dtype)
    # NumPy counts spans of time among the integers.
    real = any(jnp.issubdtype(kind, numbers) for numbers in (jnp.integer, jnp.floating, jnp.bool_))
    if not real or kind.kind == "m":
        raise TypeError(f"{name}: dtype {kind}; allowed are real numbers and booleans.")
    return value


def as_array(name: str, value: Any) -> Any:
    """A `jax.Array` as it is, anything else as NumPy's; raises where that would lose something."""
    if isinstance(value, jax.Array):
        if not isinstance(value, jax.core.Tracer) and value.is_deleted():
            raise ValueError(f"{name}: a deleted jax.Array (donated, perhaps); pass a live one.")
        return value
    if getattr(value, "toarray", None) is not None:
        raise TypeError(f"{name}: a sparse matrix; allowed are dense arrays (use .toarray()).")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: a masked array; allowed are plain ones: leave masked rows out, by "
            'weight 0, or by NaN where there is missing="drop".'
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: not an array of numbers: {error}") from error


def _common_dtype(values: list[Any]) -> Any:
    """The floating dtype that the inputs have in common, at least float32."""
    # A bare number has no say: 0.1 must not make a float64 fit of float32 data.
    arrays = [v for v in values if np.ndim(v) > 0]
    dtypes = [v.dtype for v in arrays if jnp.issubdtype(v.dtype, jnp.floating)]
    widest = jnp.result_type(float)
    double = any(d == np.float64 for d in dtypes)
    wanted = widest if double or not dtypes else jnp.result_type(*dtypes)
    if double and widest != np.float64:
        warnings.warn(
            "float64 data are computed in float32, since jax_enable_x64 is off; GLM and fit_many "
            "compute in float64 whatever the flag.",
            stacklevel=4,
        )
    return jnp.promote_types(wanted, jnp.float32)


def _resting_mean(family: Family) -> float:
    """A mean, also a possible response, at which every formula of the family is finite."""
    low = max(family.support.low, family.mean_space.low)
    high = min(family.support.high, family.mean_space.high)
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (low + high)
    return low + 0.5 if np.isfinite(low) else min(0.5, high - 0.5)
