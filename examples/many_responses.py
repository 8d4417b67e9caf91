# %% [markdown]
# # Many responses, one design
#
# Fifty neurons watch the same stimulus: one design, a Poisson regression of each neuron's counts
# on it. Then a permutation test of every neuron: thousands more fits of the same kind, in one call.
#
# Run by `python examples/many_responses.py`.

# %%
import numpy as np

from jaxglm import families, fit_many
from jaxglm.lanes import adjusted, pvalues

rng = np.random.default_rng(50)
n, neurons = 300, 50
stimulus = rng.normal(size=n)
X = np.column_stack([np.ones(n), stimulus, np.sin(2 * np.pi * np.arange(n) / n)])

# %% [markdown]
# Half of the neurons follow the stimulus, all of them drift; neuron 7 was never heard.

# %%
beta = np.column_stack(
    [
        rng.normal(0.5, 0.3, size=neurons),
        np.where(np.arange(neurons) % 2 == 0, 0.3, 0.0),
        rng.normal(0.0, 0.2, size=neurons),
    ]
)
counts = rng.poisson(np.exp(beta @ X.T)).astype(float)
counts[7] = 0.0

fits = fit_many(X, counts, families.Poisson())
print(fits.tally(), "not fitted:", fits.failed)
assert list(fits.failed) == [7]

# %% [markdown]
# ## Which neurons follow the stimulus?
#
# One p-value a neuron, adjusted for their number. A lane that failed is no test.

# %%
q = np.asarray(adjusted(fits, "bh"))[:, 1]
found = np.flatnonzero(q < 0.05)
print(f"{found.size} neurons at a false discovery rate of 5 %")
follows = np.flatnonzero(beta[:, 1] != 0)
assert np.isnan(q[7]) and set(follows) <= set(found)
assert len(set(found) - set(follows)) <= 0.2 * found.size

# %% [markdown]
# ## The same by permutation
#
# The standard errors above trust the Poisson variance. A permutation of the counts does not: the
# odd neurons' Wald statistics should look like those of permuted counts. 200 permutations of 20
# neurons are 4,000 fits. The neurons drift little, so we let the drift be permuted with the rest.

# %%
quiet = [i for i in range(1, neurons, 2) if i != 7][:20]
order = np.argsort(rng.uniform(size=(200, n)), axis=1)
shuffled = counts[quiet][:, order].reshape(-1, n)
null = fit_many(X[:, :2], shuffled, families.Poisson())
z = np.abs(np.asarray(null.params / null.bse))[:, 1].reshape(len(quiet), 200)
simple = fit_many(X[:, :2], counts[quiet], families.Poisson())
observed = np.abs(np.asarray(simple.params / simple.bse))[:, 1]
by_permutation = (1 + np.sum(z >= observed[:, None], axis=1)) / 201
by_wald = np.asarray(pvalues(simple))[:, 1]
print("p by permutation:", by_permutation.round(2))
print("p by Wald:       ", by_wald.round(2))
assert null.converged.all()
assert np.max(np.abs(by_permutation - by_wald)) < 0.2
