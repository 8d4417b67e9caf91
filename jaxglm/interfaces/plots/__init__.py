"""Floor 12: pictures, by matplotlib (extra `plots`): axes in, axes out.

Each function draws on the `ax` it is given, or on one of a new figure, and returns it; none shows
or closes anything, or changes a setting. A picture says in its title what it could not draw.
"""

from jaxglm.interfaces.plots.batches import pvalue_qq, regularisation_path, volcano
from jaxglm.interfaces.plots.fits import (
    calibration,
    coefficient_forest,
    fit_trace,
    partial_effect,
    roc,
)
from jaxglm.interfaces.plots.residuals import (
    diagnostic_plots,
    quantile_quantile,
    quantile_residual_qq,
    residuals_fitted,
    residuals_leverage,
    scale_location,
)
from jaxglm.interfaces.plots.studies import (
    cross_validation_curve,
    lollipop,
    nested_loop,
    power_curve,
    zip_plot,
)

__all__ = [
    "calibration",
    "coefficient_forest",
    "cross_validation_curve",
    "diagnostic_plots",
    "fit_trace",
    "lollipop",
    "nested_loop",
    "partial_effect",
    "power_curve",
    "pvalue_qq",
    "quantile_quantile",
    "quantile_residual_qq",
    "regularisation_path",
    "residuals_fitted",
    "residuals_leverage",
    "roc",
    "scale_location",
    "volcano",
    "zip_plot",
]
