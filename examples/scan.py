# %% [markdown]
# # A scan: one column after another beside the same covariates
#
# Two thousand variants, coded 0, 1, 2, of 800 people, half of them cases; each variant is tested in
# a logistic regression beside age, sex and two principal components.
#
# Run by `python examples/scan.py`.

# %%
import numpy as np

from jaxglm import Status
from jaxglm.lanes import adjusted
from jaxglm.scans import scan

rng = np.random.default_rng(29)
n, variants = 800, 2_000
covariates = np.column_stack(
    [
        np.ones(n),
        rng.normal(size=n),
        rng.integers(0, 2, size=n),
        rng.normal(size=(n, 2)),
    ]
)
frequency = rng.uniform(0.05, 0.5, size=variants)
dosage = rng.binomial(2, frequency[:, None], size=(variants, n)).astype(np.int8)

# %% [markdown]
# Five variants matter. Variant 100 is carried by ten people, all of them cases; variant 101 is
# carried by nobody.

# %%
causal = np.array([11, 400, 801, 1200, 1900])
dosage[causal] = rng.binomial(2, 0.35, size=(5, n))
eta = covariates @ [-2.45, 0.3, 0.2, 0.1, 0.0] + 0.7 * dosage[causal].sum(axis=0)
case = (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float)
dosage[[100, 101]] = 0
dosage[100, np.flatnonzero(case)[:10]] = 1

# %% [markdown]
# ## Wald
#
# Every variant gets its own fit. Variant 100 has no finite estimate: with `fallback="firth"` it is
# fitted again under Jeffreys' prior. Variant 101 cannot be told from nothing, and is `singular`.

# %%
wald = scan(covariates, dosage, case, fallback="firth")
print("refitted:", np.flatnonzero(wald.refitted))
assert list(np.flatnonzero(wald.refitted)) == [100] and np.isfinite(wald.estimate[100])
assert int(wald.status[101]) == Status.singular and np.isnan(wald.pvalue[101])

hits = np.flatnonzero(np.asarray(adjusted(wald.pvalue, "bonferroni")) < 0.05)
print("hits:", hits, "estimates:", np.asarray(wald.estimate)[hits].round(2))
assert set(hits) <= set(causal) and hits.size >= 4, hits

# %% [markdown]
# ## Score
#
# Rao's test fits the covariates alone, once; each variant costs two products. It gives the same
# answer for small effects, and a finite one for variant 100.

# %%
score = scan(covariates, dosage, case, test="score")
plain = np.flatnonzero(np.asarray(wald.status) == Status.converged)
plain = np.setdiff1d(plain, [100])
gap = np.abs(np.asarray(wald.z) - np.asarray(score.z))[plain]
print(f"largest difference of z: {gap.max():.3f}; variant 100: p = {score.pvalue[100]:.2g}")
assert gap.max() < 0.5 and np.isfinite(score.pvalue[100])

# %% [markdown]
# Under the null hypothesis p-values are uniform: their median is one half.

# %%
rest = np.setdiff1d(plain, causal)
inflation = np.median(np.asarray(score.statistic)[rest]) / 0.4549364
print(f"genomic inflation: {inflation:.3f}")
assert abs(inflation - 1) < 0.15
