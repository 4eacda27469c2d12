"""Tables on screens of any width: every word stays whole, and nothing is lost."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from hitl_bridge.cli.screen import paired, tabled, widths

WORDS = st.integers(1, 12).map(lambda length: "ab語c-語語d_efg"[:length])
CELLS = st.lists(WORDS, max_size=6).map(" ".join)
COLUMNS = st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4))


def shown(renderable: RenderableType, width: int) -> list[str]:
    into = io.StringIO()
    Console(file=into, width=width, highlight=False).print(renderable)
    return into.getvalue().splitlines()


@given(COLUMNS, st.integers(1, 120))
def test_columns_hold_their_longest_words_and_together_no_more_than_there_is(columns: list[list[str]], room: int) -> None:
    needed = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    found = widths(columns, room)
    if found is None:
        assert sum(needed) > room
    else:
        assert sum(found) <= room
        assert all(width >= least for width, least in zip(found, needed, strict=True))


@given(COLUMNS, st.sampled_from([40, 80, 100, 200]))
def test_no_word_of_a_table_is_broken_and_none_is_missing(rows: list[list[str]], width: int) -> None:
    heads = [f"head{number}" for number in range(len(rows[0]))]
    lines = shown(tabled("A title", heads, rows, width), width)
    assert max(map(cell_len, lines)) <= width
    said = sorted(word for line in lines for word in line.split() if set(word) != {"─"})
    known = ["A", "title", *(word for row in rows for cell in row for word in cell.split())]
    assert said in (sorted([*known, *heads]), sorted([*known, *heads * len(rows)]))


def test_a_table_whose_words_do_not_fit_is_told_row_by_row() -> None:
    long = "get_disposable_virtual_card"
    lines = shown(tabled("Labels", ("item", "label", "rather"), [("t-1", long, long), ("t-2", long, long)], 40), 40)
    assert [line.split() for line in lines if line] == [
        ["Labels"],
        *(each for item in ("t-1", "t-2") for each in (["item", item], ["label", long], ["rather", long])),
    ]


def test_what_is_true_of_a_name_gives_way_to_the_name_and_folds_where_it_is_one_long_word() -> None:
    lines = shown(paired("", [("snapshot", "f" * 64)], 40), 40)
    assert [line.split()[0] for line in lines] == ["snapshot", "f" * 30, "f" * 4]
