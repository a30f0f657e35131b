"""What a data set holds, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset


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
