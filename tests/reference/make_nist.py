"""NIST StRD linear least-squares sets, checked at 100 digits: writes nist.json.

Run from the root of the repository: python tests/reference/make_nist.py

nist_data/*.dat hold the data and certified values of the Statistical Reference Datasets
(NIST/ITL, Linear Least Squares Regression) in a plain form: the model, the certified estimates,
their standard errors, the residual standard deviation, the column names, then rows of decimals.
Every set is solved here from its exact decimals, and each certified value must agree to its last
digit, or the script stops.

`X` and `y` are the doubles nearest to the exact design (powers are taken before rounding), and
`estimates_of_doubles`, `standard_errors_of_doubles` solve the least squares of those doubles: on
Filip the rounding of X alone moves the certified answer.
"""

import json
from pathlib import Path

import mpmath
from mp_links import to_double
from mpmath import mp, mpf

mp.dps = 100
HERE = Path(__file__).parent
NAMES = ("Norris", "Pontius", "NoInt1", "NoInt2", "Filip", "Longley") + tuple(
    f"Wampler{k}" for k in range(1, 6)
)


def read_set(name):
    """(model words, certified numbers by name, rows) of one file, all still decimal strings."""
    lines = (HERE / "nist_data" / f"{name.lower()}.dat").read_text().splitlines()
    head = {words[0]: words[1:] for words in (line.split() for line in lines[:5])}
    return head, [line.split() for line in lines[5:]]


def design(model, predictors):
    """Exact design rows."""
    if model[0] == "polynomial":
        return [[x[0] ** k for k in range(int(model[1]) + 1)] for x in predictors]
    intercept = [] if "no" in model else [mpf(1)]
    return [intercept + x for x in predictors]


def least_squares(X, y):
    """Estimates, standard errors and residual standard deviation."""
    X, y = mp.matrix(X), mp.matrix(y)
    inverse = mp.inverse(X.T * X)
    beta = inverse * (X.T * y)
    residuals = y - X * beta
    rss = mp.fsum(r * r for r in residuals)
    sd = mp.sqrt(rss / (X.rows - X.cols))
    return list(beta), [sd * mp.sqrt(inverse[j, j]) for j in range(X.cols)], sd


def agrees(certified, exact):
    """Whether a 15-digit decimal is the rounding of the exact value."""
    certified = mpf(certified)
    if certified == 0:
        return abs(exact) < mpf(10) ** -40
    place = mpf(10) ** (mp.floor(mp.log10(abs(certified)) + mpf("1e-50")) - 14)
    return abs(certified - exact) <= mpf("0.5001") * place


def make_set(name):
    """The stored record of one set."""
    head, rows = read_set(name)
    numbers = [[mpf(v) for v in row] for row in rows]
    y, X = [row[0] for row in numbers], design(head["model"], [row[1:] for row in numbers])
    beta, errors, sd = least_squares(X, y)
    certified = head["estimates"] + head["standard_errors"] + head["residual_sd"]
    wrong = [c for c, v in zip(certified, [*beta, *errors, sd], strict=True) if not agrees(c, v)]
    if wrong:
        raise SystemExit(f"{name}: certified values not reproduced: {wrong}")
    X, y = [[to_double(v) for v in row] for row in X], [to_double(v) for v in y]
    doubles = least_squares([[mpf(v) for v in row] for row in X], [mpf(v) for v in y])
    return {
        "name": name,
        "model": " ".join(head["model"]),
        "X": X,
        "y": y,
        "estimates": [float(v) for v in head["estimates"]],
        "standard_errors": [float(v) for v in head["standard_errors"]],
        "residual_sd": float(head["residual_sd"][0]),
        "estimates_of_doubles": [to_double(v) for v in doubles[0]],
        "standard_errors_of_doubles": [to_double(v) if v > 1e-40 else 0.0 for v in doubles[1]],
    }


def main():
    """Write nist.json."""
    head = {"made_by": "make_nist.py", "versions": {"mpmath": mpmath.__version__}}
    text = json.dumps(head | {"sets": [make_set(name) for name in NAMES]}, separators=(",", ":"))
    (HERE / "nist.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
