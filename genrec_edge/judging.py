"""Yes or no, and one of two: the model's verdicts after a history, several at once over one prompt.

Both are read off the logits at one place, without any text being written. For one of two titles the place is where they
part. A pair is asked about in both orders, and the log-odds are averaged: what an order adds on one side it takes on
the other. Source: Zheng et al. 2023, arXiv 2306.05685, section 3.4, who swap the two answers for the same reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge import prompts
from genrec_edge.branches import ROOT
from genrec_edge.engine import Run
from genrec_edge.errors import ModelInvalidError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.session import Session


def margins(session: Session, rows: Sequence[int]) -> list[float]:
    """Return for each catalog row the log-odds of yes after the prompt that the engine holds, in nats.

    Raises:
        ModelInvalidError: yes and no begin with the same token.
    """
    model = session.engine.model
    yes, no = (model.tokenize(answer)[0] for answer in (prompts.YES, prompts.NO))
    if yes == no:
        raise ModelInvalidError(f"to {model.path} yes and no begin alike: it cannot be asked for verdicts")
    runs = [Run(ROOT, tuple(session.encode(prompts.pointwise(row))), keep=False) for row in rows]
    return [float(logits[yes]) - float(logits[no]) for _, logits in session.engine.evaluate(runs)]


def preferences(session: Session, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Return for each pair of rows, in this order, the log-odds of the first after the prompt that the engine holds.

    Raises:
        UsageError: both have the same title, year included.
    """
    end_id = session.engine.model.newline_id
    runs, forks = [], []
    for a, b in pairs:
        first, second = ([*session.path_of(row), end_id] for row in (a, b))
        if first == second:
            raise UsageError("both items have the same title", hint="nothing tells them apart for a model")
        fork = next(i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y)
        runs.append(Run(ROOT, (*session.encode(prompts.pairwise(a, b)), *first[:fork]), keep=False))
        forks.append((first[fork], second[fork]))
    answers = session.engine.evaluate(runs)
    return [float(row[x]) - float(row[y]) for (_, row), (x, y) in zip(answers, forks, strict=True)]


def probability(margin: float, judging: tuple[float, float] | None = None) -> float:
    """Return the probability of log-odds, after slope and offset if there are any."""
    slope, offset = judging or (1.0, 0.0)
    z = slope * margin + offset
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
