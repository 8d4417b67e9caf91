"""Link functions in arbitrary precision, shared by the scripts that make reference numbers.

A link is (name, parameter). `invert` gives mu = g^-1(eta) with its complement and its first two
derivatives in eta, in closed form; `link` gives g(mu). Derivatives of g follow from
g' = 1 / mu' and g'' = -mu'' / mu'^3.
"""

from mpmath import mp, mpf


def _identity(eta, _):
    return eta, 1 - eta, mpf(1), mpf(0)


def _log(eta, _):
    mu = mp.exp(eta)
    return mu, 1 - mu, mu, mu


def _logit(eta, _):
    mu, rest = 1 / (1 + mp.exp(-eta)), 1 / (1 + mp.exp(eta))
    return mu, rest, mu * rest, mu * rest * (rest - mu)


def _probit(eta, _):
    density = mp.exp(-eta * eta / 2) / mp.sqrt(2 * mp.pi)
    root = mp.sqrt(2)
    return mp.erfc(-eta / root) / 2, mp.erfc(eta / root) / 2, density, -eta * density


def _cauchy(eta, _):
    mu, rest = mp.mpf(1) / 2 + mp.atan(eta) / mp.pi, mp.mpf(1) / 2 - mp.atan(eta) / mp.pi
    square = 1 + eta * eta
    return mu, rest, 1 / (mp.pi * square), -2 * eta / (mp.pi * square**2)


def _cloglog(eta, _):
    hazard = mp.exp(eta)
    slope = mp.exp(eta - hazard)
    return -mp.expm1(-hazard), mp.exp(-hazard), slope, slope * (1 - hazard)


def _loglog(eta, _):
    hazard = mp.exp(-eta)
    slope = mp.exp(-eta - hazard)
    return mp.exp(-hazard), -mp.expm1(-hazard), slope, slope * (hazard - 1)


def _logc(eta, _):
    rest = mp.exp(eta)
    return -mp.expm1(eta), rest, -rest, -rest


def _power(eta, power):
    root = 1 / mpf(power)
    mu = eta**root
    return mu, 1 - mu, root * eta ** (root - 1), root * (root - 1) * eta ** (root - 2)


def _negative_binomial(eta, alpha):
    u, gap = mp.exp(eta), -mp.expm1(eta)
    mu = u / (mpf(alpha) * gap)
    return mu, 1 - mu, mu / gap, mu * (1 + u) / gap**2


_INVERSE = {
    "identity": _identity,
    "log": _log,
    "logit": _logit,
    "probit": _probit,
    "cauchy": _cauchy,
    "cloglog": _cloglog,
    "loglog": _loglog,
    "logc": _logc,
    "power": _power,
    "negative_binomial": _negative_binomial,
}

_FORWARD = {
    "identity": lambda mu, _: mu,
    "log": lambda mu, _: mp.log(mu),
    "logit": lambda mu, _: mp.log(mu / (1 - mu)),
    "probit": lambda mu, _: mp.sqrt(2) * mp.erfinv(2 * mu - 1),
    "cauchy": lambda mu, _: mp.tan(mp.pi * (mu - mpf(1) / 2)),
    "cloglog": lambda mu, _: mp.log(-mp.log(1 - mu)),
    "loglog": lambda mu, _: -mp.log(-mp.log(mu)),
    "logc": lambda mu, _: mp.log(1 - mu),
    "power": lambda mu, power: mu ** mpf(power),
    "negative_binomial": lambda mu, alpha: mp.log(mu / (mu + 1 / mpf(alpha))),
}

# Named powers are kept as links of their own, since users meet them under these names.
_NAMED_POWER = {"sqrt": 0.5, "inverse_power": -1.0, "inverse_squared": -2.0}

ONTO_UNIT_INTERVAL = ("logit", "probit", "cauchy", "cloglog", "loglog")


def _resolve(name, parameter):
    return ("power", _NAMED_POWER[name]) if name in _NAMED_POWER else (name, parameter)


def in_domain(name, parameter, eta):
    """Whether eta is a value the link can take."""
    name, _ = _resolve(name, parameter)
    if name == "power":
        return eta > 0
    return eta < 0 if name in ("logc", "negative_binomial") else True


def invert(name, parameter, eta):
    """(mu, 1 - mu, d mu/d eta, d2 mu/d eta2) at eta."""
    name, parameter = _resolve(name, parameter)
    return _INVERSE[name](mpf(eta), parameter)


def link(name, parameter, mu):
    """g(mu)."""
    name, parameter = _resolve(name, parameter)
    return _FORWARD[name](mpf(mu), parameter)


def link_derivatives(name, parameter, mu):
    """(g, g', g'') at mu."""
    eta = link(name, parameter, mu)
    _, _, slope, curvature = invert(name, parameter, eta)
    return eta, 1 / slope, -curvature / slope**3


def to_double(x):
    """The double nearest to x, through 30 decimal digits; values that underflow become 0."""
    return 0.0 if abs(x) < mpf("1e-330") else float(mp.nstr(x, 30))
