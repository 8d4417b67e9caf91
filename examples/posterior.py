# %% [markdown]
# # The same log-likelihood in a Bayesian model
#
# A family is a set of pure functions, so its log density can stand in a model of any sampler that
# takes one. Here it is that of a negative binomial regression, with priors on two coefficients
# and on alpha; BlackJAX's NUTS draws from the posterior. The maximum of the penalised likelihood,
# found by `fit`, gives the start, and its covariance the scale of the first steps.
#
# Run by `python examples/posterior.py`. Without BlackJAX (`pip install blackjax`) twenty lines of
# a Langevin sampler take its place; the checks are the same.

# %%
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families, fit

rng = np.random.default_rng(3)
n = 60
x = rng.normal(size=n)
X = jnp.asarray(np.column_stack([np.ones(n), x]))
rates = np.exp(1.0 + 0.6 * x) * rng.gamma(2.0, 0.5, size=n)
y = jnp.asarray(rng.poisson(rates), float)

# %% [markdown]
# ## The model
#
# `loglike_obs` is the term of one observation, here with alpha = exp(the third parameter). The
# coefficients have normal priors of standard deviation 1, log alpha one of 0.5 about log 0.5.


# %%
def log_posterior(theta):
    family = families.NegativeBinomial(jnp.exp(theta[2]))
    mu = family.link.inverse(X @ theta[:2])
    prior = -0.5 * (theta[:2] @ theta[:2]) - 2.0 * (theta[2] - jnp.log(0.5)) ** 2
    return jnp.sum(family.loglike_obs(y, mu)) + prior


start = fit(X, y, families.NegativeBinomial(0.5), penalty=1.0)
theta0 = jnp.append(start.params, jnp.log(0.5))
scale = jnp.append(start.bse, 0.3)
assert start.converged

# %% [markdown]
# ## Drawing


# %%
def nuts(key, draws):
    """BlackJAX: warm-up of the step size and metric, then draws by NUTS."""
    import blackjax

    warm_key, run_key = jax.random.split(key)
    warm = blackjax.window_adaptation(blackjax.nuts, log_posterior)
    (state, tuned), _ = warm.run(warm_key, theta0, num_steps=400)
    sampler = blackjax.nuts(log_posterior, **tuned)

    def step(state, key):
        state, _ = sampler.step(key, state)
        return state, state.position

    return jax.lax.scan(step, state, jax.random.split(run_key, draws))[1]


def langevin(key, draws, size=0.8):
    """Metropolis-adjusted Langevin steps in units of `scale`; every fifth is kept."""
    density = jax.value_and_grad(lambda z: log_posterior(theta0 + scale * z))

    def log_move(to, origin, slope):
        return -jnp.sum((to - origin - 0.5 * size**2 * slope) ** 2) / (2 * size**2)

    def step(state, key):
        z, (value, slope) = state
        noise_key, accept_key = jax.random.split(key)
        noise = size * jax.random.normal(noise_key, z.shape)
        new = z + 0.5 * size**2 * slope + noise
        new_value, new_slope = density(new)
        back, forth = log_move(z, new, new_slope), log_move(new, z, slope)
        accept = jnp.log(jax.random.uniform(accept_key)) < new_value - value + back - forth
        state = jax.tree.map(
            lambda a, b: jnp.where(accept, a, b), (new, (new_value, new_slope)), state
        )
        return state, theta0 + scale * state[0]

    first = jnp.zeros_like(theta0)
    keys = jax.random.split(key, 5 * draws)
    return jax.lax.scan(step, (first, density(first)), keys)[1][::5]


has_blackjax = importlib.util.find_spec("blackjax") is not None
sampler = nuts if has_blackjax else langevin
print("sampler:", "BlackJAX, NUTS" if has_blackjax else "no BlackJAX here: Langevin steps")
draws = np.asarray(jax.jit(sampler, static_argnums=1)(jax.random.key(8), 4000))

# %% [markdown]
# ## Is it the posterior?
#
# With three parameters the posterior can be added up on a grid: the same function, in 64^3 points.

# %%
axes = [np.linspace(a, b, 64) for a, b in zip(draws.min(0) - 0.3, draws.max(0) + 0.3, strict=True)]
points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
on_grid = jax.jit(lambda points: jax.lax.map(log_posterior, points, batch_size=4096))
log_mass = np.asarray(on_grid(jnp.asarray(points)))
mass = np.exp(log_mass - log_mass.max())
mass /= mass.sum()
mean = mass @ points
sd = np.sqrt(mass @ (points - mean) ** 2)
print("                 intercept    slope  log alpha")
for name, row in (
    ("mean, draws", draws.mean(0)),
    ("mean, grid", mean),
    ("sd, draws", draws.std(0)),
    ("sd, grid", sd),
    ("fit, alpha 0.5", theta0),
):
    print(f"  {name:14s}" + "".join(f"{value:10.4f}" for value in row))
assert np.all(np.abs(draws.mean(0) - mean) < 0.15 * sd)
assert np.all(np.abs(draws.std(0) / sd - 1) < 0.15)
