"""What there is to learn at each title: the branching nodes of the trie, against sets of prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.training.data.trie_targets import TrieTargets
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from tests.support.coordinates import numbered, token_list

END = 10
KEY = TrieKey("r", "t")
titles = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), min_size=1, max_size=15)


def trie_of(spellings: list[str]) -> TitleTrie:
    """Return the trie of titles, a token for each character; no years, so that equal ones share a leaf."""
    return build(numbered(spellings), lambda text: token_list(text.encode()), KEY)


def expected(spelling: str, spellings: list[str]) -> list[tuple[int, list[int], int]]:
    """Return (depth, what may come next, what comes) wherever more than one thing may come next."""
    ended = [[*other.encode(), END] for other in spellings]
    path = [*spelling.encode(), END]
    found = []
    for depth, token in enumerate(path):
        nexts = sorted({other[depth] for other in ended if other[:depth] == path[:depth] and len(other) > depth})
        if len(nexts) > 1:
            found.append((depth, nexts, token))
    return found


@pytest.mark.slow
@given(titles)
def test_the_choices_on_the_way_to_a_title_are_where_prefixes_go_on_in_several_ways(spellings: list[str]) -> None:
    trie = trie_of(spellings)
    trie_targets = TrieTargets(trie, END)
    for position in range(trie.n_items):
        choices = trie_targets.choices(position)
        found = [(c.depth, sorted(c.node.tokens.tolist()), int(c.node.tokens[c.child])) for c in choices]
        assert found == expected(spellings[trie.rows[position]], spellings)
        for choice in choices:
            assert choice.node.starts[choice.child] <= position < choice.node.ends[choice.child]


@pytest.mark.slow
@given(titles)
def test_the_children_of_a_node_share_its_positions(spellings: list[str]) -> None:
    trie = trie_of(spellings)
    trie_targets = TrieTargets(trie, END)
    for choice in (choice for position in range(trie.n_items) for choice in trie_targets.choices(position)):
        covered = np.concatenate([np.arange(*ends) for ends in zip(choice.node.starts, choice.node.ends, strict=True)])
        assert sorted(covered.tolist()) == list(range(covered.min(), covered.max() + 1))


@pytest.mark.parametrize("spellings", [["abc"], ["abc", "abc"]])
def test_one_title_leaves_nothing_to_choose(spellings: list[str]) -> None:
    trie_targets = TrieTargets(trie_of(spellings), END)
    assert [trie_targets.choices(position) for position in range(len(spellings))] == [()] * len(spellings)
