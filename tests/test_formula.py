"""The formula door gives what the array door gives on a design made by hand, row by row."""

import inspect

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import reference

import jaxglm
from jaxglm import GLM, GLMResults, datasets, families

N = 60
RNG = np.random.default_rng(5)
LEVELS = np.array(["low", "mid", "top"])


def make_table():
    table = pd.DataFrame(
        {
            "x": RNG.normal(size=N),
            "g": LEVELS[RNG.integers(0, 3, N)],
            "t": RNG.uniform(1.0, 3.0, N),
            "w": RNG.uniform(0.5, 2.0, N),
            "m": RNG.integers(1, 9, N),
        },
        index=[f"row{i}" for i in range(N)],
    )
    table["y"] = RNG.poisson(table.t * np.exp(0.3 * table.x))
    table["s"] = RNG.binomial(table.m, 0.4)
    table["f"] = table.m - table.s
    return table


TABLE = make_table()
DUMMIES = np.column_stack([TABLE.g == level for level in LEVELS[1:]]).astype(float)
BY_HAND = np.column_stack([np.ones(N), TABLE.x, DUMMIES, DUMMIES * TABLE.x.to_numpy()[:, None]])
NAMES = ["Intercept", "x", "g[T.mid]", "g[T.top]", "x:g[T.mid]", "x:g[T.top]"]
FULL = "y ~ x * g + offset(log(t))"


def as_polars(table):
    texts = {"g": [None if pd.isna(v) else v for v in table.g]}
    return pl.DataFrame({name: texts.get(name, table[name].to_numpy()) for name in table})


def fitted(formula=FULL, data=TABLE, family="poisson", **given):
    return jaxglm.glm(formula, data, family=family, **given).fit()


@pytest.fixture(scope="module")
def full():
    return fitted(var_weights="w")


def test_a_formula_is_its_design(full):
    wanted = GLM(TABLE.y, BY_HAND, "poisson", offset=np.log(TABLE.t), var_weights=TABLE.w).fit()
    assert full.model.exog_names == NAMES and full.model.endog_names == "y"
    for name in ("params", "bse", "resid_deviance", "fittedvalues"):
        np.testing.assert_allclose(getattr(full, name), getattr(wanted, name), rtol=1e-8)
    assert full.llf == pytest.approx(wanted.llf, rel=1e-12)
    assert list(full.params.index) == NAMES and list(full.fittedvalues.index) == list(TABLE.index)


@pytest.mark.parametrize("given", [as_polars(TABLE), dict(TABLE)], ids=["polars", "mapping"])
def test_any_frame_gives_the_same_fit(full, given):
    other = fitted(data=given, var_weights="w")
    np.testing.assert_allclose(other.params, full.params, rtol=1e-12)
    np.testing.assert_allclose(other.predict(given), full.fittedvalues, rtol=1e-12)


def test_new_rows_bring_their_own_offset_and_states(full):
    new = TABLE.iloc[10:14].assign(t=[1.0, 2.0, 3.0, 4.0])
    eta = BY_HAND[10:14] @ full.params.to_numpy() + np.log(new.t)
    np.testing.assert_allclose(full.predict(new), np.exp(eta), rtol=1e-12)
    np.testing.assert_allclose(full.get_prediction(new).mean, np.exp(eta), rtol=1e-12)
    np.testing.assert_allclose(full.model.predict(full.params, new), np.exp(eta), rtol=1e-12)
    shifted = full.predict(new, offset=np.full(4, 0.5))
    np.testing.assert_allclose(shifted, np.exp(eta + 0.5), rtol=1e-12)
    centred = fitted("y ~ scale(x) + bs(t, df=4)")
    np.testing.assert_allclose(centred.predict(TABLE.head(3)), centred.mu[:3], rtol=1e-10)


def test_columns_by_name_are_read_anew():
    named, plain = fitted("y ~ x", exposure="t"), fitted("y ~ x + offset(log(t))")
    np.testing.assert_allclose(named.params, plain.params, rtol=1e-12)
    new = TABLE.head(3).assign(t=2.0)
    np.testing.assert_allclose(named.predict(new), plain.predict(new), rtol=1e-12)
    arrays = fitted("y ~ x", exposure=TABLE.t.to_numpy())
    with pytest.raises(ValueError, match="offset or exposure"):
        arrays.predict(new)
    np.testing.assert_allclose(arrays.predict(new, exposure=2.0), named.predict(new), rtol=1e-12)


def test_responses_with_trials_in_three_spellings():
    pair = fitted("cbind(s, f) ~ x", family=families.Binomial())
    share = fitted("s / m ~ x", family=families.Binomial())
    apart = fitted("s_m ~ x", TABLE.assign(s_m=TABLE.s / TABLE.m), "binomial", n_trials="m")
    for other in (share, apart):
        np.testing.assert_allclose(other.params, pair.params, rtol=1e-12)
        assert other.llf == pytest.approx(pair.llf, rel=1e-12)
    ratio = fitted("s / m ~ x", family="gaussian")
    np.testing.assert_allclose(ratio.model.endog, TABLE.s / TABLE.m)


def test_missing_values_leave_their_rows_out():
    holes = TABLE.astype({"g": object})
    holes.loc["row3", "x"] = np.nan
    holes.loc["row5", "g"] = None
    rest = TABLE.drop(["row3", "row5"])
    found, wanted = fitted(data=holes, var_weights="w"), fitted(data=rest, var_weights="w")
    np.testing.assert_allclose(found.params, wanted.params, rtol=1e-12)
    assert list(found.mu.index) == list(rest.index)
    assert np.isnan(found.predict(holes)[["row3", "row5"]]).all()
    clusters = found.with_covariance("cluster", groups=holes.m)  # labels of all rows
    own = wanted.with_covariance("cluster", groups=rest.m)
    np.testing.assert_allclose(clusters.bse, own.bse, rtol=1e-8)
    with pytest.raises(ValueError, match=r"2 rows \(first at row 3\)"):
        fitted(data=holes, missing="raise")


def test_terms_are_those_of_the_formula(full, tmp_path):
    table = full.anova()
    assert table.terms == ("x", "g", "x:g") and table.df.tolist() == [1.0, 2.0, 2.0]
    assert table.summary_frame().loc["g", "df"] == 2.0
    tests = full.wald_test_terms()
    assert list(tests) == ["x", "g", "x:g"]
    by_hand = full.wald_test("x:g[T.mid] = x:g[T.top] = 0")
    assert tests["x:g"].pvalue == pytest.approx(by_hand.pvalue, rel=1e-12)
    pairs = full.t_test_pairwise("g")
    assert pairs.pairs == ("g[T.mid] - g[low]", "g[T.top] - g[low]", "g[T.top] - g[T.mid]")
    np.testing.assert_allclose(pairs.estimate[:2], full.params[2:4])
    full.save(tmp_path / "full.npz")
    again = GLMResults.load(tmp_path / "full.npz")
    found = again.wald_test_terms()["g"].pvalue
    assert found == pytest.approx(tests["g"].pvalue, rel=1e-12)
    np.testing.assert_array_equal(again.t_test_pairwise("g").estimate, pairs.estimate)
    with pytest.raises(TypeError, match="left behind"):
        again.predict(TABLE.head(2))
    assert repr(again) == "<GLMResults: Poisson, Log link; 60 rows, 6 coefficients; converged>"


@pytest.mark.parametrize("door", [jaxglm.glm, GLM.from_formula], ids=["glm", "from_formula"])
def test_the_callers_functions_are_seen(door):
    def cube(v):
        return v**3

    def around(context):
        return door("y ~ cube(x)", TABLE, context=context)

    for model in (door("y ~ cube(x)", TABLE), around(1)):
        np.testing.assert_allclose(model.exog[:, 1], TABLE.x**3)
    with pytest.raises(Exception, match="cube"):
        around(0)


def test_a_formula_has_two_doors_to_one_model(full):
    assert inspect.signature(GLM.from_formula) == inspect.signature(jaxglm.glm)
    other = GLM.from_formula(FULL, TABLE, "poisson", var_weights="w").fit()
    pd.testing.assert_series_equal(other.params, full.params)
    other = GLM.from_formula("s / m ~ x", TABLE, "binomial", missing="raise", by="g")
    assert other.fit().labels.tolist() == list(LEVELS)
    wanted = jaxglm.glm("y ~ x", TABLE, "poisson", "t", "t", "m", "w", None, "none")
    found = GLM.from_formula("y ~ x", TABLE, "poisson", "t", "t", "m", "w", None, "none")
    for name in ("offset", "freq_weights", "var_weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_groups_are_fitted_each_by_itself():
    many = jaxglm.glm("y ~ x", TABLE, "poisson", exposure="t", var_weights="w", by="g").fit()
    assert list(many.labels) == list(LEVELS) and many.tally() == {"converged": 3}
    frame = many.to_frame()
    assert list(frame.columns) == ["lane", "term", "estimate", "se", "z", "p", "status"]
    for level in LEVELS:
        alone = fitted("y ~ x", TABLE[TABLE.g == level], exposure="t", var_weights="w")
        own = frame[frame.lane == level]
        np.testing.assert_allclose(own.estimate, alone.params, rtol=1e-8)
        np.testing.assert_allclose(own.se, alone.bse, rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fitted("y"), "formula='y'"),
        (lambda: fitted("y ~ x", offset="nope"), "offset='nope'.*no such column"),
        (lambda: fitted("y ~ nope"), "nope"),
        (lambda: fitted("y ~ x", by="nope"), "by='nope'"),
        (lambda: fitted("y ~ x", by=["g", "m"]), r"by=\['g', 'm'\]: allowed"),
        (lambda: fitted("s / m ~ x", family="binomial", n_trials="m"), "n_trials"),
        (lambda: fitted("y ~ x", TABLE.assign(x=np.nan)), "every row"),
        (lambda: fitted("y ~ 0"), "formula='y ~ 0': no coefficient"),
        (lambda: fitted("y ~ t", TABLE.assign(t=pd.Timestamp("2026-01-01"))), "t is a date"),
        (lambda: fitted("t ~ x", TABLE.assign(t=pd.Timestamp("2026-01-01"))), "t is a date"),
        (lambda: fitted("y ~ t", TABLE.assign(t=TABLE.t * 1j)), "t is complex128"),
        (lambda: fitted("y ~ x", TABLE[["y", "x", "x"]]), "more than one column is named 'x'"),
    ],
)
def test_wrong_formulas_and_columns_are_named(call, message):
    with pytest.raises(Exception, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "formula", "family"),
    [
        ("ships", "incidents ~ type + C(year) + C(period) + offset(log(service))", "poisson"),
        ("quine", "Days ~ Eth + Sex + Age + Lrn", "poisson"),
        ("warpbreaks", "breaks ~ wool + C(tension, levels=['L', 'M', 'H'])", "poisson"),
        ("budworm", "numdead / n_trials ~ sex + ldose", "binomial"),
    ],
    ids=["ships", "quine", "warpbreaks", "budworm"],
)
def test_formulas_of_r_give_its_coefficients(name, formula, family):
    facts = reference("datasets")[name]
    found = fitted(formula, getattr(datasets, name)().columns, family)
    np.testing.assert_allclose(found.params, facts["coef"], rtol=1e-8)
    assert found.deviance == pytest.approx(facts["deviance"], rel=1e-9)


def test_an_unseen_level_is_refused_and_not_taken_for_the_reference(full):
    with pytest.raises(ValueError, match="zz"):
        full.predict(TABLE.head(2).assign(g="zz"))


def test_other_data_are_refused():
    with pytest.raises(TypeError, match=r"glm\(data=\.\.\.\): list"):
        fitted("y ~ x", [1, 2])


YES_NO = TABLE.assign(
    text=np.where(TABLE.s > 1, "yes", "no"),
    flag=TABLE.s > 1,
    level=pd.Categorical(np.where(TABLE.s > 1, "yes", "no"), ["none", "yes", "no"]),
)
YES_NO["nullable"] = YES_NO.text.astype("string")


def test_a_factor_as_response_counts_what_is_past_its_first_level():
    for response in ("flag", "text", "nullable", "C(text)", 'text == "yes"'):
        model = jaxglm.glm(f"{response} ~ x + g", YES_NO, "binomial")
        np.testing.assert_array_equal(model.endog, YES_NO.flag)
    # The order is the categories'; one that no row has is none.
    turned = jaxglm.glm("level ~ x + g", YES_NO, "binomial")
    np.testing.assert_array_equal(turned.endog, ~YES_NO.flag)
    as_enum = pl.Series(YES_NO.text.to_list(), dtype=pl.Enum(["yes", "no"]))
    other = jaxglm.glm("e ~ x + g", as_polars(TABLE).with_columns(e=as_enum), "binomial")
    np.testing.assert_array_equal(other.endog, turned.endog)
    fit = other.fit()
    np.testing.assert_allclose(fit.predict(as_polars(TABLE.head(3))), fit.mu[:3], rtol=1e-12)
    with pytest.raises(TypeError, match="response text is text or a category; Poisson"):
        fitted("text ~ x", YES_NO)


def test_a_dot_stands_for_every_other_column():
    part = TABLE[["y", "x", "g", "t"]]
    dotted = jaxglm.glm("y ~ . - t + offset(log(t))", part, "poisson")
    plain = jaxglm.glm("y ~ x + g + offset(log(t))", part, "poisson")
    assert dotted.exog_names == plain.exog_names
    np.testing.assert_array_equal(dotted.exog, plain.exog)


def test_a_level_that_no_row_has_gets_no_column_and_no_prediction():
    spare = TABLE.assign(g=pd.Categorical(TABLE.g, ["low", "mid", "none", "top"]))
    found, wanted = jaxglm.glm("y ~ x + g", spare), jaxglm.glm("y ~ x + g", TABLE)
    assert found.exog_names == wanted.exog_names
    np.testing.assert_array_equal(found.exog, wanted.exog)
    beta = [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(found.predict(beta, spare.head(3)), wanted.exog[:3] @ beta)
    with pytest.raises(ValueError, match="exog: .*{'none'}"):
        found.predict(beta, spare.head(2).assign(g="none"))


@pytest.mark.parametrize("kind", ["nullable", "object"])
def test_columns_of_other_dtypes_are_what_they_were(kind):
    nullable = TABLE.convert_dtypes(dtype_backend="numpy_nullable")
    other = nullable if kind == "nullable" else TABLE.astype(object)
    found, wanted = jaxglm.glm(FULL, other), jaxglm.glm(FULL, TABLE)
    for name in ("exog", "endog", "offset"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_allclose(
        found.predict(np.ones(6), other.head(2)), found.exog[:2].sum(1) + found.offset[:2]
    )
