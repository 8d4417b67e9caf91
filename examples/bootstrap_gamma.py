# %% [markdown]
# # The bootstrap of a Gamma regression
#
# Claim sizes with a heavy right tail: four kinds of bootstrap interval beside Wald's, from one
# batch of 100,000 refits over a shared design, with the definitions of R's boot.ci.
#
# Run by `python examples/bootstrap_gamma.py`.

# %%
import importlib.util
import time

import numpy as np

import jaxglm
from jaxglm import families, links
from jaxglm.resample import bootstrap, jackknife

rng = np.random.default_rng(8)
n = 120
age, urban = rng.uniform(0.0, 1.0, n), rng.integers(0, 2, n)
X = np.column_stack([np.ones(n), age, urban])
claims = np.exp(X @ [1.0, -1.0, 0.5]) * rng.gamma(0.8, 1 / 0.8, n)
gamma = families.Gamma(links.Log())

# %%
start = time.perf_counter()
boot = bootstrap(X, claims, gamma, key=1, reps=100_000)
limits = {kind: boot.interval(kind) for kind in ("percentile", "basic", "student", "bca")}
took = time.perf_counter() - start
print(f"{took:.1f} s, with compilation; {boot.tally()}")

wald = np.asarray(jaxglm.GLM(claims, X, gamma).fit().conf_int())
for name, one in {"wald": wald, **limits}.items():
    print(f"{name:>10}: age {one[1].round(3)}  urban {one[2].round(3)}")

# %% [markdown]
# The sandwich, the jackknife and the bootstrap estimate the same variance: none assumes that the
# shape of the Gamma is the same everywhere.

# %%
jack = jackknife(X, claims, gamma)
print("standard errors:", boot.se.round(3), jack.se.round(3), boot.estimate_bse.round(3))
assert np.max(np.abs(boot.se / jack.se - 1.0)) < 0.15
assert all(
    np.all((one[:, 0] < boot.estimate) & (boot.estimate < one[:, 1])) for one in limits.values()
)
width = {name: np.diff(one, axis=1)[:, 0] for name, one in limits.items()}
assert np.max(np.abs(width["bca"] / width["percentile"] - 1.0)) < 0.2

# %% [markdown]
# ## The same in a loop
#
# Some refits of the loop that statsmodels needs are timed, where it is installed.

# %%
if importlib.util.find_spec("statsmodels"):
    import statsmodels.api as sm

    part, family = 200, sm.families.Gamma(sm.families.links.Log())
    start = time.perf_counter()
    for rows in rng.integers(0, n, (part, n)):
        sm.GLM(claims[rows], X[rows], family).fit()
    loop = (time.perf_counter() - start) / part * len(boot.replicates)
    times = f"{loop:.0f} s for all, {loop / took:.1f} times as long"
    print(f"statsmodels, by the time of {part} refits: {times}")
else:
    print("statsmodels is not installed: nothing to compare with")
