"""What an evaluation asks: every user's held-out item, after the history that came before it.

For the test item, that is the training events and the validation item. The items of the history are never an answer;
everything else is one, or a sample of it with the target inside. Knows splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.datasets.splits import Split
    from genrec_edge.evaluation.conditioning import Conditioner, Conditioning

    ScoresOf = Callable[[NDArray[np.int32]], NDArray[np.floating]]

Target = Literal["test", "validation"]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationCases:
    """What all systems are asked; sequences stand in the order of `users`, ascending.

    Attributes:
        users: (n,) int32, indexes of users of the data set.
        targets: (n,) int32, item indexes.
        histories: item indexes of each user, oldest first.
        candidates: item indexes to rank for each user, ascending, the target among them; None for all.
        told: what systems are told for each user; None for the history alone.
    """

    users: NDArray[np.int32]
    targets: NDArray[np.int32]
    histories: tuple[NDArray[np.int32], ...]
    candidates: tuple[NDArray[np.int32], ...] | None
    told: tuple[Conditioning, ...] | None = None


def cases_of(
    split: Split,
    *,
    target: Target = "test",
    users: int | None = None,
    candidates: int | None = None,
    hard: ScoresOf | None = None,
    conditioner: Conditioner | None = None,
    seed: int = 0,
) -> EvaluationCases:
    """Return what a split asks.

    Args:
        split: what is known and what is held out.
        target: which of the held-out items.
        users: a sample of so many users; the same seed draws the same ones, and a larger sample contains a smaller.
        candidates: rank the target among so many others, drawn for each user by the seed from the items that the user
            never meets, in history or future; None ranks all items.
        hard: from a history to the score of each item, (n_items,): the others are those with the highest scores.
        conditioner: says what systems are told for each user; None tells the history alone.
        seed: of both draws.

    Raises:
        UsageError: a number out of range, or no user to ask.
    """
    held_out = {"test": split.test, "validation": split.validation}
    if target not in get_args(Target):
        raise UsageError(f"unknown target {target!r}", hint=f"known: {', '.join(get_args(Target))}")
    asked = np.flatnonzero(held_out[target] >= 0)
    if not len(asked):
        raise UsageError(f"the split has no {target} items", hint="take another target or split")
    if users is not None:
        if users < 1:
            raise UsageError(f"{users} users cannot be asked", hint="give --users at least 1")
        asked = np.sort(np.random.default_rng(seed).permutation(asked)[:users])
    if hard is not None and candidates is None:
        raise UsageError("hard negatives need a number of candidates", hint="give --candidates")
    targets = held_out[target][asked]
    known = tuple(history_of(split, user, target) for user in asked.tolist())
    return EvaluationCases(
        users=asked.astype(np.int32),
        targets=targets,
        histories=known,
        candidates=None
        if candidates is None
        else tuple(
            _sampled(split, user, candidates, target, seed, None if hard is None else hard(history))
            for user, history in zip(asked.tolist(), known, strict=True)
        ),
        told=None if conditioner is None else tuple(map(conditioner.told, asked.tolist(), known, targets.tolist())),
    )


def history_of(split: Split, user: int, target: Target) -> NDArray[np.int32]:
    """Return the items a user had met before the target, oldest first."""
    train, validation = split.train[user], split.validation[user]
    return np.append(train, validation) if target == "test" and validation >= 0 else train


def _sampled(
    split: Split, user: int, n: int, target: Target, seed: int, scores: NDArray[np.floating] | None
) -> NDArray[np.int32]:
    """Return the user's target and `n` items that the user never meets, those with the highest scores, ascending."""
    own = [split.validation[user], split.test[user]]
    is_free = np.ones(split.n_items + 1, np.bool_)  # the last place answers for -1, no item
    is_free[[*split.train[user], *own, -1]] = False
    free = np.flatnonzero(is_free)
    if not 1 <= n <= len(free):
        message = f"{n:,} candidates cannot be drawn beside the target: a user leaves {len(free):,} items"
        raise UsageError(message, hint="give --candidates at least 1 and fewer than that")
    if scores is None:
        drawn = np.random.default_rng([seed, user]).choice(free, n, replace=False)
    else:
        drawn = free[np.argsort(-scores[free], kind="stable")[:n]]
    return np.sort(np.append(drawn, own[target == "test"])).astype(np.int32)
