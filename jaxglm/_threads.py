"""Floor 0: host threads from which every core has work, where XLA by itself keeps one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["cores", "threads"]


@cache
def cores() -> int:
    """How many this machine has."""
    return os.cpu_count() or 1


@cache
def threads(workers: int) -> ThreadPoolExecutor:
    """So many threads, kept: starting them takes as long as fitting hundreds of lanes.

    Scoped settings of JAX belong to a thread, so what they run enters its own scopes.
    """
    return ThreadPoolExecutor(workers, "jaxglm")
