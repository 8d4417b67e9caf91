"""Time rows of the report: `python -m benchmarks.run shared-logistic --peers statsmodels,glmax`.

Every fitter gets a process of its own, ours first. Once all have made their first call they take
turns, so that whatever else the machine does falls upon all. results/ROW.json is raw: the
seconds of every call, versions, machine. `all` runs every row and every limit.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.limits import LIMITS
from benchmarks.measure import MARK, OURS
from benchmarks.problems import ROWS

RESULTS = Path(__file__).with_name("results")
HIDDEN_TAIL = 2000


def describe_machine() -> dict:
    """What the timings depend on besides the programs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }


def environment() -> dict[str, str]:
    return os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}


def launch(module: str, *arguments: str) -> dict:
    """The JSON object on the last line that `python -m module` prints, in float64."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        return {"error": done.stderr[-HIDDEN_TAIL:]}
    return json.loads(done.stdout.splitlines()[-1])


class Fitter(contextlib.AbstractContextManager):
    """A process that has made its first call, of which `record` tells, and waits for its turns."""

    def __init__(self, row: str, name: str, options: list[str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-m", "benchmarks.measure", row, name, *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment()
        )
        self.record = self.listen()
        self.record.setdefault("warm", [])

    def listen(self) -> Any:
        """What the process tells next, or how it ended."""
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        self.errors.seek(0)
        return {"error": self.errors.read()[-HIDDEN_TAIL:]}

    def take_turn(self) -> None:
        if self.record.get("agrees") and "error" not in self.record:
            print(file=self.process.stdin, flush=True)
            found = self.listen()
            if isinstance(found, dict):
                self.record |= found
            else:
                self.record["warm"] += found

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def run_row(name: str, peers: list[str], scale: float, repeats: int) -> dict:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        options = ["--scale", str(scale), "--params-file", os.path.join(folder, "params.npy")]
        fitters: dict[str, Fitter] = {}
        for fitter in [OURS, *peers]:
            fitters[fitter] = stack.enter_context(Fitter(name, fitter, options))
            if "error" in fitters[OURS].record:
                break
        for _ in range(repeats):
            for fitter in fitters.values():
                fitter.take_turn()
        fits = {fitter: each.record for fitter, each in fitters.items()}
    for fitter, record in fits.items():
        print(f"{name:20s} {fitter:14s} {brief(record)}", flush=True)
    return {"title": ROWS[name].title, "scale": scale, "fits": fits}


def brief(record: dict) -> str:
    if "error" in record:
        return f"failed: {record['error'].strip().splitlines()[-1]}"
    apart = f"difference {record['difference']:.1e}, " if "difference" in record else ""
    if not record["agrees"]:
        return apart + "results differ, not timed"
    warm = sorted(record["warm"])
    spread = f"median {median(warm):.4g} s of {len(warm)} from {warm[0]:.4g} to {warm[-1]:.4g}"
    return apart + f"first {record['first']:.3g} s, " + spread


def write(name: str, record: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record | {"machine": describe_machine()}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["all", *ROWS, *LIMITS], metavar="ROW")
    parser.add_argument("--peers", help="comma-separated; all of the row by default")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every fitter")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the row's size")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.scale != 1.0 and asked.out == RESULTS:
        parser.error("--scale is for rehearsals: give --out a folder other than results")
    names = [*ROWS, *LIMITS] if "all" in asked.names else asked.names
    for name in names:
        if name in LIMITS:
            record = launch("benchmarks.limits", name, "--scale", str(asked.scale))
            print(f"{name:20s} {record}", flush=True)
        else:
            peers = asked.peers.split(",") if asked.peers else list(ROWS[name].rivals)
            record = run_row(name, peers, asked.scale, asked.repeats)
        write(name, record, asked.out)


if __name__ == "__main__":
    main()
