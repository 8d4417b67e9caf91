"""R: a loop of `glm.fit` with its defaults, timed inside R."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.scripts import prepare_script, r_version
from benchmarks.problems import Answer, Problem


def version() -> str:
    return r_version("stats")


def prepare(problem: Problem) -> Callable[[], Answer]:
    return prepare_script("r_glm.R", problem)
