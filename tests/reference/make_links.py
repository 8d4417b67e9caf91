"""Link functions and derivatives to 30 digits: writes links.json.

Run from the root of the repository: python tests/reference/make_links.py

For each link: at a table of eta the inverse, its complement 1 - mu (links onto the unit interval
and logc), d mu/d eta and d2 mu/d eta2; at a table of mu the link and its first two derivatives.
The arguments are the stored doubles themselves. A value below the range of doubles is 0.
"""

import json
from pathlib import Path

import mpmath
from mp_links import ONTO_UNIT_INTERVAL, invert, link_derivatives, to_double
from mpmath import mp

mp.dps = 80
HERE = Path(__file__).parent

REAL_ETA = [-30.0, -10.0, -5.0, -2.5, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 1.0, 2.5, 5.0, 10.0, 30.0]
POSITIVE_ETA = [1e-3, 0.03, 0.3, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0]
NEGATIVE_ETA = [-30.0, -10.0, -5.0, -2.5, -1.0, -0.75, -0.3, -0.03, -1e-3]
UNIT_MU = [1e-12, 1e-6, 1e-3, 0.03, 0.2, 0.35, 0.5, 0.65, 0.8, 0.97, 0.999, 1 - 1e-6, 1 - 1e-12]
REAL_MU = [-30.0, -2.5, -1.0, 0.0, 1e-6, 0.3, 1.0, 2.5, 30.0]
POSITIVE_MU = [1e-6, 1e-3, 0.1, 0.3, 1.0, 2.5, 10.0, 300.0, 1e6]

LINKS = (
    [("identity", None, REAL_ETA, REAL_MU), ("log", None, REAL_ETA, POSITIVE_MU)]
    + [(name, None, REAL_ETA, UNIT_MU) for name in ONTO_UNIT_INTERVAL]
    + [("logc", None, NEGATIVE_ETA, UNIT_MU)]
    + [("sqrt", None, POSITIVE_ETA, POSITIVE_MU)]
    + [("inverse_power", None, POSITIVE_ETA, POSITIVE_MU)]
    + [("inverse_squared", None, POSITIVE_ETA, POSITIVE_MU)]
    + [("power", power, POSITIVE_ETA, POSITIVE_MU) for power in (0.5, 2.0, -1.3, 0.7, -0.5, -1.5)]
    + [("negative_binomial", alpha, NEGATIVE_ETA, POSITIVE_MU) for alpha in (0.7, 1.0)]
)


def tabulate(name, parameter, etas, mus):
    """The stored record of one link."""
    inverse = [[to_double(v) for v in invert(name, parameter, eta)] for eta in etas]
    forward = [[to_double(v) for v in link_derivatives(name, parameter, mu)] for mu in mus]
    mu, rest, slope, curvature = map(list, zip(*inverse, strict=True))
    value, slope_g, curvature_g = map(list, zip(*forward, strict=True))
    bounded = name in (*ONTO_UNIT_INTERVAL, "logc")
    return {
        "link": name,
        "link_parameter": parameter,
        "eta": etas,
        "inverse": mu,
        "complement": rest if bounded else None,
        "inverse_deriv": slope,
        "inverse_deriv2": curvature,
        "mu": mus,
        "value": value,
        "deriv": slope_g,
        "deriv2": curvature_g,
    }


def main():
    """Write links.json."""
    head = {"made_by": "make_links.py", "versions": {"mpmath": mpmath.__version__}}
    text = json.dumps(head | {"links": [tabulate(*row) for row in LINKS]}, separators=(",", ":"))
    (HERE / "links.json").write_text(text.replace('{"link"', '\n{"link"') + "\n")


if __name__ == "__main__":
    main()
