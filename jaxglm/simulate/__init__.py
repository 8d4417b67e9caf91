"""Floor 11: simulation studies over lanes of fits, their summaries, and searches for a power."""

from jaxglm.simulate.search import PowerCurve, find_power
from jaxglm.simulate.study import Analysis, Estimand, Sample, Study, StudyResults, draw_response
from jaxglm.simulate.summaries import Measure, performance, relative_precision

__all__ = [
    "Analysis",
    "Estimand",
    "Measure",
    "PowerCurve",
    "Sample",
    "Study",
    "StudyResults",
    "draw_response",
    "find_power",
    "performance",
    "relative_precision",
]
