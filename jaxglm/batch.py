"""Floor 8: many fits in one call.

Nothing of a fit is written again here: a lane is `fit` under `vmap`, where shared designs become
matrix products. The engine adds what only a batch needs. Lanes go in chunks small enough to stay
in cache; chunks go in groups of a few fixed sizes, so that another number of lanes compiles
nothing; groups are dispatched side by side; lanes unfinished after a few passes are gathered and
finished among themselves, so that a bad lane does not hold up its neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._progress import progress_bar
from jaxglm._types import Array, ArrayLike
from jaxglm.designs import Augmented, Columns, Dense, Design, OneWay
from jaxglm.dispersion import Dispersion, as_dispersion
from jaxglm.families import Family
from jaxglm.fit import Fit, as_model_family, as_penalty, prepare, solve_prepared, to_host
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Solver, Status
from jaxglm.solvers.base import is_count

__all__ = ["fit_many"]

# Passes after which the unfinished lanes of a group are gathered.
FIRST_LIMIT = 8
# Bytes of one row quantity of a chunk: eta, mu and w stay in a CPU's second-level cache; an
# accelerator wants enough work to fill it.
CPU_BYTES = 2**18
ACCELERATOR_BYTES = 2**29
MOST_CHUNKS = 64
NO_LIMIT = np.iinfo(np.int32).max
# Elements of the largest array below which a batch takes less time than a compilation.
FILLED_ELEMENTS = 2**20


class _Inputs(NamedTuple):
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


class _Plan(NamedTuple):
    """What is compiled in: the structure of the inputs, which leaves have lanes, how to solve."""

    treedef: Any
    mapped: tuple[bool, ...]
    chunk: int
    solver: Solver
    cov: bool


def fit_many(
    X: ArrayLike | Design,
    y: ArrayLike,
    family: Family,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | None = None,
    n_trials: ArrayLike | None = None,
    penalty: Penalty | ArrayLike | None = None,
    scale: str | ArrayLike | None = None,
    start: ArrayLike | None = None,
    solver: Solver = IRLS(),  # noqa: B008 - frozen
    chunk_size: int | None = None,
    dtype: Any = None,
    progress: bool = False,
    cov: bool = True,
    devices: Sequence[Any] | None = None,
) -> Fit:
    """Fit B models; every field of the result has a leading axis B.

    Each argument is shared (its shape in `fit`) or has a leading axis B: X (n, p), (B, n, p) or
    `designs.Augmented(shared, varying)` with varying (B, n) or (B, n, k); y, offset, weights and
    n_trials (n,) or (B, n); the family's and link's parameters, `scale` and a scalar penalty
    strength () or (B,); a penalty vector (p,) or (B, p), a matrix (p, p) or (B, p, p); start (p,)
    or (B, p). Where B = p, a penalty of shape (p,) or (p, p) is taken as shared.

    chunk_size: lanes that are computed together (None: from the number of rows). dtype: None for
    float64 from NumPy and pandas, an array's own for `jax.Array`. progress: show a bar. cov=False
    leaves out the covariance. devices: those to spread the lanes over (None: JAX's default).

    A lane fails alone, by its `status`; see `Fit.tally`. With traced arguments (under `jit`,
    `grad`, `vmap`) lanes go through `jax.lax.map` in chunks, and the result can be differentiated.
    Raises for shapes that do not fit, naming the argument.
    """
    inputs = _Inputs(
        X, y, family, offset, var_weights, freq_weights, n_trials, penalty, Dispersion(), start
    )
    # An operation inside a trace gives a tracer even if all the arguments are concrete.
    leaves = [*jax.tree.leaves(inputs), jnp.zeros(())]
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    dtype = dtype_of(X, y) if dtype is None else _as_precision(dtype)
    scope = jax.enable_x64(True) if dtype == np.float64 and not traced else contextlib.nullcontext()
    with scope:
        inputs = _as_arrays(inputs, scale, dtype, host=not traced)
        n, p = _design_shape(inputs.X)
        lanes, mapped = _find_lanes(inputs, n, p)
        chunk = lanes_at_once(chunk_size, n, lanes, dtype, p if mapped[0] else 0)
        if not traced and max(map(np.size, jax.tree.leaves(inputs))) < FILLED_ELEMENTS:
            inputs = _fill_rows(inputs, n)
            lanes, mapped = _find_lanes(inputs, *_design_shape(inputs.X))
        leaves, treedef = jax.tree.flatten(inputs)
        plan = _Plan(treedef, mapped, chunk, solver, cov)
        if traced:
            own = [leaf for leaf, m in zip(leaves, mapped, strict=True) if m]
            shared = [leaf for leaf, m in zip(leaves, mapped, strict=True) if not m]
            lane = partial(_fit_lane, plan, shared=shared, limit=None)
            return jax.lax.map(lane, own, batch_size=plan.chunk)
        return _drive(plan, leaves, lanes, dtype, devices, progress)


def _fit_lane(plan: _Plan, own: list[Array], shared: list[Array], limit: Array | None) -> Fit:
    """One lane, from its own leaves and those that all share."""
    mine, common = iter(own), iter(shared)
    leaves = [next(mine) if m else next(common) for m in plan.mapped]
    inputs: _Inputs = jax.tree.unflatten(plan.treedef, leaves)
    if plan.mapped[0] and not isinstance(inputs.X, Design):
        inputs = inputs._replace(X=Columns(inputs.X.T))
    problem, invalid = prepare(
        inputs.X,
        inputs.y,
        inputs.family,
        offset=inputs.offset,
        var_weights=inputs.var_weights,
        freq_weights=inputs.freq_weights,
        n_trials=inputs.n_trials,
        penalty=inputs.penalty,
    )
    return solve_prepared(
        problem, invalid, inputs.start, inputs.dispersion, plan.solver, limit, plan.cov
    )


def _fit_group(
    plan: _Plan, own: list[Array], shared: list[Array], limit: Array, first: Array, chunks: Array
) -> Fit:
    """So many chunks from the first lane asked for; the last is moved back to the arrays' end."""
    lanes = own[0].shape[0]
    size = min(plan.chunk, lanes)

    # Jitted, so that it is traced once for its shapes and for the loop.
    @jax.jit
    def fit_chunk(own: list[Array], shared: list[Array], limit: Array, start: Array) -> Fit:
        part = [jax.lax.dynamic_slice_in_dim(leaf, start, size) for leaf in own]
        return jax.vmap(lambda own: _fit_lane(plan, own, shared, limit))(part)

    def add(i: Array, whole: Fit) -> Fit:
        start = first + i * size
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return jax.tree.map(put, whole, fit_chunk(own, shared, limit, start))

    shapes = jax.eval_shape(fit_chunk, own, shared, limit, first)
    empty = jax.tree.map(lambda v: jnp.zeros((lanes, *v.shape[1:]), v.dtype), shapes)
    return jax.lax.fori_loop(0, chunks, add, empty)


@cache
def _compiled(backend: str) -> Any:
    """`_fit_group`, jitted; on a CPU by its widest vectors, which XLA does not prefer."""
    options = {"xla_cpu_prefer_vector_width": 512} if backend == "cpu" else None
    return jax.jit(_fit_group, static_argnums=0, compiler_options=options)


class _Group(NamedTuple):
    """Lanes that go to a device in one call, in arrays that may hold others before and after."""

    held: np.ndarray  # lane numbers in the arrays; their count is one of a few
    first: int  # where the group's own begin
    count: int  # how many they are


def _drive(
    plan: _Plan,
    leaves: list[Any],
    lanes: int,
    dtype: Any,
    devices: Sequence[Any] | None,
    progress: bool,
) -> Fit:
    """Groups side by side under a low step limit, then the unfinished lanes together."""
    targets = list(devices) if devices else [None]
    own = [leaf for leaf, m in zip(leaves, plan.mapped, strict=True) if m]
    common = [leaf for leaf, m in zip(leaves, plan.mapped, strict=True) if not m]
    shared = [[_put(dtype, leaf, target) for leaf in common] for target in targets]
    workers = max(len(targets), os.cpu_count() or 1)
    # Scoped settings belong to a thread, so the workers are told.
    wide = jax.config.jax_enable_x64
    group_fit = _compiled(targets[0].platform if devices else jax.default_backend())

    def run(group: _Group, which: int, limit: int) -> Fit:
        with jax.enable_x64(wide):
            mine = [_put(dtype, _take(leaf, group.held), targets[which]) for leaf in own]
            chunks = -(-group.count // plan.chunk)
            numbers = (jnp.asarray(v, jnp.int32) for v in (limit, group.first, chunks))
            part = jax.block_until_ready(group_fit(plan, mine, shared[which], *numbers))
            part = jax.tree.map(lambda v: v[group.first : group.first + group.count], part)
            return part if which == 0 else jax.device_put(part, targets[0])

    with progress_bar(lanes, "fit", progress) as advance:

        def tell(part: Fit, limit: int) -> None:
            if progress:
                advance(*_count_ended(part, limit))

        def run_all(groups: list[_Group], limit: int) -> Fit:
            parts = _side_by_side(run, groups, workers, len(targets), limit, tell)
            return jax.tree.map(lambda *v: v[0] if len(v) == 1 else jnp.concatenate(v), *parts)

        groups = _groups(np.arange(lanes), plan.chunk, workers)
        result = run_all(groups, FIRST_LIMIT)
        unfinished = np.flatnonzero(np.asarray(result.status) == int(Status.max_steps))
        if unfinished.size == 0:
            return result
        # In chunks as long as the first, however few: a lane's bits then depend on no other.
        least = min(plan.chunk, groups[0].held.size)
        rest = run_all(_groups(unfinished, plan.chunk, workers, least), NO_LIMIT)
        return jax.tree.map(lambda whole, new: whole.at[unfinished].set(new), result, rest)


def _count_ended(part: Fit, limit: int) -> tuple[int, int]:
    """How many lanes are done, and how many of them failed; those cut short by the limit go on."""
    status = np.asarray(part.status)
    ended = (status != int(Status.max_steps)) | (limit == NO_LIMIT)
    return int(ended.sum()), int(np.sum(ended & (status != int(Status.converged))))


def _put(dtype: Any, leaf: Any, target: Any) -> Array:
    return jax.device_put(_as_dtype(dtype, leaf), target)


def _side_by_side(
    run: Callable[[_Group, int, int], Fit],
    groups: list[_Group],
    workers: int,
    devices: int,
    limit: int,
    tell: Callable[[Fit, int], None],
) -> list[Fit]:
    """Run the groups from a few host threads, so that every core or device has one in hand."""
    parts = []
    with ThreadPoolExecutor(min(workers, len(groups))) as pool:
        pending = [pool.submit(run, group, i % devices, limit) for i, group in enumerate(groups)]
        try:
            for future in pending:
                parts.append(future.result())
                tell(parts[-1], limit)
        finally:
            for future in pending:
                future.cancel()
    return parts


def _groups(lanes: np.ndarray, chunk: int, workers: int, least: int = 1) -> list[_Group]:
    """Lane numbers in groups of whole chunks, as many for every worker as can be.

    Arrays are of a few sizes, none shorter than `least`, so that another number of lanes compiles
    nothing.
    """
    if lanes.size <= chunk:
        size = min(chunk, max(least, 1 << (lanes.size - 1).bit_length()))
        return [_Group(np.resize(lanes, size), 0, lanes.size)]
    chunks = -(-lanes.size // chunk)
    rounds = -(-chunks // (workers * MOST_CHUNKS))
    # Two rounds even out what lanes of different length leave idle.
    each = -(-chunks // (workers * max(rounds, min(2, -(-chunks // (4 * workers))))))
    step = 1 << max(0, each.bit_length() - 3)
    size = chunk * step * -(-each // step)
    if size > lanes.size:
        return [_Group(np.resize(lanes, size), 0, lanes.size)]
    groups = []
    for start in range(0, lanes.size, each * chunk):
        count = min(each * chunk, lanes.size - start)
        before = min(start, lanes.size - size)
        held = lanes[before : before + size]
        groups.append(_Group(held, start - before, count))
    return groups


def _take(leaf: Any, lanes: np.ndarray) -> Any:
    """The lanes of a leaf; a contiguous run without a copy where that can be."""
    start, size = int(lanes[0]), lanes.size
    if size > 1 and lanes[-1] - start != size - 1:
        return leaf[lanes]
    if isinstance(leaf, np.ndarray):
        return leaf[start : start + size]
    return jax.lax.dynamic_slice_in_dim(leaf, start, size)


def lanes_at_once(
    chunk_size: int | None, n: int, lanes: int, dtype: Any, own_columns: int = 0
) -> int:
    """The lanes of a chunk: as asked, or as many as a device likes to have in hand.

    A shared design serves many lanes at once, a lane's own columns must fit beside its rows.
    """
    if chunk_size is not None:
        if not is_count(chunk_size):
            raise ValueError(f"chunk_size={chunk_size}: allowed are None and integers >= 1.")
        return min(int(chunk_size), lanes)
    on_cpu = jax.default_backend() == "cpu"
    elements = (CPU_BYTES if on_cpu else ACCELERATOR_BYTES) // np.dtype(dtype).itemsize
    # A power of two, so that neighbouring problem sizes choose alike.
    fitting = int(elements / (n * max(1.0, own_columns / 2))).bit_length() - 1
    return 1 << max(0 if own_columns else 3, fitting)


def _fill_rows(inputs: _Inputs, n: int) -> _Inputs:
    """Rows of weight 0 up to a common length, so that nearly as many rows compile nothing."""
    more, X = common_length(n) - n, inputs.X
    if more == 0 or (isinstance(X, Design) and not isinstance(X, (Dense, Augmented))):
        return inputs

    def fill(leaf: Any, axis: int) -> Any:
        module = jnp if isinstance(leaf, jax.Array) else np
        return module.pad(leaf, [(0, more if k == axis else 0) for k in range(np.ndim(leaf))])

    def fill_row(leaf: Any) -> Any:
        return leaf if np.ndim(leaf) == 0 else fill(leaf, np.ndim(leaf) - 1)

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


def dtype_of(*data: Any) -> Any:
    """float64 for host data, the arrays' own dtype, at least float32, for `jax.Array`."""
    leaves = [leaf for leaf in jax.tree.leaves(data) if isinstance(leaf, jax.Array)]
    floating = [leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.result_type(np.float32, *floating) if floating else np.dtype(np.float64)


def _as_precision(dtype: Any) -> Any:
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ValueError(f"dtype={dtype!r}: allowed are None, float32 and float64.")
    return np.dtype(dtype)


def _as_arrays(inputs: _Inputs, scale: Any, dtype: Any, host: bool) -> _Inputs:
    """All leaves as arrays, on the host where they came from it.

    There data keep their own dtype, and widen group by group: genotypes may be small integers.
    """
    convert = partial(_as_dtype, dtype)

    def data(name: str, value: Any) -> Any:
        return to_host(name, value) if host else convert(to_host(name, value))

    def array(name: str) -> Any:
        value = getattr(inputs, name)
        return None if value is None else data(name, value)

    X = inputs.X
    X = jax.tree.map(partial(data, "X"), X) if isinstance(X, Design) else data("X", X)
    family = as_model_family(inputs.family)
    rows = {name: array(name) for name in ("y", *_ROW_ARGUMENTS, "start")}
    bare = family.counts_trials and rows["n_trials"] is None
    if host and bare and _is_binary(rows["y"], _design_shape(X)[0]):
        family = dataclasses.replace(family, binary=True)  # type: ignore[call-arg]
    return _Inputs(
        X=X,
        family=jax.tree.map(convert, family),
        penalty=jax.tree.map(convert, as_penalty(inputs.penalty)),
        dispersion=jax.tree.map(convert, as_dispersion(scale, dtype)),
        **rows,
    )


def _as_dtype(dtype: Any, leaf: Any) -> Any:
    return leaf.astype(dtype) if isinstance(leaf, jax.Array) else np.asarray(leaf, dtype)


_ROW_ARGUMENTS = ("offset", "var_weights", "freq_weights", "n_trials")


def _is_binary(y: Any, n: int) -> bool:
    """Whether y holds single responses, all 0 or 1, and not (success, failure) counts."""
    lanes = y if np.ndim(y) > 1 else y[None]
    # Some lanes at a time: the comparisons of a million would take more memory than the fits.
    parts = (lanes[k : k + 2**20 // n + 1] for k in range(0, len(lanes), 2**20 // n + 1))
    return np.shape(y)[-1] == n and all(bool(((v == 0) | (v == 1)).all()) for v in parts)


def _find_lanes(inputs: _Inputs, n: int, p: int) -> tuple[int, tuple[bool, ...]]:
    """B, and for every leaf of `inputs` whether it has the lane axis."""
    lanes: dict[str, int] = {}
    mapped = []
    for field, value in zip(_Inputs._fields, inputs, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            shape, name = np.shape(leaf), field + jax.tree_util.keystr(path)
            alone, in_lanes = _allowed_shapes(name, inputs, n, p)
            own = shape not in alone
            if own and (not shape or shape[1:] not in in_lanes):
                options = ", ".join([*map(str, alone), *(str(("B", *s)) for s in in_lanes)])
                options = options.replace("'B'", "B")
                raise ValueError(f"{name}: shape {shape}; allowed are {options}, X being {(n, p)}.")
            mapped.append(own)
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


def _allowed_shapes(name: str, inputs: _Inputs, n: int, p: int) -> tuple[Any, Any]:
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
    if field in _ROW_ARGUMENTS:
        return ((), (n,)), ((n,),)
    if field == "start":
        return ((p,),), ((p,),)
    if field == "penalty":
        return ((), (p,), (p, p)), ((), (p,), (p, p))
    return ((),), ((),)


def _design_shape(X: Any) -> tuple[int, int]:
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
