"""Titles that are hard to tell apart, batches of them, and their losses by brute force over full logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genrec_edge.catalog.titles import model_titles
from genrec_edge.convert.training.data.collate import Collator
from genrec_edge.convert.training.data.sequences import (
    Example,
    titles_example,
)
from genrec_edge.convert.training.data.trie_targets import TrieTargets
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.coordinates import TriePosition
from genrec_edge.decoding import prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.extra_titles import PriorFunction
    from genrec_edge.convert.training.data.week_offsets import OffsetFunction
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

# Prefixes of each other, a run without a choice, nodes of two, three and four children, years that tell namesakes
# apart, and two that nothing tells apart.
PLAIN = (
    "Alien,Aliens,Alien 3,The Thing,The Thing from Another World,Up,Upgrade,Up at Dawn,A,Rocky,Rocky II,Rocky III,"
    "Heat Wave,Ran,Rat,Rag,Rap,Rad,Fargo,日本"
)


TITLES: list[tuple[str, int | None]] = [
    *[(title, None) for title in PLAIN.split(",")],
    ("Heat", 1995),
    ("Heat", 1986),
    ("Big", 1988),
    ("Big", 1988),
]


HISTORY = (3, 9, 14)  # positions of the trie


def collator(
    trie: TitleTrie,
    vocabulary: Model,
    prior: Callable[[int, NDArray[np.int64], int], NDArray[np.float32]] | None = None,
    offsets: OffsetFunction | None = None,
    token_titles: int = 1,
) -> Collator:
    paths = [trie.path(TriePosition(position)) for position in range(trie.n_items)]
    head, end_id = vocabulary.tokenize(prompts.INSTRUCTION), vocabulary.newline_id
    trie_targets, positions = TrieTargets(trie, end_id), np.arange(trie.n_items)
    return Collator(trie_targets, paths, positions, head, [], end_id, vocabulary.tokenize, prior, offsets, token_titles)


def next_title(position: int) -> Example:
    """Return the example that asks for one title after the history."""
    return titles_example(Window(position, (), (*HISTORY, position), first_target=len(HISTORY)))


def score_all(trie: TitleTrie) -> list[Example]:
    return [next_title(position) for position in range(trie.n_items)]


def log_priors(n_items: int) -> NDArray[np.float64]:
    """Return a peaked distribution over the items for each of as many places, (n_items, n_items) logs."""
    log_probs = np.random.default_rng(4).normal(0, 3, (n_items, n_items)).astype(np.float32).astype(np.float64)
    shares: NDArray[np.float64] = log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    return shares.astype(np.float32).astype(np.float64)


def prior_of(trie: TitleTrie) -> PriorFunction:
    """Return the prior of `next_title` windows: a row for each target position."""
    rows = log_priors(trie.n_items)
    return lambda user, _history, _start: rows[user : user + 1].astype(np.float32)


def seen(n_items: int) -> NDArray[np.float32]:
    """Return one distribution over the items, as a row of a prior."""
    return log_priors(n_items)[:1].astype(np.float32)


class BruteForce:
    """Every title written out behind the history, with transformers' own logits over the whole vocabulary.

    Sets of prefixes say what may come next; the trie is not used.
    """

    def __init__(self, model: Any, vocabulary: Model, trie: TitleTrie) -> None:
        end_id = vocabulary.newline_id
        spelled = [vocabulary.tokenize(title) for title in model_titles(TITLES)]
        self.paths = [(*spelled[row], end_id) for row in trie.rows.tolist()]
        self.nexts: dict[tuple[int, ...], set[int]] = {}
        for path in self.paths:
            for n, token in enumerate(path):
                self.nexts.setdefault(path[:n], set()).add(token)
        self.prompt = vocabulary.tokenize(prompts.INSTRUCTION)
        for position in HISTORY:
            self.prompt += self.paths[position]
        self.model = model

    def logits(self, position: int) -> torch.Tensor:
        """Return the logits before each token of a title, (n_tokens, n_vocab) float32."""
        ids = [*self.prompt, *self.paths[position]]
        rows: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0]
        return rows[len(self.prompt) - 1 : -1]

    def steps(
        self, position: int, prior: NDArray[np.float64] | None = None, tau: float = 1.0, lambda_: float = 0.0
    ) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
        """Return (log-probabilities of what may come next, the prior's shares of it, the right one) for each token."""
        path, logits, found = self.paths[position], self.logits(position), []
        for n, token in enumerate(path):
            allowed = sorted(self.nexts[path[:n]])
            row = tau * logits[n][allowed]
            mass = torch.ones(len(allowed), dtype=torch.float64)
            if prior is not None:
                below = [[p[: n + 1] == (*path[:n], child) for p in self.paths] for child in allowed]
                mass = torch.tensor([float(np.exp(prior)[np.array(inside)].sum()) for inside in below])
                row = row + lambda_ * mass.log()
            found.append((torch.log_softmax(row, -1), mass / mass.sum(), allowed.index(token)))
        return found

    def nats(self, position: int, **options: Any) -> float:
        """Return minus the title's log-probability under the catalog score."""
        return -sum(float(log_probs[label]) for log_probs, _, label in self.steps(position, **options))
