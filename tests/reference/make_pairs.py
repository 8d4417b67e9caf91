"""Maximum-likelihood fits of every family and link to 50 digits: writes pairs.json.

Run from the root of the repository: python tests/reference/make_pairs.py

The data are small, seeded and rounded; what is stored are the very doubles that were fitted.
Fisher scoring brings the coefficients near the optimum from two starts (the truth, and the
response moved into the interior); Newton's method on the observed information finishes both.
A data set is kept if both arrive at the same point, the score vanishes there and the observed
information is positive definite; else the next seed is tried.

Conventions of the stored numbers
  bse           sqrt(diag(phi (X'WX)^-1)), W the expected weights
  bse_observed  the same with the observed information
  scale         1 for binomial, poisson, negative_binomial; else Pearson's chi2 / (n - p)
  loglike       gaussian with identity link: at the weighted RSS / n; other families with a
                dispersion: at `scale`; binomial coefficients are included; null where the
                density has no closed form or series here (tweedie, p > 2, p != 3)
  scale_ml      the dispersion that maximises the likelihood at the fitted mean, loglike_ml the
                maximum: gaussian, gamma, inverse_gaussian and tweedie p = 2, 3; else null
  y             for binomial with n_trials: the proportion
"""

import json
from pathlib import Path

import mpmath
import numpy as np
from mp_links import in_domain, invert, link, to_double
from mpmath import mp, mpf

mp.dps = 60
HERE = Path(__file__).parent
UNIT_SCALE = ("binomial", "poisson", "negative_binomial")
ALPHA = 0.7

POSITIVE_LINKS = {
    "gaussian": [("identity", None), ("log", None), ("inverse_power", None), ("power", 0.5)],
    "poisson": [("log", None), ("identity", None), ("sqrt", None), ("power", 0.7)],
    "gamma": [
        ("inverse_power", None),
        ("log", None),
        ("identity", None),
        ("power", -0.5),
        ("power", -1.5),
    ],
    "inverse_gaussian": [
        ("inverse_squared", None),
        ("inverse_power", None),
        ("log", None),
        ("identity", None),
    ],
}
UNIT_LINKS = ("logit", "probit", "cauchy", "cloglog", "loglog", "log", "logc", "identity")
NB_LINKS = [("log", None), ("identity", None), ("sqrt", None), ("negative_binomial", ALPHA)]
TWEEDIE_PAIRS = [
    (1.5, ("log", None)),
    (1.5, ("power", -0.5)),
    (1.5, ("identity", None)),
    (1.2, ("log", None)),
    (1.8, ("log", None)),
    (2.0, ("log", None)),
    (2.5, ("log", None)),
    (3.0, ("log", None)),
]
PAIRS = (
    [(family, None, g) for family, links in POSITIVE_LINKS.items() for g in links]
    + [("binomial", None, (name, None)) for name in UNIT_LINKS]
    + [("negative_binomial", ALPHA, g) for g in NB_LINKS]
    + [("tweedie", power, g) for power, g in TWEEDIE_PAIRS]
)
MEAN_RANGE = {
    "gaussian": (0.5, 3.0),
    "poisson": (1.0, 8.0),
    "gamma": (0.5, 3.0),
    "inverse_gaussian": (0.5, 2.5),
    "binomial": (0.15, 0.85),
    "negative_binomial": (1.0, 8.0),
    "tweedie": (0.6, 4.0),
}
BINOMIAL_RANGE = {"log": (0.15, 0.6), "logc": (0.4, 0.85), "identity": (0.2, 0.8)}


# Families: variance with its derivative, unit deviance, log-likelihood of one observation.


def tweedie_power(family, parameter):
    """The power p of the variance mu^p, where the variance is one."""
    powers = {"gaussian": 0, "poisson": 1, "gamma": 2, "inverse_gaussian": 3}
    return mpf(parameter) if family == "tweedie" else mpf(powers[family])


def variance(family, parameter, mu):
    """(V, dV/dmu)."""
    if family == "binomial":
        return mu * (1 - mu), 1 - 2 * mu
    if family == "negative_binomial":
        return mu + mpf(parameter) * mu**2, 1 + 2 * mpf(parameter) * mu
    p = tweedie_power(family, parameter)
    return mu**p, p * mu ** (p - 1)


def xlogy(x, y):
    """x log y with 0 log 0 = 0."""
    return mpf(0) if x == 0 else x * mp.log(y)


def unit_deviance(family, parameter, y, mu):
    """d(y, mu), without any weight."""
    if family == "binomial":
        return 2 * (xlogy(y, y / mu) + xlogy(1 - y, (1 - y) / (1 - mu)))
    if family == "negative_binomial":
        size = 1 / mpf(parameter)
        return 2 * (xlogy(y, y / mu) - (y + size) * mp.log((y + size) / (mu + size)))
    p = tweedie_power(family, parameter)
    if p == 1:
        return 2 * (xlogy(y, y / mu) - (y - mu))
    if p == 2:
        return 2 * ((y - mu) / mu - mp.log(y / mu))
    if p == 0:
        return (y - mu) ** 2
    lead = mpf(0) if y == 0 else y ** (2 - p) / ((1 - p) * (2 - p))
    return 2 * (lead - y * mu ** (1 - p) / (1 - p) + mu ** (2 - p) / (2 - p))


def tweedie_series(p, y, mu, phi):
    """log f(y) of the compound Poisson-gamma law, 1 < p < 2, by its series in the jumps."""
    rate = mu ** (2 - p) / (phi * (2 - p))
    if y == 0:
        return -rate
    shape, scale = (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)
    log_ratio = mp.log(rate) + shape * mp.log(y / scale)
    total, j, term, largest = mpf(0), 0, mpf(1), mpf(0)
    while j < 5 or term > largest * mpf(10) ** -65:
        j += 1
        term = mp.exp(j * log_ratio - mp.loggamma(j + 1) - mp.loggamma(j * shape))
        total, largest = total + term, max(largest, term)
    return mp.log(total) - rate - y / scale - mp.log(y)


def loglike_unit_scale(family, parameter, y, mu, trials):
    """Log-likelihood of one observation of a family without dispersion, weight 1."""
    if family == "binomial":
        k = trials * y
        choose = mp.loggamma(trials + 1) - mp.loggamma(k + 1) - mp.loggamma(trials - k + 1)
        return choose + xlogy(k, mu) + xlogy(trials - k, 1 - mu)
    if family == "poisson":
        return xlogy(y, mu) - mu - mp.loggamma(y + 1)
    alpha = mpf(parameter)
    size = 1 / alpha
    terms = mp.loggamma(y + size) - mp.loggamma(size) - mp.loggamma(y + 1)
    return terms + xlogy(y, alpha * mu) - (y + size) * mp.log(1 + alpha * mu)


def loglike_dispersed(p, y, mu, phi):
    """Log-likelihood of one observation with variance phi mu^p; None where not available."""
    if p == 0:
        return -((y - mu) ** 2 / phi + mp.log(2 * mp.pi * phi)) / 2
    if p == 2:
        k = 1 / phi
        return k * mp.log(k * y / mu) - k * y / mu - mp.loggamma(k) - mp.log(y)
    if p == 3:
        return -((y - mu) ** 2 / (phi * y * mu**2) + mp.log(2 * mp.pi * phi * y**3)) / 2
    return tweedie_series(p, y, mu, phi) if 1 < p < 2 else None


# Data


def draw(rng, family, parameter, mu, trials):
    """A response with mean mu, as floats."""
    n = len(mu)
    if family == "gaussian":
        return mu + 0.3 * rng.standard_normal(n)
    if family == "poisson":
        return rng.poisson(mu)
    if family == "binomial":
        return rng.binomial(trials, mu) / trials
    if family == "negative_binomial":
        return rng.poisson(rng.gamma(1 / parameter, parameter * mu))
    p = float(tweedie_power(family, parameter))
    if 1 < p < 2:
        phi = 0.5
        jumps = rng.poisson(mu ** (2 - p) / (phi * (2 - p)))
        shape = np.maximum(jumps * (2 - p) / (p - 1), 1e-3)
        return np.where(jumps > 0, rng.gamma(shape, phi * (p - 1) * mu ** (p - 1)), 0.0)
    return rng.gamma(4.0, mu / 4.0) if p < 3 else rng.wald(mu, 5.0)


def rounded(values, digits=4):
    """Values to so many significant digits, as Python floats."""
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, float)]


def make_data(seed, family, parameter, g, kind):
    """One data set and the coefficients that made it."""
    rng = np.random.default_rng(seed)
    n = 40 if family == "binomial" else int(rng.integers(24, 37))
    low, high = BINOMIAL_RANGE.get(g[0], MEAN_RANGE[family])
    if family != "binomial":
        low, high = MEAN_RANGE[family]
    ends = [float(link(*g, end)) for end in (low, high)]
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    columns = [np.ones(n)] + [np.array(rounded(rng.uniform(-1, 1, n), 3)) for _ in range(2)]
    X = np.stack(columns, axis=1)
    beta = np.array([middle, 0.55 * half, -0.35 * half])
    offset = rounded(0.1 * abs(half) * rng.uniform(-1, 1, n), 3) if kind != "plain" else None
    weights = rounded(rng.uniform(0.4, 2.5, n), 3) if "weighted" in kind else None
    trials = [int(m) for m in rng.integers(2, 13, n)] if "counts" in kind else None
    eta = X @ beta + (0.0 if offset is None else np.array(offset))
    mu = np.array([float(invert(*g, e)[0]) for e in eta])
    y = draw(rng, family, parameter, mu, np.ones(n, int) if trials is None else np.array(trials))
    whole = family in ("poisson", "negative_binomial", "binomial")
    y = [float(v) for v in y] if whole else rounded(y)
    stored = {"X": X.tolist(), "y": y, "offset": offset, "var_weights": weights}
    return stored | {"n_trials": trials}, beta.tolist()


# Fit


class OutOfDomain(ArithmeticError):
    """A linear predictor or a mean left its domain."""


def mean_is_valid(family, mu):
    """Whether mu is a mean of the family."""
    if family == "binomial":
        return 0 < mu < 1
    return mu > 0 or family == "gaussian"


class Case:
    """A data set in high precision with its family and link."""

    def __init__(self, family, parameter, g, stored):
        n = len(stored["y"])
        self.family, self.parameter, self.g = family, parameter, g
        self.X = [[mpf(v) for v in row] for row in stored["X"]]
        self.y = [mpf(v) for v in stored["y"]]
        self.offset = [mpf(v) for v in stored["offset"] or [0] * n]
        self.w = [mpf(v) for v in stored["var_weights"] or [1] * n]
        self.trials = [mpf(v) for v in stored["n_trials"] or [1] * n]
        self.a = [w * m for w, m in zip(self.w, self.trials, strict=True)]

    def rows(self, beta):
        """(mu, V, V', mu', mu'') of every observation."""
        found = []
        for x, offset in zip(self.X, self.offset, strict=True):
            eta = mp.fsum(b * v for b, v in zip(beta, x, strict=True)) + offset
            if not in_domain(*self.g, eta):
                raise OutOfDomain
            mu, _, slope, curvature = invert(*self.g, eta)
            if not mean_is_valid(self.family, mu):
                raise OutOfDomain
            found.append((mu, *variance(self.family, self.parameter, mu), slope, curvature))
        return found

    def deviance(self, beta):
        """sum a_i d_i."""
        mus = [row[0] for row in self.rows(beta)]
        terms = zip(self.a, self.y, mus, strict=True)
        return mp.fsum(a * unit_deviance(self.family, self.parameter, y, m) for a, y, m in terms)

    def cross(self, weights):
        """X' diag(weights) X."""
        p = len(self.X[0])
        gram = mp.matrix(p, p)
        for j in range(p):
            for k in range(p):
                terms = zip(weights, self.X, strict=True)
                gram[j, k] = mp.fsum(v * x[j] * x[k] for v, x in terms)
        return gram

    def score_and_information(self, beta):
        """Score, expected and observed information, all at dispersion 1."""
        expected, observed, factor = [], [], []
        for a, y, row in zip(self.a, self.y, self.rows(beta), strict=True):
            mu, v, dv, slope, curvature = row
            factor.append(a * (y - mu) * slope / v)
            expected.append(a * slope**2 / v)
            tilt = dv * slope**2 / v - curvature
            observed.append(expected[-1] + a * (y - mu) * tilt / v)
        p = len(self.X[0])
        score = [mp.fsum(f * x[j] for f, x in zip(factor, self.X, strict=True)) for j in range(p)]
        return mp.matrix(score), self.cross(expected), self.cross(observed)


def solve(matrix, vector):
    """A list with matrix^-1 vector."""
    return list(mp.lu_solve(matrix, vector))


def fisher_scoring(case, beta, steps=60):
    """Damped Fisher scoring until steps are about 1e-8."""
    deviance = case.deviance(beta)
    for _ in range(steps):
        score, expected, _ = case.score_and_information(beta)
        step = solve(expected, score)
        for _ in range(40):
            trial = [b + s for b, s in zip(beta, step, strict=True)]
            try:
                new = case.deviance(trial)
            except OutOfDomain:
                new = mp.inf
            if new <= deviance * (1 + mpf(10) ** -14):
                break
            step = [s / 2 for s in step]
        else:
            raise ArithmeticError("no descent")
        beta, deviance = trial, new
        if max(abs(s) for s in step) < mpf(10) ** -8:
            return beta
    return beta


def newton(case, beta):
    """Newton's method on the observed information until |step| < 1e-45."""
    for _ in range(30):
        score, _, observed = case.score_and_information(beta)
        step = solve(observed, score)
        beta = [b + s for b, s in zip(beta, step, strict=True)]
        if max(abs(s) for s in step) < mpf(10) ** -45:
            return beta
    raise ArithmeticError("Newton did not converge")


def response_start(case):
    """Coefficients of a weighted regression of g(y moved into the interior)."""
    total = mp.fsum(case.a)
    centre = mp.fsum(a * y for a, y in zip(case.a, case.y, strict=True)) / total
    z = [link(*case.g, (y + 3 * centre) / 4) for y in case.y]
    z = [v - o for v, o in zip(z, case.offset, strict=True)]
    p = len(case.X[0])
    rows = list(zip(case.a, z, case.X, strict=True))
    right = mp.matrix([mp.fsum(a * v * x[j] for a, v, x in rows) for j in range(p)])
    return solve(case.cross(case.a), right)


def maximise(case, truth):
    """The interior optimum reached from both starts, or ArithmeticError."""
    starts = ([mpf(b) for b in truth], response_start(case))
    found = [newton(case, fisher_scoring(case, start)) for start in starts]
    if max(abs(a - b) for a, b in zip(*found, strict=True)) > mpf(10) ** -40:
        raise ArithmeticError("two optima")
    score, _, observed = case.score_and_information(found[0])
    if max(abs(s) for s in score) > mpf(10) ** -42:
        raise ArithmeticError("score does not vanish")
    mp.cholesky(observed)
    return found[0]


# Results


def standard_errors(information, scale):
    """sqrt(diag(scale information^-1)) as doubles."""
    covariance = mp.inverse(information)
    return [to_double(mp.sqrt(scale * covariance[j, j])) for j in range(information.rows)]


def loglike(case, mus, scale):
    """The log-likelihood by the conventions above, or None."""
    rows = list(zip(case.y, mus, case.w, case.trials, strict=True))
    family, parameter = case.family, case.parameter
    if family in UNIT_SCALE:
        return mp.fsum(w * loglike_unit_scale(family, parameter, y, m, t) for y, m, w, t in rows)
    if family == "gaussian" and case.g[0] == "identity":
        scale = mp.fsum(w * (y - m) ** 2 for y, m, w, _ in rows) / len(rows)
    p = tweedie_power(family, parameter)
    terms = [loglike_dispersed(p, y, m, scale / w) for y, m, w, _ in rows]
    return None if None in terms else mp.fsum(terms)


def ml_scale(case, mus):
    """The dispersion that maximises the log-likelihood with its mean held, or None."""
    if case.family in UNIT_SCALE:
        return None
    p = tweedie_power(case.family, case.parameter)
    rows = zip(case.w, case.y, mus, strict=True)
    weighted = mp.fsum(w * unit_deviance(case.family, case.parameter, y, m) for w, y, m in rows)
    if p in (0, 3):
        return weighted / len(mus)
    if p != 2:
        return None

    def slope(phi):
        return mp.fsum(w * (mp.log(w / phi) - mp.digamma(w / phi)) for w in case.w) - weighted / 2

    return mp.findroot(slope, weighted / len(mus))


def loglike_ml(case, mus, scale):
    """The log-likelihood at the dispersion of `ml_scale`, or None."""
    if scale is None:
        return None
    p = tweedie_power(case.family, case.parameter)
    rows = zip(case.y, mus, case.w, strict=True)
    return mp.fsum(loglike_dispersed(p, y, m, scale / w) for y, m, w in rows)


def summarise(case, beta):
    """The stored results of one fit."""
    rows = case.rows(beta)
    _, expected, observed = case.score_and_information(beta)
    chi2 = mp.fsum(
        a * (y - row[0]) ** 2 / row[1] for a, y, row in zip(case.a, case.y, rows, strict=True)
    )
    scale = mpf(1) if case.family in UNIT_SCALE else chi2 / (len(case.y) - len(beta))
    mus = [row[0] for row in rows]
    value, best = loglike(case, mus, scale), ml_scale(case, mus)
    best_value = loglike_ml(case, mus, best)
    return {
        "params": [to_double(b) for b in beta],
        "bse": standard_errors(expected, scale),
        "bse_observed": standard_errors(observed, scale),
        "scale": to_double(scale),
        "deviance": to_double(case.deviance(beta)),
        "pearson_chi2": to_double(chi2),
        "loglike": None if value is None else to_double(value),
        "scale_ml": None if best is None else to_double(best),
        "loglike_ml": None if best is None else to_double(best_value),
    }


def make_case(index, family, parameter, g, kind):
    """The first seed of the case's own range that has an interior optimum."""
    for seed in range(1000 * index, 1000 * index + 200):
        stored, truth = make_data(seed, family, parameter, g, kind)
        if family in ("gamma", "inverse_gaussian") and min(stored["y"]) <= 0:
            continue
        case = Case(family, parameter, g, stored)
        try:
            beta = maximise(case, truth)
        except (ArithmeticError, ValueError):
            continue
        head = {"family": family, "family_parameter": parameter}
        head |= {"link": g[0], "link_parameter": g[1], "kind": kind, "seed": seed}
        return head | stored | summarise(case, beta)
    raise RuntimeError(f"no usable data for {family} {g} {kind}")


def kinds(family):
    """The data layouts of a family."""
    if family == "binomial":
        return ("plain", "counts", "weighted", "counts_weighted")
    return ("plain", "weighted")


def main():
    """Write pairs.json."""
    wanted = [(*pair, kind) for pair in PAIRS for kind in kinds(pair[0])]
    cases = [make_case(i, *item) for i, item in enumerate(wanted, start=1)]
    versions = {"mpmath": mpmath.__version__, "numpy": np.__version__}
    head = {"made_by": "make_pairs.py", "versions": versions}
    text = json.dumps(head | {"cases": cases}, separators=(",", ":"))
    (HERE / "pairs.json").write_text(text.replace('{"family"', '\n{"family"') + "\n")


if __name__ == "__main__":
    main()
