"""Makes tables.json: the cells that statsmodels prints for a fit, with their numbers."""

import json
import re
from pathlib import Path

import statsmodels
import statsmodels.api as sm


def main():
    data = sm.datasets.scotland.load()
    exog = sm.add_constant(data.exog, prepend=True)
    fit = sm.GLM(data.endog, exog, family=sm.families.Gamma()).fit()
    table = fit.summary().tables[1].data
    numbers = zip(
        fit.params, fit.bse, fit.tvalues, fit.pvalues, *fit.conf_int().values.T, strict=True
    )
    rows = [
        {"cells": [cell.strip() for cell in cells], "values": [float(v) for v in values]}
        for cells, values in zip(table[1:], numbers, strict=True)
    ]
    headers = [re.sub(r"\s+", " ", cell.strip()) for cell in table[0][1:]]
    out = {"made_by": "make_tables.py", "statsmodels": statsmodels.__version__}
    text = json.dumps({**out, "headers": headers, "rows": rows}, indent=1)
    Path(__file__).with_name("tables.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
