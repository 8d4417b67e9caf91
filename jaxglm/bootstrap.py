"""Floor 9: refits of one model to other weights or responses, and the draws of bootstraps.

A draw is a set of freq_weights, so that all refits share the design.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import label_codes
from jaxglm._threads import compiler_options, cores, threads
from jaxglm._types import Array, ArrayLike, empty_room
from jaxglm.batch import fit_many
from jaxglm.designs import Design
from jaxglm.dispersion import Dispersion
from jaxglm.families import Family
from jaxglm.fit import Fit
from jaxglm.model import Problem
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import Near, is_count

__all__ = [
    "Model",
    "as_key",
    "draw_frequencies",
    "draw_shares",
    "fit_parts",
    "key_parts",
    "model_of",
    "refit",
    "require_count",
    "start_near",
]

# Weights of so many rows and draws are held at a time (256 MiB of float64).
HELD = 2**25
# Slots that are drawn in one step: a core's cache holds their numbers.
DRAWN = 2**17


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


def key_parts(key: Any, reps: int, n: int) -> Iterator[tuple[Array, int]]:
    """Keys and numbers of draws, so many at a time that their n rows can be held."""
    held = max(1, HELD // n)
    keys = jax.random.split(as_key(key), -(-reps // held))
    return ((part, min(held, reps - i * held)) for i, part in enumerate(keys))


def fit_parts(models: Iterable[Model], cov: bool = True) -> Fit:
    """The lanes of several models, fitted one model after the other, as one batch."""
    parts = [model.fit(cov) for model in models]
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
    draws = (
        draw_frequencies(part, frequency, held, codes)
        for part, held in key_parts(key, reps, len(frequency))
    )
    fits = fit_parts((dataclasses.replace(model, freq_weights=w) for w in draws), cov=False)
    return fits.params, fits.status


def require_count(name: str, value: Any, least: int) -> None:
    """Raise for what is no integer of at least so much."""
    if not is_count(value, least):
        raise ValueError(f"{name}={value}: allowed are integers >= {least}.")


def draw_frequencies(
    key: Any,
    frequency: ArrayLike,
    reps: int,
    codes: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> np.ndarray:
    """freq_weights (reps, n) of samples with replacement from rows of these frequencies (n,).

    Each sample has sum(frequency), rounded, observations; or as many clusters as there are, by
    `codes` (n,), with all their observations. strata (n,), codes too: so many from each. Counts
    are small unsigned integers. Among N observations chances are equal to a relative N / 2^32.
    """
    return _draw_rows(_count, key, frequency, reps, codes, strata)


def draw_shares(
    key: Any,
    frequency: ArrayLike,
    reps: int,
    codes: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> np.ndarray:
    """freq_weights (reps, n) of the Bayesian bootstrap: a Dirichlet draw over the observations.

    A row of frequency f has the share of f observations; clusters have one each. The shares sum
    to the number of observations (of clusters), in every stratum. Source: Rubin (1981).
    """
    return _draw_rows(_share, key, frequency, reps, codes, strata)


def _draw_rows(
    draw: Callable[..., np.ndarray],
    key: Any,
    frequency: ArrayLike,
    reps: int,
    codes: ArrayLike | None,
    strata: ArrayLike | None,
) -> np.ndarray:
    """Draws of rows, or of the clusters that they belong to."""
    frequency = np.asarray(frequency, np.float64)
    if codes is None:
        return draw(key, frequency, reps, strata)
    codes = np.asarray(codes)
    count = int(np.max(codes[frequency > 0])) + 1
    of_units = None if strata is None else np.zeros(count, int)
    if of_units is not None:
        of_units[codes] = strata
        if np.any(of_units[codes] != strata):
            raise ValueError("strata: a cluster has rows in more than one.")
    drawn = draw(key, np.ones(count), reps, of_units)
    return drawn[:, codes] * frequency[None, :]


def _strata_of(frequency: np.ndarray, strata: ArrayLike | None) -> np.ndarray:
    return np.zeros(len(frequency), int) if strata is None else np.asarray(strata)


def _count(key: Any, frequency: np.ndarray, reps: int, strata: ArrayLike | None) -> np.ndarray:
    """How often each of G units is drawn, (reps, G)."""
    codes, present = _strata_of(frequency, strata), np.flatnonzero(frequency > 0)
    order = present[np.argsort(codes[present], kind="stable")]
    each = frequency[order]
    totals = np.bincount(codes[order], each)
    sizes, ends = np.round(totals).astype(int), np.cumsum(totals)
    low, width = np.repeat(ends - totals, sizes), np.repeat(totals, sizes)
    # No unit is drawn more often than its stratum has observations. Of N with equal chances, one is
    # drawn 256 times with a chance below N (e / 256)^256.
    most = 255 if np.all(each == 1) else int(sizes.max(initial=0))
    counter = np.min_scalar_type(most)
    with jax.enable_x64(True):
        if np.all(each == np.floor(each)):
            units, bounds, last = np.repeat(order, each.astype(int)), None, None
            units = None if np.array_equal(units, np.arange(len(frequency))) else units
        else:
            units, bounds = order, np.cumsum(each)
            # Rounding must not reach over into the next stratum.
            last = np.repeat(np.cumsum(np.bincount(codes[order])) - 1, sizes)
        keys = jax.random.split(key, reps)
    # Every core has draws of its own, in parts of one length; the last is moved back to the end.
    size = reps if reps * low.size < DRAWN else -(-reps // cores())
    firsts = [min(first, reps - size) for first in range(0, reps, size)]
    count = _counting(jax.default_backend(), len(firsts) > 1)

    def part(first: int) -> np.ndarray:
        with jax.enable_x64(True):
            own = np.int32(first), keys, low, width, units, bounds, last
            return np.asarray(count(*own, size, len(frequency), counter))

    drawn = empty_room((reps, len(frequency)), counter)
    for first, counts in zip(firsts, threads(cores()).map(part, firsts), strict=True):
        drawn[first : first + size] = counts
    return drawn


@cache
def _counting(backend: str, side_by_side: bool) -> Any:
    """`_count_slots`, jitted."""
    options = compiler_options(backend, side_by_side)
    return jax.jit(_count_slots, static_argnums=(7, 8, 9), compiler_options=options)


def _count_slots(
    first: Array,
    keys: Array,
    low: Array,
    width: Array,
    units: Array | None,
    bounds: Array | None,
    last: Array | None,
    size: int,
    rows: int,
    counter: np.dtype,
) -> Array:
    """How often each of the rows is drawn for the slots of samples, each from low to low + width.

    units: who stands at each whole number; or, with bounds, who ends at each of them. Samples of
    `size` keys from the first.
    """

    def one(key: Array) -> Array:
        words = jnp.concatenate(_words(key, -(-low.size // 2)))[: low.size]
        at = low + width * (words * 2.0**-32)
        if bounds is None:
            drawn = at.astype(jnp.int32)
        else:
            drawn = jnp.minimum(jnp.searchsorted(bounds, at, side="right"), last)
        drawn = drawn if units is None else units[drawn]
        # No slot is beyond the end: to check costs as much as to count.
        nothing, once = jnp.zeros(rows, counter), jnp.ones((), counter)
        return nothing.at[drawn].add(once, mode="promise_in_bounds")

    own = jax.lax.dynamic_slice_in_dim(keys, first, size)
    return jax.lax.map(one, own, batch_size=max(1, DRAWN // max(1, low.size)))


def _words(key: Array, count: int) -> tuple[Array, Array]:
    """The lower and upper halves (count,) of a key's first 64-bit words, as jax.random.bits has.

    Threefry written out: on a CPU JAX's own goes to memory after every four rounds, and takes
    twice as long. Source: Salmon et al. (2011).
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        words = jax.random.bits(key, (count,), jnp.uint64)
        return words.astype(jnp.uint32), (words >> 32).astype(jnp.uint32)
    first, second = jax.random.key_data(key)
    keys = first, second, first ^ second ^ np.uint32(0x1BD11BDA)
    high, low = jnp.full(count, first), jnp.arange(count, dtype=jnp.uint32) + second
    for i in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            high = high + low
            low = high ^ (low << np.uint32(turn) | low >> np.uint32(32 - turn))
        high = high + keys[(i + 1) % 3]
        low = low + keys[(i + 2) % 3] + np.uint32(i + 1)
    return low, high


def _share(key: Any, frequency: np.ndarray, reps: int, strata: ArrayLike | None) -> np.ndarray:
    """The share of each of G units, (reps, G): a gamma draw, of shape its frequency."""
    codes = _strata_of(frequency, strata)
    if np.all((frequency == 0) | (frequency == 1)):
        raw = jax.random.exponential(key, (reps, len(frequency)), float)
    else:
        # Shape 0 has no law; such a unit stays gone.
        shape = np.where(frequency > 0, frequency, 1.0)
        raw = jax.random.gamma(key, shape, (reps, len(frequency)), float)
    raw = np.where(frequency > 0, raw, 0.0)
    member = np.eye(codes.max() + 1)[codes]
    return raw * ((frequency @ member) / (raw @ member))[:, codes]
