"""Floor 11: simulation studies: data from a known law, analyses of it, in chunks that can resume.

A replicate's key is folded in from the study's, its cell and its own number, so that any replicate
can be drawn and analysed alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxglm._labels import as_frame, column_numbers
from jaxglm._progress import progress_bar
from jaxglm._threads import compiled, cores, in_precision, threads
from jaxglm._types import Array, ArrayLike, record, static
from jaxglm.batch import fit_many
from jaxglm.bootstrap import as_key, require_count
from jaxglm.covariance import heteroscedastic
from jaxglm.families import Family
from jaxglm.fit import Fit, prepare
from jaxglm.frames import float64
from jaxglm.intervals import profile_interval, score_interval, wald_interval
from jaxglm.lanes import has_inference
from jaxglm.penalties import Penalty
from jaxglm.prediction import simulate
from jaxglm.simulate.summaries import Measure, performance
from jaxglm.solvers import IRLS, Solver
from jaxglm.solvers.base import tally

__all__ = ["Analysis", "Estimand", "Sample", "Study", "StudyResults", "draw_response"]

Cell = Mapping[str, Any]
# Lanes whose intervals are computed together.
LANES = 64


class Sample(NamedTuple):
    """A data set, or what of it is known before y: arguments of `fit`. Missing rows: weight 0."""

    X: Any
    y: Any = None
    offset: Any = None
    var_weights: Any = None
    freq_weights: Any = None
    n_trials: Any = None


class Estimand(NamedTuple):
    """The coefficient of a column of X: its true value in a cell, and the value that is tested."""

    column: int
    truth: Callable[[Cell], float]
    null: float = 0.0


@record
class Analysis:
    """A model that is fitted to every data set, and how its limits are made.

    columns: those of X that it has (None: all). cov: "model", or "HC0" to "HC4"; interval: "wald"
    by that covariance (t on df_resid with use_t), "profile" or "score".
    """

    family: Family
    penalty: Penalty | ArrayLike | None = None
    solver: Solver = IRLS()  # noqa: RUF009 - frozen
    columns: tuple[int, ...] | None = static(default=None)
    scale: str | None = static(default=None)
    cov: str = static(default="model")
    interval: Literal["wald", "profile", "score"] = static(default="wald")
    use_t: bool = static(default=False)


class Outcome(NamedTuple):
    """What an analysis found: (..., R, E) for E estimands, status and sound (..., R).

    Numbers are kept as they are; `sound` tells whether they have a meaning.
    """

    estimate: np.ndarray
    se: np.ndarray
    low: np.ndarray
    high: np.ndarray
    status: np.ndarray
    sound: np.ndarray


def draw_response(
    key: Array, sample: Sample, family: Family, params: ArrayLike, scale: ArrayLike = 1.0
) -> Array:
    """Responses (n,) of a generalized linear model at X params + offset."""
    eta = jnp.asarray(sample.X) @ jnp.asarray(params, float)
    eta = eta if sample.offset is None else eta + sample.offset
    mu = family.link.inverse(eta)
    return simulate(key, family, mu, scale, sample.n_trials, sample.var_weights)


@dataclasses.dataclass(frozen=True)
class Study:
    """Data from `design` and `response`, by `analyses`, about `estimands`, over all `factors`.

    factors: values by name; a cell is one combination, a dict, the last factor moving fastest.
    design(key, cell): X (n, p), or a `Sample` without y; response(key, sample, cell): y (n,), for
    which `draw_response` may serve. Both are traced, once a cell; shapes may depend on the cell.
    reps: data sets per cell. fixed_design: one design per cell, not one per replicate; then all
    fits share it, which is faster. alpha: 1 - level of the limits. chunk: replicates at a time.
    traced: names of factors whose values are numbers that `design` and `response` only calculate
    with; they see tracers, and cells that differ in nothing else are compiled once.
    """

    factors: Mapping[str, Sequence[Any]]
    design: Callable[[Array, Cell], Any]
    response: Callable[[Array, Sample, Cell], Array]
    analyses: Mapping[str, Analysis]
    estimands: Mapping[str, Estimand]
    reps: int = 1000
    fixed_design: bool = False
    alpha: float = 0.05
    chunk: int = 1000
    traced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.traced if name not in self.factors]
        if unknown:
            raise ValueError(f"traced: {unknown}; allowed are the factors {list(self.factors)}.")

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Every combination of the factors' values."""
        values = itertools.product(*self.factors.values())
        return [dict(zip(self.factors, one, strict=True)) for one in values]

    @float64()
    def draw(self, key: Any, cell: int, replicates: ArrayLike) -> Sample:
        """The data sets of a cell by their numbers (R,), with leading axis R; NumPy arrays.

        With a fixed design only y has the axis. A replicate is the same whatever others are drawn.
        """
        return _drawer(self, cell, {})(as_key(key), replicates)

    @float64()
    def analyse(self, sample: Sample) -> dict[str, Outcome]:
        """Each analysis of data sets that `draw` made."""
        return {name: self._analyse(one, sample) for name, one in self.analyses.items()}

    def _analyse(self, analysis: Analysis, sample: Sample) -> Outcome:
        p = sample.X.shape[-1]
        wanted = [
            column_numbers("Estimand(column=...)", e.column, p)[0] for e in self.estimands.values()
        ]
        if analysis.columns is not None:
            kept = column_numbers("Analysis(columns=...)", analysis.columns, p)
            if not set(wanted) <= set(kept):
                raise ValueError(
                    f"Analysis(columns={analysis.columns}): the estimands are {wanted}."
                )
            wanted = [kept.index(column) for column in wanted]
            sample = sample._replace(X=sample.X[..., np.array(kept)])
        fits = fit_many(
            sample.X,
            sample.y,
            analysis.family,
            offset=sample.offset,
            var_weights=sample.var_weights,
            freq_weights=sample.freq_weights,
            n_trials=sample.n_trials,
            penalty=analysis.penalty,
            scale=analysis.scale,
            solver=analysis.solver,
        )
        shared = sample._replace(y=None) if self.fixed_design else Sample(None)
        own = Sample(None, sample.y) if self.fixed_design else sample
        numbers = _by_all_cores(analysis, tuple(wanted), shared, own, fits, self.alpha)
        return Outcome(*numbers, np.asarray(fits.status), np.asarray(has_inference(fits)))

    def run(
        self, key: Any, folder: str | Path | None = None, progress: bool = False
    ) -> StudyResults:
        """All cells and replicates as `StudyResults`.

        folder: a place for the chunks, an .npz file each. A run that was interrupted goes on where
        it stopped and ends with the numbers that it would have had; a folder of a study with other
        factors, sizes, analyses or key is refused. What `design` and `response` do cannot be
        compared: a change in them needs a new folder. progress: show a bar (extra `progress`).
        """
        require_count("reps", self.reps, 1)
        require_count("chunk", self.chunk, 1)
        key, place = as_key(key), None if folder is None else Path(folder)
        if place is not None:
            _claim(place, self._description(key))
        compiled: dict[Any, Any] = {}
        with progress_bar(len(self.cells) * self.reps, "data set", progress) as advance:
            parts = [
                self._run_cell(key, place, cell, compiled, advance)
                for cell in range(len(self.cells))
            ]
        whole = {name: _joined([[p[name] for p in row] for row in parts]) for name in self.analyses}
        return StudyResults(self, whole)

    @float64()
    def _run_cell(
        self,
        key: Array,
        place: Path | None,
        cell: int,
        compiled: dict[Any, Any],
        advance: Callable[[int, int], None],
    ) -> list[dict[str, Outcome]]:
        """The chunks of a cell, from their files, or computed and put there."""
        draw, parts = _drawer(self, cell, compiled), []
        for first in range(0, self.reps, self.chunk):
            count = min(self.chunk, self.reps - first)
            file = None if place is None else place / f"cell{cell:05d}-{first:09d}.npz"
            if file is not None and file.exists():
                found = _read(file, list(self.analyses))
            else:
                # Always of one size: a shorter last chunk would compile anew.
                numbers = np.arange(first, first + min(self.chunk, self.reps))
                found = self.analyse(draw(key, numbers))
                found = {k: Outcome(*(v[:count] for v in one)) for k, one in found.items()}
                if file is not None:
                    _write(file, found)
            parts.append(found)
            failed = sum(int(np.sum(~one.sound)) for one in found.values())
            advance(count, failed)
        return parts

    def _description(self, key: Array) -> dict[str, Any]:
        """What decides the numbers, as far as it can be written down."""
        return {
            "factors": {name: [repr(v) for v in values] for name, values in self.factors.items()},
            "analyses": {name: repr(one) for name, one in self.analyses.items()},
            "estimands": {n: [e.column, repr(e.null)] for n, e in self.estimands.items()},
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "reps": self.reps,
            "chunk": self.chunk,
            "alpha": self.alpha,
            "fixed_design": self.fixed_design,
        }


@dataclasses.dataclass(frozen=True)
class StudyResults:
    """Every replicate of a study: an `Outcome` per analysis, (cells, reps, estimands)."""

    study: Study
    outcomes: Mapping[str, Outcome]

    def tally(self) -> dict[str, list[dict[str, int]]]:
        """How many fits ended with each status, by analysis and cell."""
        return {name: [tally(v) for v in one.status] for name, one in self.outcomes.items()}

    def performance(self, analysis: str, cell: int, estimand: str) -> dict[str, Measure]:
        """The measures of `summaries.performance`; replicates that failed are not used."""
        study, one = self.study, self.outcomes[analysis]
        about, j = study.estimands[estimand], list(study.estimands).index(estimand)
        sound = one.sound[cell]
        numbers = (np.where(sound, v[cell, :, j], np.nan) for v in one[:4])
        return performance(*numbers, float(about.truth(study.cells[cell])), about.null)

    def to_frame(self, backend: Any = "pandas") -> Any:
        """A tidy table: the factors, analysis, estimand, measure, value, mcse, n_used.

        backend as in `lanes.to_frame`.
        """
        study = self.study
        rows = [
            {**cell, "analysis": analysis, "estimand": estimand, "measure": name, **one._asdict()}
            for i, cell in enumerate(study.cells)
            for analysis, estimand in itertools.product(study.analyses, study.estimands)
            for name, one in self.performance(analysis, i, estimand).items()
        ]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return as_frame(columns, backend)


def draw_design(study: Study, key: Array, cell: Cell, number: Array) -> Sample:
    """The design of a replicate, by the key of all the designs of its cell."""
    found = study.design(key if study.fixed_design else jax.random.fold_in(key, number), cell)
    return found if type(found) is Sample else Sample(found)


def _drawer(
    study: Study, index: int, compiled: dict[Any, Any]
) -> Callable[[Array, ArrayLike], Sample]:
    """A function from the study's key and replicate numbers to data sets.

    compiled: programs by the places of the factors that are not traced; a new one is put there.
    """
    cell = study.cells[index]
    values = {name: jnp.asarray(cell[name]) for name in study.traced}
    places = np.unravel_index(index, [len(levels) for levels in study.factors.values()])
    known = zip(study.factors, map(int, places), strict=True)
    fixed = tuple(place for name, place in known if name not in study.traced)
    if fixed not in compiled:
        compiled[fixed] = _compile_draws(study, cell)

    def draw(key: Array, replicates: ArrayLike) -> Sample:
        keys = jax.random.split(jax.random.fold_in(key, index))
        found = compiled[fixed](values, *keys, jnp.asarray(replicates, jnp.uint32))
        return jax.tree.map(np.asarray, found)

    return draw


def _compile_draws(study: Study, cell: Cell) -> Callable[..., Sample]:
    """Data sets of a cell, from the values of its traced factors, keys and replicate numbers."""

    def one(values: Cell, design_key: Array, response_key: Array, number: Array) -> Sample:
        here = {**cell, **values}
        key = jax.random.fold_in(response_key, number)
        sample = draw_design(study, design_key, here, number)
        return sample._replace(y=study.response(key, sample, here))

    out = Sample(*(None if study.fixed_design else 0 for _ in Sample._fields))._replace(y=0)
    return jax.jit(jax.vmap(one, in_axes=(None, None, None, 0), out_axes=out))


def _by_all_cores(
    analysis: Analysis,
    wanted: tuple[int, ...],
    shared: Sample,
    own: Sample,
    fits: Fit,
    alpha: float,
) -> Iterator[np.ndarray]:
    """`_limits`, of which every core of a CPU has a share."""
    lanes, backend = len(fits.status), jax.default_backend()
    workers = max(1, min(cores(), lanes // LANES)) if backend == "cpu" else 1
    # Shares of one length; the last is moved back to the end.
    size = -(-lanes // workers)
    limits = compiled(_limits, 1, backend, workers > 1)

    def share(first: int) -> tuple[np.ndarray, ...]:
        start = min(first, lanes - size)
        lane = jax.tree.map(lambda v: np.asarray(v)[start : start + size], (own, fits))
        found = limits(analysis, wanted, shared, *lane, alpha)
        return tuple(np.asarray(v)[first - start :] for v in found)

    shares = threads(workers).map(in_precision(share), range(0, lanes, size))
    return map(np.concatenate, zip(*shares, strict=True))


def _limits(
    analysis: Analysis,
    wanted: tuple[int, ...],
    shared: Sample,
    own: Sample,
    fits: Fit,
    alpha: float,
) -> tuple[Array, Array, Array, Array]:
    """Estimates, standard errors and limits (B, E) of the wanted coefficients."""

    def one(lane: tuple[Sample, Fit]) -> tuple[Array, Array, Array, Array]:
        data, fitted = lane
        data = Sample(*(a if b is None else b for a, b in zip(shared, data, strict=True)))
        estimate, se, limits = _limits_of(analysis, wanted, data, fitted, alpha)
        return estimate, se, *limits.T

    return jax.lax.map(one, (own, fits), batch_size=LANES)


def _limits_of(
    analysis: Analysis, wanted: tuple[int, ...], data: Sample, fitted: Fit, alpha: float
) -> tuple[Array, Array, Array]:
    """Estimates, standard errors (E,) and limits (E, 2) of one fit."""
    problem, _ = prepare(
        data.X,
        data.y,
        analysis.family,
        offset=data.offset,
        var_weights=data.var_weights,
        freq_weights=data.freq_weights,
        n_trials=data.n_trials,
        penalty=analysis.penalty,
    )
    robust = analysis.cov != "model"
    cov = heteroscedastic(problem, fitted, analysis.cov) if robust else fitted.cov_params
    columns = jnp.asarray(wanted)
    estimate, se = fitted.params[columns], jnp.sqrt(jnp.diagonal(cov))[columns]
    df = fitted.df_resid if analysis.use_t else None
    if analysis.interval == "wald":
        return estimate, se, wald_interval(estimate, se, alpha, df)
    made = profile_interval if analysis.interval == "profile" else score_interval
    limits = made(problem, fitted, alpha, df, solver=analysis.solver, columns=wanted)
    return estimate, se, limits


def _joined(parts: list[list[Outcome]]) -> Outcome:
    rows = [Outcome(*(np.concatenate(v) for v in zip(*row, strict=True))) for row in parts]
    return Outcome(*(np.stack(v) for v in zip(*rows, strict=True)))


def _claim(place: Path, description: dict[str, Any]) -> None:
    """Take the folder for this study, or find that it was taken by the same one."""
    place.mkdir(parents=True, exist_ok=True)
    file, text = place / "study.json", json.dumps(description, indent=1)
    if not file.exists():
        _put(file, lambda target: target.write(text.encode()))
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name, value in json.loads(text).items() if before.get(name) != value]
    if changed:
        raise ValueError(f"folder={str(place)!r}: holds a study with other {', '.join(changed)}.")


def _put(file: Path, write: Callable[[Any], Any]) -> None:
    """Write a file whole or not at all."""
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as target:
        write(target)
    os.replace(part, file)


def _write(file: Path, found: dict[str, Outcome]) -> None:
    arrays = {
        f"{i}.{field}": value
        for i, one in enumerate(found.values())
        for field, value in one._asdict().items()
    }
    _put(file, lambda target: np.savez(target, allow_pickle=False, **arrays))


def _read(file: Path, names: list[str]) -> dict[str, Outcome]:
    with np.load(file, allow_pickle=False) as held:
        return {
            name: Outcome(*(held[f"{i}.{field}"] for field in Outcome._fields))
            for i, name in enumerate(names)
        }
