"""Floor 10: results in one .npz file: arrays as arrays, the rest as JSON; nothing is executed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxglm import families, links
from jaxglm.solvers import Status

FORMAT = 1
ARRAYS = ("beta", "cov_unscaled", "cov")


def state_of(results: Any) -> dict[str, Any]:
    """The fields that travel: host numbers, and the family with plain parameters."""
    kept = {f.name: getattr(results, f.name) for f in dataclasses.fields(results)}
    return kept | {"model": None, "working": None, "family": jax.tree.map(float, results.family)}


def write_results(path: str | Path, state: dict[str, Any]) -> None:
    """Write the fields of a `GLMResults`; raises for a family that holds functions."""
    plain = {k: v for k, v in state.items() if k not in (*ARRAYS, "family", "model", "working")}
    plain |= {"status": state["status"].name}
    content = {"format": FORMAT, "fields": plain, "family": _describe(state["family"])}
    text = json.dumps(content, default=float)
    with open(path, "wb") as file:
        np.savez(file, text=np.array(text), **{k: state[k] for k in ARRAYS})


def read_results(path: str | Path) -> dict[str, Any]:
    """The fields that `write_results` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {k: stored[k] for k in ARRAYS}
        content = json.loads(str(stored["text"]))
    if content["format"] != FORMAT:
        raise ValueError(
            f"load: {path} has format {content['format']}; this version reads {FORMAT}."
        )
    fields = content["fields"]
    fields |= {name: tuple(fields[name]) for name in ("exog_names", "given")}
    fields |= {"status": Status[fields["status"]]}
    return fields | arrays | {"family": _build(families, content["family"])}


def _describe(row: Any) -> dict[str, Any]:
    """A family or link as its class's name and its fields."""
    values = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            values[name] = _describe(value)
        elif callable(value):
            raise ValueError(f"save: {type(row).__name__}({name}=...) holds a function.")
    return {"class": type(row).__name__, **values}


def _build(module: Any, description: dict[str, Any]) -> Any:
    """The family or link of that name, which must be one of the module's public ones."""
    name = description["class"]
    if name not in module.__all__:
        raise ValueError(f"load: unknown class {name!r}.")
    values = {k: v for k, v in description.items() if k != "class"}
    if "link" in values:
        values["link"] = _build(links, values["link"])
    return getattr(module, name)(**values)
