"""Every public door with wrong, odd and unlucky input: `fuzz.py` holds the cases.

HYPOTHESIS_PROFILE=nightly runs the cases of every family.
"""

import os
import warnings

import fuzz
import jax
import numpy as np
import pytest

import jaxglm
from jaxglm import families, fit, fit_many, links, penalties, solvers

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
FAMILIES = tuple(fuzz.MODELS) if NIGHTLY else ("poisson",)
SLOWEST = 30.0  # seconds; a hang is a loop without a bound


@pytest.mark.nightly
@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("door", fuzz.DOORS)
def test_nothing_is_wrong_in_silence_or_refused_without_a_name(door, model):
    before = fuzz.global_state()
    found = list(fuzz.run(door, model))
    wrong = [
        f"{case.argument}, {case.name}: {kind}: {seen}"
        for case, kind, seen, _ in found
        if kind in (fuzz.SILENT, fuzz.UNNAMED)
    ]
    assert wrong == []
    assert max(seconds for *_, seconds in found) < SLOWEST
    assert fuzz.global_state() == before
    kinds = [kind for _, kind, *_ in found]
    assert min(kinds.count(fuzz.REFUSED), kinds.count(fuzz.CONVERGED)) > 100


# What is asked of results

POISSON = fuzz.MODELS["poisson"]


@pytest.fixture(scope="module")
def results():
    rows = {k: v for k, v in fuzz.ROWS.items() if k != "start"}
    return jaxglm.GLM(fuzz.WHOLE, fuzz.X, POISSON.family, **rows).fit()


OFFSET = fuzz.ROWS["offset"]
POSITIVE = fuzz.COLUMN | fuzz.BAD_WEIGHTS
# Each row: the argument's name, the call, a sound value, more rubbish, what is no rubbish here.
ASKED = {
    "predict exog": (
        "exog", lambda r, v: r.predict(v, offset=0.0), fuzz.X,
        {k: fuzz.BAD_DESIGNS[k] for k in ("transposed", "one-dimensional", "no columns")},
        # Rows are predicted one by one, and those without a number have no prediction.
        ("nan", "inf", "-inf", "one row less", "one row more"),
    ),
    "predict offset": (
        "offset", lambda r, v: r.predict(fuzz.X, offset=v), OFFSET, fuzz.COLUMN, ()),
    "predict exposure": (
        "exposure", lambda r, v: r.predict(fuzz.X, exposure=v), OFFSET + 1, POSITIVE, ()),
    "prediction_interval": (
        "var_weights",
        lambda r, v: r.prediction_interval(fuzz.X, offset=0.0, var_weights=v),
        OFFSET + 1, POSITIVE, (),
    ),
    "score_test": ("exog_extra", lambda r, v: r.score_test(v), OFFSET**2, {}, ()),
    "groups": (
        "groups", lambda r, v: r.with_covariance("cluster", groups=v), np.arange(12) // 3, {},
        # Labels may be of any kind.
        ("inf", "-inf", "complex", "words", "bytes", "dates", "spans", "records", "categories"),
    ),
    "evaluate": (
        "params", lambda r, v: r.model.evaluate(v), np.array([0.5, 0.0]), {},
        # A coefficient that is NaN is aliased.
        ("nan", "nullable with NA"),
    ),
    "wald_test": (
        "hypothes[ie]s", lambda r, v: r.wald_test(v), np.eye(2), {},
        ("one row less", "one row more", "empty", "nullable with NA"),
    ),
    "wald_test q": ("q", lambda r, v: r.wald_test(np.eye(2), v), np.ones(2), {}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_results_refuse_rubbish_by_name(name, results):
    word, ask, sound, more, allowed = ASKED[name]
    ask(results, sound)
    left = {k: v for k, v in (fuzz.RUBBISH | more).items() if k not in allowed}
    for rubbish, change in left.items():
        with pytest.raises((ValueError, TypeError), match=rf"\b{word}\b"):
            ask(results, change(sound))
            pytest.fail(f"{rubbish} was taken")


@pytest.mark.parametrize("alpha", (0, 1, -1, 2, np.nan, np.inf, "a", None, 0.5j, [0.05, 0.1]))
def test_levels_outside_the_unit_interval_are_refused(alpha, results):
    for ask in (
        results.conf_int,
        results.summary,
        results.coef_table,
        results.get_margeff,
        lambda alpha: results.t_test(np.eye(2), alpha=alpha),
        lambda alpha: results.t_test_pairwise([0, 1], alpha=alpha),
        lambda alpha: results.get_prediction(fuzz.X, offset=0.0, alpha=alpha),
        lambda alpha: results.prediction_interval(fuzz.X, offset=0.0, alpha=alpha),
    ):
        with pytest.raises(ValueError, match="alpha"):
            ask(alpha=alpha)


# Controls and parameters

LANES = np.stack([fuzz.WHOLE, fuzz.WHOLE])


def single(**given):
    return fit(fuzz.X, fuzz.WHOLE, **({"family": POISSON.family} | given))


def many(**given):
    return fit_many(fuzz.X, LANES, **({"family": POISSON.family} | given))


def model(**given):
    return jaxglm.GLM(fuzz.WHOLE, fuzz.X, POISSON.family).fit(**given)


SENSELESS = {
    model: {
        "tol": (0.0, -1.0, np.nan, np.inf, 1.0, 1e10, "a", 1j),
        "maxiter": (0, -5, 2.5, np.inf, np.nan, "a", None),
        "method": ("powell", None, 3),
        "scale": ("pearson", 0.0, -1.0, np.nan, np.inf, 1j, np.mean),
        "penalty": (-1.0, np.nan, "a", 1j, [[1.0, 5.0], [0.0, 1.0]], [1.0, -1.0]),
        "cov_type": ("HC7", None, 3),
        "rank_deficient": ("x",),
    },
    single: {
        "family": ("poisson", None, 3, links.Log()),
        "penalty": (-1.0, np.nan, "a", 1j),
        "scale": ("x3", 0.0, -1.0, np.nan, 1j, [1.0]),
        "n_trials": (2.0,),
    },
    many: {
        "family": ("poisson", None, 3, links.Log()),
        "penalty": (-1.0, np.nan, "a", 1j),
        "scale": ("x3", 0.0, -1.0, np.nan, 1j),
        "n_trials": (2.0,),
        "chunk_size": (0, -1, 1.5, np.nan, "a"),
        "dtype": (int, np.float16, "a", complex),
    },
    families.NegativeBinomial: {"alpha": (0.0, -1.0, np.nan, np.inf, np.array(-1.0), "a", 1j)},
    families.Tweedie: {"var_power": (0.5, np.float32(0.5), np.array(0.5), np.nan, "a", 1j)},
    families.Poisson: {"link": ("lgo", 3, None, families.Poisson(), links.Logit())},
    families.Gamma: {"link": (links.Logit(), links.CLogLog())},
    links.Power: {"power": (0.0, np.nan, np.inf, "a", 1j)},
    links.NegativeBinomial: {"alpha": (0.0, -1.0, np.nan, "a", 1j)},
    links.CDFLink: {"cdf": (3, "norm")},
    penalties.Ridge: {"strength": (-1.0, np.nan)},
    solvers.IRLS: {"tol": (0.0, -1.0, np.nan, 1e10, "a"), "max_steps": (0, 2.5, np.inf, "a")},
    solvers.Newton: {"tol": (0.0, 2.0), "max_steps": (0, -1)},
}
CONTROLS = [(call, name) for call, controls in SENSELESS.items() for name in controls]


@pytest.mark.parametrize(("call", "name"), CONTROLS, ids=[f"{c.__name__} {n}" for c, n in CONTROLS])
def test_senseless_controls_are_refused_by_name(call, name):
    for value in SENSELESS[call][name]:
        with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
            call(**{name: value})
            pytest.fail(f"{name}={value!r} was taken")


def test_a_batch_of_no_lanes_and_a_design_of_no_rows_are_refused():
    for X, Y, word in (
        (fuzz.X, LANES[:0], "y"),
        (fuzz.X[:0], LANES[:, :0], "X"),
        (fuzz.X[:, :0], LANES, "X"),
    ):
        with pytest.raises(ValueError, match=rf"\b{word}\b"):
            fit_many(X, Y, POISSON.family)


def test_an_impossible_parameter_in_an_array_is_refused_at_the_model():
    for family in (
        families.NegativeBinomial(jax.numpy.asarray(-1.0)),
        families.Tweedie(jax.numpy.asarray(0.5)),
    ):
        with pytest.raises(ValueError, match="family.*impossible (alpha|var_power)"):
            jaxglm.GLM(fuzz.WHOLE, fuzz.X, family)


def test_seeds_and_settings_of_the_process_are_left_alone():
    before = fuzz.global_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jaxglm.FitWarning)
        jaxglm.GLM(np.arange(12) > 5, fuzz.X, families.Binomial()).fit().summary()
    many().tally()
    assert fuzz.global_state() == before
