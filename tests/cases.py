"""The tables that the tests run over: a new link, family or solver adds one row here."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from conftest import reference

from jaxglm import families, links, solvers

# Links


def logistic_cdf(eta):
    return jax.nn.sigmoid(eta)


class LinkRow(NamedTuple):
    """A link with the ends of an interval of its domain, and far ends that float32 can hold."""

    name: str
    link: links.Link
    eta: tuple[float, float]
    far: tuple[float, float]

    def sample(self, n=17):
        return np.linspace(*self.eta, n)


LINKS = (
    LinkRow("identity", links.Identity(), (-3.0, 3.0), (-80.0, 80.0)),
    LinkRow("log", links.Log(), (-3.0, 3.0), (-80.0, 80.0)),
    LinkRow("logit", links.Logit(), (-4.0, 4.0), (-80.0, 80.0)),
    LinkRow("probit", links.Probit(), (-4.0, 4.0), (-80.0, 80.0)),
    LinkRow("cauchy", links.Cauchy(), (-4.0, 4.0), (-80.0, 80.0)),
    LinkRow("cloglog", links.CLogLog(), (-4.0, 1.5), (-80.0, 80.0)),
    LinkRow("loglog", links.LogLog(), (-1.5, 4.0), (-80.0, 80.0)),
    LinkRow("logc", links.LogC(), (-4.0, -0.05), (-80.0, -1e-3)),
    LinkRow("power 0.5", links.Power(0.5), (0.2, 3.0), (1e-3, 80.0)),
    LinkRow("power -1.3", links.Power(-1.3), (0.2, 3.0), (1e-3, 80.0)),
    LinkRow("sqrt", links.Sqrt(), (0.2, 3.0), (1e-3, 80.0)),
    LinkRow("inverse_power", links.InversePower(), (0.2, 4.0), (1e-3, 80.0)),
    LinkRow("inverse_squared", links.InverseSquared(), (0.2, 4.0), (1e-3, 80.0)),
    LinkRow("negative_binomial", links.NegativeBinomial(0.7), (-4.0, -0.1), (-80.0, -1e-3)),
    LinkRow("cdf norm", links.CDFLink(jax.scipy.stats.norm), (-4.0, 4.0), (-80.0, 80.0)),
    LinkRow("cdf logistic", links.CDFLink(logistic_cdf), (-4.0, 4.0), (-80.0, 80.0)),
)

# Names in the reference files, R's among them.
MAKE_LINK = {
    "identity": lambda _: links.Identity(),
    "log": lambda _: links.Log(),
    "logit": lambda _: links.Logit(),
    "probit": lambda _: links.Probit(),
    "cauchy": lambda _: links.Cauchy(),
    "cauchit": lambda _: links.Cauchy(),
    "cloglog": lambda _: links.CLogLog(),
    "loglog": lambda _: links.LogLog(),
    "logc": lambda _: links.LogC(),
    "power": links.Power,
    "sqrt": lambda _: links.Sqrt(),
    "inverse_power": lambda _: links.InversePower(),
    "inverse": lambda _: links.InversePower(),
    "inverse_squared": lambda _: links.InverseSquared(),
    "1/mu^2": lambda _: links.InverseSquared(),
    "negative_binomial": links.NegativeBinomial,
}

# Families


class FamilyRow(NamedTuple):
    """A family with valid responses and means, the same number of each."""

    name: str
    family: families.Family
    y: tuple[float, ...]
    mu: tuple[float, ...]


_COUNTS = (0.0, 1.0, 2.0, 7.0, 3.0, 0.0)
_RATES = (0.4, 0.9, 3.0, 5.0, 3.0, 12.0)
_POSITIVE = (0.05, 0.8, 2.0, 7.5, 3.0, 1.0)
_SHARES = (0.0, 1.0, 0.25, 0.5, 0.75, 0.9)
_CHANCES = (0.2, 0.6, 0.3, 0.5, 0.05, 0.97)

FAMILIES = (
    FamilyRow("gaussian", families.Gaussian(), (-2.0, 0.0, 1.5, 3.0, 3.0, 10.0), _RATES),
    FamilyRow("binomial", families.Binomial(), _SHARES, _CHANCES),
    FamilyRow("poisson", families.Poisson(), _COUNTS, _RATES),
    FamilyRow("gamma", families.Gamma(), _POSITIVE, _RATES),
    FamilyRow("inverse_gaussian", families.InverseGaussian(), _POSITIVE, _RATES),
    FamilyRow("negative_binomial", families.NegativeBinomial(0.7), _COUNTS, _RATES),
    FamilyRow("tweedie 1.5", families.Tweedie(1.5), (0.0, *_POSITIVE[1:]), _RATES),
    FamilyRow("tweedie 1.1", families.Tweedie(1.1), (0.0, *_POSITIVE[1:]), _RATES),
    FamilyRow("tweedie 0", families.Tweedie(0.0), _POSITIVE, _RATES),
    FamilyRow("tweedie 1", families.Tweedie(1.0), _COUNTS, _RATES),
    FamilyRow("tweedie 2", families.Tweedie(2.0), _POSITIVE, _RATES),
    FamilyRow("tweedie 2.5", families.Tweedie(2.5), _POSITIVE, _RATES),
    FamilyRow("tweedie 3", families.Tweedie(3.0), _POSITIVE, _RATES),
    FamilyRow("tweedie -1", families.Tweedie(-1.0), _POSITIVE, _RATES),
    FamilyRow("quasi", families.Quasi(lambda mu: mu * (1.0 + mu), links.Log()), _POSITIVE, _RATES),
)
WITH_LIKELIHOOD = tuple(
    row for row in FAMILIES if row.name not in ("quasi", "tweedie 2.5", "tweedie -1")
)

MAKE_FAMILY = {
    "gaussian": lambda _, link: families.Gaussian(link),
    "binomial": lambda _, link: families.Binomial(link),
    "poisson": lambda _, link: families.Poisson(link),
    "gamma": lambda _, link: families.Gamma(link),
    "Gamma": lambda _, link: families.Gamma(link),
    "inverse_gaussian": lambda _, link: families.InverseGaussian(link),
    "inverse.gaussian": lambda _, link: families.InverseGaussian(link),
    "negative_binomial": families.NegativeBinomial,
    "tweedie": families.Tweedie,
}


def family_of(case):
    """The family and link that a reference case names."""
    link = MAKE_LINK[case["link"]](case.get("link_parameter"))
    parameter = case.get("family_parameter")
    if case.get("theta") is not None:
        parameter = 1.0 / case["theta"]
    return MAKE_FAMILY[case["family"]](parameter, link)


def data_of(case):
    """The arguments of `fit` that a reference case holds: X, y and keywords."""
    names = ("offset", "var_weights", "n_trials")
    given = {k: np.array(case[k], dtype=float) for k in names if case.get(k) is not None}
    return np.array(case["X"], dtype=float), np.array(case["y"], dtype=float), given


# Pairs: every family with every link, at known answers


class PairRow(NamedTuple):
    """The reference fits of one family and link, stacked: each array has a leading lane axis.

    Lanes are padded to one length by rows of weight 0, which must count for nothing.
    """

    family: families.Family
    X: np.ndarray
    y: np.ndarray
    offset: np.ndarray
    var_weights: np.ndarray
    n_trials: np.ndarray | None
    answers: dict[str, np.ndarray]

    @property
    def arguments(self):
        """Keywords of `fit`, with the lane axis."""
        names = ("offset", "var_weights", "n_trials")
        return {k: getattr(self, k) for k in names if getattr(self, k) is not None}

    def lane(self, i):
        """(family, X, y, keywords) of one lane."""
        family = jax.tree.map(lambda v: v[i], self.family)
        return family, self.X[i], self.y[i], {k: v[i] for k, v in self.arguments.items()}


PADDED_ROWS = 40
_ANSWERS = (
    *("params", "bse", "bse_observed", "scale", "deviance", "pearson_chi2"),
    *("loglike", "scale_ml", "loglike_ml"),
)
_ALL = reference("pairs")["cases"]
PAIRS = tuple(dict.fromkeys((case["family"], case["link"]) for case in _ALL))
# One pair for each way a family and link can behave, for what is too slow to run over all.
FEW_PAIRS = (
    ("gaussian", "log"),
    ("binomial", "logit"),
    ("binomial", "cloglog"),
    ("poisson", "sqrt"),
    ("gamma", "power"),
    ("inverse_gaussian", "log"),
    ("negative_binomial", "log"),
    ("tweedie", "power"),
)


def _pad(values, rows, fill):
    values = np.full(rows, fill) if values is None else np.asarray(values, dtype=float)
    missing = PADDED_ROWS - values.shape[0]
    return np.concatenate([values, np.repeat(values[:1], missing, axis=0)])


def _weights(case):
    n = len(case["y"])
    given = np.ones(n) if case["var_weights"] is None else np.array(case["var_weights"])
    return np.concatenate([given, np.zeros(PADDED_ROWS - n)])


@cache
def pair(family, link):
    """The `PairRow` of a family and link."""
    found = [c for c in _ALL if (c["family"], c["link"]) == (family, link)]
    lanes = [family_of(case) for case in found]
    counts = family == "binomial"
    answers = {k: np.array([np.nan if c[k] is None else c[k] for c in found]) for k in _ANSWERS}
    return PairRow(
        family=jax.tree.map(lambda *v: np.array(v, dtype=float), *lanes),
        X=np.stack([_pad(c["X"], len(c["y"]), 0.0) for c in found]),
        y=np.stack([_pad(c["y"], len(c["y"]), 0.0) for c in found]),
        offset=np.stack([_pad(c["offset"], len(c["y"]), 0.0) for c in found]),
        var_weights=np.stack([_weights(c) for c in found]),
        n_trials=np.stack([_pad(c["n_trials"], len(c["y"]), 1.0) for c in found])
        if counts
        else None,
        answers=answers,
    )


# Solvers

SOLVERS = {
    "irls": solvers.IRLS(),
    "newton": solvers.Newton(),
    "lbfgs": solvers.Gradient(),
    "adam": solvers.Gradient(optax.adam(0.05)),
}


# Data sets


class Small(NamedTuple):
    """A small well-conditioned data set with a response for every kind of family."""

    X: np.ndarray
    gaussian: np.ndarray
    share: np.ndarray
    count: np.ndarray
    positive: np.ndarray
    offset: np.ndarray
    weights: np.ndarray


@cache
def small(n=30, p=3, seed=7):
    """A `Small` data set of n rows and p columns, the first an intercept."""
    random = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), 0.5 * random.standard_normal((n, p - 1))])
    eta = X @ np.linspace(0.4, -0.5, p)
    return Small(
        X=X,
        gaussian=eta + 0.5 * random.standard_normal(n),
        share=(random.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(float),
        count=random.poisson(np.exp(eta)).astype(float),
        positive=np.exp(eta) * random.gamma(4.0, 0.25, n) + 0.05,
        offset=0.2 * random.standard_normal(n),
        weights=random.uniform(0.5, 2.0, n),
    )


def relative_error(got, wanted):
    """The largest error relative to the wanted value, 1e-300 standing in for zero."""
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    scale = np.maximum(np.abs(wanted), 1e-300)
    return float(np.max(np.abs(got - wanted) / scale, initial=0.0))


def close(got, wanted, rtol=1e-10, atol=0.0):
    """Assert that two arrays agree."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=rtol, atol=atol)


def as_arrays(*values):
    """The values as JAX arrays of the default floating dtype."""
    return tuple(jnp.asarray(v, jnp.result_type(float)) for v in values)


def richardson(f, h=5e-3):
    """The derivative of f at 0 from central differences at h, h/2 and h/4, error of order h^6."""
    wide, middle, narrow = ((f(s) - f(-s)) / (2 * s) for s in (h, h / 2, h / 4))
    return (64 * narrow - 20 * middle + wide) / 45
