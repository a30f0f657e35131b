"""The evaluation protocol: for each user one held-out target, the history before it, and the candidates to rank.

For the test item, the history is the training events and the validation item. Items of the history are never
candidates. All other items are, or a sample of them together with the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from genrec_edge.datasets.negatives import candidate_negatives
from genrec_edge.errors import UsageError
from genrec_edge.records import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.datasets.negatives import WeekPopularity
    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.conditioning import Conditioner, Conditioning

    ScoresOf = Callable[[NDArray[np.int32]], NDArray[np.floating]]
    """From a history of item indexes, oldest first, to the score of each item, (n_items,)."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationCases:
    """The input of all systems, one case per user; sequences are in the order of `users`, ascending.

    Attributes:
        users: (n,) int32, indexes of users of the data set.
        targets: (n,) int32, item indexes.
        histories: item indexes of each user, oldest first.
        candidates: item indexes to rank for each user, ascending, the target among them; None for all items.
        conditioning: what the prompt contains for each user; None for the history alone.
        times: (n,) float64 seconds, when each user is asked: that of the target's event; None where it is not known.
    """

    users: NDArray[np.int32]
    targets: NDArray[np.int32]
    histories: tuple[NDArray[np.int32], ...]
    candidates: tuple[NDArray[np.int32], ...] | None
    conditioning: tuple[Conditioning, ...] | None = None
    times: NDArray[np.float64] | None = None


def cases_of(
    split: Split,
    *,
    target: Target = "test",
    users: int | None = None,
    candidates: int | None = None,
    negative_scores: ScoresOf | None = None,
    week_popularity: WeekPopularity | None = None,
    counts: NDArray[np.bool_] | None = None,
    conditioner: Conditioner | None = None,
    seed: int = 0,
) -> EvaluationCases:
    """Return the evaluation cases of a split.

    Args:
        split: training histories and held-out items.
        target: which of the held-out items.
        users: a sample of so many users; a seed always draws the same ones, and a larger sample contains a smaller one.
        candidates: rank the target among so many negatives, drawn for each user from the items that are neither in the
            history nor held out; None ranks all items.
        negative_scores: the negatives are the items with the highest of these scores; None draws them at random.
        week_popularity: draws the negatives by what everybody met in the week of the target; None draws them at random.
        counts: whose targets count, (n_users,); None for all.
        conditioner: decides what the prompt contains for each user; None for the history alone.
        seed: of both draws.

    Raises:
        UsageError: a number out of range, or no user with a target.
    """
    held_out = {"test": split.test, "validation": split.validation}
    if target not in get_args(Target):
        raise UsageError(f"unknown `target` {target!r}", hint=f"known: {', '.join(get_args(Target))}")
    has_target = held_out[target] >= 0
    chosen = np.flatnonzero(has_target if counts is None else has_target & counts)
    if not len(chosen):
        raise UsageError(f"the split has no {target} items", hint="choose another `target` or `split`")
    if users is not None:
        if users < 1:
            raise UsageError(f"`users` must be at least 1, got {users}")
        chosen = np.sort(np.random.default_rng(seed).permutation(chosen)[:users])
    if candidates is None and not (negative_scores is None and week_popularity is None):
        raise UsageError("`negatives` that are chosen need a number of candidates", hint="give `candidates`, too")
    targets = held_out[target][chosen]
    histories = tuple(split.history(user, target) for user in chosen.tolist())
    candidate_lists = None
    if candidates is not None:
        candidate_lists = tuple(
            _candidates(
                split,
                user,
                candidates,
                target,
                np.random.default_rng([seed, user]),
                None if negative_scores is None else negative_scores(history),
                week_popularity,
            )
            for user, history in zip(chosen.tolist(), histories, strict=True)
        )
    conditioning = None
    if conditioner is not None:
        conditioning = tuple(map(conditioner.condition, chosen.tolist(), histories, targets.tolist()))
    times = split.times[target][chosen] if target in split.times else None
    return EvaluationCases(chosen.astype(np.int32), targets, histories, candidate_lists, conditioning, times)


def _candidates(
    split: Split,
    user: int,
    n_negatives: int,
    target: Target,
    rng: np.random.Generator,
    scores: NDArray[np.floating] | None,
    week_popularity: WeekPopularity | None,
) -> NDArray[np.int32]:
    """Return the user's target and `n_negatives` other items, ascending.

    They are neither in the user's history nor held out: at random, those with the highest scores, or what was popular.
    """
    item = split.targets(target)[user]
    if week_popularity is not None:
        drawn = week_popularity.sample(user, float(split.times[target][user]), n_negatives, rng)
    else:
        excluded = [*split.history(user, "test").tolist(), split.validation[user], split.test[user]]
        drawn = candidate_negatives(excluded, split.n_items, n_negatives, rng, scores)
    return np.sort(np.append(drawn, item)).astype(np.int32)
