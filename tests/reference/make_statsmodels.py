"""What statsmodels answers where it is right: writes statsmodels.json. Run from the root.

`minnorm`: a Poisson fit to dependent columns, by pinv. `score_tests`: of the columns `extra`, by
cov_type and by the information that is inverted. `margins`: get_margeff of the `columns`, all but
the constant; `atexog` gives values to columns by number. No offset, no weights. `predictions`:
get_prediction of the first ROWS rows of the models of `score_tests`, by `which`, each and (with
`weights`) averaged. Fits are iterated until the coefficients stop changing.
"""

import json
import platform
import warnings
from pathlib import Path

import numpy as np
import statsmodels
import statsmodels.api as sm

FOLDER = Path("tests/reference")
SETTLED = {"maxiter": 300, "tol_criterion": "params", "tol": 1e-15}
KINDS = ("dydx", "eyex", "dyex", "eydx")
ROWS = 5
STATISTICS = ("mean", "linear", "var_unscaled")
QUESTIONS = [{"at": at, "method": kind} for at in ("median", "zero") for kind in KINDS]
QUESTIONS += [{"at": "mean", "method": "dydx", "atexog": {1: 0.5}}]
QUESTIONS += [{"at": "overall", "method": "dydx", "atexog": {1: 0.5, 3: 1.0}}]
QUESTIONS += [{"at": "overall", "method": "dydx", "count": True, "dummy": True}]


def data():
    rng = np.random.default_rng(20250119)
    n = 60
    x1 = rng.uniform(0.2, 2.0, n).round(3)
    x2 = rng.poisson(2.0, n).astype(float)
    d = (rng.uniform(size=n) < 0.4).astype(float)
    X = np.column_stack([np.ones(n), x1, x2, d])
    eta = X @ np.array([-0.4, 0.7, 0.2, -0.6])
    counts = rng.poisson(np.exp(eta)).astype(float)
    positive = rng.gamma(5.0, np.exp(eta) / 5.0).round(4) + 0.0005
    binary = (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float)
    return X, counts, positive, binary, rng.normal(size=(n, 2)).round(3)


def families():
    family, links = sm.families, sm.families.links
    X, counts, positive, binary, extra = data()
    yield "poisson", "log", X, counts, extra, family.Poisson()
    yield "Gamma", "log", X, positive, extra, family.Gamma(links.Log())
    yield "binomial", "probit", X, binary, extra, family.Binomial(links.Probit())


def minnorm():
    X, counts, *_ = data()
    X = np.column_stack([X, X @ [1.0, -2.0, 1.0, 0.0], X[:, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.GLM(counts, X, sm.families.Poisson()).fit(**SETTLED)
    return {
        "family": "poisson",
        "link": "log",
        "X": X.tolist(),
        "y": counts.tolist(),
        "params": fit.params.tolist(),
        "bse": fit.bse.tolist(),
        "deviance": fit.deviance,
        "df_model": int(fit.df_model),
        "df_resid": int(fit.df_resid),
    }


def score_tests():
    for family, link, X, y, extra, model in families():
        fit = sm.GLM(y, X, model).fit(**SETTLED)
        answers = []
        for observed in (True, False):
            for kind in ("nonrobust", "HC0"):
                found = fit.score_test(exog_extra=extra, cov_type=kind, observed=observed)
                numbers = {k: np.asarray(getattr(found, k)).item() for k in ("statistic", "pvalue")}
                answers.append({"observed": observed, "robust": kind == "HC0", **numbers})
        yield {
            "family": family,
            "link": link,
            "X": X.tolist(),
            "y": y.tolist(),
            "extra": extra.tolist(),
            "answers": answers,
        }


def margins():
    for family, link, X, y, _, model in families():
        fit = sm.GLM(y, X, model).fit(**SETTLED)
        answers = []
        for question in QUESTIONS:
            found = fit.get_margeff(**question)
            numbers = {"effects": found.margeff.tolist(), "se": found.margeff_se.tolist()}
            answers.append({**question, **numbers})
        yield {"family": family, "link": link, "X": X.tolist(), "y": y.tolist(), "answers": answers}


def predictions():
    for family, _, X, y, _, model in families():
        fit = sm.GLM(y, X, model).fit(**SETTLED)
        weights = np.linspace(0.5, 2.0, ROWS)
        questions = [{"which": which, "average": False} for which in STATISTICS]
        # Of "linear" statsmodels 0.15 gives no averages.
        questions += [{"which": which, "average": True} for which in ("mean", "var_unscaled")]
        answers = []
        for question in questions:
            more = {"agg_weights": weights} if question["average"] else {}
            frame = fit.get_prediction(X[:ROWS], **question, **more).summary_frame(alpha=0.1)
            answers.append({**question, "frame": {k: frame[k].tolist() for k in frame}})
        yield {"family": family, "weights": weights.tolist(), "answers": answers}


content = {
    "made_by": "make_statsmodels.py",
    "versions": {
        "python": platform.python_version(),
        "statsmodels": statsmodels.__version__,
        "numpy": np.__version__,
    },
    "minnorm": minnorm(),
    "score_tests": list(score_tests()),
    "margins": list(margins()),
    "predictions": list(predictions()),
}
(FOLDER / "statsmodels.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
