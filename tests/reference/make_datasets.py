"""Write datasets_scotland.json: facts about statsmodels' own copy of the Scottish vote of 1997.

Run from the repository root: ``python tests/reference/make_datasets.py``.
"""

import json
from pathlib import Path

import numpy as np
import statsmodels
import statsmodels.api as sm

data = sm.datasets.scotland.load()
y, X = np.asarray(data.endog), np.asarray(data.exog)
family = sm.families.Gamma(sm.families.links.Log())
model = sm.GLM(y, sm.add_constant(X), family=family)
fit = model.fit(tol=1e-14, tol_criterion="params", maxiter=200)
facts = {
    "versions": {"statsmodels": statsmodels.__version__, "numpy": np.__version__},
    "scotland": {
        "name": "scotland",
        "n": len(y),
        "endog_sum": y.sum(),
        "endog_squares": (y**2).sum(),
        "exog": {
            "names": list(data.exog.columns),
            "sums": X.sum(axis=0).tolist(),
            "squares": (X**2).sum(axis=0).tolist(),
        },
        "coef": fit.params.tolist(),
        "deviance": fit.deviance,
    },
}
Path(__file__).with_name("datasets_scotland.json").write_text(json.dumps(facts, indent=1) + "\n")
