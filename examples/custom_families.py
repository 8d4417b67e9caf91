# %% [markdown]
# # A family or a link of one's own
#
# One function of numbers is enough, and no derivative is written by hand. Each model below takes
# fewer than fifteen lines, and each is compared with a closed form, a family of the package, or a
# maximum found in another way.
#
# Run by `python examples/custom_families.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp, xlogy

from jaxglm import families, fit, links

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(11)
n = 250
X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
chance = 1 / (1 + np.exp(-X @ [0.4, 0.8, -0.5]))


def gap(a, b):
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


# %% [markdown]
# ## A Poisson of one's own
#
# Score, information, variance and deviance follow from the log density; they are Poisson's.


# %%
def log_poisson(y, mu):
    return xlogy(y, mu) - mu - gammaln(y + 1)


counts = rng.poisson(np.exp(X @ [0.6, 0.4, -0.3])).astype(float)
poisson = families.from_log_prob(log_poisson, support=(0, np.inf), discrete=True)
own, built_in = fit(X, counts, poisson), fit(X, counts, families.Poisson())
for name in ("params", "bse", "deviance", "loglike"):
    print(f"Poisson, {name}: gap {gap(getattr(own, name), getattr(built_in, name)):.1e}")
    assert gap(getattr(own, name), getattr(built_in, name)) < 1e-9

# %% [markdown]
# ## Beta regression
#
# Shares with a mean model and precision phi (Ferrari & Cribari-Neto 2004). phi is no part of the
# GLM, but a fit can be differentiated in it, so its maximum likelihood is a root of the profile's
# slope: what beta-regression packages report.


# %%
def log_beta(y, mu, phi):
    a, b = mu * phi, (1 - mu) * phi
    norm = gammaln(phi) - gammaln(a) - gammaln(b)
    return norm + (a - 1) * jnp.log(y) + (b - 1) * jnp.log1p(-y)


def draw_beta(key, mu, phi):
    return jax.random.beta(key, mu * phi, (1 - mu) * phi)


def beta(phi):
    return families.from_log_prob(log_beta, phi, support=(0, 1), sample=draw_beta)


shares = beta(8.0).sample(jax.random.key(2), chance)


@jax.jit
def climb_beta(t):
    """The fit at phi = exp(t), and the slope of its log-likelihood in t."""

    def found(t):
        result = fit(X, shares, beta(jnp.exp(t)))
        return result.loglike, result.params

    (_, params), (slope, _) = jax.jvp(found, (t,), (1.0,))
    return params, slope


def root(slope, low, high):
    """Where a slope that falls is 0, by bisection."""
    for _ in range(45):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


t = root(lambda t: climb_beta(t)[1], 0.0, 5.0)


def joint(theta):
    """The log-likelihood in coefficients and log phi, written out once more."""
    mu = jax.nn.sigmoid(X @ theta[:3])
    return jnp.sum(log_beta(shares, mu, jnp.exp(theta[3])))


slopes = jax.grad(joint)(jnp.append(climb_beta(t)[0], t))
print(f"Beta: phi {np.exp(t):.4f}, gradient of the joint likelihood {gap(slopes, 0):.1e}")
assert gap(slopes, 0) < 1e-7 and abs(t - np.log(8.0)) < 0.4

# %% [markdown]
# ## Conway-Maxwell-Poisson
#
# Counts with more or less variance than Poisson's, from their cumulant function alone: the log of
# the norming sum. At nu = 1 it is Poisson.


# %%
def log_norm(theta, nu):
    k = jnp.arange(120)
    return logsumexp(theta * k - nu * gammaln(k + 1))


def log_base(y, nu):
    return -nu * gammaln(y + 1)


def com_poisson(nu):
    return families.from_cumulant(log_norm, nu, support=(0, np.inf), log_base=log_base, link="log")


def numbers(nu):
    found = fit(X, counts, com_poisson(nu))
    return jnp.stack([*found.params, *found.bse, found.loglike])


both = jax.jit(lambda nu: jax.jvp(numbers, (nu,), (1.0,)))
wanted = jnp.stack([*built_in.params, *built_in.bse, built_in.loglike])
print(f"Conway-Maxwell-Poisson at nu = 1: gap {gap(both(1.0)[0], wanted):.1e}")
assert gap(both(1.0)[0], wanted) < 1e-7
difference = (both(1.5 + 1e-4)[0] - both(1.5 - 1e-4)[0]) / 2e-4
print(f"d / d nu at 1.5: gap {gap(both(1.5)[1], difference):.1e} to differences of refits")
assert gap(both(1.5)[1], difference) < 1e-5

# %% [markdown]
# ## A link with a parameter to be learnt
#
# Aranda-Ordaz' links hold the logit (shape 1) and the complementary log-log (shape 0). The shape's
# likelihood is climbed by its derivative through the fit.


# %%
def aranda_ordaz(eta, shape):
    return -jnp.expm1(-jnp.log1p(shape * jnp.exp(eta)) / shape)


many = np.column_stack([np.ones(4000), rng.normal(size=(4000, 2))])
answers = rng.uniform(size=4000) < aranda_ordaz(many @ [-0.5, 1.5, -1.0], 0.2)


def of_shape(log_shape):
    link = links.from_inverse(aranda_ordaz, jnp.exp(log_shape), range=(0, 1))
    return fit(many, answers.astype(float), families.Binomial(link)).loglike


climb = jax.jit(lambda t: jax.jvp(of_shape, (t,), (1.0,)))
t = root(lambda t: climb(t)[1], -4.0, 2.0)
logit = fit(many, answers.astype(float), families.Binomial()).loglike
print(f"link: shape {np.exp(t):.3f}, loglike {climb(t)[0]:.2f}, of the logit {logit:.2f}")
print(f"of shape 1: gap {gap(climb(0.0)[0], logit):.1e}")
assert gap(climb(0.0)[0], logit) < 1e-7 and climb(t)[0] > logit + 2 and np.exp(t) < 0.6

# %% [markdown]
# ## Where observed information is indefinite
#
# A t density is not log-concave: far away its observed information is negative. The solver steps
# by expected information there, and ends where the score vanishes.


# %%
def log_t(y, mu, df, width):
    norm = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) - jnp.log(width)
    return norm - (df + 1) / 2 * jnp.log1p(((y - mu) / width) ** 2 / df)


heavy = X @ [1.0, 0.5, -0.5] + 0.5 * rng.standard_t(3.0, size=n)
heavy[:5] += 40.0
robust = fit(X, heavy, families.from_log_prob(log_t, 3.0, 0.5, support=(-np.inf, np.inf)))
least_squares = fit(X, heavy)
at_root = jax.grad(lambda b: jnp.sum(log_t(heavy, X @ b, 3.0, 0.5)))(robust.params)
print(f"t: error {gap(robust.params, [1.0, 0.5, -0.5]):.3f}, of least squares", end=" ")
print(f"{gap(least_squares.params, [1.0, 0.5, -0.5]):.3f}; score {gap(at_root, 0):.1e}")
assert robust.converged and gap(at_root, 0) < 1e-7
assert gap(robust.params, [1.0, 0.5, -0.5]) < 0.2 < gap(least_squares.params, [1.0, 0.5, -0.5])
