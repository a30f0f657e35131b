"""Small tables of events, and data sets of them in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from genrec_edge.datasets.folder import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.records import Ties

Event = tuple[int, int, int]
"""User, item, time."""


N_USERS, N_ITEMS = 4, 6


EVENTS = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 5)), min_size=1, max_size=40
)


TIES: tuple[Ties, ...] = ("file", "item")


def dataset_of(
    events: Sequence[tuple[int, int, float]],
    n_users: int = N_USERS,
    n_items: int = N_ITEMS,
    *,
    years: Sequence[int | None] | None = None,
    ratings: Sequence[float] | None = None,
) -> Dataset:
    users, items, times = (list(column) for column in zip(*events, strict=True))
    return Dataset(
        name="made",
        path=Path("made"),
        card={"interactions": {"sha256": "0"}},
        user_ids=tuple(f"u{i}" for i in range(n_users)),
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        rows=np.arange(1, n_items + 1),
        titles=tuple((f"Title {i}", None if years is None else years[i]) for i in range(n_items)),
        users=np.array(users, np.int32),
        items=np.array(items, np.int32),
        timestamps=np.array(times, np.float64),
        ratings=np.array([np.nan] * len(events) if ratings is None else ratings, np.float32),
    )


def sorted_lists(events: list[Event], ties: Ties, n_users: int = N_USERS) -> list[list[tuple[int, int]]]:
    """Return (item, time) of each user in order, by Python's own stable sort."""
    order = sorted(events, key=lambda e: (e[2], e[1]) if ties == "item" else e[2])
    return [[(item, time) for user, item, time in order if user == wanted] for wanted in range(n_users)]
