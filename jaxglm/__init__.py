"""Generalized linear models in JAX: one fit or a million, and every fit can be differentiated.

The package is a staircase; a module imports only from the floors below it.

    0  _types, _loggamma, _special   records and intervals; special functions; tables of text
    1  links, _likelihood            g, its inverse, the slope d mu / d eta; pieces of densities
    2  family, families              variance, deviance, log density, support, sampling
    3  linalg, designs, separation   p x p systems; X by its products; is the maximum finite?
    4  penalties, model              ridge, Jeffreys; score, information: the equations
    5  solvers                       status, the one loop, IRLS, Newton, optax
    6  implicit, dispersion, joint   the derivative of a root; phi; alpha, variance power
    7  fit                           fit(X, y, family) -> Fit, pure: the waist
    8  batch, submodels              fit_many; coefficients held or bound by equations
    9  covariance, diagnostics, inference, intervals, anova, prediction, lanes, scans
    10 frames, results, door         GLM(endog, exog, family).fit() -> GLMResults
    11 datasets                      small public data sets
"""

from jaxglm import families, links, penalties, solvers
from jaxglm.batch import fit_many
from jaxglm.door import GLM
from jaxglm.fit import Fit, fit
from jaxglm.results import FitWarning, GLMResults
from jaxglm.solvers import Status

__version__ = "0.1.0"

__all__ = [
    "GLM",
    "Fit",
    "FitWarning",
    "GLMResults",
    "Status",
    "families",
    "fit",
    "fit_many",
    "links",
    "penalties",
    "solvers",
]
