# %% [markdown]
# # Differential expression: a negative binomial for every gene
#
# Counts of 1,000 genes in 24 samples, twelve treated and twelve not, in two batches. Each gene has
# its own overdispersion alpha, estimated with its coefficients; sequencing depth is an offset.
#
# Run by `python examples/gene_expression.py`.

# %%
import numpy as np

from jaxglm import Status, families, fit_many
from jaxglm.lanes import adjusted, has_inference

rng = np.random.default_rng(6)
samples, genes = 24, 1_000
treated = np.repeat([0.0, 1.0], 12)
batch = np.tile([0.0, 1.0], 12)
X = np.column_stack([np.ones(samples), treated, batch])

changed = np.arange(genes) < 100
beta = np.column_stack(
    [
        rng.uniform(2.5, 6.0, size=genes),
        np.where(changed, rng.choice([-1.5, 1.5], size=genes), 0.0),
        rng.normal(0.0, 0.2, size=genes),
    ]
)
alpha = rng.uniform(0.05, 0.4, size=genes)
depth = rng.uniform(0.6, 1.6, size=samples)
mu = np.exp(beta @ X.T) * depth
counts = rng.poisson(mu * rng.gamma(1 / alpha[:, None], alpha[:, None], size=mu.shape))

# %% [markdown]
# ## Size factors
#
# A sample's depth is the median, over genes, of its counts relative to the gene's geometric mean
# (Anders & Huber 2010). It is known up to a factor, which the intercepts take up.

# %%
positive = counts[(counts > 0).all(axis=1)]
log_ratios = np.log(positive) - np.log(positive).mean(axis=1, keepdims=True)
size = np.exp(np.median(log_ratios, axis=0))
assert np.corrcoef(size, depth)[0, 1] > 0.98

# %% [markdown]
# ## All genes
#
# `alpha=None` has alpha estimated by maximum likelihood, `cox_reid=True` adjusts it for the three
# coefficients that are estimated with it: with 24 samples that is a good part of its bias. A gene
# without overdispersion ends at alpha = 0, with status `boundary`; it is a Poisson fit and can be
# tested.

# %%
family = families.NegativeBinomial(alpha=None, cox_reid=True)
fits = fit_many(X, counts.astype(float), family, offset=np.log(size))
print(fits.tally())
sound = np.asarray(has_inference(fits))
assert sound.mean() > 0.99
ratio = np.median(np.asarray(fits.family.alpha)[sound] / alpha[sound])
print(f"median of alpha / true alpha: {ratio:.2f}")
assert 0.85 < ratio < 1.1

# %%
q = np.asarray(adjusted(fits, "bh"))[:, 1]
found = q < 0.05
false = np.mean(~changed[found])
print(f"{found.sum()} genes at a false discovery rate of 5 %, {false:.1%} of them unchanged;")
print(f"{np.mean(found[changed]):.1%} of the changed genes are among them")
assert np.mean(found[changed]) > 0.9 and false < 0.15
assert not np.isin(np.asarray(fits.status)[found], [Status.singular, Status.invalid_data]).any()
