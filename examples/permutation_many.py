# %% [markdown]
# # A permutation test of many responses
#
# A thousand responses of 60 people in two arms, adjusted for age; the responses depend on each
# other. Potter's test permutes the part of the arm that age does not explain; the same permutations
# serve all responses, so that the largest statistic of each gives the adjusted p-values.
#
# Run by `python examples/permutation_many.py`; with `10000` after it for so many responses and five
# million fits, which took 27 seconds on two cores and found the same four.

# %%
import importlib.util
import sys
import time

import numpy as np

from jaxglm import families
from jaxglm.resample import permutation_test

RESPONSES = int(sys.argv[1]) if sys.argv[1:] else 1_000
rng = np.random.default_rng(3)
n, m = 60, RESPONSES
age, arm = rng.normal(size=n), np.arange(n) % 2
X = np.column_stack([np.ones(n), age, arm])
shared = rng.normal(size=n)
effect = np.zeros(m)
effect[:4] = 0.9
eta = 1.0 + 0.3 * age + effect[:, None] * arm + 0.3 * shared
counts = rng.poisson(np.exp(eta)).astype(float)

# %%
start = time.perf_counter()
test = permutation_test(X, counts, families.Poisson(), 2, key=7, reps=499, method="regressor")
took = time.perf_counter() - start
print(f"{test.null.size:,} fits in {took:.1f} s, with compilation; {test.tally()}")

# %% [markdown]
# Overdispersion makes Wald's p-values too small. Those of permutations are right whatever the
# variance; adjusted for all the responses they find the four that react to the arm.

# %%
found = np.flatnonzero(test.adjusted < 0.05)
print("found:", found, "with adjusted p-values", test.adjusted[found])
quiet = test.pvalue[4:]
print(f"share of p < 0.05 among the others: {np.mean(quiet < 0.05):.3f}")
assert set(found) == set(range(4))
assert np.all(test.adjusted >= test.pvalue)

# %% [markdown]
# ## The same in a loop
#
# Some refits of the loop that statsmodels needs are timed, where it is installed.

# %%
if importlib.util.find_spec("statsmodels"):
    import statsmodels.api as sm

    part, start = 200, time.perf_counter()
    for y in counts[:part]:
        sm.GLM(y, X[rng.permutation(n)], sm.families.Poisson()).fit()
    loop = (time.perf_counter() - start) / part * test.null.size
    times = f"{loop:.0f} s for all, {loop / took:.1f} times as long"
    print(f"statsmodels, by the time of {part} fits: {times}")
else:
    print("statsmodels is not installed: nothing to compare with")
