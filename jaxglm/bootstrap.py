"""Floor 9: refits of one model to other weights or responses, which share its design."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import label_codes
from jaxglm._types import Array, ArrayLike
from jaxglm.batch import fit_many
from jaxglm.designs import Design
from jaxglm.dispersion import Dispersion
from jaxglm.draws import draw_frequencies
from jaxglm.families import Family
from jaxglm.fit import Fit
from jaxglm.model import Problem
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import Near, is_count

__all__ = [
    "Model",
    "as_key",
    "fit_parts",
    "model_of",
    "refit",
    "require_count",
    "start_near",
]

# Weights of so many rows and draws are held at a time (256 MiB of float64).
HELD = 2**25


@dataclasses.dataclass(frozen=True)
class Model:
    """What is fitted again and again: arguments of `fit_many`, with lanes where `replace` put them.

    freq_weights (n,), 0 in rows that are gone; the others as in a `Problem`.
    """

    X: Design
    y: Any
    family: Family
    offset: Any
    var_weights: Any
    freq_weights: Any
    n_trials: Any
    penalty: Penalty | None
    scale: str | ArrayLike | None
    start: Any
    solver: Solver
    chunk_size: int | None

    def fit(self, cov: bool = True) -> Fit:
        """Its lanes, as NumPy arrays; without their likelihood, for which nobody asks."""
        fits = fit_many(
            self.X,
            self.y,
            self.family,
            offset=self.offset,
            var_weights=self.var_weights,
            freq_weights=self.freq_weights,
            n_trials=self.n_trials,
            penalty=self.penalty,
            scale=self.scale,
            start=self.start,
            solver=self.solver,
            chunk_size=self.chunk_size,
            cov=cov,
            likelihood=False,
        )
        return jax.tree.map(np.asarray, fits)


def model_of(
    problem: Problem,
    scale: str | ArrayLike | None = None,
    start: Any = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
) -> Model:
    """The problem as a model to be refitted."""
    rows = problem.rows
    return Model(
        X=problem.design,
        y=rows.y,
        family=problem.family,
        offset=rows.offset,
        var_weights=rows.var_weights,
        freq_weights=np.asarray(rows.replicates[1]),
        n_trials=rows.n_trials,
        penalty=problem.penalty,
        scale=scale,
        start=start,
        solver=solver,
        chunk_size=chunk_size,
    )


def start_near(fitted: Fit) -> Near | None:
    """A start for refits, from a fit to the data themselves."""
    return Near(fitted.params) if fitted.converged else None


def as_key(key: Any) -> Array:
    """A key of jax.random as it is, or one from a seed (None: 0)."""
    if isinstance(key, (jax.Array, np.ndarray)):
        return jnp.asarray(key)
    seed = 0 if key is None else key
    if not is_count(seed, 0):
        raise TypeError(f"key={key!r}: allowed are keys of jax.random and seeds, integers >= 0.")
    return jax.random.key(int(seed))


def fit_parts(models: Iterable[Model]) -> Fit:
    """The lanes of several models, fitted one model after the other, as one batch without cov."""
    parts = [model.fit(cov=False) for model in models]
    return jax.tree.map(lambda *v: np.concatenate(v), *parts)


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
    require_count("reps", reps, 2)
    scale = dispersion.kind if dispersion.value is None else dispersion.value
    model = model_of(problem, scale, start_near(fitted), solver)
    frequency = model.freq_weights
    codes = None if groups is None else label_codes("groups", groups, frequency > 0)
    draws = draw_frequencies(as_key(key), frequency, reps, codes)
    fits = dataclasses.replace(model, freq_weights=draws).fit(cov=False)
    return fits.params, fits.status


def require_count(name: str, value: Any, least: int) -> None:
    """Raise for what is no integer of at least so much."""
    if not is_count(value, least):
        raise ValueError(f"{name}={value}: allowed are integers >= {least}.")
