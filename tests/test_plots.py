"""Pictures: what is drawn equals the numbers of the array door, and what is not drawn is counted."""

import warnings
from types import SimpleNamespace

import jax
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from jaxglm import GLM, Fit, Status, families
from jaxglm.interfaces import plots
from jaxglm.interfaces.plots.residuals import local_line
from jaxglm.lanes import adjusted, pvalues
from jaxglm.resample import CrossValidation
from jaxglm.simulate import Analysis, Estimand, PowerCurve, Study, StudyResults
from jaxglm.simulate.study import Outcome

RNG = np.random.default_rng(7)
N = 40
X = {"const": np.ones(N), "x": RNG.normal(size=N).round(2), "g": np.arange(N) % 2.0}
ETA = 0.3 + 0.6 * X["x"] - 0.4 * X["g"]
TRIALS = 1.0 + np.arange(N) % 3
WINS = np.minimum(TRIALS, RNG.binomial(3, 1 / (1 + np.exp(-ETA))))
FREQUENCY = np.where(np.arange(N) < 2, 0.0, 1.0 + np.arange(N) % 2)
TWICE = 1.0 + np.arange(N) % 2
TIME = RNG.uniform(0.5, 4.0, size=N)
COUNTS = RNG.poisson(np.exp(ETA) * TIME).astype(float)


def silent_fit(y, columns, family, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GLM(y, columns, family, **given).fit()


@pytest.fixture(scope="module")
def binomial():
    pairs = np.column_stack([WINS, TRIALS - WINS])
    return silent_fit(pairs, X, families.Binomial(), freq_weights=FREQUENCY)


@pytest.fixture(scope="module")
def poisson():
    return silent_fit(COUNTS, X, families.Poisson(), exposure=TIME, freq_weights=TWICE)


@pytest.fixture(scope="module")
def separated():
    wins = TRIALS * (X["x"] > 0.1)
    pairs = np.column_stack([wins, TRIALS - wins])
    return silent_fit(pairs, X | {"again": X["x"]}, families.Binomial(), freq_weights=FREQUENCY)


@pytest.fixture(autouse=True)
def leaves_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def close(got, wanted, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted, float), rtol=rtol, atol=1e-14)


def drawn(ax, label=None, marker="o"):
    """The x and y of the line with a label, or of the first with a marker."""
    lines = [
        line
        for line in ax.get_lines()
        if (line.get_label() == label if label else line.get_marker() == marker)
    ]
    return np.asarray(lines[0].get_xdata(), float), np.asarray(lines[0].get_ydata(), float)


def limits_of(container):
    """The ends (k, 2) of error bars, upright or not."""
    segments = np.array(container.lines[2][0].get_segments())
    return segments[:, :, int(not container.has_xerr)]


def title(ax):
    return ax.get_title(loc="left").replace("\n", " ")


# One fit


def test_the_four_pictures_hold_the_residuals_of_the_door(poisson):
    grid = plots.diagnostic_plots(poisson)
    assert grid.shape == (2, 2)
    eta, found = poisson.predict(which="linear"), poisson.get_influence()
    close(drawn(grid[0, 0]), [eta, poisson.resid_deviance])
    close(drawn(grid[1, 0]), [eta, np.sqrt(np.abs(found.rstandard_deviance))])
    close(drawn(grid[1, 1]), [found.hat_diagonal, found.rstandard_pearson])
    x, y = drawn(grid[0, 1])
    close(y, np.sort(found.rstandard_deviance))
    close(x, stats.norm.ppf((np.arange(1, N + 1) - 0.5) / N))


def test_cook_lines_have_equal_cooks_distance(poisson, ax):
    plots.residuals_leverage(poisson, ax)
    for level in (0.5, 1.0):
        h, r = drawn(ax, f"D = {level:g}")
        there = np.isfinite(r)
        assert (r[there] > 0).any() and (r[there] < 0).any()
        close((r**2 * h / (poisson.rank * (1 - h)))[there], level)
    h, r = drawn(ax)
    distance = r**2 * h / (poisson.rank * (1 - h))
    close(distance, poisson.get_influence().cooks_distance)
    names = {text.get_text() for text in ax.texts}
    assert {str(i) for i in np.argsort(-distance)[:3]} <= names


def test_axes_given_are_used_and_no_figure_is_opened(poisson):
    figure, axes = plt.subplots(2, 2)
    assert plots.diagnostic_plots(poisson, axes, kind="pearson") is not None
    assert plots.fit_trace(poisson, axes[0, 0]) is axes[0, 0]
    assert plt.get_fignums() == [figure.number]
    close(drawn(axes[0, 0])[1][:N], poisson.resid_pearson)


def test_rows_of_weight_zero_are_counted_not_drawn(binomial, ax):
    plots.residuals_fitted(binomial, ax)
    assert len(drawn(ax)[0]) == N - 2 and "weight 0 not drawn: 2" in title(ax)


def test_a_local_line_through_a_line_is_that_line():
    x = RNG.exponential(size=50)
    at, value = local_line(x, 2.0 - 3.0 * x)
    close(value, 2.0 - 3.0 * at, rtol=1e-9)
    assert local_line(np.ones(9), x[:9])[0].size == 0


def test_the_envelope_holds_a_right_model_and_not_an_overdispersed_one(poisson):
    found = []
    wild = silent_fit(
        np.round(COUNTS * np.where(np.arange(N) % 3, 0.2, 4.0)), X, families.Poisson(),
        exposure=TIME, freq_weights=TWICE,
    )  # fmt: skip
    for results in (poisson, wild):
        ax = plots.quantile_residual_qq(results, 3, envelope=39)
        x, y = drawn(ax, "residuals")
        band = ax.collections[0].get_paths()[0].vertices
        low = np.array([band[np.isclose(band[:, 0], v), 1].min() for v in x])
        high = np.array([band[np.isclose(band[:, 0], v), 1].max() for v in x])
        assert np.all(np.diff(y) >= 0) and np.all(low <= high) and np.all(np.diff(high) >= -1e-12)
        outside = int(np.sum((y < low) | (y > high)))
        assert f"{outside} of {N} points outside" in title(ax)
        found.append(outside)
    assert found[0] <= N / 5 and found[1] >= N / 2
    own = np.asarray(poisson.resid_quantile(jax.random.split(jax.random.key(3))[0]))
    close(drawn(plots.quantile_residual_qq(poisson, 3, envelope=0), "residuals")[1], np.sort(own))


def test_a_forest_has_the_coefficients_and_their_limits(binomial, poisson, separated):
    ax = plots.coefficient_forest({"a": binomial, "b": poisson}, alpha=0.1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "g"]
    for i, results in enumerate((binomial, poisson)):
        close(drawn(ax, "ab"[i])[0], results.beta[1:])
        segments = np.array(ax.collections[i].get_segments())
        close(segments[:, :, 0], np.asarray(results.conf_int(0.1))[1:])
    ax = plots.coefficient_forest(poisson, columns=["g", "const"], exponentiate=True)
    close(drawn(ax)[0], np.exp(poisson.beta[[2, 0]]))
    ax = plots.coefficient_forest({"good": poisson, "bad": separated})
    assert separated.status == Status.separated and len(ax.collections) == 1
    assert "bad: status separated, not drawn" in title(ax)
    assert "not estimable, not drawn: 1" in title(ax)


def test_a_partial_effect_is_the_prediction_with_the_others_at_their_means(poisson):
    ax = plots.partial_effect(poisson, "x", n_points=9)
    x = np.linspace(X["x"].min(), X["x"].max(), 9)
    middle = {name: np.average(v, weights=TWICE) for name, v in X.items()}
    rows = np.column_stack([np.ones(9), x, np.full(9, middle["g"])])
    offset = np.average(np.log(TIME), weights=TWICE)
    wanted = poisson.get_prediction(rows, offset=offset)
    close(drawn(ax, marker="None"), [x, wanted.mean])
    band = ax.collections[0].get_paths()[0].vertices
    close([band[:, 1].min(), band[:, 1].max()], [wanted.lower.min(), wanted.upper.max()])
    ax = plots.partial_effect(poisson, 1, rows=rows, offset=offset, scale="linear")
    close(drawn(ax, marker="None")[1], wanted.linear)
    half = stats.norm.ppf(0.975) * wanted.linear_se
    band = ax.collections[0].get_paths()[0].vertices
    close(band[:, 1].max(), np.max(wanted.linear + half))
    ax = plots.partial_effect(poisson, "g")
    rows = np.array([[1.0, middle["x"], 0.0], [1.0, middle["x"], 1.0]])
    wanted = poisson.get_prediction(rows, offset=offset)
    close(drawn(ax), [[0.0, 1.0], wanted.mean])
    close(limits_of(ax.containers[0]), np.column_stack([wanted.lower, wanted.upper]))


def test_calibration_is_the_weighted_mean_of_groups(binomial):
    ax = plots.calibration(binomial, bins=4)
    weight, mu, y = TRIALS * FREQUENCY, np.asarray(binomial.mu), WINS / TRIALS
    order = np.argsort(mu[2:], kind="stable") + 2
    predicted, observed = drawn(ax)
    assert len(predicted) == 4 and np.all(np.diff(predicted) > 0)
    first = order[mu[order] <= mu[order[9]]]
    close(predicted[0], np.average(mu[first], weights=weight[first]))
    close(observed[0], np.average(y[first], weights=weight[first]))
    w = weight[first]
    half = 1.959963984540054 * np.sqrt(np.sum(w * mu[first] * (1 - mu[first]))) / w.sum()
    close(limits_of(ax.containers[0])[0, 1], min(observed[0] + half, 1.0))
    rows = np.column_stack(list(X.values()))
    pairs = np.column_stack([WINS, TRIALS - WINS]) * FREQUENCY[:, None]
    close(drawn(plots.calibration(binomial, bins=4, endog=pairs, exog=rows))[1], observed)


def test_the_roc_area_is_the_share_of_pairs_ranked_right(binomial, ax):
    plots.roc(binomial, ax)
    mu, win, loss = np.asarray(binomial.mu), WINS * FREQUENCY, (TRIALS - WINS) * FREQUENCY
    right = (mu[:, None] > mu) + 0.5 * (mu[:, None] == mu)
    wanted = win @ right @ loss / (win.sum() * loss.sum())
    false, true = drawn(ax, "model")
    close(np.trapezoid(true, false), wanted)
    assert f"area {wanted:.3f}" in title(ax)
    assert np.all(np.diff(false) >= 0) and np.all(np.diff(true) >= 0)


def test_a_trace_is_the_history_of_the_fit(poisson, separated, ax):
    history = poisson.fit_history
    plots.fit_trace(poisson, ax)
    end = history.deviance[-1]
    wanted = np.maximum(np.abs(history.deviance - end) / (end + 1.0), 1e-17)
    close(drawn(ax, "deviance above its end, relative")[1], wanted)
    steps = np.max(np.abs(np.diff(history.params, axis=0)) / poisson.bse, axis=1)
    close(drawn(ax, "largest step, in standard errors")[1], steps)
    assert "separated" in title(plots.fit_trace(separated))


# Many fits


def test_a_path_has_gaps_where_fits_failed(ax):
    strengths, params = np.array([10.0, 0.0, 1.0]), np.arange(6.0).reshape(3, 2)
    plots.regularisation_path(strengths, params, ["a", "b"], ax, status=[0, 0, 3])
    for j, name in enumerate("ab"):
        x, y = drawn(ax, name)
        close(x, [0.0, 1.0, 10.0])
        np.testing.assert_array_equal(y, [params[1, j], np.nan, params[0, j]])
    assert "1 of 3 penalties not drawn: 1 separated" in title(ax)


def lanes(z, status):
    """A batch of fits with one coefficient, its estimate z and its standard error 1."""
    one = np.ones(len(z))
    return Fit(
        z[:, None], one[:, None, None], one, one, one, one, one.astype(int), np.array(status),
        families.Poisson(),
    )  # fmt: skip


def test_a_volcano_has_a_point_for_each_sound_lane(ax):
    z = np.concatenate([RNG.normal(size=46), [5.0, -6.0, 50.0, 1.0]])
    fits = lanes(z, [0] * 48 + [0, 4])
    plots.volcano(fits, 0, ax, adjust="holm", names=np.arange(50), n_labels=2)
    p = np.asarray(pvalues(fits))[:, 0]
    found = np.asarray(adjusted(p, "holm"))[:49] < 0.05
    counts = [f"others: {49 - found.sum()}", f"adjusted p < 0.05 (holm): {found.sum()}"]
    rest, out = (drawn(ax, label) for label in counts)
    assert len(rest[0]) + len(out[0]) == 48 and found[46:49].all()
    close(np.sort(out[0]), np.sort(z[:48][found[:48]]))
    close(rest[1], -np.log10(p[:49][~found]))
    close(drawn(ax, marker="^")[0], [50.0])
    assert {t.get_text() for t in ax.texts} == {"48", "47"}
    assert "1 of 50 lanes not drawn: 1 singular" in title(ax)
    assert "1 with p < 1e-300, as triangles" in title(ax)


def test_pvalues_are_held_against_uniform_order_statistics(ax):
    p = np.append(RNG.uniform(size=200), np.nan)
    plots.pvalue_qq(p, ax, alpha=0.1)
    i = np.arange(1, 201)
    close(drawn(ax, "p-values"), [-np.log10(i / 201), -np.log10(np.sort(p[:200]))])
    band = ax.collections[0].get_paths()[0].vertices
    for row in (0, 199):
        ends = -np.log10(stats.beta(i[row], 201 - i[row]).ppf([0.95, 0.05]))
        here = band[np.isclose(band[:, 0], -np.log10(i[row] / 201)), 1]
        close([here.min(), here.max()], ends, rtol=1e-9)
    inflation = np.median(stats.chi2.isf(p[:200], 1)) / stats.chi2.median(1)
    assert f"lambda_GC = {inflation:.3f}" in title(ax) and "1 of 201 are NaN" in title(ax)


def test_many_pvalues_are_thinned_but_for_the_smallest(ax):
    p = RNG.uniform(size=50_000)
    plots.pvalue_qq(p, ax, max_points=100)
    y = drawn(ax, "p-values")[1]
    assert len(y) <= 100 and f"{len(y)} points drawn" in title(ax)
    close(y[:50], -np.log10(np.sort(p)[:50]))
    close(y[-1], -np.log10(p.max()))


# Studies: results made by hand, of which every number is known

CELLS, REPS = 4, 60
TRUTH = {"effect": Estimand(1, lambda cell: cell["effect"])}


def outcome(shift):
    effect = np.array([0.0, 1.0, 0.0, 1.0])[:, None]
    estimate = effect + shift + RNG.normal(size=(CELLS, REPS))
    sound = np.ones((CELLS, REPS), bool)
    sound[1, :3] = False
    numbers = (estimate, np.ones_like(estimate), estimate - 1.96, estimate + 1.96)
    return Outcome(*(v[:, :, None] for v in numbers), np.where(sound, 0, 3), sound)


def study_results():
    study = Study(
        {"n": [20, 40], "effect": [0.0, 1.0]}, None, None,
        {"one": Analysis(families.Gaussian()), "two": Analysis(families.Gaussian())}, TRUTH,
        reps=REPS,
    )  # fmt: skip
    return StudyResults(study, {"one": outcome(0.0), "two": outcome(0.5)})


RESULTS = study_results()


def measured(analysis, name):
    found = [RESULTS.performance(analysis, cell, "effect")[name] for cell in range(CELLS)]
    return np.array([m.value for m in found]), np.array([m.mcse for m in found])


def test_a_zip_ranks_replicates_and_tells_those_that_miss(ax):
    plots.zip_plot(RESULTS, "one", cell=1, ax=ax)
    one = RESULTS.outcomes["one"]
    z = np.abs(one.estimate[1, 3:, 0] - 1.0)
    hold, miss = (np.array(lines.get_segments()) for lines in ax.collections)
    assert len(hold) == np.sum(z <= 1.96) and len(hold) + len(miss) == REPS - 3
    both = np.concatenate([hold, miss])
    order = np.argsort(both[:, 0, 1])
    close(np.abs(both[order].mean(axis=1)[:, 0] - 1.0), np.sort(z), rtol=1e-9)
    assert "3 of 60 replicates not drawn: 3 separated" in title(ax)
    value, mcse = (v[1] for v in measured("one", "coverage"))
    band = ax.patches[0].get_bbox()
    close([band.y0, band.y1], [100 * (value - 1.96 * mcse), 100 * min(value + 1.96 * mcse, 1)])
    plots.zip_plot(RESULTS, "two", cell=0, ax=ax, max_lines=10)
    assert "10 of 60 drawn" in title(ax)


def test_a_nested_loop_has_a_step_a_cell_and_a_stair_a_factor(ax):
    plots.nested_loop(RESULTS, "bias", ax=ax)
    for name in ("one", "two"):
        close(drawn(ax, name)[1][:CELLS], measured(name, "bias")[0])
    stairs = [np.asarray(line.get_ydata())[:CELLS] for line in ax.get_lines()[3:5]]
    for stair, moves in zip(stairs, ([0, 1, 0], [1, -1, 1]), strict=True):
        np.testing.assert_array_equal(np.sign(np.diff(stair).round(9)), moves)
    assert {t.get_text().strip() for t in ax.texts} == {"n: 20, 40", "effect: 0, 1"}
    assert "one: 3 of 240 fits not used: 3 separated" in title(ax)


def test_a_lollipop_has_its_monte_carlo_limits_and_stands_on_what_should_be(ax):
    plots.lollipop(RESULTS, "coverage", ax=ax, alpha=0.1)
    for i, name in enumerate(("one", "two")):
        value, mcse = measured(name, "coverage")
        close(drawn(ax, marker="os"[i])[0], value)
        half = stats.norm.ppf(0.95) * mcse
        close(limits_of(ax.containers[i]), np.column_stack([value - half, value + half]))
    stems = np.array(ax.collections[0].get_segments())
    close(stems[:, 0, 0], 0.95)
    assert ax.get_yticklabels()[1].get_text() == "n 20, effect 1"


def test_a_power_curve_pools_its_simulations_and_marks_the_value(ax):
    a, b = -1.0, 0.4
    target = (stats.norm.ppf(0.8) - a) / b
    curve = PowerCurve(
        np.array([4.0, 25.0, 25.0]), np.array([20.0, 80.0, 90.0]), np.array([100, 100, 100]),
        np.array([a, b]), 1e-4 * np.eye(2), True, 0.8, target**2, 0.7,
    )  # fmt: skip
    plots.power_curve(curve, ax, label="n")
    close(drawn(ax), [[4.0, 25.0], [0.2, 0.85]])
    bars = next(c for c in ax.containers if c.has_yerr)
    wanted = stats.binomtest(170, 200).proportion_ci(method="wilson")
    close(limits_of(bars)[1], [wanted.low, wanted.high])
    x, y = drawn(ax, "probit curve")
    close(y, stats.norm.cdf(a + b * np.sqrt(x)), rtol=1e-9)
    close(drawn(ax, "found")[0], target**2)
    assert f"n {target**2:.4g}" in title(ax) and "300 data sets" in title(ax)
    lost = PowerCurve(*(getattr(curve, f) for f in PowerCurve.__match_args__[:7]), np.nan, np.nan)
    assert "not reached" in title(plots.power_curve(lost))


def cross_validation(penalties, failed=False):
    scores = 1.0 + np.arange(3.0) / 10 + 0.2 * RNG.normal(size=(2, 5, 3))
    status = np.zeros((2, 5, 3), int)
    if failed:
        scores[0, 1, 2], status[0, 1, 2] = np.nan, 4
    labels = np.zeros((2, 10), int)
    return CrossValidation(labels, penalties, np.zeros((2, 5, 3, 1)), status, {"auc": scores})


def test_a_cross_validation_curve_marks_the_best_and_the_one_standard_error(ax):
    found = cross_validation(np.array([10.0, 0.1, 1.0]))
    plots.cross_validation_curve(found, "auc", ax)
    order = [1, 2, 0]
    mean, se = found.mean("auc")[order], found.se("auc")[order]
    close(drawn(ax), [[0.1, 1.0, 10.0], mean])
    close(limits_of(ax.containers[0]), np.column_stack([mean - se, mean + se]))
    best, near = found.best("auc"), found.one_standard_error("auc")
    for place, name in ((best, "best"), (near, "one standard error")):
        strength = found.penalties[place]
        close(drawn(ax, f"{name}: {strength:.4g}")[0], strength)
    broken = cross_validation(np.array([0.1, 1.0, 10.0]), failed=True)
    text = title(plots.cross_validation_curve(broken, "auc"))
    assert "1 of 3 penalties not drawn" in text and "1 singular" in text


# Arguments

FITS = SimpleNamespace(params=np.ones(3))
BAD = {
    "results": lambda r: plots.residuals_fitted(FITS),
    "ax": lambda r: plots.residuals_fitted(r, "here"),
    "axes": lambda r: plots.diagnostic_plots(r, [1, 2, 3, 4]),
    "kind": lambda r: plots.scale_location(r, kind="working"),
    "n_labels": lambda r: plots.quantile_quantile(r, n_labels=-1),
    "envelope": lambda r: plots.quantile_residual_qq(r, 0, envelope=2.5),
    "alpha": lambda r: plots.coefficient_forest(r, alpha=1.0),
    "columns": lambda r: plots.coefficient_forest(r, columns=["nothing"]),
    "method": lambda r: plots.coefficient_forest(r, method="exact"),
    "column": lambda r: plots.partial_effect(r, "nothing"),
    "scale": lambda r: plots.partial_effect(r, "x", scale="log"),
    "bins": lambda r: plots.calibration(r, bins=0),
    "exog": lambda r: plots.calibration(r, endog=COUNTS),
    "allowed is Binomial": lambda r: plots.roc(r),
    "penalties": lambda r: plots.regularisation_path([1.0, -1.0], np.ones((2, 2))),
    "params": lambda r: plots.regularisation_path([1.0], np.ones(2)),
    "names": lambda r: plots.regularisation_path([1.0], np.ones((1, 2)), ["a"]),
    "status": lambda r: plots.regularisation_path([1.0], np.ones((1, 2)), status=[0, 0]),
    "fits": lambda r: plots.volcano(FITS, 0),
    "column=3": lambda r: plots.volcano(lanes(np.ones(2), [0, 0]), 3),
    "adjust": lambda r: plots.volcano(lanes(np.ones(2), [0, 0]), 0, adjust="none"),
    "level": lambda r: plots.volcano(lanes(np.ones(2), [0, 0]), 0, level=2.0),
    "pvalues": lambda r: plots.pvalue_qq([0.5, 1.5]),
    "max_points": lambda r: plots.pvalue_qq([0.5], max_points=1),
    "analysis": lambda r: plots.zip_plot(RESULTS),
    "cell": lambda r: plots.zip_plot(RESULTS, "one", cell=4),
    "estimand": lambda r: plots.nested_loop(RESULTS, estimand="nothing"),
    "measure": lambda r: plots.lollipop(RESULTS, "elegance"),
    "curve": lambda r: plots.power_curve(RESULTS),
    "score": lambda r: plots.cross_validation_curve(cross_validation(np.ones(3)), "mse"),
    "has no penalties": lambda r: plots.cross_validation_curve(cross_validation(None), "auc"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_argument_is_named_and_leaves_no_figure(name, poisson):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        BAD[name](poisson)
    assert "allowed" in str(caught.value) or "cross_validate" in str(caught.value)
    assert plt.get_fignums() == []
