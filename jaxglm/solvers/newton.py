"""Floor 5: Newton's method."""

from __future__ import annotations

from jaxglm._types import record, static
from jaxglm.model import Problem, evaluate
from jaxglm.solvers.base import Solver, Start, check_controls, decrement_tolerance
from jaxglm.solvers.scoring import Evaluate, ScoringState, scoring_step, start_state


@record
class Newton(Solver):
    """beta + (X'oX + P)^-1 U with the observed information from the first step.

    Where it is not positive definite the expected information takes its place.

    tol: Newton decrement in units of the dispersion that ends the iteration (None: by dtype).
    max_steps: passes over the data.
    """

    tol: float | None = static(default=None)
    max_steps: int = static(default=100)

    def __post_init__(self) -> None:
        check_controls("Newton", self.tol, self.max_steps)

    @property
    def polish(self) -> None:
        """None: every step is Newton's."""

    def init(self, problem: Problem, start: Start, evaluate: Evaluate = evaluate) -> ScoringState:
        """The first candidate is one scoring step from the family's starting means."""
        return start_state(problem, start, True, evaluate)

    def step(
        self, problem: Problem, state: ScoringState, evaluate: Evaluate = evaluate
    ) -> ScoringState:
        """One pass over the data."""
        tol = decrement_tolerance(self.tol, problem.design.dtype)
        return scoring_step(
            problem,
            state,
            tol=tol,
            max_steps=self.max_steps,
            newton=True,
            evaluate=evaluate,
        )
