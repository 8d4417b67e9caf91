"""Print the digits that NIST's linear sets keep here, in statsmodels and in R, as Markdown.

`python tests/nist_table.py`; needs statsmodels, and Rscript on the path. Digits are -log10 of the
relative error (LRE), the fewest of all coefficients, against the answer for the stored doubles;
at most 15. R's `glm` sees the same doubles, printed with 17 digits.
"""

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from conftest import reference

import jaxglm

WITH_R = """
d <- as.matrix(read.csv("{path}", header = FALSE)); y <- d[, 1]; X <- d[, -1, drop = FALSE]
f <- glm(y ~ X - 1, control = glm.control(epsilon = 1e-15, maxit = 50))
cat(sprintf("%.17g", c(coef(f), sqrt(diag(vcov(f)))[seq_along(coef(f))])))
"""


def digits(got, wanted):
    """The fewest digits; 0 where a number is missing."""
    got, wanted = np.asarray(got, float), np.asarray(wanted, float)
    if got.shape != wanted.shape or not np.all(np.isfinite(got)):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(wanted == 0, np.abs(got), np.abs(got - wanted) / np.abs(wanted))
        return float(np.clip(np.min(-np.log10(error)), 0.0, 15.0))


def by_r(X, y):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        np.savetxt(path, np.column_stack([y, X]), fmt="%.17g", delimiter=",")
        code = WITH_R.format(path=path)
        done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
    found = [float(v) if v != "NA" else np.nan for v in done.stdout.split()]
    return found[: X.shape[1]], found[X.shape[1] :]


def by_statsmodels(X, y):
    # Here, so that those who only collect doctests do not need it.
    import statsmodels.api as sm

    results = sm.GLM(y, X).fit()
    return results.params, results.bse


def by_jaxglm(X, y):
    results = jaxglm.GLM(y, X).fit()
    return results.params, results.bse


PEERS = {"jaxglm": by_jaxglm, "R glm": by_r, "statsmodels GLM": by_statsmodels}


def main():
    """Print the table."""
    print("| set |", " | ".join(f"{name}: coefficients, errors" for name in PEERS), "|")
    print("|---|" + "---|" * len(PEERS))
    for row in reference("nist")["sets"]:
        X, y = np.array(row["X"]), np.array(row["y"])
        cells = []
        exact = float(row["residual_sd"]) == 0.0
        for fit in PEERS.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                params, errors = fit(X, y)
            # The errors of an exact fit are 0: they have no digits.
            found = digits(errors, row["standard_errors_of_doubles"])
            error = "exact fit" if exact else f"{found:.1f}"
            cells.append(f"{digits(params, row['estimates_of_doubles']):.1f}, {error}")
        print(f"| {row['name']} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
