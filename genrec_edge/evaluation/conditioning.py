"""What the prompt of an evaluation contains besides titles: a preference and an intent in words.

The preference is a summary of the history by the catalog's facts. The intent is made of the facts of an item: of the
target, as in InstructRec, which makes it an oracle; or, for the honest kinds, of the most typical of the latest items
of the history, so that the target may not match it. Source: arXiv 2305.07001, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.decoding.prompts import after_history, before_history
from genrec_edge.profiles.summaries import FactSummarizer, hierarchical, recurrent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.decoding.prompts import PromptLine
    from genrec_edge.records import IntentKind, PreferenceKind, SummaryKind

DEFAULT_RECENT = 20
"""Titles that stand beside a summary of those before them."""
_N_LATEST = 20
"""Items among which an honest intent looks for the most typical one."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What the prompt for one user contains.

    Attributes:
        titles: (n,) int32, indexes of the items of the history whose titles are in the prompt, oldest first.
        before: parts of the prompt before the titles.
        after: parts of the prompt after them.
        matches_intent: (n_items,) the items that have all facts of the intent; None without an intent.
    """

    titles: NDArray[np.int32]
    before: tuple[PromptLine, ...]
    after: tuple[PromptLine, ...]
    matches_intent: NDArray[np.bool_] | None

    @property
    def is_anonymous(self) -> bool:
        """Whether the prompt says nothing about the user."""
        return not len(self.titles) and not self.before

    def visible_history(self, history: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the history that systems without a prompt may use: all of it, or nothing for an anonymous user."""
        return history[:0] if self.is_anonymous else history


@dataclass(frozen=True, slots=True, eq=False)
class Conditioner:
    """Decides what the prompt contains for each user.

    Attributes:
        item_facts: facts of the items.
        preference: "history" is titles (P1), "words" their summary (P2), "both" a summary of all but the latest titles
            and these, "none" nothing (P0).
        intent: "vague" (I1) or "specific" (I2), of the target; the "honest-" kinds take an item of the history.
        recent: titles in the prompt with "both".
        seed: of the intents; each user has draws of their own.
        summary: of the whole history at once, or block by block.
    """

    item_facts: ItemFacts
    preference: PreferenceKind = "history"
    intent: IntentKind = "none"
    recent: int = DEFAULT_RECENT
    seed: int = 0
    summary: SummaryKind = "whole"

    def condition(self, user: int, history: NDArray[np.int32], target: int) -> Conditioning:
        """Return the conditioning for one user; an intent is left out where the item has too few facts."""
        phrase, matches_intent = self._intent(user, history, target)
        after = tuple(after_history(phrase, {}))
        if self.preference == "none":
            return Conditioning(history[:0], (), after, matches_intent)
        if self.preference == "history":
            return Conditioning(history, (), after, matches_intent)
        titles = history[:0] if self.preference == "words" else history[-self.recent :]
        text = summary_of(self.item_facts, history[: len(history) - len(titles)].tolist(), self.summary)
        return Conditioning(titles, tuple(before_history(text)), after, matches_intent)

    def describe(self) -> Mapping[str, str | int]:
        """Return everything the conditioning depends on, besides the seed."""
        settings: dict[str, str | int] = {"preference": self.preference, "intent": self.intent}
        if self.preference in {"words", "both"}:
            settings["summary"] = self.summary
        if self.preference == "both":
            settings["recent"] = self.recent
        return settings

    def _intent(
        self, user: int, history: NDArray[np.int32], target: int
    ) -> tuple[str | None, NDArray[np.bool_] | None]:
        if self.intent == "none":
            return None, None
        is_honest = self.intent.startswith("honest")
        source = self.item_facts.most_typical(history[-_N_LATEST:].tolist()) if is_honest else target
        rng = np.random.default_rng([self.seed, user])
        intent = self.item_facts.intent_phrase(source, rng, is_vague=self.intent.endswith("vague"))
        if intent is None:
            return None, None
        phrase, facts = intent
        return phrase, self.item_facts.matching_items(facts)


def summary_of(item_facts: ItemFacts, items: Sequence[int], kind: SummaryKind) -> str:
    """Return a summary of the tastes that items, oldest first, show; block by block as in LLM-TRSR; "" for no items."""
    if kind == "whole":
        return item_facts.profile(items)
    summarize = recurrent if kind == "recurrent" else hierarchical
    summary = summarize(items, FactSummarizer(item_facts))
    return "" if summary is None else summary.text
