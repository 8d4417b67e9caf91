# %% [markdown]
# # The level of a test of counts
#
# Negative binomial counts in two small groups without a difference between them. A Wald test that
# takes the estimated dispersion for the truth rejects too often; how much of that does the Cox-Reid
# adjustment of the dispersion mend?
#
# Run by `python examples/negative_binomial_level.py`, with the number of replicates after it for
# other than 50,000.

# %%
import importlib.util
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families
from jaxglm.simulate import Analysis, Estimand, Sample, Study, draw_response

REPS = int(sys.argv[1]) if sys.argv[1:] else 50_000
ALPHA, LARGEST = 0.4, 64


def design(key, cell):
    # Rows beyond n have weight 0, hence are gone: both sizes have one shape, and n being a traced
    # number they compile once.
    row = jnp.arange(LARGEST)
    confounders = jax.random.normal(key, (LARGEST, 2))
    X = jnp.column_stack([jnp.ones(LARGEST), row % 2, confounders])
    return Sample(X, freq_weights=jnp.where(row < cell["n"], 1.0, 0.0))


def response(key, sample, cell):
    return draw_response(key, sample, families.NegativeBinomial(alpha=ALPHA), [2.0, 0.0, 0.3, 0.0])


study = Study(
    factors={"n": [16, LARGEST]},
    design=design,
    response=response,
    analyses={
        "known": Analysis(families.NegativeBinomial(alpha=ALPHA)),
        "ml": Analysis(families.NegativeBinomial(alpha=None)),
        "cox_reid": Analysis(families.NegativeBinomial(alpha=None, cox_reid=True)),
    },
    estimands={"difference": Estimand(1, lambda cell: 0.0)},
    reps=REPS,
    fixed_design=True,
    chunk=5_000,
    traced=("n",),
)
start = time.perf_counter()
results = study.run(jax.random.key(11))
took = time.perf_counter() - start
print(f"{6 * REPS:,} fits in {took:.1f} s, with compilation")

# %% [markdown]
# A nominal 5 % of 16 observations is more than twice that; the adjustment mends more than half of
# the excess. A fit whose dispersion is estimated as 0 is a Poisson fit; its status says `boundary`,
# and it counts.

# %%
level = {}
for i, cell in enumerate(study.cells):
    for name in study.analyses:
        found = results.performance(name, i, "difference")["rejection"]
        level[cell["n"], name] = found
        print(
            f"n = {cell['n']:3d}  alpha {name:9s} type I error {found.value:.3f} "
            f"(Monte Carlo {found.mcse:.3f})  {results.tally()[name][i]}"
        )

# %%
assert level[16, "ml"].value > 0.05 + 4 * level[16, "ml"].mcse
assert level[16, "cox_reid"].value < level[16, "ml"].value
assert abs(level[64, "cox_reid"].value - 0.05) < 0.03
assert all(one.n_used > 0.97 * study.reps for one in level.values())

# %% [markdown]
# ## The same in a loop
#
# statsmodels estimates the dispersion by maximum likelihood too, without the adjustment: two of the
# three analyses. Some replicates of the loop are timed, where it is installed.

# %%
if importlib.util.find_spec("statsmodels"):
    import statsmodels.api as sm

    rng, part, start = np.random.default_rng(1), 50, time.perf_counter()
    for cell in study.cells:
        n = cell["n"]
        X = np.column_stack([np.ones(n), np.arange(n) % 2, rng.normal(size=(n, 2))])
        mean = np.exp(X @ [2.0, 0.0, 0.3, 0.0])
        for y in rng.negative_binomial(1 / ALPHA, 1 / (1 + ALPHA * mean), (part, n)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sm.GLM(y, X, sm.families.NegativeBinomial(alpha=ALPHA)).fit()
                sm.NegativeBinomial(y, X).fit(disp=0)
    loop = (time.perf_counter() - start) / part * REPS
    times = f"{loop:.0f} s for all, {loop / took:.1f} times as long"
    print(f"statsmodels, by the time of {part} replicates: {times}")
else:
    print("statsmodels is not installed: nothing to compare with")
