"""The bookkeeping of KV sequences against a simulated cache that holds tokens in the open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genrec_edge.engine.kv_tree import ROOT, KVTree, Placement
from tests.support.coordinates import tokens

if TYPE_CHECKING:
    from genrec_edge.coordinates import TokenId

PROMPT = tokens(900, 901, 902)


class Cache(RuleBasedStateMachine):
    """Does what llama.cpp would do with every placement, and compares what each sequence holds."""

    @initialize(n_sequences=st.integers(2, 6))
    def start(self, n_sequences: int) -> None:
        self.n_sequences = n_sequences
        self.tree = KVTree(n_sequences)
        self.tree.reset(len(PROMPT))
        self.held: dict[int, tuple[TokenId, ...]] = {0: PROMPT}
        self.paths: dict[int, tuple[TokenId, ...]] = {ROOT: PROMPT}
        self.busy: set[int] = set()
        self.token = 0

    @rule()
    def begin_batch(self) -> None:
        self.tree.begin_batch()
        self.busy.clear()

    @rule(data=st.data(), n=st.integers(1, 3), room=st.integers(0, 12))
    def place(self, data: st.DataObject, n: int, room: int) -> None:
        parent = data.draw(st.sampled_from(sorted(self.paths)))
        run = tokens(*range(self.token, self.token + n))
        self.token += n
        placed = self.tree.place(parent, run, room=room, worth=hash)
        if placed is None:
            cached = max(n for n in range(len(self.paths[parent]) + 1) if self.paths[parent][:n] in self.held.values())
            too_long = len(self.paths[parent]) - cached + len(run) > room
            assert too_long or len(self.busy) >= self.n_sequences - 2
            return
        assert placed.sequence not in self.busy | {0, placed.copy_from}
        assert len(placed.token_ids) <= room
        assert placed.evicted == (placed.sequence in self.held)
        self.busy.add(placed.sequence)
        self.held[placed.sequence] = self.held[placed.copy_from][: placed.start] + placed.token_ids
        self.paths[placed.node] = self.paths[parent] + run
        assert self.held[placed.sequence] == self.paths[placed.node]

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.paths)))
        sequence = self.tree.drop(node)
        assert (sequence is not None) == (node != ROOT and self.paths[node] in self.held.values())
        if sequence is not None:
            assert self.held.pop(sequence) == self.paths[node]
            self.busy.discard(sequence)

    @rule()
    def drop_all(self) -> None:
        assert sorted(self.tree.drop_all()) == sorted(set(self.held) - {0})
        self.held = {0: PROMPT}
        self.busy.clear()

    @invariant()
    def prompt_stays(self) -> None:
        assert self.held[0] == PROMPT


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def full_tree(n_sequences: int) -> tuple[KVTree, list[Placement]]:
    """Return a tree whose sequences are all taken by children of the prompt."""
    tree = KVTree(n_sequences)
    tree.reset(1)
    placed = [tree.place(ROOT, tokens(token), room=9, worth=worthless) for token in range(n_sequences - 1)]
    tree.begin_batch()
    return tree, [place for place in placed if place is not None]


def worthless(_node: int) -> float:
    return 0.0


@given(st.integers(4, 20), st.data())
def test_the_branch_worth_least_goes_first(n_sequences: int, data: st.DataObject) -> None:
    tree, placed = full_tree(n_sequences)
    least = data.draw(st.sampled_from(placed[1:]))
    used = tree.place(placed[0].node, tokens(50), room=9, worth=lambda node: -1.0 if node == least.node else 1.0)
    assert used is not None
    assert used.sequence == least.sequence


@given(st.integers(4, 20))
def test_of_equal_worth_the_longest_unused_goes_first(n_sequences: int) -> None:
    tree, placed = full_tree(n_sequences)
    used = tree.place(placed[0].node, tokens(50), room=9, worth=worthless)  # now the second is the longest unused
    assert used is not None
    assert used.sequence == placed[1].sequence
