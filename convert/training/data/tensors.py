"""The tensors of one training step.

Two kinds of position: `positions` are places in a sequence, where a hidden state is taken; `starts` and `ends` are trie
positions, the order of titles in the trie.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

_Record = TypeVar("_Record", "TrainingBatch", "ChoiceGroup", "TokenTargets", "VerdictTargets")


@dataclass(frozen=True, slots=True)
class ChoiceGroup:
    """m choices at branching nodes of the trie with up to c children, computed together.

    Attributes:
        sequences, positions: (m,) int64, the hidden state that predicts the choice.
        titles: (m,) int64, which target title of the batch the choice belongs to.
        labels: (m,) int64, the child that is right.
        tokens, starts, ends: int64, the children's tokens and trie positions; (c,) if all choices are at the same node,
            else (m, c).
        padding: (m, c) bool, true where there is no such child; None if nothing is padded.
    """

    sequences: Tensor
    positions: Tensor
    titles: Tensor
    labels: Tensor
    tokens: Tensor
    starts: Tensor
    ends: Tensor
    padding: Tensor | None

    def to(self, device: torch.device) -> ChoiceGroup:
        """Return the same on a device."""
        return _moved(self, device)

    @property
    def is_shared(self) -> bool:
        """Whether all choices are at the same node."""
        return self.tokens.dim() == 1


@dataclass(frozen=True, slots=True)
class TokenTargets:
    """Tokens to predict, (n,) int64 each: every token of target titles and their ends, or of target words.

    Attributes:
        sequences, positions: the hidden state that predicts the token.
        titles: which target title of the batch the token belongs to; 0 for words.
        labels: the token that is right.
    """

    sequences: Tensor
    positions: Tensor
    titles: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> TokenTargets:
        """Return the same on a device."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class VerdictTargets:
    """n choices between two answer tokens.

    Attributes:
        sequences, positions: (n,) int64, the hidden state that predicts the answer.
        tokens: (n, 2) int64, the two answers.
        labels: (n,) float32, 1 where the first answer is right, else 0.
        soft_labels: (n,) float32, the teacher's probability of the first answer; the same as `labels` without a prior.
    """

    sequences: Tensor
    positions: Tensor
    tokens: Tensor
    labels: Tensor
    soft_labels: Tensor

    def to(self, device: torch.device) -> VerdictTargets:
        """Return the same on a device."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """The input of one forward pass.

    Attributes:
        input_ids: (n_sequences, length) int64, padded on the right.
        n_titles: number of target titles.
        choices: the choices of all target titles.
        title_tokens: every token of the target titles; None if there are none.
        prior: (n_titles, n_positions) float32 log-probabilities over trie positions; None without a prior.
        word_tokens: the tokens of target words; None if there are none.
        verdicts: the verdicts and picks; None if there are none.
        offset: (n_titles, n_positions) float32 log-probabilities over trie positions that the titles are explained
            beyond; None for none.
    """

    input_ids: Tensor
    n_titles: int
    choices: tuple[ChoiceGroup, ...]
    title_tokens: TokenTargets | None
    prior: Tensor | None
    word_tokens: TokenTargets | None = None
    verdicts: VerdictTargets | None = None
    offset: Tensor | None = None

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the same on a device."""
        return _moved(replace(self, choices=tuple(group.to(device) for group in self.choices)), device)


def _moved(record: _Record, device: torch.device) -> _Record:
    """Return a record with its tensors, and those of the records in it, on a device."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    moved: dict[str, Any] = {
        name: value.to(device)
        for name, value in values.items()
        if isinstance(value, torch.Tensor | TokenTargets | VerdictTargets)
    }
    return replace(record, **moved)
