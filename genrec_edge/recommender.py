"""The story of a request: resolve the history, read the intention, build the prompt, mask, search, explain.

With `tasks`, the only module that knows all the parts. It never downloads and never prints.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRows
from genrec_edge.decoding.free_text import generate_items
from genrec_edge.engine.context import EngineUsage
from genrec_edge.errors import UsageError
from genrec_edge.records import Reason, Recommendation, Request, Result, Timings
from genrec_edge.serving.constraints import constrain, position_bias, resolve_history
from genrec_edge.serving.explain import reasons
from genrec_edge.serving.session_pool import SessionPool, pool_size
from genrec_edge.serving.validate import check, listed
from genrec_edge.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.records import Decode, Interaction, Reading

__all__ = ["Recommender"]


class Recommender(Tasks):
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
        """Return one result for each history or request, in order; `k` is for those given as histories.

        As many are answered at once as the recommender has threads, see `pool`; models that are not small answer one
        after the other. The first error ends it.

        Raises: as `recommend`.
        """
        requests = [h if isinstance(h, Request) else Request(history=listed("history", h), k=k) for h in histories]
        size = min(pool_size(self._model_file.path.stat().st_size, self._engine.n_threads), len(requests))
        if size < 2:
            return [self.answer(request) for request in requests]
        with self._lock, ExitStack() as on_error:
            self._check_open()
            clones = [on_error.enter_context(self.clone()) for _ in range(size)]
            on_error.pop_all()
            with SessionPool(clones) as pool:
                return list(pool.map(type(self).answer, requests))

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
        result = self._on_stable_catalog(lambda: self._answer(request, explain=explain), timeout_s)
        self._load_s = 0.0
        return result

    def _answer(self, request: Request, *, explain: bool) -> Result:
        self._engine.usage = EngineUsage()
        reading = self._read(request)
        matches, seen, liked = resolve_history(request, self.catalog, self._resolver)
        asked, left_out = constrain(request, reading, seen, self.catalog, self._index, self._resolver)
        bias = position_bias(asked.request, seen, self.catalog, self._index, self._resolver)
        started = time.perf_counter()
        told_ids, dropped = self._told_ids(request, reading, liked)
        root_row, reused = self.prompted(told_ids)
        prompted = time.perf_counter()
        prompt_calls, self._engine.usage = self._engine.usage.calls, EngineUsage()
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
            prompt_tokens=len(told_ids),
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
        self, request: Request, root_row: NDArray[np.float32], bias: NDArray[np.float64], liked: CatalogRows
    ) -> tuple[tuple[Recommendation, ...], bool, float | None, int]:
        """Return the items, whether they are the best, the gap, and how many free texts were refused."""
        if request.decode == "free":
            bias_of_row = dict(zip(self._index.rows.tolist(), bias.tolist(), strict=True))
            items, refused = generate_items(self._engine, root_row, request, self._resolver, bias_of_row)
            return items, False, None, refused
        fused = self.fused(liked)
        search = self.search(bias, request.k, fused)
        answer = search.exact(root_row, self.settings.budget) if request.decode == "exact" else search.beam(root_row)
        best = self.catalog.items([self._index.row_at(f.position) for f in answer.found])
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
        liked: CatalogRows,
        bias: NDArray[np.float64],
    ) -> tuple[Recommendation, ...]:
        """Return the items with the titles of the history that speak for them; what a prior says is part of it."""
        if not items:  # of free text, there may be none
            return items
        rows = CatalogRows(np.array([r.item.row for r in items], np.int64))

        def scores_of(history: CatalogRows) -> Mapping[CatalogRow, float]:
            root_row = self._engine.prompt(self._told_ids(request, reading, history)[0])[0]
            found = self._among(rows, root_row, bias, self.fused(history))
            return {self._index.row_at(f.position): f.score for f in found}

        gains = reasons(liked, scores_of)
        named = {item.row: item for item in self.catalog.items([row for found in gains.values() for row, _ in found])}
        return tuple(
            replace(r, reasons=tuple(Reason(named[row], nats) for row, nats in gains[r.item.row])) for r in items
        )
