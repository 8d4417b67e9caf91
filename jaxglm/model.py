"""Floor 4: the equations of a generalized linear model. States them, solves none.

    X        design, n rows and p columns            beta   coefficients
    y        response                                eta    X beta + offset, linear predictor
    mu       g^-1(eta), mean                         V      variance function of the mean
    phi      dispersion (scale)                      m      number of trials (Binomial)
    v, f     var_weights, freq_weights               a      v f m, prior weight
    s        a (y - mu) (d mu/d eta) / V             X's    score times phi
    w        a (d mu/d eta)^2 / V                    X'wX   expected information times phi
    o        -d s / d eta                            X'oX   observed information times phi
    P        penalty matrix                          U      X's - P beta, penalised score
    H        X'wX + P or X'oX + P                    D      deviance, sum of a d(y, mu)

A family given by its log density (`custom.LogProb`) brings s and w of its own.

A row with prior weight 0 is gone from every sum: its data are replaced before any formula sees
them, so that neither a value nor a derivative can be spoiled by what stands there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxglm._types import Array, elementwise_derivative, record
from jaxglm.designs import Design, sweep
from jaxglm.families import Family
from jaxglm.linalg import highest, inverse_pd, row_sum
from jaxglm.penalties import Penalty


@record
class Rows:
    """What belongs to the rows besides the design; each (n,), or None where it is constant.

    `prior` is var_weights * freq_weights * n_trials; 0 marks a row that is gone, whose
    linear predictor is replaced by `resting_eta`, a valid one, or left as it is (None).
    """

    y: Array
    offset: Array | None
    var_weights: Array | None
    freq_weights: Array | None
    n_trials: Array | None
    prior: Array | None
    resting_eta: Array | None

    def eta(self, xb: Array) -> Array:
        """The linear predictor, valid in rows that are gone."""
        eta = xb if self.offset is None else xb + self.offset
        if self.resting_eta is None:
            return eta
        return jnp.where(self.prior > 0, eta, self.resting_eta)

    def weigh(self, v: Array) -> Array:
        """v times the prior weight."""
        return v if self.prior is None else self.prior * v

    @property
    def replicates(self) -> tuple[Array, Array]:
        """(v m, f): the weight of one replicate and how many there are; 0 in rows gone."""
        one = jnp.ones_like(self.y)
        if self.prior is None:
            return one, one
        present = self.prior > 0
        frequency = one if self.freq_weights is None else self.freq_weights
        weight = jnp.where(present, self.prior, 0.0) / jnp.where(present, frequency, 1.0)
        return weight, jnp.where(present, frequency, 0.0)

    @property
    def total_frequency(self) -> Array:
        """The number of observations: the sum of freq_weights over rows that count."""
        if self.prior is None:
            return jnp.asarray(self.y.shape[0], self.y.dtype)
        if self.var_weights is None and self.n_trials is None:
            return row_sum(self.prior)
        return jnp.sum(self.replicates[1])


@record
class Problem:
    """All that the coefficients depend on."""

    design: Design
    rows: Rows
    family: Family
    penalty: Penalty | None

    @property
    def adjusts(self) -> bool:
        """Whether the penalty adjusts the score row by row, to reduce bias."""
        return self.penalty is not None and self.penalty.adjusts


class Evaluation(NamedTuple):
    """The model at one beta: what a solver needs to judge it and to step on."""

    score: Array  # U (p,)
    information: Array  # H (p, p), or 0 where the solver does not ask
    deviance: Array  # D + beta'P beta, or 0 where the solver does not ask
    pearson: Array  # sum a (y - mu)^2 / V, or 0 where phi is 1
    invalid: Array  # number of rows whose mean lies outside the mean space
    faint: Array  # number of rows that count with a weight below `faint_weight`


class Totals(NamedTuple):
    """Sums over the rows at the fitted coefficients."""

    information: Array  # X'wX + P, expected
    deviance: Array  # D
    pearson: Array
    faint: Array  # rows that count with an expected weight below `faint_weight`


def mean_and_slope(family: Family, eta: Array) -> tuple[Any, Array, Array]:
    """(mean, d mu/d eta, (d mu/d eta)/V), the last without a division for a canonical link.

    V stands for the inverse of the expected information about the mean, where they differ.
    """
    mean, slope = family.link.at(eta)
    if family.is_canonical:
        return mean, slope, jnp.full_like(eta, family.canonical_ratio)
    variance = family.inverse_information_at(mean)
    usable = variance > 0
    return mean, slope, jnp.where(usable, slope / jnp.where(usable, variance, 1.0), 0.0)


def weight_of(family: Family, slope: Array, ratio: Array) -> Array:
    """w / a. Where it is 1 whatever the mean, lanes on one design share X'wX."""
    return jnp.ones(slope.shape, slope.dtype) if family.has_unit_weight else slope * ratio


def eta_score(family: Family, y: Array, eta: Array) -> Array:
    """s / a: phi times the derivative in eta of one observation's log-likelihood."""
    return family.eta_score_at(y, *mean_and_slope(family, eta))


def expected_weight(family: Family, eta: Array) -> Array:
    """w / a: phi times the expected information of one observation about its eta."""
    _, slope, ratio = mean_and_slope(family, eta)
    return weight_of(family, slope, ratio)


def observed_weight(family: Family, y: Array, eta: Array) -> Array:
    """o / a; equal to `expected_weight` for the canonical link."""
    if family.is_canonical:
        return expected_weight(family, eta)
    return -elementwise_derivative(lambda eta: eta_score(family, y, eta), eta)


def is_unrestricted(family: Family) -> bool:
    """Whether every finite eta gives a mean in the family's mean space."""
    return not family.link.domain.bounded and family.mean_space.covers(family.link.range)


def count_invalid(family: Family, eta: Array) -> Array:
    """How many eta lie outside the link's domain or have a mean outside the mean space."""
    if is_unrestricted(family):
        return jnp.zeros((), eta.dtype)
    mean = family.link.at(eta)[0].mu
    valid = family.link.domain.contains(eta) & family.mean_space.contains(mean)
    return jnp.sum(~valid, dtype=eta.dtype)


def evaluate(
    problem: Problem,
    beta: Array,
    *,
    observed: Array | bool,
    needs_deviance: bool,
    needs_information: bool = True,
) -> Evaluation:
    """U, H and the sums that judge beta, in one pass over the rows.

    `observed` chooses the weights of H, and may be a traced boolean; the deviance, which costs
    logarithms, and H, which costs most, are left out (0) unless asked for.
    """
    family, p = problem.family, beta.shape[0]

    def curved(eta: Array, rows: Rows, w: Array) -> Array:
        if observed is False or family.is_canonical:
            return w
        curvature = rows.weigh(observed_weight(family, rows.y, eta))
        return curvature if observed is True else jnp.where(observed, curvature, w)

    def work(xb: Array, rows: Rows) -> tuple[Array, Array | None, tuple[Array, ...]]:
        eta = _untiled(rows.eta(xb))
        mean, slope, ratio = mean_and_slope(family, eta)
        s = _untiled(rows.weigh(family.eta_score_at(rows.y, mean, slope, ratio)))
        w = rows.weigh(weight_of(family, slope, ratio))
        faint = _count_faint(rows, w)
        w = curved(eta, rows, w) if needs_information else None
        invalid = count_invalid(family, eta)
        deviance = _deviance(family, rows, mean) if needs_deviance else jnp.zeros((), eta.dtype)
        pearson = jnp.zeros((), eta.dtype) if family.fixed_scale else _pearson(family, rows, mean)
        return s, w, (deviance, pearson, invalid, faint)

    s, H, (deviance, *counts) = sweep(problem.design, beta, problem.rows, work)
    H = H if needs_information else jnp.zeros((p, p), beta.dtype)
    if problem.penalty is None:
        return Evaluation(s, H, deviance, *counts)
    matrix = problem.penalty.matrix(p, beta.dtype)
    pull = highest(matrix, beta)
    if problem.penalty.adjusts:
        s = s + _adjustment(problem, beta)
    return Evaluation(s - pull, H + matrix, deviance + beta @ pull, *counts)


def _untiled(v: Array) -> Array:
    """v, at most the largest number.

    What is made without a constant XLA's CPU compiler cuts into tiles of a cache line, which takes
    three times as long in float32.
    """
    return jnp.minimum(v, jnp.finfo(v.dtype).max)


def penalised_score(problem: Problem, beta: Array) -> Array:
    """U (p,): the coefficients are its root."""
    rows, family = problem.rows, problem.family
    eta = rows.eta(problem.design.predictor(beta))
    score = problem.design.score(rows.weigh(eta_score(family, rows.y, eta)))
    if problem.penalty is None:
        return score
    if problem.penalty.adjusts:
        score = score + _adjustment(problem, beta)
    return score - highest(problem.penalty.matrix(beta.shape[0], beta.dtype), beta)


def score_jacobian(problem: Problem, beta: Array) -> Array:
    """-dU/dbeta (p, p): the observed information with the penalty's."""
    if problem.adjusts:
        return -jax.jacfwd(penalised_score, argnums=1)(problem, beta)
    rows, family = problem.rows, problem.family
    eta = rows.eta(problem.design.predictor(beta))
    information = problem.design.gram(rows.weigh(observed_weight(family, rows.y, eta)))
    if problem.penalty is None:
        return information
    return information + problem.penalty.matrix(beta.shape[0], beta.dtype)


def faint_weight(dtype: Any) -> float:
    """The weight of a row about which the data say next to nothing: a standard error of 1e3."""
    return 1e-6 if dtype == jnp.float64 else 1e-4


def _count_faint(rows: Rows, w: Array) -> Array:
    small = (w < faint_weight(w.dtype)) & (rows.weigh(jnp.ones_like(w)) > 0)
    return row_sum(small.astype(jnp.float32)).astype(w.dtype)


def totals(problem: Problem, beta: Array) -> Totals:
    """The expected information, the deviance and Pearson's chi-square at beta."""
    family = problem.family

    def work(xb: Array, rows: Rows) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        eta = rows.eta(xb)
        mean, slope, ratio = mean_and_slope(family, eta)
        w = rows.weigh(weight_of(family, slope, ratio))
        faint = _count_faint(rows, w)
        sums = _deviance(family, rows, mean), _pearson(family, rows, mean), faint
        return jnp.zeros_like(w), w, sums

    _, information, sums = sweep(problem.design, beta, problem.rows, work)
    if problem.penalty is not None:
        information = information + problem.penalty.matrix(beta.shape[0], beta.dtype)
    return Totals(information, *sums)


@custom_vmap
def inverse_information(problem: Problem, beta: Array, seen: Array) -> Array:
    """(X'wX + P)^-1 at beta where `seen`, else 0.

    Not differentiable. A batch computes it only if one of its lanes has to see.
    """
    p = beta.shape[0]
    return jax.lax.cond(
        seen,
        lambda: _inverse_information(problem, beta),
        lambda: jnp.zeros((p, p), beta.dtype),
    )


@inverse_information.def_vmap
def _inverse_information_rule(
    size: int, batched: Any, problem: Problem, beta: Array, seen: Array
) -> tuple[Array, bool]:
    axes = jax.tree.map(lambda own: 0 if own else None, batched[:2])
    each = jax.vmap(_inverse_information, axes, axis_size=size)
    p = beta.shape[-1]
    found = jax.lax.cond(
        jnp.any(seen), lambda: each(problem, beta), lambda: jnp.zeros((size, p, p), beta.dtype)
    )
    # Whether a lane's neighbours are seen must not matter to it.
    return jnp.where(seen[:, None, None], found, 0.0), True


def _inverse_information(problem: Problem, beta: Array) -> Array:
    return inverse_pd(totals(problem, beta).information)


def loglike(family: Family, rows: Rows, scale: Array, deviance: Array) -> Array:
    """The log-likelihood at `scale`: sum of f log f(y; y, scale / v), less D / (2 scale)."""
    one = jnp.ones((), rows.y.dtype)
    weight = one if rows.var_weights is None else rows.var_weights
    present = None if rows.prior is None else rows.prior > 0
    if present is not None:
        weight = jnp.where(present, weight, 1.0)
    terms = family.log_saturated(rows.y, weight, scale, rows.n_trials)
    if rows.freq_weights is not None:
        terms = rows.freq_weights * terms
    if present is not None:
        terms = jnp.where(present, terms, 0.0)
    return row_sum(terms) - deviance / (2.0 * family.likelihood_scale(scale))


def deviance(family: Family, rows: Rows, eta: Array) -> Array:
    """D at the linear predictors eta."""
    return _deviance(family, rows, family.link.at(eta)[0])


def pearson(family: Family, rows: Rows, eta: Array) -> Array:
    """Pearson's chi-square, the sum of a (y - mu)^2 / V, at the linear predictors eta."""
    return _pearson(family, rows, family.link.at(eta)[0])


def _deviance(family: Family, rows: Rows, mean: Any) -> Array:
    return row_sum(rows.weigh(family.unit_deviance_at(rows.y, mean)))


def _pearson(family: Family, rows: Rows, mean: Any) -> Array:
    variance = family.variance_at(mean)
    usable = variance > 0
    squares = (rows.y - mean.mu) ** 2 / jnp.where(usable, variance, 1.0)
    return row_sum(rows.weigh(jnp.where(usable, squares, 0.0)))


def _adjustment(problem: Problem, beta: Array) -> Array:
    """X'a of a bias-reducing penalty, from the leverages at beta."""
    design, rows, family = problem.design, problem.rows, problem.family
    eta = rows.eta(design.predictor(beta))

    def weight(eta: Array) -> Array:
        return rows.weigh(expected_weight(family, eta))

    spread = design.leverage(inverse_pd(design.gram(weight(eta))))
    slope = family.link.inverse_deriv
    return design.score(problem.penalty.adjustment(eta, spread, weight, slope))
