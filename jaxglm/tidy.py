"""Floor 10: a fit as tidy frames, as R's broom: a row a coefficient, a row a model, a row a row.

`backend` is "pandas" (by default), "polars" or another eager one of narwhals (extra `frames`), or
None for a dictionary of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxglm._labels import as_frame, narwhals
from jaxglm.arguments import checked_alpha


def tidy(
    results: Any, alpha: float = 0.05, exponentiate: bool = False, backend: Any = "pandas"
) -> Any:
    """A row a coefficient: term, estimate, std_error, statistic, p_value, conf_low, conf_high.

    statistic is z, or t where `use_t`; the limits are Wald's at level 1 - alpha. exponentiate: exp
    of estimates and limits, ratios under a log or logit link; std_error stays the coefficient's, as
    broom's does. Aliased coefficients are NaN. Source: R's broom (Robinson 2014), tidy.glm.
    """
    names = ("term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")
    values = results.coef_table(checked_alpha("tidy", alpha)).values()
    columns = dict(zip(names, map(np.asarray, values), strict=True))
    if exponentiate:
        columns |= {k: np.exp(columns[k]) for k in ("estimate", "conf_low", "conf_high")}
    return as_frame(columns, backend)


def glance(results: Any, backend: Any = "pandas") -> Any:
    """One row: the null and the residual deviance with their df, fit, nobs, scale and status.

    aic and bic as the results', the dispersion not counted; status is the word. Source: broom's
    glance.glm, to which scale and status are added.
    """
    names = ("null_deviance", "df_null", "llf", "aic", "bic", "deviance", "df_resid")
    columns = {name: getattr(results, name) for name in (*names, "nobs", "scale")}
    columns["status"] = results.status.name
    return as_frame({name: np.array([value]) for name, value in columns.items()}, backend)


def augment(results: Any, data: Any = None, backend: Any = "pandas") -> Any:
    """What the fit says of each row of the input, after the columns of `data` where given.

    fitted (the mean), linear_predictor, resid_deviance, hat, sigma (the scale's root without the
    row), cooks_distance and std_resid (the deviance residual over its standard error), all R's: see
    `diagnostics.Influence`. Rows that missing="drop" left out are NaN. data: the frame or mapping
    that was fitted; it comes back as its own kind, whatever `backend`. Raises ValueError where its
    length is another or it has columns of these names. Source: broom's augment.glm.
    """
    results.need_data("augment")
    influence = results.get_influence()
    kept = {
        "fitted": results.mu,
        "linear_predictor": results.predict(which="linear"),
        "resid_deviance": results.resid_deviance,
        "hat": influence.hat_diagonal,
        "sigma": influence.sigma,
        "cooks_distance": influence.cooks_distance,
        "std_resid": influence.rstandard_deviance,
    }
    columns = {name: results.expand(values) for name, values in kept.items()}
    if data is None:
        return as_frame(columns, backend)
    return _beside(data, {name: np.asarray(values) for name, values in columns.items()})


def _beside(data: Any, columns: dict[str, np.ndarray]) -> Any:
    """The data's columns, then these."""
    mapping = isinstance(data, Mapping)
    frame = dict(data) if mapping else narwhals().from_native(data, eager_only=True)
    names = list(frame) if mapping else frame.columns
    n, given = len(columns["fitted"]), len(frame[names[0]])
    if given != n:
        raise ValueError(f"augment(data=...): {given} rows; the fit read {n}.")
    taken = [name for name in columns if name in names]
    if taken:
        raise ValueError(
            f"augment(data=...): has columns {', '.join(taken)}, which augment adds; rename them."
        )
    if mapping:
        return frame | columns
    own = frame.implementation
    new = [narwhals().new_series(name, v, backend=own) for name, v in columns.items()]
    return frame.with_columns(*new).to_native()
