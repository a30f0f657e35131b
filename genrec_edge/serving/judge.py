"""Yes or no, and one of two: the model's verdicts after a history, several at once over one prompt.

Both are read off the logits at one place, without any text being written. For one of two titles the place is where they
part. A pair is asked about in both orders, and the log-odds are averaged: what an order adds on one side it takes on
the other. Source: Zheng et al. 2023, arXiv 2306.05685, section 3.4, who swap the two answers for the same reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.decoding import prompts
from genrec_edge.engine.context import MAX_RUN, TokenRun
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.errors import ModelInvalidError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow, TokenId
    from genrec_edge.engine.context import LlamaEngine
    from genrec_edge.serving.session import Session


def margins(session: Session, rows: Sequence[CatalogRow]) -> list[float]:
    """Return for each catalog row the log-odds of yes after the prompt that the engine holds, in nats.

    Raises:
        ModelInvalidError: yes and no begin with the same token.
    """
    model = session.engine.model
    yes, no = (model.tokenize(answer)[0] for answer in (prompts.YES, prompts.NO))
    if yes == no:
        raise ModelInvalidError(f"to {model.path} yes and no begin alike: it cannot be asked for verdicts")
    questions = [session.encode(prompts.pointwise(row)) for row in rows]
    return [float(logits[yes]) - float(logits[no]) for logits in _logits_after(session.engine, questions)]


def preferences(session: Session, pairs: Sequence[tuple[CatalogRow, CatalogRow]]) -> list[float]:
    """Return for each pair of rows, in this order, the log-odds of the first after the prompt that the engine holds.

    Raises:
        UsageError: both have the same title, year included.
    """
    end_id = session.engine.model.newline_id
    questions, forks = [], []
    for a, b in pairs:
        first, second = ([*session.path_of(row), end_id] for row in (a, b))
        if first == second:
            raise UsageError("both items have the same title", hint="nothing tells them apart for a model")
        fork = next(i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y)
        questions.append([*session.encode(prompts.pairwise(a, b)), *first[:fork]])
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


def probability(margin: float, judging: tuple[float, float] | None = None) -> float:
    """Return the probability of log-odds, after slope and offset if there are any; of opposite ones they sum to 1."""
    slope, offset = judging or (1.0, 0.0)
    z = slope * margin + offset
    likelier = 1 / (1 + math.exp(-abs(z)))
    return likelier if z >= 0 else 1 - likelier
