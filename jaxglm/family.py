"""Floor 2: what a family is; the rows are in `families`."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxglm._types import REAL, Array, Interval, elementwise_derivative, inexact
from jaxglm._types import ArrayLike as Number
from jaxglm.link import Link, Mean
from jaxglm.links import as_link


class Unknown(NamedTuple):
    """A family parameter that can be estimated.

    field: its name; from_line, to_line: a smooth map from and to the whole real line; plain: its
    value in the fit that starts the estimation; edge: the finite end of its space at which the
    maximum may lie, or None; moment: a starting value from (weights, y, mu); with_scale: whether
    the likelihood has a dispersion to be estimated beside it.
    """

    field: str
    from_line: Callable[[Array], Array]
    to_line: Callable[[Array], Array]
    plain: float
    edge: float | None
    moment: Callable[[Array, Array, Array], Array]
    with_scale: bool


class Family(abc.ABC):
    """A response distribution with Var(y) = scale * V(mu) / weight.

    `support` holds the responses, `mean_space` the means, `fixed_scale` tells whether the
    dispersion is known to be 1, `has_likelihood` whether a log density exists, `counts_trials`
    whether responses are proportions of trials. `canonical` is the class of the canonical link,
    with (d mu / d eta) / V = `canonical_ratio`, and `log_concave` lists the links under which the
    log-likelihood is concave in eta at any data (Wedderburn 1976; Pratt 1981), where every
    stationary point is the maximum. Under those of `unit_weight` (d mu / d eta)^2 / V is 1,
    whatever the mean. `parameters` names the family's own with their spaces, and
    `unknown` says how one is estimated.

    Methods act elementwise. `n_trials` is the number of trials behind a binomial proportion and
    is ignored elsewhere.
    """

    link: Link
    support: ClassVar[Interval] = REAL
    mean_space: ClassVar[Interval] = REAL
    fixed_scale: ClassVar[bool] = False
    has_likelihood: ClassVar[bool] = True
    counts_trials: ClassVar[bool] = False
    canonical: ClassVar[type[Link] | None] = None
    canonical_ratio: ClassVar[float] = 1.0
    log_concave: ClassVar[tuple[type[Link], ...]] = ()
    unit_weight: ClassVar[tuple[type[Link], ...]] = ()
    parameters: ClassVar[tuple[tuple[str, tuple[Interval, ...]], ...]] = ()
    unknown: ClassVar[Unknown | None] = None
    cox_reid: ClassVar[bool] = False

    @abc.abstractmethod
    def variance_at(self, mean: Mean) -> Array:
        """V(mu)."""

    @abc.abstractmethod
    def unit_deviance_at(self, y: Array, mean: Mean) -> Array:
        """d(y, mu) = 2 * integral from mu to y of (y - t) / V(t) dt."""

    @abc.abstractmethod
    def log_saturated(self, y: Array, weight: Array, scale: Array, n_trials: Array | None) -> Array:
        """log f(y; mu = y, scale / weight), what the log density is where the deviance is 0.

        n_trials: None stands for 1.
        """

    @abc.abstractmethod
    def starting_mu(self, y: Array, n_trials: Array | None = None) -> Array:
        """R's `mustart`: the response moved off the edge of the mean space."""

    @abc.abstractmethod
    def sample(self, key: Array, mu: Number, scale: Number = 1.0, n_trials: Number = 1) -> Array:
        """Draw one response for each element of mu; a binomial draw is a proportion."""

    @abc.abstractmethod
    def in_support(self, y: Array) -> Array:
        """Elementwise, whether y is a possible response."""

    def inverse_information_at(self, mean: Mean) -> Array:
        """phi over the expected information of a response about its mean: V, but for `LogProb`."""
        return self.variance_at(mean)

    def eta_score_at(self, y: Array, mean: Mean, slope: Array, ratio: Array) -> Array:
        """phi times the derivative of log f in eta, from d mu / d eta and (d mu / d eta) / V."""
        del slope
        return (y - mean.mu) * ratio

    def parameters_valid(self) -> Array:
        """Whether the family's own parameters lie in their spaces; True for those estimated."""
        valid = jnp.asarray(True)
        for name, spaces in self.parameters:
            value = getattr(self, name)
            if value is not None:
                inside = [space.contains(jnp.asarray(value)) for space in spaces]
                valid = valid & jnp.any(jnp.stack(inside), axis=0)
        return valid

    def variance(self, mu: Number) -> Array:
        """V(mu)."""
        return self.variance_at(Mean.of(mu))

    def variance_deriv(self, mu: Number) -> Array:
        """V'(mu)."""
        return elementwise_derivative(self.variance, inexact(mu))

    def unit_deviance(self, y: Number, mu: Number) -> Array:
        """d(y, mu) >= 0, zero at y = mu; the deviance is its weighted sum."""
        return self.unit_deviance_at(inexact(y), Mean.of(mu))

    def loglike_obs(
        self,
        y: Number,
        mu: Number,
        var_weights: Number = 1.0,
        scale: Number = 1.0,
        n_trials: Number = 1.0,
    ) -> Array:
        """log f(y; mu, scale / var_weights), one value per observation; NaN for quasi families.

        It is log f(y; y) - weight * d(y, mu) / (2 scale), so that nothing cancels near mu = y.
        """
        y, weight, phi, m = inexact(y), inexact(var_weights), inexact(scale), inexact(n_trials)
        d = weight * m * self.unit_deviance(y, mu) / (2.0 * self.likelihood_scale(phi))
        return self.log_saturated(y, weight, phi, m) - d

    def loglike(
        self,
        endog: Number,
        mu: Number,
        var_weights: Number = 1.0,
        freq_weights: Number = 1.0,
        scale: Number = 1.0,
    ) -> Array:
        """The sum of freq_weights times `loglike_obs`, with statsmodels' arguments."""
        return jnp.sum(freq_weights * self.loglike_obs(endog, mu, var_weights, scale))

    def likelihood_scale(self, scale: Array) -> Array:
        """The scale that divides the deviance in the log-likelihood: 1 for trials, else `scale`."""
        return jnp.ones_like(scale) if self.counts_trials else scale

    @property
    def is_estimated(self) -> bool:
        """Whether a parameter of the family was given as None, to be estimated."""
        return self.unknown is not None and getattr(self, self.unknown.field) is None

    def completed(self, parameter: Array) -> Family:
        """The family with its unknown parameter filled in."""
        return dataclasses.replace(self, **{self.unknown.field: parameter})  # type: ignore

    @property
    def is_canonical(self) -> bool:
        """Whether the link is the canonical one, for which V = d mu / d eta up to a constant."""
        return type(self.link) is self.canonical

    @property
    def is_log_concave(self) -> bool:
        """Whether the log-likelihood is concave in eta."""
        return type(self.link) in self.log_concave

    @property
    def has_unit_weight(self) -> bool:
        """Whether the expected information of an observation about its eta is 1 / phi."""
        return type(self.link) in self.unit_weight

    @property
    def discriminates(self) -> bool:
        """Whether the least squares of responses 0 and 1 are a linear discriminant: by a logit."""
        return False

    @property
    def can_separate(self) -> bool:
        """Whether responses exist whose best mean is reached only by an infinite eta."""
        ends = [e for e in self.support.closed_ends if not _has_end(self.mean_space, e)]
        return any(end in self.link.infinite_at for end in ends)


def _has_end(interval: Interval, end: float) -> bool:
    return end in interval.closed_ends or interval.low < end < interval.high


def moved_inside(y: Array, space: Interval) -> Array:
    """The response moved off the edge of the mean space, as a starting mean."""
    low, high = space.low, space.high
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (y + 0.5 * (low + high))
    if np.isfinite(low):
        return jnp.where(y > low, y, low + 0.1)
    return y if not np.isfinite(high) else jnp.where(y < high, y, high - 0.1)


def check(family: Family) -> None:
    """Raise on a link that cannot reach every mean, or a plain number outside its space."""
    object.__setattr__(family, "link", as_link(family.link))
    link, space = family.link, family.mean_space
    if space.bounded and not link.range.covers(space):
        raise ValueError(
            f"{type(family).__name__}(link={type(link).__name__}()): the link reaches means in "
            f"{link.range}, the family needs {space}; use a link that covers them, or Quasi."
        )
    for name, spaces in family.parameters:
        value = getattr(family, name)
        if isinstance(value, (str, complex)):
            raise TypeError(f"{type(family).__name__}({name}={value!r}): must be a real number.")
        plain = isinstance(value, (int, float, np.number, np.ndarray)) and np.ndim(value) == 0
        if plain and not any(space.holds(float(value)) for space in spaces):
            allowed = " or ".join(map(str, spaces))
            raise ValueError(
                f"{type(family).__name__}({name}={value}): {name} must be in {allowed}."
            )
