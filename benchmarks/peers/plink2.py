"""PLINK 2: `--glm no-firth` on a .bed file; the wall time less that of a run with ten variants.

Two threads, single precision inside, six digits in its output: only the variant's own coefficient
is printed and compared. What remains in the time besides the fits is reading genotypes of two bits
and writing one line a variant.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.problems import Answer, Problem

# Two bits for 0, 1, 2 copies of the counted allele.
CODES = np.array([0b11, 0b10, 0b00], np.uint8)


def version() -> str:
    found = subprocess.run(["plink2", "--version"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def write_genotypes(stem: Path, genotypes: np.ndarray) -> None:
    """The .bed, .bim and .fam files of genotypes (variants, samples)."""
    variants, n = genotypes.shape
    padded = np.zeros((variants, -(-n // 4) * 4), np.uint8)
    padded[:, :n] = CODES[genotypes.astype(int)]
    packed = sum(padded[:, k::4] << (2 * k) for k in range(4)).astype(np.uint8)
    magic = bytes([0x6C, 0x1B, 0x01])
    stem.with_suffix(".bed").write_bytes(magic + packed.tobytes())
    lines = [f"1\tv{i}\t0\t{i + 1}\tA\tG\n" for i in range(variants)]
    stem.with_suffix(".bim").write_text("".join(lines))
    stem.with_suffix(".fam").write_text("".join(f"0 s{i} 0 0 0 -9\n" for i in range(n)))


def write_samples(path: Path, problem: Problem) -> None:
    """The phenotype (1 control, 2 case) and the covariates but the intercept."""
    names = [f"s{i}" for i in range(len(problem.y))]
    frame = pd.DataFrame(problem.X[:, 1:]).add_prefix("c")
    frame.insert(0, "#IID", names)
    frame.to_csv(path / "covariates", sep="\t", index=False)
    phenotype = pd.DataFrame({"#IID": names, "y": problem.y.astype(int) + 1})
    phenotype.to_csv(path / "phenotype", sep="\t", index=False)


def prepare(problem: Problem) -> Callable[[], Answer]:
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name)
    write_samples(path, problem)
    write_genotypes(path / "all", problem.varying)
    write_genotypes(path / "few", problem.varying[:10])

    def timed(stem: str) -> float:
        start = time.perf_counter()
        scan(Path(folder.name), stem)
        return time.perf_counter() - start

    def run() -> Answer:
        seconds = timed("all") - timed("few")
        table = pd.read_csv(path / "all.y.glm.logistic", sep="\t")
        return Answer(table["BETA"].to_numpy()[:, None], seconds)

    return run


def scan(path: Path, stem: str) -> None:
    files = ["--bfile", stem, "--pheno", "phenotype", "--covar", "covariates", "--out", stem]
    report = ["--glm", "no-firth", "hide-covar", "omit-ref", "cols=beta,se,tz,p"]
    machine = ["--threads", str(os.cpu_count())]
    subprocess.run(
        ["plink2", *files, *report, *machine], cwd=path, check=True, stdout=subprocess.DEVNULL
    )
