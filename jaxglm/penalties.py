"""Floor 4: what is added to the log-likelihood before it is maximized.

The penalised score of the package is U(beta) = X's - P beta + phi X'a, on the scale where the
likelihood carries no dispersion (score times phi). A ridge supplies the matrix P; a bias-reducing
penalty supplies the row adjustments a, made from the leverages. A dispersion phi that is estimated
has an adjusted equation of its own (Kosmidis & Firth 2009), and `Scaled` carries phi into U.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from jaxglm._types import Array, ArrayLike, elementwise_derivative, record

__all__ = ["Jeffreys", "MeanBias", "Penalty", "Ridge"]

Rowwise = Callable[[Array], Array]


class Penalty(abc.ABC):
    """A penalty, by its matrix P and its row adjustments; `adjusts` tells whether there are any."""

    adjusts: ClassVar[bool] = False

    @abc.abstractmethod
    def matrix(self, p: int, dtype: Any) -> Array:
        """P (p, p), symmetric and positive semidefinite."""

    @abc.abstractmethod
    def is_valid(self) -> Array:
        """Whether the strengths are finite, and none is negative."""

    @abc.abstractmethod
    def adjustment(self, eta: Array, spread: Array, weight: Rowwise, slope: Rowwise) -> Array:
        """a (n,), from spread_i = x_i'(X'WX)^-1 x_i and the functions of eta W and d mu / d eta."""

    @abc.abstractmethod
    def log_scale_slope(self, p: int) -> float:
        """c of p coefficients: t = log phi solves d/dt [log-likelihood + log(i) / 2] + c = 0.

        i is the expected information about t.
        """


@record
class Ridge(Penalty):
    """Maximizes loglik * phi - beta' P beta / 2: for Gaussian, RSS/2 + beta' P beta / 2 is least.

    `strength` is a scalar (times the identity: every coefficient, the intercept too), a vector
    (the diagonal; 0 leaves a coefficient free) or a symmetric positive semidefinite matrix P. It is
    a Gaussian prior with mean 0 and precision P / phi. Strengths are leaves: they can be mapped
    over and differentiated.
    """

    strength: ArrayLike

    def __post_init__(self) -> None:
        if isinstance(self.strength, (str, complex)) or self.strength is None:
            raise TypeError(f"Ridge(strength={self.strength!r}): strength must be real numbers.")
        if isinstance(self.strength, (int, float)) and not self.strength >= 0:
            raise ValueError(f"Ridge(strength={self.strength}): strength must be >= 0.")

    def matrix(self, p: int, dtype: Any) -> Array:
        strength = jnp.asarray(self.strength, dtype)
        if strength.shape not in ((), (p,), (p, p)):
            raise ValueError(
                f"penalty=Ridge(strength=...): shape {strength.shape}; "
                f"allowed are (), ({p},), ({p}, {p})."
            )
        return strength if strength.ndim == 2 else jnp.diag(jnp.broadcast_to(strength, (p,)))

    def is_valid(self) -> Array:
        strength = jnp.asarray(self.strength)
        least = jnp.diagonal(strength) if strength.ndim == 2 else strength
        return jnp.all(jnp.isfinite(strength)) & jnp.all(least >= 0)

    def adjustment(self, eta: Array, spread: Array, weight: Rowwise, slope: Rowwise) -> Array:
        return jnp.zeros_like(eta)

    def log_scale_slope(self, p: int) -> float:
        return 0.0


@record
class Jeffreys(Penalty):
    """Jeffreys' invariant prior: log-likelihood + log det(X'WX) / 2 (Firth 1993).

    Its adjustment is a_i = spread_i W_i'(eta_i) / 2. Finite under separation. For the canonical
    link it removes the first-order bias of beta; for others see `MeanBias`. The dispersion of
    Gaussian, Gamma and inverse Gaussian maximizes with beta under the prior of (beta, phi), the
    root of det(X'WX) i(phi) / phi^p (brglm2's MPL_Jeffreys): biased, Gaussian RSS / (n + p + 2).
    """

    adjusts: ClassVar[bool] = True

    def matrix(self, p: int, dtype: Any) -> Array:
        return jnp.zeros((p, p), dtype)

    def is_valid(self) -> Array:
        return jnp.asarray(True)

    def adjustment(self, eta: Array, spread: Array, weight: Rowwise, slope: Rowwise) -> Array:
        return 0.5 * spread * elementwise_derivative(weight, eta)

    def log_scale_slope(self, p: int) -> float:
        return -0.5 * (p + 2)


@record
class MeanBias(Penalty):
    """Adjusted scores that remove the first-order mean bias (Kosmidis & Firth 2009; AS_mean).

    a_i = h_i (d^2 mu / d eta^2) / (2 d mu / d eta) with the leverage h_i = W_i spread_i; equal to
    Jeffreys' for the canonical link. The dispersion of Gaussian, Gamma and inverse Gaussian has
    its first-order bias removed too: Gaussian with identity link, RSS / (n - p).
    """

    adjusts: ClassVar[bool] = True

    def matrix(self, p: int, dtype: Any) -> Array:
        return jnp.zeros((p, p), dtype)

    def is_valid(self) -> Array:
        return jnp.asarray(True)

    def adjustment(self, eta: Array, spread: Array, weight: Rowwise, slope: Rowwise) -> Array:
        return 0.5 * spread * weight(eta) * elementwise_derivative(slope, eta) / slope(eta)

    def log_scale_slope(self, p: int) -> float:
        return 0.5 * p


@record
class Scaled(Penalty):
    """`base` with its adjustments times phi, as they enter a score that has been so multiplied."""

    base: Penalty
    phi: Array
    adjusts: ClassVar[bool] = True

    def matrix(self, p: int, dtype: Any) -> Array:
        return self.base.matrix(p, dtype)

    def is_valid(self) -> Array:
        return self.base.is_valid()

    def adjustment(self, eta: Array, spread: Array, weight: Rowwise, slope: Rowwise) -> Array:
        return self.phi * self.base.adjustment(eta, spread, weight, slope)

    def log_scale_slope(self, p: int) -> float:
        return self.base.log_scale_slope(p)
