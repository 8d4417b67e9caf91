"""Floor 6: separation, told from where a fit has ended."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxglm._types import Array
from jaxglm.designs import widest_row
from jaxglm.model import Problem, faint_weight
from jaxglm.solvers import Status

__all__ = ["has_ended", "is_endless"]


def has_ended(status: Array, n_iter: Array, limit: Array | None, estimated: bool) -> Array:
    """Whether a lane can be judged; one cut short by its batch's limit is still on its way."""
    codes = [Status.converged, Status.singular]
    # With a parameter on its own edge the coefficients are an ordinary fit.
    codes += [Status.boundary] if estimated else []
    spent = status == int(Status.max_steps)
    spent = spent if limit is None else spent & (n_iter < limit)
    return jnp.any(jnp.stack([spent, *(status == int(code) for code in codes)]))


def is_endless(problem: Problem, cov: Array, last_step: Array, faint: Array) -> Array:
    """Whether the likelihood is flat in some linear predictor at its best: separation.

    Its standard error is then without bound: a thousand (a hundred in float32, whose loop ends
    earlier) is more than any finite maximum has. The square is at most phi / w_i, so only rows of
    `faint` weight need be looked at. Where the information has vanished altogether, a last step
    that still moves linear predictors tells.
    """
    prior = problem.rows.prior
    design, cov, step = jax.lax.stop_gradient((problem.design, cov, last_step))
    vanished = ~jnp.all(jnp.isfinite(cov))
    seen = vanished | (faint > 0) if problem.family.fixed_scale else jnp.asarray(True)
    counts = None if prior is None else prior > 0
    spread, moving = widest_row(design, cov, step, counts, seen)
    return jnp.where(vanished, moving > 1e-3, spread > 1.0 / faint_weight(cov.dtype))
