"""Floor 11: the sample size, or effect, at which a study reaches a power."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm import families, links
from jaxglm._labels import column_numbers
from jaxglm._roots import monotone_root
from jaxglm._special import normal_cdf
from jaxglm._types import Array, ArrayLike, Interval
from jaxglm.bootstrap import as_key, require_count
from jaxglm.families import Family
from jaxglm.fit import as_model_family, fit
from jaxglm.frames import float64
from jaxglm.linalg import highest, inverse_pd
from jaxglm.links import ndtri
from jaxglm.model import expected_weight
from jaxglm.simulate.study import LANES, Cell, Sample, Study, draw_design

__all__ = ["ExpectedPower", "PowerCurve", "find_power", "solve_power", "wald_power"]

# How near the mean power comes to what was asked for, where that can be reached.
NEAR = 1e-6


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
    others = _other_values(study, factor)
    analysis = _only("analysis", study.analyses, analysis)
    name = _only("estimand", study.estimands, estimand)
    place, about = list(study.estimands).index(name), study.estimands[name]

    def count(value: float, step: int) -> int:
        factors = {k: [v] for k, v in (others | {factor: value}).items()}
        here = dataclasses.replace(study, factors=factors)
        one = here.run(jax.random.fold_in(key, step)).outcomes[analysis]
        low, high = one.low[0, :, place], one.high[0, :, place]
        return int(np.sum(one.sound[0] & ((about.null < low) | (about.null > high))))

    return count


def _other_values(study: Study, factor: str) -> dict[str, Any]:
    """The one value of every factor but this one."""
    others = {k: v for k, v in study.factors.items() if k != factor}
    if factor not in study.factors or any(len(v) != 1 for v in others.values()):
        raise ValueError(f'factor="{factor}": a factor of the study; the others have one value.')
    return {k: v[0] for k, v in others.items()}


def _only(what: str, names: Iterable[str], given: str | None) -> str:
    """The name that was given, or the only one that there is."""
    names = list(names)
    if given not in (names if len(names) > 1 else [None, *names]):
        raise ValueError(f"{what}={given!r}: allowed are {', '.join(names)}.")
    return names[0] if given is None else given


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


@float64()
def wald_power(
    sample: Sample,
    family: Family,
    params: ArrayLike,
    column: int,
    *,
    scale: ArrayLike = 1.0,
    null: ArrayLike = 0.0,
    alpha: float = 0.05,
    size: ArrayLike = 1.0,
) -> Array:
    """The large-sample power of the two-sided Wald test of one coefficient.

    Phi(d - z) + Phi(-d - z), z the 1 - alpha/2 quantile, d = (beta_j - null) / se. se is the root
    of phi (m X'wX)^-1_jj with the expected weights w at the true params (p,): no response is drawn.

    sample: the design, without y. scale: phi. size: m, how often the design is repeated. A family
    with alpha or power must have its true one. Has derivatives in all but the column and alpha.
    """
    family = as_model_family(family)
    if family.is_estimated:
        raise ValueError(f"family={family!r}: a power needs the true parameter, not None.")
    X, params = jnp.asarray(sample.X, float), jnp.asarray(params, float)
    (column,) = column_numbers("column", column, X.shape[1])
    eta = highest(X, params)
    eta = eta if sample.offset is None else eta + sample.offset
    w = expected_weight(family, eta) * size
    for given in (sample.var_weights, sample.freq_weights, sample.n_trials):
        w = w if given is None else w * given
    se = jnp.sqrt(scale * inverse_pd(highest(X.T * w[None, :], X))[column, column])
    d, z = (params[column] - null) / se, ndtri(jnp.asarray(1.0 - alpha / 2.0, float))
    return normal_cdf(d - z) + normal_cdf(-d - z)


class ExpectedPower(NamedTuple):
    """Where the mean of `wald_power` over drawn designs is the power that was asked for.

    value, NaN where that power is not reached; se, its Monte Carlo standard error, 0 for a fixed
    design; slope, the derivative of the power there; powers (R,), that of every design.
    """

    value: Array
    se: Array
    slope: Array
    powers: Array


@float64()
def solve_power(
    study: Study,
    factor: str,
    low: float,
    high: float,
    family: Family,
    params: Callable[[Cell], ArrayLike],
    *,
    key: Any,
    power: float = 0.8,
    estimand: str | None = None,
    dispersion: ArrayLike = 1.0,
    scale: Literal["root", "linear"] = "root",
) -> ExpectedPower:
    """As `find_power`, by Newton's method on a smooth function: the mean of `wald_power`.

    It averages over `study.reps` designs, drawn once; the study's response and analyses are not
    used. The truth is family, params(cell) and dispersion. The value has derivatives in whatever
    these close over: what another effect costs in observations.

    scale: "root" for a sample size, which multiplies the information of designs drawn at `high`;
    "linear" for an effect or another factor, which `params` and `design` take as a traced number.
    Power must rise from low to high. Small samples, and estimated dispersions, are `find_power`'s.
    """
    if not low < high or not 0 < power < 1:
        raise ValueError(f"low={low}, high={high}, power={power}: low < high, 0 < power < 1.")
    others, sized = _other_values(study, factor), scale == "root"
    about = study.estimands[_only("estimand", study.estimands, estimand)]
    numbers = jnp.arange(1 if study.fixed_design else study.reps, dtype=jnp.uint32)
    # As `Study.run` draws the designs of its first cell.
    design_key = jax.random.split(jax.random.fold_in(as_key(key), 0))[0]
    test: dict[str, Any] = {"scale": dispersion, "null": about.null, "alpha": study.alpha}

    def powers(value: Array) -> Array:
        cell = {factor: high if sized else value, **others}
        size = value / high if sized else 1.0

        def one(number: Array) -> Array:
            sample = draw_design(study, design_key, cell, number)
            return wald_power(sample, family, params(cell), about.column, size=size, **test)

        return jax.lax.map(one, numbers, batch_size=LANES)

    def beyond(value: Array) -> Array:
        return ndtri(jnp.mean(powers(value))) - ndtri(jnp.asarray(power, float))

    interval = Interval(float(low), float(high), False, False)
    guess = jnp.asarray(_middle(low, high, sized), float)
    value = monotone_root(beyond, interval, guess)
    found, slopes = jax.jvp(powers, (value,), (jnp.ones_like(value),))
    slope = jnp.mean(slopes)
    spread = jnp.std(found, ddof=1) if len(numbers) > 1 else jnp.zeros(())
    reached = jnp.abs(jnp.mean(found) - power) < NEAR
    value = jnp.where(reached, value, jnp.nan)
    return ExpectedPower(value, spread / jnp.sqrt(len(numbers)) / slope, slope, found)
