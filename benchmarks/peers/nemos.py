"""nemos: `PopulationGLM`, all lanes at once by L-BFGS (its intercept in place of our ones)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import nemos
import numpy as np

from benchmarks.problems import Answer, Problem

FAMILIES = {
    "logistic": nemos.observation_models.BernoulliObservations,
    "poisson": nemos.observation_models.PoissonObservations,
    "gamma": nemos.observation_models.GammaObservations,
}


def version() -> str:
    return nemos.__version__


def prepare(problem: Problem) -> Callable[[], Answer]:
    X, y = jnp.asarray(problem.X[:, 1:]), jnp.asarray(problem.y.T)
    model = nemos.glm.PopulationGLM(
        observation_model=FAMILIES[problem.family](),
        inverse_link_function=None if problem.family == "logistic" else jnp.exp,
        solver_name="LBFGS",
        solver_kwargs={"tol": 1e-6, "maxiter": 1000},
    )

    def run() -> Answer:
        fit = model.fit(X, y)
        return Answer(np.column_stack([fit.intercept_, np.asarray(fit.coef_).T]))

    return run
