"""NIST's linear sets through the door: how many certified digits a fit keeps.

Digits are -log10 of the relative error, the fewest of all coefficients. The answers are those of
the stored doubles; thresholds are what an orthogonal method keeps, normal equations fall short of.
"""

import warnings
from functools import cache

import numpy as np
import pytest
from conftest import reference

import jaxglm
from jaxglm import FitWarning, Status

SETS = {row["name"]: row for row in reference("nist")["sets"]}
# What the condition of each design leaves of sixteen digits.
PARAMS = {
    "Norris": 12.5,
    "Pontius": 12.0,
    "NoInt1": 14.5,
    "NoInt2": 14.5,
    "Filip": 7.0,
    "Longley": 10.5,
    "Wampler1": 8.5,
    "Wampler2": 12.0,
    "Wampler3": 8.5,
    "Wampler4": 7.5,
    "Wampler5": 5.5,
}
ERRORS = {"Filip": 7.0, "Longley": 11.0}

each_set = pytest.mark.parametrize("name", SETS)


def digits(got, wanted):
    got, wanted = np.asarray(got), np.asarray(wanted)
    with np.errstate(divide="ignore"):
        return float(np.min(-np.log10(np.abs(got - wanted) / np.abs(wanted))))


@cache
def fitted(name, odd=1.0):
    """The fit, and whether it warned; every second column scaled by `odd`."""
    X, y = np.array(SETS[name]["X"]), np.array(SETS[name]["y"])
    factors = np.where(np.arange(X.shape[1]) % 2 == 1, odd, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = jaxglm.GLM(y, X * factors).fit()
    return results, factors, [w for w in caught if issubclass(w.category, FitWarning)]


@each_set
def test_coefficients_keep_their_digits(name):
    results, _, _ = fitted(name)
    assert results.status is Status.converged
    assert digits(results.params, SETS[name]["estimates_of_doubles"]) >= PARAMS[name]


@each_set
def test_standard_errors_keep_their_digits(name):
    results, _, _ = fitted(name)
    wanted = np.array(SETS[name]["standard_errors_of_doubles"])
    if float(SETS[name]["residual_sd"]) == 0.0:
        # An exact fit: nothing is left but the rounding of the fitted values.
        assert np.all(results.bse <= 1e-12 * np.max(np.abs(SETS[name]["y"])))
    else:
        assert digits(results.bse, wanted) >= ERRORS.get(name, 13.0)


@each_set
def test_the_residual_standard_deviation_is_the_certified_one(name):
    certified = float(SETS[name]["residual_sd"])
    scale = np.max(np.abs(SETS[name]["y"]))
    assert abs(np.sqrt(fitted(name)[0].scale) - certified) <= 1e-8 * certified + 1e-14 * scale


@each_set
def test_no_column_is_aliased_or_called_collinear(name):
    results, _, caught = fitted(name)
    assert results.rank == len(results.params)
    assert caught == []


@pytest.mark.parametrize("odd", (1e8, 1e-8))
@pytest.mark.parametrize("name", ("Longley", "Norris", "Wampler3"))
def test_scaled_columns_change_no_digit(name, odd):
    plain, (scaled, factors, _) = fitted(name)[0], fitted(name, odd)
    # The products X * 1e8 are rounded, which the condition of the design multiplies.
    kept = 12.0 if name != "Wampler3" else 8.5
    assert digits(scaled.params * factors, plain.params) >= kept
    assert digits(scaled.bse * factors, plain.bse) >= 11.5
    assert digits(scaled.deviance, plain.deviance) >= 12.0
    assert scaled.df_resid == plain.df_resid


@pytest.mark.parametrize("name", ("Longley", "Filip"))
def test_columns_scaled_by_powers_of_two_change_nothing(name):
    plain, (scaled, factors, _) = fitted(name)[0], fitted(name, 2.0**27)
    np.testing.assert_array_equal(scaled.params * factors, plain.params)
    assert scaled.llf == plain.llf
