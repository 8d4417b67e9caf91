"""The pages hold: their Python runs and prints what they say, and their links lead somewhere."""

import contextlib
import importlib.util
import io
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
# A block of Python, and what it prints where that is shown beneath.
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)

# Those that compile the most.
LONG = {"how-to/custom-families"}


def blocks_of(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def named(page):
    return page.relative_to(ROOT / "docs").with_suffix("").as_posix()


CASES = [
    pytest.param(page, id=named(page), marks=[pytest.mark.nightly] * (named(page) in LONG))
    for page in PAGES
    if blocks_of(page)
]


@pytest.fixture(scope="module")
def hooks():
    """What makes pages from other files when the site is built."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", CASES)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, shown in blocks_of(page):
        printed = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("error", FutureWarning)
            exec(compile(code, named(page), "exec"), names)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        assert lines == shown.splitlines(), code


def test_pages_link_to_what_is_there():
    made = {f"tutorials/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")}
    made |= {"tutorials/index.md"}
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        there = [(page.parent / target).resolve() for target in targets]
        places = [(path, path.relative_to(ROOT / "docs").as_posix()) for path in there]
        assert [p for path, p in places if not path.exists() and p not in made] == [], page


def test_what_the_pages_repeat_is_there(hooks):
    slots = [slot for page in PAGES for slot in hooks.SLOT.findall(page.read_text("utf-8"))]
    assert slots and all(hooks.included(*slot) for slot in slots)


def test_every_example_and_page_is_in_the_navigation(hooks):
    shown = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert shown == pages | {f"tutorials/{path.stem}.md" for path in examples} | {
        "tutorials/index.md"
    }
    for path in examples:
        page = hooks.tutorial(path)
        blocks = sum(page.count(f"```{language}\n") for language in ("python", "text"))
        assert "\n\n# " in page and blocks == page.count("\n```\n") and "```text\n" in page
