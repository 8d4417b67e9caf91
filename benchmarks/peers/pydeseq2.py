"""PyDESeq2's gene-wise fit: rough dispersions, means, ML dispersions, coefficients, on all cores.

The steps of `DeseqDataSet.fit_genewise_dispersions` and `fit_LFC`, without the Cox-Reid term that
our fit has not either. The dispersion is estimated once, at means fitted with a rough one, so
coefficients are near the joint maximum and not at it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import numpy as np
import pandas as pd
from pydeseq2.default_inference import DefaultInference

from benchmarks.problems import Answer, Problem


def version() -> str:
    return metadata.version("pydeseq2")


def prepare(problem: Problem) -> Callable[[], Answer]:
    counts, size = problem.y.T.astype(int), np.exp(problem.offset)
    steps = DefaultInference()
    frame = pd.DataFrame(problem.X, columns=["intercept", "group", "batch"])
    limits = {"min_disp": 1e-8, "max_disp": float(max(10, len(size)))}
    controls = {"min_mu": 0.5, "beta_tol": 1e-8}

    def run() -> Answer:
        normed = counts / size[:, None]
        rough = np.minimum(
            steps.fit_rough_dispersions(normed, frame),
            steps.fit_moments_dispersions(normed, size),
        )
        rough = np.clip(rough, limits["min_disp"], limits["max_disp"])
        mu = steps.irls(counts, size, problem.X, rough, **controls)[1]
        alpha = steps.alpha_mle(counts, problem.X, mu, rough, cr_reg=False, **limits)[0]
        return Answer(steps.irls(counts, size, problem.X, alpha, **controls)[0])

    return run
