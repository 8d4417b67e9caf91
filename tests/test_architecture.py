"""The layout holds: floors, classes abstract or final, budgets, docstrings, a light import."""

import ast
import importlib
import os
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxglm"

# Each module imports from the lines above its own only; neighbours on a line know nothing of each
# other. `jaxglm` itself, which names everything, is the roof.
FLOORS = [
    ("_types",),
    ("_logarithm",),
    ("_loggamma",),
    ("_chunks", "_labels", "_progress", "_roots", "_special", "_tables", "_threads", "draws"),
    ("_likelihood", "link"),
    ("links",),
    ("family",),
    ("custom",),
    ("families",),
    ("linalg",),
    ("designs", "separation"),
    ("penalties",),
    ("model",),
    ("solvers.base",),
    ("solvers.scoring",),
    ("solvers.irls", "solvers.newton"),
    ("solvers.gradient", "solvers.draft"),
    ("solvers",),
    ("implicit",),
    ("dispersion",),
    ("joint", "powers", "centring", "endless"),
    ("shares",),
    ("fit",),
    (
        "lane_arguments",
        "lane_groups",
    ),
    ("batch", "edges", "submodels"),
    ("distributions",),
    ("bootstrap", "covariance", "diagnostics", "inference", "hypotheses"),
    ("intervals", "anova", "prediction"),
    ("lanes",),
    ("scans",),
    ("frames", "summaries", "storage"),
    ("predictive",),
    ("arguments", "working"),
    ("comparisons", "forecasts", "primitives", "tidy"),
    ("results",),
    ("door",),
    ("resample.intervals", "simulate.summaries", "datasets"),
    ("resample.refits", "simulate.study"),
    ("resample.permutations", "resample.folds", "simulate.search"),
    ("resample", "simulate"),
    ("interfaces.formula", "interfaces.estimation", "interfaces.plots.canvas"),
    ("interfaces.sklearn", "interfaces.plots.residuals", "interfaces.plots.fits"),
    ("interfaces.plots.batches", "interfaces.plots.studies"),
    ("interfaces.plots",),
    ("interfaces",),
    ("",),
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
# Imported when needed: optional packages, and what few need and all would wait for.
OPTIONAL = {"tqdm", "rich", "narwhals", "pandas", "matplotlib", "scipy", "optax"}
HEAVY = ("pandas", "scipy.stats", "sklearn", "formulaic", "matplotlib")


@cache
def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
each_module = pytest.mark.parametrize("name", SOURCES, ids=lambda name: name or "jaxglm")


def nodes(name, *kinds):
    return [node for node in ast.walk(tree_of(SOURCES[name])) if isinstance(node, kinds)]


def functions(name):
    return nodes(name, ast.FunctionDef, ast.AsyncFunctionDef)


def imported(node):
    """The full dotted names that an import statement may load."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


def package_module(dotted):
    """The module of the package behind a dotted name: jaxglm.links.Log -> links; else None."""
    head, *parts = dotted.split(".")
    while parts and ".".join(parts) not in SOURCES:
        parts.pop()
    return ".".join(parts) if head == "jaxglm" else None


def base_names(node):
    """The last word of each base: abc.ABC -> ABC, Protocol[T] -> Protocol."""
    return {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}


def is_interface(node):
    decorators = (d for f in node.body if isinstance(f, ast.FunctionDef) for d in f.decorator_list)
    abstract = any("abstract" in ast.unparse(d) for d in decorators)
    return "Protocol" in base_names(node) or ("ABC" in base_names(node) and abstract)


def docstring_lines(node):
    return node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0


@each_module
def test_imports_come_from_lower_floors(name):
    assert name in FLOOR, f"{name} stands on no floor: give it one"
    for node in nodes(name, ast.Import, ast.ImportFrom):
        assert getattr(node, "level", 0) == 0, f"{name}:{node.lineno}: relative import"
        for below in filter(None.__ne__, map(package_module, imported(node))):
            assert FLOOR[below] < FLOOR[name], f"{name}:{node.lineno}: imports {below or 'jaxglm'}"


@each_module
def test_imports_stand_at_the_top_of_the_file(name):
    late = [
        n
        for f in functions(name)
        for n in ast.walk(f)
        if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    if name and not name.startswith("interfaces"):
        assert [n.lineno for n in late if imported(n)[0].split(".")[0] not in OPTIONAL] == []


@each_module
def test_classes_are_abstract_or_final(name):
    interfaces = {
        c.name for module in SOURCES for c in nodes(module, ast.ClassDef) if is_interface(c)
    }
    own = {c.name for module in SOURCES for c in nodes(module, ast.ClassDef)}
    for node in nodes(name, ast.ClassDef):
        assert base_names(node) & own <= interfaces, f"{name}.{node.name} extends a concrete class"
        if "ABC" in base_names(node):
            assert is_interface(node), f"{name}.{node.name} is an ABC without abstract methods"


@each_module
def test_nothing_is_relayed_or_probed(name):
    for node in functions(name) + nodes(name, ast.Lambda):
        assert node.args.kwarg is None, f"{name}:{node.lineno}: **{node.args.kwarg.arg}"
    rows = {c.name for m in ("links", "families") for c in nodes(m, ast.ClassDef)}
    for call in (n for n in nodes(name, ast.Call) if isinstance(n.func, ast.Name)):
        where = f"{name}:{call.lineno}: {ast.unparse(call)}"
        assert call.func.id not in {"super", "hasattr"}, where
        words = set(re.findall(r"\w+", ast.unparse(call.args[-1]))) if call.args else set()
        assert call.func.id != "isinstance" or not words & (rows | {"Family", "Link"}), where


@each_module
def test_budgets_are_kept(name):
    assert len(SOURCES[name].read_text().splitlines()) <= 500
    for node in functions(name):
        body = node.end_lineno - node.body[0].lineno + 1 - docstring_lines(node)
        assert body <= 60, f"{name}.{node.name} has a body of {body} lines"


def test_the_median_file_is_short():
    assert statistics.median(len(p.read_text().splitlines()) for p in SOURCES.values()) <= 250


@each_module
def test_public_names_have_a_docstring(name):
    tree = tree_of(SOURCES[name])
    assert ast.get_docstring(tree), f"{name} says not what it is"
    if any(part.startswith("_") for part in name.split(".")):
        return
    public = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef))
    bare = [n.name for n in public if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert bare == []


def test_every_exported_name_exists_and_is_documented():
    package = importlib.import_module("jaxglm")
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    assert [
        n for n in package.__all__ if n != "__version__" and not getattr(package, n).__doc__
    ] == []


@pytest.mark.parametrize("x64", ("0", "1"))
def test_import_is_light_and_changes_no_configuration(x64):
    code = (
        "import sys, jax; before = dict(jax.config.values); import jaxglm;"
        "assert dict(jax.config.values) == before;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    env = {**os.environ, "JAX_ENABLE_X64": x64}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_no_file_names_a_place_on_a_machine():
    place = re.compile(r"(?<![\w.:/])/(?:root|home|work|tmp|Users)/\w")
    folders = ("jaxglm", "tests", "examples", "benchmarks", ".ci", ".github")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    kinds = {".py", ".md", ".toml", ".R", ".json", ".yml", ".csv", ".txt", ""}
    files += [p for p in ROOT.glob("[!.]*") if p.is_file()]
    texts = [p for p in files if p.suffix in kinds]
    assert [str(p) for p in texts if place.search(p.read_text(encoding="utf-8"))] == []
