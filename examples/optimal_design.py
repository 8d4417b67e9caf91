# %% [markdown]
# # Where to measure: the gradient of the information in the design points
#
# How much a fit will tell is the information X'WX of the rows that will be measured, and that is a
# function of where they are. It can be differentiated, so a design can climb to its optimum.
#
# Run by `python examples/optimal_design.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxglm
from jaxglm import families, links
from jaxglm.model import expected_weight

# %% [markdown]
# ## Two parameters
#
# A dose-response curve with the logit link: the log determinant of the information is largest with
# half of the subjects at each of the two doses where |eta| tanh(|eta|/2) = 1, that is 1.5434
# (Abdelbasit & Plackett 1983). We place eight doses at random, and let the doses and their shares
# of the subjects climb.

# %%
BETA = jnp.asarray([-1.0, 2.0])


def columns(doses):
    return jnp.column_stack([jnp.ones_like(doses), doses])


def log_det(design, family, beta=BETA):
    """The log determinant of the information of one subject, from (doses, logits of shares)."""
    doses, logits = design
    X = columns(doses)
    w = jax.nn.softmax(logits) * expected_weight(family, X @ beta)
    return jnp.linalg.slogdet(X.T @ (w[:, None] * X))[1]


def climb(objective, design, steps=2000):
    """Adam, its rate falling to nothing, all steps in one compiled loop."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))
    slope = jax.grad(lambda design: -objective(design))

    def step(state, _):
        design, memory = state
        updates, memory = optimizer.update(slope(design), memory)
        return (optax.apply_updates(design, updates), memory), None

    loop = jax.jit(lambda state: jax.lax.scan(step, state, None, steps)[0][0])
    return loop((design, optimizer.init(design)))


def show(name, design, beta=BETA):
    """The linear predictors that have subjects, and the share of those above 0."""
    eta, share = np.asarray(columns(design[0]) @ beta), np.asarray(jax.nn.softmax(design[1]))
    used = share > 1e-3
    above = share[eta > 0].sum()
    print(f"{name}: eta", np.sort(eta[used]).round(4), f"share above 0: {above:.4f}")
    return eta[used], above


logit = families.Binomial()
rng = np.random.default_rng(12)
first = jnp.asarray(rng.uniform(-0.5, 1.5, size=8)), jnp.zeros(8)
local = climb(lambda design: log_det(design, logit), first)
eta, above = show("logit", local)
low, high = 1.0, 2.0
for _ in range(50):
    middle = 0.5 * (low + high)
    low, high = (middle, high) if middle * np.tanh(middle / 2) < 1 else (low, middle)
print(f"the optimum: {low:.4f} on either side, half of the subjects at each")
assert np.allclose(np.abs(eta), low, atol=1e-3) and abs(above - 0.5) < 1e-3

# %% [markdown]
# ## Another link
#
# Only the family changes; for the probit the optimum is known too, 1.1381.

# %%
probit = families.Binomial(links.Probit())
eta, above = show("probit", climb(lambda design: log_det(design, probit), first))
assert np.allclose(np.abs(eta), 1.1381, atol=2e-3) and abs(above - 0.5) < 1e-3

# %% [markdown]
# ## When the curve is known roughly
#
# The best doses depend on the curve that they are to find out. Averaged over what is believed of
# it, the objective is differentiated as before, and the doses spread out.

# %%
believed = jnp.asarray(rng.normal(BETA, [2.0, 0.7], size=(64, 2)))


def average(design):
    return jnp.mean(jax.vmap(lambda beta: log_det(design, logit, beta))(believed))


robust = climb(average, first)
show("robust", robust)
gain = float(average(robust) - average(local))
print(f"subjects saved against the best two doses: {1 - np.exp(-gain / 2):.0%}")
assert gain > 0.05

# %% [markdown]
# ## Through the fit
#
# The same gradient comes out of `fit` itself, as that of its covariance, where the responses are
# what is expected. This way works for whatever a fit reports.


# %%
def of_the_fit(design):
    doses, logits = design
    X, shares = columns(doses), jax.nn.softmax(logits)
    found = jaxglm.fit(X, logit.link.inverse(X @ BETA), logit, var_weights=shares)
    return -jnp.linalg.slogdet(found.cov_params)[1]


through = jax.jit(jax.grad(of_the_fit))(first)
direct = jax.jit(jax.grad(lambda design: log_det(design, logit)))(first)
gap = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(through, direct, strict=True))
print(f"gradient through the fit and of the formula: largest difference {gap:.1e}")
assert gap < 1e-4 * float(jnp.max(jnp.abs(direct[0])))
