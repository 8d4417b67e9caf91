"""Floor 8: many lanes in groups of a few sizes, and their results where they belong.

A compiled program knows the shapes of its arrays. So that another number of lanes compiles
nothing, lanes go in arrays of a few lengths, and results come out of them by number.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._types import ALIGNMENT, Array, empty_room

# Chunks of a group at most.
MOST_CHUNKS = 64
# Bytes of a group's designs: rooms for more are new pages every time, which a busy system is slow
# to find (1,000 lanes of 80 kB: 50 to 95 ms, with less always 50).
MOST_BYTES = 2**22


class Group(NamedTuple):
    """Lanes that go to a device in one call, in arrays that may hold others besides."""

    lanes: np.ndarray  # their numbers
    held: np.ndarray  # the numbers of what the arrays hold; nothing matters after these
    first: int  # where the group's own begin
    size: int  # the arrays' length

    @property
    def own(self) -> slice:
        """Where in the arrays the group's lanes are."""
        return slice(self.first, self.first + self.lanes.size)


def all_groups(lanes: int, chunk: int, workers: int, design_bytes: int = 0) -> list[Group]:
    """All lanes in groups of whole chunks, as many for every worker as can be.

    design_bytes: of a lane's own design.
    """
    numbers = np.arange(lanes)
    if lanes <= chunk:
        return regrouped(numbers, chunk, 1, min(chunk, 1 << (lanes - 1).bit_length()))
    chunks = -(-lanes // chunk)
    most = min(MOST_CHUNKS, 1 + MOST_BYTES // max(1, chunk * design_bytes))
    rounds = -(-chunks // (workers * most))
    # Two rounds even out what lanes of different length leave idle.
    each = -(-chunks // (workers * max(rounds, min(2, -(-chunks // (4 * workers))))))
    step = 1 << max(0, each.bit_length() - 3)
    size = chunk * step * -(-each // step)
    if size > lanes:
        return regrouped(numbers, chunk, 1, size)
    groups = []
    for start in range(0, lanes, each * chunk):
        before = min(start, lanes - size)
        own, held = numbers[start : start + each * chunk], numbers[before : before + size]
        groups.append(Group(own, held, start - before, size))
    return groups


def regrouped(lanes: np.ndarray, chunk: int, workers: int, size: int) -> list[Group]:
    """These lanes in arrays of a size that is compiled already, spread over the workers.

    The last chunk is filled by repetition: lanes of nothing might be long on their way.
    """
    chunk = min(chunk, size)
    each = chunk * min(size // chunk, -(-lanes.size // (workers * chunk)))
    parts = [lanes[start : start + each] for start in range(0, lanes.size, each)]
    return [Group(own, np.resize(own, -(-own.size // chunk) * chunk), 0, size) for own in parts]


def dtype_in_hand(leaf: Any, dtype: np.dtype) -> np.dtype:
    """What lanes of a leaf go to a device as: narrow numbers as they are, for less memory to read.

    A chunk widens its own.
    """
    narrow = isinstance(leaf, np.ndarray) and leaf.dtype.itemsize < dtype.itemsize
    return leaf.dtype if narrow and np.can_cast(leaf.dtype, dtype) else dtype


def take(leaf: Any, group: Group, room: np.ndarray | None = None) -> Any:
    """What the arrays of the group hold of a leaf (B, ...); a run of lanes without a copy.

    room: where to put what JAX could not take over as it is, other than a `jax.Array`. Memory that
    is used again is there already; a system hands out new pages at 2 GB a second.
    """
    start, count = int(group.held[0]), group.held.size
    run = count == group.size and _is_run(group.held)
    if isinstance(leaf, jax.Array):
        if run:
            return jax.lax.dynamic_slice_in_dim(leaf, start, count)
        return leaf[np.resize(group.held, group.size)]
    rows = leaf[start : start + count] if run else leaf[group.held]
    if run and (room is None or _is_ready(rows, room.dtype)):
        return rows
    room = empty_room((group.size, *leaf.shape[1:]), leaf.dtype) if room is None else room
    room[:count] = rows
    return room


def _is_run(numbers: np.ndarray) -> bool:
    """Whether these numbers follow one another: repeated ones may end as if they did."""
    return np.array_equal(numbers, np.arange(numbers[0], numbers[0] + numbers.size))


def _is_ready(rows: np.ndarray, dtype: Any) -> bool:
    """Whether JAX takes these numbers over on a CPU without a copy."""
    aligned = rows.ctypes.data % ALIGNMENT == 0 and rows.flags.c_contiguous
    return aligned and rows.dtype == dtype


def room_for(part: Any, lanes: int, on_host: bool) -> Any:
    """Arrays of so many lanes for results such as `part`."""

    def room(v: Array) -> Any:
        shape = (lanes, *v.shape[1:])
        if on_host:
            return empty_room(shape, v.dtype)
        return jnp.zeros(shape, v.dtype, device=v.sharding)

    return jax.tree.map(room, part)


def put(whole: Any, part: Any, group: Group) -> Any:
    """The group's lanes of `part` at their numbers in `whole`, whose memory is used again."""
    leaves = jax.tree.leaves(whole)
    if isinstance(leaves[0], jax.Array):
        # Positions of other lanes are beyond the end, where nothing is put.
        places = np.full(group.size, leaves[0].shape[0])
        places[group.own] = group.lanes
        return _scatter(whole, part, jnp.asarray(places))
    start, stop = int(group.lanes[0]), int(group.lanes[-1]) + 1
    places = slice(start, stop) if _is_run(group.lanes) else group.lanes
    for room, values in zip(leaves, jax.tree.leaves(part), strict=True):
        room[places] = np.asarray(values)[group.own]
    return whole


@partial(jax.jit, donate_argnums=0)
def _scatter(whole: Any, part: Any, places: Array) -> Any:
    return jax.tree.map(lambda v, new: v.at[places].set(new, mode="drop"), whole, part)
