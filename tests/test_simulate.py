"""Simulation studies: draws by number, chunks and resumption, measures by hand, known truths."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import GLM, families, links
from jaxglm.simulate import (
    Analysis,
    Estimand,
    Sample,
    Study,
    StudyResults,
    draw_response,
    find_power,
    performance,
    relative_precision,
    solve_power,
    wald_power,
)

pytestmark = pytest.mark.nightly

KEY = jax.random.key(42)
GAUSSIAN, BINOMIAL = families.Gaussian(), families.Binomial()
N = 30


def design(key, cell):
    x = jax.random.normal(key, (N,))
    return jnp.column_stack([jnp.ones(N), x])


def normal_response(key, sample, cell):
    return draw_response(key, sample, GAUSSIAN, [1.0, cell["effect"]], 4.0)


SLOPE = {"slope": Estimand(1, lambda cell: cell["effect"])}
T = {"t": Analysis(GAUSSIAN, use_t=True)}
STUDY = Study({"effect": [0.0, 1.0]}, design, normal_response, T, SLOPE, reps=2000)
SHORT = dataclasses.replace(STUDY, reps=70, chunk=32)


@cache
def run_of_normal():
    return STUDY.run(KEY)


def same(a, b):
    return all(np.array_equal(v, w, equal_nan=True) for v, w in zip(a, b, strict=True))


def close(got, wanted, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted, float), rtol=rtol)


def test_a_replicate_is_drawn_alone_as_among_others():
    whole = STUDY.draw(KEY, 1, np.arange(50))
    alone = STUDY.draw(KEY, 1, [17])
    assert same([alone.X[0], alone.y[0]], [whole.X[17], whole.y[17]])
    assert whole.X.shape == (50, N, 2) and whole.offset is None and whole.X.dtype == np.float64
    assert len(np.unique(whole.y)) == 50 * N
    assert np.all(STUDY.draw(KEY, 0, [17]).y != alone.y)
    outcome = STUDY.analyse(alone)["t"]
    results = GLM(alone.y[0], alone.X[0], GAUSSIAN).fit()
    close(outcome.estimate[0, 0], results.params[1], rtol=1e-10)
    held = run_of_normal().outcomes["t"]
    close(outcome.estimate[0], held.estimate[1, 17], rtol=1e-10)
    close(outcome.high[0], held.high[1, 17], rtol=1e-10)


def test_limits_by_all_cores_are_those_of_fewer_lanes():
    analyses = {
        "profile": Analysis(GAUSSIAN, interval="profile"),
        "hc3": Analysis(GAUSSIAN, cov="HC3"),
    }
    study = dataclasses.replace(STUDY, analyses=analyses)
    many, few = (study.analyse(study.draw(KEY, 1, np.arange(k))) for k in (131, 40))
    for name in analyses:
        assert many[name].low.shape == (131, 1)
        for one, other in zip(many[name], few[name], strict=True):
            np.testing.assert_allclose(one[:40], other, rtol=1e-9)
    last = study.analyse(study.draw(KEY, 1, [130]))["profile"]
    close(last.low[0], many["profile"].low[130], rtol=1e-9)


def test_columns_that_the_design_lacks_are_named():
    beyond = dataclasses.replace(SHORT, estimands={"slope": Estimand(2, lambda cell: 0.0)})
    with pytest.raises(
        ValueError, match=r"Estimand\(column=...\)=2: allowed are numbers of the 2 columns"
    ):
        beyond.run(KEY)
    for columns, message in (((0, 2), "allowed are numbers of the 2"), ((0,), r"estimands.*\[1\]")):
        with pytest.raises(ValueError, match=rf"Analysis\(columns=.*{message}"):
            dataclasses.replace(SHORT, analyses={"t": Analysis(GAUSSIAN, columns=columns)}).run(KEY)
    with pytest.raises(ValueError, match="column=2: allowed are numbers of the 2 columns"):
        wald_power(Sample(np.ones((5, 2))), GAUSSIAN, [1.0, 1.0], 2)


def test_traced_factors_change_no_number_and_trace_once():
    seen = []

    def watched(key, sample, cell):
        seen.append(cell["effect"])
        return normal_response(key, sample, cell)

    traced = dataclasses.replace(SHORT, response=watched, traced=("effect",)).run(KEY)
    assert len(seen) == 1 and isinstance(seen[0], jax.core.Tracer)
    with jax.enable_x64(False):
        study = dataclasses.replace(SHORT, response=watched, traced=("effect",), reps=2)
        assert study.run(KEY).outcomes["t"].estimate.dtype == seen[-1].dtype == np.float64
    plain = SHORT.run(KEY).outcomes["t"]
    np.testing.assert_allclose(traced.outcomes["t"].estimate, plain.estimate, rtol=1e-10)
    with pytest.raises(ValueError, match=r"traced: \['n'\]; allowed are the factors \['effect'\]"):
        dataclasses.replace(SHORT, traced=("n",))


def test_an_interrupted_study_goes_on_and_ends_with_the_same_numbers(tmp_path):
    straight = SHORT.run(KEY)
    first = SHORT.run(KEY, tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 6 and not list(tmp_path.glob("*.part"))
    assert same(first.outcomes["t"], straight.outcomes["t"])
    kept = files[0].stat().st_mtime_ns
    for file in files[2:5]:
        file.unlink()
    again = SHORT.run(KEY, tmp_path)
    assert same(again.outcomes["t"], straight.outcomes["t"])
    assert files[0].stat().st_mtime_ns == kept and all(file.exists() for file in files)


def test_an_interruption_in_a_chunk_leaves_whole_files_only(tmp_path):
    calls = []

    def halting(key, sample, cell):
        calls.append(cell["effect"])
        if cell["effect"] == 1.0:
            raise KeyboardInterrupt
        return normal_response(key, sample, cell)

    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(SHORT, response=halting).run(KEY, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3 and calls == [0.0, 1.0]
    assert same(SHORT.run(KEY, tmp_path).outcomes["t"], SHORT.run(KEY).outcomes["t"])


def test_a_folder_of_another_study_is_refused(tmp_path):
    SHORT.run(KEY, tmp_path)
    for change, name in (
        ({"factors": {"effect": [0.0, 2.0]}}, "factors"),
        ({"chunk": 35}, "chunk"),
        ({"analyses": {"t": Analysis(GAUSSIAN)}}, "analyses"),
    ):
        with pytest.raises(ValueError, match=f"with other {name}"):
            dataclasses.replace(SHORT, **change).run(KEY, tmp_path)
    with pytest.raises(ValueError, match="with other key"):
        SHORT.run(jax.random.key(1), tmp_path)


def test_the_t_interval_of_least_squares_is_exact():
    results = run_of_normal()
    assert results.tally() == {"t": [{"converged": 2000}, {"converged": 2000}]}
    for cell, effect in enumerate((0.0, 1.0)):
        found = results.performance("t", cell, "slope")
        for name, truth in (("coverage", 0.95), ("bias", 0.0), ("mean", effect)):
            assert abs(found[name].value - truth) < 4 * found[name].mcse, name
        # Of normal errors the model's standard error is right.
        assert abs(found["relative_error"].value) < 4 * found["relative_error"].mcse + 2
    null = results.performance("t", 0, "slope")["rejection"]
    assert abs(null.value - 0.05) < 4 * null.mcse
    assert results.performance("t", 1, "slope")["rejection"].value > 0.6


def test_monte_carlo_errors_are_the_spread_of_repeated_studies():
    rng = np.random.default_rng(9)
    n, studies = 200, 2000
    e = rng.normal(size=(studies, n))
    se = np.sqrt(rng.chisquare(20, size=(studies, n)) / 20)
    found = [performance(a, b, a - 1.96 * b, a + 1.96 * b, 0.0) for a, b in zip(e, se, strict=True)]
    for name in ("bias", "empirical_se", "mse", "model_se", "relative_error", "coverage"):
        spread = np.std([one[name].value for one in found])
        # A standard deviation of 2,000 values has a relative error of 1.6 %.
        close(np.sqrt(np.mean([one[name].mcse ** 2 for one in found])), spread, rtol=0.08)
    pairs = [relative_precision(a + 0.3 * b, a) for a, b in zip(e, e[::-1], strict=True)]
    close(np.mean([one.mcse for one in pairs]), np.std([one.value for one in pairs]), rtol=0.1)


def test_failed_replicates_are_left_out_of_measures_and_counted():
    e = np.array([1.0, 2.0, np.nan, 3.0])
    se = np.array([0.1, 0.1, np.nan, 0.1])
    found = performance(e, se, e - 1, e + 1, 2.0)
    assert found["bias"].value == 0.0 and found["bias"].n_used == 3
    assert found["convergence"].value == 0.75 and found["coverage"].n_used == 3
    none = performance(e[2:3], se[2:3], e[2:3], e[2:3], 2.0)
    assert np.isnan(none["bias"].value) and none["convergence"].value == 0.0


def logistic_response(key, sample, cell):
    return draw_response(key, sample, BINOMIAL, [-3.0, cell["effect"]])


LOGISTIC = Study(
    {"effect": [3.0]},
    design,
    logistic_response,
    {
        "wald": Analysis(BINOMIAL),
        "hc3": Analysis(BINOMIAL, cov="HC3"),
        "profile": Analysis(BINOMIAL, interval="profile"),
        "null": Analysis(BINOMIAL, columns=(1,)),
    },
    SLOPE,
    reps=40,
    fixed_design=True,
)


@cache
def run_of_logistic():
    return LOGISTIC.run(KEY)


def test_limits_are_those_of_the_door():
    found, sample = run_of_logistic(), LOGISTIC.draw(KEY, 0, np.arange(40))
    assert sample.X.shape == (N, 2) and sample.y.shape == (40, N)
    at = int(np.flatnonzero(found.outcomes["wald"].sound[0])[0])
    results = GLM(sample.y[at], sample.X, BINOMIAL).fit()
    wanted = {
        "wald": results.conf_int(),
        "hc3": results.with_covariance("HC3").conf_int(),
        "profile": results.conf_int(method="profile"),
        "null": GLM(sample.y[at], sample.X[:, 1:], BINOMIAL).fit().conf_int()[[0, 0]],
    }
    for name, limits in wanted.items():
        one = found.outcomes[name]
        close([one.low[0, at, 0], one.high[0, at, 0]], np.asarray(limits)[1], rtol=1e-6)


def test_separated_data_sets_are_counted_by_their_status():
    found = run_of_logistic()
    tally = found.tally()["wald"][0]
    assert sum(tally.values()) == 40 and tally["separated"] > 0
    used = found.performance("wald", 0, "slope")
    assert used["bias"].n_used == tally["converged"]
    close(used["convergence"].value, tally["converged"] / 40)


@pytest.mark.parametrize("backend", ("pandas", "polars"))
def test_the_frame_has_a_row_per_measure(backend):
    frame = run_of_normal().to_frame(backend)
    assert list(frame.columns) == [
        "effect", "analysis", "estimand", "measure", "value", "mcse", "n_used"
    ]  # fmt: skip
    assert len(frame) == 2 * 10
    wanted = run_of_normal().performance("t", 1, "slope")["mse"]
    assert frame["measure"].to_list()[13] == "mse" and frame["value"].to_list()[13] == wanted.value


LARGE = 120


def uneven_design(key, cell):
    x, missed = jax.random.normal(key, (LARGE,)), jax.random.fold_in(key, 1)
    kept = jax.random.bernoulli(missed, 1.0 - cell["missing"], (LARGE,)).astype(float)
    spread = {"equal": 1.0, "uneven": 0.5 + 3.0 * (jnp.arange(LARGE) % 2)}[cell["weights"]]
    X = jnp.column_stack([jnp.ones(LARGE), x])
    return Sample(X, var_weights=spread * jnp.ones(LARGE), freq_weights=kept)


def test_noise_weights_and_missing_rows_are_factors_that_keep_the_t_interval_exact():
    study = Study(
        {"phi": [1.0, 9.0], "weights": ["equal", "uneven"], "missing": [0.0, 0.5], "effect": [0.5]},
        uneven_design,
        lambda key, sample, cell: draw_response(key, sample, GAUSSIAN, [1.0, 0.5], cell["phi"]),
        T, SLOPE, reps=1000,
    )  # fmt: skip
    results = study.run(KEY)
    spread = []
    for i in range(len(study.cells)):
        found = results.performance("t", i, "slope")
        assert found["coverage"].n_used == 1000
        assert abs(found["coverage"].value - 0.95) < 4 * found["coverage"].mcse
        assert abs(found["bias"].value) < 4 * found["bias"].mcse
        spread.append(found["empirical_se"].value)
    whole, half = np.array(spread)[::2], np.array(spread)[1::2]
    # Half of the rows: twice the variance. A standard deviation of 1,000 values is off by 2 %.
    np.testing.assert_allclose(half / whole, np.sqrt(2.0), rtol=0.15)
    np.testing.assert_allclose(np.array(spread)[4:] / np.array(spread)[:4], 3.0, rtol=0.15)


def drawn_counts(key, sample, cell):
    link = {"log": links.Log(), "sqrt": links.Sqrt()}[cell["link"]]
    poisson, mixed = families.Poisson(link), families.NegativeBinomial(0.5, link)
    truth = [3.0, cell["effect"]]
    return draw_response(key, sample, mixed if cell["family"] == "mixed" else poisson, truth)


def test_a_wrong_family_costs_coverage_and_a_wrong_link_makes_bias():
    study = Study(
        {"family": ["poisson", "mixed"], "link": ["log", "sqrt"], "effect": [0.3]},
        lambda key, cell: jnp.column_stack([jnp.ones(LARGE), jax.random.normal(key, (LARGE,))]),
        drawn_counts,
        {"model": Analysis(families.Poisson()), "robust": Analysis(families.Poisson(), cov="HC3")},
        SLOPE, reps=1000,
    )  # fmt: skip
    results = study.run(KEY)
    right, wrong_link, wrong_family, _ = (
        results.performance("model", i, "slope") for i in range(len(study.cells))
    )
    assert abs(right["coverage"].value - 0.95) < 4 * right["coverage"].mcse
    assert abs(right["bias"].value) < 4 * right["bias"].mcse
    assert abs(wrong_link["bias"].value) > 20 * wrong_link["bias"].mcse
    assert wrong_family["coverage"].value < 0.7 and wrong_family["relative_error"].value < -40
    robust = results.performance("robust", 2, "slope")
    assert abs(robust["coverage"].value - 0.95) < 4 * robust["coverage"].mcse + 0.02


def test_the_smooth_search_finds_a_size_that_simulation_confirms():
    def sized_design(key, cell):
        return jnp.column_stack([jnp.ones(cell["n"]), jax.random.normal(key, (cell["n"],))])

    study = Study(
        {"n": [0], "effect": [0.6]}, sized_design, logistic_response, {"wald": Analysis(BINOMIAL)},
        SLOPE, reps=500,
    )  # fmt: skip
    rare = solve_power(
        study, "n", 100, 1000, BINOMIAL, lambda cell: jnp.array([-3.0, cell["effect"]]), key=KEY
    )
    assert 0 < rare.se < 0.02 * rare.value
    n = round(float(rare.value))
    held = dataclasses.replace(study, factors={"n": [n], "effect": [0.6]}, reps=4000).run(KEY)
    found = held.performance("wald", 0, "slope")["rejection"]
    # What is left to the large-sample formula: two points.
    assert abs(found.value - 0.8) < 4 * found.mcse + 0.02


SIZES = 96


def sized(key, cell):
    # All sizes have the same shape: rows beyond n have weight 0.
    x = jnp.where(jnp.arange(SIZES) % 2 == 0, 0.5, -0.5)
    present = jnp.where(jnp.arange(SIZES) < cell["n"], 1.0, 0.0)
    return Sample(jnp.column_stack([jnp.ones(SIZES), x]), freq_weights=present)


def test_the_sample_size_of_the_t_test_is_found():
    study = Study(
        {"n": [0], "effect": [0.8]}, sized, lambda key, sample, cell: draw_response(
            key, sample, GAUSSIAN, [0.0, cell["effect"]]
        ), {"t": Analysis(GAUSSIAN, use_t=True)}, SLOPE, reps=400, fixed_design=True,
    )  # fmt: skip
    found = find_power(study, "n", 10, SIZES, key=KEY, power=0.8, rounds=3)
    # Two groups of n/2 differing by 0.8 sd: 2 * 25.5 by the noncentral t.
    assert abs(found.value - 51) < 4 * found.se + 1 and found.se < 3
    close(found.at(found.value), 0.8, rtol=1e-6)
    step = 1e-4
    close(found.slope(50.0), (found.at(50 + step) - found.at(50 - step)) / (2 * step), rtol=1e-6)
    effect = find_power(
        dataclasses.replace(study, factors={"n": [52], "effect": [0]}), "effect", 0.2, 1.5,
        key=KEY, scale="linear", whole=False, rounds=2,
    )  # fmt: skip
    assert abs(effect.value - 0.793) < 4 * effect.se + 0.01


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="reps=0"):
        dataclasses.replace(STUDY, reps=0).run(KEY)
    with pytest.raises(ValueError, match='factor="n"'):
        find_power(STUDY, "n", 10, 20, key=KEY)
    with pytest.raises(ValueError, match="low=5"):
        find_power(STUDY, "effect", 5, 2, key=KEY)
    assert isinstance(run_of_normal(), StudyResults)
