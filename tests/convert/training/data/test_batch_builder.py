"""Sequences and targets as tensors: padding, and which choices are computed together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrec_edge.convert.training.data import batch_builder
from genrec_edge.convert.training.data.batch_builder import BatchBuilder
from genrec_edge.convert.training.data.trie_targets import TrieChoice, TrieNode

pytestmark = pytest.mark.slow


def node(node_id: int, n_children: int) -> TrieNode:
    positions = np.arange(n_children, dtype=np.int64)
    return TrieNode(node_id, positions + 10, positions, positions + 1)


def test_sequences_are_padded_and_targets_keep_their_places() -> None:
    builder = BatchBuilder()
    builder.add_title(1, [11, 9], [TrieChoice(0, node(0, 2), 1)], None)
    builder.end_sequence([5, 6, 11, 9])
    builder.add_words(0, [7, 9])
    builder.add_verdict(2, (3, 4), 1.0, 0.75)
    builder.end_sequence([5, 7, 9])
    batch = builder.build(9)
    assert batch.input_ids.tolist() == [[5, 6, 11, 9], [5, 7, 9, 9]]
    assert (batch.n_titles, batch.prior) == (1, None)
    title, words, verdicts = batch.title_tokens, batch.word_tokens, batch.verdicts
    assert title is not None
    assert (title.sequences.tolist(), title.positions.tolist(), title.labels.tolist()) == ([0, 0], [1, 2], [11, 9])
    assert words is not None
    assert (words.sequences.tolist(), words.positions.tolist(), words.labels.tolist()) == ([1, 1], [0, 1], [7, 9])
    assert verdicts is not None
    assert (verdicts.sequences.tolist(), verdicts.positions.tolist()) == ([1], [2])
    assert (verdicts.tokens.tolist(), verdicts.labels.tolist(), verdicts.soft_labels.tolist()) == (
        [[3, 4]],
        [1.0],
        [0.75],
    )
    assert batch.to(torch.device("cpu")).input_ids.tolist() == batch.input_ids.tolist()


def test_wide_nodes_have_groups_of_their_own_and_narrow_ones_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_builder, "_MAX_PADDED_WIDTH", 4)
    builder = BatchBuilder()
    choices = [TrieChoice(0, node(0, 5), 4), TrieChoice(1, node(1, 4), 0), TrieChoice(2, node(2, 3), 2)]
    builder.add_title(0, [1, 2, 3, 9], choices, None)
    builder.end_sequence([5, 1, 2, 3, 9])
    wide, narrow = builder.build(9).choices
    assert wide.is_shared
    assert (wide.padding, wide.tokens.tolist(), wide.labels.tolist()) == (None, [10, 11, 12, 13, 14], [4])
    assert not narrow.is_shared
    assert narrow.padding is not None
    assert narrow.padding.tolist() == [[False] * 4, [False, False, False, True]]
    assert (narrow.positions.tolist(), narrow.labels.tolist()) == ([1, 2], [0, 2])


def test_offsets_are_those_of_the_titles_in_order() -> None:
    builder = BatchBuilder()
    for shift in (0, 5):
        builder.add_title(0, [1, 9], [], None, np.arange(3, dtype=np.float32) + shift)
    builder.end_sequence([5, 1, 9])
    batch = builder.build(9)
    assert batch.offset is not None
    assert batch.offset.tolist() == [[0, 1, 2], [5, 6, 7]]
    assert batch.to(torch.device("cpu")).offset is not None
    plain = BatchBuilder()
    plain.add_title(0, [1, 9], [], None)
    plain.end_sequence([5, 1, 9])
    assert plain.build(9).offset is None
