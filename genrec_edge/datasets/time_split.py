"""The global temporal split: one date for all users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.histories import user_events
from genrec_edge.datasets.split import LONGER, Split, describe, target_times
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import Ties


def split_by_time(dataset: Dataset, ties: Ties, *, validation_share: float = 0.1, test_share: float = 0.1) -> Split:
    """Train on what was before one date for all users; ask for what each met first after it.

    The last `test_share` of all events by time are the test part, the `validation_share` before them the validation
    part: two dates, and events with the time of a date are after it. The target of a part is the first event of a user
    in it with an item that is new to the user, and the history is all that the user met before the part. A user
    without events before a part has no target in it. Nothing after the first date is trained on.

    This is a global temporal split with the first event as the target. Source: "Time to Split", arXiv 2507.16289.

    Raises:
        UsageError: a share out of range, or no user with a test target.
    """
    cuts = _cuts(dataset, validation_share, test_share)
    items, times = user_events(dataset, ties)
    places = [np.searchsorted(own, cuts) for own in times]
    train = tuple(own[:first] for own, (first, _) in zip(items, places, strict=True))
    between = tuple(own[first:second] for own, (first, second) in zip(items, places, strict=True))
    targets = np.full((2, dataset.n_users), -1, np.int32)
    times_of = np.full((2, dataset.n_users), np.nan)
    for user, (own, own_times, (first, second)) in enumerate(zip(items, times, places, strict=True)):
        for which, (start, end) in enumerate(((first, second), (second, len(own)))):
            place = _first_new(own, start, end) if start else None
            if place is not None:
                targets[which, user], times_of[which, user] = own[place], own_times[place]
    if not (targets[1] >= 0).any():
        reason = f"none has events before the last {test_share:.0%} of all events and a new item in them"
        raise UsageError(f"no user of {dataset.name} has a test target (global temporal): {reason}", hint=LONGER)
    about = {"validation_share": validation_share, "test_share": test_share, "cuts": list(cuts)}
    return Split(
        dataset.n_items,
        np.flatnonzero(targets[1] >= 0).astype(np.int32),
        train,
        targets[0],
        targets[1],
        ties,
        "global temporal",
        between,
        target_times(times_of),
        about=describe(dataset, about),
    )


def _cuts(dataset: Dataset, validation_share: float, test_share: float) -> tuple[float, float]:
    """Return the time of the first validation event and that of the first test event."""
    n = dataset.n_events
    n_test, n_validation = (round(share * n) if 0 < share < 1 else 0 for share in (test_share, validation_share))
    in_order = np.sort(dataset.timestamps)
    if n_test and n_validation and n_test + n_validation < n and in_order[0] < in_order[-n_test - n_validation]:
        return float(in_order[-n_test - n_validation]), float(in_order[-n_test])
    shares = f"`validation_share` {validation_share:g} and `test_share` {test_share:g}"
    message = f"{shares} of {n:,} events leave no event for a part"
    raise UsageError(message, hint="both are 0.1 unless said; use data with more events")


def _first_new(items: NDArray[np.int32], start: int, end: int) -> int | None:
    """Return the first place from `start` on and before `end` whose item is not before `start`; None without one."""
    is_new = ~np.isin(items[start:end], items[:start])
    return start + int(np.argmax(is_new)) if is_new.any() else None
