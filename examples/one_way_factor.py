"""A factor of two thousand levels: its indicator columns are never formed.

Visits to the doctor of 400,000 people in 2,000 practices, a level for each practice. The dense
design would take 6.4 GB; known by its products it takes 45 MB, and every level has its estimate
and standard error.
"""

import time

import numpy as np

import jaxglm
from jaxglm import designs, families

N, LEVELS, SLOPES = 400_000, 2_000, np.array([0.3, -0.2])

random = np.random.default_rng(0)
practice = random.integers(0, LEVELS, N)
level = 0.5 + 0.3 * random.standard_normal(LEVELS)
X = random.standard_normal((N, 2)) + level[practice, None]  # practices differ in their people
y = random.poisson(np.exp(X @ SLOPES + level[practice])).astype(float)

design, names = designs.OneWay.from_labels(X, practice)
start = time.perf_counter()
fitted = jaxglm.fit(design, y, families.Poisson())
estimate, se = np.asarray(fitted.params), np.asarray(fitted.bse)
took = time.perf_counter() - start
status = jaxglm.Status(int(fitted.status))

inside = np.mean(np.abs(estimate[2:] - level) < 1.96 * se[2:])
print(f"{status.name}: {design.shape[1]:,} coefficients from {N:,} rows in {took:.1f} s")
print(f"slopes {estimate[:2].round(4)} (true {SLOPES}), standard errors {se[:2].round(4)}")
print(f"levels whose 95 % interval holds the truth: {inside:.1%}")

assert status == jaxglm.Status.converged
assert np.all(np.abs(estimate[:2] - SLOPES) < 4 * se[:2])
assert 0.93 < inside < 0.97
