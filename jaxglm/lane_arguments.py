"""Floor 8: the arguments of many fits: which of them have a lane axis, and of what shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm.designs import Augmented, Dense, Design, OneWay
from jaxglm.dispersion import Dispersion, as_dispersion
from jaxglm.draws import Draws
from jaxglm.families import Family
from jaxglm.fit import Fit, Status, as_model_family, as_penalty, to_host
from jaxglm.penalties import Penalty
from jaxglm.solvers.base import Near

ROW_ARGUMENTS = ("offset", "var_weights", "freq_weights", "n_trials")
# Elements by which a batch's responses are judged, and that are looked at at a time.
FEW = 2**15


class Inputs(NamedTuple):
    """All arguments that lanes may share or not, as one pytree."""

    X: Any
    y: Any
    family: Family
    offset: Any
    var_weights: Any
    freq_weights: Any
    n_trials: Any
    penalty: Penalty | None
    dispersion: Dispersion
    start: Any


def as_arrays(inputs: Inputs, scale: Any, dtype: Any, host: bool) -> Inputs:
    """All leaves as arrays, on the host where they came from it.

    There data keep their own dtype, and widen group by group: genotypes may be small integers.
    Whether responses are all 0 or 1 is judged by the first lanes; see `corrected`.
    """
    convert = partial(as_dtype, dtype)

    def data(name: str, value: Any) -> Any:
        value = to_host(name, value)
        return _where_it_is(value) if host else convert(value)

    def array(name: str) -> Any:
        value = getattr(inputs, name)
        if isinstance(value, Near):
            return Near(data(name, value.beta))
        if isinstance(value, Draws):
            return value
        return None if value is None else data(name, value)

    X = inputs.X
    X = jax.tree.map(partial(data, "X"), X) if isinstance(X, Design) else data("X", X)
    family = as_model_family(inputs.family)
    rows = {name: array(name) for name in ("y", *ROW_ARGUMENTS, "start")}
    bare = family.counts_trials and rows["n_trials"] is None and not _is_drawn(rows["y"])
    if host and bare and _is_binary(_first_lanes(rows["y"]), design_shape(X)[0]):
        family = dataclasses.replace(family, binary=True)  # type: ignore[call-arg]
    return Inputs(
        X=X,
        family=jax.tree.map(convert, family),
        penalty=jax.tree.map(convert, as_penalty(inputs.penalty)),
        dispersion=jax.tree.map(convert, as_dispersion(scale, dtype)),
        **rows,
    )


def dtype_of(*data: Any, traced: bool = False) -> Any:
    """float64 for host data, the arrays' own dtype, at least float32, for `jax.Array`.

    Whatever the process's flag, but for what is traced under it.
    """
    leaves = [leaf for leaf in jax.tree.leaves(data) if isinstance(leaf, jax.Array)]
    floating = [leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    wide = not floating or any(dtype == np.float64 for dtype in floating)
    # With the flag off JAX's own promotion makes float64 float32.
    promote = jnp.result_type if traced and floating else np.dtype
    return promote(np.float64 if wide else np.float32)


def as_precision(dtype: Any) -> Any:
    """float32 or float64, by name or type; raises for another."""
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ValueError(f"dtype={dtype!r}: allowed are None, float32 and float64.")
    return np.dtype(dtype)


def as_dtype(dtype: Any, leaf: Any) -> Any:
    """A leaf in this dtype, where it is."""
    return leaf.astype(dtype) if isinstance(leaf, jax.Array) else np.asarray(leaf, dtype)


def own_dtypes(inputs: Inputs, dtype: Any) -> tuple[np.dtype, ...]:
    """What every leaf is computed in: `dtype`; what draws are made from, as it is."""

    def kept(value: Any) -> Any:
        return jax.tree.map(jnp.result_type, value) if _is_drawn(value) else np.dtype(dtype)

    kinds = jax.tree.map(kept, inputs, is_leaf=_is_drawn)
    return tuple(jax.tree.leaves(kinds))


def draw_lane(inputs: Inputs, dtype: Any) -> Inputs:
    """The inputs of one lane, with what it draws."""
    return _replace_draws(lambda draws: draws.lane().astype(dtype), inputs)


def _replace_draws(make: Callable[[Draws], Any], inputs: Inputs) -> Inputs:
    return jax.tree.map(lambda v: make(v) if _is_drawn(v) else v, inputs, is_leaf=_is_drawn)


def elements(inputs: Inputs) -> int:
    """The numbers of the largest argument, once it is there."""
    return max(math.prod(np.shape(v)) for v in jax.tree.leaves(inputs, is_leaf=_is_drawn))


def _is_drawn(value: Any) -> bool:
    return isinstance(value, Draws)


def _where_it_is(value: Any) -> Any:
    """An array in this machine's own memory as NumPy's, without a copy: its lanes cost nothing."""
    on_host = isinstance(value, jax.Array) and all(d.platform == "cpu" for d in value.devices())
    return np.asarray(value) if on_host else value


def corrected(inputs: Inputs, given: Family, fits: Fit) -> Inputs | None:
    """The inputs without a wrong judgement of `as_arrays`: that responses are all 0 or 1.

    Where they were not, lanes are invalid; to look at all of them beforehand would take a twelfth
    of a batch's time.
    """
    family = inputs.family
    judged = family.counts_trials and family.binary and not as_model_family(given).binary  # type: ignore
    if not judged or not (np.asarray(fits.status) == int(Status.invalid_data)).any():
        return None
    if _is_binary(inputs.y, design_shape(inputs.X)[0]):
        return None
    return inputs._replace(family=dataclasses.replace(family, binary=False))  # type: ignore


def _first_lanes(y: Any) -> Any:
    return y[: FEW // y.shape[-1] + 1] if y.ndim > 1 else y


def _is_binary(y: Any, n: int) -> bool:
    """Whether y holds single responses, all 0, 1 or NaN, and not (success, failure) counts."""
    if np.shape(y)[-1] != n:
        return False
    if isinstance(y, jax.Array):
        return bool(jax.jit(_only_0_and_1)(y))
    lanes = y if np.ndim(y) > 1 else y[None]
    # Some lanes at a time, so that the comparisons stay in cache.
    step = FEW // n + 1
    parts = (lanes[k : k + step] for k in range(0, len(lanes), step))
    return all(bool(_only_0_and_1(v)) for v in parts)


def _only_0_and_1(y: Any) -> Any:
    return ((y == 0) | (y == 1) | (y != y)).all()


def find_lanes(inputs: Inputs, n: int, p: int) -> tuple[int, tuple[bool, ...]]:
    """B, and for every leaf of `inputs` whether it has the lane axis."""
    lanes: dict[str, int] = {}
    mapped: list[bool] = []
    for field, value in zip(Inputs._fields, inputs, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(value, is_leaf=_is_drawn):
            shape, name = np.shape(leaf), field + jax.tree_util.keystr(path)
            alone, in_lanes = _allowed_shapes(name, inputs, n, p)
            own = shape not in alone
            if own and (not shape or shape[1:] not in in_lanes):
                options = ", ".join([*map(str, alone), *(str(("B", *s)) for s in in_lanes)])
                options = options.replace("'B'", "B")
                raise ValueError(f"{name}: shape {shape}; allowed are {options}, X being {(n, p)}.")
            # Of draws the first leaf alone has it.
            mapped += [own] + [False] * (len(jax.tree.leaves(leaf)) - 1)
            if own:
                lanes[name] = shape[0]
    if not lanes:
        raise ValueError("fit_many: no argument has a lane axis B; use fit for a single model.")
    if 0 in lanes.values():
        raise ValueError(
            f"fit_many: no lanes (B = 0) in {', '.join(lanes)}; at least one is needed."
        )
    if len(set(lanes.values())) > 1:
        raise ValueError(f"fit_many: arguments differ in their number of lanes B: {lanes}.")
    return next(iter(lanes.values())), tuple(mapped)


def _allowed_shapes(name: str, inputs: Inputs, n: int, p: int) -> tuple[Any, Any]:
    """The shapes of a leaf that is shared, and of one lane of a leaf that is not."""
    field = name.split(".")[0].split("[")[0]
    if field == "X":
        if name == "X.varying":
            k = np.shape(inputs.X.varying)[-1]
            return ((n,),), ((n,), (n, k))
        if name == "X.codes":
            return ((n,),), ((n,),)
        shown = {"X.shared": "shared", "X.X": "X"}
        columns = np.shape(getattr(inputs.X, shown[name]))[-1] if name in shown else p
        return ((n, columns),), ((n, columns),)
    if field == "y":
        rows = ((n,), (n, 2)) if inputs.family.counts_trials else ((n,),)
        return rows, rows
    if field in ROW_ARGUMENTS:
        return ((), (n,)), ((n,),)
    if field == "start":
        return ((p,),), ((p,),)
    if field == "penalty":
        return ((), (p,), (p, p)), ((), (p,), (p, p))
    return ((),), ((),)


def design_shape(X: Any) -> tuple[int, int]:
    """(n, p) of one lane's design."""
    if isinstance(X, Augmented):
        n, q = np.shape(X.shared)[-2:]
        varying = np.shape(X.varying)
        return n, q + (varying[-1] if len(varying) == 3 else 1)
    array = X.X if isinstance(X, (Dense, OneWay)) else X
    if np.ndim(array) not in (2, 3):
        raise ValueError(f"X: shape {np.shape(array)}; allowed are (n, p) and (B, n, p).")
    n, p = np.shape(array)[-2:]
    p += X.levels if isinstance(X, OneWay) else 0
    if 0 in (n, p):
        raise ValueError(f"X: shape {np.shape(array)}; allowed is n, p >= 1.")
    return n, p


def fill_rows(inputs: Inputs, n: int) -> Inputs:
    """Rows of weight 0 up to a common length, so that nearly as many rows compile nothing."""
    more, X = common_length(n) - n, inputs.X
    if more == 0 or (isinstance(X, Design) and not isinstance(X, (Dense, Augmented))):
        return inputs

    def fill(leaf: Any, axis: int) -> Any:
        module = jnp if isinstance(leaf, jax.Array) else np
        return module.pad(leaf, [(0, more if k == axis else 0) for k in range(np.ndim(leaf))])

    def fill_row(leaf: Any) -> Any:
        return leaf if np.ndim(leaf) == 0 else fill(leaf, np.ndim(leaf) - 1)

    inputs = _replace_draws(lambda draws: draws.together(), inputs)
    y, frequency = inputs.y, inputs.freq_weights
    if isinstance(X, Augmented):
        # The rows of lanes follow their number; a column that is shared has nothing before them.
        own = min(1, np.ndim(X.varying) - 1)
        X = Augmented(fill(X.shared, np.ndim(X.shared) - 2), fill(X.varying, own))
    else:
        X = jax.tree.map(lambda v: fill(v, np.ndim(v) - 2), X)
    paired = inputs.family.counts_trials and np.shape(y)[-2:] == (n, 2)
    if np.ndim(frequency) == 0:
        one = np.ones(n)
        frequency = one if frequency is None else one * frequency
    rows = {name: getattr(inputs, name) for name in ("offset", "var_weights", "n_trials")}
    return inputs._replace(
        X=X,
        y=fill(y, np.ndim(y) - 2) if paired else fill_row(y),
        freq_weights=fill_row(frequency),
        **{name: None if v is None else fill_row(v) for name, v in rows.items()},
    )


def common_length(n: int) -> int:
    """n rounded up to one of sixteen lengths an octave."""
    step = 1 << max(0, n.bit_length() - 5)
    return -(-n // step) * step
