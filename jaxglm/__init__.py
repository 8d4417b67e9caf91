"""Generalized linear models in JAX."""

from jaxglm import families, links, penalties, solvers
from jaxglm.fit import Fit, Status, fit

__all__ = ["Fit", "Status", "families", "fit", "links", "penalties", "solvers"]
