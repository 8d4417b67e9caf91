# %% [markdown]
# # A whole ridge matrix by the gradient of its cross-validated deviance
#
# Forty patients with thirty-two yes-or-no trials each: a logistic regression of five coefficients a
# patient needs help from the others. A ridge penalty beta' P beta / 2 gives it, and one P serves
# all of them. A scalar strength can be found on a grid; a full matrix has fifteen numbers, too many
# for a grid, but a fit can be differentiated in its penalty, and so can a batch of fits.
#
# Run by `python examples/ridge_matrix.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxglm import families, fit_many

FAMILY = families.Binomial()
PATIENTS, ROWS, P, FOLDS = 40, 32, 5, 4

# %% [markdown]
# Coefficients vary together from patient to patient: two directions matter, the others hardly.

# %%
rng = np.random.default_rng(15)
spread = np.diag([1.2, 1.0, 0.15, 0.15, 0.1]) @ np.linalg.qr(rng.normal(size=(P, P)))[0]


def draw(patients):
    X = rng.normal(size=(patients, ROWS, P))
    eta = np.einsum("ijk,ik->ij", X, rng.normal(size=(patients, P)) @ spread)
    y = rng.uniform(size=eta.shape) < 1 / (1 + np.exp(-eta))
    return jnp.asarray(X), jnp.asarray(y, float)


seen, new = draw(PATIENTS), draw(400)

# %% [markdown]
# ## The cross-validated deviance
#
# A lane for every patient and fold; a fold's held-out rows have weight 0, hence are gone. All 160
# fits are one call.

# %%
held_out = jnp.asarray(np.arange(ROWS)[None] % FOLDS == np.arange(FOLDS)[:, None], float)


@jax.jit
def cross_validated(penalty, data):
    """Mean deviance of a held-out trial."""
    X, y = (jnp.repeat(v, FOLDS, axis=0) for v in data)
    out = jnp.tile(held_out, (data[0].shape[0], 1))
    fits = fit_many(X, y, FAMILY, freq_weights=1 - out, penalty=penalty)
    mu = FAMILY.link.inverse(jnp.einsum("ijk,ik->ij", X, fits.params))
    return jnp.sum(out * FAMILY.unit_deviance(y, mu)) / jnp.sum(out)


grid = np.geomspace(0.05, 50.0, 13)
by_strength = [float(cross_validated(strength * jnp.eye(P), seen)) for strength in grid]
scalar = grid[int(np.argmin(by_strength))] * jnp.eye(P)
print(f"grid of {grid.size} scalars: best {scalar[0, 0]:.2f}, deviance {min(by_strength):.4f}")

# %% [markdown]
# ## By its gradient
#
# P = L L' with L lower triangular, from the best scalar on, by L-BFGS. Fifteen directions cost
# one backward pass, not fifteen fits more. A full matrix can follow the folds too closely, so we
# stop after a few steps.

# %%
lower = np.tril_indices(P)


def matrix(entries):
    factor = jnp.zeros((P, P)).at[lower].set(entries)
    return factor @ factor.T


def objective(entries):
    return cross_validated(matrix(entries), seen)


optimizer = optax.lbfgs()
value_and_slope = optax.value_and_grad_from_state(objective)


@jax.jit
def step(entries, memory):
    value, slope = value_and_slope(entries, state=memory)
    updates, memory = optimizer.update(
        slope, memory, entries, value=value, grad=slope, value_fn=objective
    )
    return optax.apply_updates(entries, updates), memory


entries = jnp.linalg.cholesky(scalar)[lower]
slope = jax.jit(jax.grad(objective))(entries)
h, direction = 1e-2, slope / jnp.linalg.norm(slope)
difference = (objective(entries + h * direction) - objective(entries - h * direction)) / (2 * h)
print(f"slope along the gradient {slope @ direction:.6f}, by differences {difference:.6f}")
assert abs(slope @ direction - difference) < 2e-3 * abs(difference)

memory = optimizer.init(entries)
for _ in range(12):
    entries, memory = step(entries, memory)
full = matrix(entries)
print(f"full matrix: deviance {float(objective(entries)):.4f}")

# %% [markdown]
# ## On patients that chose nothing
#
# The same deviance for four hundred new patients. That of the matrix from which the coefficients
# were drawn, which nobody knows, is what there is to win.

# %%
true = jnp.asarray(np.linalg.inv(spread.T @ spread))
scores = {
    name: float(cross_validated(penalty, new))
    for name, penalty in (
        ("scalar by grid search", scalar),
        ("full matrix by its gradient", full),
        ("inverse covariance of the coefficients", true),
    )
}
for name, value in scores.items():
    print(f"  {name:40s} {value:.4f}")
by_grid, by_gradient, best = scores.values()
assert by_gradient < by_grid - 0.3 * (by_grid - best), scores
