"""Running an R script on arrays: they go over as binary files, the seconds come from inside R."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.problems import Answer, Problem


def r_version(package: str) -> str:
    code = f'cat(paste0("R ", getRversion(), ", {package} ", packageVersion("{package}")))'
    found = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def prepare_script(script: str, problem: Problem) -> Callable[[], Answer]:
    """A call that runs peers/`script` with (folder, family, lanes, n, p) for a shared design."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name)
    n, p = problem.X.shape
    np.asfortranarray(problem.X).ravel("F").tofile(path / "X")
    problem.y.tofile(path / "y")
    (np.zeros(n) if problem.offset is None else problem.offset).tofile(path / "offset")
    sizes = [str(problem.lanes), str(n), str(p)]
    command = ["Rscript", str(Path(__file__).with_name(script)), str(path), problem.family, *sizes]

    def run() -> Answer:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder.name)
        params = np.fromfile(path / "params").reshape(problem.lanes, p)
        return Answer(params, float(np.fromfile(path / "seconds")[0]))

    return run
