"""Generalized linear models in JAX: one fit or a million, and every fit can be differentiated.

The package is a staircase; a module imports only from the floors below it.

    0  _types, _special, draws       records and intervals; special functions; lanes that are drawn
    1  link, links, _likelihood      g, its inverse, the slope d mu / d eta; pieces of densities
    2  family, custom, families      variance, deviance, log density, support, sampling
    3  linalg, designs, separation   p x p systems; X by its products; is the maximum finite?
    4  penalties, model              ridge, Jeffreys; score, information: the equations
    5  solvers                       status, the one loop, IRLS, Newton, optax
    6  implicit, dispersion, joint   the derivative of a root; phi; alpha, variance power
    7  fit                           fit(X, y, family) -> Fit, pure: the waist
    8  lane_*, batch, submodels, edges  fit_many; coefficients held or bound; maxima on edges
    9  covariance, diagnostics, inference, intervals, anova, prediction, lanes, scans
    10 frames, results, door         GLM(endog, exog, family).fit() -> GLMResults
    11 resample, simulate, datasets  resampling; simulation studies; small public data sets
    12 interfaces                    glm("y ~ x", data); scikit-learn's estimators
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from jaxglm import families, links, penalties, solvers
from jaxglm.batch import fit_many
from jaxglm.fit import Fit, fit
from jaxglm.solvers import Status

if TYPE_CHECKING:
    from jaxglm.door import GLM
    from jaxglm.frames import DomainWarning, FitWarning
    from jaxglm.interfaces.formula import glm
    from jaxglm.results import GLMResults
    from jaxglm.summaries import summary_col

__version__ = "0.1.0"

__all__ = [
    "GLM",
    "DomainWarning",
    "Fit",
    "FitWarning",
    "GLMResults",
    "Status",
    "families",
    "fit",
    "fit_many",
    "glm",
    "links",
    "penalties",
    "solvers",
    "summary_col",
]

# The upper floors load when they are first asked for: who fits batches does not wait for them.
_UPPER = {
    "GLM": "door",
    "glm": "interfaces.formula",
    "GLMResults": "results",
    "FitWarning": "frames",
    "DomainWarning": "frames",
    "summary_col": "summaries",
}


def __getattr__(name: str) -> Any:
    if name in _UPPER:
        return getattr(importlib.import_module(f"{__name__}.{_UPPER[name]}"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
