"""Makes special.json: special functions by mpmath at 60 digits. Run: python make_special.py"""

import json
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
LN2PI = mp.log(2 * mp.pi)


def integrate_to_the_right(log_density, start):
    """integral of exp(log_density) from start to infinity, whose integrand falls from start on."""
    height = log_density(start)
    width = mp.mpf(1)
    while log_density(start + width) > height - 1:
        width *= 2
    while log_density(start + width) < height - 1:
        width /= 2
    far = width
    while log_density(start + far) > height - 120:
        far *= 1.5
    points, edge = [start], width
    while edge < far:
        points.append(start + edge)
        edge *= 2
    points.append(start + far)
    return mp.exp(height) * mp.quad(lambda v: mp.exp(log_density(v) - height), points)


def beta_tails(a, b, odds):
    """(I_x, 1 - I_x) at x = odds / (1 + odds), by quadrature in the logit of x."""
    a, b, odds = mp.mpf(a), mp.mpf(b), mp.mpf(odds)
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    theta = mp.log(odds)
    if odds > a / b:
        upper = integrate_to_the_right(
            lambda v: a * v - (a + b) * mp.log1p(mp.exp(v)) - log_beta, theta
        )
        return 1 - upper, upper
    lower = integrate_to_the_right(
        lambda v: -a * v - (a + b) * mp.log1p(mp.exp(-v)) - log_beta, -theta
    )
    return lower, 1 - lower


def gamma_tails(a, x):
    """(P, Q)(a, x), by quadrature in log x."""
    a, x = mp.mpf(a), mp.mpf(x)
    norm = mp.loggamma(a)
    if x > a:
        upper = integrate_to_the_right(lambda v: a * v - mp.exp(v) - norm, mp.log(x))
        return 1 - upper, upper
    lower = integrate_to_the_right(lambda v: -a * v - mp.exp(-v) - norm, -mp.log(x))
    return lower, 1 - lower


def f_tails(x, d1, d2):
    if d2 == "inf":
        return gamma_tails(mp.mpf(d1) / 2, mp.mpf(d1) * mp.mpf(x) / 2)
    return beta_tails(mp.mpf(d1) / 2, mp.mpf(d2) / 2, mp.mpf(d1) * mp.mpf(x) / mp.mpf(d2))


def t_sf(t, df):
    t = mp.mpf(t)
    lower, upper = f_tails(t * t, 1, df)
    return upper / 2 if t > 0 else (1 + lower) / 2


def stirling_remainder(z):
    z = mp.mpf(z)
    return mp.loggamma(z) - (z - mp.mpf(1) / 2) * mp.log(z) + z - LN2PI / 2


def stirling_series(shift="0.65", degree=17):
    """Coefficients a_k, a_0 = 1/12, of the remainder over v by powers of v = 1 / (z + shift).

    What is left of it by a_0 is interpolated in Chebyshev's nodes for z >= 1. This shift and degree
    leave a last coefficient that vanishes nearly, so that derivatives agree as well.
    """
    shift, n = mp.mpf(shift), degree + 1
    width = 1 / (1 + shift)
    nodes = [width * (1 + mp.cos(mp.pi * (k + mp.mpf(1) / 2) / n)) / 2 for k in range(n)]
    rest = [(stirling_remainder(1 / v - shift) / v - mp.mpf(1) / 12) / v for v in nodes]
    powers = mp.matrix(n, n)
    for i, v in enumerate(nodes):
        for j in range(n):
            powers[i, j] = v**j
    return [1 / 12, *[float(a) for a in mp.lu_solve(powers, mp.matrix(rest))]]


def poisson_peak(y):
    y = mp.mpf(y)
    return y * mp.log(y) - y - mp.loggamma(y + 1) if y > 0 else mp.mpf(0)


def nb_peak_excess(y, alpha):
    """log f(y; y, alpha) of the negative binomial less that of the Poisson."""
    if alpha == 0:
        return mp.mpf(0)
    y, alpha = mp.mpf(y), mp.mpf(alpha)
    with mp.workdps(900):
        r = 1 / alpha
        norm = mp.loggamma(y + r) - mp.loggamma(r) + y * mp.log(alpha)
        return norm + y - (y + r) * mp.log1p(alpha * y)


def nb_derivatives(y, alpha):
    """First and second derivative of nb_peak_excess in alpha."""
    y, alpha = mp.mpf(y), mp.mpf(alpha)
    with mp.workdps(160):
        if alpha == 0:
            return -y / 2, y**2 / 2 - y / 6
        r, growth = 1 / alpha, mp.log1p(alpha * y)
        first = mp.psi(0, y + r) - mp.psi(0, r) - growth
        slope = mp.psi(1, y + r) - mp.psi(1, r)
        bend = y / (1 + alpha * y)
        return -(r**2) * first, r**4 * slope + 2 * r**3 * first + r**2 * bend


def tweedie_log_density(y, mu, phi, p):
    """The series summed term by term from its largest term outwards."""
    y, mu, phi, p = mp.mpf(y), mp.mpf(mu), mp.mpf(phi), mp.mpf(p)
    rate, scale = mu ** (2 - p) / (phi * (2 - p)), phi * (p - 1) * mu ** (p - 1)
    if y == 0:
        return -rate
    shape = (2 - p) / (p - 1)

    def log_term(j):
        gamma = (shape * j - 1) * mp.log(y) - shape * j * mp.log(scale) - mp.loggamma(shape * j)
        return j * mp.log(rate) - mp.loggamma(j + 1) + gamma

    centre = max(1, int(y ** (2 - p) / (phi * (2 - p))))
    top, total = log_term(centre), mp.mpf(0)
    for direction, j in ((1, centre), (-1, centre - 1)):
        while j >= 1:
            term = mp.exp(log_term(j) - top)
            total += term
            if term < mp.mpf(10) ** -25 * total and j != centre:
                break
            j += direction
    return mp.log(total) + top - y / scale - rate


def tabulate(function, arguments):
    rows = []
    for a in arguments:
        values = function(*a)
        values = values if isinstance(values, tuple) else (values,)
        rows.append([*a, *[mp.nstr(v, 20) for v in values]])
    return rows


def product(*lists):
    rows = [[]]
    for values in lists:
        rows = [[*row, v] for row in rows for v in values]
    return rows


def main():
    nb_y = [0, 1, 2, 3.5, 10, 1e3, 1e6, 1e12]
    nb_alpha = [0, 1e-300, 1e-20, 1e-12, 1e-8, 1e-5, 1e-3, 0.05, 0.12, 0.13, 0.5, 1, 3, 1e2, 1e6]
    t_df = [0.5, 1, 2, 3.5, 10, 97, 5e3, 1e6, 1e10, "inf"]
    t_of = [-3, -0.2, 1e-9, 0.01, 0.7, 1.0, 1.96, 5, 12, 29]
    f_of = [1e-6, 0.01, 0.3, 0.9, 1, 1.2, 2.5, 10, 100]
    f_df = [(d1, d2) for d1 in (1, 2, 7, 60, 4e3) for d2 in (1, 5, 40, 3e3, 1e6, "inf")]
    chi2 = [
        (df * r, df)
        for df in (1, 2, 3, 11, 80, 2e3, 1e6)
        for r in (1e-4, 0.1, 0.5, 0.97, 1, 1.02, 1.5, 3, 12)
    ]
    mp.mp.dps = 40
    tweedie = product(
        [0, 1e-3, 0.05, 0.4, 0.9, 1, 1.1, 3, 12, 100],
        [1.0],
        [0.01, 0.1, 1, 10, 100],
        [1.05, 1.2, 1.5, 1.8, 1.95],
    )
    tables = {
        "stirling_remainder": tabulate(
            stirling_remainder,
            [[z] for z in (1e-8, 1e-3, 0.2, 0.5, 1, 2, 5.5, 7.99, 8, 12, 100, 1e6)],
        ),
        "poisson_peak": tabulate(
            poisson_peak,
            [[y] for y in (0, 1, 2, 9, 254, 255, 256, 300, 1e6, 1e12, 1e-8, 0.3, 0.99, 7.5, 255.5)],
        ),
        "nb_peak_excess": tabulate(nb_peak_excess, product(nb_y, nb_alpha)),
        "nb_derivatives": tabulate(
            nb_derivatives, product(nb_y[:-1], [a for a in nb_alpha if not 0 < a < 1e-20])
        ),
        "normal_sf": tabulate(
            lambda x: mp.ncdf(-mp.mpf(x)),
            [[x] for x in (-8, -2, -0.5, 0, 0.3, 1, 3, 7, 15, 30, 37)],
        ),
        "log_normal_cdf": tabulate(
            lambda x: mp.log1p(-mp.ncdf(-mp.mpf(x))) if x > 0 else mp.log(mp.ncdf(mp.mpf(x))),
            [[x] for x in (-1e4, -300, -36, -34, -20, -12, -5, -1, 0, 0.5, 3, 5, 7, 20)],
        ),
        "t_sf": tabulate(t_sf, product(t_of, t_df)),
        "f_tails": tabulate(f_tails, [[x, *d] for x in f_of for d in f_df]),
        "chi2_tails": tabulate(
            lambda x, df: gamma_tails(mp.mpf(df) / 2, mp.mpf(x) / 2), [list(c) for c in chi2]
        ),
        "tweedie_log_density": tabulate(tweedie_log_density, tweedie),
        "incomplete_beta_23": tabulate(
            lambda m: mp.betainc(mp.mpf(2) / 3, mp.mpf(2) / 3, 0, m),
            [[m] for m in (0, 1e-10, 1e-3, 0.2, 0.5, 0.9, 0.999, 1)],
        ),
        "hyp2f1_anscombe": tabulate(
            lambda x: mp.hyp2f1(mp.mpf(1) / 3, mp.mpf(2) / 3, mp.mpf(5) / 3, -mp.mpf(x)),
            [[x] for x in (0, 1e-6, 0.04, 0.06, 0.5, 1, 7, 100, 1e6, 1e10)],
        ),
    }
    out = {"made_by": "make_special.py", "mpmath": mp.__version__, "tables": tables}
    out |= {"stirling_series": stirling_series()}
    Path(__file__).with_name("special.json").write_text(
        json.dumps(out, indent=None).replace("]], ", "]],\n") + "\n"
    )


if __name__ == "__main__":
    main()
