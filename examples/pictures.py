# %% [markdown]
# # Pictures
#
# `jaxglm.interfaces.plots` draws with matplotlib (extra `plots`): axes in, axes out. What a picture
# cannot draw, a fit that failed or a row of weight 0, its title counts.
#
# Run by `python examples/pictures.py`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxglm import GLM, datasets, families, fit_many
from jaxglm.interfaces import plots
from jaxglm.lanes import pvalues
from jaxglm.resample import cross_validate
from jaxglm.simulate import Analysis, Estimand, Sample, Study, draw_response, find_power


def pair():
    """Axes for two pictures side by side."""
    return plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")[1]


# %% [markdown]
# ## One fit: days absent from school
#
# A Poisson model of counts that vary more than it allows. The four pictures of R's `plot.glm` show
# standardised residuals as large as 10.

# %%
quine = datasets.quine().with_constant()
poisson = GLM(quine.response, quine.design, families.Poisson()).fit()
plots.diagnostic_plots(poisson)

# %% [markdown]
# Quantile residuals are normal under a right model: here they leave the envelope of simulated
# refits at nearly every point. Beside them the way of the fit, pass by pass.

# %%
left, right = pair()
plots.quantile_residual_qq(poisson, key=0, envelope=39, ax=left)
plots.fit_trace(poisson, ax=right)
print(left.get_title(loc="left"))
assert "143 of 146 points outside" in left.get_title(loc="left")

# %% [markdown]
# Rate ratios with the limits of the model, with those that do not trust its variance, and those of
# a negative binomial model.

# %%
negative = GLM(quine.response, quine.design, families.NegativeBinomial(alpha=None)).fit()
fits = {"Poisson": poisson, "with HC3": poisson.with_covariance("HC3"), "neg. binomial": negative}
plots.coefficient_forest(fits, exponentiate=True)

# %% [markdown]
# ## A probability
#
# Cases by age and dose: what the model says along a covariate, the others at their means, and
# whether what it says comes true.

# %%
rng = np.random.default_rng(1)
x = rng.normal(size=(400, 2))
eta = -0.5 + x @ [1.0, -0.5]
cases = (rng.uniform(size=400) < 1 / (1 + np.exp(-eta))).astype(float)
columns = {"const": np.ones(400), "age": x[:, 0], "dose": x[:, 1]}
logistic = GLM(cases, columns, families.Binomial()).fit()
left, right = pair()
plots.partial_effect(logistic, "age", ax=left)
plots.partial_effect(logistic, "dose", scale="linear", ax=right)

# %%
left, right = pair()
plots.calibration(logistic, ax=left)
plots.roc(logistic, ax=right)

# %% [markdown]
# ## Many fits: a volcano and its p-values
#
# 2,000 responses, of which one in twenty depends on the second column; two were never seen.

# %%
n, count = 100, 2000
X = np.column_stack([np.ones(n), rng.normal(size=n)])
effect = np.where(np.arange(count) % 20 == 0, rng.normal(scale=0.4, size=count), 0.0)
y = rng.poisson(np.exp(0.5 + effect[:, None] * X[:, 1])).astype(float)
y[[3, 5]] = 0.0
many = fit_many(X, y, families.Poisson())
left, right = pair()
plots.volcano(many, 1, names=[f"y{i}" for i in range(count)], ax=left)
plots.pvalue_qq(np.asarray(pvalues(many))[:, 1], ax=right)
print(left.get_title(loc="left"))
assert "2 of 2,000 lanes not drawn" in left.get_title(loc="left")

# %% [markdown]
# ## A ridge penalty: its path and its folds
#
# Eight covariates, the constant without penalty: coefficients by strength, and the deviance of rows
# left out, ten folds by thirty strengths as one batch.

# %%
Z = np.column_stack([np.ones(400), x, rng.normal(size=(400, 6))])
penalties = np.geomspace(0.01, 1000.0, 30)
free = np.append(0.0, np.ones(8))
path = fit_many(Z, cases, families.Binomial(), penalty=penalties[:, None] * free)
folds = cross_validate(Z, cases, families.Binomial(), key=1, folds=10, penalties=penalties)
left, right = pair()
names = ["age", "dose", *(f"noise {i}" for i in range(1, 7))]
plots.regularisation_path(penalties, np.asarray(path.params)[:, 1:], names, ax=left)
plots.cross_validation_curve(folds, ax=right)

# %% [markdown]
# ## A simulation study
#
# Wald and HC3 intervals in small samples: the zip plot of one cell, each replicate a line; and
# coverage over the grid, with Monte Carlo limits.

# %%
LARGEST = 100


def design(key, cell):
    # Rows beyond n have weight 0, hence are gone.
    present = jnp.where(jnp.arange(LARGEST) < cell["n"], 1.0, 0.0)
    columns = [jnp.ones(LARGEST), jax.random.normal(key, (LARGEST,))]
    return Sample(jnp.column_stack(columns), freq_weights=present)


def response(key, sample, cell):
    return draw_response(key, sample, families.Binomial(), [cell["level"], cell["slope"]])


def analysed(analyses, factors, reps):
    slope = Estimand(1, lambda cell: cell["slope"])
    return Study(factors, design, response, analyses, {"x": slope}, reps=reps)


wald, robust = Analysis(families.Binomial()), Analysis(families.Binomial(), cov="HC3")
factors = {"level": [0.0, -1.5], "n": [30, 60], "slope": [0.0, 0.5, 1.0]}
results = analysed({"Wald": wald, "HC3": robust}, factors, 500).run(0)
left, right = pair()
plots.zip_plot(results, "Wald", cell=0, ax=left)
plots.nested_loop(results, "coverage", ax=right)

# %%
plots.lollipop(results, "coverage")

# %% [markdown]
# Power by simulation, and the sample size that reaches 80 %.

# %%
study = analysed({"Wald": wald}, {"n": [0], "level": [0.0], "slope": [1.0]}, 400)
power = find_power(study, "n", 10, LARGEST, key=3)
last = plots.power_curve(power, label="n")
assert last.has_data()
plt.show()
