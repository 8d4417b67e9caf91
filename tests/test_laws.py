"""The laws of a fit over random data: families, links, weights, ranks, lanes.

A law relates the fits of some data to those of the same data said otherwise. Both are lanes of one
batch of a fixed shape, rows that a lane has not being of weight 0, so that all laws of a family and
link share one compilation. HYPOTHESIS_PROFILE=nightly tries every pair and thousands of batches.
"""

import dataclasses
import os
import warnings
from typing import NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxglm
from jaxglm import Status, families, fit, fit_many, links

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SOME = settings(
    max_examples=100 if NIGHTLY else 5,
    derandomize=not NIGHTLY,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)

CASES = 6  # data sets of a batch, each once as it is and once said otherwise
ROWS = 40  # the most that either has
P = 3


# Random data


def shares(random, mu, m):
    return random.binomial(m.astype(int), mu) / m


def waits(random, mu, m):
    return mu * random.gamma(3.0, 1 / 3.0, mu.shape) + 1e-3


def counts(random, mu, m):
    return random.poisson(mu).astype(float)


def normals(random, mu, m):
    return mu + 0.3 * random.standard_normal(mu.shape)


def amounts(random, mu, m):
    zero = random.uniform(size=mu.shape) < 0.15
    return np.where(zero, 0.0, waits(random, mu, m))


class Kind(NamedTuple):
    """A family for a parameter in (0, 1), its responses, and where linear predictors lie."""

    make: object
    draw: object
    eta: tuple[float, float]


def one(family, draw, eta):
    return Kind(lambda _: family, draw, eta)


def alphas(link):
    return lambda u: families.NegativeBinomial(0.05 + 2.0 * u, link)


def powers(link):
    return lambda u: families.Tweedie(1.1 + 0.8 * u, link)


GRAND, UP, SMALL = (-2.0, 2.0), (0.5, 3.0), (-2.0, -0.1)
FEW = {
    "gaussian identity": one(families.Gaussian(), normals, GRAND),
    "binomial logit": one(families.Binomial(), shares, GRAND),
    "binomial cloglog": one(families.Binomial(links.CLogLog()), shares, (-2.0, 1.0)),
    "poisson sqrt": one(families.Poisson(links.Sqrt()), counts, UP),
    "gamma inverse": one(families.Gamma(), waits, (0.3, 2.0)),
    "negative binomial log": Kind(alphas(links.Log()), counts, (-1.0, 2.5)),
}
MORE = {
    "tweedie power": Kind(
        lambda u: families.Tweedie(1.1 + 0.8 * u, links.Power(0.3 + 0.6 * u)), waits, (0.6, 2.0)
    ),
    "inverse gaussian log": one(families.InverseGaussian(links.Log()), waits, GRAND),
    "gaussian log": one(families.Gaussian(links.Log()), normals, (0.5, 2.0)),
    "gaussian inverse": one(families.Gaussian(links.InversePower()), normals, (0.3, 1.0)),
    "binomial probit": one(families.Binomial(links.Probit()), shares, (-1.5, 1.5)),
    "binomial cauchit": one(families.Binomial(links.Cauchy()), shares, GRAND),
    "binomial loglog": one(families.Binomial(links.LogLog()), shares, (-1.0, 2.0)),
    "binomial log": one(families.Binomial(links.Log()), shares, SMALL),
    "poisson log": one(families.Poisson(), counts, (-1.0, 2.5)),
    "poisson identity": one(families.Poisson(links.Identity()), counts, (1.0, 6.0)),
    "gamma log": one(families.Gamma(links.Log()), waits, GRAND),
    "gamma identity": one(families.Gamma(links.Identity()), waits, UP),
    "inverse gaussian squared": one(families.InverseGaussian(), waits, (0.3, 2.0)),
    "negative binomial sqrt": Kind(alphas(links.Sqrt()), counts, UP),
    "tweedie log": Kind(powers(links.Log()), amounts, GRAND),
    "quasi": one(families.Quasi(lambda mu: mu * (1.0 + mu), links.Log()), counts, GRAND),
}
KINDS = FEW | (MORE if NIGHTLY else {})
over_kinds = pytest.mark.parametrize("name", KINDS)
CONCAVE = [name for name in KINDS if KINDS[name].make(0.5).is_log_concave]
# Where y -> c y leaves the variance function what it was.
SCALED = {
    "gaussian identity": lambda beta, c: c * beta,
    "gamma inverse": lambda beta, c: beta / c,
    "inverse gaussian log": lambda beta, c: beta + np.log(c) * np.eye(P)[0],
    "gamma log": lambda beta, c: beta + np.log(c) * np.eye(P)[0],
    "tweedie log": lambda beta, c: beta + np.log(c) * np.eye(P)[0],
}


class Rows(NamedTuple):
    """The rows of one data set, frequencies and trials among them."""

    X: np.ndarray
    y: np.ndarray
    offset: np.ndarray
    var_weights: np.ndarray
    freq_weights: np.ndarray
    n_trials: np.ndarray

    def pick(self, rows):
        return Rows(*(v[rows] for v in self))


def at_rows(function, *values):
    """An elementwise function of JAX at values of any length: one shape, one compilation."""
    n = len(values[0])
    return np.asarray(function(*(np.resize(v, ROWS) for v in values)))[:n]


def draw_rows(kind, family, random):
    """A random data set whose means lie well inside."""
    n = int(random.integers(8, 15))
    low, high = kind.eta
    half = 0.5 * (high - low)
    slopes = half * random.uniform(-0.4, 0.4, P - 1)
    X = np.column_stack([np.ones(n), random.uniform(-1.0, 1.0, (n, P - 1))])
    offset = 0.1 * half * random.uniform(-1.0, 1.0, n) * (random.uniform() < 0.7)
    eta = 0.5 * (low + high) + X[:, 1:] @ slopes + offset
    m = random.integers(1, 9, n).astype(float)
    m = m if family.counts_trials else np.ones(n)
    mu = at_rows(family.link.inverse, eta)
    weighted = random.uniform() < 0.7
    return Rows(
        X=X,
        y=kind.draw(random, mu, m),
        offset=offset,
        var_weights=random.uniform(0.3, 2.0, n) if weighted else np.ones(n),
        freq_weights=random.integers(1, 4, n).astype(float),
        n_trials=m,
    )


def filled(rows, random):
    """The rows among others of weight 0 that hold anything, in random places."""
    n = len(rows.y)
    places = np.sort(random.permutation(ROWS)[:n])
    anything = random.choice([np.nan, np.inf, -np.inf, -3.0, 1e300, 0.0], (ROWS, P + 2))
    whole = Rows(
        anything[:, :P].copy(), anything[:, P].copy(), anything[:, P + 1].copy(),
        np.ones(ROWS), np.zeros(ROWS), np.ones(ROWS),
    )  # fmt: skip
    for column, values in zip(whole, rows, strict=True):
        column[places] = values
    return whole


class Batch(NamedTuple):
    """Random data sets of one kind, their families, and the generator that made them."""

    kind: Kind
    families: list
    rows: list[Rows]
    random: np.random.Generator


def batch_of(name, seed):
    kind, random = KINDS[name], np.random.default_rng(seed)
    made = [kind.make(u) for u in random.uniform(size=CASES)]
    return Batch(kind, made, [draw_rows(kind, f, random) for f in made], random)


def fit_lanes(batch, lanes, families_=None):
    """One batch of all the lanes given; as many families as lanes, or one for every two."""
    chosen = batch.families * (len(lanes) // CASES) if families_ is None else families_
    stacked = Rows(*(np.stack(v) for v in zip(*lanes, strict=True)))
    family = jax.tree.map(lambda *v: np.array(v, float), *chosen)
    given = stacked._asdict()
    if not family.counts_trials:
        given.pop("n_trials")
    return fit_many(family=family, **given)


def both(batch, change):
    """The fits of the data sets as they are, and as `change` says them."""
    plain = [filled(rows, batch.random) for rows in batch.rows]
    other = [filled(change(rows), batch.random) for rows in batch.rows]
    found = jax.tree.map(np.asarray, fit_lanes(batch, plain + other))
    return (
        jax.tree.map(lambda v: v[:CASES], found),
        jax.tree.map(lambda v: v[CASES:], found),
    )


def sound(*fits):
    """The data sets whose fits all converged; they have a maximum together or not at all.

    A maximum on the edge of the domain may be found by a converging step or by creeping there.
    """
    maximal = [np.isin(found.status, (Status.converged, Status.boundary)) for found in fits]
    for other in maximal[1:]:
        np.testing.assert_array_equal(maximal[0], other)
    return np.all([found.converged for found in fits], axis=0)


def agree(one, other, ok, rtol=1e-7, **expected):
    """Assert that two batches agree in every statistic, but for those whose law is given."""
    errors = np.sqrt(np.diagonal(one.cov_params, axis1=1, axis2=2))[ok]
    wanted = expected.pop("params", one.params)[ok]
    assert np.all(np.abs(other.params[ok] - wanted) <= 1e-6 * np.maximum(errors, np.abs(wanted)))
    for field in ("cov_unscaled", "scale", "deviance", "loglike", "df_resid"):
        want = expected.get(field, getattr(one, field))
        if want is not None:
            size = np.max(np.abs(want[ok]), initial=1e-300)
            np.testing.assert_allclose(
                getattr(other, field)[ok], want[ok], rtol=rtol, atol=1e-9 * size, err_msg=field
            )


def over_seeds(test):
    """The test at many seeds, for every kind of family."""
    return over_kinds(SOME(given(seed=st.integers(0, 2**31))(test)))


# The laws


@over_seeds
def test_a_frequency_is_a_row_repeated(name, seed):
    def repeat(rows):
        often = rows.pick(np.repeat(np.arange(len(rows.y)), rows.freq_weights.astype(int)))
        return often._replace(freq_weights=np.ones(len(often.y)))

    one, other = both(batch_of(name, seed), repeat)
    agree(one, other, sound(one, other))


@over_seeds
def test_rows_of_weight_zero_are_gone(name, seed):
    batch = batch_of(name, seed)

    def add(rows):
        extra = rows.pick(batch.random.integers(0, len(rows.y), 9))
        extra = extra._replace(
            y=np.full(9, np.nan),
            **{batch.random.choice(["var_weights", "freq_weights"]): 0 * extra.y},
        )
        return Rows(*(np.concatenate(v) for v in zip(rows, extra, strict=True)))

    one, other = both(batch, add)
    agree(one, other, sound(one, other))


@over_seeds
def test_the_order_of_rows_is_irrelevant(name, seed):
    batch = batch_of(name, seed)
    one, other = both(batch, lambda rows: rows.pick(batch.random.permutation(len(rows.y))))
    agree(one, other, sound(one, other))


@over_seeds
def test_coefficients_follow_the_columns(name, seed):
    batch = batch_of(name, seed)
    # Another basis, units from 1e-6 to 1e6, another order.
    A = np.eye(P) + np.triu(0.5 * batch.random.standard_normal((P, P)), 1)
    A = (A * 10.0 ** batch.random.uniform(-6, 6, P))[:, batch.random.permutation(P)]
    one, other = both(batch, lambda rows: rows._replace(X=rows.X @ A))
    ok = sound(one, other)
    back = {"params": other.params @ A.T, "cov_unscaled": A @ other.cov_unscaled @ A.T}
    agree(one, dataclasses.replace(other, **back), ok)


@over_seeds
def test_an_offset_shifts_the_intercept(name, seed):
    shift = 1e-3 * (seed % 1000) - 0.5
    one, other = both(batch_of(name, seed), lambda rows: rows._replace(offset=rows.offset + shift))
    agree(one, other, sound(one, other), params=one.params - shift * np.eye(P)[0])


@over_seeds
def test_precisions_are_relative(name, seed):
    """With c times the precisions phi is c times as large, and the covariance the same."""
    c = 2.0 ** (seed % 7 - 3)
    one, other = both(
        batch_of(name, seed), lambda rows: rows._replace(var_weights=c * rows.var_weights)
    )
    known = KINDS[name].make(0.5).fixed_scale
    agree(
        one,
        other,
        sound(one, other),
        cov_unscaled=one.cov_unscaled / c,
        scale=one.scale if known else c * one.scale,
        deviance=c * one.deviance,
        loglike=other.loglike if known else one.loglike,
    )


@over_seeds
def test_the_mean_of_rows_alike_is_sufficient(name, seed):
    """Rows of one x tell of the coefficients what their weighted mean tells, weights added."""

    def halve(rows):
        # The first two rows in place of each other's halves: same x, same offset.
        w = rows.var_weights * rows.freq_weights * rows.n_trials
        y = (w[0] * rows.y[0] + w[1] * rows.y[1]) / (w[0] + w[1])
        kept = rows.pick(np.arange(1, len(rows.y)))
        kept.y[0], kept.var_weights[0] = y, w[0] + w[1]
        kept.freq_weights[0] = kept.n_trials[0] = 1.0
        return kept

    batch = batch_of(name, seed)
    for rows in batch.rows:
        rows.X[1], rows.offset[1] = rows.X[0], rows.offset[0]
    one, other = both(batch, halve)
    skipped = {name: getattr(other, name) for name in ("scale", "deviance", "loglike", "df_resid")}
    agree(one, other, sound(one, other), **skipped)


@pytest.mark.parametrize("name", [name for name in SCALED if name in KINDS])
@SOME
@given(seed=st.integers(0, 2**31))
def test_the_unit_of_the_response_is_irrelevant(name, seed):
    c = 10.0 ** (seed % 9 - 4)
    batch = batch_of(name, seed)
    # With the identity and inverse links an offset has the unit of eta.
    batch = batch._replace(rows=[rows._replace(offset=0 * rows.offset) for rows in batch.rows])
    one, other = both(batch, lambda rows: rows._replace(y=c * rows.y))
    ok = sound(one, other)
    wanted = SCALED[name](one.params, c)
    np.testing.assert_allclose(
        other.params[ok], wanted[ok], rtol=1e-6, atol=1e-7 * np.abs(wanted).min()
    )


@pytest.mark.parametrize(
    ("link", "mirror"),
    ((links.Logit(), links.Logit()), (links.CLogLog(), links.LogLog())),
    ids=("logit", "cloglog"),
)
@SOME
@given(seed=st.integers(0, 2**31))
def test_failures_are_successes_mirrored(link, mirror, seed):
    batch = batch_of("binomial logit", seed)
    plain = [filled(rows, batch.random) for rows in batch.rows] * 2
    turned = [rows._replace(y=1.0 - rows.y, offset=-rows.offset) for rows in plain]
    one = fit_lanes(batch, plain, [families.Binomial(link)] * len(plain))
    other = fit_lanes(batch, turned, [families.Binomial(mirror)] * len(plain))
    one, other = (jax.tree.map(np.asarray, v) for v in (one, other))
    agree(one, other, sound(one, other), params=-one.params)


@over_seeds
def test_at_convergence_the_score_is_zero_and_every_number_sound(name, seed):
    batch = batch_of(name, seed)
    one, other = both(batch, lambda rows: rows.pick(np.arange(P + 1, len(rows.y))))
    ok = sound(one)
    assert np.all(ok | np.isin(one.status, (Status.separated, Status.boundary, Status.diverged)))
    for found in (one, other):
        check_numbers(found)
    for i in np.flatnonzero(ok):
        assert (
            decrement(batch.families[i], batch.rows[i], one.params[i], one.cov_unscaled[i]) < 1e-12
        )
    rows = [np.sum(r.freq_weights) for r in batch.rows]
    np.testing.assert_array_equal(one.df_resid, np.array(rows) - P)


def check_numbers(found):
    """Converged fits are finite with positive errors; a fit without a number has a status."""
    ok = found.converged
    assert np.all(found.deviance[ok] >= 0)
    variances = np.diagonal(found.cov_unscaled, axis1=1, axis2=2)
    finite = np.isfinite(found.params).all(axis=1) & np.isfinite(variances).all(axis=1)
    assert np.all(finite[ok]) and np.all(variances[ok] > 0)
    lost = np.isnan(found.params).any(axis=1)
    assert np.all(np.isin(found.status[lost], (Status.singular, Status.invalid_data)))


def decrement(family, rows, beta, cov):
    """s' C s / phi of the score written out: the squared distance to the root, in errors."""
    eta = rows.X @ beta + rows.offset
    mu, slope = (at_rows(f, eta) for f in (family.link.inverse, family.link.inverse_deriv))
    weight = rows.var_weights * rows.freq_weights * rows.n_trials
    score = rows.X.T @ (weight * (rows.y - mu) * slope / at_rows(family.variance, mu))
    return score @ cov @ score


@pytest.mark.parametrize("name", CONCAVE)
@SOME
@given(seed=st.integers(0, 2**31))
def test_no_coefficients_nearby_or_afar_fit_better(name, seed):
    batch = batch_of(name, seed)
    one, _ = both(batch, lambda rows: rows)
    for i in np.flatnonzero(sound(one)):
        family, rows = batch.families[i], batch.rows[i]
        best = deviance(family, rows, one.params[i])
        np.testing.assert_allclose(best, one.deviance[i], rtol=1e-10, atol=1e-12)
        for size in 10.0 ** batch.random.uniform(-4, 0.5, 8):
            beta = one.params[i] + size * batch.random.standard_normal(P)
            eta = rows.X @ beta + rows.offset
            if family.mean_space.holds(at_rows(family.link.inverse, eta).min()):
                assert deviance(family, rows, beta) >= best - 1e-10 * (1 + best)


def deviance(family, rows, beta):
    mu = at_rows(family.link.inverse, rows.X @ beta + rows.offset)
    weight = rows.var_weights * rows.freq_weights * rows.n_trials
    return np.sum(weight * at_rows(family.unit_deviance, rows.y, mu))


@over_seeds
def test_dependent_columns_are_called_singular(name, seed):
    def depend(rows):
        return rows._replace(X=np.column_stack([rows.X[:, :2], rows.X[:, 0] - 2 * rows.X[:, 1]]))

    one, other = both(batch_of(name, seed), depend)
    check_numbers(one)
    assert np.all(other.status == Status.singular)
    assert np.isnan(other.params).all() and np.isnan(other.loglike).all()


def spoil(rows, random):
    """A data set made impossible in one of many ways."""
    rows = Rows(*(v.copy() for v in rows))
    column = random.choice(["X", "y", "offset", "var_weights", "freq_weights"])
    wrong = [np.nan, np.inf, -np.inf]
    getattr(rows, column)[random.integers(len(rows.y))] = random.choice(wrong)
    return rows


@over_seeds
def test_a_lane_knows_nothing_of_its_neighbours(name, seed):
    batch = batch_of(name, seed)
    clean = [filled(rows, batch.random) for rows in batch.rows] * 2
    bad = int(batch.random.integers(len(clean)))
    spoilt = list(clean)
    spoilt[bad] = filled(spoil(batch.rows[bad % CASES], batch.random), batch.random)
    one, other = fit_lanes(batch, clean), fit_lanes(batch, spoilt)
    assert int(other.status[bad]) == Status.invalid_data and np.isnan(other.params[bad]).all()
    rest = np.arange(len(clean)) != bad
    for field in ("params", "cov_unscaled", "scale", "deviance", "loglike", "status", "n_iter"):
        mine, theirs = (np.asarray(getattr(v, field)) for v in (one, other))
        np.testing.assert_array_equal(mine[rest], theirs[rest], err_msg=field)
    # The same inputs give the same bits.
    again = fit_lanes(batch, clean)
    np.testing.assert_array_equal(again.params, one.params)


@pytest.mark.parametrize("name", list(KINDS)[:: 1 if NIGHTLY else 3])
@SOME
@given(seed=st.integers(0, 2**31))
def test_a_lane_is_a_fit(name, seed):
    batch = batch_of(name, seed)
    lanes = [filled(rows, batch.random) for rows in batch.rows] * 2
    many = jax.tree.map(np.asarray, fit_lanes(batch, lanes))
    given = [rows._asdict() for rows in lanes[:2]]
    for i, keywords in enumerate(given):
        if not batch.families[i].counts_trials:
            keywords.pop("n_trials")
        family = jax.tree.map(np.asarray, batch.families[i])
        alone = fit(family=family, **keywords)
        assert int(alone.status) == many.status[i]
        for field in ("params", "cov_unscaled", "scale", "deviance", "loglike"):
            np.testing.assert_allclose(
                getattr(alone, field), getattr(many, field)[i], rtol=1e-8, atol=1e-10
            )


# The door: statistics that a `Fit` has not


DOOR = {name: FEW[name] for name in ("binomial logit", "gamma inverse")}
STATISTICS = (
    *("params", "bse", "tvalues", "pvalues", "scale", "deviance", "null_deviance", "llf", "llnull"),
    *("aic", "bic_llf", "pearson_chi2", "df_resid", "df_model"),
)


def model_of(family, rows):
    trials = rows.n_trials if family.counts_trials else None
    return jaxglm.GLM(
        rows.y, rows.X, family, offset=rows.offset, var_weights=rows.var_weights,
        freq_weights=rows.freq_weights, n_trials=trials,
    )  # fmt: skip


@pytest.mark.parametrize("name", DOOR)
@SOME
@given(seed=st.integers(0, 2**31))
def test_at_the_door_a_frequency_is_a_row_repeated(name, seed):
    kind, random = DOOR[name], np.random.default_rng(seed)
    family = kind.make(random.uniform())
    # Twelve rows that count for twenty-four, so that every draw has the same shapes.
    rows = draw_rows(kind, family, random).pick(np.arange(12) % 8)
    rows = rows._replace(freq_weights=np.tile([1.0, 2.0, 3.0], 4))
    often = rows.pick(np.repeat(np.arange(12), rows.freq_weights.astype(int)))
    often = often._replace(freq_weights=np.ones(24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jaxglm.FitWarning)
        one, other = (model_of(family, r).fit() for r in (rows, often))
    assert one.status is other.status
    if one.converged:
        for statistic in STATISTICS:
            got, wanted = np.asarray(getattr(other, statistic)), np.asarray(getattr(one, statistic))
            np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9, err_msg=statistic)
        for kind_ in ("HC0", "HC1", "observed"):
            got, wanted = (r.with_covariance(kind_).bse for r in (other, one))
            np.testing.assert_allclose(got, wanted, rtol=1e-7, err_msg=kind_)
