"""Yes or no, and one of two: the model's verdicts after a history, several at once over one prompt.

Both are read off the logits at one place, without any text being written. For one of two titles the place is where they
part. A pair is asked about in both orders, and the log-odds are averaged: what an order adds on one side it takes on
the other. Source: Zheng et al. 2023, arXiv 2306.05685, section 3.4, who swap the two answers for the same reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.decoding import prompts
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import MAX_RUN, TokenRun
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.records import Comparison, Judgement
from genrec_edge.serving.answer import evaluate_user
from genrec_edge.serving.constraints import items_of, resolve_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow, TokenId
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.options import Request
    from genrec_edge.serving.session import Session


def judge_items(session: Session, names: Sequence[str], user: Request) -> list[Judgement]:
    """Return for each item, named by id or title, whether the user of a checked request would enjoy it.

    Raises:
        NothingToRecommendError: nothing of the history is in the catalog, or one of the items is not.
        UsageError: the model knows only histories.
        ModelInvalidError: yes and no begin with the same token.
    """
    matches = resolve_items(names, "judge", session.catalog, session.resolver)
    items = items_of(matches)
    resolved, unresolved = evaluate_user(session, user)
    calibration = session.config.judge_calibration
    found = []
    for match, item, margin in zip(matches, items, margins(session, [item.row for item in items]), strict=True):
        p_yes, met = probability(margin, calibration), session.has_met(item)
        is_calibrated = calibration is not None and met is not False
        found.append(Judgement(item, p_yes, margin, is_calibrated, met, match, resolved, unresolved))
    return found


def compare_items(session: Session, a: str, b: str, user: Request) -> Comparison:
    """Return which of two items, named by id or title, the user of a checked request prefers.

    Raises: as `judge_items`; and UsageError if both are the same item or have the same title.
    """
    named = resolve_items((a, b), "compare", session.catalog, session.resolver)
    one, other = items_of(named)
    if one.row == other.row:
        raise UsageError(f"{a!r} and {b!r} are the same item", hint="name two different ones")
    resolved, unresolved = evaluate_user(session, user)
    # In one order whatever the caller's, so that even the last bits of the answer are the same.
    low, high = sorted((one.row, other.row))
    low_first, high_first = preferences(session, [(low, high), (high, low)])
    first, second = (low_first, -high_first) if one.row == low else (high_first, -low_first)
    return Comparison(
        one,
        other,
        probability((first + second) / 2),
        probability(first),
        probability(second),
        named=tuple(named),
        resolved=resolved,
        unresolved=unresolved,
    )


def margins(session: Session, rows: Sequence[CatalogRow]) -> list[float]:
    """Return for each catalog row the log-odds of yes after the prompt that the engine holds, in nats.

    Raises:
        ModelInvalidError: yes and no begin with the same token.
    """
    model = session.engine.model
    yes, no = (model.tokenize(answer)[0] for answer in (prompts.YES, prompts.NO))
    if yes == no:
        raise ModelInvalidError(f"{model.path} begins yes and no with the same token, so it cannot judge")
    questions = [session.prompts.encode(prompts.pointwise(row)) for row in rows]
    return [float(logits[yes]) - float(logits[no]) for logits in _logits_after(session.engine, questions)]


def preferences(session: Session, pairs: Sequence[tuple[CatalogRow, CatalogRow]]) -> list[float]:
    """Return for each pair of rows, in this order, the log-odds of the first after the prompt that the engine holds.

    Raises:
        UsageError: both have the same title, year included.
    """
    end_id = session.engine.model.newline_id
    questions, forks = [], []
    for a, b in pairs:
        first, second = ([*session.title_tokens(row), end_id] for row in (a, b))
        if first == second:
            raise UsageError("both items have the same title", hint="nothing tells them apart for a model")
        fork = next(i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y)
        questions.append([*session.prompts.encode(prompts.pairwise(a, b)), *first[:fork]])
        forks.append((first[fork], second[fork]))
    answers = _logits_after(session.engine, questions)
    return [float(logits[x]) - float(logits[y]) for logits, (x, y) in zip(answers, forks, strict=True)]


def _logits_after(engine: LlamaEngine, questions: Sequence[Sequence[TokenId]]) -> Iterator[NDArray[np.float32]]:
    """Yield the logits after each question below the prompt, a view that ends when the next is taken.

    They are evaluated together; where the titles of one make it longer than a run, one by one.
    """
    if all(len(token_ids) <= MAX_RUN for token_ids in questions):
        for _, logits in engine.evaluate([TokenRun(ROOT, tuple(token_ids), keep=False) for token_ids in questions]):
            yield logits
        return
    for token_ids in questions:
        node = ROOT
        for start in range(0, len(token_ids), MAX_RUN):
            ((node, logits),) = engine.evaluate([TokenRun(node, tuple(token_ids[start : start + MAX_RUN]))])
        yield logits
        engine.drop_runs()


def probability(margin: float, calibration: tuple[float, float] | None = None) -> float:
    """Return the probability of log-odds, after slope and offset if there are any; of opposite ones they sum to 1."""
    slope, offset = calibration or (1.0, 0.0)
    z = slope * margin + offset
    likelier = 1 / (1 + math.exp(-abs(z)))
    return likelier if z >= 0 else 1 - likelier
