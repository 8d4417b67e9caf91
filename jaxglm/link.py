"""Floor 1: what a link is; the rows are in `links`.

A row says how to go up, `g(mu)`, and how to come down, `at(eta)`: the mean with its complement and
their logarithms, and the slope d mu / d eta, each from eta itself, so that no tail is lost by
forming mu first. Everything else follows by automatic differentiation.
"""

from __future__ import annotations

import abc
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from jaxglm._types import (
    POSITIVE,
    REAL,
    Array,
    ArrayLike,
    Interval,
    elementwise_derivative,
    inexact,
)


class Mean(NamedTuple):
    """A mean as families want it: mu, 1 - mu, log mu and log(1 - mu), each accurate by itself."""

    mu: Array
    complement: Array
    log: Array
    log_complement: Array

    @staticmethod
    def of(mu: ArrayLike) -> Mean:
        """The four from mu alone, where nothing better is known."""
        mu = inexact(mu)
        return Mean(mu, 1.0 - mu, jnp.log(mu), jnp.log1p(-mu))


class Link(abc.ABC):
    """A strictly monotone map g between means mu and linear predictors eta.

    `domain` is the set of valid eta, `range` that of the means reached, and `infinite_at` the means
    that only an infinite eta reaches: where the data can push a mean there, no finite maximum
    likelihood estimate need exist.

    Methods act elementwise on arrays of any shape; integers are promoted. Outside the domain
    they return NaN.
    """

    domain: ClassVar[Interval] = REAL
    range: ClassVar[Interval] = POSITIVE
    infinite_at: ClassVar[tuple[float, ...]] = ()

    @abc.abstractmethod
    def g(self, mu: Array) -> Array:
        """eta = g(mu), for a floating-point array."""

    @abc.abstractmethod
    def at(self, eta: Array) -> tuple[Mean, Array]:
        """The mean at eta and the slope d mu / d eta, for a floating-point array."""

    def __call__(self, mu: ArrayLike) -> Array:
        """eta = g(mu)."""
        return self.g(inexact(mu))

    def inverse(self, eta: ArrayLike) -> Array:
        """mu = g^-1(eta)."""
        return self.at(inexact(eta))[0].mu

    def complement(self, eta: ArrayLike) -> Array:
        """1 - mu, without cancellation for the links onto (0, 1)."""
        return self.at(inexact(eta))[0].complement

    def deriv(self, mu: ArrayLike) -> Array:
        """g'(mu)."""
        return elementwise_derivative(self.g, inexact(mu))

    def deriv2(self, mu: ArrayLike) -> Array:
        """g''(mu)."""
        return elementwise_derivative(self.deriv, inexact(mu))

    def inverse_deriv(self, eta: ArrayLike) -> Array:
        """d mu / d eta."""
        return self.at(inexact(eta))[1]

    def inverse_deriv2(self, eta: ArrayLike) -> Array:
        """d^2 mu / d eta^2."""
        return elementwise_derivative(self.inverse_deriv, inexact(eta))
