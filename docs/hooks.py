"""Pages made from other files of the repository: examples, benchmarks, the README's tables.

A line `{{ FILE }}` of a page stands for that file, `{{ FILE: HEADING }}` for one section of it.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SLOT = re.compile(r"^\{\{ ([\w./-]+?)(?:: (.+?))? \}\}$", re.MULTILINE)
# What files outside of docs/ link to, as the pages link to it.
MOVED = {
    "docs/differences.md": "differences.md",
    "benchmarks/REPORT.md": "benchmarks.md",
    "results/ratios.svg": "assets/ratios.svg",
}


def on_files(files, config):
    """Add a page for each example, their index, and the benchmarks' picture."""
    from mkdocs.structure.files import File

    examples = sorted((ROOT / "examples").glob("*.py"))
    made = {f"tutorials/{path.stem}.md": tutorial(path) for path in examples}
    made["tutorials/index.md"] = index(examples)
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    picture = ROOT / "benchmarks" / "results" / "ratios.svg"
    files.append(File.generated(config, "assets/ratios.svg", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fill the slots of a page."""
    return SLOT.sub(lambda slot: included(*slot.groups("")), markdown)


def included(file, heading=""):
    """The text of a file without its title, or of one of its sections without the heading."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if not heading:
        text = re.sub(r"\A# .*\n", "", text)
    else:
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        if found is None:
            raise ValueError(f"{file} has no section {heading!r}")
        text = found[1]
    for own, target in MOVED.items():
        text = text.replace(f"]({own})", f"]({target})")
    return text.strip()


def cells(path):
    """The cells of an example: (whether it is text, its lines)."""
    text = path.read_text(encoding="utf-8")
    if text.startswith('"""'):  # a docstring in the place of cells
        title, rest, code = re.match(r'"""(.*?)\.?\n(.*?)"""\n(.*)', text, re.S).groups()
        yield True, f"# {title}\n{rest}"
        yield False, code.strip("\n")
    parts = re.split(r"^# %%(.*)\n", text, flags=re.M)[1:]
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        yield "[markdown]" in kind, body.strip("\n")


def tutorial(path):
    """An example as a page: its text as text, its code as code."""
    page = ["---\nhide: [toc]\n---"]
    for is_text, body in cells(path):
        if is_text:
            marked = all(line.startswith("#") for line in body.split("\n") if line)
            page.append(re.sub(r"^# ?", "", body, flags=re.M).strip() if marked else body.strip())
        elif body:
            page.append(f"```python\n{body}\n```")
    return "\n\n".join(page) + "\n"


def index(examples):
    """The list of all examples, each with its first paragraph."""
    page = [
        "# Tutorials",
        "Scripts of the folder `examples/`; each runs in less than a minute on two cores.",
    ]
    for path in examples:
        _, title, paragraph, *_ = tutorial(path).split("\n\n")
        page.append(f"**[{title.removeprefix('# ')}]({path.stem}.md)**  \n{paragraph}")
    return "\n\n".join(page) + "\n"
