"""The systems of an evaluation, built from names and files: baselines, score files, priors and conditioning.

Everything that is fitted here sees the training part of the split only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.negatives import WeekPopularity
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.baselines import BASELINES
from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.external_scores import read_scores
from genrec_edge.evaluation.prior_term import PriorTerm
from genrec_edge.evaluation.ranker import ScoreRanker, TimedScores, scores_at
from genrec_edge.prior.dataset_mixture import dataset_facts, dataset_likes, mixture_of, open_mixture, training_events
from genrec_edge.prior.model import PriorCounts, log_prob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.runner import RankingSystem
    from genrec_edge.records import IntentKind, PreferenceKind, PriorKind, SummaryKind, Target

    ScoresOf = Callable[[NDArray[np.int32]], NDArray[np.float64]]

FREE_TEXT, PRIOR, FACTS, LIKED, MIXTURE = "free", "prior", "facts", "liked", "mixture"
"""Names of the baselines that `BASELINES` does not hold: generated text of the models, the counted prior, what items
have in common by the columns of the data set's catalog, liked sets, and the mixture of all that is known without a
model."""
_SCORED = (*BASELINES, PRIOR, FACTS, LIKED, MIXTURE)
"""Those that score every item."""
RANDOM, WEEK_POPULARITY = "random", "week-popularity"
"""Names of the negatives that are not the best of a baseline."""


def baseline_names(text: str, *, has_model: bool) -> list[str]:
    """Return the names in a comma-separated list, each once, in order; "all" is all but free text, "none" is none.

    Raises:
        UsageError: a name is unknown, or needs a model.
    """
    if text == "all":
        return list(_SCORED)
    if text == "none":
        return []
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    known = [*_SCORED, FREE_TEXT]
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"unknown `baselines`: {', '.join(map(repr, unknown))}"
        raise UsageError(message, hint=f"known: {', '.join(known)}; or all, or none")
    if FREE_TEXT in names and not has_model:
        raise UsageError("the baseline 'free' needs a model that generates the text", hint="give a `model`")
    return names


def baseline_rankers(
    names: Sequence[str], dataset: Dataset, split: Split, *, fit_first: bool = False, transfer: bool = False
) -> list[RankingSystem]:
    """Return the baselines but free text; each is fitted on the training part when it is entered.

    With `transfer`, liked sets and the mixture are those that come with the package, and see no event of the data set.
    """
    return [
        ScoreRanker(name, partial(_fitted, name, dataset, split, transfer=transfer), fit_first=fit_first)
        for name in names
        if name != FREE_TEXT
    ]


def negatives_of(
    name: str, dataset: Dataset, split: Split, min_age: int | None = None, *, transfer: bool = False
) -> tuple[str, ScoresOf] | WeekPopularity | None:
    """Return what chooses the negatives: None for "random", else the popularity of a week, or the best of a baseline.

    `min_age` is that of the targets: what is drawn by the popularity of a week is at least as old. With `transfer` a
    baseline sees no event, as in `baseline_rankers`.

    Raises:
        UsageError: there is no such baseline.
    """
    if name == RANDOM:
        return None
    if name == WEEK_POPULARITY:
        return WeekPopularity(dataset, min_age)
    if name not in _SCORED:
        message = f"`negatives` must be {RANDOM}, {WEEK_POPULARITY} or the name of a baseline, got {name!r}"
        raise UsageError(message, hint=f"known: {', '.join([RANDOM, WEEK_POPULARITY, *_SCORED])}")
    return name, _fitted(name, dataset, split, transfer=transfer)


def conditioner_of(
    dataset: Dataset,
    split: Split,
    preference: PreferenceKind,
    intent: IntentKind,
    recent: int,
    summary: SummaryKind,
    seed: int,
) -> Conditioner:
    """Return the conditioner over the facts of a data set.

    Raises:
        UsageError: the catalog has no facts besides titles.
    """
    facts = facts_of(dataset)
    if not any(facts):
        message = f"the catalog of {dataset.name} has no facts besides titles"
        raise UsageError(message, hint="import it again with columns such as genres, people or years")
    item_facts = ItemFacts(facts, split.train)
    return Conditioner(item_facts, preference, intent, recent, seed, summary)


def external_ranker(text: str, split: Split, target: Target, *, fit_first: bool) -> ScoreRanker:
    """Return the baseline of NAME=FILE.npz.

    Raises:
        UsageError: the text has another form, or the file does not fit; see `read_scores`.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UsageError(f"`scores` must be NAME=FILE.npz, got {text!r}")
    scores_of = read_scores(Path(path), split, target)
    return ScoreRanker(name, lambda: scores_of, fit_first=fit_first)


def model_variants(
    names: Sequence[str],
    prior: PriorKind,
    weights: Sequence[float],
    dataset: Dataset,
    split: Split,
    *,
    transfer: bool = False,
) -> Iterator[tuple[Literal["exact", "free"], PriorTerm | None]]:
    """Yield how each model is evaluated, (decode, prior): as free text if `names` has it, then with each prior weight.

    Without weights there is one variant, in which models that were tuned on a prior get it as in training.
    """
    if FREE_TEXT in names:
        yield "free", None
    variants: Sequence[float | None] = weights or [None]
    # Counted when a model asks for it: a mixture takes half a minute for a hundred thousand events.
    counted = cache(
        lambda: _fitted(prior, dataset, split, transfer=transfer) if prior == MIXTURE else _prior_scores(prior, split)
    )
    scores_of = TimedScores(lambda time: lambda history: scores_at(counted(), history, time))

    for weight in variants:
        yield "exact", None if weight == 0 else PriorTerm(prior, scores_of, weight)


def _fitted(name: str, dataset: Dataset, split: Split, *, transfer: bool = False) -> ScoresOf:
    if name == PRIOR:
        return _prior_scores("sequence", split)
    if name == FACTS:  # nothing is fitted: no event counts
        facts = dataset_facts(dataset)
        return lambda history: facts.scores(history.tolist())
    if name == LIKED:
        liked = dataset_likes(dataset, None if transfer else split.train)
        return lambda history: liked.scores(history.tolist())
    if name == MIXTURE:
        return _mixture_scores(dataset, split, transfer=transfer)
    baseline = BASELINES[name]()
    baseline.fit(split.train, split.n_items)
    return baseline.scores


def _mixture_scores(dataset: Dataset, split: Split, *, transfer: bool) -> ScoresOf:
    """Return the log-probabilities of the mixture of the training part, at any time, or of what the package brings."""
    if transfer:
        unseen = open_mixture(dataset)
        return lambda history: unseen.log_prob(history.tolist())
    mixture, events = mixture_of(dataset, split.train), training_events(dataset, split.train)

    def at(time: float | None) -> ScoresOf:
        timed = replace(mixture, recent=events.recent(time))
        return lambda history: timed.log_prob(history.tolist())

    return TimedScores(at)


def _prior_scores(kind: PriorKind, split: Split) -> ScoresOf:
    """Return the log-probabilities of a prior counted on the training part."""
    counts = PriorCounts.of(split.train, split.n_items)
    return lambda history: log_prob(counts, history, kind)
