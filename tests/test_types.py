import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm._types import LARGE, Interval, as_floats, inexact, record, safe_where, static


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.float64])
def test_much_becomes_floats_of_its_own(dtype):
    # Every other column, so that neither order nor alignment is a device's.
    given = np.arange(4 * LARGE).reshape(-1, 64).astype(dtype)[:, 1::2]
    wanted = given.astype(np.float32)
    found = as_floats(given, np.float32)
    given[:] = 0
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


@record
class Pair:
    """Two leaves and a word."""

    left: object
    right: object
    word: str = static(default="plain")


def test_record_is_a_frozen_pytree_whose_static_fields_are_structure():
    pair = Pair(1.0, jnp.arange(3.0))
    doubled = jax.jit(lambda p: jax.tree.map(lambda v: 2 * v, p))(pair)
    assert doubled.left == 2.0 and doubled.word == "plain"
    np.testing.assert_array_equal(doubled.right, [0.0, 2.0, 4.0])
    assert jax.tree.structure(pair) != jax.tree.structure(Pair(1.0, 2.0, "other"))
    with pytest.raises(AttributeError):
        pair.left = 3.0


@record
class Twin:
    """The same fields as `Pair`."""

    left: object
    right: object
    word: str = static(default="plain")


def test_records_of_different_classes_have_different_structures():
    # Equal structures would let one class's compiled code serve another's data.
    assert jax.tree.structure(Pair(1.0, 2.0)) != jax.tree.structure(Twin(1.0, 2.0))
    assert jax.tree.structure(Pair(1.0, 2.0)) == jax.tree.structure(Pair(3.0, 4.0))


@pytest.mark.parametrize("low_inclusive", [False, True])
@pytest.mark.parametrize("high_inclusive", [False, True])
def test_interval_contains_its_ends_iff_inclusive(low_inclusive, high_inclusive):
    interval = Interval(0.0, 2.0, low_inclusive, high_inclusive)
    wanted = [False, low_inclusive, True, high_inclusive, False]
    points = [-1.0, 0.0, 1.0, 2.0, 3.0]
    np.testing.assert_array_equal(interval.contains(jnp.array(points)), wanted)
    assert [interval.holds(x) for x in points] == wanted
    assert set(interval.closed_ends) == {
        end for end, closed in ((0.0, low_inclusive), (2.0, high_inclusive)) if closed
    }
    assert str(interval) == f"{'[' if low_inclusive else '('}0, 2{']' if high_inclusive else ')'}"


def test_interval_contains_neither_nan_nor_infinity():
    line = Interval(-np.inf, np.inf, True, True)
    assert not np.any(line.contains(jnp.array([np.nan, np.inf, -np.inf])))
    assert not any(line.holds(x) for x in (np.nan, np.inf, -np.inf))
    assert not line.bounded and Interval(0.0, np.inf).bounded
    assert line.covers(Interval(0.0, 1.0)) and not Interval(0.0, 1.0).covers(line)


@pytest.mark.dtype
@pytest.mark.parametrize("value", [True, 3, np.uint8(3), np.int32(3), np.array([True])])
def test_inexact_promotes_integers_and_booleans(value):
    assert inexact(value).dtype == jnp.result_type(float)


@pytest.mark.dtype
def test_inexact_keeps_floating_dtypes():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        assert inexact(jnp.ones(2, dtype)).dtype == dtype


def test_safe_where_has_finite_derivatives_where_the_function_has_none():
    def log_or_zero(x):
        return safe_where(x > 0, jnp.log, x, 1.0, 0.0)

    x = jnp.array([0.0, 2.0])
    np.testing.assert_allclose(log_or_zero(x), [0.0, np.log(2.0)])
    np.testing.assert_array_equal(jax.grad(lambda x: log_or_zero(x).sum())(x), [0.0, 0.5])
