"""Frames of a fit, and fits side by side: the results' numbers under broom's columns."""

import builtins
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import polars as pl
import pytest

import jaxglm
from jaxglm import families

ROWS, MISSING = 30, (4, 11)


def make_data():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=ROWS), "z": rng.normal(size=ROWS)})
    data["y"] = rng.poisson(np.exp(0.5 + 0.4 * data.x)).astype(float)
    data.loc[list(MISSING), "z"] = np.nan
    return data.set_index(pd.Index(range(100, 100 + ROWS)))


def fitted(data):
    X = data[["x", "z"]].assign(const=1.0)[["const", "x", "z"]]
    return jaxglm.GLM(data.y, X, families.Poisson(), missing="drop").fit()


@pytest.fixture(scope="module")
def results():
    return fitted(make_data())


@pytest.mark.parametrize("backend", ["pandas", "polars", None])
def test_tidy_has_the_numbers_of_the_coefficients(results, backend):
    frame = results.tidy(alpha=0.1, backend=backend)
    limits = np.asarray(results.conf_int(0.1))
    wanted = {
        "term": np.array(["const", "x", "z"], dtype=object),
        "estimate": results.beta,
        "std_error": np.asarray(results.bse),
        "statistic": np.asarray(results.tvalues),
        "p_value": np.asarray(results.pvalues),
        "conf_low": limits[:, 0],
        "conf_high": limits[:, 1],
    }
    assert list(frame) == list(wanted) if backend != "polars" else frame.columns == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(np.asarray(frame[name]), values)


def test_tidy_exponentiates_estimates_and_limits_alone(results):
    plain, ratios = results.tidy(), results.tidy(exponentiate=True)
    changed = ["estimate", "conf_low", "conf_high"]
    np.testing.assert_allclose(ratios[changed], np.exp(plain[changed]))
    pd.testing.assert_frame_equal(ratios.drop(columns=changed), plain.drop(columns=changed))
    with pytest.raises(ValueError, match="alpha"):
        results.tidy(alpha=2.0)


def test_glance_is_one_row_of_the_results_own_numbers(results):
    frame = results.glance()
    assert frame.shape == (1, 10)
    assert frame.pop("status")[0] == "converged"
    for name in frame:
        assert frame[name][0] == getattr(results, name)
    assert frame.df_null[0] - frame.df_resid[0] == 2
    assert results.remove_data().glance(None)["nobs"].tolist() == [ROWS - len(MISSING)]


def test_augment_has_the_measures_of_influence_on_the_rows_of_the_input(results):
    frame = results.augment()
    assert list(frame)[:3] == ["fitted", "linear_predictor", "resid_deviance"]
    assert list(frame.index) == list(range(100, 100 + ROWS))
    out = np.isin(np.arange(ROWS), MISSING)
    assert frame[out].isna().all(axis=None) and frame[~out].notna().all(axis=None)
    influence, kept = results.get_influence(), frame[~out]
    for own, theirs in {
        "hat": influence.hat_diagonal,
        "sigma": influence.sigma,
        "cooks_distance": influence.cooks_distance,
        "std_resid": influence.rstandard_deviance,
        "fitted": results.mu,
        "resid_deviance": results.resid_deviance,
    }.items():
        np.testing.assert_array_equal(kept[own], theirs)
    np.testing.assert_allclose(np.exp(kept.linear_predictor), kept.fitted, rtol=1e-12)
    std = kept.resid_deviance / np.sqrt(results.scale * (1 - kept.hat))
    np.testing.assert_allclose(kept.std_resid, std, rtol=1e-10)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_augment_puts_its_columns_beside_the_data(results, kind):
    own = make_data()
    data = own if kind is pd.DataFrame else kind(own.to_dict("list"))
    found = results.augment(data)
    assert type(found) is kind
    assert list(found.keys() if kind is dict else found.columns)[:4] == ["x", "z", "y", "fitted"]
    np.testing.assert_array_equal(np.asarray(found["hat"]), results.augment(backend=None)["hat"])
    np.testing.assert_array_equal(np.asarray(found["y"]), own.y)
    if kind is pd.DataFrame:
        assert list(found.index) == list(own.index)


def test_augment_refuses_other_rows_and_its_own_names(results):
    data = make_data()
    with pytest.raises(ValueError, match=rf"28 rows; the fit read {ROWS}"):
        results.augment(data.dropna())
    with pytest.raises(ValueError, match="columns hat, which augment adds"):
        results.augment(data.assign(hat=1.0))
    with pytest.raises(ValueError, match="needs the data"):
        results.remove_data().augment()


def test_pandas_frames_need_no_narwhals_and_others_name_it(results, monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name == "narwhals":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert len(results.tidy()) == 3
    with pytest.raises(ImportError, match=r"jaxglm\[frames\]"):
        results.tidy(backend="polars")


@pytest.fixture(scope="module")
def smaller(results):
    """The same response without z, cut short after one step."""
    frame = results.model.frame
    X = {"const": np.ones(len(frame.endog)), "x": frame.exog[:, 1]}
    with pytest.warns(jaxglm.FitWarning, match="max_steps"):
        return jaxglm.GLM(frame.endog, X, families.Poisson()).fit(maxiter=1)


def cells(table):
    return {row[0]: row[1:] for row in table.blocks[0].rows}


def test_fits_side_by_side_show_estimates_over_their_errors(results, smaller):
    table = jaxglm.summary_col([results, smaller])
    rows = table.blocks[0].rows
    assert table.blocks[0].headers == ("", "y (1)", "y (2)")
    for place, term in enumerate(["const", "x"]):
        own, errors = rows[2 * place], rows[2 * place + 1]
        pairs = [(f.beta[i], np.asarray(f.bse)[i]) for f, i in ((results, place), (smaller, place))]
        assert own == (term, *(f"{estimate:.4f}" for estimate, _ in pairs))
        assert errors == ("", *(f"({error:.4f})" for _, error in pairs))
    assert rows[4][0] == "z" and rows[4][2] == rows[5][2] == ""
    for label, name in {"Deviance": "deviance", "AIC": "aic", "Log-Likelihood": "llf"}.items():
        wanted = tuple(f"{getattr(found, name):.6g}" for found in (results, smaller))
        assert cells(table)[label] == wanted
    assert cells(table)["No. Observations"] == ("28", "28")
    assert table.notes[1].startswith("y (2): Status max_steps")
    assert all(name in table.as_html() for name in ("<th", "y (1)", "Log-Likelihood"))


def test_stars_mark_the_p_values_below_their_levels(results):
    starred, plain = (cells(jaxglm.summary_col([results], stars=on)) for on in (True, False))
    for term, p in zip(results.exog_names, np.asarray(results.pvalues), strict=True):
        assert starred[term][0] == plain[term][0] + "*" * sum(p < np.array([0.1, 0.05, 0.01]))
    assert any("*" in starred[term][0] for term in results.exog_names)


def test_terms_can_be_ordered_and_left_out(results, smaller):
    def terms(**how):
        rows = jaxglm.summary_col([smaller, results], ["one", "two"], **how).blocks[0].rows
        return [row[0] for row in rows if row[0]][: 3 if how.get("drop_omitted") is None else 1]

    assert terms(regressor_order=["z", "x"]) == ["z", "x", "const"]
    assert terms(regressor_order=["x"], drop_omitted=True) == ["x"]
    with pytest.raises(ValueError, match="no model has w; they have const, x, z"):
        jaxglm.summary_col([results], regressor_order=["w"])
    for wrong in ([], [results, smaller]):
        with pytest.raises(ValueError, match="model_names"):
            jaxglm.summary_col(wrong, ["one"])


def test_a_summary_of_strange_names_is_whole_in_every_form(results):
    name = "*a_b & 50% <i>$x$</i> | #1\n~^"
    frame = results.model.frame
    X = {"const": frame.exog[:, 0], name: frame.exog[:, 1], "z": frame.exog[:, 2]}
    summary = jaxglm.GLM(frame.endog, X, families.Poisson()).fit().summary()
    root = ElementTree.fromstring(f"<div>{summary._repr_html_()}</div>")
    found = [[cell.text or "" for cell in row] for row in root.iter("tr")]
    assert [row[0] for row in found[-3:]] == ["const", " ".join(name.split()), "z"]
    assert {len(row) for row in found[-4:]} == {7}
    table = [line for line in summary.as_markdown().splitlines() if line.startswith("| ")][-5:]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}
    latex = summary.as_latex()
    bare = re.sub(r"\\(text\w+\{\}|.)", "", latex)
    ends = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert not re.search(r"[%#$^~_<>|]", bare)
    assert {re.sub(r"\\.", "", line).count("&") for line in ends} == {3, 6}
    assert "\n{*}a\\_b \\& 50\\%" in latex
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 3
