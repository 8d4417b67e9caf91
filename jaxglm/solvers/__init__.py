"""Floor 5: solvers of the score equation. IRLS by default, Newton, and optax's gradient methods."""

from jaxglm.solvers.base import Solver, Status, solve
from jaxglm.solvers.gradient import Gradient
from jaxglm.solvers.irls import IRLS
from jaxglm.solvers.newton import Newton

__all__ = ["IRLS", "Gradient", "Newton", "Solver", "Status", "solve"]
