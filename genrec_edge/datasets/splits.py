"""The k-core, and the splits of a data set into training events and held-out items, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.histories import user_events
from genrec_edge.datasets.split import LONGER, Split, describe, target_times
from genrec_edge.datasets.time_split import split_by_time
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import SplitKind, Ties


def k_core(dataset: Dataset, k: int) -> Dataset:
    """Leave out events until every remaining user and item has at least `k` of them; indexes do not change.

    Raises:
        UsageError: no event is left.
    """
    keep = np.ones(dataset.n_events, np.bool_)
    while True:
        per_user = np.bincount(dataset.users[keep], minlength=dataset.n_users)
        per_item = np.bincount(dataset.items[keep], minlength=dataset.n_items)
        kept = keep & (per_user[dataset.users] >= k) & (per_item[dataset.items] >= k)
        if kept.sum() == keep.sum():
            return dataset.filtered(keep, f"{k}-core")
        keep = kept


def leave_one_out(dataset: Dataset, ties: Ties, *, min_events: int = 3) -> Split:
    """Hold out each user's last event for the test and the one before for validation.

    All events of users with fewer than `min_events` (at least 3) are training events.

    Raises:
        UsageError: there is no user with a test target.
    """
    if min_events < 3:
        raise UsageError(f"`min_events` must be at least 3, got {min_events}", hint="two events of a user are held out")
    sequences, times = user_events(dataset, ties)
    n_train = [len(items) - 2 if len(items) >= min_events else len(items) for items in sequences]
    train = tuple(items[:n] for items, n in zip(sequences, n_train, strict=True))
    targets = np.full((2, dataset.n_users), -1, np.int32)
    times_of = np.full((2, dataset.n_users), np.nan)
    for user, (items, n) in enumerate(zip(sequences, n_train, strict=True)):
        for which in range(len(items) - n):
            if items[n + which] not in items[: n + which]:
                targets[which, user], times_of[which, user] = items[n + which], times[user][n + which]
    users = np.flatnonzero(targets[1] >= 0).astype(np.int32)
    if not len(users):
        raise _no_target(dataset, sequences, min_events)
    about = describe(dataset, {"min_events": min_events})
    return Split(
        dataset.n_items,
        users,
        train,
        targets[0],
        targets[1],
        ties,
        "leave-one-out",
        times=target_times(times_of),
        about=about,
    )


def _no_target(dataset: Dataset, sequences: Sequence[NDArray[np.int32]], min_events: int) -> UsageError:
    """Return the error that no user has a test target, with the reasons and how many users have each."""
    lengths = [len(items) for items in sequences if len(items)]
    n_short = sum(length < min_events for length in lengths)
    n_met = len(lengths) - n_short
    reasons = [f"{n_short:,} have too few events"] if n_short else []
    reasons += [f"{n_met:,} had met the item of their test event before"] if n_met else []
    hint = "leave out repeated events: `genrec-edge data import --repeats drop`" if n_met else LONGER
    return UsageError(f"no user of {dataset.name} has a test target (leave-one-out): {', '.join(reasons)}", hint=hint)


def split_cold_items(split: Split, *, share: float = 0.1, seed: int = 0) -> Split:
    """Remove some test targets from every training history, and keep the users whose test target is one of them.

    Args:
        split: the split to change.
        share: number of cold items as a share of all items; they are drawn from the test targets.
        seed: of the draw.

    Raises:
        UsageError: no user with a history and a cold target is left.
    """
    targets = np.unique(split.test[split.users])
    n = min(round(share * split.n_items), len(targets))
    if n < 1:
        message = f"a share of {share:g} of {split.n_items:,} items is less than one cold item"
        raise UsageError(message, hint="use data with more items, or a larger share")
    is_cold = np.zeros(split.n_items + 1, np.bool_)  # the last place stands for -1, no item
    is_cold[np.random.default_rng(seed).choice(targets, n, replace=False)] = True
    train = tuple(items[~is_cold[items]] for items in split.train)
    is_evaluated = is_cold[split.test] & np.array([len(items) > 0 for items in train])
    if not is_evaluated.any():
        raise UsageError(
            "no user has both a history and a cold test target",
            hint="use data with longer histories, or a smaller share",
        )
    return replace(
        split,
        users=np.flatnonzero(is_evaluated).astype(np.int32),
        train=train,
        validation=np.where(is_cold[split.validation], np.int32(-1), split.validation),
        test=np.where(is_evaluated, split.test, np.int32(-1)),
        kind="cold items",
        held_out=np.flatnonzero(is_cold).astype(np.int32),
        about={**split.about, "of": split.kind, "cold_share": share, "seed": seed},
    )


def split_of(
    dataset: Dataset,
    kind: SplitKind,
    ties: Ties,
    *,
    min_count: int = 0,
    seed: int = 0,
) -> Split:
    """Return a split by the name of its kind, of the `min_count`-core; 0 for all events.

    Raises:
        UsageError: no event or no test target is left.
    """
    if min_count:
        dataset = k_core(dataset, min_count)
    if kind == "time":
        return split_by_time(dataset, ties)
    split = leave_one_out(dataset, ties)
    return split_cold_items(split, seed=seed) if kind == "cold" else split
