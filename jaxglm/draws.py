"""Floor 0: arguments of many fits that are drawn, each lane's by itself where it is used.

As arrays they would be written by one core, and read by another when all are there. `fit_many`
takes them as `Draws`, and makes a lane's when its turn comes.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jaxglm._types import Array, ArrayLike, record, static

__all__ = ["Draws", "Lanes", "Words", "draw_frequencies", "draw_shares"]

# Numbers that are drawn in one step where all are wanted: a core's cache holds them.
DRAWN = 2**17


@record
class Lanes:
    """Lanes (B,) that draw by their numbers and the words of one key; under `vmap` one of them."""

    numbers: Array
    words: Array
    kind: str = static()

    @classmethod
    def of(cls, key: Array, count: int) -> Lanes:
        """So many lanes of a key of jax.random."""
        kind = str(jax.random.key_impl(key))
        return cls(np.arange(count, dtype=np.uint32), np.asarray(jax.random.key_data(key)), kind)

    @property
    def key(self) -> Array:
        """The lane's own key."""
        return jax.random.fold_in(
            jax.random.wrap_key_data(self.words, impl=self.kind), self.numbers
        )


class Draws(ABC):
    """What lanes draw, (B, n). Their numbers are its first leaf; they share the others.

    To be drawn from where JAX has 64 bits.
    """

    lanes: Lanes
    n: int

    @abstractmethod
    def lane(self) -> Array:
        """What one lane draws, (n,)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, n), or (n,) of one lane's."""
        return (*self.lanes.numbers.shape, self.n)

    def together(self) -> np.ndarray:
        """All lanes (B, n)."""
        with jax.enable_x64(True):
            return np.asarray(_all_lanes(self))


@jax.jit
def _all_lanes(draws: Any) -> Array:
    def lane(number: Array) -> Array:
        own = dataclasses.replace(draws.lanes, numbers=number)
        return dataclasses.replace(draws, lanes=own).lane()

    return jax.lax.map(lane, draws.lanes.numbers, batch_size=max(1, DRAWN // draws.n))


def draw_frequencies(
    key: Array,
    frequency: ArrayLike,
    reps: int,
    codes: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> Draws:
    """freq_weights (reps, n) of samples with replacement from rows of these frequencies (n,).

    Each sample has sum(frequency), rounded, observations; or as many clusters as there are, by
    `codes` (n,), with all their observations. strata (n,), codes too: so many from each. Counts
    are small unsigned integers. Among N observations chances are equal to a relative N / 2^32.
    """
    units, strata, clusters = _units(frequency, codes, strata)
    present = np.flatnonzero(units > 0).astype(np.int32)
    order = present[np.argsort(strata[present], kind="stable")]
    each, stratum = units[order], strata[order]
    totals = np.bincount(stratum, each)
    sizes, ends = np.round(totals).astype(int), np.cumsum(totals)
    low, width = ends - totals, totals
    if totals.size > 1:
        low, width = np.repeat(low, sizes), np.repeat(width, sizes)
    who: Array | None = order
    bounds = last = None
    if np.all(each == np.floor(each)):
        low, width = low.astype(np.int32), width.astype(np.uint64)
        who = np.repeat(order, each.astype(int))
        who = None if np.array_equal(who, np.arange(len(units))) else who
    else:
        # Rounding must not reach over into the next stratum.
        counts = np.cumsum(np.bincount(stratum), dtype=np.int32)
        bounds, last = np.cumsum(each), np.repeat(counts - 1, sizes)
    # No unit is drawn more often than its stratum has observations. Of N with equal chances, one is
    # drawn 256 times with a chance below N (e / 256)^256.
    most = 255 if np.all(each == 1) else int(sizes.max(initial=0))
    return _Counts(
        lanes=Lanes.of(key, reps),
        low=low,
        width=width,
        who=who,
        bounds=bounds,
        last=last,
        clusters=clusters,
        n=np.size(frequency),
        slots=int(sizes.sum()),
        units=len(units),
        counter=np.min_scalar_type(most),
    )


def draw_shares(
    key: Array,
    frequency: ArrayLike,
    reps: int,
    codes: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> Draws:
    """freq_weights (reps, n) of the Bayesian bootstrap: a Dirichlet draw over the observations.

    A row of frequency f has the share of f observations; clusters have one each. The shares sum
    to the number of observations (of clusters), in every stratum. Source: Rubin (1981).
    """
    units, strata, clusters = _units(frequency, codes, strata)
    return _Shares(
        lanes=Lanes.of(key, reps),
        units=units,
        member=np.eye(strata.max() + 1)[strata],
        clusters=clusters,
        n=np.size(frequency),
        single=bool(np.all((units == 0) | (units == 1))),
    )


@record
class Words(Draws):
    """64 random bits for each of n rows."""

    lanes: Lanes
    n: int = static()

    def lane(self) -> Array:
        low, high = _words(self.lanes.key, self.n)
        return high.astype(jnp.uint64) << 32 | low.astype(jnp.uint64)


@record
class _Clusters:
    """To which cluster a row belongs, and for how many observations it stands; both (n,)."""

    codes: Array
    frequency: Array


def _of_rows(clusters: _Clusters | None, drawn: Array) -> Array:
    """The weights of rows (n,), from those of the units that were drawn: rows or clusters."""
    return drawn if clusters is None else drawn[clusters.codes] * clusters.frequency


@record
class _Counts(Draws):
    """How often each of `units` is drawn by slots, each from low to low + width.

    low, width: (slots,), or (1,) of one stratum; whole numbers without bounds. who: the unit at
    each of these, None for unit k at k; or, with bounds, the one that ends at each of them, `last`
    (slots,) at most.
    """

    lanes: Lanes
    low: Array
    width: Array
    who: Array | None
    bounds: Array | None
    last: Array | None
    clusters: _Clusters | None
    n: int = static()
    slots: int = static()
    units: int = static()
    counter: Any = static()

    def lane(self) -> Array:
        words = jnp.concatenate(_words(self.lanes.key, -(-self.slots // 2)))[: self.slots]
        if self.bounds is None:
            drawn = self.low + (words.astype(self.width.dtype) * self.width >> 32).astype(jnp.int32)
        else:
            at = self.low + self.width * (words * 2.0**-32)
            drawn = jnp.minimum(jnp.searchsorted(self.bounds, at, side="right"), self.last)
        drawn = drawn if self.who is None else self.who[drawn]
        return _of_rows(self.clusters, _tally(self.units, self.counter)(drawn))


@record
class _Shares(Draws):
    """The share of each of G units: gamma draws, of shapes `units` (G,), scaled in their strata.

    member (G, strata): 1 where a unit belongs. single: whether shapes are 0 and 1 alone.
    """

    lanes: Lanes
    units: Array
    member: Array
    clusters: _Clusters | None
    n: int = static()
    single: bool = static()

    def lane(self) -> Array:
        key, present = self.lanes.key, self.units > 0
        if self.single:
            raw = jax.random.exponential(key, self.units.shape, self.units.dtype)
        else:
            # Shape 0 has no law; such a unit stays gone.
            raw = jax.random.gamma(key, jnp.where(present, self.units, 1.0))
        raw = jnp.where(present, raw, 0.0)
        scale = (self.units @ self.member) / (raw @ self.member)
        return _of_rows(self.clusters, raw * (self.member @ scale))


def _units(
    frequency: ArrayLike, codes: ArrayLike | None, strata: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, _Clusters | None]:
    """The frequencies and strata of what is drawn, rows or clusters, and the clusters' rows."""
    frequency = np.asarray(frequency, np.float64)
    strata = np.zeros(len(frequency), int) if strata is None else np.asarray(strata)
    if codes is None:
        return frequency, strata, None
    codes = np.asarray(codes)
    count = int(np.max(codes[frequency > 0])) + 1
    of_clusters = np.zeros(count, int)
    of_clusters[codes] = strata
    if np.any(of_clusters[codes] != strata):
        raise ValueError("strata: a cluster has rows in more than one.")
    return np.ones(count), of_clusters, _Clusters(codes, frequency)


@cache
def _tally(units: int, counter: Any) -> Callable[[Array], Array]:
    """The function that counts how often each of 0, ..., units - 1 is drawn, (slots,) to (units,).

    Lanes have their counts one after the other, so that a slot is one number and not two.
    """

    def tally(drawn: Array) -> Array:
        lanes = drawn.reshape(-1, drawn.shape[-1])
        nothing = jnp.zeros(lanes.shape[0] * units, counter)
        number = jnp.int32 if nothing.size <= np.iinfo(np.int32).max else jnp.int64
        place = lanes + units * jnp.arange(lanes.shape[0], dtype=number)[:, None]
        # No slot is beyond the end: to check costs as much as to count.
        once = jnp.ones((), counter)
        counts = nothing.at[place.reshape(-1)].add(once, mode="promise_in_bounds")
        return counts.reshape(*drawn.shape[:-1], units)

    of_lanes = custom_vmap(tally)
    of_lanes.def_vmap(lambda size, batched, drawn: (tally(drawn), True))
    return of_lanes


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
