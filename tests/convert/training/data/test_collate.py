"""Examples as token ids with their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.training.data.collate import Collator
from genrec_edge.convert.training.data.sequences import (
    Example,
    PickPiece,
    TitlesPiece,
    context_pieces,
)
from genrec_edge.convert.training.data.trie_targets import TrieTargets
from genrec_edge.coordinates import TriePosition
from genrec_edge.decoding import prompts
from tests.support.title_losses import HISTORY, collator, next_title, seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

pytestmark = pytest.mark.slow


def test_a_pick_between_equal_titles_has_no_target(vocabulary: Model, trie: TitleTrie) -> None:
    equal_titles = next(
        (a, b)
        for a in range(trie.n_items)
        for b in range(a)
        if trie.path(TriePosition(a)) == trie.path(TriePosition(b))
    )
    batch = collator(trie, vocabulary).collate(
        [Example(0, (), (PickPiece(*equal_titles, is_first=True),), positive=equal_titles[0])]
    )
    assert batch.verdicts is None


def test_soft_targets_follow_the_words_before(vocabulary: Model, trie: TitleTrie) -> None:
    row, matches = seen(trie.n_items), np.zeros(trie.n_items, np.bool_)
    matches[[2, 5]] = True
    make = collator(trie, vocabulary, lambda _user, history, start: np.repeat(row, len(history) - start, axis=0))
    batch = make.collate(
        [Example(0, (), (*context_pieces(prompts.after_history("x", {})), TitlesPiece((5,), matches=matches)))]
    )
    assert batch.prior is not None
    shares = np.exp(batch.prior[0].double().numpy())
    given = np.exp(row[0].astype(np.float64))
    expected = np.where(matches, 0.98 * given / given[matches].sum(), 0.02 * given / given[~matches].sum())
    assert shares == pytest.approx(expected, rel=1e-4)


def test_a_target_follows_the_tail_of_its_layout(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    layout = prompts.LAYOUTS["genrec-1"]
    head, tail, end_id = vocabulary.tokenize(layout.head), vocabulary.tokenize(layout.tail), vocabulary.newline_id
    paths = [trie.path(TriePosition(position)) for position in range(trie.n_items)]
    trie_targets, positions = TrieTargets(trie, end_id), np.arange(trie.n_items)
    make = Collator(trie_targets, paths, positions, head, tail, end_id, vocabulary.tokenize)
    batch = make.collate([next_title(5)])
    history = [paths[position] for position in HISTORY]
    prompt, _ = prompts.build_prompt(head, history, end_id=end_id, max_tokens=1000, tail_ids=tail)
    assert batch.input_ids[0].tolist() == [*prompt, *paths[5], end_id]
    assert batch.title_tokens is not None
    assert batch.title_tokens.positions.tolist() == list(range(len(prompt) - 1, len(prompt) + len(paths[5])))


def test_what_a_target_is_explained_beyond_is_asked_for_targets_alone(vocabulary: Model, trie: TitleTrie) -> None:
    asked: list[tuple[int, tuple[int, ...]]] = []

    def offsets(user: int, items: Sequence[int]) -> NDArray[np.float32]:
        asked.append((user, tuple(items)))
        return np.array(
            [[user + item + position / 64 for position in range(trie.n_items)] for item in items], np.float32
        )

    make = collator(trie, vocabulary, offsets=offsets)
    pieces = (TitlesPiece((2, 3), is_target=False), TitlesPiece((7, 5)))
    batch = make.collate([Example(20, (), pieces), Example(30, (), (TitlesPiece((4,)),))])
    assert asked == [(20, (7, 5)), (30, (4,))]
    assert batch.offset is not None
    assert batch.offset[:, 0].tolist() == [27, 25, 34]
    assert batch.offset[0].tolist() == [27 + position / 64 for position in range(trie.n_items)]
    assert collator(trie, vocabulary).collate([next_title(5)]).offset is None


@pytest.mark.parametrize("least", [1, 2, 3, 10**9])
def test_tokens_of_few_titles_may_be_left_out(least: int, vocabulary: Model, trie: TitleTrie) -> None:
    """How many titles have a token is counted title by title; what stands around titles always counts."""
    expected = {*vocabulary.tokenize(prompts.INSTRUCTION), vocabulary.newline_id}
    titles = [set(trie.path(TriePosition(position))) for position in range(trie.n_items)]
    expected |= {token for own in titles for token in own if sum(token in other for other in titles) >= least}
    assert collator(trie, vocabulary, token_titles=least).token_ids == expected
