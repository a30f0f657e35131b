"""The events of each user, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from genrec_edge.datasets.events import group_by_user
from genrec_edge.errors import UsageError
from genrec_edge.records import Ties

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset


def user_histories(dataset: Dataset, ties: Ties) -> list[NDArray[np.int32]]:
    """Return the item indexes of each user's events, oldest first; users without events have an empty array."""
    return user_events(dataset, ties)[0]


def user_events(dataset: Dataset, ties: Ties) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float64]]]:
    """Return the item indexes and the times of each user's events, oldest first."""
    if ties not in get_args(Ties):
        raise UsageError(f"unknown `ties` {ties!r}", hint=f"known: {', '.join(get_args(Ties))}")
    return group_by_user(dataset.timestamps, dataset.users, dataset.items, dataset.n_users, ties)
