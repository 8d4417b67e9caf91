# %% [markdown]
# # The bootstrap of a Gamma regression
#
# Claim sizes with a heavy right tail: four kinds of bootstrap interval beside Wald's, from one
# batch of 10,000 refits over a shared design, with the definitions of R's boot.ci.
#
# Run by `python examples/bootstrap_gamma.py`.

# %%
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
boot = bootstrap(X, claims, gamma, key=1, reps=10_000)
limits = {kind: boot.interval(kind) for kind in ("percentile", "basic", "student", "bca")}
print(f"{time.perf_counter() - start:.1f} s, with compilation; {boot.tally()}")

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
