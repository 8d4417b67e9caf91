# %% [markdown]
# # A fit as a layer: features learnt under an exactly fitted GLM
#
# A small network maps inputs to features; a Poisson regression maps the features to counts. The
# usual way trains the coefficients of that last layer by gradient steps along with the rest. Here
# they are no weights at all: for every batch the head is fitted to its maximum likelihood on one
# half of the rows, the loss is the deviance of the other half, and the gradient reaches the network
# through the fit.
#
# Run by `python examples/neural_head.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxglm
from jaxglm import families

FAMILY, RIDGE = families.Poisson(), 1.0
WIDTH, STEPS, ROWS = 6, 150, 128

# %% [markdown]
# Counts whose log rate is a curved function of four inputs: no linear predictor in the inputs
# themselves is near it.

# %%
rng = np.random.default_rng(4)


def draw(n):
    x = rng.uniform(-2, 2, size=(n, 4))
    log_rate = 1.0 + np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] - 0.3 * np.abs(x[:, 3])
    return jnp.asarray(x), jnp.asarray(rng.poisson(np.exp(log_rate)), float)


train_x, train_y = draw(600)
test_x, test_y = draw(2000)


def deviance(beta, design, y):
    """Mean unit deviance."""
    return jnp.mean(FAMILY.unit_deviance(y, FAMILY.link.inverse(design @ beta)))


# %% [markdown]
# ## Both models
#
# The same two tanh layers with as many parameters, the same optimizer, batches, steps and
# regularization. `head` is where they differ: trained by steps, or fitted.


# %%
def make_layers(key):
    sizes = (4, 24, WIDTH)
    keys = jax.random.split(key, 2)
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [(jax.random.normal(k, (a, b)) / np.sqrt(a), jnp.zeros(b)) for k, a, b in pairs]


def features(layers, x):
    """An intercept and the last layer's outputs (n, WIDTH + 1)."""
    for weight, bias in layers:
        x = jnp.tanh(x @ weight + bias[None, :])
    return jnp.column_stack([jnp.ones(x.shape[0]), x])


def head_of(design, y):
    """The coefficients of a ridge-penalised Poisson regression, to convergence."""
    return jaxglm.fit(design, y, FAMILY, penalty=RIDGE).params


def fitted_loss(parameters, x, y):
    design, half = features(parameters["layers"], x), x.shape[0] // 2
    return deviance(head_of(design[:half], y[:half]), design[half:], y[half:])


def stepped_loss(parameters, x, y):
    design, head = features(parameters["layers"], x), parameters["head"]
    return deviance(head, design, y) + RIDGE / x.shape[0] * jnp.sum(head**2)


def train(loss, parameters):
    """Adam over random batches, all steps in one compiled loop."""
    optimizer = optax.adam(1e-2)

    def step(state, key):
        parameters, memory = state
        rows = jax.random.choice(key, train_x.shape[0], (ROWS,), replace=False)
        value, slope = jax.value_and_grad(loss)(parameters, train_x[rows], train_y[rows])
        updates, memory = optimizer.update(slope, memory)
        return (optax.apply_updates(parameters, updates), memory), value

    keys = jax.random.split(jax.random.key(1), STEPS)
    run = jax.jit(lambda state: jax.lax.scan(step, state, keys))
    (parameters, _), values = run((parameters, optimizer.init(parameters)))
    return parameters, values


# %%
layers = make_layers(jax.random.key(0))
stepped, _ = train(stepped_loss, {"layers": layers, "head": jnp.zeros(WIDTH + 1)})
fitted, losses = train(fitted_loss, {"layers": layers})
assert np.all(np.isfinite(losses)), "every batch's head converged"

# %% [markdown]
# ## On new rows
#
# The fitted head is fitted once more, to all of the training rows. The two controls show that the
# gradient through the fit is what helps: an exact head on the layers as they were drawn, and one on
# the layers that were trained with the head stepped.


# %%
def test_deviance(head, layers):
    return float(deviance(head, features(layers, test_x), test_y))


def refitted(layers):
    return test_deviance(head_of(features(layers, train_x), train_y), layers)


scores = {
    "head stepped along": test_deviance(stepped["head"], stepped["layers"]),
    "stepped layers, head fitted at the end": refitted(stepped["layers"]),
    "random layers, head fitted": refitted(layers),
    "trained through the fit": refitted(fitted["layers"]),
}
print(f"mean deviance of {test_y.size} new rows after {STEPS} steps of {ROWS} rows:")
for name, value in scores.items():
    print(f"  {name:40s} {value:.3f}")
best = scores.pop("trained through the fit")
assert best < 0.9 * min(scores.values()), (best, scores)
