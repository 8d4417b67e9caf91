"""Wrong, odd and unlucky input for every public door, and what came of it.

A case is a set of arguments with one of them spoilt, and what the answer may be: nothing but a
refusal or a status (`REFUSE`), or the coefficients that the arguments would have if said plainly.
Whatever is neither refused by the argument's name, nor flagged by a status, nor right is wrong in
silence. `python tests/fuzz.py` prints the table.
"""

import array
import collections
import datetime
import decimal
import fractions
import re
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse

import jaxglm
from jaxglm import Status, families, fit, fit_many, links

N, P = 12, 2
REFUSE = None  # the answer of a case that has none


class Model(NamedTuple):
    """A family, its sound arguments, and responses that it cannot have."""

    family: families.Family
    arguments: dict
    outside: tuple


def _columns():
    random = np.random.default_rng(17)
    X = np.column_stack([np.ones(N), np.arange(N) - 5.0])
    offset = np.arange(N) % 3 / 4.0
    weights = {"offset": offset, "var_weights": 1.0 + np.arange(N) % 2}
    weights |= {"freq_weights": 1.0 + np.arange(N) % 3, "start": np.array([0.125, 0.0])}
    whole = random.integers(1, 9, N).astype(float)
    return X, whole, weights


X, WHOLE, ROWS = _columns()
MODELS = {
    "poisson": Model(families.Poisson(), {"X": X, "y": WHOLE, **ROWS}, (-1.0, -0.5)),
    "gamma": Model(families.Gamma(links.Log()), {"X": X, "y": WHOLE, **ROWS}, (0.0, -2.0)),
    "binomial": Model(
        families.Binomial(),
        {"X": X, "y": WHOLE / 16, **ROWS, "n_trials": np.full(N, 16.0)},
        (-0.5, 1.5, 16.0),
    ),
    "inverse gaussian": Model(
        families.InverseGaussian(links.Log()), {"X": X, "y": WHOLE, **ROWS}, (0.0, -2.0)
    ),
    "negative binomial": Model(
        families.NegativeBinomial(0.5), {"X": X, "y": WHOLE, **ROWS}, (-1.0,)
    ),
    "gaussian": Model(families.Gaussian(), {"X": X, "y": WHOLE, **ROWS}, ()),
    "tweedie": Model(families.Tweedie(1.5), {"X": X, "y": WHOLE, **ROWS}, (-1.0,)),
}


# What may be done to an argument


def put(value):
    """Put the value in one row."""

    def change(a):
        a = np.array(a, dtype=float)
        a.reshape(-1)[-2] = value
        return a

    return change


def put_object(value):
    def change(a):
        a = np.array(a, dtype=object)
        a.reshape(-1)[-2] = value
        return a

    return change


def deleted(a):
    a = jnp.array(a)
    a.delete()
    return a


def strided(a):
    wide = np.repeat(np.repeat(a, 2, axis=0), 3, axis=-1) if a.ndim == 2 else np.repeat(a, 2)
    return wide[::2, ::3] if a.ndim == 2 else wide[::2]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def frame(a, index=None, **how):
    table = pd.DataFrame(a) if a.ndim == 2 else pd.Series(a)
    table = table.astype(how["dtype"]) if "dtype" in how else table
    return table if index is None else table.set_axis(index)


def polars(a):
    return pl.DataFrame(a) if a.ndim == 2 else pl.Series(a)


def with_na(a):
    table = frame(a, dtype="Float64")
    table.iloc[(3, 1) if a.ndim == 2 else len(a) // 2] = pd.NA
    return table


# Rubbish for any argument that holds an array.
RUBBISH = {
    "nan": put(np.nan),
    "inf": put(np.inf),
    "-inf": put(-np.inf),
    "None inside": put_object(None),
    "a word inside": put_object("word"),
    "a list inside": put_object([1.0]),
    "pandas NA": put_object(pd.NA),
    "nullable with NA": with_na,
    "one row less": lambda a: a[:-1],
    "one row more": lambda a: np.concatenate([a, a[:1]]),
    "empty": lambda a: a[:0],
    "another axis": lambda a: a[..., None, None],
    "an axis before": lambda a: a[None, None],
    "complex": lambda a: a + 0j,
    "words": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S8"),
    "dates": lambda a: a.astype(int).astype("datetime64[D]"),
    "spans": lambda a: a.astype(int).astype("timedelta64[s]"),
    "records": lambda a: np.zeros(a.shape, dtype=[("a", float), ("b", int)]),
    "categories": lambda a: frame(a.astype(str), dtype="category"),
    "masked": lambda a: np.ma.masked_greater(a, a.max() - 1e-9),
    "sparse": scipy.sparse.csr_matrix,
    "sparse array": lambda a: scipy.sparse.coo_array(np.atleast_2d(a)),
    "deleted": deleted,
    "ragged": lambda a: [*a.tolist()[:-1], [1.0, 2.0, 3.0]],
    "a generator": lambda a: (v for v in a.tolist()),
    "a set": lambda a: set(np.ravel(a).tolist()),
    "a function": lambda a: np.mean,
    "a word": lambda a: "word",
    "a date": lambda a: datetime.date(2020, 1, 1),
    "a decimal NaN": put_object(decimal.Decimal("NaN")),
}
# The same numbers said otherwise: refused, or the same answer.
GUISES = {
    "integers": lambda a: a.astype(np.int64) if np.all(a % 1 == 0) else a,
    "bytes of 8 bits": lambda a: a.astype(np.int8) if np.all(a % 1 == 0) else a,
    "unsigned": lambda a: a.astype(np.uint8) if np.all((a % 1 == 0) & (a >= 0)) else a,
    "halves": lambda a: a.astype(np.float16),
    "bfloat16": lambda a: jnp.asarray(a, jnp.bfloat16),
    "singles": lambda a: a.astype(np.float32),
    "long doubles": lambda a: a.astype(np.longdouble),
    "swapped bytes": lambda a: a.astype(">f8"),
    "objects": lambda a: a.astype(object),
    "decimals": np.vectorize(decimal.Decimal, otypes=[object]),
    "fractions": np.vectorize(fractions.Fraction, otypes=[object]),
    "Fortran": np.asfortranarray,
    "strided": strided,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "read only": read_only,
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "a deque": lambda a: collections.deque(a.tolist()),
    "an array.array": lambda a: array.array("d", a.tolist()) if a.ndim == 1 else a,
    "a memoryview": memoryview,
    "jax": jnp.asarray,
    "pandas": frame,
    "an odd index": lambda a: frame(a, index=np.arange(len(a))[::-1] * 7 + 3),
    "one index twice": lambda a: frame(a, index=np.zeros(len(a), int)),
    "words as index": lambda a: frame(a, index=[f"r{i}" for i in range(len(a))]),
    "nullable": lambda a: frame(a, dtype="Float64"),
    "arrow-like": lambda a: frame(a, dtype="Float32"),
    "polars": polars,
    "a matrix": lambda a: np.asmatrix(a) if a.ndim == 2 else a,
    "nothing masked": np.ma.asarray,
}
BAD_WEIGHTS = {"negative": put(-1.0), "all zero": lambda a: 0 * a, "all negative": lambda a: -a}
COLUMN = {"a column": lambda a: a[:, None], "a row": lambda a: a[None, :]}
BAD_DESIGNS = {
    "transposed": lambda a: a.T,
    "one-dimensional": lambda a: a[:, 1],
    "no columns": lambda a: a[:, :0],
    "a column of zeros": lambda a: a * np.array([1.0, 0.0]),
    "a column twice": lambda a: a[:, [1, 1]],
    "two constants": lambda a: np.ones_like(a),
    "beyond squares": lambda a: a * np.array([1.0, 1e300]),
    "below squares": lambda a: a * np.array([1.0, 1e-300]),
    "1e308": put(1e308),
}
# Rubbish for an option that is a number, and what is rubbish for one of them.
NO_NUMBERS = {
    "nan": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "negative": -1.0,
    "complex": 1j,
    "a word": "word",
    "a date": datetime.date(2020, 1, 1),
    "a function": np.mean,
    "a set": {1.0},
    "a class": Status,
    "too many": np.ones(P + 5),
    "another axis": np.ones((P + 1,) * 3),
    "nan inside": np.array([1.0, np.nan]),
    "a decimal NaN": decimal.Decimal("NaN"),
    "pandas NA": pd.NA,
}
ZERO, HALF = {"zero": 0.0}, {"a half": 2.5}
BAD_OPTIONS = {
    "penalty": {"a ragged table": [[1.0], [1.0, 2.0]]},
    "scale": ZERO | {"a list": [1.0, 2.0]},
    "tol": ZERO | {"one": 1.0, "a list": [1e-8]},
    "maxiter": ZERO | HALF | {"a list": [10]},
}
# What leaves the coefficients as they are.
MILD_OPTIONS = {
    "penalty": {
        "none": None,
        "zero": 0,
        "a vector of zeros": np.zeros(P),
        "zeros": np.zeros((P, P)),
    },
    "scale": {"none": None, "an integer": 2, "a word": "X2", "an array": np.array(2.0)},
    "tol": {"none": None, "small": 1e-12, "a NumPy number": np.float32(1e-10)},
    "maxiter": {"a NumPy number": np.int8(50), "a whole float": 50.0},
}
# Coefficients follow the columns' units.
SCALES = (1e-120, 1e-60, 1e-8, 1e8, 1e60, 1e120)


class Case(NamedTuple):
    """Arguments with one spoilt; the sound ones; the answer; the words an error must have."""

    name: str
    model: Model
    arguments: dict
    argument: str
    answer: np.ndarray | None


def cases_of(model, plain, names):
    """Every case of one model, at a door that takes the arguments named."""
    for argument in names:
        if argument in model.arguments:
            yield from _spoilt(model, plain, argument)

    for option in set(names) & set(BAD_OPTIONS):
        for name, value in (NO_NUMBERS | BAD_OPTIONS[option]).items():
            yield Case(name, model, model.arguments | {option: value}, option, REFUSE)
        for name, value in MILD_OPTIONS[option].items():
            yield Case(name, model, model.arguments | {option: value}, option, plain)


def _spoilt(model, plain, argument):
    sound = model.arguments[argument]

    def case(name, change, answer):
        return Case(name, model, model.arguments | {argument: change(sound)}, argument, answer)

    for name, change in RUBBISH.items():
        yield case(name, change, REFUSE)
    for name, change in GUISES.items():
        yield case(name, change, plain)
    if argument.endswith("_weights") or argument == "n_trials":
        for name, change in BAD_WEIGHTS.items():
            yield case(name, change, REFUSE)
    if argument == "X":
        for name, change in BAD_DESIGNS.items():
            yield case(name, change, REFUSE)
        for scale in SCALES:
            units = np.array([1.0, scale])
            yield case(f"units of {scale:g}", lambda a, u=units: a * u, plain / units)
    elif argument not in ("y", "start"):
        for name, change in COLUMN.items():
            yield case(name, change, REFUSE)
    if argument == "y":
        for value in model.outside:
            yield case(f"{value:g} inside", put(value), REFUSE)


# Doors: each returns (coefficients, flagged); how an argument is called there


def at_model(family, X, y, start, **given):
    """`GLM(...).fit()`: flagged by its status, and by a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {k: given.pop(k) for k in BAD_OPTIONS if k in given}
        results = jaxglm.GLM(y, X, family, **given).fit(start_params=start, **options)
    flagged = any(issubclass(w.category, jaxglm.FitWarning) for w in caught)
    assert flagged or results.converged, "no warning of a failed fit"
    return np.asarray(results.params), flagged


def at_fit(family, X, y, **given):
    """`fit`: flagged by its status."""
    found = fit(X, y, family, **given)
    return np.asarray(found.params), int(found.status) != Status.converged


def at_fit_many(family, X, y, **given):
    """`fit_many` of lanes that differ in their scale alone."""
    found = fit_many(X, y, family, scale=np.array([1.0, 2.0]), **given)
    params, status = np.asarray(found.params), np.asarray(found.status)
    assert status[0] == status[1] and np.array_equal(params[0], params[1], equal_nan=True)
    return params[0], status[0] != Status.converged


class Door(NamedTuple):
    """A way in, what it calls the arguments, and those that it takes."""

    call: object
    words: dict


_ROW_NAMES = {name: name for name in ("offset", "var_weights", "freq_weights", "n_trials")}
_OPTIONS = {name: name for name in BAD_OPTIONS}
_PURE = {"X": "X", "y": "y", "start": "start", "penalty": "penalty", **_ROW_NAMES}
DOORS = {
    "GLM": Door(
        at_model, {"X": "exog", "y": "endog", "start": "start_params", **_ROW_NAMES, **_OPTIONS}
    ),
    "fit": Door(at_fit, {**_PURE, "scale": "scale"}),
    "fit_many": Door(at_fit_many, _PURE),
}


# Outcomes

REFUSED, CONVERGED, FLAGGED = "refused with a message", "converged", "flagged"
SILENT, UNNAMED = "wrong in silence", "refused without the argument's name"
OUTCOMES = (REFUSED, CONVERGED, FLAGGED, UNNAMED, SILENT)


def names_it(error, word):
    """Whether an error is of a kind to expect and says which argument is meant."""
    kind = isinstance(error, (ValueError, TypeError))
    return kind and re.search(rf"\b{word}\b", str(error)) is not None


def outcome(door, case):
    """(one of `OUTCOMES`, what was seen, seconds)."""
    before = time.perf_counter()
    try:
        params, flagged = door.call(case.model.family, **case.arguments)
    except Exception as error:  # noqa: BLE001 - any other kind is what is looked for
        kind = REFUSED if names_it(error, door.words[case.argument]) else UNNAMED
        return kind, f"{type(error).__name__}: {error}", time.perf_counter() - before
    spent = time.perf_counter() - before
    if flagged:
        return FLAGGED, "", spent
    right = case.answer is not None and np.allclose(params, case.answer, rtol=1e-5, atol=0)
    return (CONVERGED if right else SILENT), f"params {params}", spent


def global_state():
    """Whatever a call must leave as it was."""
    state = np.random.get_state()
    return (
        dict(jax.config.values),
        (state[0], state[1].tobytes(), *state[2:]),
        tuple(map(repr, warnings.filters)),
        np.geterr(),
    )


def run(door_name, model_name):
    """(case, outcome, what was seen, seconds) of every case of a model at a door."""
    door, model = DOORS[door_name], MODELS[model_name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, flagged = door.call(model.family, **model.arguments)
        assert not flagged
        for case in cases_of(model, plain, door.words):
            yield (case, *outcome(door, case))


def tally():
    """How many cases had each outcome, by door."""
    counts = {door: collections.Counter() for door in DOORS}
    for door in DOORS:
        for model in MODELS:
            counts[door].update(kind for _, kind, _, _ in run(door, model))
    return counts


def main():
    """Print the table."""
    print("| door | cases tried |", " | ".join(OUTCOMES), "|")
    print("|---|---|" + "---|" * len(OUTCOMES))
    for door, counts in tally().items():
        cells = [str(counts[kind] or "none") for kind in OUTCOMES]
        print(f"| `{door}` | {sum(counts.values())} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
