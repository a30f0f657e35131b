"""Batches are moved to a device as a whole."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from genrec_edge.convert.training.data.batch_builder import BatchBuilder
from genrec_edge.convert.training.data.trie_targets import TrieChoice, TrieNode

pytestmark = pytest.mark.slow


def test_every_tensor_of_a_batch_is_moved() -> None:
    positions = np.arange(2, dtype=np.int64)
    builder = BatchBuilder()
    choice = TrieChoice(0, TrieNode(0, positions + 10, positions, positions + 1), 1)
    builder.add_title(0, [11, 9], [choice], np.log(np.array([0.5, 0.5], np.float32)))
    builder.add_words(0, [7, 9])
    builder.add_verdict(0, (3, 4), 1.0, 0.75)
    builder.end_sequence([5, 11, 9])
    moved = builder.build(9).to(torch.device("meta"))
    records = [moved, *moved.choices, moved.title_tokens, moved.word_tokens, moved.verdicts]
    tensors = [getattr(record, field.name) for record in records if record is not None for field in fields(record)]
    tensors = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    assert len(tensors) == 2 + 8 + 4 + 4 + 5
    assert {tensor.device.type for tensor in tensors} == {"meta"}
