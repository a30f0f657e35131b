"""Which KV sequence holds which branch of the search tree: pure bookkeeping, no engine.

Sequence 0 is the prompt. Every kept node (an evaluated run) owns one sequence that covers the prompt and the node's
whole path; cells are shared, so a sequence costs only the tokens that are its own. When sequences run out, the branch
of least worth is evicted, and a run below a node without a sequence evaluates the missing tokens again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.coordinates import TokenId


ROOT = 0
"""The node of the prompt."""


@dataclass(slots=True)
class _KVNode:
    parent: int
    token_ids: tuple[TokenId, ...]
    end: int  # position after its last token
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run goes: copy the first `start` cells of `copy_from` to `sequence`, then evaluate `token_ids` in it.

    `token_ids` begins with tokens of the path that have to be evaluated again, if any. `evicted` says that
    `sequence` still holds an older branch that has to be removed first.
    """

    node: int
    sequence: int
    copy_from: int
    start: int
    token_ids: tuple[TokenId, ...]
    evicted: bool


class KVTree:
    """Nodes, their sequences, and which sequence is evicted next.

    Args:
        n_sequences: how many sequences there are, the prompt's included; at least 2.
    """

    def __init__(self, n_sequences: int) -> None:
        self._n_sequences = n_sequences
        self._nodes: dict[int, _KVNode] = {}
        self._next_node = 1
        self._free: list[int] = []
        self._owners: dict[int, int] = {}  # sequence -> node, least recently used first
        self._busy: set[int] = set()  # sequences of the batch that is being filled
        self.reset(0)

    def reset(self, prompt_length: int) -> None:
        """Forget every node; the prompt has `prompt_length` tokens."""
        self._nodes = {ROOT: _KVNode(ROOT, (), prompt_length, 0)}
        self._next_node = 1
        self._free = list(range(self._n_sequences - 1, 0, -1))
        self._owners.clear()
        self._busy.clear()

    def begin_batch(self) -> None:
        """Start a batch: sequences placed from now on are not evicted before the next one starts."""
        self._busy.clear()

    def place(
        self, parent: int, token_ids: tuple[TokenId, ...], *, room: int, worth: Callable[[int], float]
    ) -> Placement | None:
        """Give a run below `parent` a node and a sequence, or return None if the batch has no room for it.

        Args:
            parent: ROOT or a node placed before.
            token_ids: the run.
            room: tokens the batch can still take.
            worth: how much a node's sequence should be kept; of equals the one unused for the longest time is evicted.
        """
        source, start, missing = self._cached_ancestor(parent)
        tokens = (*missing, *token_ids)
        if len(tokens) > room:
            return None
        self._touch(source)
        sequence, evicted = self._take(besides=source, worth=worth)
        if sequence is None:
            return None
        node = self._next_node
        self._next_node += 1
        self._nodes[node] = _KVNode(parent, token_ids, start + len(tokens), sequence)
        self._owners[sequence] = node
        self._busy.add(sequence)
        return Placement(node, sequence, source, start, tokens, evicted)

    def path(self, node: int) -> tuple[TokenId, ...]:
        """Return the tokens that lead from the prompt to a node, its own included."""
        tokens: tuple[TokenId, ...] = ()
        while node != ROOT:
            tokens = self._nodes[node].token_ids + tokens
            node = self._nodes[node].parent
        return tokens

    def drop(self, node: int) -> int | None:
        """Free a node's sequence and return it, or None if it has none; the node can still be a parent."""
        sequence = self._nodes[node].sequence
        if node == ROOT or sequence is None:
            return None
        self._nodes[node].sequence = None
        del self._owners[sequence]
        self._busy.discard(sequence)
        self._free.append(sequence)
        return sequence

    def drop_all(self) -> list[int]:
        """Free every sequence but the prompt's and return them; all nodes can still be parents."""
        dropped = [self.drop(node) for node in list(self._owners.values())]
        return [sequence for sequence in dropped if sequence is not None]

    def _cached_ancestor(self, node: int) -> tuple[int, int, tuple[TokenId, ...]]:
        """Return sequence and end of the nearest node on the path up that has one, and the tokens from it to `node`."""
        tokens: tuple[TokenId, ...] = ()
        while (sequence := self._nodes[node].sequence) is None:
            tokens = self._nodes[node].token_ids + tokens
            node = self._nodes[node].parent
        return sequence, self._nodes[node].end, tokens

    def _touch(self, sequence: int) -> None:
        if sequence:
            self._owners[sequence] = self._owners.pop(sequence)

    def _take(self, *, besides: int, worth: Callable[[int], float]) -> tuple[int | None, bool]:
        """Return a sequence to write to, or None, and whether another branch was evicted from it."""
        if self._free:
            return self._free.pop(), False
        idle = [node for sequence, node in self._owners.items() if sequence != besides and sequence not in self._busy]
        if not idle:
            return None, False
        self.drop(min(idle, key=worth))
        return self._free.pop(), True


def common_prefix(a: Sequence[TokenId], b: Sequence[TokenId]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)
