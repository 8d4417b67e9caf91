"""The examples run as their reader runs them, and their own assertions hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

# Those that compile the most.
LONG = {"bootstrap_gamma", "coverage", "custom_families", "data_values", "neural_head"}
LONG |= {"negative_binomial_level", "posterior", "ridge_matrix"}
CASES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.nightly] * (path.stem in LONG))
    for path in EXAMPLES
]


@pytest.mark.parametrize("example", CASES)
def test_an_example_runs_to_its_last_assertion(example, tmp_path):
    assert "\nassert " in example.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
