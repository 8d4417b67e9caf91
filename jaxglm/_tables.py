"""Tables of text: what a summary is printed from, as text, HTML, Markdown and LaTeX.

Knows columns and number strings, not statistics.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

WIDTH, GAP = 78, 2
_LATEX_MARKS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}"},
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}


def format_number(x: float, digits: int = 4) -> str:
    """x with a fixed number of decimals, or as %g from 1e4 on and below 1e-4.

    >>> [format_number(v) for v in (-0.01776527, 4.962e-05, 12345.678, float("nan"))]
    ['-0.0178', '4.962e-05', '1.235e+04', 'nan']
    >>> format_number(-0.00004, digits=3)
    '-4e-05'
    """
    style = "g" if abs(x) >= 1e4 or abs(x) < 1e-4 else "f"
    return f"{x:.{digits}{style}}"


@dataclass(frozen=True)
class Table:
    """Cells of text in columns.

    Rows and headers (which may be none) of one length; alignment by "l", "r", "c", one a column.
    """

    rows: Sequence[Sequence[str]]
    headers: Sequence[str] = ()
    alignment: str = ""
    title: str = ""
    footers: Sequence[str] = ()

    @property
    def sides(self) -> str:
        """The alignment of each column: as given, else names left and numbers right."""
        return self.alignment or "l" + "r" * (len(self.headers or self.rows[0]) - 1)

    @property
    def lines(self) -> list[list[str]]:
        """The headers, blank if there are none, then the rows, line breaks in cells as spaces."""
        lines = [self.headers or [""] * len(self.sides), *self.rows]
        return [[" ".join(cell.split()) for cell in line] for line in lines]

    def widths(self) -> list[int]:
        """The longest cell of each column."""
        return [max(map(len, column)) for column in zip(*self.lines, strict=True)]

    def as_text(self, width: int = WIDTH) -> str:
        """The table between double rules, spread over at least `width` characters."""
        own = self.widths()
        widths = _spread(own, self.sides, width)
        head, *lines = [_text_line(row, own, widths, self.sides) for row in self.lines]
        wide = sum(widths)
        heads = [head, "-" * wide] if self.headers else []
        title = [self.title.center(wide)] if self.title else []
        return "\n".join([*title, "=" * wide, *heads, *lines, "=" * wide, *self.footers])

    def as_html(self) -> str:
        """A `<table>`, every cell escaped."""
        head, *rows = self.lines
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        body = "\n".join(_html_row(row, self.sides, "td") for row in rows)
        feet = "".join(f"<p>{html.escape(line)}</p>" for line in self.footers)
        heads = _html_row(head, self.sides, "th") if self.headers else ""
        return f"<table>{caption}\n<thead>{heads}</thead>\n<tbody>\n{body}\n</tbody></table>{feet}"

    def as_markdown(self) -> str:
        """A pipe table; Markdown has none without a header, so that may be blank."""
        marks = {"l": ":--", "r": "--:", "c": ":-:"}
        head, *rows = [[_plain_markdown(cell) for cell in row] for row in self.lines]
        title = [f"**{_plain_markdown(self.title)}**", ""] if self.title else []
        table = [
            "| " + " | ".join(row) + " |" for row in [head, [marks[s] for s in self.sides], *rows]
        ]
        return "\n".join([*title, *table, *["\n" + _plain_markdown(f) for f in self.footers]])

    def as_latex(self) -> str:
        """A `tabular`, special characters escaped."""
        head, *lines = [_latex_row(line) for line in self.lines]
        heads = [head, r"\hline"] if self.headers else []
        begin = rf"\begin{{tabular}}{{{self.sides}}}"
        title = [_plain_latex(self.title), ""] if self.title else []
        body = [*title, begin, r"\hline", *heads, *lines, r"\hline", r"\end{tabular}"]
        return "\n".join([*body, *["\n" + _plain_latex(line) for line in self.footers]])

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return self.as_html()


@dataclass(frozen=True)
class Summary:
    """Tables beneath one title, with notes beneath."""

    title: str
    blocks: Sequence[Table]
    notes: Sequence[str] = ()

    def as_text(self, width: int = WIDTH) -> str:
        """All blocks; a block that opens with the rule that closed the last one shares it."""
        lines = [self.title.center(width)]
        for block in self.blocks:
            fresh = block.as_text(width).split("\n")
            if set(lines[-1]) == {"="} and set(fresh[0]) == {"="}:
                lines[-1] = max(lines[-1], fresh.pop(0), key=len)
            lines += fresh
        notes = ["", *_numbered(self.notes)] if self.notes else []
        return "\n".join([*lines, *notes])

    def as_html(self) -> str:
        """The title as a heading, one `<table>` a block."""
        notes = [f"<p>{html.escape(note)}</p>" for note in _numbered(self.notes)]
        title = f"<h4>{html.escape(self.title)}</h4>"
        return "\n".join([title, *[block.as_html() for block in self.blocks], *notes])

    def as_markdown(self) -> str:
        """The title in bold, one pipe table a block."""
        notes = [_plain_markdown(note) for note in _numbered(self.notes)]
        blocks = [block.as_markdown() for block in self.blocks]
        return "\n\n".join([f"**{_plain_markdown(self.title)}**", *blocks, *notes])

    def as_latex(self) -> str:
        """A `table` with the title as its caption, one `tabular` a block."""
        notes = [_plain_latex(note) for note in _numbered(self.notes)]
        caption = rf"\caption{{{_plain_latex(self.title)}}}"
        blocks = "\n\n".join([*[block.as_latex() for block in self.blocks], *notes])
        return "\n".join([r"\begin{table}", r"\centering", caption, blocks, r"\end{table}"])

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return self.as_html()


def pairs_block(left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> Table:
    """Two columns of (name, value) pairs; the shorter ends in blanks."""
    pairs = zip_longest(left, right, fillvalue=("", ""))
    rows = [(_colon(a), value, _colon(b), other) for (a, value), (b, other) in pairs]
    return Table(rows, alignment="lrlr")


def coefficient_block(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """One row a coefficient: its name, then its numbers as text. headers: one a number."""
    return Table(rows, headers=("", *headers))


def _colon(name: str) -> str:
    return name + ":" if name and not name.endswith(":") else name


def _numbered(notes: Sequence[str]) -> list[str]:
    return ["Notes:", *[f"[{i}] {note}" for i, note in enumerate(notes, 1)]] if notes else []


def _spread(widths: list[int], sides: str, width: int) -> list[int]:
    """Column widths with gaps before all but the first; right-hand columns share spare room."""
    widths = [widths[0], *[w + GAP for w in widths[1:]]]
    takers = [i for i, side in enumerate(sides) if side == "r"]
    spare = max(0, width - sum(widths))
    for rank, i in enumerate(reversed(takers)):
        widths[i] += (spare + rank) // len(takers)
    return widths


def _text_line(cells: Sequence[str], own: list[int], spread: list[int], sides: str) -> str:
    pad = {"l": str.ljust, "r": str.rjust, "c": str.center}
    columns = zip(cells, own, spread, sides, strict=True)
    return "".join(pad[side](cell, w).rjust(wide) for cell, w, wide, side in columns)


def _html_row(cells: Sequence[str], sides: str, tag: str) -> str:
    names = {"l": "left", "r": "right", "c": "center"}
    parts = [
        f'<{tag} style="text-align: {names[s]}">{html.escape(c)}</{tag}>'
        for c, s in zip(cells, sides, strict=True)
    ]
    return "<tr>" + "".join(parts) + "</tr>"


def _plain_markdown(cell: str) -> str:
    return re.sub(r"([\\|*_`~$&<>\[\]])", r"\\\1", cell)


def _plain_latex(cell: str) -> str:
    return "".join(_LATEX_MARKS.get(mark, mark) for mark in cell)


def _latex_row(cells: Sequence[str]) -> str:
    # After the \\ of the row above, an asterisk would be a command's.
    return re.sub(r"^\*", "{*}", " & ".join(map(_plain_latex, cells))) + r" \\"
