"""Windows of histories -> the tensors of one training step.

A sequence is the instruction and a window of one user's titles, each followed by the end-of-title token: the prompt
that `genrec_edge.prompts` builds, with a target at every title.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from genrec_edge.convert.corpus import Window
    from genrec_edge.convert.lessons import Choice, Lessons

_Record = TypeVar("_Record", "Batch", "Group", "Spelled")
_WIDE = 32
"""Nodes with more children have a matrix product of their own; smaller ones are padded and done together."""


@dataclass(frozen=True, slots=True)
class Group:
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

    def to(self, device: torch.device) -> Group:
        """Return the same on a device."""
        return _moved(self, device)

    @property
    def is_shared(self) -> bool:
        """Whether all choices are at the same node."""
        return self.tokens.dim() == 1


@dataclass(frozen=True, slots=True)
class Spelled:
    """Every token of every target title and its end: (n,) each; see `Group` for the names."""

    sequences: Tensor
    places: Tensor
    titles: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Spelled:
        """Return the same on a device."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input. `prior` is (n_titles, n_positions) log-probabilities in the order of the trie, or None."""

    input_ids: Tensor
    n_titles: int
    groups: tuple[Group, ...]
    spelled: Spelled
    prior: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return the same on a device."""
        return _moved(replace(self, groups=tuple(group.to(device) for group in self.groups)), device)


def _moved(record: _Record, device: torch.device) -> _Record:
    """Return a record of tensors on a device."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor | Spelled)}
    return replace(record, **moved)


@dataclass(frozen=True, slots=True)
class _Place:
    """A choice in the batch."""

    sequence: int
    place: int
    title: int
    choice: Choice


class Assembler:
    """Makes batches.

    Args:
        lessons: what there is to learn at each title.
        paths: token ids of the title at each position of the trie.
        position_of: (n_items,) int64, the position of each item of the data set, or -1.
        head: token ids of the instruction, and what stands before it.
        tail: token ids between the history and a target, if the layout has any; windows then have one target, the last.
        end_id: the end-of-title token.
        prior: (user, history, start) -> (len(history) - start, n_positions) log-probabilities at the places of a
            history of items from `start` on, in the order of the trie.
    """

    def __init__(
        self,
        lessons: Lessons,
        paths: Sequence[Sequence[int]],
        position_of: NDArray[np.int64],
        head: Sequence[int],
        tail: Sequence[int],
        end_id: int,
        prior: Callable[[int, NDArray[np.int64], int], NDArray[np.float32]] | None = None,
    ) -> None:
        self._lessons = lessons
        self._paths = paths
        self._position_of = position_of
        self._head = list(head)
        self._tail = list(tail)
        self._end_id = end_id
        self._prior = prior

    @property
    def token_ids(self) -> set[int]:
        """All tokens that sequences can have: those around titles, and those of the data set's titles."""
        titles = (self._paths[position] for position in self._position_of.tolist() if position >= 0)
        return {*self._head, *self._tail, self._end_id}.union(*titles)

    def assemble(self, windows: Sequence[Window]) -> Batch:
        """Return the batch of some windows; shorter sequences are padded on the right, where no target looks."""
        sequences: list[list[int]] = []
        places: list[_Place] = []
        spelled: list[tuple[int, int, int, int]] = []
        n_titles = 0
        for sequence, window in enumerate(windows):
            ids = list(self._head)
            for k, position in enumerate(self._position_of[list(window.items)].tolist()):
                path = [*self._paths[position], self._end_id]
                if k >= window.first_target:
                    ids += self._tail
                    at = len(ids) - 1
                    places += [
                        _Place(sequence, at + choice.depth, n_titles, choice)
                        for choice in self._lessons.choices(position)
                    ]
                    spelled += [(sequence, at + i, n_titles, token) for i, token in enumerate(path)]
                    n_titles += 1
                ids += path
            sequences.append(ids)
        input_ids = np.full((len(sequences), max(map(len, sequences))), self._end_id, np.int64)
        for row, ids in zip(input_ids, sequences, strict=True):
            row[: len(ids)] = ids
        tokens = Spelled(*torch.tensor(spelled, dtype=torch.int64).T.contiguous())
        return Batch(torch.from_numpy(input_ids), n_titles, _group(places), tokens, self._prior_of(windows))

    def _prior_of(self, windows: Sequence[Window]) -> Tensor | None:
        if self._prior is None:
            return None
        known = (
            self._prior(w.user, np.array([*w.before, *w.items], np.int64), len(w.before) + w.first_target)
            for w in windows
        )
        return torch.from_numpy(np.concatenate(list(known)))


def _group(places: Sequence[_Place]) -> tuple[Group, ...]:
    """Put choices at the same wide node together, and narrow ones with others of about their width."""
    by_key: defaultdict[tuple[str, int], list[_Place]] = defaultdict(list)
    for place in places:
        n = len(place.choice.node.tokens)
        by_key[("node", place.choice.node.number) if n > _WIDE else ("width", (n - 1).bit_length())].append(place)
    return tuple(_stack(found, is_shared=kind == "node") for (kind, _), found in by_key.items())


def _stack(places: Sequence[_Place], *, is_shared: bool) -> Group:
    nodes = [place.choice.node for place in places]
    where = torch.tensor([(p.sequence, p.place, p.title, p.choice.child) for p in places])
    sequences, spots, titles, children = where.T.contiguous()
    if is_shared:
        tokens, starts, ends = (torch.from_numpy(array) for array in (nodes[0].tokens, nodes[0].starts, nodes[0].ends))
        return Group(sequences, spots, titles, children, tokens, starts, ends, None)
    width = max(len(node.tokens) for node in nodes)
    padded = np.zeros((3, len(nodes), width), np.int64)
    dead = np.ones((len(nodes), width), np.bool_)
    for i, node in enumerate(nodes):
        padded[:, i, : len(node.tokens)] = node.tokens, node.starts, node.ends
        dead[i, : len(node.tokens)] = False
    tokens, starts, ends = torch.from_numpy(padded)
    return Group(sequences, spots, titles, children, tokens, starts, ends, torch.from_numpy(dead))
