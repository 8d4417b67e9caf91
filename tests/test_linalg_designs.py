import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxglm import designs
from jaxglm.linalg import inverse_pd, pivoted_qr, solve_pd

ORDERS = (1, 2, 4, 7, 12, 14)
each_order = pytest.mark.parametrize("p", ORDERS)


def positive_definite(p, lanes, seed=0):
    random = np.random.default_rng(seed)
    root = random.standard_normal((lanes, p, p + 4))
    return root @ root.transpose(0, 2, 1)


def dense_and_augmented(n=11, q=3, k=2, seed=1):
    random = np.random.default_rng(seed)
    shared, varying = random.standard_normal((n, q)), random.standard_normal((n, k))
    X = np.concatenate([shared, varying], axis=1)
    one = np.concatenate([shared, varying[:, :1]], axis=1)
    codes = random.integers(0, 4, n)
    by_level = np.concatenate([shared, np.eye(4)[codes]], axis=1)
    return [
        (designs.Dense(jnp.asarray(X)), X),
        (designs.Columns.of(jnp.asarray(X)), X),
        (designs.Augmented(jnp.asarray(shared), jnp.asarray(varying)), X),
        (designs.Augmented(jnp.asarray(shared), jnp.asarray(varying[:, 0])), one),
        (designs.OneWay(jnp.asarray(shared), jnp.asarray(codes, float), 4), by_level),
    ]


each_design = pytest.mark.parametrize(
    ("design", "X"),
    dense_and_augmented(),
    ids=["dense", "columns", "augmented", "augmented by a vector", "one-way"],
)


@each_design
def test_products_are_those_of_dense_algebra(design, X):
    random = np.random.default_rng(2)
    n, p = X.shape
    beta, w = random.standard_normal(p), random.standard_normal(n)
    A = random.standard_normal((p, p))
    assert design.shape == (n, p) and design.dtype == X.dtype
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(design.predictor(jnp.asarray(beta)), X @ beta, **close)
    np.testing.assert_allclose(design.score(jnp.asarray(w)), X.T @ w, **close)
    np.testing.assert_allclose(design.gram(jnp.asarray(w)), X.T @ (w[:, None] * X), **close)
    np.testing.assert_allclose(design.weighted_rows(jnp.asarray(w)), w[:, None] * X, **close)
    wanted = np.einsum("ij,jk,ik->i", X, A, X)
    np.testing.assert_allclose(design.leverage(jnp.asarray(A)), wanted, **close)
    block = design.block(jnp.asarray(2), 5)
    np.testing.assert_allclose(block.predictor(jnp.asarray(beta)), X[2:7] @ beta, **close)
    some = design.take(jnp.asarray([4, 0, 3]))
    np.testing.assert_allclose(some.predictor(jnp.asarray(beta)), X[[4, 0, 3]] @ beta, **close)


@each_design
def test_cleaned_designs_mark_their_rows(design, X):
    assert not np.any(design.spoiled())

    def spoil(v):
        return v.at[(3, *([0] * (v.ndim - 1)))].set(jnp.nan)

    by_column = isinstance(design, designs.Columns)
    bad = designs.Columns.of(spoil(design.rows)) if by_column else jax.tree.map(spoil, design)
    np.testing.assert_array_equal(np.flatnonzero(bad.spoiled()), [3])
    cleaned = np.asarray(bad.cleaned().weighted_rows(jnp.ones(X.shape[0])))
    np.testing.assert_array_equal(
        np.where(np.isin(np.arange(len(X)), 3)[:, None], 0, cleaned - X), 0
    )
    assert np.all(np.isfinite(cleaned))


@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)], ids=["w", "X", "both"])
def test_mapped_gram_is_a_loop(axes):
    random = np.random.default_rng(3)
    lanes, n, p = 4, 9, 3
    X = random.standard_normal((lanes, n, p) if axes[0] == 0 else (n, p))
    w = random.standard_normal((lanes, n) if axes[1] == 0 else (n,))
    got = jax.jit(jax.vmap(designs.gram, axes))(X, w)
    for i in range(lanes):
        Xi, wi = X[i] if axes[0] == 0 else X, w[i] if axes[1] == 0 else w
        np.testing.assert_allclose(got[i], Xi.T @ (wi[:, None] * Xi), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(got[i], np.asarray(got[i]).T, rtol=1e-12)


def test_twice_mapped_gram_is_a_double_loop():
    random = np.random.default_rng(4)
    X, w = random.standard_normal((2, 9, 3)), random.standard_normal((4, 9))
    inner = jax.vmap(designs.gram, (None, 0))
    got = jax.vmap(inner, (0, None))(X, w)
    wanted = np.einsum("bni,ln,bnj->blij", X, w, X)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=["shared", "varying", "both"])
def test_mapped_augmented_design_is_a_loop(axes):
    random = np.random.default_rng(5)
    lanes, n = 3, 9
    shared = random.standard_normal((lanes, n, 2) if axes[0] == 0 else (n, 2))
    varying = random.standard_normal((lanes, n) if axes[1] == 0 else (n,))
    w = random.standard_normal((lanes, n))

    def products(shared, varying, w):
        design = designs.Augmented(shared, varying)
        return design.gram(w), design.score(w), design.predictor(w[:3])

    got = jax.jit(jax.vmap(products, (*axes, 0)))(shared, varying, w)
    for i in range(lanes):
        left = shared[i] if axes[0] == 0 else shared
        X = np.column_stack([left, varying[i] if axes[1] == 0 else varying])
        wanted = X.T @ (w[i][:, None] * X), X.T @ w[i], X @ w[i][:3]
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-12, atol=1e-13)


def test_gram_has_both_derivatives():
    random = np.random.default_rng(6)
    X, w = random.standard_normal((7, 3)), random.standard_normal(7)
    dX, dw, C = random.standard_normal((7, 3)), random.standard_normal(7), np.eye(3) + 0.3
    tangent = jax.jvp(designs.gram, (X, w), (dX, dw))[1]
    half = dX.T @ (w[:, None] * X)
    wanted = half + half.T + X.T @ (dw[:, None] * X)
    np.testing.assert_allclose(tangent, wanted, rtol=1e-12, atol=1e-13)
    gX, gw = jax.grad(lambda X, w: jnp.sum(C * designs.gram(X, w)), argnums=(0, 1))(X, w)
    np.testing.assert_allclose(np.sum(gX * dX) + gw @ dw, np.sum(C * wanted), rtol=1e-12)
    mapped = jax.vmap(jax.grad(lambda w: jnp.sum(C * designs.gram(X, w))))(np.stack([w, 2 * w]))
    np.testing.assert_allclose(mapped, np.stack([gw, gw]), rtol=1e-12)


@each_order
def test_solve_and_inverse_equal_numpy(p):
    lanes = 5
    A = positive_definite(p, lanes)
    b = np.random.default_rng(1).standard_normal((lanes, p))
    wanted = np.linalg.solve(A, b[..., None])[..., 0]
    close = {"rtol": 1e-8, "atol": 1e-10}
    np.testing.assert_allclose(jax.jit(jax.vmap(solve_pd))(A, b), wanted, **close)
    np.testing.assert_allclose(jax.jit(solve_pd)(A[0], b[0]), wanted[0], **close)
    np.testing.assert_allclose(jax.jit(jax.vmap(inverse_pd))(A), np.linalg.inv(A), **close)
    np.testing.assert_allclose(jax.jit(inverse_pd)(A[0]), np.linalg.inv(A[0]), **close)


@pytest.mark.parametrize("p", [3, 13])
def test_solve_maps_over_either_argument(p):
    A, b = positive_definite(p, 4), np.random.default_rng(1).standard_normal((4, p))
    got = jax.vmap(solve_pd, (None, 0))(A[0], b)
    np.testing.assert_allclose(got, np.linalg.solve(A[0], b.T).T, rtol=1e-8)
    got = jax.vmap(solve_pd, (0, None))(A, b[0])
    np.testing.assert_allclose(got, np.linalg.solve(A, b[0][:, None])[..., 0], rtol=1e-8)


@pytest.mark.parametrize("p", [2, 5, 13])
def test_only_the_lane_that_is_not_positive_definite_fails(p):
    A = positive_definite(p, 5)
    singular, indefinite = A[1].copy(), A[3].copy()
    singular[:, -1], singular[-1] = singular[:, 0], singular[0]
    singular[-1, -1] = singular[0, 0]
    indefinite[0, 0] = -1.0
    spoiled = A.copy()
    spoiled[1], spoiled[3] = singular, indefinite
    b = np.ones((5, p))
    for got, clean in (
        (jax.vmap(solve_pd)(spoiled, b), jax.vmap(solve_pd)(A, b)),
        (jax.vmap(inverse_pd)(spoiled), jax.vmap(inverse_pd)(A)),
    ):
        for i in range(5):
            if i in (1, 3):
                assert np.all(np.isnan(got[i]))
            else:
                np.testing.assert_array_equal(got[i], clean[i])
    assert np.all(np.isnan(solve_pd(singular, b[0])))
    assert np.all(np.isnan(inverse_pd(indefinite)))
    assert np.all(np.isnan(inverse_pd(np.full((p, p), np.nan))))


@pytest.mark.parametrize("p", [3, 13])
@pytest.mark.parametrize("size", [1e-150, 1e-20, 1e20, 1e150])
def test_scale_of_the_matrix_is_irrelevant(p, size):
    A = positive_definite(p, 2)
    wanted = np.linalg.inv(A) / size
    np.testing.assert_allclose(jax.vmap(inverse_pd)(A * size), wanted, rtol=1e-9)
    np.testing.assert_allclose(inverse_pd(A[0] * size), wanted[0], rtol=1e-9)


@pytest.mark.parametrize("p", [3, 13])
def test_unequal_columns_lose_no_digits(p):
    A = positive_definite(p, 2)
    d = np.geomspace(1e-60, 1e60, p)
    scaled = A * d * d[:, None]
    wanted = np.linalg.inv(A) / d / d[:, None]
    np.testing.assert_allclose(jax.vmap(inverse_pd)(scaled), wanted, rtol=1e-9)
    np.testing.assert_allclose(inverse_pd(scaled[0]), wanted[0], rtol=1e-9)


@pytest.mark.parametrize("p", [3, 13])
def test_inverse_is_differentiable_in_both_modes(p):
    A, (dA,) = positive_definite(p, 3), positive_definite(p, 1, seed=9)
    inverse = np.linalg.inv(A)
    wanted = -inverse @ dA @ inverse
    got = jax.vmap(lambda a: jax.jvp(inverse_pd, (a,), (jnp.asarray(dA),))[1])(A)
    np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9)
    back = jax.vmap(jax.grad(lambda a: jnp.sum(inverse_pd(a) * dA)))(A)
    np.testing.assert_allclose(back, wanted, rtol=1e-7, atol=1e-9)
    second = jax.grad(lambda t: jax.grad(lambda t: inverse_pd(A[0] + t * dA)[0, 0])(t))(0.0)
    exact = 2 * (inverse[0] @ dA @ inverse[0] @ dA @ inverse[0])[0, 0]
    np.testing.assert_allclose(second, exact, rtol=1e-7)


def test_pivoted_qr_leaves_out_what_earlier_columns_span():
    random = np.random.default_rng(8)
    X = random.standard_normal((12, 3))
    X = np.column_stack([X[:, 0], X[:, 1], X[:, 0] - 2 * X[:, 1], np.zeros(12), X[:, 2], X[:, 0]])
    result = pivoted_qr(X)
    np.testing.assert_array_equal(result.kept, [0, 1, 4])
    np.testing.assert_array_equal(result.aliased, [2, 3, 5])
    np.testing.assert_allclose(result.q @ result.r, X[:, result.kept], atol=1e-13)
    np.testing.assert_allclose(result.q.T @ result.q, np.eye(3), atol=1e-14)
    scaled = pivoted_qr(X * np.array([1e-150, 1e150, 1.0, 1.0, 1e80, 1e-9]))
    np.testing.assert_array_equal(scaled.kept, [0, 1, 4, 2][:3])


def test_pivoted_qr_of_a_wide_matrix_keeps_as_many_columns_as_rows():
    X = np.random.default_rng(9).standard_normal((3, 5))
    result = pivoted_qr(X)
    np.testing.assert_array_equal(result.kept, [0, 1, 2])
    np.testing.assert_array_equal(result.aliased, [3, 4])


@pytest.mark.parametrize("n", [8192, 8193, 4096 * 3, 4096 * 3 + 17])
def test_sweep_in_blocks_is_the_sum_over_all_rows(n):
    random = np.random.default_rng(10)
    X, beta, y = random.standard_normal((n, 2)), np.array([0.3, -0.2]), random.standard_normal(n)

    def work(eta, y):
        return jnp.sin(eta) * y, jnp.cos(eta), {"squares": jnp.sum(y**2), "rows": eta.sum()}

    sums = jax.jit(lambda X, y: designs.sweep(designs.Dense(X), jnp.asarray(beta), y, work))
    score, gram, totals = sums(X, y)
    eta = X @ beta
    np.testing.assert_allclose(score, X.T @ (np.sin(eta) * y), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(gram, X.T @ (np.cos(eta)[:, None] * X), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(totals["squares"], np.sum(y**2), rtol=1e-12)
    np.testing.assert_allclose(totals["rows"], eta.sum(), rtol=1e-10, atol=1e-9)


def test_a_long_table_of_products_gives_way_to_a_product_a_lane(monkeypatch):
    random = np.random.default_rng(11)
    X, w = random.standard_normal((9, 3)), random.standard_normal((4, 9))
    by_table = jax.vmap(designs.gram, (None, 0))(X, w)
    monkeypatch.setattr(designs, "CPU_TABLE", 8)
    monkeypatch.setattr(designs, "TABLE", 8)
    program = jax.jit(jax.vmap(lambda X, w: designs.gram(X, w), (None, 0)))
    assert "while" in program.lower(X, w).as_text()
    np.testing.assert_allclose(program(X, w), by_table, rtol=1e-12, atol=1e-13)
