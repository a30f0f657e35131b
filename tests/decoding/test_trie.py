"""The trie against a plain dictionary of token sequences."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.coordinates import CatalogRow, TriePosition
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from tests.support.coordinates import catalog_rows, token_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.coordinates import TokenId

KEY = TrieKey("revision", "tokenizer")
TITLES = st.lists(st.text(alphabet="abc", min_size=1, max_size=6), min_size=1, max_size=40)


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


def index_of(titles: list[str]) -> TitleTrie:
    return build([(CatalogRow(10 * i), title, None) for i, title in enumerate(titles)], ids, KEY)


def walk(
    index: TitleTrie, node: int = 0, end: int | None = None, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield (token path, catalog row) of every item, depth first."""
    end = index.n_items if end is None else end
    for position in index.own_items(node, end):
        yield path, int(index.rows[position])
    below = index.children(node, end)
    for child, token, child_end in zip(below.nodes, below.tokens, below.ends, strict=True):
        yield from walk(index, int(child), int(child_end), (*path, int(token)))


@pytest.mark.slow
@given(TITLES)
def test_a_walk_over_the_trie_finds_every_item_at_its_own_tokens(titles: list[str]) -> None:
    expected = sorted((tuple(ids(title)), 10 * i) for i, title in enumerate(titles))
    assert list(walk(index_of(titles))) == expected


@pytest.mark.slow
@given(TITLES)
def test_the_trie_has_one_node_for_each_different_prefix(titles: list[str]) -> None:
    prefixes = {title[:n] for title in titles for n in range(len(title) + 1)}
    assert index_of(titles).n_nodes == len(prefixes)


@given(TITLES)
def test_path_and_leaf_of_a_position(titles: list[str]) -> None:
    index = index_of(titles)
    groups = [list(group) for _, group in groupby(range(len(titles)), key=lambda p: titles[index.rows[p] // 10])]
    for group in groups:
        for position in group:
            assert index.path(TriePosition(position)) == ids(titles[index.rows[position] // 10])
            assert list(index.leaf(TriePosition(position))) == group


@pytest.mark.slow
@given(TITLES, st.sets(st.integers(0, 50)))
def test_positions_are_those_of_the_rows_asked_for(titles: list[str], wanted: set[int]) -> None:
    index = index_of(titles)
    rows = catalog_rows(sorted(10 * w for w in wanted))
    expected = [p for p in range(index.n_items) if int(index.rows[p]) in rows.tolist()]
    assert index.positions(rows).tolist() == expected


@pytest.mark.slow
@given(TITLES, st.sets(st.integers(0, 50)))
def test_the_mask_of_rows_is_at_their_positions(titles: list[str], wanted: set[int]) -> None:
    index = index_of(titles)
    rows = catalog_rows(sorted(10 * w for w in wanted))
    assert index.mask(rows).tolist() == [int(row) in rows.tolist() for row in index.rows]


def test_one_row_of_many_is_found_or_not() -> None:
    index = index_of([str(i) for i in range(2000)])
    for row in (0, 10, 7770, 19_990):
        (position,) = index.positions(catalog_rows([row]))
        assert index.rows[position] == row
        assert index.mask(catalog_rows([row])).nonzero()[0].tolist() == [position]
    assert index.positions(catalog_rows([-1, 5, 20_000])).tolist() == []
