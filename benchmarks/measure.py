"""One fitter on one row, in a process of its own: `python -m benchmarks.measure ROW FITTER ...`.

Its first call is compared with our coefficients, and a JSON object printed. Then every line that it
reads is a turn, after which it prints the seconds of its calls.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module

import numpy as np

from benchmarks.problems import ROWS, Answer

OURS = "ours"
# Begins what is meant for the runner; peers may print besides.
MARK = "measured "
# Seconds of a turn at least, in whole calls.
TURN = 0.1


def timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer and its seconds: the fitter's own count where it keeps one, else the wall's."""
    start = time.perf_counter()
    answer = call()
    seconds = time.perf_counter() - start
    return answer, seconds if answer.seconds is None else answer.seconds


def difference(params: np.ndarray, ours: np.ndarray) -> float:
    """The largest |theirs - ours| / (1 + |ours|), over the last columns where some are hidden."""
    ours = ours[: len(params), -params.shape[1] :]
    worst = np.max(np.abs(params - ours) / (1.0 + np.abs(ours)))
    return float(np.nan_to_num(worst, nan=np.inf))


def turn(call: Callable[[], Answer]) -> list[float]:
    """The seconds of as many calls as a turn has, after one that brings its data near again."""
    seconds: list[float] = []
    call()
    while sum(seconds) < TURN:
        seconds.append(timed(call)[1])
    return seconds


def meet(
    row: str, fitter: str, scale: float, params_file: str
) -> tuple[dict, Callable[[], Answer]]:
    """The first call: write our coefficients to params_file, or compare with those there."""
    problem = ROWS[row].make(scale)
    rival = ROWS[row].rivals.get(fitter)
    lanes = min(rival.lanes or problem.lanes, problem.lanes) if rival else problem.lanes
    module = import_module(f"benchmarks.peers.{fitter}")
    call = module.prepare(problem.first(lanes))
    answer, first = timed(call)
    record = {"version": module.version(), "lanes": lanes, "first": first}
    if fitter == OURS:
        np.save(params_file, answer.params)
        agrees = bool(np.all(np.isfinite(answer.params)))
    else:
        error = difference(answer.params, np.load(params_file))
        agrees = error <= rival.tolerance
        record |= {"target": rival.target, "tolerance": rival.tolerance, "difference": error}
    return record | {"agrees": agrees}, call


def tell(found: dict | list[float]) -> None:
    print("\n" + MARK + json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("fitter")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--params-file", required=True)
    asked = parser.parse_args()
    record, call = meet(asked.row, asked.fitter, asked.scale, asked.params_file)
    tell(record)
    for _ in sys.stdin:
        tell(turn(call))


if __name__ == "__main__":
    main()
