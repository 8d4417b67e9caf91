"""Floor 0: how many lanes are computed at once, so that what they need stays near at hand."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

__all__ = ["even_share", "lanes_in_hand"]

# Bytes of one row quantity of a chunk: eta, mu and w stay in a CPU's second-level cache; an
# accelerator wants enough work to fill it.
CPU_BYTES = 2**18
ACCELERATOR_BYTES = 2**29


def lanes_in_hand(shape: tuple[int, int], dtype: Any, *, own: bool) -> int:
    """The lanes that a device likes to have in hand, a power of two.

    A shared design (n, p) serves many lanes at once, a lane's `own` must fit beside its rows; so
    must Gram matrices, which may take what eight row quantities do.
    """
    on_cpu = jax.default_backend() == "cpu"
    elements = (CPU_BYTES if on_cpu else ACCELERATOR_BYTES) // np.dtype(dtype).itemsize
    n, p = shape
    each = max(n * max(1.0, p / 2 if own else 1.0), p * p / 8)
    # A power of two, so that neighbouring problem sizes choose alike.
    fitting = int(elements / each).bit_length() - 1
    return 1 << max(0 if own else 3, fitting)


def even_share(lanes: int, chunk: int) -> int:
    """A chunk's lanes, fewer where they then share out evenly: a last one would compile again."""
    shares = range(min(chunk, lanes), chunk // 2, -1)
    return next((share for share in shares if lanes % share == 0), chunk)
