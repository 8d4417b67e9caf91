"""Rows that compare jaxglm with itself: `python -m benchmarks.limits NAME` prints one as JSON.

Each is a list of cases with a value, the limit it must not pass, and the seconds behind it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxglm
from benchmarks.problems import covariates, responses

REPEATS = 7


def seconds(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median of warm calls, each waited for."""
    return seconds_in_turn({"alone": call}, repeats)["alone"]


def seconds_in_turn(
    calls: dict[str, Callable[[], Any]], repeats: int = 3 * REPEATS
) -> dict[str, float]:
    """Medians of warm calls, one after the other, so that a slow while of the machine meets all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def case(title: str, value: float, limit: float, unit: str, **detail: float | str) -> dict:
    return {"title": title, "value": value, "limit": limit, "unit": unit, "detail": detail}


def logistic(lanes: int, n: int = 200, p: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """X and y made in pieces, so that making them needs no more memory than they do."""
    rng = np.random.default_rng(6)
    X, y = covariates(rng, n, p), np.empty((lanes, n))
    for piece in np.array_split(y, max(1, lanes // 10_000)):
        beta = 0.3 * rng.standard_normal((len(piece), p))
        piece[:] = responses(rng, "logistic", beta @ X.T)
    return X, y


def separated_lane(scale: float) -> list[dict]:
    """One separated lane among 4,000 against the same batch without it."""
    X, y = logistic(max(2, int(4000 * scale)))
    spoiled = y.copy()
    spoiled[len(y) // 2] = X[:, 1] > 0
    family = jaxglm.families.Binomial()
    taken = seconds_in_turn(
        {
            "clean": lambda: jaxglm.fit_many(X, y, family),
            "separated": lambda: jaxglm.fit_many(X, spoiled, family),
        }
    )
    clean, dirty = taken["clean"], taken["separated"]
    status = np.asarray(jaxglm.fit_many(X, spoiled, family).status)[len(y) // 2]
    name = jaxglm.Status(int(status)).name
    title = f"One separated lane among {len(y):,}: time over the clean batch's"
    return [case(title, dirty / clean, 1.5, "ratio", clean=clean, separated=dirty, status=name)]


def growth(scale: float) -> list[dict]:
    """Time per fit and memory from 10,000 to 1,000,000 lanes, the shortest first."""
    X, y = logistic(max(100, int(1_000_000 * scale)))
    family = jaxglm.families.Binomial()
    before = peak_memory()
    per_fit = {}
    for lanes in (len(y) // 100, len(y) // 10, len(y)):
        repeats = REPEATS if lanes < len(y) else 3
        per_fit[lanes] = seconds(lambda m=lanes: jaxglm.fit_many(X, y[:m], family), repeats) / lanes
    memory = (peak_memory() - before) / 2**30
    few, many = per_fit[len(y) // 100], per_fit[len(y)]
    detail = {f"per_fit_{lanes}": value for lanes, value in per_fit.items()}
    ratio = f"Time per fit at {len(y):,} lanes over {len(y) // 100:,}"
    size = f"Peak memory above the data at {len(y):,} lanes"
    return [
        case(ratio, many / few, 1.1, "ratio", **detail),
        case(size, memory, 1.0, "GiB", data=y.nbytes / 2**30),
    ]


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_call(scale: float) -> list[dict]:
    """The first call of a process, and that of another family after it; compiling included."""
    cases = []
    for first, second in (("Binomial", "Poisson"), ("Poisson", "Gamma"), ("Gamma", "Binomial")):
        program = [sys.executable, "-m", "benchmarks.first_call", first, second, str(scale)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        imports, cold, new = map(float, done.stdout.split()[-3:])
        cases.append(case(f"First call of a process, {first}", cold, 2.0, "s", imports=imports))
        cases.append(case(f"First call with a new family, {second}", new, 2.0, "s"))
    return cases


def gradient(scale: float) -> list[dict]:
    """Value and gradient of a loss on the coefficients, over the forward fits alone.

    Those are timed as a call, whose lanes run on every core, and as the loss in a compiled program,
    where they follow each other as the gradient's do.
    """
    X, y = map(jnp.asarray, logistic(max(2, int(10_000 * scale))))
    family = jaxglm.families.Binomial()

    def loss(X: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(jaxglm.fit_many(X, y, family).params ** 2)

    programs = {
        "the compiled loss": jax.jit(loss),
        "y": jax.jit(jax.value_and_grad(loss, 1)),
        "X": jax.jit(jax.value_and_grad(loss, 0)),
    }
    calls = {name: partial(program, X, y) for name, program in programs.items()}
    calls["the forward fit"] = lambda: jaxglm.fit_many(X, y, family).params
    taken = seconds_in_turn(calls)
    cases = []
    for name, way in itertools.product("yX", ("the forward fit", "the compiled loss")):
        title, ratio = f"Gradient in {name} over {way}, B = {len(y):,}", taken[name] / taken[way]
        detail = {"forward": taken[way], "gradient": taken[name]}
        cases.append(case(title, ratio, 2.0, "ratio", **detail))
    return cases


LIMITS = {
    "separated-lane": separated_lane,
    "growth": growth,
    "first-call": first_call,
    "gradient": gradient,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LIMITS)
    parser.add_argument("--scale", type=float, default=1.0)
    asked = parser.parse_args()
    print("\n" + json.dumps({"cases": LIMITS[asked.name](asked.scale)}))


if __name__ == "__main__":
    main()
