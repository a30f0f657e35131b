"""The tensors of one training step, and how sequences with what is learned at their places become them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from genrec_edge.convert.training.data.trie_targets import TrieChoice

_Record = TypeVar("_Record", "TrainingBatch", "ChoiceGroup", "SpelledTitles", "VerdictTargets")
_WIDE = 32
"""Nodes with more children have a matrix product of their own; smaller ones are padded and done together."""


@dataclass(frozen=True, slots=True)
class ChoiceGroup:
    """Choices done together: m of them, with up to c children.

    Attributes:
        sequences, places: (m,) where the hidden state is that precedes the choice.
        titles: (m,) which title of the batch a choice belongs to.
        children: (m,) the child that came.
        tokens, starts, ends: (c,) if all m are at the same node, else (m, c).
        dead: (m, c), true where there is no such child; None if all are there.
    """

    sequences: Tensor
    places: Tensor
    titles: Tensor
    children: Tensor
    tokens: Tensor
    starts: Tensor
    ends: Tensor
    dead: Tensor | None

    def to(self, device: torch.device) -> ChoiceGroup:
        """Return the same on a device."""
        return _moved(self, device)

    @property
    def is_shared(self) -> bool:
        """Whether all choices are at the same node."""
        return self.tokens.dim() == 1


@dataclass(frozen=True, slots=True)
class SpelledTitles:
    """Every token of every target title and its end: (n,) each; see `ChoiceGroup` for the names."""

    sequences: Tensor
    places: Tensor
    titles: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> SpelledTitles:
        """Return the same on a device."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class VerdictTargets:
    """Choices between two answers: (n,) each, but for `tokens`, (n, 2).

    `came` is 1 where the first answer came, else 0; `taught` is its share by the teacher, or `came` without one.
    """

    sequences: Tensor
    places: Tensor
    tokens: Tensor
    came: Tensor
    taught: Tensor

    def to(self, device: torch.device) -> VerdictTargets:
        """Return the same on a device."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """One step's input.

    `prior` is (n_titles, n_positions) log-probabilities in the order of the trie, or None; `spelled`, `words` (whose
    `titles` mean nothing) and `verdicts` are None where there are none.
    """

    input_ids: Tensor
    n_titles: int
    groups: tuple[ChoiceGroup, ...]
    spelled: SpelledTitles | None
    prior: Tensor | None
    words: SpelledTitles | None = None
    verdicts: VerdictTargets | None = None

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the same on a device."""
        return _moved(replace(self, groups=tuple(group.to(device) for group in self.groups)), device)


def _moved(record: _Record, device: torch.device) -> _Record:
    """Return a record of tensors on a device."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    moved: dict[str, Any] = {
        k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor | SpelledTitles | VerdictTargets)
    }
    return replace(record, **moved)


@dataclass(frozen=True, slots=True)
class _Place:
    """A choice in the batch."""

    sequence: int
    place: int
    title: int
    choice: TrieChoice


class BatchDraft:
    """A batch while it is put together."""

    def __init__(self) -> None:
        self.sequences: list[list[int]] = []
        self._places: list[_Place] = []
        self._spelled: list[tuple[int, int, int, int]] = []
        self._words: list[tuple[int, int, int, int]] = []
        self._verdicts: list[tuple[int, int]] = []
        self._answers: list[tuple[int, int]] = []
        self._shares: list[tuple[float, float]] = []
        self._prior: list[NDArray[np.float32]] = []
        self._n_titles = 0

    def add_title(
        self, at: int, path: Sequence[int], choices: Sequence[TrieChoice], prior: NDArray[np.float32] | None
    ) -> None:
        """Learn a title, whose first token follows the place `at` of the sequence that is being put together."""
        sequence, title = len(self.sequences), self._n_titles
        self._places += [_Place(sequence, at + choice.depth, title, choice) for choice in choices]
        self._spelled += [(sequence, at + i, title, token) for i, token in enumerate(path)]
        self._prior += [] if prior is None else [prior]
        self._n_titles += 1

    def add_words(self, at: int, words: Sequence[int]) -> None:
        """Learn words, token by token."""
        self._words += [(len(self.sequences), at + i, 0, token) for i, token in enumerate(words)]

    def add_verdict(self, at: int, answers: tuple[int, int], *, is_first: bool, share: float) -> None:
        """Learn which of two tokens comes, and what the teacher says that the share of the first is."""
        self._verdicts.append((len(self.sequences), at))
        self._answers.append(answers)
        self._shares.append((float(is_first), share))

    def batch(self, end_id: int) -> TrainingBatch:
        """Return what has been put together."""
        input_ids = np.full((len(self.sequences), max(map(len, self.sequences))), end_id, np.int64)
        for row, ids in zip(input_ids, self.sequences, strict=True):
            row[: len(ids)] = ids
        verdicts = None
        if self._verdicts:
            sequences, places = torch.tensor(self._verdicts).T.contiguous()
            came, taught = torch.tensor(self._shares).T.contiguous()
            verdicts = VerdictTargets(sequences, places, torch.tensor(self._answers), came, taught)
        return TrainingBatch(
            torch.from_numpy(input_ids),
            self._n_titles,
            _group(self._places),
            _spelled(self._spelled) if self._spelled else None,
            torch.from_numpy(np.array(self._prior)) if self._prior else None,
            _spelled(self._words) if self._words else None,
            verdicts,
        )


def _spelled(tokens: Sequence[tuple[int, int, int, int]]) -> SpelledTitles:
    return SpelledTitles(*torch.tensor(tokens, dtype=torch.int64).T.contiguous())


def _group(places: Sequence[_Place]) -> tuple[ChoiceGroup, ...]:
    """Put choices at the same wide node together, and narrow ones with others of about their width."""
    by_key: defaultdict[tuple[str, int], list[_Place]] = defaultdict(list)
    for place in places:
        n = len(place.choice.node.tokens)
        by_key[("node", place.choice.node.number) if n > _WIDE else ("width", (n - 1).bit_length())].append(place)
    return tuple(_stack(found, is_shared=kind == "node") for (kind, _), found in by_key.items())


def _stack(places: Sequence[_Place], *, is_shared: bool) -> ChoiceGroup:
    nodes = [place.choice.node for place in places]
    where = torch.tensor([(p.sequence, p.place, p.title, p.choice.child) for p in places])
    sequences, spots, titles, children = where.T.contiguous()
    if is_shared:
        tokens, starts, ends = (torch.from_numpy(array) for array in (nodes[0].tokens, nodes[0].starts, nodes[0].ends))
        return ChoiceGroup(sequences, spots, titles, children, tokens, starts, ends, None)
    width = max(len(node.tokens) for node in nodes)
    padded = np.zeros((3, len(nodes), width), np.int64)
    dead = np.ones((len(nodes), width), np.bool_)
    for i, node in enumerate(nodes):
        padded[:, i, : len(node.tokens)] = node.tokens, node.starts, node.ends
        dead[i, : len(node.tokens)] = False
    tokens, starts, ends = torch.from_numpy(padded)
    return ChoiceGroup(sequences, spots, titles, children, tokens, starts, ends, torch.from_numpy(dead))
