import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import FEW_PAIRS, PAIRS, SOLVERS, pair, small

from jaxglm import Status, families, fit, links, solvers
from jaxglm.fit import prepare
from jaxglm.model import penalised_score


def solve_pair(family, link, solver):
    """The solver's states for the lanes of a pair, their scores, and the reference answers."""
    row = pair(family, link)

    def one(family, X, y, arguments):
        problem, _ = prepare(X, y, family, **arguments)
        state = solvers.solve(solver, problem, None)
        return state.beta, state.status, state.n_iter, penalised_score(problem, state.beta)

    return *jax.jit(jax.vmap(one))(row.family, row.X, row.y, row.arguments), row.answers


def in_standard_errors(beta, answers):
    return np.max(np.abs(beta - answers["params"]) / answers["bse"])


# IRLS meets the same references in test_fit.py.
@pytest.mark.parametrize(("family", "link"), PAIRS, ids=["-".join(p) for p in PAIRS])
def test_newton_reaches_the_reference_and_the_score_vanishes(family, link):
    beta, status, n_iter, score, answers = solve_pair(family, link, SOLVERS["newton"])
    np.testing.assert_array_equal(status, int(Status.converged))
    assert in_standard_errors(beta, answers) < 1e-8
    assert np.max(np.abs(score) * answers["bse"]) < 1e-8
    assert np.max(n_iter) <= 40


GRADIENT_CASES = [("lbfgs", *p) for p in FEW_PAIRS] + [("adam", *p) for p in FEW_PAIRS[:2]]


@pytest.mark.parametrize(("name", "family", "link"), GRADIENT_CASES)
def test_gradient_methods_reach_the_reference(name, family, link):
    beta, status, _, _, answers = solve_pair(family, link, SOLVERS[name])
    np.testing.assert_array_equal(status, int(Status.converged))
    assert in_standard_errors(beta, answers) < 1e-8


def test_gradient_without_polish_is_good_to_its_tolerance():
    data = small()
    solver = solvers.Gradient(polish=None)
    got = fit(data.X, data.share, families.Binomial(), solver=solver)
    wanted = fit(data.X, data.share, families.Binomial())
    error = np.max(np.abs(got.params - wanted.params) / wanted.bse)
    assert 0 < error < 3e-3
    assert got.converged


RANDOM = np.random.default_rng(20)
LONG = np.column_stack([np.ones(5003), RANDOM.standard_normal((5003, 3))])
LONG_COUNTS = RANDOM.poisson(np.exp(LONG @ [0.3, 0.2, -0.3, 0.4])).astype(float)
FALLING = optax.adam(optax.exponential_decay(1.0, 80, 0.5))


@pytest.mark.parametrize("polished", [True, False])
def test_mini_batches_reach_the_maximum_of_all_rows(polished):
    wanted = fit(LONG, LONG_COUNTS, families.Poisson())
    ways = np.array([3.0, -3.0, 3.0, -3.0])
    controls = {"batch_size": 64, "tol": 0.04, "key": jax.random.key(1)}
    if not polished:
        controls["polish"] = None
    solver = solvers.Gradient(FALLING, **controls)
    got = fit(
        LONG,
        LONG_COUNTS,
        families.Poisson(),
        start=wanted.params + ways * wanted.bse,
        solver=solver,
    )
    error = np.max(np.abs(got.params - wanted.params) / wanted.bse)
    assert got.converged
    assert error < 1e-8 if polished else 1e-8 < error < 0.2


def test_epochs_are_the_steps_of_mini_batches():
    start = np.array([1.3, 0.2, -0.3, 0.4])
    solver = solvers.Gradient(FALLING, tol=1e-12, max_steps=2, batch_size=64, polish=None)
    got = fit(LONG, LONG_COUNTS, families.Poisson(), start=start, solver=solver)
    assert Status(int(got.status)) is Status.max_steps and int(got.n_iter) == 2


# Statuses

X8 = np.column_stack([np.ones(8), np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])])
APART = np.array([0.0, 0, 0, 0, 1, 1, 1, 1])
# The two rows in the middle share one x and differ in y: quasi-complete.
X_QUASI = np.column_stack([np.ones(8), np.array([-4.0, -3.0, -2.0, 0.0, 0.0, 2.0, 3.0, 4.0])])
BINARY_LINKS = [links.Logit(), links.Probit(), links.CLogLog(), links.LogLog(), links.Cauchy()]


@pytest.mark.parametrize("link", BINARY_LINKS, ids=lambda v: type(v).__name__)
def test_separated_data_are_called_separated(link):
    family = families.Binomial(link)
    stacked = jax.jit(jax.vmap(lambda X, y: fit(X, y, family)))
    all_one, all_zero = np.ones(8), np.zeros(8)
    overlap = np.array([0.0, 0, 1, 0, 1, 0, 1, 1])
    result = stacked(
        np.stack([X8, X_QUASI, X8, X8, X8]), np.stack([APART, APART, all_one, all_zero, overlap])
    )
    wanted = [Status.separated] * 4 + [Status.converged]
    assert [Status(int(s)) for s in result.status] == wanted
    alone = fit(X8, overlap, family)
    np.testing.assert_allclose(result.params[4], alone.params, rtol=1e-9, atol=1e-12)


def test_an_empty_poisson_cell_is_separated_and_the_other_coefficients_hold():
    group = np.repeat([0, 1, 2], 4)
    X = np.eye(3)[group]
    y = np.array([1.0, 2, 3, 2, 4, 5, 3, 4, 0, 0, 0, 0])
    result = fit(X, y, families.Poisson())
    assert Status(int(result.status)) is Status.separated
    np.testing.assert_allclose(result.params[:2], np.log([2.0, 4.0]), rtol=1e-9)
    assert result.params[2] < -8


def test_all_zero_counts_are_separated():
    data = small()
    for family in (families.Poisson(), families.NegativeBinomial(0.5)):
        result = fit(data.X, np.zeros(30), family)
        assert Status(int(result.status)) is Status.separated


DUPLICATE = np.column_stack([small().X, small().X[:, 1]])
SINGULAR = {
    "duplicate column": DUPLICATE,
    "zero column": np.column_stack([small().X, np.zeros(30)]),
    "constant beside intercept": np.column_stack([small().X, np.full(30, 3.7)]),
    "sum of two": np.column_stack([small().X, small().X[:, 0] + small().X[:, 1]]),
}


@pytest.mark.parametrize("design", SINGULAR)
def test_singular_designs_are_called_singular(design):
    data = small()
    X = SINGULAR[design]
    for family, y in ((families.Gaussian(), data.gaussian), (families.Poisson(), data.count)):
        result = fit(X, y, family)
        assert Status(int(result.status)) is Status.singular, family
        assert np.all(np.isnan(result.params)) and np.all(np.isnan(result.bse))


def test_fewer_rows_than_columns_are_singular():
    data = small()
    result = fit(data.X[:2], data.positive[:2], families.Gamma(links.Log()))
    assert Status(int(result.status)) is Status.singular


def test_one_pass_is_reported_as_max_steps():
    data = small()
    for solver in (solvers.IRLS(max_steps=1), solvers.Newton(max_steps=1)):
        result = fit(data.X, data.share, families.Binomial(), solver=solver)
        assert Status(int(result.status)) is Status.max_steps and not result.converged
        assert int(result.n_iter) == 1


def spoil(values, index, value):
    values = np.array(values, dtype=float)
    values[index] = value
    return values


DATA = small()
INVALID = {
    "nan in y": {"y": spoil(DATA.count, 3, np.nan)},
    "inf in y": {"y": spoil(DATA.count, 3, np.inf)},
    "negative y": {"y": spoil(DATA.count, 3, -1.0)},
    "nan in X": {"X": spoil(DATA.X, (3, 1), np.nan)},
    "inf in X": {"X": spoil(DATA.X, (3, 1), np.inf)},
    "nan in offset": {"offset": spoil(DATA.offset, 3, np.nan)},
    "-inf in offset": {"offset": spoil(DATA.offset, 3, -np.inf)},
    "nan in var_weights": {"var_weights": spoil(DATA.weights, 3, np.nan)},
    "inf in var_weights": {"var_weights": spoil(DATA.weights, 3, np.inf)},
    "negative var_weights": {"var_weights": spoil(DATA.weights, 3, -1.0)},
    "zero var_weights": {"var_weights": np.zeros(30)},
    "negative freq_weights": {"freq_weights": spoil(np.ones(30), 3, -1.0)},
    "nan in freq_weights": {"freq_weights": spoil(np.ones(30), 3, np.nan)},
    "zero freq_weights": {"freq_weights": np.zeros(30)},
}


def test_invalid_data_spoil_their_lane_alone():
    good = {
        "X": DATA.X,
        "y": DATA.count,
        "offset": DATA.offset,
        "var_weights": DATA.weights,
        "freq_weights": np.ones(30),
    }
    lanes = [good] + [{**good, **change} for change in INVALID.values()] + [good]
    stacked = {k: np.stack([lane[k] for lane in lanes]) for k in good}

    def one(a):
        rest = {k: v for k, v in a.items() if k not in ("X", "y")}
        return fit(a["X"], a["y"], families.Poisson(), **rest)

    result = jax.jit(jax.vmap(one))(stacked)
    wanted = [Status.converged] + [Status.invalid_data] * len(INVALID) + [Status.converged]
    got = dict(zip(["good", *INVALID, "good too"], map(int, result.status), strict=True))
    assert list(got.values()) == [int(s) for s in wanted], got
    bad = slice(1, -1)
    for name in ("params", "bse", "scale", "deviance", "loglike"):
        assert np.all(np.isnan(getattr(result, name)[bad])), name
        np.testing.assert_array_equal(getattr(result, name)[0], getattr(result, name)[-1])
    alone = jax.jit(jax.vmap(one))({k: v[:1] for k, v in stacked.items()})
    np.testing.assert_allclose(result.params[0], alone.params[0], rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "y"),
    [
        (lambda v: families.NegativeBinomial(v), DATA.count),
        (lambda v: families.Tweedie(v), DATA.positive),
    ],
    ids=["alpha", "var_power"],
)
def test_invalid_family_parameters_spoil_their_lane_alone(make, y):
    bad = {"NegativeBinomial": [0.0, -1.0, np.nan, np.inf], "Tweedie": [0.5, np.nan, np.inf]}
    values = bad[type(make(1.5)).__name__]
    result = jax.vmap(lambda v: fit(DATA.X, y, make(v)))(np.array([1.2, *values]))
    assert Status(int(result.status[0])) is Status.converged
    np.testing.assert_array_equal(result.status[1:], int(Status.invalid_data))
    assert np.all(np.isnan(result.params[1:])) and np.all(np.isfinite(result.params[0]))


def test_invalid_penalties_starts_and_scales_are_no_fit():
    for arguments in (
        {"penalty": jnp.asarray(-5.0)},
        {"penalty": jnp.asarray([1.0, jnp.nan, 1.0])},
        {"start": np.array([0.0, np.nan, 0.0])},
        {"scale": -1.0},
        {"scale": np.nan},
    ):
        try:
            result = fit(DATA.X, DATA.count, families.Poisson(), **arguments)
        except ValueError:
            continue
        assert not result.converged, arguments


@pytest.mark.parametrize(
    ("family", "y"),
    [
        # The rates 0 and 3 pull an identity line through a negative mean.
        (families.Poisson(links.Identity()), np.array([0.0, 0, 0, 0, 0, 0, 8, 9])),
        (families.Binomial(links.Log()), np.array([0.0, 0, 0, 0, 1, 1, 1, 1])),
    ],
    ids=["identity poisson", "log binomial"],
)
def test_a_maximum_on_the_edge_is_no_convergence(family, y):
    result = fit(X8, y, family)
    assert Status(int(result.status)) in (Status.boundary, Status.separated), result.status
    assert not result.converged


def test_a_start_far_away_is_brought_back():
    y, X = np.array([1.0, 1, 1, 0]), np.ones((4, 1))
    for start in (-1.81, -10.0, 12.0):
        result = fit(X, y, families.Binomial(), start=np.array([start]))
        assert result.converged
        np.testing.assert_allclose(result.params, np.log(3.0), rtol=1e-12)


@pytest.mark.parametrize("shift", [-800.0, 800.0])
def test_a_huge_offset_is_absorbed_by_the_intercept(shift):
    data = small()
    plain = fit(data.X, data.count, families.Poisson())
    result = fit(data.X, data.count, families.Poisson(), offset=np.full(30, shift))
    assert result.converged
    np.testing.assert_allclose(result.params[0], plain.params[0] - shift, rtol=1e-9)
    np.testing.assert_allclose(result.params[1:], plain.params[1:], rtol=1e-8)


@pytest.mark.parametrize(
    ("family", "y", "size"),
    [
        (families.Poisson(), small().count, 1e12),
        (families.Gamma(links.Log()), small().positive, 1e12),
        (families.Gamma(links.Log()), small().positive, 1e-12),
    ],
    ids=["poisson", "gamma up", "gamma down"],
)
def test_responses_and_columns_of_any_size_converge(family, y, size):
    data = small()
    X = data.X * np.array([1.0, 1e8, 1e-8])
    plain = fit(data.X, y, family)
    result = fit(X, y * size, family)
    assert result.converged
    wanted = plain.params * np.array([1.0, 1e-8, 1e8]) + np.array([np.log(size), 0.0, 0.0])
    np.testing.assert_allclose(result.params, wanted, rtol=1e-9)


def test_constant_response_is_a_perfect_fit():
    data = small()
    result = fit(data.X, np.full(30, 2.5))
    assert result.converged
    np.testing.assert_allclose(result.params, [2.5, 0.0, 0.0], atol=1e-14)
    np.testing.assert_allclose(result.deviance, 0.0, atol=1e-25)


def test_no_status_hides_a_nan():
    random = np.random.default_rng(5)
    lanes = 40
    X = random.standard_normal((lanes, 6, 3)) * np.exp(random.uniform(-8, 8, (lanes, 1, 3)))
    count = random.poisson(np.exp(random.uniform(-3, 12, (lanes, 6)))).astype(float)
    share = (random.uniform(size=(lanes, 6)) < 0.5).astype(float)
    positive = np.exp(random.uniform(-9, 9, (lanes, 6)))
    for family, y in (
        (families.Poisson(), count),
        (families.Binomial(links.Cauchy()), share),
        (families.Gamma(), positive),
        (families.InverseGaussian(links.Log()), positive),
    ):
        result = jax.jit(jax.vmap(lambda X, y, f=family: fit(X, y, f)))(X, y)
        sound = np.asarray(result.converged)
        for name in ("params", "deviance", "scale"):
            assert np.all(np.isfinite(np.asarray(getattr(result, name))[sound])), (family, name)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: solvers.IRLS(tol=0.0), "tol"),
        (lambda: solvers.IRLS(tol=-1e-8), "tol"),
        (lambda: solvers.IRLS(tol=float("nan")), "tol"),
        (lambda: solvers.IRLS(max_steps=0), "max_steps"),
        (lambda: solvers.Newton(max_steps=-5), "max_steps"),
        (lambda: solvers.Newton(max_steps=2.5), "max_steps"),
        (lambda: solvers.Gradient(tol=0.0), "tol"),
        (lambda: solvers.Gradient(optax.adam(0.1), max_steps=0), "max_steps"),
        (lambda: solvers.Gradient(optax.adam(0.1), batch_size=0), "batch_size"),
        (lambda: solvers.Gradient(batch_size=32), "batch_size"),
    ],
)
def test_bad_controls_raise_by_name(make, argument):
    with pytest.raises(ValueError, match=argument):
        make()


def test_every_status_has_a_meaning():
    meanings = [status.meaning for status in Status]
    assert all(m.endswith(".") for m in meanings) and len(set(meanings)) == len(meanings)
