"""Collects sequences with their targets, and stacks them into the tensors of a training step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from genrec_edge.convert.training.data.tensors import ChoiceGroup, TokenTargets, TrainingBatch, VerdictTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.trie_targets import TrieChoice

_MAX_PADDED_WIDTH = 32
"""Nodes with more children have a matrix product of their own; smaller ones are padded and stacked."""


@dataclass(frozen=True, slots=True)
class _PlacedChoice:
    """A choice and where it stands in the batch."""

    sequence: int
    position: int
    title: int
    choice: TrieChoice


class BatchBuilder:
    """Collects sequences and their targets. Targets are added before their sequence is ended."""

    def __init__(self) -> None:
        self._sequences: list[list[int]] = []
        self._choices: list[_PlacedChoice] = []
        self._title_tokens: list[tuple[int, int, int, int]] = []
        self._word_tokens: list[tuple[int, int, int, int]] = []
        self._verdicts: list[tuple[int, int]] = []
        self._answers: list[tuple[int, int]] = []
        self._verdict_labels: list[tuple[float, float]] = []
        self._prior: list[NDArray[np.float32]] = []
        self._offsets: list[NDArray[np.float32]] = []
        self._n_titles = 0

    def add_title(
        self,
        position: int,
        title_ids: Sequence[int],
        choices: Sequence[TrieChoice],
        prior: NDArray[np.float32] | None,
        offset: NDArray[np.float32] | None = None,
    ) -> None:
        """Add a target title; its first token is predicted at `position` of the sequence.

        Args:
            position: where in the sequence.
            title_ids: the title's token ids with the end of the title.
            choices: the branching nodes on the title's path.
            prior: (n_positions,) log-probabilities, or None.
            offset: (n_positions,) log-probabilities that the title is explained beyond, or None.
        """
        sequence, title = len(self._sequences), self._n_titles
        self._choices += [_PlacedChoice(sequence, position + choice.depth, title, choice) for choice in choices]
        self._title_tokens += [(sequence, position + i, title, token) for i, token in enumerate(title_ids)]
        if prior is not None:
            self._prior.append(prior)
        if offset is not None:
            self._offsets.append(offset)
        self._n_titles += 1

    def add_words(self, position: int, token_ids: Sequence[int]) -> None:
        """Add target words; their first token is predicted at `position` of the sequence."""
        self._word_tokens += [(len(self._sequences), position + i, 0, token) for i, token in enumerate(token_ids)]

    def add_verdict(self, position: int, answers: tuple[int, int], label: float, soft_label: float) -> None:
        """Add a choice between two tokens, predicted at `position` of the sequence; see `VerdictTargets`."""
        self._verdicts.append((len(self._sequences), position))
        self._answers.append(answers)
        self._verdict_labels.append((label, soft_label))

    def end_sequence(self, token_ids: list[int]) -> None:
        """Add the sequence that the targets since the last one belong to."""
        self._sequences.append(token_ids)

    def build(self, pad_id: int) -> TrainingBatch:
        """Return the batch."""
        input_ids = np.full((len(self._sequences), max(map(len, self._sequences))), pad_id, np.int64)
        for row, ids in zip(input_ids, self._sequences, strict=True):
            row[: len(ids)] = ids
        return TrainingBatch(
            torch.from_numpy(input_ids),
            self._n_titles,
            _grouped(self._choices),
            _token_targets(self._title_tokens),
            torch.from_numpy(np.array(self._prior)) if self._prior else None,
            _token_targets(self._word_tokens),
            self._verdict_targets(),
            torch.from_numpy(np.array(self._offsets)) if self._offsets else None,
        )

    def _verdict_targets(self) -> VerdictTargets | None:
        if not self._verdicts:
            return None
        sequences, positions = torch.tensor(self._verdicts).T.contiguous()
        labels, soft_labels = torch.tensor(self._verdict_labels).T.contiguous()
        return VerdictTargets(sequences, positions, torch.tensor(self._answers), labels, soft_labels)


def _token_targets(tokens: Sequence[tuple[int, int, int, int]]) -> TokenTargets | None:
    return TokenTargets(*torch.tensor(tokens, dtype=torch.int64).T.contiguous()) if tokens else None


def _grouped(choices: Sequence[_PlacedChoice]) -> tuple[ChoiceGroup, ...]:
    """Return the choices in groups: one for each wide node, and one for all narrow nodes of about the same width."""
    by_key: defaultdict[tuple[str, int], list[_PlacedChoice]] = defaultdict(list)
    for placed in choices:
        node = placed.choice.node
        n_children = len(node.tokens)
        key = ("node", node.node_id) if n_children > _MAX_PADDED_WIDTH else ("width", (n_children - 1).bit_length())
        by_key[key].append(placed)
    return tuple(_stacked(group, is_shared=kind == "node") for (kind, _), group in by_key.items())


def _stacked(group: Sequence[_PlacedChoice], *, is_shared: bool) -> ChoiceGroup:
    """Return choices as tensors, padded to the widest node unless all are at the same node."""
    nodes = [placed.choice.node for placed in group]
    table = torch.tensor([(p.sequence, p.position, p.title, p.choice.child) for p in group])
    sequences, positions, titles, labels = table.T.contiguous()
    if is_shared:
        tokens, starts, ends = (torch.from_numpy(array) for array in (nodes[0].tokens, nodes[0].starts, nodes[0].ends))
        return ChoiceGroup(sequences, positions, titles, labels, tokens, starts, ends, None)
    width = max(len(node.tokens) for node in nodes)
    padded = np.zeros((3, len(nodes), width), np.int64)
    padding = np.ones((len(nodes), width), np.bool_)
    for i, node in enumerate(nodes):
        padded[:, i, : len(node.tokens)] = node.tokens, node.starts, node.ends
        padding[i, : len(node.tokens)] = False
    tokens, starts, ends = torch.from_numpy(padded)
    return ChoiceGroup(sequences, positions, titles, labels, tokens, starts, ends, torch.from_numpy(padding))
