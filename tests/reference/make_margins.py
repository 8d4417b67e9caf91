"""Marginal effects by statsmodels: writes margins.json. Run from the root of the repository.

`effects` are those of get_margeff at `at`, with `kind` its method; the columns in `discrete` change
from 0 to 1. statsmodels takes neither offset nor weights here, and its "mean" is the plain mean of
the rows. Fits are iterated until the coefficients stop changing.
"""

import json
import platform
from pathlib import Path

import numpy as np
import statsmodels
import statsmodels.api as sm

FOLDER = Path("tests/reference")
# With dummy=True statsmodels has its own midpoint rule for eydx: not comparable.
KINDS = ("dydx", "eyex", "dyex", "eydx")
QUESTIONS = [(at, kind, False) for at in ("overall", "mean") for kind in KINDS]
QUESTIONS += [("overall", "dydx", True)]


def models():
    rng = np.random.default_rng(20240607)
    n = 60
    x1 = rng.uniform(0.2, 2.0, n).round(3)
    x2 = rng.normal(size=n).round(3)
    d = (rng.uniform(size=n) < 0.4).astype(float)
    X = np.column_stack([np.ones(n), x1, x2, d])
    eta = X @ np.array([-0.4, 0.7, 0.5, -0.6])
    binary = (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float)
    counts = rng.poisson(np.exp(eta)).astype(float)
    positive = rng.gamma(5.0, np.exp(eta) / 5.0).round(4) + 0.0005
    sure = {"method": "newton", "disp": 0, "maxiter": 100, "tol": 1e-14}
    irls = {"maxiter": 300, "tol_criterion": "params", "tol": 1e-15}
    yield "logit", "binomial", "logit", X, binary, sm.Logit(binary, X).fit(**sure)
    yield "poisson", "poisson", "log", X, counts, sm.Poisson(counts, X).fit(**sure)
    for name, link in (("log", sm.families.links.Log()), ("inverse", None)):
        family = sm.families.Gamma() if link is None else sm.families.Gamma(link)
        yield f"gamma {name}", "Gamma", name, X, positive, sm.GLM(positive, X, family).fit(**irls)
    probit = sm.families.Binomial(sm.families.links.Probit())
    yield "probit", "binomial", "probit", X, binary, sm.GLM(binary, X, probit).fit(**irls)


def answer(fit, at, kind, discrete):
    margins = fit.get_margeff(at=at, method=kind, dummy=discrete)
    return {
        "at": at,
        "kind": kind,
        "discrete": [3] if discrete else [],
        "columns": [1, 2, 3],
        "effects": margins.margeff.tolist(),
        "se": margins.margeff_se.tolist(),
        "pvalues": margins.pvalues.tolist(),
    }


cases = [
    {
        "name": name,
        "family": family,
        "link": link,
        "X": X.tolist(),
        "y": y.tolist(),
        "params": fit.params.tolist(),
        "cov": fit.cov_params().tolist(),
        "margins": [answer(fit, *question) for question in QUESTIONS],
    }
    for name, family, link, X, y, fit in models()
]
versions = {
    "python": platform.python_version(),
    "statsmodels": statsmodels.__version__,
    "numpy": np.__version__,
}
text = json.dumps({"made_by": "make_margins.py", "versions": versions, "cases": cases})
(FOLDER / "margins.json").write_text(text + "\n", encoding="utf-8")
