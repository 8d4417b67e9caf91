"""Pages made from other files of the repository: examples, benchmarks, the README's tables.

A line `{{ FILE }}` of a page stands for that file, `{{ FILE: HEADING }}` for one section of it.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ROOT / "docs" / "outputs"
SLOT = re.compile(r"^\{\{ ([\w./-]+?)(?:: (.+?))? \}\}$", re.MULTILINE)
# What files outside of docs/ link to, as the pages link to it, and the words of a bare link.
MOVED = {
    "docs/differences.md": ("differences.md", "Where jaxglm differs"),
    "benchmarks/REPORT.md": ("benchmarks.md", "The report"),
    "results/ratios.svg": ("assets/ratios.svg", ""),
}


def on_files(files, config):
    """Add a page for each example, their index, and the benchmarks' picture."""
    from mkdocs.structure.files import File

    examples = sorted((ROOT / "examples").glob("*.py"))
    made = {f"tutorials/{path.stem}.md": tutorial(path) for path in examples}
    made["tutorials/index.md"] = index(config.nav)
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
    for own, (target, words) in MOVED.items():
        text = text.replace(f"[{own}]({own})", f"[{words}]({target})")
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


def code_of(path):
    """The cells of code of an example."""
    return [body for is_text, body in cells(path) if body and not is_text]


def printed(path):
    """What the cells of code of an example printed when docs/outputs.py ran it, by their number."""
    text = (OUTPUTS / f"{path.stem}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^# %% (\d+)\n", text, flags=re.M)[1:]
    return {int(cell): text for cell, text in zip(parts[::2], parts[1::2], strict=True)}


def tutorial(path):
    """An example as a page: its text as text, its code as code, and what that printed and drew."""
    page, outputs, cell = ["---\nhide: [toc]\n---"], printed(path), 0
    for is_text, body in cells(path):
        if is_text:
            marked = all(line.startswith("#") for line in body.split("\n") if line)
            page.append(re.sub(r"^# ?", "", body, flags=re.M).strip() if marked else body.strip())
        elif body:
            cell += 1
            page.append(f"```python\n{body}\n```")
            if cell in outputs:
                page.append(f"```text\n{outputs[cell]}```")
            pictures = sorted(OUTPUTS.glob(f"{path.stem}-{cell}-*.png"))
            places = [f"../outputs/{one.name}" for one in pictures]
            page += [f"[![What this cell draws]({place})]({place})" for place in places]
    page.append("*As printed by one run on two cores of a CPU; times and last digits vary.*")
    return "\n\n".join(page) + "\n"


def index(nav):
    """The list of all examples as the navigation has them, each with its first paragraph."""
    page = [
        "---\nhide: [toc]\n---",
        "# Tutorials",
        "Scripts of the folder `examples/`, with what they print and draw; each runs in less than a"
        " minute on two cores.",
    ]
    (tutorials,) = (part["Tutorials"] for part in nav if "Tutorials" in part)
    for section in tutorials[1:]:
        for heading, entries in section.items():
            page.append(f"## {heading}")
            page += [listed(Path(place).stem) for entry in entries for place in entry.values()]
    return "\n\n".join(page) + "\n"


def listed(name):
    """An example's title, as a link to its page, and its first paragraph."""
    _, title, paragraph, *_ = tutorial(ROOT / "examples" / f"{name}.py").split("\n\n")
    return f"**[{title.removeprefix('# ')}]({name}.md)**  \n{paragraph}"
