# %% [markdown]
# # A model for each group
#
# Sales of two hundred stores, each with its own number of days and its own answer to price. One
# call fits a Gamma regression to every store; no loop, no padding by hand. Of a data frame,
# `jaxglm.glm("sales ~ log_price + weekend", data, family=..., by="store")` does the same.
#
# Run by `python examples/groups.py`; the last table needs pandas (extra `frames`).

# %%
import jax
import numpy as np

from jaxglm import Status, families, fit, links
from jaxglm.lanes import fit_groups, to_frame

rng = np.random.default_rng(12)
stores = np.array([f"store {i:03d}" for i in range(200)])
days = rng.integers(20, 120, size=200)
days[17] = 2
store = np.repeat(stores, days)
n = store.size

log_price = rng.normal(0.0, 0.3, size=n)
weekend = (rng.uniform(size=n) < 2 / 7).astype(float)
X = np.column_stack([np.ones(n), log_price, weekend])
elasticity = rng.normal(-1.2, 0.4, size=200)
eta = 3.0 + np.repeat(elasticity, days) * log_price + 0.4 * weekend
sales = rng.gamma(8.0, np.exp(eta) / 8.0)

# %% [markdown]
# Rows may come in any order. Store 17 was open for two days, fewer than there are coefficients;
# store 40 has a broken till. Each fails alone.

# %%
sales[np.flatnonzero(store == stores[40])[3]] = np.nan
order = rng.permutation(n)
family = families.Gamma(links.Log())
labels, fits = fit_groups(X[order], sales[order], store[order], family)
print(fits.tally())
assert Status(int(fits.status[17])).name == "singular"
assert Status(int(fits.status[40])).name == "invalid_data"
assert list(fits.failed) == [17, 40]

# %% [markdown]
# A lane is what a fit of that store alone would be.

# %%
mine = store == stores[5]
with jax.enable_x64(True):
    alone = fit(X[mine], sales[mine], family)
    assert np.allclose(fits.params[5], alone.params, rtol=1e-9)
    assert np.allclose(fits.bse[5], alone.bse, rtol=1e-9)

# %% [markdown]
# The elasticities are spread about -1.2. Their estimates are spread more widely, by the standard
# errors: a moment estimate takes that part away.

# %%
sound = np.asarray(fits.converged)
estimate, se = np.asarray(fits.params)[sound, 1], np.asarray(fits.bse)[sound, 1]
spread = np.sqrt(np.var(estimate, ddof=1) - np.mean(se**2))
print(f"elasticity: mean {estimate.mean():.3f}, spread {spread:.3f} (true -1.2, 0.4)")
assert abs(estimate.mean() + 1.2) < 0.1
assert abs(spread - 0.4) < 0.1

# %%
table = to_frame(fits, ["const", "log price", "weekend"], labels, use_t=True)
print(table.head(6).to_string(index=False))
assert len(table) == 600
