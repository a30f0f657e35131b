"""Histories, the k-core, and the splits of a data set into training events and held-out items.

Knows nothing of models and scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from genrec_edge.datasets.events import group_by_user
from genrec_edge.errors import UsageError
from genrec_edge.records import SplitKind, Target, Ties

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset


def user_histories(dataset: Dataset, ties: Ties) -> list[NDArray[np.int32]]:
    """Return the item indexes of each user's events, oldest first; users without events have an empty array."""
    if ties not in get_args(Ties):
        raise UsageError(f"unknown `ties` {ties!r}", hint=f"known: {', '.join(get_args(Ties))}")
    return group_by_user(dataset.timestamps, dataset.users, dataset.items, dataset.n_users, ties)[0]


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


def summarize(dataset: Dataset) -> dict[str, int | float]:
    """Return statistics of a data set; lengths are those of users with events.

    `tied_last_two` counts the users whose last two events have the same timestamp. `tied_events` is the share of events
    with the timestamp of the same user's previous event. `repeats` counts the events with an item that the user already
    had.
    """
    order = np.lexsort((dataset.timestamps, dataset.users))
    users, times = dataset.users[order], dataset.timestamps[order]
    is_tied = np.concatenate([[False], (users[1:] == users[:-1]) & (times[1:] == times[:-1])])
    is_last = np.concatenate([users[1:] != users[:-1], [True]])
    lengths = np.bincount(users)
    lengths = lengths[lengths > 0]
    pairs = dataset.users.astype(np.int64) * dataset.n_items + dataset.items
    return {
        "users": len(lengths),
        "items": len(np.unique(dataset.items)),
        "catalog_items": dataset.n_items,
        "events": dataset.n_events,
        "rated": int(np.count_nonzero(~np.isnan(dataset.ratings))),
        "repeats": dataset.n_events - len(np.unique(pairs)),
        "first_timestamp": float(times.min()),
        "last_timestamp": float(times.max()),
        "min_length": int(lengths.min()),
        "median_length": float(np.median(lengths)),
        "mean_length": float(lengths.mean()),
        "max_length": int(lengths.max()),
        "tied_last_two": int(np.count_nonzero(is_tied & is_last)),
        "tied_events": float(is_tied.mean()),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Training histories and held-out targets. An item of the user's history is never a target.

    Attributes:
        n_items: of the catalog.
        users: (n,) int32, the evaluated users: those with a test target.
        train: item indexes of each user of the data set, oldest first; may be empty.
        validation: (n_users,) int32, an item or -1.
        test: (n_users,) int32, an item or -1; what came before it is `train` and the validation item.
        ties: the rule for equal timestamps.
        kind: "leave-one-out", "by time" or "cold items".
        held_out: (n,) int32, items that were removed from all training histories, ascending.
        about: the data set, its hash, filters and the options of the split.
    """

    n_items: int
    users: NDArray[np.int32]
    train: tuple[NDArray[np.int32], ...]
    validation: NDArray[np.int32]
    test: NDArray[np.int32]
    ties: Ties
    kind: str
    held_out: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    about: Mapping[str, Any] = field(default_factory=dict)

    def has_targets(self, target: Target) -> bool:
        """Whether any user has such a target."""
        return bool(((self.test if target == "test" else self.validation) >= 0).any())

    def n_without(self, target: Target) -> int:
        """Return how many users with training events have no such target: no event is left, or its item is not new."""
        has_target = (self.test if target == "test" else self.validation) >= 0
        return sum(len(items) > 0 and not has for items, has in zip(self.train, has_target.tolist(), strict=True))

    def card(self) -> dict[str, Any]:
        """Return a description of the split, ready for JSON; it belongs to every metric on this split."""
        return {
            **self.about,
            "split": self.kind,
            "ties": self.ties,
            "items": self.n_items,
            "train_events": sum(map(len, self.train)),
            "validation_users": int(np.count_nonzero(self.validation >= 0)),
            "test_users": len(self.users),
            "held_out_items": len(self.held_out),
        }


def leave_one_out(dataset: Dataset, ties: Ties, *, min_events: int = 3) -> Split:
    """Hold out each user's last event for the test and the one before for validation.

    All events of users with fewer than `min_events` (at least 3) are training events.

    Raises:
        UsageError: there is no user with a test target.
    """
    if min_events < 3:
        raise UsageError(f"`min_events` must be at least 3, got {min_events}", hint="two events of a user are held out")
    sequences = user_histories(dataset, ties)
    n_train = [len(items) - 2 if len(items) >= min_events else len(items) for items in sequences]
    return _split(dataset, ties, "leave-one-out", sequences, n_train, {"min_events": min_events})


def split_by_time(dataset: Dataset, ties: Ties, *, share: float = 0.9) -> Split:
    """Train on the first `share` of all events by time, with one cut for all users.

    For users with events before the cut, the first one after it is the validation target, the second the test target.

    Raises:
        UsageError: there is no user with a test target.
    """
    if not 0 < share < 1:
        raise UsageError(f"`share` must be between 0 and 1, got {share:g}", hint="the default is 0.9")
    cut = np.sort(dataset.timestamps)[int(share * dataset.n_events)]
    early = np.bincount(dataset.users[dataset.timestamps < cut], minlength=dataset.n_users)
    return _split(
        dataset, ties, "by time", user_histories(dataset, ties), early.tolist(), {"share": share, "cut": float(cut)}
    )


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


def _split(
    dataset: Dataset,
    ties: Ties,
    kind: str,
    sequences: Sequence[NDArray[np.int32]],
    n_train: Sequence[int],
    options: Mapping[str, Any],
) -> Split:
    """Cut each sequence after its first `n_train` events; the two after the cut are the targets."""
    train = tuple(items[:n] for items, n in zip(sequences, n_train, strict=True))
    targets = np.full((2, dataset.n_users), -1, np.int32)
    for user, (items, n) in enumerate(zip(sequences, n_train, strict=True)):
        for which in range(min(2, len(items) - n) if n else 0):
            if items[n + which] not in items[: n + which]:
                targets[which, user] = items[n + which]
    users = np.flatnonzero(targets[1] >= 0).astype(np.int32)
    if not len(users):
        raise _no_target(dataset, kind, sequences, n_train)
    about = {
        "dataset": dataset.name,
        "sha256": dataset.card["interactions"]["sha256"],
        "filters": list(dataset.filters),
        **options,
    }
    return Split(dataset.n_items, users, train, targets[0], targets[1], ties, kind, about=about)


def _no_target(
    dataset: Dataset, kind: str, sequences: Sequence[NDArray[np.int32]], n_train: Sequence[int]
) -> UsageError:
    """Return the error that no user has a test target, with the reasons and how many users have each."""
    lengths = [(len(items), n) for items, n in zip(sequences, n_train, strict=True) if len(items)]
    n_short = sum(n < 1 or length < n + 2 for length, n in lengths)
    n_met = len(lengths) - n_short
    where = " before or after the cut" if kind == "by time" else ""
    reasons = [f"{n_short:,} have too few events{where}"] if n_short else []
    reasons += [f"{n_met:,} had met the item of their test event before"] if n_met else []
    hint = "use data with longer histories"
    if n_met:
        hint = "leave out repeated events: `genrec-edge data import --repeats drop`"
    return UsageError(f"no user of {dataset.name} has a test target ({kind}): {', '.join(reasons)}", hint=hint)
