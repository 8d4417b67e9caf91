"""Resampling beside R's boot, a joblib loop of statsmodels, and scikit-learn's cross_validate.

`python -m benchmarks.resampling --reps 10000 --peers boot,statsmodels,scikit-learn` prints one JSON
object. A logistic regression, n = 500, p = 6. Ours is warm (its first call is printed apart); peers
fit as many replicates, or `--peer-reps` of them, scaled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

ROWS, COLUMNS, FOLDS = 500, 6, 5
SCRIPT = Path(__file__).with_name("peers") / "boot.R"


def draw_problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20)
    X = np.column_stack([np.ones(ROWS), rng.normal(size=(ROWS, COLUMNS - 1))])
    eta = X @ [0.2, 0.5, -0.3, 0.2, 0.0, 0.0]
    return X, (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-eta))).astype(float)


def timed(call) -> tuple[float, object]:
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def ours(reps: int, repeats: int) -> dict:
    from jaxglm import families
    from jaxglm.resample import bootstrap, cross_validate

    X, y = draw_problem()
    splits = reps // FOLDS
    calls = {
        "bootstrap": lambda: bootstrap(X, y, families.Binomial(), key=1, reps=reps),
        "cross_validate": lambda: cross_validate(
            X, y, families.Binomial(), key=1, folds=FOLDS, repeats=splits
        ),
    }
    record = {}
    for name, call in calls.items():
        first, found = timed(call)
        record[name] = {"first": first, "warm": [timed(call)[0] for _ in range(repeats)]}
        spread = found.se if name == "bootstrap" else found.mean("auc")
        record[name]["result"] = np.asarray(spread).tolist()
    return record


def boot(reps: int) -> dict:
    X, y = draw_problem()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.csv")
        np.savetxt(path, np.column_stack([y, X]), delimiter=",")
        command = ["Rscript", str(SCRIPT), path, str(reps), str(os.cpu_count())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def refit(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    import statsmodels.api as sm

    rows = np.random.default_rng(seed).integers(0, len(y), len(y))
    return sm.GLM(y[rows], X[rows], sm.families.Binomial()).fit().params


def statsmodels(reps: int) -> dict:
    from joblib import Parallel, delayed

    X, y = draw_problem()
    with Parallel(n_jobs=os.cpu_count()) as pool:
        pool(delayed(refit)(X, y, seed) for seed in range(2 * os.cpu_count()))
        seconds, found = timed(lambda: pool(delayed(refit)(X, y, seed) for seed in range(reps)))
    return {"seconds": seconds, "result": np.std(found, axis=0, ddof=1).tolist()}


def scikit_learn(reps: int) -> dict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import RepeatedKFold, cross_validate

    X, y = draw_problem()
    model = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky")
    splits = RepeatedKFold(n_splits=FOLDS, n_repeats=reps // FOLDS, random_state=1)
    scoring = ("roc_auc", "neg_log_loss", "neg_brier_score")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, found = timed(
            lambda: cross_validate(model, X, y, cv=splits, scoring=scoring, n_jobs=os.cpu_count())
        )
    return {"seconds": seconds, "result": [float(np.mean(found["test_roc_auc"]))]}


PEERS = {
    "boot": (boot, "bootstrap"),
    "statsmodels": (statsmodels, "bootstrap"),
    "scikit-learn": (scikit_learn, "cross_validate"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=10_000)
    parser.add_argument("--peer-reps", type=int)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peers", default=",".join(PEERS))
    options = parser.parse_args()
    peer_reps = options.peer_reps or options.reps
    record = {"reps": options.reps, "peer_reps": peer_reps, "cores": os.cpu_count()}
    record["load"] = os.getloadavg()
    record["ours"] = ours(options.reps, options.repeats)
    for name in options.peers.split(","):
        run, beside = PEERS[name]
        found = run(peer_reps)
        own = record["ours"][beside]
        scaled = found["seconds"] * options.reps / peer_reps
        record[name] = found | {
            "ratio": scaled / float(np.median(own["warm"])),
            "difference": float(np.max(np.abs(np.divide(found["result"], own["result"]) - 1.0))),
        }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
