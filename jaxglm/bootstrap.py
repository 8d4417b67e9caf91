"""Floor 9: refits to observations drawn with replacement (pairs bootstrap), as one batch.

A draw is a set of freq_weights, so that all refits share the design.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import Array, ArrayLike
from jaxglm.batch import fit_many
from jaxglm.dispersion import Dispersion
from jaxglm.fit import Fit
from jaxglm.model import Problem
from jaxglm.solvers import IRLS, Solver

__all__ = ["draw_frequencies", "refit"]

# Frequencies of so many rows and draws are held at a time (256 MiB of float64).
HELD = 2**25


def refit(
    problem: Problem,
    fitted: Fit,
    key: Any,
    reps: int = 1000,
    groups: ArrayLike | None = None,
    *,
    dispersion: Dispersion = Dispersion(),  # noqa: B008 - frozen
    solver: Solver = IRLS(),  # noqa: B008 - frozen
) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients (reps, p) of refits to drawn observations, and their statuses (reps,).

    key: of jax.random, or a seed (None: 0). groups: labels (n,) of clusters, which are drawn whole.
    A family's parameter that was estimated is estimated anew. A row of freq_weights f stands for f
    observations.
    """
    if int(reps) != reps or reps < 2:
        raise ValueError(f"reps={reps}: allowed are integers >= 2.")
    if not isinstance(key, jax.Array):
        key = jax.random.key(0 if key is None else key)
    rows = problem.rows
    frequency = np.asarray(rows.replicates[1])
    codes = None if groups is None else _codes(np.asarray(groups), frequency > 0)
    held = max(1, HELD // frequency.shape[0])
    found = [
        fit_many(
            problem.design,
            rows.y,
            problem.family,
            offset=rows.offset,
            var_weights=rows.var_weights,
            n_trials=rows.n_trials,
            freq_weights=draw_frequencies(part, frequency, min(held, reps - first), codes),
            penalty=problem.penalty,
            scale=dispersion.kind if dispersion.value is None else dispersion.value,
            start=fitted.params,
            solver=solver,
            cov=False,
        )
        for first, part in zip(
            range(0, reps, held), jax.random.split(key, -(-reps // held)), strict=True
        )
    ]
    params = np.concatenate([np.asarray(part.params) for part in found])
    return params, np.concatenate([np.asarray(part.status) for part in found])


def _codes(groups: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Labels as integers 0, 1, ...; a row that is gone joins the first of the others."""
    if groups.shape != present.shape:
        raise ValueError(f"groups: shape {groups.shape}; allowed is {present.shape}, one way.")
    filled = np.where(present, groups, groups[present.argmax()])
    return np.unique(filled, return_inverse=True)[1].reshape(-1)


def draw_frequencies(
    key: Any, frequency: ArrayLike, reps: int, codes: ArrayLike | None = None
) -> Array:
    """freq_weights (reps, n) of samples with replacement from rows of these frequencies (n,).

    Each sample has sum(frequency), rounded, observations; or as many clusters as there are, by
    `codes` (n,), with all their observations.
    """
    frequency = jnp.asarray(frequency)
    if codes is None:
        size = round(float(jnp.sum(frequency)))
        return _draw(key, frequency / jnp.sum(frequency), reps, size)
    count = int(np.max(np.asarray(codes)[np.asarray(frequency) > 0])) + 1
    drawn = _draw(key, jnp.full(count, 1.0 / count), reps, count)
    return drawn[:, jnp.asarray(codes)] * frequency[None, :]


@partial(jax.jit, static_argnames=("reps", "size"))
def _draw(key: Any, share: Array, reps: int, size: int) -> Array:
    """How often each of G units is among `size` drawn by `share` (G,), (reps, G)."""

    def one(key: Array) -> Array:
        drawn = jax.random.choice(key, share.shape[0], (size,), p=share)
        return jnp.zeros_like(share).at[drawn].add(1.0)

    return jax.lax.map(one, jax.random.split(key, reps), batch_size=16)
