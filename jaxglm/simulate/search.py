"""Floor 11: the sample size, or effect, at which a study reaches a power."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families, links
from jaxglm._special import normal_cdf
from jaxglm.bootstrap import as_key, require_count
from jaxglm.fit import fit
from jaxglm.frames import float64
from jaxglm.links import ndtri
from jaxglm.simulate.study import Study

__all__ = ["PowerCurve", "find_power"]


@dataclasses.dataclass(frozen=True)
class PowerCurve:
    """Power as Phi(a + b t) of t = sqrt(value), or of the value itself, and where it is `power`.

    values, rejections and trials (k,), what was simulated; params (2,) a and b with cov (2, 2);
    value, where the curve reaches the power, and its Monte Carlo standard error se. NaN where the
    simulations do not tell.
    """

    values: np.ndarray
    rejections: np.ndarray
    trials: np.ndarray
    params: np.ndarray
    cov: np.ndarray
    root: bool
    power: float
    value: float
    se: float

    @float64()
    def at(self, values: Any) -> np.ndarray:
        """The power at other values."""
        t = jnp.asarray(values, float)
        return np.asarray(normal_cdf(self.params[0] + self.params[1] * self._of(t)))

    @float64()
    def slope(self, value: float) -> float:
        """The derivative of the power."""

        def power(v: jax.Array) -> jax.Array:
            return normal_cdf(self.params[0] + self.params[1] * self._of(v))

        return float(jax.grad(power)(jnp.asarray(value, float)))

    def _of(self, value: jax.Array) -> jax.Array:
        return jnp.sqrt(value) if self.root else value


def find_power(
    study: Study,
    factor: str,
    low: float,
    high: float,
    *,
    key: Any,
    power: float = 0.8,
    analysis: str | None = None,
    estimand: str | None = None,
    scale: Literal["root", "linear"] = "root",
    whole: bool = True,
    rounds: int = 6,
) -> PowerCurve:
    """Where, between low and high, the value of a factor reaches a power, by simulation.

    The study has one value of every other factor. Three values are simulated, `study.reps` data
    sets each; then, `rounds` times, the value at which the probit curve through all simulations
    reaches the power. The power of a Wald test is near such a curve in sqrt(n), scale "root", and
    in an effect, "linear". whole: values are integers, as n is. analysis, estimand: None for the
    only one. A replicate whose fit failed does not reject.
    """
    require_count("rounds", rounds, 0)
    if not 0 < low < high or not 0 < power < 1:
        raise ValueError(f"low={low}, high={high}, power={power}: 0 < low < high, 0 < power < 1.")
    count = _count_rejections(study, factor, as_key(key), analysis, estimand)
    root = scale == "root"
    values = [low, _middle(low, high, root), high]
    values = [round(v) for v in values] if whole else values
    found = [count(v, i) for i, v in enumerate(values)]
    for step in range(rounds):
        curve = _curve(values, found, study.reps, root, power, 3 + rounds)
        guess = min(max(curve.value, low), high) if np.isfinite(curve.value) else values[1]
        values.append(round(guess) if whole else guess)
        found.append(count(values[-1], 3 + step))
    return _curve(values, found, study.reps, root, power, 3 + rounds)


def _middle(low: float, high: float, root: bool) -> float:
    return ((low**0.5 + high**0.5) / 2.0) ** 2 if root else (low + high) / 2.0


def _count_rejections(
    study: Study, factor: str, key: jax.Array, analysis: str | None, estimand: str | None
) -> Callable[[float, int], int]:
    """A function from a value and the number of the simulation to the number of rejections."""
    others = {k: v for k, v in study.factors.items() if k != factor}
    if factor not in study.factors or any(len(v) != 1 for v in others.values()):
        raise ValueError(f'factor="{factor}": a factor of the study; the others have one value.')
    if (analysis is None and len(study.analyses) > 1) or (
        estimand is None and len(study.estimands) > 1
    ):
        raise ValueError("analysis, estimand: the study has several; name one.")
    analysis = analysis or next(iter(study.analyses))
    name = estimand or next(iter(study.estimands))
    place, about = list(study.estimands).index(name), study.estimands[name]

    def count(value: float, step: int) -> int:
        here = dataclasses.replace(study, factors={factor: [value], **others})
        one = here.run(jax.random.fold_in(key, step)).outcomes[analysis]
        low, high = one.low[0, :, place], one.high[0, :, place]
        return int(np.sum(one.sound[0] & ((about.null < low) | (about.null > high))))

    return count


@float64()
def _curve(
    values: list[float], rejections: list[int], reps: int, root: bool, power: float, size: int
) -> PowerCurve:
    """The probit curve through what was simulated, filled up to `size` rows by empty ones."""
    at, wins = np.asarray(values, float), np.asarray(rejections, float)
    t = np.sqrt(at) if root else at
    X, counts = np.ones((size, 2)), np.zeros((size, 2))
    X[: len(t), 1] = t
    # A quarter of a data set on either side keeps the curve finite where all or none reject.
    counts[: len(t)] = np.column_stack([wins + 0.25, reps - wins + 0.25])
    fitted = fit(X, counts, families.Binomial(links.Probit()))
    a, b = (float(v) for v in fitted.params)
    target = (float(ndtri(jnp.asarray(power))) - a) / b
    toward = np.array([-1.0, -target]) / b
    spread = float(np.sqrt(toward @ np.asarray(fitted.cov_params) @ toward))
    value, se = (target**2, 2.0 * target * spread) if root else (target, spread)
    known = bool(fitted.converged) and b > 0 and target > 0
    trials = np.full(len(at), reps)
    params, cov = np.asarray(fitted.params), np.asarray(fitted.cov_params)
    value, se = (value, se) if known else (np.nan, np.nan)
    return PowerCurve(at, wins, trials, params, cov, root, power, value, se)
