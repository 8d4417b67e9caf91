"""The examples run as their reader runs them, assertions hold, and pages show what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OUTPUTS = ROOT / "docs" / "outputs"

# Those that compile the most.
LONG = {"bootstrap_gamma", "coverage", "custom_families", "data_values", "neural_head"}
LONG |= {"negative_binomial_level", "pictures", "posterior", "ridge_matrix"}
CASES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.nightly] * (path.stem in LONG))
    for path in EXAMPLES
]

NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
# What some of the examples use where it is installed.
GUESTS = re.compile(r".*(?:statsmodels|BlackJAX).*")
TALLY = re.compile(r"\{'\w+': \d.*?\}")


def wording(printed):
    """What was printed but for what differs from one machine to another."""
    text = NUMBER.sub("#", TALLY.sub("", GUESTS.sub("", printed)))
    return "".join(text.split())


@pytest.mark.parametrize("example", CASES)
def test_an_example_runs_to_its_last_assertion(example, tmp_path):
    assert "\nassert " in example.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env={**os.environ, "JAX_ENABLE_X64": "0", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = (OUTPUTS / f"{example.stem}.txt").read_text(encoding="utf-8")
    shown = re.sub(r"^# %% \d+\n", "", text, flags=re.MULTILINE)
    assert wording(done.stdout) == wording(shown), f"./run outputs {example.stem}"
