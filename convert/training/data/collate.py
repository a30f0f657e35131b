"""Examples -> the tensors of one training step.

A sequence is the heading and lines, each ended by the end-of-title token: the prompt of `decoding.prompts` with targets
at the titles, words, verdicts and picks that are trained on.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.training.data.batch_builder import BatchBuilder
from genrec_edge.convert.training.data.sequences import TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.convert.training.data.soft_targets import SoftTargets
from genrec_edge.decoding.prompts import NO, YES, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.sequences import Example, PickPiece
    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.convert.training.data.trie_targets import TrieTargets
    from genrec_edge.coordinates import TokenId

_MAX_CACHED_TEXTS = 1 << 14


class Collator:
    """Makes batches.

    Args:
        trie_targets: the choices on the path of each title.
        title_ids: token ids of the title at each trie position, without the end of the title.
        position_of: (n_items,) int64, the trie position of each data-set item; -1 for items that are not in the trie.
        head_ids: token ids of the heading, with the token that begins a text if the model has one.
        tail_ids: token ids between the history and a target, if the layout has any; a sequence then has one target,
            the last title.
        end_id: the end-of-title token.
        tokenize: text to token ids, nothing added.
        prior: (user, history, start) -> (len(history) - start, n_positions) float32 log-probabilities over trie
            positions, for each item of `history` from index `start` on. None trains without a prior.
        offsets: (user, items) -> (len(items), n_positions) float32 log-probabilities over trie positions that each of
            these items is explained beyond; None for none.
        token_titles: in how many titles of the data set a token has to be to count in `token_ids`.
    """

    def __init__(
        self,
        trie_targets: TrieTargets,
        title_ids: Sequence[Sequence[TokenId]],
        position_of: NDArray[np.int64],
        head_ids: Sequence[TokenId],
        tail_ids: Sequence[TokenId],
        end_id: TokenId,
        tokenize: Callable[[str], list[TokenId]],
        prior: Callable[[int, NDArray[np.int64], int], NDArray[np.float32]] | None = None,
        offsets: Callable[[int, Sequence[int]], NDArray[np.float32]] | None = None,
        token_titles: int = 1,
    ) -> None:
        self.n_titles = len(title_ids)
        self.tokenize = functools.lru_cache(_MAX_CACHED_TEXTS)(tokenize)
        self._trie_targets = trie_targets
        self._title_ids = title_ids
        self._position_of = position_of
        self._head_ids = list(head_ids)
        self._tail_ids = list(tail_ids)
        self._end_id = end_id
        self._prior = prior
        self._offsets = offsets
        self._token_titles = token_titles
        items = np.flatnonzero(position_of >= 0)
        self._n_items = len(items)
        self._item_at = np.full(len(title_ids), -1, np.int64)
        self._item_at[position_of[items]] = items

    @property
    def token_ids(self) -> set[int]:
        """The tokens of the heading, of what stands around titles, and of enough of the data set's titles."""
        titles = (self._title_ids[position] for position in self._position_of.tolist() if position >= 0)
        n_titles = Counter(token for title in titles for token in set(title))
        often = (token for token, n in n_titles.items() if n >= self._token_titles)
        return {*self._head_ids, *self._tail_ids, self._end_id, *often}

    def collate(self, examples: Sequence[Example]) -> TrainingBatch:
        """Return the batch of some examples; shorter sequences are padded on the right."""
        builder = BatchBuilder()
        for example in examples:
            soft_targets = self._soft_targets(example)
            ids: list[int] = list(self._head_ids)
            for piece in example.pieces:
                if isinstance(piece, TitlesPiece):
                    self._add_titles(builder, ids, piece, soft_targets, example.user)
                elif isinstance(piece, WordsPiece):
                    self._add_words(builder, ids, piece)
                elif isinstance(piece, VerdictPiece):
                    self._add_verdict(builder, ids, piece, soft_targets)
                else:
                    self._add_pick(builder, ids, piece, soft_targets)
            builder.end_sequence(ids)
        return builder.build(self._end_id)

    def _soft_targets(self, example: Example) -> SoftTargets | None:
        """Return the teacher's distributions for an example; None without a prior."""
        if self._prior is None:
            return None
        items = example.history if example.positive is None else (*example.history, example.positive)
        log_probs = self._prior(example.user, np.array(items, np.int64), example.n_given)
        history_positions = self._position_of[list(example.history)]
        return SoftTargets(log_probs, history_positions[history_positions >= 0], self._n_items)

    def _title_and_end(self, item: int) -> list[int]:
        return [*self._title_ids[int(self._position_of[item])], self._end_id]

    # The following add one piece to `ids`, and its targets to the batch.

    def _add_titles(
        self, builder: BatchBuilder, ids: list[int], piece: TitlesPiece, soft_targets: SoftTargets | None, user: int
    ) -> None:
        offsets = None if self._offsets is None or not piece.is_target else self._offsets(user, piece.items)
        for i, item in enumerate(piece.items):
            title_ids = self._title_and_end(item)
            if piece.is_target:
                ids += self._tail_ids
                prior = None if soft_targets is None else soft_targets.take_title(self._positions_of(piece.matches))
                choices = self._trie_targets.choices(int(self._position_of[item]))
                offset = None if offsets is None else offsets[i]
                builder.add_title(len(ids) - 1, title_ids, choices, prior, offset)
            ids += title_ids

    def _positions_of(self, matches: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return a mask over items as a mask over trie positions; extra titles never match."""
        return None if matches is None else np.where(self._item_at >= 0, matches[self._item_at], np.False_)

    def _add_words(self, builder: BatchBuilder, ids: list[int], piece: WordsPiece) -> None:
        ids += encode([piece.line], self.tokenize, lambda _: (), self._end_id)
        if piece.target:
            target_ids = [*self.tokenize(f" {piece.target}"), self._end_id]
            builder.add_words(len(ids) - 1, target_ids)
            ids += target_ids

    def _add_verdict(
        self, builder: BatchBuilder, ids: list[int], piece: VerdictPiece, soft_targets: SoftTargets | None
    ) -> None:
        yes, no = (self.tokenize(answer)[0] for answer in (YES, NO))
        label = soft_label = float(piece.is_positive)
        if soft_targets is not None:
            soft_label = soft_targets.positive_probability(int(self._position_of[piece.item]))
        builder.add_verdict(len(ids) - 1, (yes, no), label, soft_label)
        ids += [yes if piece.is_positive else no, self._end_id]

    def _add_pick(
        self, builder: BatchBuilder, ids: list[int], piece: PickPiece, soft_targets: SoftTargets | None
    ) -> None:
        first, second = self._title_and_end(piece.first), self._title_and_end(piece.second)
        if first != second:  # otherwise the titles are the same, and there is nothing to choose between
            fork = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
            label = soft_label = float(piece.is_first)
            if soft_targets is not None:
                positions = self._position_of[[piece.first, piece.second]].tolist()
                soft_label = soft_targets.first_probability(*positions)
            builder.add_verdict(len(ids) - 1 + fork, (first[fork], second[fork]), label, soft_label)
        ids += first if piece.is_first else second
