"""Examples -> the tensors of one training step.

A sequence is the instruction and lines, each with its end-of-title token: the prompt of `decoding.prompts`,
with a target at every title, word and verdict that is learned.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.training.data.sequences import TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.convert.training.data.tensors import BatchDraft
from genrec_edge.decoding.prompts import NO, YES, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.sequences import Example, PickPiece
    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.convert.training.data.trie_targets import TrieTargets
    from genrec_edge.coordinates import TokenId

_CACHED = 1 << 14
_NOT_ASKED = 1e-3
"""Of its share by the teacher, that an item keeps where words ask for others: words and facts may be wrong."""
_LEAST_UNSEEN = 1e-3


class Collator:
    """Makes batches.

    Args:
        lessons: what there is to learn at each title.
        paths: token ids of the title at each position of the trie.
        position_of: (n_items,) int64, the position of each item of the data set, or -1.
        head: token ids of the instruction, and what stands before it.
        tail: token ids between the history and a target, if the layout has any; there is then one target, the last.
        end_id: the end-of-title token.
        tokenize: text to token ids, nothing added.
        prior: (user, history, start) -> (len(history) - start, n_positions) log-probabilities at the places of a
            history of items from `start` on, in the order of the trie.
    """

    def __init__(
        self,
        lessons: TrieTargets,
        paths: Sequence[Sequence[TokenId]],
        position_of: NDArray[np.int64],
        head: Sequence[TokenId],
        tail: Sequence[TokenId],
        end_id: TokenId,
        tokenize: Callable[[str], list[TokenId]],
        prior: Callable[[int, NDArray[np.int64], int], NDArray[np.float32]] | None = None,
    ) -> None:
        self._lessons = lessons
        self._paths = paths
        self._position_of = position_of
        self._head = list(head)
        self._tail = list(tail)
        self._end_id = end_id
        self.tokenize = functools.lru_cache(_CACHED)(tokenize)
        self._prior = prior
        self._item_at = np.full(len(paths), -1, np.int64)
        self._item_at[position_of[position_of >= 0]] = np.flatnonzero(position_of >= 0)

    @property
    def token_ids(self) -> set[int]:
        """All tokens around titles, and those of the data set's titles."""
        titles = (self._paths[position] for position in self._position_of.tolist() if position >= 0)
        return {*self._head, *self._tail, self._end_id}.union(*titles)

    def assemble(self, examples: Sequence[Example]) -> TrainingBatch:
        """Return the batch of some examples; shorter sequences are padded on the right, where no target looks."""
        draft = BatchDraft()
        for example in examples:
            taught = self._taught(example)
            ids: list[int] = list(self._head)
            for piece in example.pieces:
                if isinstance(piece, TitlesPiece):
                    self._name(draft, ids, piece, taught)
                elif isinstance(piece, WordsPiece):
                    self._say(draft, ids, piece)
                elif isinstance(piece, VerdictPiece):
                    self._judge(draft, ids, piece, taught)
                else:
                    self._pick(draft, ids, piece, taught)
            draft.sequences.append(ids)
        return draft.batch(self._end_id)

    def _taught(self, example: Example) -> _TeacherCursor | None:
        """Return what the prior says at each learned title of an example, and of what comes after them."""
        if self._prior is None:
            return None
        history = np.array(example.history if example.met is None else (*example.history, example.met), np.int64)
        rows = self._prior(example.user, history, example.n_given)
        seen = self._position_of[list(example.history)]
        return _TeacherCursor(rows, seen[seen >= 0], int((self._position_of >= 0).sum()))

    def _path(self, item: int) -> list[int]:
        return [*self._paths[int(self._position_of[item])], self._end_id]

    def _name(self, draft: BatchDraft, ids: list[int], piece: TitlesPiece, taught: _TeacherCursor | None) -> None:
        for item in piece.items:
            position, path = int(self._position_of[item]), self._path(item)
            if piece.is_learned:
                ids += self._tail
                prior = None if taught is None else taught.next_row(self._asked(piece.fits))
                draft.add_title(len(ids) - 1, path, self._lessons.choices(position), prior)
            ids += path

    def _asked(self, fits: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return by position what is asked for."""
        return None if fits is None else np.where(self._item_at >= 0, fits[self._item_at], np.False_)

    def _say(self, draft: BatchDraft, ids: list[int], piece: WordsPiece) -> None:
        ids += encode([piece.line], self.tokenize, lambda _: (), self._end_id)
        if piece.learned:
            words = [*self.tokenize(f" {piece.learned}"), self._end_id]
            draft.add_words(len(ids) - 1, words)
            ids += words

    def _judge(self, draft: BatchDraft, ids: list[int], piece: VerdictPiece, taught: _TeacherCursor | None) -> None:
        yes, no = (self.tokenize(answer)[0] for answer in (YES, NO))
        share = float(piece.is_met) if taught is None else taught.is_met(int(self._position_of[piece.item]))
        draft.add_verdict(len(ids) - 1, (yes, no), is_first=piece.is_met, share=share)
        ids += [yes if piece.is_met else no, self._end_id]

    def _pick(self, draft: BatchDraft, ids: list[int], piece: PickPiece, taught: _TeacherCursor | None) -> None:
        first, second = self._path(piece.first), self._path(piece.second)
        if first != second:  # namesakes are one title, and there is nothing to choose between
            fork = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
            share = float(piece.is_first)
            if taught is not None:
                share = taught.is_rather(*self._position_of[[piece.first, piece.second]].tolist())
            answers = (first[fork], second[fork])
            draft.add_verdict(len(ids) - 1 + fork, answers, is_first=piece.is_first, share=share)
        ids += first if piece.is_first else second


class _TeacherCursor:
    """What a teacher says at the places of one example: a row of log-probabilities for each, in order."""

    def __init__(self, rows: NDArray[np.float32], seen: NDArray[np.int64], n_known: int) -> None:
        self._rows = rows
        self._place = 0
        self._seen = seen
        self._n_free = n_known - len(seen)

    def next_row(self, asked: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Return the row of the next learned title; what is not asked for has hardly a share of it."""
        row = self._rows[self._place]
        self._place += 1
        if asked is None:
            return np.asarray(row, np.float32)
        kept = np.where(asked, row, row + math.log(_NOT_ASKED))
        return np.asarray(kept - np.logaddexp.reduce(kept.astype(np.float64)), np.float32)

    def is_met(self, position: int) -> float:
        """Return the probability that an item comes next, of one drawn half of the time from all that were not met."""
        share = math.exp(self._rows[-1][position]) / self._unseen()
        return share / (share + 1 / self._n_free)

    def is_rather(self, first: int, second: int) -> float:
        """Return the probability that of two items it is the first that comes next."""
        return float(1 / (1 + np.exp(np.float64(self._rows[-1][second]) - self._rows[-1][first])))

    def _unseen(self) -> float:
        return max(_LEAST_UNSEEN, 1 - float(np.exp(self._rows[-1][self._seen].astype(np.float64)).sum()))
