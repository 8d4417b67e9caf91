"""fit_many equals a list of fits, whatever the chunk, the order and the neighbours."""

import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import (
    GLM,
    Status,
    _chunks,
    batch,
    designs,
    families,
    fit,
    fit_many,
    lane_arguments,
    lane_groups,
    links,
    penalties,
    solvers,
)
from jaxglm._threads import compiled

N, P, B = 40, 3, 19
FIELDS = ("params", "cov_unscaled", "scale", "deviance", "loglike", "df_resid", "status")


def make_design(seed=0, lanes=()):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(*lanes, N, P))
    X[..., 0] = 1.0
    return X


def draw(family, X, seed=1, lanes=(B,)):
    """Responses of the family at small linear predictors, one row of y a lane."""
    key = jax.random.key(seed)
    eta = np.broadcast_to(X @ np.array([0.2, 0.3, -0.2]), (*lanes, N))
    with jax.enable_x64(True):
        mu = family.link.inverse(jnp.asarray(eta))
        source = family if family.has_likelihood else families.Poisson()
        y = source.sample(key, mu, 1.0 if source.fixed_scale else 0.2)
        return np.array(y)


FAMILIES = {
    "gaussian": families.Gaussian(),
    "binomial": families.Binomial(),
    "probit": families.Binomial(links.Probit()),
    "poisson": families.Poisson(),
    "gamma": families.Gamma(links.Log()),
    "inverse gaussian": families.InverseGaussian(links.Log()),
    "negative binomial": families.NegativeBinomial(0.5),
    "tweedie": families.Tweedie(1.5),
    "quasi": families.Quasi(lambda mu: mu, links.Log(), mean_space=families.POSITIVE),
}


def assert_same(batch, single, lane, rtol=1e-9):
    for name in FIELDS:
        theirs = np.asarray(getattr(single, name))
        np.testing.assert_allclose(
            np.asarray(getattr(batch, name))[lane], theirs, rtol=rtol, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_lanes_equal_single_fits(name):
    family, X = FAMILIES[name], make_design()
    Y = draw(family, X)
    batch = fit_many(X, Y, family)
    assert batch.params.shape == (B, P) and batch.bse.shape == (B, P)
    assert (batch.status == Status.converged).all()
    for lane in (0, B - 1):
        assert_same(batch, fit(X, Y[lane], family), lane)


def test_chunk_size_and_order_are_irrelevant():
    X = make_design()
    Y = draw(families.Poisson(), X)
    whole = fit_many(X, Y, families.Poisson())
    order = np.random.default_rng(3).permutation(B)
    for chunk in (1, 4, 8):
        parts = fit_many(X, Y[order], families.Poisson(), chunk_size=chunk)
        np.testing.assert_allclose(parts.params, whole.params[order], rtol=1e-11)
        np.testing.assert_allclose(parts.bse, whole.bse[order], rtol=1e-11)


def spoil(Y, kind):
    """One lane made impossible, in one way."""
    Y = Y.copy()
    lane = {
        "nan": lambda y: np.where(np.arange(N) == 3, np.nan, y),
        "outside": lambda y: np.where(np.arange(N) == 3, 2.0, y),
        "all zero": np.zeros_like,
        "separated": lambda y: (make_design()[:, 1] > 0).astype(float),
    }[kind]
    Y[5] = lane(Y[5])
    return Y


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("nan", Status.invalid_data),
        ("outside", Status.invalid_data),
        ("all zero", Status.separated),
        ("separated", Status.separated),
    ],
)
def test_a_bad_lane_leaves_its_neighbours_bit_identical(kind, status):
    X = make_design()
    Y = draw(families.Binomial(), X)
    # Fractional data in both batches, so that both take the general path.
    Y[0, 0] = 0.5
    clean, spoilt = (fit_many(X, y, families.Binomial()) for y in (Y, spoil(Y, kind)))
    others = np.arange(B) != 5
    for name in FIELDS:
        mine, theirs = (np.asarray(getattr(f, name))[others] for f in (clean, spoilt))
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert int(spoilt.status[5]) == status
    assert list(spoilt.failed) == [5]
    assert spoilt.tally() == {"converged": B - 1, status.name: 1}


@pytest.mark.parametrize("odd", [0.5, 2.0, np.nan])
def test_responses_are_judged_by_all_lanes(odd, monkeypatch):
    # The first lanes hold 0 and 1 alone, a later one does not.
    monkeypatch.setattr(lane_arguments, "FEW", 4 * N)
    X, family = make_design(), families.Binomial()
    y = draw(family, X)
    y[-2, 3] = odd
    many = fit_many(X, y, family)
    assert many.family.binary == np.isnan(odd)
    assert many.tally() == (
        {"converged": B} if odd == 0.5 else {"converged": B - 1, "invalid_data": 1}
    )
    for lane in (0, B - 2) if odd == 0.5 else (0, B - 1):
        alone = fit(X, y[lane], family)
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(many, name)[lane], getattr(alone, name), rtol=1e-10, atol=1e-12
            )


def test_a_singular_or_short_lane_fails_alone():
    X = make_design(lanes=(B,))
    X[2, :, 2] = X[2, :, 1]
    weights = np.ones((B, N))
    weights[4, 2:] = 0.0
    y = draw(families.Poisson(), make_design(), lanes=())
    batch = fit_many(X, y, families.Poisson(), freq_weights=weights)
    assert list(batch.failed) == [2, 4]
    assert (np.asarray(batch.status)[[2, 4]] == Status.singular).all()
    assert np.isnan(np.asarray(batch.params)[[2, 4]]).all()
    assert_same(batch, fit(X[0], y, families.Poisson(), freq_weights=weights[0]), 0)


def test_every_argument_may_have_lanes():
    X = make_design()
    rng = np.random.default_rng(5)
    y = draw(families.NegativeBinomial(0.5), X, lanes=())
    lanes = {
        "offset": rng.normal(size=(B, N)) * 0.1,
        "var_weights": rng.uniform(0.5, 2, size=(B, N)),
        "freq_weights": rng.integers(0, 3, size=(B, N)).astype(float),
    }
    alpha, strength = rng.uniform(0.2, 2, size=B), rng.uniform(0.1, 3, size=B)
    batch = fit_many(
        X, y, families.NegativeBinomial(alpha), penalty=penalties.Ridge(strength), **lanes
    )
    for lane in (0, 7):
        single = fit(
            X,
            y,
            families.NegativeBinomial(alpha[lane]),
            penalty=penalties.Ridge(strength[lane]),
            **{name: value[lane] for name, value in lanes.items()},
        )
        assert_same(batch, single, lane)


def test_trials_and_counts_may_have_lanes():
    X = make_design()
    rng = np.random.default_rng(6)
    trials = rng.integers(1, 9, size=(B, N)).astype(float)
    successes = rng.binomial(trials.astype(int), 0.4).astype(float)
    counts = np.stack([successes, trials - successes], axis=-1)
    by_share = fit_many(X, successes / trials, families.Binomial(), n_trials=trials)
    by_count = fit_many(X, counts, families.Binomial())
    np.testing.assert_allclose(by_share.params, by_count.params, rtol=1e-12)
    np.testing.assert_allclose(by_share.loglike, by_count.loglike, rtol=1e-12)
    assert_same(by_count, fit(X, counts[3], families.Binomial()), 3)


def test_augmented_designs_equal_stacked_ones():
    rng = np.random.default_rng(7)
    shared, varying = make_design(), rng.normal(size=(B, N))
    y = draw(families.Binomial(), shared, lanes=())
    stacked = np.concatenate([np.broadcast_to(shared, (B, N, P)), varying[..., None]], axis=2)
    scan = fit_many(designs.Augmented(shared, varying), y, families.Binomial())
    full = fit_many(stacked, y, families.Binomial())
    np.testing.assert_allclose(scan.params, full.params, rtol=1e-9)
    np.testing.assert_allclose(scan.bse, full.bse, rtol=1e-9)


def test_alpha_is_estimated_in_each_lane():
    X = make_design()
    Y = draw(families.NegativeBinomial(0.8), X)
    batch = fit_many(X, Y, families.NegativeBinomial(alpha=None))
    assert batch.family.alpha.shape == (B,)
    for lane in (1, 4):
        single = fit(X, Y[lane], families.NegativeBinomial(alpha=None))
        assert_same(batch, single, lane, rtol=1e-7)
        np.testing.assert_allclose(batch.family.alpha[lane], single.family.alpha, rtol=1e-7)


def test_traced_lanes_can_be_differentiated():
    X = jnp.asarray(make_design())
    Y = jnp.asarray(draw(families.Poisson(), make_design()))

    def total(X):
        return jnp.sum(fit_many(X, Y, families.Poisson(), chunk_size=8).params ** 2)

    one_by_one = jax.grad(
        lambda X: sum(jnp.sum(fit(X, y, families.Poisson()).params ** 2) for y in Y)
    )
    np.testing.assert_allclose(jax.grad(total)(X), one_by_one(X), rtol=1e-9, atol=1e-12)


def test_the_way_back_keeps_coefficients_and_not_row_quantities():
    X, Y = jnp.asarray(make_design()), jnp.asarray(draw(families.Binomial(), make_design()))
    _, back = jax.vjp(lambda X, Y: fit_many(X, Y, families.Binomial()).params, X, Y)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(back)) < 2 * Y.nbytes


@pytest.mark.parametrize("own", ["y", "X"])
def test_loops_of_many_lanes_run_in_parts(monkeypatch, own):
    X, Y = make_design(lanes=(B,)), draw(families.Binomial(), make_design())
    # Of a length of their own: what other tests compiled has no parts.
    X, Y = X[:, 1:], Y[:, 1:]
    Y[3] = X[0, :, 1] > 0
    X, Y = (X[:1].repeat(B, 0), Y) if own == "y" else (X, Y[:1].repeat(B, 0))
    axes = (None, 0) if own == "y" else (0, None)
    data = tuple(v[0] if axis is None else v for v, axis in zip((X, Y), axes, strict=True))
    mapped = jax.vmap(lambda X, y: fit(X, y, families.Binomial()), axes)
    wanted = [fit(X[b], Y[b], families.Binomial()) for b in range(B)]
    # Parts of 8 lanes of one design, and of a few of their own.
    monkeypatch.setattr(_chunks, "CPU_BYTES", 8 * N * 8)
    assert "scan" in str(jax.make_jaxpr(mapped)(*data))
    found = mapped(*data)
    for lane in range(B):
        if wanted[lane].converged:
            assert_same(found, wanted[lane], lane)
    np.testing.assert_array_equal(found.status, [alone.status for alone in wanted])
    slope = jax.grad(lambda y: jnp.sum(mapped(data[0], y).params[5:7]))(data[1])
    alone = [
        jax.grad(lambda y, b=b: jnp.sum(fit(X[b], y, families.Binomial()).params))(Y[b])
        for b in (5, 6)
    ]
    if own == "y":
        np.testing.assert_allclose(slope[5:7], alone, rtol=1e-9)
    else:
        np.testing.assert_allclose(slope, sum(alone), rtol=1e-9)


@pytest.mark.dtype
def test_dtype_follows_the_kind_of_array():
    X, Y = make_design(), draw(families.Poisson(), make_design())
    assert fit_many(X, Y, families.Poisson()).params.dtype == np.float64
    wide = fit_many(X, Y, families.Poisson(), dtype=np.float32)
    own = fit_many(jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32), families.Poisson())
    assert wide.params.dtype == own.params.dtype == np.float32
    np.testing.assert_allclose(wide.params, own.params, rtol=1e-6)
    with jax.enable_x64(True):
        given = jnp.asarray(X), jnp.asarray(Y, float)
    # Whatever the process's flag.
    assert fit_many(*given, families.Poisson()).params.dtype == np.float64


@pytest.mark.parametrize(
    ("narrow", "dtype"),
    [(bool, np.float64), (np.uint8, np.float32), (np.int16, np.float64), (np.float32, np.float64)],
)
def test_narrow_numbers_are_the_same_numbers(narrow, dtype):
    X, Y = separable(B, 2)
    weights = np.random.default_rng(5).integers(0, 2 if narrow is bool else 5, (B, N))
    data = {"freq_weights": weights, "offset": np.zeros((B, N))}
    wanted, found = (
        fit_many(
            X,
            Y.astype(kind),
            families.Binomial(),
            dtype=dtype,
            **{name: v.astype(kind) for name, v in data.items()},
        )
        for kind in (dtype, narrow)
    )
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_covariance_can_be_left_out():
    X, Y = make_design(), draw(families.Poisson(), make_design())
    bare = fit_many(X, Y, families.Poisson(), cov=False)
    assert bare.cov_unscaled is None
    with pytest.raises(ValueError, match="cov=False"):
        _ = bare.bse


def hard_lanes(family, X):
    """Responses among which are all-zero, separated and invalid ones."""
    Y = draw(family, np.abs(X), lanes=(64,))
    Y[3] = 0.0
    Y[10] = (X[:, 1] > 0) * (1.0 if family.counts_trials else 5.0)
    Y[11] = (X[:, 1] > 0.5) * 1.0
    Y[17, 4] = np.nan
    return Y


@pytest.mark.parametrize("chunk", [4, None])
@pytest.mark.parametrize("name", ["binomial", "probit", "poisson", "negative binomial", "sqrt"])
def test_a_status_is_the_same_without_what_nobody_asks_for(name, chunk):
    family = families.Poisson(links.Sqrt()) if name == "sqrt" else FAMILIES[name]
    X = make_design()
    for design in (X, X[:, [0, 1, 1]]):
        Y = hard_lanes(family, design)
        full = fit_many(design, Y, family, chunk_size=chunk)
        bare = fit_many(design, Y, family, cov=False, likelihood=False, chunk_size=chunk)
        np.testing.assert_array_equal(bare.status, full.status)
        assert len(full.tally()) > 1
        np.testing.assert_allclose(bare.params, full.params, rtol=1e-9)


def test_the_likelihood_can_be_left_out():
    X, Y = make_design(), draw(families.Gamma(), make_design())
    bare = fit_many(X, Y, families.Gamma(), likelihood=False)
    full = fit_many(X, Y, families.Gamma())
    assert bare.deviance is None and bare.loglike is None
    np.testing.assert_array_equal(bare.status, full.status)
    np.testing.assert_allclose(bare.cov_params, full.cov_params, rtol=1e-12)


def few_rows(n):
    """Three lanes of n rows, the arguments of all shapes that rows may have."""
    rng = np.random.default_rng(n)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    data = {
        "y": rng.integers(1, 5, (3, n, 2)).astype(float),
        "offset": 0.1 * rng.normal(size=n),
        "var_weights": rng.uniform(0.5, 2.0, (3, n)),
        "freq_weights": 2.0,
    }
    return designs.Augmented(X[:, :2], rng.normal(size=(3, n))), data


@pytest.mark.parametrize("n", [65, 67])
def test_nearly_as_many_rows_share_a_compilation_and_change_no_number(n):
    X, data = few_rows(66)
    fit_many(X, family=families.Binomial(), solver=solvers.IRLS(max_steps=50), **data)
    known = compiled(batch._fit_group, 0, "cpu", False)._cache_size()
    X, data = few_rows(n)
    many = fit_many(X, family=families.Binomial(), solver=solvers.IRLS(max_steps=50), **data)
    assert compiled(batch._fit_group, 0, "cpu", False)._cache_size() == known
    for lane in range(3):
        mine = {k: v[lane] if np.shape(v)[:1] == (3,) else v for k, v in data.items()}
        alone = fit(
            designs.Augmented(X.shared, X.varying[lane]), family=families.Binomial(), **mine
        )
        for name in FIELDS:
            np.testing.assert_allclose(getattr(many, name)[lane], getattr(alone, name), rtol=1e-11)


@pytest.fixture
def compilations():
    """The programs compiled while a test runs."""
    found = []

    def listen(event, _, **about):
        if event.endswith("backend_compile_duration"):
            found.append(about)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def separable(lanes, failing):
    """Binary responses of one design, the first so many perfectly told apart by a column."""
    X = make_design()
    y = (np.random.default_rng(2).random((lanes, N)) < 0.5).astype(float)
    y[:failing] = X[:, 1] > 0
    return X, y


def test_other_numbers_of_lanes_and_of_unfinished_ones_compile_nothing(compilations):
    def statuses(lanes, failing):
        fits = fit_many(*separable(lanes, failing), families.Binomial(), chunk_size=8)
        return np.asarray(fits.status)

    statuses(90, 0)
    assert compilations
    compilations.clear()
    for lanes, failing in [(90, 1), (90, 11), (89, 3), (84, 40)]:
        found = statuses(lanes, failing)
        assert (found[:failing] == Status.separated).all()
        assert (found[failing:] == Status.converged).all()
    assert compilations == []


@pytest.mark.parametrize("lanes", [1, 4, 7, 8, 9, 37, 64, 65, 200, 2000])
@pytest.mark.parametrize("on_host", [True, False])
def test_results_of_groups_come_back_under_their_own_numbers(lanes, on_host):
    module = np if on_host else jnp
    leaf = module.arange(10.0 * lanes).reshape(lanes, 10)
    first = lane_groups.all_groups(lanes, 8, 2)
    room = lane_groups.room_for(jnp.asarray(lane_groups.take(leaf, first[0])), lanes, on_host)
    # Every third lane unfinished, those at both ends, all, one.
    for step in (3, max(1, lanes - 1), 1, lanes):
        whole, known = room, np.arange(0, lanes, step)
        again = lane_groups.regrouped(known, 8, 2, first[0].size)
        assert len({group.size for group in first + again}) == 1
        for group in first:
            whole = lane_groups.put(whole, jnp.asarray(lane_groups.take(leaf, group)), group)
        np.testing.assert_array_equal(whole, leaf)
        for group in again:
            whole = lane_groups.put(whole, -jnp.asarray(lane_groups.take(leaf, group)), group)
        np.testing.assert_array_equal(whole[known], -leaf[known])
        others = np.setdiff1d(np.arange(lanes), known)
        np.testing.assert_array_equal(whole[others], leaf[others])
        room = whole


def test_unfinished_lanes_at_both_ends_are_finished_as_their_own():
    X, y = separable(4, 0)
    y[0], y[-1] = X[:, 1] > 0, X[:, 1] > 0.5
    fits = fit_many(X, y, families.Binomial(), chunk_size=4)
    wanted = [fit(X, row, families.Binomial()).status for row in y]
    np.testing.assert_array_equal(fits.status, wanted)
    assert fits.status[0] == fits.status[-1] == Status.separated


ON_DEVICES = """
import jax, numpy as np
from jaxglm import families, fit_many
X = np.column_stack([np.ones(40), np.linspace(-1, 1, 40)])
y = np.random.default_rng(0).poisson(2.0, (37, 40))
one, spread = (
    fit_many(X, y, families.Poisson(), chunk_size=4, devices=devices)
    for devices in (None, jax.devices())
)
assert len(jax.devices()) == 3
for name in ("params", "cov_unscaled", "status", "loglike"):
    assert np.array_equal(getattr(one, name), getattr(spread, name)), name
"""


def test_lanes_spread_over_devices_come_back_the_same():
    flags = "--xla_force_host_platform_device_count=3 --xla_backend_optimization_level=0"
    run = [sys.executable, "-c", ON_DEVICES]
    done = subprocess.run(
        run, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_progress_reports_every_lane(capsys, caplog):
    X, Y = make_design(), draw(families.Poisson(), make_design())
    with caplog.at_level("INFO", "jaxglm"):
        fit_many(X, Y, families.Poisson(), progress=True, chunk_size=4)
    assert f"{B}/{B}" in capsys.readouterr().err
    assert f"{B} x fit in" in caplog.text and "0 failed" in caplog.text


def test_an_interrupted_batch_leaves_nothing_behind(monkeypatch):
    X, Y = make_design(), draw(families.Poisson(), make_design())
    wanted = fit_many(X, Y, families.Poisson(), chunk_size=4)

    @contextlib.contextmanager
    def interrupted(*_):
        def advance(*_):
            raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batch, "progress_bar", interrupted)
        fit_many(X, Y, families.Poisson(), chunk_size=4, progress=True)
    again = fit_many(X, Y, families.Poisson(), chunk_size=4)
    jax.tree.map(np.testing.assert_array_equal, again, wanted)


def test_threads_may_share_what_they_fit():
    X, Y = make_design(), draw(families.Poisson(), make_design())
    model = GLM(Y[0], X, families.Poisson())

    def work(_):
        many = fit_many(X, Y, families.Poisson(), chunk_size=4)
        return np.asarray(many.params), model.fit().params

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(work, range(8))
    for found in others:
        jax.tree.map(np.testing.assert_array_equal, found, first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros((B, N + 1))}, r"y: shape \(19, 41\)"),
        ({"offset": np.zeros((B + 1, N))}, "differ in their number of lanes"),
        ({"var_weights": np.ones((B, N, 1))}, "var_weights: shape"),
        ({"X": np.ones((2, 3, N, P))}, "X: shape"),
        ({"y": np.zeros(N)}, "no argument has a lane axis"),
        ({"y": np.full((B, N), "a")}, "y: dtype"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"scale": "x3"}, "scale='x3'"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"X": make_design(), "y": np.zeros((B, N)), "family": families.Poisson()} | change
    X, y, family = (arguments.pop(k) for k in ("X", "y", "family"))
    with pytest.raises((ValueError, TypeError), match=message):
        fit_many(X, y, family, **arguments)
