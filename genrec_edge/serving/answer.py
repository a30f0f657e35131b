"""One request, from what the user wrote to the items: read, resolve, constrain, prompt, search, explain."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId
from genrec_edge.decoding import prompts
from genrec_edge.decoding.free_text import generate_items
from genrec_edge.engine.evaluator import EngineUsage
from genrec_edge.errors import UsageError
from genrec_edge.intents.parser import intent_text
from genrec_edge.records import Reason, Recommendation, Result, Timings
from genrec_edge.serving.constraints import (
    constrain,
    found_and_others,
    position_bias,
    resolve_history,
)
from genrec_edge.serving.explain import reasons
from genrec_edge.serving.validate import checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TriePosition
    from genrec_edge.options import Request
    from genrec_edge.records import Match, Reading
    from genrec_edge.serving.score_fusion import FusedScores
    from genrec_edge.serving.session import Session


_UNFIT_NATS = math.log(1000)
"""So that what does not fit comes after what does, unless the rest of the score says otherwise by far."""
_OTHER_METHODS = {"pointwise": "judge", "pairwise": "compare"}


def answer(session: Session, request: Request) -> Result:
    """Return the result of a request, as one of the session's callers at a time.

    Raises:
        NothingToRecommendError: nothing of the history is in the catalog, or fewer than k items are allowed.
        UsageError: an option out of range, a condition that is not one, an unknown item to exclude or to choose, a
            prompt that does not fit, or a task that items do not answer.
        DeadlineError, CancelledError, LockedError: see `Session.on_stable_catalog`.
    """
    request = checked(request)
    if request.task in _OTHER_METHODS:
        message = f"a {request.task} question is not answered by items"
        raise UsageError(message, hint=f"ask `{_OTHER_METHODS[request.task]}`")
    result = session.on_stable_catalog(lambda: _answer(session, request), request.timeout_s)
    session.load_s = 0.0
    return result


def _answer(session: Session, request: Request) -> Result:
    session.engine.usage = EngineUsage()
    # 1. What the words and titles of the request mean in this catalog.
    reading = read_intent(session, request)
    matches, seen, liked = resolve_history(request, session.catalog, session.resolver)
    # 2. Which items may be returned, and with what bias.
    constrained = constrain(request, reading, seen, session.catalog, session.trie, session.resolver)
    bias = position_bias(constrained.request, seen, session.catalog, session.trie, session.resolver)
    bias = _with_wish(session, request, reading, bias)
    # 3. The prompt: only what the engine's cache does not hold is evaluated.
    started = time.perf_counter()
    token_ids, n_dropped = prompt_of(session, request, reading, liked)
    logits, n_reused = session.evaluate_prompt(token_ids)
    prompted = time.perf_counter()
    n_prompt_calls, session.engine.usage = session.engine.usage.calls, EngineUsage()
    # 4. The search, and why its items were found.
    items, exact, gap, n_refused = _decode(session, constrained.request, logits, bias, liked)
    items = _with_fits(session, items, request, reading)
    if request.explain:
        items = _explained(session, items, request, reading, liked, bias)
    # 5. What it cost, and what was understood.
    usage = session.engine.usage
    timings = Timings(
        load_s=session.load_s,
        prompt_s=prompted - started,
        decode_s=time.perf_counter() - prompted,
        engine_s=usage.seconds,
        prompt_tokens=len(token_ids),
        reused_tokens=n_reused,
        evaluated_tokens=usage.tokens,
        engine_calls=n_prompt_calls + usage.calls,
    )
    resolved, unresolved = found_and_others(matches)
    return Result(
        items=items,
        exact=exact,
        gap=gap,
        resolved=resolved,
        unresolved=unresolved,
        dropped=n_dropped,
        refused=n_refused,
        model=session.describe_model(),
        catalog=session.describe_catalog(),
        timings=timings,
        reading=reading,
        where=constrained.request.where,
        loosened=constrained.loosened,
        left_out=constrained.left_out,
        named=constrained.named,
        history_met=_n_met(session, matches),
    )


def _n_met(session: Session, matches: Sequence[Match]) -> int | None:
    """Return how many of the titles that were understood the model met in training, None where nobody knows."""
    if session.config.items_met is None:
        return None
    return sum(session.has_met(match.item) is True for match in matches if match.item is not None)


def read_intent(session: Session, request: Request) -> Reading | None:
    """Return what the intention of a request was understood as, None without one."""
    return None if request.intent is None else session.intents.parse(request.intent)


def prompt_of(
    session: Session, request: Request, reading: Reading | None, liked: CatalogRows
) -> tuple[list[TokenId], int]:
    """Return the prompt of all that a request says of its user, and how many of the oldest titles were left out.

    `liked` are the catalog rows of the history, oldest first.
    """
    after = prompts.after_history(intent_text(reading), request.context)
    return session.prompts.build(liked, prompts.before_history(request.preference), after)


def evaluate_user(session: Session, request: Request) -> tuple[tuple[Match, ...], tuple[Match, ...]]:
    """Make all that a request says of its user the engine's prompt; return what titles were found, and the others."""
    matches, _, liked = resolve_history(request, session.catalog, session.resolver)
    session.evaluate_prompt(prompt_of(session, request, read_intent(session, request), liked)[0])
    return found_and_others(matches)


def _decode(
    session: Session,
    request: Request,
    logits: NDArray[np.float32],
    bias: NDArray[np.float64],
    liked: CatalogRows,
) -> tuple[tuple[Recommendation, ...], bool, float | None, int]:
    """Return the items, whether they are the best, the gap in nats, and how many free texts were refused."""
    trie = session.trie
    if request.decode == "free":
        bias_of_row = dict(zip(trie.rows.tolist(), bias.tolist(), strict=True))
        items, n_refused = generate_items(session.engine, logits, request, session.resolver, bias_of_row)
        return items, False, None, n_refused
    fused = session.fused_scores(liked, has_words=has_words(request))
    search = session.search(bias, request.k, fused)
    found = search.exact(logits, session.config.budget) if request.decode == "exact" else search.beam(logits)
    best = session.catalog.items([trie.row_at(title.position) for title in found.found])
    recommendations = tuple(
        Recommendation(
            rank,
            item,
            title.score,
            title.logprob,
            title.bias,
            prior=fused.prior_of(title.position),
            met=session.has_met(item),
            parts=_parts(title.logprob, fused, title.position, trie.n_items),
        )
        for rank, (item, title) in enumerate(zip(best, found.found, strict=True), start=1)
    )
    return recommendations, found.exact, found.gap, 0


def has_words(request: Request) -> bool:
    """Return whether a request says anything beside titles."""
    return bool(request.intent or request.preference or request.context)


def _parts(logprob: float, fused: FusedScores, position: TriePosition, n_items: int) -> dict[str, float]:
    """Return what carries a score: the model's nats above an equal chance for all items, and the parts of a mixture.

    What an item gets without a history is no part of the model's, as far as it is taken off. Below the logits, the
    mixture is in the log-probability, and what it does not explain is the model's.
    """
    parts = fused.parts_of(position)
    if not parts:
        return {}
    within = 0.0 if fused.below is None else sum(parts.values())
    alpha, habit = fused.taken_off_of(position)
    return {"model": logprob + math.log(n_items) - alpha * (habit + math.log(n_items)) - within, **parts}


def _with_wish(
    session: Session, request: Request, reading: Reading | None, bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the bias less `_UNFIT_NATS` for what does not have the facts of an intention, where candidates are ranked.

    The mixture knows nothing of a wish; elsewhere what does not fit is left out.
    """
    is_mixture = session.config.prior is not None and session.config.prior.kind == "mixture"
    if not is_mixture or request.task != "reranking" or reading is None or reading.where is None:
        return bias
    fits = session.trie.mask(CatalogRows(session.catalog.filter(reading.where)))
    return np.where(fits, bias, bias - _UNFIT_NATS)


def _with_fits(
    session: Session, items: tuple[Recommendation, ...], request: Request, reading: Reading | None
) -> tuple[Recommendation, ...]:
    """Return reranked candidates with whether they have the facts of the intention; other items as they are."""
    if request.task != "reranking" or reading is None or reading.where is None:
        return items
    fitting = set(session.catalog.filter(reading.where).tolist())
    return tuple(replace(r, fits=r.item.row in fitting) for r in items)


def _explained(
    session: Session,
    items: tuple[Recommendation, ...],
    request: Request,
    reading: Reading | None,
    liked: CatalogRows,
    bias: NDArray[np.float64],
) -> tuple[Recommendation, ...]:
    """Return the items with the titles of the history that speak for them; what a prior says is part of it."""
    if not items:  # free text may mean none
        return items
    rows = CatalogRows(np.array([r.item.row for r in items], np.int64))

    def scores_of(history: CatalogRows) -> Mapping[CatalogRow, float]:
        logits, _ = session.engine.prompt(prompt_of(session, request, reading, history)[0])
        found = session.score_rows(rows, logits, bias, session.fused_scores(history, has_words=has_words(request)))
        return {session.trie.row_at(title.position): title.score for title in found}

    gains = reasons(liked, scores_of)
    named = {item.row: item for item in session.catalog.items([row for found in gains.values() for row, _ in found])}
    return tuple(replace(r, reasons=tuple(Reason(named[row], nats) for row, nats in gains[r.item.row])) for r in items)
