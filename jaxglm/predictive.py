"""Floor 10: what the response may be at given means: a family's distribution, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxglm import prediction
from jaxglm.bootstrap import as_key, require_count
from jaxglm.distributions import DISTRIBUTIONS
from jaxglm.families import Family
from jaxglm.frames import float64
from jaxglm.links import Mean


@dataclasses.dataclass(frozen=True)
class Predictive:
    """The distribution of n responses: a family at means mu, with dispersion phi; fields (n,).

    phi is scale / var_weights, and 1 for Binomial, Poisson and NegativeBinomial, which have no
    other. A binomial response is the proportion of n_trials. Estimation error is not in it.
    """

    family: Family
    mean: np.ndarray
    phi: np.ndarray
    n_trials: np.ndarray

    @property
    @float64()
    def variance(self) -> np.ndarray:
        """phi V(mu) / n_trials (n,)."""
        return self.phi * np.asarray(self.family.variance(self.mean)) / self.n_trials

    @float64()
    def sample(self, key: Any, n_draws: int | None = None) -> np.ndarray:
        """Responses (n,), or (n_draws, n) independent ones; key of jax.random, or a seed."""
        if n_draws is not None:
            require_count("n_draws", n_draws, 1)
        found = prediction.simulate(
            as_key(key), self.family, self.mean, self.phi, self.n_trials, n_draws=n_draws
        )
        return np.asarray(found)

    @float64()
    def log_prob(self, y: Any) -> np.ndarray:
        """The log density or log probability of y, (n,) or a number; -inf outside the support."""
        y = self._response(y)
        inside = np.asarray(self.family.in_support(jnp.asarray(y)))
        found = self.family.loglike_obs(
            np.where(inside, y, self.mean), self.mean, 1.0, self.phi, self.n_trials
        )
        return np.where(inside, np.asarray(found), -np.inf)

    @float64()
    def cdf(self, y: Any) -> np.ndarray:
        """P(Y <= y), y (n,) or a number."""
        if type(self.family) not in DISTRIBUTIONS:
            raise ValueError(f"cdf: {type(self.family).__name__} has no distribution function.")
        y, low = self._response(y), self.family.support.low
        below = (y < low) | ((y == low) & ~self.family.support.contains(low))
        inside = jnp.asarray(np.where(below | np.isinf(y), self.mean, y))
        phi, n_trials = jnp.asarray(self.phi), jnp.asarray(self.n_trials)
        distribution = DISTRIBUTIONS[type(self.family)]
        _, upto = distribution(self.family, inside, Mean.of(self.mean), phi, n_trials)
        return np.where(below, 0.0, np.where(y == np.inf, 1.0, np.asarray(upto.lower)))

    def _response(self, y: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(y, dtype=np.float64), self.mean.shape)
