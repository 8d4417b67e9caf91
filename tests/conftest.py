"""The setting of every test: float64 unless JAX_ENABLE_X64=0, and no silent rank promotion.

With JAX_ENABLE_X64=0 only the tests marked ``dtype`` run: those that hold in either precision.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax  # noqa: E402  (reads JAX_ENABLE_X64 when it is imported)
import pytest  # noqa: E402

REFERENCE = Path(__file__).parent / "reference"

jax.config.update("jax_numpy_rank_promotion", "raise")


def x64_is_on() -> bool:
    return bool(jax.config.jax_enable_x64)


def reference(name: str) -> dict:
    """The numbers of ``tests/reference/<name>.json``."""
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def pytest_collection_modifyitems(config, items):
    if x64_is_on():
        return
    left_out = [item for item in items if not item.get_closest_marker("dtype")]
    items[:] = [item for item in items if item.get_closest_marker("dtype")]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def x64():
    """float64 for the length of a test, whatever the process's setting."""
    with jax.enable_x64(True):
        yield
