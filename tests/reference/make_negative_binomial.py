"""Joint maximum likelihood of the coefficients and alpha, V = mu + alpha mu^2: writes nb_ml.json.

Run from the root of the repository: python tests/reference/make_negative_binomial.py

Newton's method on the joint observed information of (beta, alpha), 60 digits. Links log and sqrt;
data with and without offset and var_weights (weights multiply the log-likelihood).

  params, alpha, loglike   at the joint maximum
  bse                      of beta at this alpha, expected information
  bse_joint, alpha_se      from the joint observed information of (beta, alpha)
  alpha_se_fixed_mean      from the observed information of alpha with the mean held
                           (MASS reports SE.theta = alpha_se_fixed_mean / alpha^2)
"""

import json
from pathlib import Path

import mpmath
import numpy as np
from make_pairs import Case, fisher_scoring, loglike, rounded, standard_errors
from mp_links import invert, to_double
from mpmath import mp, mpf

HERE = Path(__file__).parent
FAMILY = "negative_binomial"


def make_data(seed, n, g, alpha, extras):
    """A data set of counts, as stored, and the coefficients that made it."""
    rng = np.random.default_rng(seed)
    X = np.stack([np.ones(n)] + [np.array(rounded(rng.uniform(-1, 1, n), 3)) for _ in range(2)], 1)
    beta = [1.2, 0.5, -0.3] if g[0] == "log" else [1.9, 0.4, -0.3]
    offset = rounded(rng.uniform(-0.2, 0.2, n), 3) if extras else None
    weights = rounded(rng.uniform(0.4, 2.5, n), 3) if extras else None
    eta = X @ beta + (0.0 if offset is None else np.array(offset))
    mu = np.array([float(invert(*g, e)[0]) for e in eta])
    y = [float(v) for v in rng.poisson(rng.gamma(1 / alpha, alpha * mu))]
    stored = {"X": X.tolist(), "y": y, "offset": offset, "var_weights": weights, "n_trials": None}
    return stored, beta


def alpha_terms(case, mus):
    """First two derivatives in alpha of the log-likelihood, and d2 / d mu d alpha by row."""
    alpha = mpf(case.parameter)

    def one(y, mu, a):
        size = 1 / a
        norm = mp.loggamma(y + size) - mp.loggamma(size)
        return norm + y * mp.log(a * mu) - (y + size) * mp.log(1 + a * mu)

    first, second, mixed = [], [], []
    for y, mu, w in zip(case.y, mus, case.w, strict=True):
        first.append(w * mp.diff(lambda a, y=y, mu=mu: one(y, mu, a), alpha))
        second.append(w * mp.diff(lambda a, y=y, mu=mu: one(y, mu, a), alpha, 2))
        mixed.append(-w * (y - mu) / (1 + alpha * mu) ** 2)
    return mp.fsum(first), mp.fsum(second), mixed


def joint_information(case, beta):
    """Joint score and observed information of (beta, alpha), and that of alpha alone."""
    rows = case.rows(beta)
    score, _, observed = case.score_and_information(beta)
    slope, curvature, mixed = alpha_terms(case, [row[0] for row in rows])
    p = len(beta)
    joint = mp.matrix(p + 1, p + 1)
    for j in range(p):
        for k in range(p):
            joint[j, k] = observed[j, k]
        terms = zip(mixed, rows, case.X, strict=True)
        joint[j, p] = joint[p, j] = -mp.fsum(m * row[3] * x[j] for m, row, x in terms)
    joint[p, p] = -curvature
    return mp.matrix([*score, slope]), joint


def climb(stored, g, beta, alpha):
    """The joint maximum: beta, alpha and the case at that alpha."""
    beta, alpha = [mpf(b) for b in beta], mpf(alpha)
    for turn in range(60):
        case = Case(FAMILY, alpha, g, stored)
        if turn < 6:
            beta = fisher_scoring(case, beta)
        score, joint = joint_information(case, beta)
        step = mp.lu_solve(joint, score)
        if turn >= 6:
            beta = [b + s for b, s in zip(beta, step, strict=False)]
        alpha = max(alpha + step[len(beta)], alpha / 3)
        if turn >= 6 and max(abs(s) for s in step) < mpf(10) ** -40:
            return beta, alpha
    raise ArithmeticError("no joint maximum")


def make_case(seed, n, g, alpha, extras):
    """The stored record of one data set."""
    stored, truth = make_data(seed, n, g, alpha, extras)
    beta, alpha = climb(stored, g, truth, alpha)
    case = Case(FAMILY, alpha, g, stored)
    score, joint = joint_information(case, beta)
    assert max(abs(s) for s in score) < mpf(10) ** -35
    mp.cholesky(joint)
    errors = standard_errors(joint, 1)
    _, expected, _ = case.score_and_information(beta)
    mus = [row[0] for row in case.rows(beta)]
    head = {"family": FAMILY, "link": g[0], "seed": seed}
    return (
        head
        | stored
        | {
            "params": [to_double(b) for b in beta],
            "alpha": to_double(alpha),
            "bse": standard_errors(expected, 1),
            "bse_joint": errors[:-1],
            "alpha_se": errors[-1],
            "alpha_se_fixed_mean": to_double(1 / mp.sqrt(joint[len(beta), len(beta)])),
            "loglike": to_double(loglike(case, mus, mpf(1))),
            "deviance": to_double(case.deviance(beta)),
        }
    )


def main():
    """Write nb_ml.json."""
    wanted = [
        (11, 40, ("log", None), 0.4, False),
        (12, 40, ("log", None), 1.5, True),
        (13, 36, ("sqrt", None), 0.6, False),
        (14, 60, ("log", None), 0.15, True),
    ]
    versions = {"mpmath": mpmath.__version__, "numpy": np.__version__}
    head = {"made_by": "make_negative_binomial.py", "versions": versions}
    text = json.dumps(head | {"cases": [make_case(*w) for w in wanted]}, separators=(",", ":"))
    (HERE / "nb_ml.json").write_text(text.replace('{"family"', '\n{"family"') + "\n")


if __name__ == "__main__":
    main()
