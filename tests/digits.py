"""How many digits float32 reaches, against float64 on the same rounded data.

`python tests/digits.py` prints the table of every family and link. Digits of coefficients are
-log10 of their distance in standard errors, of standard errors and deviance of the relative error;
the fewest of all data sets counts. Designs: as they are; with columns in units of 1e-6 and 1e6;
with columns whose mean is a hundred times their spread.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from cases import PAIRS, pair

from jaxglm import Status, fit

DESIGNS = ("plain", "units", "shifted")
MOST = 8.0  # more digits than float32 has


def designs_of(X):
    """The lanes' designs (L, n, p) in each of the `DESIGNS`, stacked."""
    p = X.shape[2]
    units = np.where(np.arange(p) % 2 == 0, 1e-6, 1e6)
    units[0] = 1.0
    spread = X.std(axis=1, keepdims=True)
    shifted = X + 100.0 * spread
    return np.concatenate([X, X * units, shifted])


def digits(got, wanted, scale):
    """-log10 of the largest error of each lane, at most `MOST`; 0 where there is no number."""
    error = np.abs(got - wanted) / scale
    error = error.reshape(len(error), -1).max(axis=1)
    found = -np.log10(np.where(np.isfinite(error), np.maximum(error, 10.0**-MOST), 1.0))
    return np.maximum(found, 0.0)


def measure(family, link):
    """{design: (digits of params, of bse, of the deviance, share of lanes that converged)}."""
    row, times = pair(family, link), len(DESIGNS)
    X = designs_of(row.X).astype(np.float32)
    copies = [row.family, row.y, row.arguments]
    rows = jax.tree.map(lambda v: np.concatenate([v] * times).astype(np.float32), copies)
    run = jax.jit(jax.vmap(lambda X, f, y, given: fit(X, y, f, **given)))
    found = {}
    for dtype in (jnp.float32, jnp.float64):
        given = jax.tree.map(lambda v, d=dtype: jnp.asarray(v, d), (X, *rows))
        fits = run(*given)
        fields = ("params", "bse", "deviance", "status")
        found[dtype] = {k: np.asarray(getattr(fits, k)) for k in fields}
    single, double = found[jnp.float32], found[jnp.float64]
    sound = (double["status"] == Status.converged) & (single["status"] == Status.converged)
    each = (
        digits(single["params"], double["params"], double["bse"]),
        digits(single["bse"], double["bse"], double["bse"]),
        digits(single["deviance"], double["deviance"], double["deviance"]),
    )
    lanes = len(row.X)
    parts = {name: slice(i * lanes, (i + 1) * lanes) for i, name in enumerate(DESIGNS)}
    return {
        name: (*(min(d[part][sound[part]], default=np.nan) for d in each), sound[part].mean())
        for name, part in parts.items()
    }


def main():
    """Print the table."""
    print("| family | link |", " | ".join(f"{d}: b, se, D, converged" for d in DESIGNS), "|")
    print("|---|---|" + "---|" * len(DESIGNS))
    for family, link in PAIRS:
        cells = measure(family, link)
        text = (f"{b:.1f}, {s:.1f}, {d:.1f}, {c:.0%}" for b, s, d, c in cells.values())
        print(f"| {family} | {link} |", " | ".join(text), "|")
        sys.stdout.flush()


if __name__ == "__main__":
    with jax.enable_x64(True):
        sys.exit(main())
