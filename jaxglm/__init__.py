"""Generalized linear models in JAX."""

from jaxglm import families, links, penalties, solvers
from jaxglm.batch import fit_many
from jaxglm.fit import Fit, Status, fit

__all__ = ["Fit", "Status", "families", "fit", "fit_many", "links", "penalties", "solvers"]
