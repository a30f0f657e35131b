"""The story of a request: resolve the history, read the intention, build the prompt, mask, search or judge, explain.

The only module that knows all the parts. It never downloads and never prints.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge import describing, judging, prompts
from genrec_edge.checks import check, listed
from genrec_edge.engine import Usage
from genrec_edge.errors import NothingToRecommendError, UsageError
from genrec_edge.freeform import write_items
from genrec_edge.intents import told
from genrec_edge.profiles import profile_text
from genrec_edge.reasons import reasons
from genrec_edge.records import (
    Comparison,
    Description,
    Judgement,
    Phrase,
    Reason,
    Recommendation,
    Request,
    Result,
    Timings,
)
from genrec_edge.selection import bias_of, found_of, narrowed, understand
from genrec_edge.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.records import Decode, Interaction, Item, Reading

__all__ = ["Recommender"]


class Recommender(Session):
    """A model and a catalog, ready to answer. Open it with `Recommender.open`.

    Thread-safe: calls from several threads are answered one after the other, and equal the serial answers. Do not use
    one across a fork.

    >>> with Recommender.open() as r:  # doctest: +SKIP
    ...     for item in r.recommend(["Toy Story", "Aladdin"], k=3).items:
    ...         print(item.rank, item.item.title, round(item.logprob, 2))
    """

    def recommend(
        self,
        history: Iterable[str | Interaction] = (),
        *,
        k: int = 10,
        preference: str | None = None,
        intent: str | None = None,
        intent_where: bool = True,
        context: Mapping[str, str] | None = None,
        where: str | None = None,
        exclude: Iterable[str] = (),
        candidates: Iterable[str] | None = None,
        allow_seen: bool = False,
        min_rating: float | None = None,
        bias: Mapping[str, float] | None = None,
        decode: Decode = "exact",
        temperature: float = 0.0,
        seed: int = 0,
        explain: bool = False,
        timeout_s: float | None = None,
    ) -> Result:
        """Return the k items the model finds likeliest to come next; see `records.Request` for the arguments.

        `explain` adds to each item the titles of the history that raise its score most, which takes one more prompt for
        each title.

        Raises:
            NothingToRecommendError: nothing of the history is in the catalog, or fewer than k items are allowed.
            UsageError: an argument out of range, a condition that is none, an unknown item to exclude.
            DeadlineError: not finished after `timeout_s`.
            CancelledError: `cancel` was called.
            LockedError: the catalog is being changed all the time.
        """
        request = Request(
            history=listed("history", history),
            k=k,
            preference=preference,
            intent=intent,
            intent_where=intent_where,
            context=context or {},
            where=where,
            exclude=listed("exclude", exclude),
            candidates=None if candidates is None else listed("candidates", candidates),
            allow_seen=allow_seen,
            min_rating=min_rating,
            bias=bias or {},
            decode=decode,
            temperature=temperature,
            seed=seed,
        )
        return self.answer(request, explain=explain, timeout_s=timeout_s)

    def recommend_many(
        self, histories: Iterable[Iterable[str | Interaction] | Request], *, k: int = 10
    ) -> list[Result]:
        """Return one result for each history or request, in order; `k` is for those given as histories."""
        return [
            self.answer(h if isinstance(h, Request) else Request(history=listed("history", h), k=k)) for h in histories
        ]

    def rerank(
        self,
        candidates: Iterable[str],
        history: Iterable[str | Interaction] = (),
        *,
        preference: str | None = None,
        intent: str | None = None,
        context: Mapping[str, str] | None = None,
        explain: bool = False,
        timeout_s: float | None = None,
    ) -> Result:
        """Return all candidates, the likeliest to come next first; the search says how likely each is in the catalog.

        The model is not shown the candidates, only what is known of the user: their order cannot matter, there may be
        any number of them, and no tournament is needed. Those that are not in the catalog are in `left_out`; seen ones
        are ranked like others. What the intention names filters nothing: `fits` says which candidates have it.

        Raises: as `recommend`.
        """
        request = Request(
            history=listed("history", history),
            task="reranking",
            candidates=listed("candidates", candidates),
            preference=preference,
            intent=intent,
            context=context or {},
        )
        return self.answer(request, explain=explain, timeout_s=timeout_s)

    def answer(self, request: Request, *, explain: bool = False, timeout_s: float | None = None) -> Result:
        """Return the result of a request; `recommend` says what can be raised.

        Raises:
            UsageError: also if it is pointwise or pairwise, which have no items for an answer.
        """
        check(request, timeout_s)
        if request.task in {"pointwise", "pairwise"}:
            hint = "ask `judge`" if request.task == "pointwise" else "ask `compare`"
            raise UsageError(f"a {request.task} question is not answered by items", hint=hint)
        result = self._steadily(lambda: self._answer(request, explain=explain), timeout_s)
        self._load_s = 0.0
        return result

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
            margins = judging.margins(self, [item.row for item in asked])
            return [
                Judgement(item, judging.probability(margin, self._judging), margin, self._judging is not None)
                for item, margin in zip(asked, margins, strict=True)
            ]

        return self._steadily(work, timeout_s)

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
            low_first, high_first = judging.preferences(self, [(low, high), (high, low)])
            margins = (low_first, -high_first) if one.row == low else (high_first, -low_first)
            p_first, p_second = (judging.probability(margin) for margin in margins)
            return Comparison(one, other, judging.probability(sum(margins) / 2), p_first, p_second)

        return self._steadily(work, timeout_s)

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
            matches, _, liked = understand(request, self.catalog, self._grounder)
            liked = liked[-describing.MOST_TITLES :]
            facts = self.facts.of(liked.tolist())
            counts = describing.facts_of_many(facts, self.facts.share)
            if not counts:
                raise NothingToRecommendError(
                    "the catalog knows nothing of these items but their titles",
                    hint="a catalog with genres, people or years has something to say",
                )
            only = np.full(self._index.n_items, -np.inf)
            only[self._index.positions(liked)] = 0

            def nats_of(wanted: Sequence[prompts.Part]) -> float:
                root_row = self._engine.prompt(self.prompt_ids(liked[:0], (), wanted)[0])[0]
                return sum(f.logprob for f in self.search(only, len(liked)).exact(root_row, self._budget).found)

            return Description(
                describing.traits(counts, len(liked), nats_of, k),
                profile_text(facts, self.facts.share),
                tuple(m for m in matches if m.item is not None),
                tuple(m for m in matches if m.item is None),
            )

        return self._steadily(work, timeout_s)

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
            nobody = np.empty(0, np.int64)
            root_row, _ = self._engine.prompt(self.prompt_ids(nobody, (), prompts.asking_for(asked.row))[0])
            found = describing.ranked(self._engine, root_row, describing.phrases_of_one(facts), k)
            return asked, [describing.phrase(wanted, share, self.catalog) for wanted, share in found]

        return self._steadily(work, timeout_s)

    def _items(self, names: tuple[str, ...], verb: str) -> list[Item]:
        return [match.item for match in found_of(names, verb, self.catalog, self._grounder) if match.item is not None]

    def _read(self, request: Request) -> Reading | None:
        return None if request.intent is None else self.intents.read(request.intent)

    def _tell(self, request: Request) -> None:
        """Make all that a request says of its user the engine's prompt."""
        _, _, liked = understand(request, self.catalog, self._grounder)
        self._prompt(request, self._read(request), liked)

    def _prompt(
        self, request: Request, reading: Reading | None, liked: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], int, int, int]:
        """Evaluate the prompt; return its last logits, tokens reused, tokens in all, and titles dropped."""
        after = prompts.after_history(told(reading), request.context)
        token_ids, dropped = self.prompt_ids(liked, prompts.before_history(request.preference), after)
        root_row, reused = self._engine.prompt(token_ids)
        return root_row, reused, len(token_ids), dropped

    def _answer(self, request: Request, *, explain: bool) -> Result:
        self._engine.usage = Usage()
        reading = self._read(request)
        matches, seen, liked = understand(request, self.catalog, self._grounder)
        asked, left_out = narrowed(request, reading, seen, self.catalog, self._index, self._grounder)
        bias = bias_of(asked.request, seen, self.catalog, self._index, self._grounder)
        started = time.perf_counter()
        root_row, reused, n_prompt, dropped = self._prompt(request, reading, liked)
        prompted = time.perf_counter()
        prompt_calls, self._engine.usage = self._engine.usage.calls, Usage()
        items, exact, gap, refused = self._decode(asked.request, root_row, bias, liked)
        if request.task == "reranking" and reading is not None and reading.where is not None:
            fitting = set(self.catalog.filter(reading.where).tolist())
            items = tuple(replace(r, fits=r.item.row in fitting) for r in items)
        if explain:
            items = self._explained(items, request, reading, liked, bias)
        usage = self._engine.usage
        timings = Timings(
            load_s=self._load_s,
            prompt_s=prompted - started,
            decode_s=time.perf_counter() - prompted,
            engine_s=usage.seconds,
            prompt_tokens=n_prompt,
            reused_tokens=reused,
            evaluated_tokens=usage.tokens,
            engine_calls=prompt_calls + usage.calls,
        )
        return Result(
            items=items,
            exact=exact,
            gap=gap,
            resolved=tuple(m for m in matches if m.item is not None),
            unresolved=tuple(m for m in matches if m.item is None),
            dropped=dropped,
            refused=refused,
            model=self.describe_model(),
            catalog={
                "name": self.catalog.name,
                "path": str(self.catalog.path),
                "items": self._index.n_items,
                "revision": self._index.key.revision,
            },
            timings=timings,
            reading=reading,
            where=asked.request.where,
            loosened=asked.loosened,
            left_out=left_out,
        )

    def _decode(
        self, request: Request, root_row: NDArray[np.float32], bias: NDArray[np.float64], liked: NDArray[np.int64]
    ) -> tuple[tuple[Recommendation, ...], bool, float | None, int]:
        """Return the items, whether they are the best, the gap, and how many free texts were refused."""
        if request.decode == "free":
            bias_of_row = dict(zip(self._index.rows.tolist(), bias.tolist(), strict=True))
            items, refused = write_items(self._engine, root_row, request, self._grounder, bias_of_row)
            return items, False, None, refused
        fused = self.fused(liked)
        search = self.search(bias, request.k, fused)
        answer = search.exact(root_row, self._budget) if request.decode == "exact" else search.beam(root_row)
        best = self.catalog.items([int(self._index.rows[f.position]) for f in answer.found])
        recommendations = tuple(
            Recommendation(rank, item, f.score, f.logprob, f.bias, prior=fused.prior_of(f.position))
            for rank, (item, f) in enumerate(zip(best, answer.found, strict=True), start=1)
        )
        return recommendations, answer.exact, answer.gap, 0

    def _explained(
        self,
        items: tuple[Recommendation, ...],
        request: Request,
        reading: Reading | None,
        liked: NDArray[np.int64],
        bias: NDArray[np.float64],
    ) -> tuple[Recommendation, ...]:
        """Return the items with the titles of the history that speak for them; what a prior says is part of it."""
        if not items:  # of free text, there may be none
            return items
        positions = self._index.positions(np.array([r.item.row for r in items], np.int64))
        only = np.full(len(bias), -np.inf)
        only[positions] = bias[positions]

        def scores_of(history: NDArray[np.int64]) -> Mapping[int, float]:
            root_row = self._prompt(request, reading, history)[0]
            found = self.search(only, len(positions), self.fused(history)).exact(root_row, self._budget).found
            return {int(self._index.rows[f.position]): f.score for f in found}

        gains = reasons(liked, scores_of)
        named = {item.row: item for item in self.catalog.items([row for found in gains.values() for row, _ in found])}
        return tuple(
            replace(r, reasons=tuple(Reason(named[row], nats) for row, nats in gains[r.item.row])) for r in items
        )
