"""Building a trie: threads, interruption, titles that need their year, and what cannot be built."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from genrec_edge.coordinates import CatalogRow, TriePosition
from genrec_edge.decoding.trie import TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.errors import CatalogError
from tests.support.coordinates import catalog_rows, numbered, token_list

if TYPE_CHECKING:
    from genrec_edge.coordinates import TokenId

KEY = TrieKey("revision", "tokenizer")


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


def test_several_threads_make_the_same_index_and_one_tells_of_it() -> None:
    items = [(CatalogRow(i), f"title {i % 700}", i) for i in range(1500)]
    told: list[tuple[int, int, int]] = []

    def on_title(done: int, total: int) -> None:
        told.append((done, total, threading.get_ident()))

    one, three = build(items, ids, KEY), build(items, ids, KEY, on_title, n_threads=3)
    for name in ("tokens", "first_child", "first_item", "rows", "by_row", "namesakes"):
        assert getattr(one, name).tolist() == getattr(three, name).tolist()
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert told[-1] == (1500, 1500, threading.get_ident())
    assert len(told) > 3
    assert {(total, thread) for _, total, thread in told} == {(1500, threading.get_ident())}


@pytest.mark.slow
def test_an_interrupted_build_ends_soon() -> None:
    n_asked = 0

    def tokenize(text: str) -> list[TokenId]:
        nonlocal n_asked
        n_asked += 1
        return ids(text)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(numbered(f"title {i}" for i in range(200_000)), tokenize, KEY, interrupt, n_threads=2)
    assert n_asked < 200_000


def test_namesakes_are_told_apart_by_year_and_only_they() -> None:
    items = [
        (CatalogRow(1), "Heat", 1995),
        (CatalogRow(2), "Heat", 1986),
        (CatalogRow(3), "Alien", 1979),
        (CatalogRow(4), "Heat", None),
        (CatalogRow(5), "Matrix, The", 1999),
    ]
    index = build(items, ids, KEY)
    spelled = {int(index.rows[p]): "".join(map(chr, index.path(TriePosition(p)))) for p in range(index.n_items)}
    assert spelled == {1: "Heat (1995)", 2: "Heat (1986)", 3: "Alien", 4: "Heat", 5: "The Matrix"}


def test_equal_title_and_year_share_a_leaf() -> None:
    items = [(CatalogRow(7), "Hugo Pool", 1997), (CatalogRow(8), "Hugo Pool", 1997), (CatalogRow(9), "Hugo", 2011)]
    index = build(items, ids, KEY)
    (position,) = index.positions(catalog_rows([8]))
    assert sorted(index.rows[list(index.leaf(TriePosition(int(position))))].tolist()) == [7, 8]


def test_no_items_and_titles_without_tokens_are_refused() -> None:
    with pytest.raises(CatalogError, match="no items"):
        build([], ids, KEY)
    with pytest.raises(CatalogError, match="row 20 has no tokens"):
        build(
            [(CatalogRow(10), "a", None), (CatalogRow(20), "b", None)],
            lambda text: ids(text) if text == "a" else [],
            KEY,
        )
