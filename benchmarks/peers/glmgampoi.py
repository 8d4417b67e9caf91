"""glmGamPoi: `glm_gp` without shrinkage, Cox-Reid term or subsampling, timed inside R.

It estimates the dispersion once, at means fitted with a rough one, and then the coefficients
again, so these are near the joint maximum and not at it.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.scripts import prepare_script, r_version
from benchmarks.problems import Answer, Problem


def version() -> str:
    return r_version("glmGamPoi")


def prepare(problem: Problem) -> Callable[[], Answer]:
    return prepare_script("glmgampoi.R", problem)
