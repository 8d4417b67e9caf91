"""Floor 8: many fits in one call.

Nothing of a fit is written again here: a lane is `fit` under `vmap`, where shared designs become
matrix products. The engine adds what only a batch needs. Lanes go in chunks small enough to stay
in cache; chunks go in groups of a few fixed sizes, so that another number of lanes compiles
nothing; groups are dispatched side by side; lanes unfinished after a few passes are gathered and
finished among themselves, so that a bad lane does not hold up its neighbours.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._chunks import even_share, lanes_in_hand
from jaxglm._progress import progress_bar
from jaxglm._threads import compiled, cores, in_precision, threads
from jaxglm._types import Array, ArrayLike, empty_room
from jaxglm.designs import Augmented, Columns, Design
from jaxglm.dispersion import Dispersion
from jaxglm.draws import Draws
from jaxglm.families import Family
from jaxglm.fit import Fit, fit, prepare, solve_prepared
from jaxglm.implicit import KEPT
from jaxglm.lane_arguments import (
    Inputs,
    as_arrays,
    as_dtype,
    as_precision,
    corrected,
    design_shape,
    draw_lane,
    dtype_of,
    elements,
    fill_rows,
    find_lanes,
    own_dtypes,
)
from jaxglm.lane_groups import Group, all_groups, dtype_in_hand, put, regrouped, room_for, take
from jaxglm.penalties import Penalty
from jaxglm.solvers import IRLS, Newton, Solver, Status
from jaxglm.solvers.base import Near, is_count, require_solver
from jaxglm.solvers.draft import Drafted

__all__ = ["fit_many"]

# Passes after which the unfinished lanes of a group are gathered.
FIRST_LIMIT = 8
# Chunks that a traced batch takes together on a CPU: its operations run one after the other, and
# only large ones run on all cores. Solvers' loops have their own chunks.
TRACED_CHUNKS = 8
NO_LIMIT = np.iinfo(np.int32).max
# Elements of the largest array below which a batch takes less time than a compilation.
FILLED_ELEMENTS = 2**20


class _Plan(NamedTuple):
    """What is compiled in besides the solver: the inputs' structure, and their leaves' dtypes.

    mapped: whether lanes have their own of a leaf.
    """

    treedef: Any
    mapped: tuple[bool, ...]
    dtypes: tuple[np.dtype, ...]
    chunk: int
    cov: bool
    likelihood: bool

    @property
    def dtype(self) -> np.dtype:
        """That of the design, and of all data."""
        return self.dtypes[0]

    def split(self, leaves: Iterable[Any]) -> tuple[list[Any], list[Any]]:
        """What belongs to the leaves that lanes have of their own, and to those that they share."""
        pairs = list(zip(leaves, self.mapped, strict=True))
        return [v for v, own in pairs if own], [v for v, own in pairs if not own]


def fit_many(
    X: ArrayLike | Design,
    y: ArrayLike | Draws,
    family: Family,
    *,
    offset: ArrayLike | None = None,
    var_weights: ArrayLike | None = None,
    freq_weights: ArrayLike | Draws | None = None,
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
    likelihood: bool = True,
) -> Fit:
    """Fit B models; every field of the result has a leading axis B.

    Each argument is shared (its shape in `fit`) or has a leading axis B: X (n, p), (B, n, p) or
    `designs.Augmented(shared, varying)` with varying (B, n) or (B, n, k); y, offset, weights and
    n_trials (n,) or (B, n); the family's and link's parameters, `scale` and a scalar penalty
    strength () or (B,); a penalty vector (p,) or (B, p), a matrix (p, p) or (B, p, p); start (p,)
    or (B, p). Where B = p, a penalty of shape (p,) or (p, p) is taken as shared. y and freq_weights
    may be `draws.Draws`, which a lane makes for itself when its turn comes.

    chunk_size: lanes that are computed together (None: from the number of rows). dtype: None for
    float64 from NumPy and pandas, an array's own for `jax.Array`. progress: show a bar. cov=False
    leaves out the covariance, likelihood=False deviance and log-likelihood, whose logarithms cost
    as much as a pass; without both, coefficients of large batches are those of the maximum to 1e-8
    standard errors. devices: those to spread the lanes over (None: JAX's default).

    Large float64 batches make their first passes in float32, where that leads to the same maximum.
    A lane fails alone, by its `status`; see `Fit.tally`. With traced arguments (under `jit`,
    `grad`, `vmap`) lanes go through `jax.lax.map` in chunks, and the result can be differentiated.
    Raises for shapes that do not fit, naming the argument.
    """
    inputs = Inputs(
        X, y, family, offset, var_weights, freq_weights, n_trials, penalty, Dispersion(), start
    )
    # An operation inside a trace gives a tracer even if all the arguments are concrete.
    leaves = [*jax.tree.leaves(inputs), jnp.zeros(())]
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    dtype = dtype_of(X, y, traced=traced) if dtype is None else as_precision(dtype)
    require_solver(solver)
    _check_devices(devices)
    wide = dtype == np.float64 or isinstance(freq_weights, Draws) or isinstance(y, Draws)
    with jax.enable_x64(True) if wide and not traced else contextlib.nullcontext():
        inputs = as_arrays(inputs, scale, dtype, host=not traced)
        n, p = design_shape(inputs.X)
        lanes, mapped = find_lanes(inputs, n, p)
        chunk = lanes_at_once(chunk_size, (n, p), lanes, dtype, own=mapped[0])
        large = elements(inputs) >= FILLED_ELEMENTS
        if not (traced or large):
            inputs = fill_rows(inputs, n)
            lanes, mapped = find_lanes(inputs, *design_shape(inputs.X))
        elif not traced and _differs_in_columns(inputs, mapped):
            inputs = inputs._replace(start=_fit_covariates(inputs, dtype, solver))
            mapped += (False,) * (inputs.start is not None)
        leaves, treedef = jax.tree.flatten(inputs)
        plan = _Plan(treedef, mapped, own_dtypes(inputs, dtype), chunk, cov, likelihood)
        if large and isinstance(solver, (IRLS, Newton)) and solver.max_steps > FIRST_LIMIT:
            solver = Drafted(solver, near_enough=not (cov or likelihood))
        if traced:
            plain = not mapped[0] and not inputs.family.is_estimated
            if chunk_size is None and plain and jax.default_backend() == "cpu":
                chunk *= TRACED_CHUNKS
            return _map_lanes(plan, solver, leaves, even_share(lanes, chunk))
        fits = _drive(plan, solver, leaves, lanes, devices, progress)
        other = corrected(inputs, family, fits)
        if other is None:
            return fits
        plan = plan._replace(treedef=jax.tree.structure(other))
        return _drive(plan, solver, leaves, lanes, devices, progress)


def _differs_in_columns(inputs: Inputs, mapped: tuple[bool, ...]) -> bool:
    """Whether lanes share all but their own columns beside the same covariates."""
    free = inputs.start is None and inputs.penalty is None
    return isinstance(inputs.X, Augmented) and sum(mapped) == 1 and mapped[1] and free


def _fit_covariates(inputs: Inputs, dtype: Any, solver: Solver) -> Near | None:
    """The null model's coefficients: one scoring step from there shares its means and weights."""
    data = inputs._replace(X=inputs.X.shared)
    data = jax.tree.map(partial(as_dtype, dtype), data)
    null = fit(
        data.X,
        data.y,
        data.family,
        offset=data.offset,
        var_weights=data.var_weights,
        freq_weights=data.freq_weights,
        n_trials=data.n_trials,
        solver=solver,
    )
    return Near(null.params) if null.converged else None


def _map_lanes(plan: _Plan, solver: Solver, leaves: list[Array], together: int) -> Fit:
    """All lanes under a trace, so many together.

    On the way back their row quantities are computed again: to keep them takes dozens of arrays of
    all responses' size.
    """
    own, shared = plan.split(leaves)
    lane = partial(_fit_lane, plan, solver, shared=shared, limit=None)
    kept = jax.checkpoint_policies.save_only_these_names(KEPT)
    return jax.lax.map(
        jax.checkpoint(lane, prevent_cse=False, policy=kept), own, batch_size=together
    )


def _fit_lane(
    plan: _Plan, solver: Solver, own: list[Array], shared: list[Array], limit: Array | None
) -> Fit:
    """One lane, from its own leaves and those that all share."""
    mine, common = iter(own), iter(shared)
    leaves = [next(mine) if m else next(common) for m in plan.mapped]
    inputs: Inputs = jax.tree.unflatten(plan.treedef, leaves)
    inputs = draw_lane(inputs, plan.dtype)
    if plan.mapped[0] and not isinstance(inputs.X, Design):
        inputs = inputs._replace(X=Columns.of(inputs.X))
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
        problem,
        invalid,
        inputs.start,
        inputs.dispersion,
        solver,
        limit,
        plan.cov,
        plan.likelihood,
    )


def _fit_group(
    plan: _Plan,
    solver: Solver,
    own: list[Array],
    shared: list[Array],
    limit: Array,
    first: Array,
    chunks: Array,
) -> Fit:
    """So many chunks from the first lane asked for; the last is moved back to the arrays' end."""
    lanes = own[0].shape[0]
    size = min(plan.chunk, lanes)

    # Jitted, so that it is traced once for its shapes and for the loop.
    @jax.jit
    def fit_chunk(own: list[Array], shared: list[Array], limit: Array, start: Array) -> Fit:
        part = [jax.lax.dynamic_slice_in_dim(leaf, start, size) for leaf in own]
        part = list(map(jax.lax.convert_element_type, part, plan.split(plan.dtypes)[0]))
        return jax.vmap(lambda own: _fit_lane(plan, solver, own, shared, limit))(part)

    def add(i: Array, whole: Fit) -> Fit:
        start = first + i * size
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return jax.tree.map(put, whole, fit_chunk(own, shared, limit, start))

    shapes = jax.eval_shape(fit_chunk, own, shared, limit, first)
    empty = jax.tree.map(lambda v: jnp.zeros((lanes, *v.shape[1:]), v.dtype), shapes)
    return jax.lax.fori_loop(0, chunks, add, empty)


def _check_devices(devices: Any) -> None:
    known = isinstance(devices, Sequence) and all(isinstance(d, jax.Device) for d in devices)
    if devices is not None and not (known and devices):
        raise TypeError(f"devices={devices!r}: allowed are None and lists such as jax.devices().")


def _drive(
    plan: _Plan,
    solver: Solver,
    leaves: list[Any],
    lanes: int,
    devices: Sequence[Any] | None,
    progress: bool,
) -> Fit:
    """Groups side by side under a low step limit, then the unfinished lanes together."""
    targets = list(devices) if devices else [None]
    platform = targets[0].platform if devices else jax.default_backend()
    (own, common), (wanted, kept) = plan.split(leaves), plan.split(plan.dtypes)
    common = list(map(as_dtype, kept, common))
    shared = [jax.device_put(common, target) for target in targets]
    workers = max(len(targets), cores())
    design = max((math.prod(leaf.shape[1:]) for leaf in own if leaf.ndim > 2), default=0)
    groups = all_groups(lanes, plan.chunk, workers, design * plan.dtype.itemsize)
    group_fit = compiled(_fit_group, 0, platform, len(groups) > 1)
    kinds = list(map(dtype_in_hand, own, wanted))
    # One set of rooms for every worker; what is computed from them is done before they are filled
    # again.
    rooms: SimpleQueue[list[Any]] = SimpleQueue()
    for _ in range(workers):
        sizes = [(groups[0].size, *leaf.shape[1:]) for leaf in own]
        empty = empty_room if platform == "cpu" else lambda *_: None
        rooms.put(list(map(empty, sizes, kinds)))

    def run(group: Group, which: int, limit: int) -> Fit:
        room = rooms.get()
        try:
            held = [take(leaf, group, each) for leaf, each in zip(own, room, strict=True)]
            mine = list(map(as_dtype, kinds, held))
            mine = mine if targets[which] is None else jax.device_put(mine, targets[which])
            chunks = -(-group.lanes.size // plan.chunk)
            numbers = map(np.int32, (limit, group.first, chunks))
            part = jax.block_until_ready(group_fit(plan, solver, mine, shared[which], *numbers))
            return part if which == 0 else jax.device_put(part, targets[0])
        finally:
            rooms.put(room)

    with progress_bar(lanes, "fit", progress) as advance:

        def gather(whole: Fit | None, groups: list[Group], limit: int) -> Fit:
            parts = _side_by_side(in_precision(run), groups, workers, len(targets), limit)
            for group, part in zip(groups, parts, strict=True):
                if progress:
                    advance(*_count_ended(np.asarray(part.status)[group.own], limit))
                whole = room_for(part, lanes, platform == "cpu") if whole is None else whole
                whole = put(whole, part, group)
            return whole

        whole = gather(None, groups, FIRST_LIMIT)
        unfinished = np.flatnonzero(np.asarray(whole.status) == int(Status.max_steps))
        if unfinished.size:
            # In the same arrays: nothing is compiled, and a lane's bits depend on no other.
            rest = regrouped(unfinished, plan.chunk, workers, groups[0].size)
            whole = gather(whole, rest, NO_LIMIT)
        return jax.device_put(whole, targets[0])


def _count_ended(status: np.ndarray, limit: int) -> tuple[int, int]:
    """How many lanes are done, and how many of them failed; those cut short by the limit go on."""
    ended = (status != int(Status.max_steps)) | (limit == NO_LIMIT)
    return int(ended.sum()), int(np.sum(ended & (status != int(Status.converged))))


def _side_by_side(
    run: Callable[[Group, int, int], Fit],
    groups: list[Group],
    workers: int,
    devices: int,
    limit: int,
) -> Iterator[Fit]:
    """Run the groups from a few host threads, so that every core or device has one in hand."""
    if len(groups) == 1:
        yield run(groups[0], 0, limit)
        return
    submit = threads(workers).submit
    pending = deque(submit(run, one, i % devices, limit) for i, one in enumerate(groups))
    try:
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def lanes_at_once(
    chunk_size: int | None, shape: tuple[int, int], lanes: int, dtype: Any, *, own: bool = False
) -> int:
    """The lanes of a chunk: as asked, or as many as a device likes to have in hand.

    Designs (n, p) are shared, or a lane's `own`.
    """
    if chunk_size is None:
        return lanes_in_hand(shape, dtype, own=own)
    if not is_count(chunk_size):
        raise ValueError(f"chunk_size={chunk_size}: allowed are None and integers >= 1.")
    return min(int(chunk_size), lanes)
