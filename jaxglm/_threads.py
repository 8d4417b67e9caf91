"""Floor 0: host threads from which every core has work, where XLA by itself keeps one."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import jax

__all__ = ["compiled", "cores", "in_precision", "threads"]

_T = TypeVar("_T")


@cache
def cores() -> int:
    """How many this machine has."""
    return os.cpu_count() or 1


@cache
def threads(workers: int) -> ThreadPoolExecutor:
    """So many threads, kept: starting them takes as long as fitting hundreds of lanes."""
    return ThreadPoolExecutor(workers, "jaxglm")


def in_precision(function: Callable[..., _T]) -> Callable[..., _T]:
    """The function, for threads: with 64 bits if the caller has them, whose scope is not theirs."""
    wide = jax.config.jax_enable_x64

    def told(*arguments: Any) -> _T:
        with jax.enable_x64(wide):
            return function(*arguments)

    return told


@cache
def compiled(
    function: Callable[..., Any], static: int, backend: str, side_by_side: bool
) -> Callable[..., Any]:
    """The function jitted, of few, small operations; static: the number of its static argument.

    On a CPU with the widest vectors, not XLA's preference. XLA splits large elementwise operations
    over the cores. Where every core has a program of its own, that only moves data from one core's
    cache to another's (10,000 Poisson lanes: 21 for 17 ms).
    """
    options: dict[str, Any] = {}
    if backend == "cpu":
        options["xla_cpu_prefer_vector_width"] = 512
        if side_by_side:
            options["xla_disable_hlo_passes"] = "cpu-parallel-task-assigner"
    return jax.jit(function, static_argnums=static, compiler_options=options)
