"""Floor 0: the `record` decorator, `Interval`, and how inputs become floating-point arrays."""

from __future__ import annotations

import dataclasses
import math
from functools import reduce
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

ArrayLike = jax.typing.ArrayLike

_T = TypeVar("_T")

# Where an array begins that JAX takes over on a CPU without a copy.
ALIGNMENT = 64
# Bytes from which on NumPy asks for large pages.
LARGE = 2**22


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field of a `record` that belongs to its structure: compiled in, not traced."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def record(cls: type[_T]) -> type[_T]:
    """Make `cls` a frozen dataclass and a JAX pytree; `static()` fields are structure, not leaves.

    Records compare by identity, since their leaves may be arrays. Rebuilding one from its leaves
    does not run its checks again: leaves may then be tracers or placeholders.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    meta = tuple(f.name for f in fields if f.metadata.get("static"))
    data = tuple(f.name for f in fields if not f.metadata.get("static"))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(row: Any) -> tuple[Any, Any]:
        return [getattr(row, name) for name in data], tuple(getattr(row, name) for name in meta)

    def flatten_with_keys(row: Any) -> tuple[Any, Any]:
        leaves, aux = flatten(row)
        return list(zip(keys, leaves, strict=True)), aux

    def unflatten(aux: Any, leaves: Any) -> Any:
        row = object.__new__(cls)
        for name, value in zip((*data, *meta), (*leaves, *aux), strict=True):
            object.__setattr__(row, name, value)
        return row

    # Not `register_dataclass`: two classes with as many fields then have equal tree structures
    # (JAX 0.10), and a compiled function may be reused for the wrong family.
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@dataclasses.dataclass(frozen=True)
class Interval:
    """An interval of the extended real line; states a support once, for checks and messages."""

    low: float
    high: float
    low_inclusive: bool = False
    high_inclusive: bool = False

    def contains(self, x: Array) -> Array:
        """Elementwise, whether x is a finite number inside; NaN and infinities are not."""
        above = x >= self.low if self.low_inclusive and self.low > -np.inf else x > self.low
        below = x <= self.high if self.high_inclusive and self.high < np.inf else x < self.high
        return above & below

    def holds(self, x: float) -> bool:
        """`contains`, for a plain number."""
        return bool(self.contains(x))  # type: ignore[arg-type]

    def covers(self, other: Interval) -> bool:
        """Whether the interior of `other` lies inside this interval."""
        return self.low <= other.low and other.high <= self.high

    @property
    def bounded(self) -> bool:
        """Whether at least one end is finite."""
        return np.isfinite(self.low) or np.isfinite(self.high)

    @property
    def closed_ends(self) -> tuple[float, ...]:
        """The ends that belong to the interval."""
        ends = ((self.low, self.low_inclusive), (self.high, self.high_inclusive))
        return tuple(end for end, inclusive in ends if inclusive)

    def __str__(self) -> str:
        left, right = "[" if self.low_inclusive else "(", "]" if self.high_inclusive else ")"
        return f"{left}{self.low:g}, {self.high:g}{right}"


REAL = Interval(-np.inf, np.inf)
POSITIVE = Interval(0.0, np.inf)
NONNEGATIVE = Interval(0.0, np.inf, low_inclusive=True)
UNIT = Interval(0.0, 1.0)
CLOSED_UNIT = Interval(0.0, 1.0, True, True)


def empty_room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory of any content that JAX can take over on a CPU as it is.

    NumPy asks for large pages, which a system hands out five times as fast as JAX's small ones.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    held = np.empty(size + ALIGNMENT, np.uint8)
    start = -held.ctypes.data % ALIGNMENT
    return held[start : start + size].view(dtype).reshape(shape)


def as_floats(value: ArrayLike, dtype: Any) -> Array:
    """value as a JAX array of this dtype; of much on a CPU by the faster way to copy it."""
    if isinstance(value, np.ndarray) and value.nbytes >= LARGE and jax.default_backend() == "cpu":
        room = empty_room(value.shape, dtype)
        room[...] = value
        value = room
    return jnp.asarray(value, dtype)


def inexact(x: ArrayLike) -> Array:
    """x as a floating-point array: integers and booleans are promoted before any arithmetic."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def as_float32(v: Array) -> Array:
    """v in float32, at most the largest number there is."""
    return jnp.minimum(v, float(jnp.finfo(jnp.float32).max)).astype(jnp.float32)


def elementwise_derivative(fn: Any, x: Array) -> Array:
    """fn'(x) for a function that acts element by element, by one forward-mode pass."""
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


def polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """sum_k c_k x^k, lowest power first, of two coefficients or more."""
    return reduce(lambda total, c: total * x + c, reversed(coefficients[:-1]), coefficients[-1])


def safe_where(condition: Array, fn: Any, x: Array, safe: float, otherwise: Any) -> Array:
    """fn(x) where `condition` holds, else `otherwise`; no NaN in the value or its derivative.

    The argument is replaced by `safe` before fn sees it, since the derivative of a selected-away
    infinity is NaN (0 * inf), not zero.
    """
    return jnp.where(condition, fn(jnp.where(condition, x, safe)), otherwise)


def require_function(what: str, value: Any, numbers: int, values: tuple[Any, ...] = ()) -> None:
    """Raise for what is no function of so many numbers, and of these values, for JAX to trace."""
    if not callable(value):
        raise TypeError(f"{what}={value!r}): allowed are functions.")
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    try:
        # By a function of Python: of others JAX cannot hold a reference.
        jax.eval_shape(lambda *given: value(*given), *[number] * numbers, *values)
    except jax.errors.JAXTypeError as error:
        raise TypeError(
            f"{what}={value!r}): JAX cannot trace it; allowed are functions made of its operations "
            "(jax.numpy's, jax.scipy's)."
        ) from error
