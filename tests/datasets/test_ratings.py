"""Which events count as likes."""

from __future__ import annotations

import math

import pytest

from genrec_edge.datasets.ratings import left_out_note, rated_at_least
from genrec_edge.errors import UsageError
from tests.support.event_tables import dataset_of

EVENTS = [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 3, 3)]


def test_lower_ratings_are_left_out_and_missing_ones_stay() -> None:
    dataset = dataset_of(EVENTS, ratings=[7, 6.5, math.nan, 3])
    likes = rated_at_least(dataset, 7)
    assert (likes.items.tolist(), likes.filters) == ([0, 2], ("rated 7 or higher",))
    assert left_out_note(dataset, 7) == "left out: 2 of 4 events, rated below 7; kept: 1 event without a rating"
    assert rated_at_least(dataset, -math.inf) is dataset
    assert left_out_note(dataset_of(EVENTS, ratings=[7, 8, 9, 6]), 6.5) == "left out: 1 of 4 events, rated below 6.5"


def test_a_rating_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="`min_rating` must be a number, got nan"):
        rated_at_least(dataset_of(EVENTS), math.nan)
    with pytest.raises(UsageError, match="`min_rating` 7 leaves all events of made: none has a rating"):
        rated_at_least(dataset_of(EVENTS), 7)
    with pytest.raises(UsageError, match="no event of made is left: rated 9 or higher"):
        rated_at_least(dataset_of(EVENTS, ratings=[1, 2, 3, 8]), 9)
