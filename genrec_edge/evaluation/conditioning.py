"""What the systems of an evaluation are told of each user besides the titles: preferences and intentions in words.

Preferences are summaries of the history by the catalog's facts. Intentions are made of the facts of an item: of the
target, which is how InstructRec makes them and is oracle-like; or, honestly, of the item of the history that has most
in common with its latest ones, so that the target may not fit. Source: arXiv 2305.07001, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from genrec_edge.decoding.prompts import after_history, before_history
from genrec_edge.profiles.summaries import FactSummarizer, hierarchical, recurrent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.decoding.prompts import PromptLine

PreferenceKind = Literal["history", "none", "words", "both"]
IntentKind = Literal["none", "vague", "specific", "honest-vague", "honest-specific"]
SummaryKind = Literal["whole", "recurrent", "hierarchical"]
RECENT = 20
"""Titles that are told beside a summary of those before them, unless the caller says otherwise."""
_TYPICAL_OF = 20


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What a system is told for one user.

    Attributes:
        titles: (n,) int32 item indexes of the history that is told, oldest first.
        before: what stands before the titles in a prompt.
        after: what stands after them.
        fits: (n_items,) the items that have all facts that are wanted; None where nothing is.
    """

    titles: NDArray[np.int32]
    before: tuple[PromptLine, ...]
    after: tuple[PromptLine, ...]
    fits: NDArray[np.bool_] | None

    @property
    def is_of_nobody(self) -> bool:
        """Whether nothing is said of the user."""
        return not len(self.titles) and not self.before

    def known(self, history: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return what systems that count, and do not read, know of the user: the history, or nothing of nobody."""
        return history[:0] if self.is_of_nobody else history


@dataclass(frozen=True, slots=True, eq=False)
class Conditioner:
    """Says what is told.

    Attributes:
        item_facts: what is known of the items.
        preference: "history" is titles (P1), "words" their summary (P2), "both" a summary of all but the latest titles
            and these, "none" nothing (P0).
        intent: "vague" (I1) or "specific" (I2), made of the target, or of the history if honest.
        recent: titles that "both" tells.
        seed: of the intentions; each user has draws of their own.
        summary: of the whole history at once, or block by block.
    """

    item_facts: ItemFacts
    preference: PreferenceKind = "history"
    intent: IntentKind = "none"
    recent: int = RECENT
    seed: int = 0
    summary: SummaryKind = "whole"

    def told(self, user: int, history: NDArray[np.int32], target: int) -> Conditioning:
        """Return what is told for one user; an intention that the facts are not enough for is left out."""
        words, fits = self._wish(user, history, target)
        after = tuple(after_history(words, {}))
        if self.preference == "none":
            return Conditioning(history[:0], (), after, fits)
        if self.preference == "history":
            return Conditioning(history, (), after, fits)
        titles = history[:0] if self.preference == "words" else history[-self.recent :]
        text = summary_of(self.item_facts, history[: len(history) - len(titles)].tolist(), self.summary)
        return Conditioning(titles, tuple(before_history(text)), after, fits)

    def describe(self) -> Mapping[str, str | int]:
        """Return all that it says depends on, besides the seed."""
        said: dict[str, str | int] = {"preference": self.preference, "intent": self.intent}
        if self.preference in {"words", "both"}:
            said["summary"] = self.summary
        return said | ({"recent": self.recent} if self.preference == "both" else {})

    def _wish(self, user: int, history: NDArray[np.int32], target: int) -> tuple[str | None, NDArray[np.bool_] | None]:
        if self.intent == "none":
            return None, None
        is_honest = self.intent.startswith("honest")
        source = self.item_facts.most_typical(history[-_TYPICAL_OF:].tolist()) if is_honest else target
        rng = np.random.default_rng([self.seed, user])
        wanted = self.item_facts.intent_phrase(source, rng, is_vague=self.intent.endswith("vague"))
        return (None, None) if wanted is None else (wanted[0], self.item_facts.matching_items(wanted[1]))


def summary_of(item_facts: ItemFacts, items: Sequence[int], kind: SummaryKind) -> str:
    """Return what items, oldest first, say of who chose them by their facts; block by block as LLM-TRSR does it."""
    if kind == "whole":
        return item_facts.profile(items)
    summarise = recurrent if kind == "recurrent" else hierarchical
    found = summarise(items, FactSummarizer(item_facts))
    return "" if found is None else found.text
