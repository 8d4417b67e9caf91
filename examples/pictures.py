# %% [markdown]
# # Pictures
#
# `jaxglm.interfaces.plots` draws with matplotlib (extra `plots`): axes in, axes out. What a picture
# cannot draw, a fit that failed or a row of weight 0, its title counts.
#
# Run by `python examples/pictures.py`.

# %%
import tempfile
from pathlib import Path

import numpy as np

from jaxglm import GLM, datasets, families, fit_many
from jaxglm.interfaces import plots
from jaxglm.lanes import pvalues

album = tempfile.TemporaryDirectory()


def keep(name, ax):
    """Save the figure that the axes belong to."""
    figure = np.ravel(ax)[0].get_figure()
    figure.savefig(Path(album.name) / f"{name}.png")


# %% [markdown]
# ## One fit: days absent from school
#
# A Poisson model of counts that vary more than it allows. The four pictures of R's `plot.glm` show
# standardised residuals as large as 10; quantile residuals, which are normal under a right model,
# leave the envelope of simulated refits at nearly every point.

# %%
quine = datasets.quine().with_constant()
poisson = GLM(quine.response, quine.design, families.Poisson()).fit()
keep("residuals", plots.diagnostic_plots(poisson))
normal = plots.quantile_residual_qq(poisson, key=0, envelope=39)
keep("quantile residuals", normal)
print(normal.get_title(loc="left"))

# %% [markdown]
# Rate ratios with the limits of the model, and with those that do not trust its variance.

# %%
robust = poisson.with_covariance("HC3")
both = plots.coefficient_forest({"model": poisson, "HC3": robust}, exponentiate=True)
keep("rate ratios", both)
keep("convergence", plots.fit_trace(poisson))

# %% [markdown]
# ## Many fits: a volcano and its p-values
#
# 2,000 responses, of which one in twenty depends on the second column; two were never seen.

# %%
rng = np.random.default_rng(4)
n, count = 100, 2000
X = np.column_stack([np.ones(n), rng.normal(size=n)])
effect = np.where(np.arange(count) % 20 == 0, rng.normal(scale=0.4, size=count), 0.0)
y = rng.poisson(np.exp(0.5 + effect[:, None] * X[:, 1])).astype(float)
y[[3, 5]] = 0.0
fits = fit_many(X, y, families.Poisson())
volcano = plots.volcano(fits, 1, names=[f"y{i}" for i in range(count)])
keep("volcano", volcano)
keep("p-values", plots.pvalue_qq(np.asarray(pvalues(fits))[:, 1]))
print(volcano.get_title(loc="left"))
assert "2 of 2,000 lanes not drawn" in volcano.get_title(loc="left")

pictures = sorted(path.name for path in Path(album.name).glob("*.png"))
print(pictures)
assert len(pictures) == 6
