"""A cold process: seconds of the imports, of the first fit, and of another family's first fit."""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.problems import shared

KINDS = {"Binomial": "logistic", "Poisson": "poisson", "Gamma": "gamma"}


def main(names: list[str], scale: float) -> list[float]:
    """Imports stand here because they are what is timed first."""
    start = time.perf_counter()
    import jax

    import jaxglm

    seconds = [time.perf_counter() - start]
    for name in names:
        problem = shared(scale, KINDS[name])
        family = getattr(jaxglm.families, name)(link=LINKS[name](jaxglm.links))
        start = time.perf_counter()
        fit = jax.block_until_ready(jaxglm.fit_many(problem.X, problem.y, family))
        seconds.append(time.perf_counter() - start)
        assert np.isfinite(np.asarray(fit.params)).all()
    return seconds


LINKS = {
    "Binomial": lambda links: links.Logit(),
    "Poisson": lambda links: links.Log(),
    "Gamma": lambda links: links.Log(),
}

if __name__ == "__main__":
    print(*main(sys.argv[1:3], float(sys.argv[3])))
