"""What `genrec-edge evaluate` is told to ask, put together: the split, baselines, files of scores, priors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.baselines import BASELINES
from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.external_scores import read_scores
from genrec_edge.evaluation.llm_ranker import PriorTerm
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.prior.model import PriorCounts, log_prob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.splits import Split
    from genrec_edge.evaluation.conditioning import IntentKind, PreferenceKind, SummaryKind
    from genrec_edge.evaluation.protocol import Target
    from genrec_edge.evaluation.runner import RankingSystem
    from genrec_edge.records import PriorKind

    ScoresOf = Callable[[NDArray[np.int32]], NDArray[np.float64]]

FREE, PRIOR = "free", "prior"


def baseline_names(text: str, *, has_model: bool) -> list[str]:
    """Return the baselines a person named, in order, each once.

    Raises:
        UsageError: one of them is unknown, or needs a model.
    """
    if text in {"all", "none"}:
        return [*BASELINES, PRIOR] if text == "all" else []
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    known = [*BASELINES, PRIOR, FREE]
    if unknown := [name for name in names if name not in known]:
        message = f"no baseline is called {', '.join(map(repr, unknown))}"
        raise UsageError(message, hint=f"known: {', '.join(known)}; or all, or none")
    if FREE in names and not has_model:
        raise UsageError("free text needs a model to write it", hint="name one with --model")
    return names


def baseline_rankers(names: Sequence[str], split: Split, *, fit_first: bool = False) -> list[RankingSystem]:
    """Return the baselines that are fitted on the training part when their turn comes."""
    return [ScoreRanker(name, partial(_fitted, name, split), fit_first=fit_first) for name in names if name != FREE]


def hard_scores(name: str, split: Split) -> tuple[str, ScoresOf]:
    """Return a baseline that chooses hard negatives, with its name.

    Raises:
        UsageError: there is no such baseline.
    """
    if name not in {*BASELINES, PRIOR}:
        message = f"no baseline is called {name!r}, whose best items could be the negatives"
        raise UsageError(message, hint=f"known: random, {', '.join([*BASELINES, PRIOR])}")
    return name, _fitted(name, split)


def conditioner_of(
    dataset: Dataset,
    split: Split,
    preference: PreferenceKind,
    intent: IntentKind,
    recent: int,
    summary: SummaryKind,
    seed: int,
) -> Conditioner:
    """Return what says in words what systems are told.

    Raises:
        UsageError: the catalog knows nothing of its items but titles.
    """
    facts = facts_of(dataset)
    if not any(facts):
        message = f"the catalog of {dataset.name} knows nothing of its items but their titles"
        raise UsageError(message, hint="import it again with columns such as genres, people or years")
    item_facts = ItemFacts(facts, split.train)
    return Conditioner(item_facts, preference, intent, recent, seed, summary)


def ranker_from_file(text: str, split: Split, target: Target, *, fit_first: bool) -> ScoreRanker:
    """Return the baseline of NAME=FILE.npz; see `scores.py` for what can be wrong with it."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UsageError(f"--scores {text!r} does not say whose scores they are", hint="write NAME=FILE.npz")
    scores_of = read_scores(Path(path), split, target)
    return ScoreRanker(name, lambda: scores_of, fit_first=fit_first)


def ways_to_answer(
    names: Sequence[str], prior: PriorKind, weights: Sequence[float], split: Split
) -> Iterator[tuple[Literal["exact", "free"], PriorTerm | None]]:
    """Yield how each model is to answer: in free text where that was named; searched, with each weight of a prior.

    Without a weight, those that were tuned on a prior get it as they were.
    """
    if FREE in names:
        yield "free", None
    scores_of = _counted(prior, split)
    ways: Sequence[float | None] = weights or [None]
    for weight in ways:
        yield "exact", None if weight == 0 else PriorTerm(prior, scores_of, weight)


def _fitted(name: str, split: Split) -> ScoresOf:
    if name == PRIOR:
        return _counted("sequence", split)
    baseline = BASELINES[name]()
    baseline.fit(split.train, split.n_items)
    return baseline.scores


def _counted(kind: PriorKind, split: Split) -> ScoresOf:
    """Return the prior of the training part alone: counted targets would give themselves away."""
    counts = PriorCounts.of(split.train, split.n_items)
    return lambda history: log_prob(counts, history, kind)
