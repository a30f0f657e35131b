"""Searches that record what they evaluate, and so how much of it every exact search has to evaluate."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrec_edge.decoding import best_first
from genrec_edge.serving import catalog_indexer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.decoding.frontier import Prefix, Siblings


@dataclass(frozen=True, slots=True)
class Step:
    """A prefix that a search evaluated: its parent's node, its tokens, its bound, and its own node in the KV cache."""

    parent: int
    token_ids: tuple[int, ...]
    bound: float
    kv_node: int


class RecordingSearch(best_first.TrieSearch):
    """A search that records its steps; `last` is the latest one."""

    steps: list[Step]
    last: RecordingSearch

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.steps = []
        RecordingSearch.last = self

    def _expand(self, prefixes: list[Prefix]) -> Iterator[Siblings]:
        for prefix, siblings in zip(prefixes, super()._expand(prefixes), strict=True):
            self.steps.append(Step(prefix.parent, prefix.token_ids, self._bound(prefix), siblings.parent))
            yield siblings

    def _bound(self, prefix: Prefix) -> float:
        start = int(self._trie.first_item[prefix.node])
        return prefix.logprob + float(self._bias[start : prefix.end].max())

    def needed(self) -> list[Step]:
        """Return the steps that every exact search takes: their bound is above the k-th answer."""
        worst = self._result().found[-1].score
        return [step for step in self.steps if step.bound > worst]


def n_tokens(steps: list[Step]) -> int:
    """Return the number of tokens of steps."""
    return sum(len(step.token_ids) for step in steps)


@contextmanager
def recorded_searches() -> Iterator[type[RecordingSearch]]:
    """Let all requests in the block search with `RecordingSearch`."""
    catalog_indexer.TrieSearch = RecordingSearch  # type: ignore[attr-defined]
    try:
        yield RecordingSearch
    finally:
        catalog_indexer.TrieSearch = best_first.TrieSearch  # type: ignore[attr-defined]
