# %% [markdown]
# # What each row is worth: derivatives in the weights
#
# A row's weight is an input of a fit like any other. The derivative of the coefficients in all of
# the weights is what each row does to them; that of the loss on other rows is what each row is
# worth there. Both are exact and cost one pass, where leaving rows out costs a refit for each.
#
# Run by `python examples/data_values.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import jaxglm
from jaxglm import families

FAMILY, N, FLIPPED = families.Binomial(), 400, 40

# %% [markdown]
# A logistic regression in which a tenth of the answers were written down the wrong way round. A few
# rows are known to be right, and are held out.

# %%
rng = np.random.default_rng(25)
beta = np.array([0.3, 1.6, -1.2, 0.8])


def draw(n):
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
    return X, (rng.uniform(size=n) < 1 / (1 + np.exp(-X @ beta))).astype(float)


X, y = draw(N)
wrong = rng.choice(N, FLIPPED, replace=False)
y[wrong] = 1 - y[wrong]
X, y, *held_out = map(jnp.asarray, (X, y, *draw(200)))
ones = jnp.ones(N)


def params(weights):
    return jaxglm.fit(X, y, FAMILY, freq_weights=weights).params


def loss(params):
    """Mean negative log-likelihood of the held-out rows."""
    design, answers = held_out
    return -jnp.mean(FAMILY.loglike_obs(answers, FAMILY.link.inverse(design @ params)))


# %% [markdown]
# ## Gradients of single examples
#
# `loglike_obs` is a plain function: its gradient under `vmap` is the score of each row. By the
# implicit function theorem the coefficients move by the inverse of the information times that.


# %%
def loglike(params, x, y):
    return FAMILY.loglike_obs(y, FAMILY.link.inverse(x @ params))


fitted = jaxglm.fit(X, y, FAMILY)
scores = jax.jit(jax.vmap(jax.grad(loglike), (None, 0, 0)))(fitted.params, X, y)
moves = jax.jit(jax.jacrev(params))(ones)
gap = jnp.max(jnp.abs(moves.T - scores @ fitted.cov_params))
print(f"d params / d weights beside cov_params x scores: largest difference {gap:.1e}")
assert gap < 1e-4 * jnp.max(jnp.abs(moves))

# %% [markdown]
# ## Values
#
# The derivative of the held-out loss in every weight, by one backward pass; then 400 refits, each
# without one row, as one batch of weights. A row leaves by more than an infinitesimal step, hence
# the second derivative along its own weight.

# %%
slope = jax.jit(jax.grad(lambda weights: loss(params(weights))))


def bend(row):
    """The second derivative in one row's weight."""
    return jax.jvp(slope, (ones,), (row,))[1] @ row


value = slope(ones)
curvature = jax.jit(jax.vmap(bend))(jnp.eye(N))
refits = jaxglm.fit_many(X, y, FAMILY, freq_weights=1 - jnp.eye(N))
actual = jax.vmap(loss)(refits.params) - loss(fitted.params)


def error(guess):
    return float(jnp.linalg.norm(guess - actual) / jnp.linalg.norm(actual))


print(f"change of the loss without a row, beside {N} refits (relative error):")
print(f"  first derivative   {error(-value):.4f}")
print(f"  and the second     {error(-value + curvature / 2):.4f}")
assert refits.converged.all() and error(-value) < 0.05
assert error(-value + curvature / 2) < 0.2 * error(-value)

# %% [markdown]
# ## Finding what is wrong
#
# Weight on a wrong row raises the loss. We look at the rows of the largest derivative, as many as
# were flipped, and leave those out.

# %%
worst = np.argsort(-np.asarray(value))[:FLIPPED]
found = np.isin(worst, wrong).mean()
cleaned = loss(params(ones.at[worst].set(0.0)))
by_chance = jax.vmap(lambda rows: loss(params(ones.at[rows].set(0.0))))(
    jnp.asarray([rng.choice(N, FLIPPED, replace=False) for _ in range(20)])
)
print(f"of the {FLIPPED} least valuable rows, {found:.0%} were flipped (by chance 10%)")
print(f"held-out loss: all rows {loss(fitted.params):.4f}, without them {cleaned:.4f},")
print(
    f"               without as many at random {by_chance.mean():.4f} (best {by_chance.min():.4f})"
)
assert found > 0.4 and cleaned < min(loss(fitted.params), by_chance.min())
