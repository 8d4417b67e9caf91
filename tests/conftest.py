"""The setting of every test: float64 unless JAX_ENABLE_X64=0, and no silent rank promotion.

With JAX_ENABLE_X64=0 only the tests marked ``dtype`` run: those that hold in either precision.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path

# Nearly all of the suite's time is compilation, and small problems need no optimised code.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # later ones know no such flag, and stop at it
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)

import jax  # noqa: E402  (reads the environment when it is imported)
import pytest  # noqa: E402

REFERENCE = Path(__file__).parent / "reference"
MEMORY_MAPS = Path("/proc/self/maps")
# A third of what Linux allows a process.
MANY_MAPS = 20_000

jax.config.update("jax_numpy_rank_promotion", "raise")


def x64_is_on() -> bool:
    return bool(jax.config.jax_enable_x64)


def reference(name: str) -> dict:
    """The numbers of ``tests/reference/<name>.json``."""
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def pytest_collection_modifyitems(config, items):
    nightly = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

    def is_due(item):
        right_precision = x64_is_on() or item.get_closest_marker("dtype")
        return right_precision and (nightly or not item.get_closest_marker("nightly"))

    left_out = [item for item in items if not is_due(item)]
    items[:] = [item for item in items if is_due(item)]
    config.hook.pytest_deselected(items=left_out)


def has_many_programs() -> bool:
    """Whether compiled programs, some memory maps each, near the system's limit."""
    try:
        return MEMORY_MAPS.read_bytes().count(b"\n") > MANY_MAPS
    except OSError:  # no such file, hence no way to tell
        return True


@pytest.fixture(autouse=True, scope="module")
def forgets_programs():
    """Drop what a module compiled before a process has more maps than it may."""
    yield
    if has_many_programs():
        jax.clear_caches()


@pytest.fixture
def x64():
    """float64 for the length of a test, whatever the process's setting."""
    with jax.enable_x64(True):
        yield
