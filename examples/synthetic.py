# %% [markdown]
# # GLMs from scratch: what a Gaussian model gets wrong
#
# A generalized linear model says three things of a response y with covariates x: a linear
# predictor eta = x'beta; a mean mu with g(mu) = eta for a link g; and a family, that is, how the
# variance depends on the mean. We make data of which we know all three, and look at what happens
# when we get two of them wrong.
#
# Run by `python examples/synthetic.py`; it saves `synthetic.png` (extra `plots`).

# %%
import jax
import matplotlib
import numpy as np

import jaxglm
from jaxglm import families

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# %% [markdown]
# ## Where the Gaussian model is right
#
# The linear predictor plus noise of one size everywhere: mean eta, variance constant. `sample`
# draws from a family with a key, so the same key gives the same data.

# %%
n = 300
x = np.linspace(-2, 2, n)
X = np.column_stack([np.ones(n), x])
line_key, count_key, class_key = jax.random.split(jax.random.key(7), 3)

beta = np.array([1.0, 0.8])
y = np.asarray(families.Gaussian().sample(line_key, X @ beta, scale=0.25))
line = jaxglm.GLM(y, X).fit()
print(line.summary())
assert np.all(np.abs(line.params - beta) < 4 * line.bse)

# %% [markdown]
# ## Counts
#
# The mean of a count is positive, and its variance grows with it. The Poisson family with the log
# link says both. A Gaussian line predicts negative counts on the left, and believes its errors to
# be as large there as on the right.

# %%
beta = np.array([0.5, 0.9])
counts = np.asarray(families.Poisson().sample(count_key, np.exp(X @ beta)))
poisson = jaxglm.GLM(counts, X, families.Poisson()).fit()
wrong_counts = jaxglm.GLM(counts, X).fit()
print(f"Poisson: {poisson.params.round(3)} +- {poisson.bse.round(3)}, true {beta}")
print(f"The Gaussian line reaches {wrong_counts.fittedvalues.min():.2f} counts")
assert np.all(np.abs(poisson.params - beta) < 4 * poisson.bse)
assert wrong_counts.fittedvalues.min() < 0 < poisson.fittedvalues.min()

# %% [markdown]
# ## Yes or no
#
# The mean of a 0/1 response is a probability. The Binomial family with the logit link keeps it
# between 0 and 1; a Gaussian line does not.

# %%
beta = np.array([0.3, 2.5])
probability = 1 / (1 + np.exp(-X @ beta))
answers = np.asarray(families.Binomial().sample(class_key, probability))
logistic = jaxglm.GLM(answers, X, families.Binomial()).fit()
wrong_answers = jaxglm.GLM(answers, X).fit()
print(f"Binomial: {logistic.params.round(3)} +- {logistic.bse.round(3)}, true {beta}")
print(f"The Gaussian line reaches a probability of {wrong_answers.fittedvalues.max():.2f}")
assert np.all(np.abs(logistic.params - beta) < 4 * logistic.bse)
assert wrong_answers.fittedvalues.max() > 1 > logistic.fittedvalues.max()

# %% [markdown]
# ## The picture
#
# Points are data, the dashed line is the truth. Bands hold a new observation with probability 0.95
# if the model is right: look at the Gaussian ones.

# %%
ORANGE, BLUE = "#d55e00", "#0072b2"
panels = [
    ("Gaussian data", y, X @ np.array([1.0, 0.8]), [("Gaussian", line, BLUE)]),
    (
        "Counts",
        counts,
        np.exp(X @ np.array([0.5, 0.9])),
        [("Gaussian", wrong_counts, ORANGE), ("Poisson", poisson, BLUE)],
    ),
    (
        "Yes or no",
        answers,
        probability,
        [("Gaussian", wrong_answers, ORANGE), ("Binomial", logistic, BLUE)],
    ),
]
figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
for axis, (title, data, truth, models) in zip(axes, panels, strict=True):
    axis.plot(x, data, ".", color="0.6", markersize=4)
    for name, fitted, colour in models:
        axis.plot(x, fitted.fittedvalues, color=colour, linewidth=2, label=f"{name} fit")
        if name != "Binomial":
            band = fitted.prediction_interval()
            axis.fill_between(x, band.lower, band.upper, color=colour, alpha=0.12, linewidth=0)
    axis.plot(x, truth, "--", color="black", linewidth=1.2, label="truth")
    axis.set(title=title, xlabel="x")
    axis.legend(frameon=False, loc="upper left")
axes[0].set_ylabel("response")
figure.savefig("synthetic.png", dpi=120)
print("saved synthetic.png")
