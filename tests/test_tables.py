"""Tables: what they print is aligned, escaped and complete."""

import pytest
from conftest import reference

from jaxglm._tables import Summary, Table, coefficient_block, format_number, pairs_block

REFERENCE = reference("tables")
SHARP = "a|b_c<d>&%$#[e]"


def summary():
    cells = [row["cells"] for row in REFERENCE["rows"]]
    pairs = [("Model", "GLM"), ("Scale", "1.0")], [("No. Observations", "32")]
    return Summary("Title", [pairs_block(*pairs), coefficient_block(REFERENCE["headers"], cells)])


@pytest.mark.parametrize("row", REFERENCE["rows"], ids=lambda row: row["cells"][0])
def test_numbers_print_as_in_the_statsmodels_summary(row):
    coef, se, *rest, low, high = row["values"]
    assert row["cells"][1] == format_number(coef)
    assert row["cells"][2] == format_number(se, digits=3)
    assert row["cells"][-2:] == [format_number(low, digits=3), format_number(high, digits=3)]


@pytest.mark.parametrize("x", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_print_as_words(x):
    assert format_number(x) == str(x)


def test_text_lines_of_a_block_are_equally_long_and_fill_the_width():
    lengths = {len(line) for line in str(summary()).splitlines()}
    assert lengths == {78}


def test_text_cells_stand_apart_and_end_in_one_column():
    rows = summary().as_text().splitlines()[-len(REFERENCE["rows"]) - 1 : -1]
    assert [line.split() for line in rows] == [row["cells"] for row in REFERENCE["rows"]]
    ends = {
        line.rindex(row["cells"][-1]) + len(row["cells"][-1])
        for line, row in zip(rows, REFERENCE["rows"], strict=True)
    }
    assert ends == {78}


def test_a_shorter_side_of_the_pairs_is_filled_with_blanks():
    block = pairs_block([("a", "1"), ("b", "2")], [("c", "3")])
    assert [tuple(row) for row in block.rows] == [("a:", "1", "c:", "3"), ("b:", "2", "", "")]


def test_a_table_wider_than_the_page_keeps_its_cells():
    block = Table([("name" * 20, "1" * 30)])
    assert len(block.as_text().splitlines()[1]) == 80 + 30 + 2


@pytest.mark.parametrize("whole", [False, True], ids=["table", "summary"])
@pytest.mark.parametrize(
    ("form", "escaped"),
    [
        ("as_html", "a|b_c&lt;d&gt;&amp;%$#[e]"),
        ("as_markdown", r"a\|b\_c\<d\>\&%\$#\[e\]"),
        ("as_latex", r"a\textbar{}b\_c\textless{}d\textgreater{}\&\%\$\#{[}e]"),
    ],
)
def test_marks_of_the_form_are_escaped_everywhere(form, escaped, whole):
    table = Table([(SHARP, SHARP)], headers=(SHARP, SHARP), title=SHARP, footers=[SHARP])
    text = getattr(Summary(SHARP, [table], [SHARP]) if whole else table, form)()
    assert text.count(escaped) == (8 if whole else 6)
    assert SHARP not in text


def test_notes_are_numbered_beneath():
    lines = Summary("t", [Table([("a", "b")])], ["one", "two"]).as_text().splitlines()
    assert lines[-3:] == ["Notes:", "[1] one", "[2] two"]


def test_notebooks_show_the_html():
    assert summary()._repr_html_() == summary().as_html()
    assert summary().blocks[0]._repr_html_() == summary().blocks[0].as_html()
