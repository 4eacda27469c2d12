from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hitl_bridge.adapters import decided_items
from hitl_bridge.adapters.decided_items import DecidedItemFiles
from hitl_bridge.core.model import ItemId
from hitl_bridge.core.similarity import Terms, terms_of
from hitl_bridge.ports import AuditHead
from hitl_bridge.ports.prior import Identity

KEY = b"k" * 32
TEXTS = {"a": "my card was charged twice", "b": "my card has not arrived yet", "c": "please close my account", "d": "wrong rate"}


def head(seq: int) -> AuditHead:
    return AuditHead(seq, f"{seq:064}")


def rows(*names: str, texts: Mapping[str, str] = TEXTS) -> list[tuple[Identity, Terms]]:
    return [((ItemId(name), 1), terms(texts[name])) for name in names]


def terms(text: str) -> Terms:
    return terms_of(text, {}, text, KEY)


def nearest(index: DecidedItemFiles, text: str) -> str:
    ((item_id, _), _), *_ = index.nearest(terms(text), 3)
    return item_id


@pytest.fixture
def index(tmp_path: Path) -> DecidedItemFiles:
    return DecidedItemFiles(tmp_path / "similar", KEY)


def test_what_was_taken_in_is_found_by_this_process_and_by_the_next(index: DecidedItemFiles, tmp_path: Path) -> None:
    assert index.head() is None
    with index.alone():
        assert index.take_in(rows("a", "b"), head(4), anew=True) == 2
        assert index.take_in(rows("c", "d"), head(9), anew=False) == 2
    other = DecidedItemFiles(tmp_path / "similar", KEY)
    assert other.head() == head(9)
    for each in (index, other):
        assert each.size == 4
        assert [nearest(each, text) for text in TEXTS.values()] == list(TEXTS)


def test_a_process_that_has_it_open_learns_of_what_another_took_in(index: DecidedItemFiles, tmp_path: Path) -> None:
    index.take_in(rows("a", "b"), head(1), anew=True)
    other = DecidedItemFiles(tmp_path / "similar", KEY)
    other.head()
    other.take_in(rows("c"), head(2), anew=False)
    assert nearest(index, TEXTS["a"]) == "a"  # its files are gone, and still open
    assert index.head() == head(2)
    assert nearest(index, TEXTS["c"]) == "c"


def test_parts_are_put_together_and_none_is_left_over(index: DecidedItemFiles, tmp_path: Path) -> None:
    def text(number: int) -> str:
        return " ".join(chr(ord("a") + int(digit)) * 4 for digit in f"{number:02}")

    for number in range(40):
        texts = {f"t{number}": text(number)}
        index.take_in(rows(f"t{number}", texts=texts), head(number), anew=False)
    assert index.size == 40
    assert len(list((tmp_path / "similar").glob("part-*.arrow"))) <= 6
    assert [nearest(index, text(number)) for number in (0, 6, 39)] == ["t0", "t6", "t39"]


def test_an_index_that_is_torn_or_another_s_counts_as_empty_and_is_made_anew(index: DecidedItemFiles, tmp_path: Path) -> None:
    folder = tmp_path / "similar"
    index.take_in(rows("a", "b"), head(1), anew=True)
    assert DecidedItemFiles(folder, b"another key").head() is None
    for path in folder.glob("part-*.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    again = DecidedItemFiles(folder, KEY)
    assert (again.head(), again.size) == (None, 0)
    again.take_in(rows("c"), head(2), anew=True)
    made_anew = DecidedItemFiles(folder, KEY)
    assert (made_anew.head(), nearest(made_anew, TEXTS["c"])) == (head(2), "c")
    (folder / "parts.json").write_text("{", encoding="utf-8")
    assert DecidedItemFiles(folder, KEY).head() is None


def test_what_is_interrupted_leaves_what_was_there(index: DecidedItemFiles, tmp_path: Path) -> None:
    index.take_in(rows("a"), head(1), anew=True)

    def torn() -> object:
        yield from rows("b")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.take_in(torn(), head(2), anew=False)  # type: ignore[arg-type]
    there = DecidedItemFiles(tmp_path / "similar", KEY)
    assert (there.head(), there.size) == (head(1), 1)
    there.take_in(rows("b", "c"), head(2), anew=False)
    assert there.size == 3


def test_more_than_fits_into_a_part_is_taken_in_all_the_same(index: DecidedItemFiles) -> None:
    many = decided_items._AT_ONCE + 5
    same = terms("my card was charged twice")
    taken = index.take_in((((ItemId(f"t{number}"), 1), same) for number in range(many)), head(1), anew=True)
    assert (taken, index.size) == (many, many)
    assert index.nearest(same, 1)[0][0] == (f"t{many - 1}", 1)


def test_nobody_reads_words_out_of_it(index: DecidedItemFiles, tmp_path: Path) -> None:
    index.take_in(rows(*TEXTS), head(1), anew=True)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "similar").iterdir())
    assert not any(word.encode() in stored for text in TEXTS.values() for word in text.split() if len(word) > 3)
