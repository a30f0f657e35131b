"""What is asked of a model besides items: a verdict, a preference, words for a history, words for an item.

With `recommender`, the only module that knows all the parts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRows
from genrec_edge.decoding import prompts
from genrec_edge.errors import NothingToRecommendError, UsageError
from genrec_edge.intents.parser import intent_text
from genrec_edge.profiles.tastes import profile_text
from genrec_edge.records import Comparison, Description, Judgement, Phrase, Request
from genrec_edge.serving import describe as describe_module
from genrec_edge.serving import judge as judge_module
from genrec_edge.serving.constraints import resolve_history, resolve_items
from genrec_edge.serving.session import Session
from genrec_edge.serving.validate import check, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.best_first import ScoredTitle
    from genrec_edge.records import Interaction, Item, Reading
    from genrec_edge.serving.score_fusion import FusedScores


class Tasks(Session):
    """The task forms that are not answered by items; `Recommender` adds those that are."""

    def judge(
        self,
        items: Iterable[str],
        history: Iterable[str | Interaction] = (),
        *,
        preference: str | None = None,
        intent: str | None = None,
        context: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> list[Judgement]:
        """Return for each item, named by id or title, whether it would be enjoyed; they are asked about one by one.

        Raises:
            NothingToRecommendError: nothing of the history is in the catalog.
            UsageError: an item is not in the catalog, or the model knows only histories.
            DeadlineError, CancelledError, LockedError: as `recommend`.
        """
        names = listed("items", items)
        told_of = Request(listed("history", history), preference=preference, intent=intent, context=context or {})
        for name in names or ("",):
            check(replace(told_of, task="pointwise", candidates=(name,) if names else None), timeout_s)

        def work() -> list[Judgement]:
            asked = self._items(names, "judge")
            self._tell(told_of)
            margins = judge_module.margins(self, [item.row for item in asked])
            return [
                Judgement(
                    item,
                    judge_module.probability(margin, self.settings.judging),
                    margin,
                    self.settings.judging is not None,
                )
                for item, margin in zip(asked, margins, strict=True)
            ]

        return self._on_stable_catalog(work, timeout_s)

    def compare(
        self,
        a: str,
        b: str,
        history: Iterable[str | Interaction] = (),
        *,
        preference: str | None = None,
        intent: str | None = None,
        context: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Return which of two items, named by id or title, is preferred; the order they are named in does not count.

        Raises: as `judge`; and UsageError if both are the same item or have the same title.
        """
        told_of = Request(listed("history", history), preference=preference, intent=intent, context=context or {})
        check(replace(told_of, task="pairwise", candidates=(a, b)), timeout_s)

        def work() -> Comparison:
            one, other = self._items((a, b), "compare")
            if one.row == other.row:
                raise UsageError(f"{a!r} and {b!r} are the same item", hint="name two")
            self._tell(told_of)
            # In one order whatever the caller's, so that even the last bits of the answer are the same.
            low, high = sorted((one.row, other.row))
            low_first, high_first = judge_module.preferences(self, [(low, high), (high, low)])
            margins = (low_first, -high_first) if one.row == low else (high_first, -low_first)
            p_first, p_second = (judge_module.probability(margin) for margin in margins)
            return Comparison(one, other, judge_module.probability(sum(margins) / 2), p_first, p_second)

        return self._on_stable_catalog(work, timeout_s)

    def describe(
        self, history: Iterable[str | Interaction], *, k: int = 10, timeout_s: float | None = None
    ) -> Description:
        """Return what a history says of its user: by the model, and by counting.

        By the model these are the k facts that, if they are wanted, make the titles of the history likeliest. Only what
        its items have can be said. Of long histories the latest 30 titles are described.

        Raises:
            NothingToRecommendError: nothing of the history is in the catalog, or nothing is known of its items.
            UsageError: the history is empty, k is out of range, or the model knows only histories.
            DeadlineError, CancelledError, LockedError: as `recommend`.
        """
        request = Request(listed("history", history), k=k)
        check(request, timeout_s)
        if not request.history:
            raise UsageError("there is no history to describe", hint="name at least one title")

        def work() -> Description:
            matches, _, liked = resolve_history(request, self.catalog, self._resolver)
            liked = CatalogRows(liked[-describe_module.MOST_TITLES :])
            facts = self.facts.of(liked.tolist())
            counts = describe_module.facts_of_many(facts, self.facts.share)
            if not counts:
                raise NothingToRecommendError(
                    "the catalog knows nothing of these items but their titles",
                    hint="a catalog with genres, people or years has something to say",
                )
            unbiased = np.zeros(self._index.n_items)

            nobody = CatalogRows(liked[:0])

            def nats_of(wanted: Sequence[prompts.PromptLine]) -> float:
                root_row = self._engine.prompt(self.prompt_ids(nobody, (), wanted)[0])[0]
                return sum(found.logprob for found in self._among(liked, root_row, unbiased))

            return Description(
                describe_module.traits(counts, len(liked), nats_of, k),
                profile_text(facts, self.facts.share),
                tuple(m for m in matches if m.item is not None),
                tuple(m for m in matches if m.item is None),
            )

        return self._on_stable_catalog(work, timeout_s)

    def queries(self, item: str, *, k: int = 10, timeout_s: float | None = None) -> tuple[Item, list[Phrase]]:
        """Return an item, named by id or title, and the k likeliest ways to ask for it, all of which find it.

        Raises:
            NothingToRecommendError: nothing is known of the item but its title.
            UsageError: it is not in the catalog, k is out of range, or the model knows only histories.
            DeadlineError, CancelledError, LockedError: as `recommend`.
        """
        check(Request(k=k), timeout_s)

        def work() -> tuple[Item, list[Phrase]]:
            (asked,) = self._items((item,), "ask for")
            (facts,) = self.facts.of([asked.row])
            if not facts:
                raise NothingToRecommendError(f"the catalog knows nothing of {asked.title!r} but its title")
            nobody = CatalogRows(np.empty(0, np.int64))
            root_row, _ = self._engine.prompt(self.prompt_ids(nobody, (), prompts.asking_for(asked.row))[0])
            found = describe_module.ranked(self._engine, root_row, describe_module.phrases_of_one(facts), k)
            return asked, [describe_module.phrase(wanted, share, self.catalog) for wanted, share in found]

        return self._on_stable_catalog(work, timeout_s)

    def _among(
        self,
        rows: CatalogRows,
        root_row: NDArray[np.float32],
        bias: NDArray[np.float64],
        fused: FusedScores | None = None,
    ) -> tuple[ScoredTitle, ...]:
        """Return catalog rows, all of them, as the search scores them where nothing else is allowed."""
        positions = self._index.positions(rows)
        only = np.full(len(bias), -np.inf)
        only[positions] = bias[positions]
        return self.search(only, len(positions), fused).exact(root_row, self.settings.budget).found

    def _items(self, names: tuple[str, ...], verb: str) -> list[Item]:
        return [
            match.item for match in resolve_items(names, verb, self.catalog, self._resolver) if match.item is not None
        ]

    def _read(self, request: Request) -> Reading | None:
        return None if request.intent is None else self.intents.parse(request.intent)

    def _tell(self, request: Request) -> None:
        """Make all that a request says of its user the engine's prompt."""
        _, _, liked = resolve_history(request, self.catalog, self._resolver)
        self.prompted(self._told_ids(request, self._read(request), liked)[0])

    def _told_ids(self, request: Request, reading: Reading | None, liked: CatalogRows) -> tuple[list[TokenId], int]:
        """Return the prompt of all that a request says of its user, and how many titles were dropped."""
        after = prompts.after_history(intent_text(reading), request.context)
        return self.prompt_ids(liked, prompts.before_history(request.preference), after)
