# %% [markdown]
# # Quickstart: one GLM, ten thousand, and the derivative of one
#
# A summary as statsmodels prints it, of a data set that its documentation knows; ten thousand
# logistic regressions in one call, beside a loop over the single fit; and how a coefficient moves
# with the weight of a row, by the implicit function theorem and by a finite difference.
#
# Run by `./run quickstart`.

# %%
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxglm
from jaxglm import datasets, families

# %% [markdown]
# ## One model
#
# The vote for a Scottish parliament with taxation powers in 32 districts (Gill 2000): Gamma with
# the inverse link, its canonical one. The figures are those that the statsmodels documentation
# prints, but for one: its Cox-Snell pseudo R-squared, 0.9800, compares the model with a null model
# at the full model's scale. Here the null model has its own scale, which gives 0.8317.

# %%
scotland = datasets.scotland().with_constant()
model = jaxglm.GLM(scotland.response, scotland.design, families.Gamma())
results = model.fit()
print(results.summary())

null_at_full_scale = results.llf_scaled() + (results.deviance - results.null_deviance) / (
    2 * results.scale
)
their_r2 = 1 - np.exp(2 * (null_at_full_scale - results.llf) / results.nobs)
print(f"\nPseudo R-squ. (CS) with the full model's scale in both: {their_r2:.4f}")
assert round(their_r2, 4) == 0.9800
assert round(results.scale, 7) == 0.0035843
assert round(results.llf, 3) == -83.017

# %% [markdown]
# ## Ten thousand models
#
# One design, ten thousand binary responses, a logistic regression for each, in one call.

# %%
rng = np.random.default_rng(2000)
X = np.column_stack([np.ones(200), rng.normal(size=(200, 4))])
beta = 0.5 * rng.normal(size=(10_000, 5))
Y = (rng.uniform(size=(10_000, 200)) < 1 / (1 + np.exp(-beta @ X.T))).astype(float)

start = time.perf_counter()
fits = jaxglm.fit_many(X, Y, families.Binomial())
first = time.perf_counter() - start
start = time.perf_counter()
fits = jax.block_until_ready(jaxglm.fit_many(X, Y, families.Binomial()))
batch = time.perf_counter() - start

with jax.enable_x64(True):
    jaxglm.fit(X, Y[0], families.Binomial())
    start = time.perf_counter()
    loop = [jaxglm.fit(X, y, families.Binomial()) for y in Y[:200]]
    one_by_one = (time.perf_counter() - start) / 200 * len(Y)

gap = max(float(np.max(np.abs(f.params - g))) for f, g in zip(loop, fits.params, strict=False))
print(f"\n10,000 logistic regressions: {len(Y) / batch:,.0f} fits per second warm")
print(f"first call, compiling: {first:.1f} s")
print(f"in one call {batch:.3f} s; a loop over the single fit {one_by_one:.1f} s (200 timed)")
print(f"largest difference of a coefficient: {gap:.1e}; {fits.tally()}")
assert gap < 1e-10

# %% [markdown]
# ## The derivative of a fit
#
# How does the coefficient of COUTAX move with the weight of the first district?

# %%
with jax.enable_x64(True):
    columns, votes = jnp.asarray(scotland.exog), jnp.asarray(scotland.endog)

    def coutax(first_weight):
        weights = jnp.ones(32).at[0].set(first_weight)
        return jaxglm.fit(columns, votes, families.Gamma(), var_weights=weights).params[1]

    exact = float(jax.grad(coutax)(1.0))
    step = 1e-4
    difference = float((coutax(1 + step) - coutax(1 - step)) / (2 * step))
print(f"\nd COUTAX / d weight of district 1: {exact:.10e} by the implicit function theorem")
print(f"                                   {difference:.10e} by a finite difference")
assert abs(exact - difference) < 1e-6 * abs(exact)
