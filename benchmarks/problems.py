"""The seeded problems that are timed, the fitters each is given to, and the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np


@dataclass(frozen=True)
class Problem:
    """B lanes of one kind of model, as NumPy arrays.

    X (n, p), shared, or (B, n, p), stacked; y (B, n), or (n,) where `varying` (B, n) holds one
    more column of the design for each lane; offset (n,). family: "logistic", "poisson", "gamma"
    (log link) or "negative-binomial" (log link, one alpha per lane by maximum likelihood).
    """

    family: str
    X: np.ndarray
    y: np.ndarray
    varying: np.ndarray | None = None
    offset: np.ndarray | None = None

    @property
    def lanes(self) -> int:
        return len(self.y if self.varying is None else self.varying)

    def design(self, lane: int) -> np.ndarray:
        """The design (n, p) of one lane."""
        return self.X[lane] if self.X.ndim == 3 else self.X

    def first(self, lanes: int) -> Problem:
        """The same problem cut to its first lanes."""
        if self.varying is not None:
            return replace(self, varying=self.varying[:lanes])
        return replace(self, X=self.X[:lanes] if self.X.ndim == 3 else self.X, y=self.y[:lanes])


class Answer:
    """What a fitter gives back: coefficients (B, p), and seconds where it times itself."""

    def __init__(self, params: np.ndarray, seconds: float | None = None) -> None:
        self.params = np.asarray(params)
        self.seconds = seconds


@dataclass(frozen=True)
class Rival:
    """A fitter set to a problem.

    target: its time over ours, at least; None where it is for information. tolerance: on
    |coefficient - ours| / (1 + |ours|), over all lanes, before anything is timed. lanes: how many
    it fits, for the slow loops, whose time is then scaled per fit.
    """

    target: float | None = None
    tolerance: float = 1e-6
    lanes: int | None = None


@dataclass(frozen=True)
class Row:
    """A line of the report: a problem made at a scale of its size (1 is the size reported)."""

    title: str
    make: Callable[[float], Problem]
    rivals: dict[str, Rival] = field(default_factory=dict)


def responses(rng: np.random.Generator, family: str, eta: np.ndarray) -> np.ndarray:
    if family == "logistic":
        return (rng.random(eta.shape) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    if family == "poisson":
        return rng.poisson(np.exp(eta)).astype(float)
    return rng.gamma(2.0, np.exp(eta) / 2.0)


def covariates(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal columns after a column of ones."""
    X = rng.standard_normal(shape)
    X[..., 0] = 1.0
    return X


def shared(scale: float, family: str, lanes: int = 10_000, n: int = 200, p: int = 5) -> Problem:
    rng = np.random.default_rng(1)
    lanes = max(2, int(scale * lanes))
    X = covariates(rng, n, p)
    beta = 0.3 * rng.standard_normal((lanes, p))
    return Problem(family, X, responses(rng, family, beta @ X.T))


def stacked(scale: float, lanes: int = 1000, n: int = 1000, p: int = 10) -> Problem:
    rng = np.random.default_rng(2)
    lanes = max(2, int(scale * lanes))
    X = covariates(rng, lanes, n, p)
    beta = 0.3 * rng.standard_normal((lanes, p))
    return Problem("logistic", X, responses(rng, "logistic", np.einsum("bnp,bp->bn", X, beta)))


def scan(scale: float, dtype: type, variants: int = 20_000, n: int = 2000) -> Problem:
    """Genotypes 0, 1, 2 of minor-allele frequency 0.05 to 0.5, intercept and five covariates."""
    rng = np.random.default_rng(3)
    variants = max(2, int(scale * variants))
    X = covariates(rng, n, 6)
    frequency = rng.uniform(0.05, 0.5, (variants, 1))
    genotypes = rng.binomial(2, frequency, (variants, n))
    y = responses(rng, "logistic", X @ (0.3 * rng.standard_normal(6)))
    return Problem("logistic", X.astype(dtype), y.astype(dtype), genotypes.astype(dtype))


def expression(scale: float, genes: int = 20_000, n: int = 100) -> Problem:
    """Counts of genes over two groups and a batch, with size factors as offsets."""
    rng = np.random.default_rng(4)
    genes = max(2, int(scale * genes))
    X = np.stack([np.ones(n), np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
    offset = 0.2 * rng.standard_normal(n)
    level = rng.uniform(np.log(20.0), np.log(2000.0), genes)
    beta = np.column_stack([level, 0.5 * rng.standard_normal((genes, 2))])
    alpha = np.exp(rng.normal(np.log(0.2), 0.5, (genes, 1)))
    mu = np.exp(beta @ X.T + offset)
    y = rng.poisson(mu * rng.gamma(1.0 / alpha, alpha, mu.shape)).astype(float)
    return Problem("negative-binomial", X, y, offset=offset)


def single(scale: float, n: int = 1_000_000, p: int = 20) -> Problem:
    rng = np.random.default_rng(5)
    X = covariates(rng, int(scale * n), p)
    y = responses(rng, "logistic", X @ (0.3 * rng.standard_normal(p)))
    return Problem("logistic", X, y[None])


def shared_rivals(glmax: float, optimistix: float, r_tolerance: float = 1e-6) -> dict[str, Rival]:
    """The fitters of a shared design, most of them one lane at a time."""
    return {
        "statsmodels": Rival(400, lanes=500),
        "r_glm": Rival(200, tolerance=r_tolerance, lanes=2000),
        "scikit_learn": Rival(lanes=500),
        "glum": Rival(lanes=200),
        "glmax": Rival(glmax),
        "optimistix": Rival(optimistix),
        "nemos": Rival(lanes=1000),
    }


ROWS = {
    "shared-logistic": Row(
        "Logistic, shared X, B = 10,000, n = 200, p = 5",
        partial(shared, family="logistic"),
        shared_rivals(glmax=15, optimistix=10),
    ),
    "shared-poisson": Row(
        "Poisson-log, shared X, B = 10,000, n = 200, p = 5",
        partial(shared, family="poisson"),
        shared_rivals(glmax=8, optimistix=3),
    ),
    "shared-gamma": Row(
        "Gamma-log, shared X, B = 10,000, n = 200, p = 5",
        partial(shared, family="gamma"),
        # R's default stop leaves four digits where the link is not canonical.
        shared_rivals(glmax=8, optimistix=3, r_tolerance=1e-4),
    ),
    "stacked-logistic": Row(
        "Logistic, stacked X, B = 1000, n = 1000, p = 10",
        stacked,
        {"glmax": Rival(4), "optimistix": Rival(3), "statsmodels": Rival(lanes=100)},
    ),
    "scan-float32": Row(
        "Logistic scan, 20,000 variants, n = 2000, p = 7, float32",
        partial(scan, dtype=np.float32),
        {"plink2": Rival(5, tolerance=1e-5)},
    ),
    "scan-float64": Row(
        "Logistic scan, 20,000 variants, n = 2000, p = 7",
        partial(scan, dtype=np.float64),
        {"plink2": Rival(2, tolerance=1e-5)},
    ),
    "negative-binomial": Row(
        "Negative binomial, 20,000 genes, n = 100, p = 3, alpha by ML",
        expression,
        {"glmgampoi": Rival(5, tolerance=1e-3), "pydeseq2": Rival(10, tolerance=2e-2)},
    ),
    "single-logistic": Row(
        "One logistic fit, n = 1,000,000, p = 20",
        single,
        {
            "glum": Rival(20, tolerance=1e-8),
            "scikit_learn": Rival(4, tolerance=1e-8),
            "textbook": Rival(2, tolerance=1e-8),
        },
    ),
}
