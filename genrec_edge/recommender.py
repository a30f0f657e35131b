"""The recommender: a model and a catalog, ready to answer. The library's front door."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from genrec_edge.errors import UsageError
from genrec_edge.option_fields import arguments_of
from genrec_edge.options import OpenOptions, Request
from genrec_edge.serving.answer import answer
from genrec_edge.serving.describe import describe_history, queries_for
from genrec_edge.serving.judge import compare_items, judge_items
from genrec_edge.serving.session import Session
from genrec_edge.serving.session_pool import SessionPool, pool_size
from genrec_edge.serving.validate import checked, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.engine.interrupt import Call
    from genrec_edge.records import Comparison, Description, Interaction, Item, Judgement, Match, Phrase, Result

__all__ = ["Recommender"]


class Recommender:
    """A model and a catalog, ready to answer. Open it with `Recommender.open`; it never downloads and never prints.

    Thread-safe: calls from several threads are answered one after the other, and equal the serial answers. In a fork of
    the process that opened it every call raises ForkError: start processes with `spawn`, never with `fork`. Ctrl-C ends
    a call, which has ended when KeyboardInterrupt is raised; the next one is right.

    Args:
        session: what answers; its owner from now on is the recommender.

    >>> with Recommender.open() as r:  # doctest: +SKIP
    ...     for item in r.recommend(["Toy Story", "Aladdin"], k=3).items:
    ...         print(item.rank, item.item.title, round(item.logprob, 2))
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    @classmethod
    @arguments_of(OpenOptions)
    def open(cls, options: OpenOptions) -> Recommender:
        """Load a model and a catalog; the catalog's titles are indexed first if they are not, or have changed.

        The arguments are the fields of `options.OpenOptions`.

        Raises:
            ModelMissingError: the model is not in the store; the hint is the command that brings it.
            ModelInvalidError: the model file is damaged, or was made for other prompts; the adapter does not fit.
            CatalogError: the catalog is damaged, foreign or empty.
            DatasetError: the prior is damaged.
            UsageError: no such file, an option out of range, or no prior for a model that was tuned on one.
        """
        return cls(Session.open(options))

    @property
    def catalog(self) -> Catalog:
        """The catalog that answers come from, open for reading."""
        return self.session.catalog

    @arguments_of(Request)
    def recommend(self, request: Request) -> Result:
        """Return the k items the model finds likeliest to come next. The arguments are the fields of `options.Request`.

        `explain` takes one more prompt for each title of the history.

        Raises:
            NothingToRecommendError: nothing of the history is in the catalog, or an item that is named is not, or fewer
                than k items are allowed.
            UsageError: an argument out of range, or a condition that is not one.
            DeadlineError: not finished after `timeout_s`.
            CancelledError: `cancel` was called.
            LockedError: the catalog is being changed all the time.
        """
        return self.answer(request)

    def answer(self, request: Request, *, explain: bool | None = None, timeout_s: float | None = None) -> Result:
        """Return the result of a request; `recommend` says what can be raised.

        Args:
            request: what is asked.
            explain: overrides the request's own.
            timeout_s: overrides the request's own.

        Raises:
            UsageError: also if it is pointwise or pairwise, which have no items for an answer.
        """
        if explain is not None:
            request = replace(request, explain=explain)
        if timeout_s is not None:
            request = replace(request, timeout_s=timeout_s)
        return answer(self.session, request)

    def recommend_many(
        self, histories: Iterable[Iterable[str | Interaction] | Request], *, k: int = 10
    ) -> list[Result]:
        """Return one result for each history or request, in order; `k` is for those given as histories.

        As many are answered at once as the recommender has threads, see `session_pool`; models that are not small
        answer one after the other. The first error ends it.

        Raises: as `recommend`.
        """
        requests = [h if isinstance(h, Request) else Request(listed("history", h), k=k) for h in histories]
        session = self.session
        size = min(pool_size(session.model_file.path.stat().st_size, session.engine.n_threads), len(requests))
        if size < 2:
            return [self.answer(request) for request in requests]
        return session.run(lambda call: self._answer_many(requests, size, call))

    def _answer_many(self, requests: Sequence[Request], size: int, call: Call) -> list[Result]:
        session = self.session

        def answer_next(clone: Session, request: Request) -> Result:
            call.check()
            return answer(clone, request)

        with session.exclusively(call), ExitStack() as on_error:
            session.refresh()
            clones = [on_error.enter_context(session.clone()) for _ in range(size)]
            pool = SessionPool(clones)
            on_error.pop_all()
            with pool:
                return list(pool.map(answer_next, requests))

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
        user = _user(history, preference, intent, context, timeout_s)
        named = listed("candidates", candidates)
        return self.answer(replace(user, task="reranking", candidates=named, explain=explain))

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
            NothingToRecommendError: nothing of the history is in the catalog, or one of the items is not.
            UsageError: the model knows only histories.
            DeadlineError, CancelledError, LockedError: as `recommend`.
        """
        names = listed("items", items)
        user = checked(_user(history, preference, intent, context, timeout_s))
        if not names:
            raise UsageError("`items` must name at least one item, got none")
        return self.session.on_stable_catalog(lambda: judge_items(self.session, names, user), timeout_s)

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
        user = checked(_user(history, preference, intent, context, timeout_s))
        return self.session.on_stable_catalog(lambda: compare_items(self.session, a, b, user), timeout_s)

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
        request = checked(Request(listed("history", history), k=k, timeout_s=timeout_s))
        if not request.history:
            raise UsageError("`history` must name at least one title to describe, got none")
        return self.session.on_stable_catalog(lambda: describe_history(self.session, request), timeout_s)

    def queries(self, item: str, *, k: int = 10, timeout_s: float | None = None) -> tuple[Item, list[Phrase]]:
        """Return an item, named by id or title, and the k likeliest ways to ask for it, all of which find it.

        Raises:
            NothingToRecommendError: it is not in the catalog, or nothing is known of it but its title.
            UsageError: k is out of range, or the model knows only histories.
            DeadlineError, CancelledError, LockedError: as `recommend`.
        """
        checked(Request(k=k, timeout_s=timeout_s))
        return self.session.on_stable_catalog(lambda: queries_for(self.session, item, k), timeout_s)

    def calibrate(self, alpha: float, on_title: Callable[[int, int], object] | None = None) -> None:
        """From now on, take `alpha` times the log-probability of a title after an empty history off its score.

        The first time for a model and a catalog, the model scores all titles: minutes for ten thousands of them.
        The bias of a recommendation says what was taken off. 0 turns it off.

        Raises:
            UsageError: alpha is out of range.
        """
        self.session.calibrate(alpha, on_title)

    def resolve(self, text: str) -> Match:
        """Return what a title written by a person means in this catalog."""
        return self.session.resolve(text)

    def forget(self) -> None:
        """Forget what was asked before, so that the next prompt is evaluated whole. Scores do not depend on it."""
        self.session.forget()

    def cancel(self) -> None:
        """Interrupt the request that is running, from another thread; it raises CancelledError."""
        self.session.cancel()

    def close(self) -> None:
        """Free the model and close the catalog, after the running request if there is one."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _user(
    history: Iterable[str | Interaction],
    preference: str | None,
    intent: str | None,
    context: Mapping[str, str] | None,
    timeout_s: float | None,
) -> Request:
    """Return a request that says who asks, and nothing of what is asked."""
    titles = listed("history", history)
    return Request(titles, preference=preference, intent=intent, context=context or {}, timeout_s=timeout_s)
