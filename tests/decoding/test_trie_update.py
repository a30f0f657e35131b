"""An index that followed changes against one built from all titles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.coordinates import CatalogRow
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.decoding.trie_update import affected_rows, updated
from genrec_edge.errors import CatalogError
from tests.support.coordinates import catalog_rows, token_list

if TYPE_CHECKING:
    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.trie_build import TrieItem

    Titles = dict[int, tuple[str, int | None]]

OLD, NEW = TrieKey("old", "tokenizer"), TrieKey("new", "tokenizer")
ARRAYS = ("tokens", "first_child", "first_item", "rows", "by_row", "namesakes")

# Few letters, so that titles share beginnings and whole spellings; trailing articles, so that spellings are canonical.
TITLES = st.one_of(st.text(alphabet="ab", min_size=1, max_size=5), st.sampled_from(["a, The", "The a", "a (1990)"]))
ITEMS = st.tuples(TITLES, st.sampled_from([None, 1990, 1991]))
ROWS = st.integers(0, 30)


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


def listed(catalog: Titles) -> list[TrieItem]:
    return [(CatalogRow(row), *catalog[row]) for row in sorted(catalog)]


def follow(old: TitleTrie, after: Titles, changed: set[int]) -> tuple[TitleTrie, list[str]]:
    """Return the index brought up to date, and what was tokenised for it."""
    texts: list[str] = []

    def tokenize(text: str) -> list[TokenId]:
        texts.append(text)
        return ids(text)

    rows = affected_rows(old, catalog_rows(sorted(changed)), [item for item in listed(after) if item[0] in changed])
    items = [item for item in listed(after) if item[0] in rows]
    return updated(old, rows, items, tokenize, NEW), texts


def assert_same(found: TitleTrie, expected: TitleTrie) -> None:
    assert found.key == expected.key
    for name in ARRAYS:
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype, name
        assert mine.tolist() == theirs.tolist(), name


@pytest.mark.slow
@given(
    before=st.dictionaries(ROWS, ITEMS, min_size=1, max_size=30),
    came=st.dictionaries(ROWS, ITEMS, max_size=12),
    went=st.sets(ROWS, max_size=12),
    needless=st.sets(ROWS, max_size=3),
)
def test_it_is_array_for_array_the_index_built_anew(
    before: Titles,
    came: Titles,
    went: set[int],
    needless: set[int],
) -> None:
    after = {row: item for row, item in (before | came).items() if row not in went} or {99: ("a", None)}
    changed = {row for row in {*before, *after} if before.get(row) != after.get(row)} | needless
    old = build(listed(before), ids, OLD)
    kept = {name: getattr(old, name).copy() for name in ARRAYS}
    assert_same(follow(old, after, changed)[0], build(listed(after), ids, NEW))
    assert all((getattr(old, name) == kept[name]).all() for name in ARRAYS)


def test_only_what_changed_and_its_namesakes_are_tokenised() -> None:
    before: Titles = {1: ("Heat", 1995), 2: ("Alien", 1979), 3: ("Brazil", 1985)}
    old = build(listed(before), ids, OLD)
    index, texts = follow(old, before | {4: ("Heat", 1986)}, {4})
    assert sorted(texts) == ["Heat (1986)", "Heat (1995)"]
    del before[1]
    _, texts = follow(index, before | {4: ("Heat", 1986)}, {1})
    assert texts == ["Heat"]


def test_spellings_that_share_a_checksum_are_read_again_and_stay_right() -> None:
    # "plumless" and "buckeroo" have the same CRC-32.
    before: Titles = {1: ("plumless", 1990), 2: ("alien", 1979)}
    after = before | {3: ("buckeroo", 1991)}
    index, texts = follow(build(listed(before), ids, OLD), after, {3})
    assert sorted(texts) == ["buckeroo", "plumless"]
    assert_same(index, build(listed(after), ids, NEW))


def test_a_title_without_tokens_is_refused() -> None:
    old = build(listed({1: ("a", None)}), ids, OLD)
    with pytest.raises(CatalogError, match="row 2 has no tokens"):
        updated(old, catalog_rows([2]), listed({2: ("b", None)}), lambda _: [], NEW)
