"""Time rows of the report: `python -m benchmarks.run shared-logistic --peers statsmodels,glmax`.

Every fitter gets a process of its own, ours first. What is written to results/ROW.json is raw: the
seconds of every call, versions, machine. `all` runs every row and every limit.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmarks.limits import LIMITS
from benchmarks.measure import OURS
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


def launch(module: str, *arguments: str) -> dict:
    """The JSON object on the last line that `python -m module` prints, in float64."""
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": done.stderr[-HIDDEN_TAIL:]}
    return json.loads(done.stdout.splitlines()[-1])


def run_row(name: str, peers: list[str], scale: float, repeats: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        options = ["--scale", str(scale), "--repeats", str(repeats)]
        options += ["--params-file", os.path.join(folder, "params.npy")]
        fits = {}
        for fitter in [OURS, *peers]:
            fits[fitter] = launch("benchmarks.measure", name, fitter, *options)
            print(f"{name:20s} {fitter:14s} {brief(fits[fitter])}", flush=True)
            if "error" in fits[OURS]:
                break
    return {"title": ROWS[name].title, "scale": scale, "fits": fits}


def brief(record: dict) -> str:
    if "error" in record:
        return f"failed: {record['error'].strip().splitlines()[-1]}"
    apart = f"difference {record['difference']:.1e}, " if "difference" in record else ""
    timing = f"first {record['first']:.3g} s, warm {record['warm']}"
    return apart + (timing if record["agrees"] else "results differ, not timed")


def write(name: str, record: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record | {"machine": describe_machine()}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["all", *ROWS, *LIMITS], metavar="ROW")
    parser.add_argument("--peers", help="comma-separated; all of the row by default")
    parser.add_argument("--repeats", type=int, default=7)
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
