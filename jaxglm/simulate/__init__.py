"""Floor 11: simulation studies over lanes of fits, their summaries, and searches for a power."""

from jaxglm.simulate.search import ExpectedPower, PowerCurve, find_power, solve_power, wald_power
from jaxglm.simulate.study import Analysis, Estimand, Sample, Study, StudyResults, draw_response
from jaxglm.simulate.summaries import Measure, performance, relative_precision

__all__ = [
    "Analysis",
    "Estimand",
    "ExpectedPower",
    "Measure",
    "PowerCurve",
    "Sample",
    "Study",
    "StudyResults",
    "draw_response",
    "find_power",
    "performance",
    "relative_precision",
    "solve_power",
    "wald_power",
]
