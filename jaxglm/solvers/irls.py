"""Floor 5: iteratively reweighted least squares."""

from __future__ import annotations

from jaxglm._types import record, static
from jaxglm.model import Problem, evaluate
from jaxglm.solvers.base import Solver, Start, check_controls, decrement_tolerance
from jaxglm.solvers.scoring import Evaluate, ScoringState, scoring_step, start_state


@record
class IRLS(Solver):
    """Fisher scoring, beta + (X'wX + P)^-1 U, with observed information for the last steps.

    Equal to Newton's method for the canonical link. Off it, expected information is safe far away
    but converges linearly; within half a standard error of the maximum the observed information,
    where positive definite, makes convergence quadratic. Of eight columns and more every
    information matrix serves two steps, which converge with order three.

    tol: Newton decrement in units of the dispersion that ends the iteration (None: by dtype).
    max_steps: passes over the data. Source: McCullagh & Nelder (1989), section 2.5.
    """

    tol: float | None = static(default=None)
    max_steps: int = static(default=100)

    def __post_init__(self) -> None:
        check_controls("IRLS", self.tol, self.max_steps)

    @property
    def polish(self) -> None:
        """None: the last steps are Newton's."""

    def init(self, problem: Problem, start: Start, evaluate: Evaluate = evaluate) -> ScoringState:
        """The first candidate is one scoring step from the family's starting means."""
        return start_state(problem, start, False, evaluate)

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
            newton=False,
            evaluate=evaluate,
        )
