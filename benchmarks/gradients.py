"""One fit's gradient beside others' ways to it: `python -m benchmarks.gradients` prints JSON.

A logistic regression and the gradient, in the whole design, of the sum of squares of its
coefficients: by `jaxglm.fit`; by unrolled Newton steps, whose every iteration is kept for the way
back; by the implicit differentiation of optimistix and of jaxopt, where they are installed. Seconds
are medians of warm calls; memory is that of the compiled program's temporaries. A way whose
gradient is not ours to 1e-6 of the largest entry is marked as missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import jaxglm
from benchmarks.limits import logistic, seconds

Fitter = Callable[[jax.Array, jax.Array], jax.Array]


def score(beta: jax.Array, data: tuple[jax.Array, jax.Array]) -> jax.Array:
    X, y = data
    return X.T @ (jax.nn.sigmoid(X @ beta) - y)


def ours(X: jax.Array, y: jax.Array) -> jax.Array:
    return jaxglm.fit(X, y, jaxglm.families.Binomial()).params


def unrolled(X: jax.Array, y: jax.Array, steps: int = 8) -> jax.Array:
    def newton(beta: jax.Array, _: None) -> tuple[jax.Array, None]:
        mu = jax.nn.sigmoid(X @ beta)
        information = X.T @ ((mu * (1 - mu))[:, None] * X)
        return beta + jnp.linalg.solve(information, X.T @ (y - mu)), None

    return jax.lax.scan(newton, jnp.zeros(X.shape[1], X.dtype), None, steps)[0]


def by_optimistix(X: jax.Array, y: jax.Array) -> jax.Array:
    import optimistix

    solver = optimistix.Newton(rtol=1e-8, atol=1e-8)
    return optimistix.root_find(score, solver, jnp.zeros(X.shape[1], X.dtype), (X, y)).value


def by_jaxopt(X: jax.Array, y: jax.Array) -> jax.Array:
    import jaxopt

    def loss(beta: jax.Array, data: tuple[jax.Array, jax.Array]) -> jax.Array:
        eta = data[0] @ beta
        return jnp.mean(jax.nn.softplus(eta) - data[1] * eta)

    solver = jaxopt.LBFGS(loss, tol=1e-10, implicit_diff=True)
    return solver.run(jnp.zeros(X.shape[1], X.dtype), (X, y)).params


WAYS: dict[str, tuple[str, Fitter]] = {
    "jaxglm": ("jaxglm", ours),
    "unrolled, 8 steps": ("jax", unrolled),
    "unrolled, 25 steps": ("jax", lambda X, y: unrolled(X, y, 25)),
    "optimistix, implicit": ("optimistix", by_optimistix),
    "jaxopt, implicit": ("jaxopt", by_jaxopt),
}


def measure(fitter: Fitter, X: jax.Array, y: jax.Array) -> tuple[dict[str, float], np.ndarray]:
    """Seconds and temporary bytes, forward and with the gradient; and the gradient."""
    programs = {
        "forward": jax.jit(fitter),
        "gradient": jax.jit(jax.grad(lambda X, y: jnp.sum(fitter(X, y) ** 2))),
    }
    found = {}
    for name, program in programs.items():
        compiled = program.lower(X, y).compile()
        found[f"{name}_s"] = seconds(lambda compiled=compiled: compiled(X, y))
        found[f"{name}_bytes"] = float(compiled.memory_analysis().temp_size_in_bytes)
    return found, np.asarray(programs["gradient"](X, y))


def compare(n: int, p: int) -> list[dict]:
    X, Y = logistic(1, n, p)
    X, y = jnp.asarray(X), jnp.asarray(Y[0])
    rows, wanted = [], None
    for name, (package, fitter) in WAYS.items():
        if importlib.util.find_spec(package) is None:
            rows.append({"way": name, "missing": package})
            continue
        numbers, gradient = measure(fitter, X, y)
        wanted = gradient if wanted is None else wanted
        error = float(np.max(np.abs(gradient - wanted)) / np.max(np.abs(wanted)))
        ratio = numbers["gradient_s"] / numbers["forward_s"]
        rows.append(
            {"way": name, "error": error, "missed": error > 1e-6, "ratio": ratio, **numbers}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=10)
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(json.dumps({"cases": compare(asked.rows, asked.columns)}, indent=1))


if __name__ == "__main__":
    main()
