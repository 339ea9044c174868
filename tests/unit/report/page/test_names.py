"""Names in pictures and tables where they are too long for them."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from advsim.commands.show import print_parts
from advsim.report.evaluation.tables import figure_tables
from advsim.report.page.figures import Cell, FigureTable, Row, RowGroup
from advsim.report.page.names import short_names
from advsim.report.page.plots import Point, Series
from advsim.report.page.rows_picture import rows_picture

LONG = [f"chatbot-{'x' * 64}-{which}" for which in ("first", "second", "third")]


@given(st.lists(st.text(min_size=1, max_size=60), max_size=8), st.integers(12, 30))
def test_short_names_are_short_and_as_distinct_as_the_names(names, most):
    shown = short_names(names, most=most)
    assert set(shown) == set(names)
    assert len(set(shown.values())) == len(shown)
    assert all(len(text) <= most for text in shown.values())


def test_short_names_stay_and_long_ones_keep_beginning_and_end():
    assert short_names(["warm", LONG[0]], most=18) == {"warm": "warm", LONG[0]: "chatbot-x…xx-first"}


def test_names_that_differ_in_the_middle_only_are_numbered():
    names = ["a" * 20 + middle + "z" * 20 for middle in "123"]
    assert list(short_names(names, most=11).values()) == ["aaaaa…zzzzz", "aaa…zzz (2)", "aaa…zzz (3)"]


def test_a_picture_writes_cut_names_and_has_the_full_ones_beside_them():
    points = tuple(Point(place=row, value=10.0 * row) for row in range(3))
    picture = rows_picture(
        [Series(label=LONG[0], points=points, style=0), Series(label="real", points=points, style=1)],
        LONG,
        name="p",
        title="t",
        caption="c",
        digits=1,
    )
    assert picture is not None
    assert all(picture.svg.count(f"<title>{name}</title></text>") == 1 + (name == LONG[0]) for name in LONG)
    assert "<title>real</title>" not in picture.svg
    assert all(name in picture.svg.split("</desc>")[0] for name in LONG)


def test_chatbots_with_long_names_are_told_apart_in_the_terminal(capsys):
    rows = tuple(Row(label=name, cells=(Cell(value="1"),)) for name in LONG)
    print_parts(figure_tables(FigureTable(columns=("a",), groups=(RowGroup(title="Rate", rows=rows),))), sys.stdout)
    printed = capsys.readouterr().out
    assert all(printed.count(f"-{which}") == 1 for which in ("first", "second", "third"))
