"""Which events count as likes: those rated high enough. What `--min-rating` and `min_rating` of a recipe mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.events import counted
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset


def rated_at_least(dataset: Dataset, min_rating: float) -> Dataset:
    """Leave out events with a lower rating, as if they had not been; those without a rating stay. -inf keeps all.

    Raises:
        UsageError: it is not a number, no event has a rating, or none has one that high.
    """
    if math.isnan(min_rating):
        raise UsageError("`min_rating` must be a number, got nan")
    if min_rating == -math.inf:
        return dataset
    if np.isnan(dataset.ratings).all():
        message = f"`min_rating` {min_rating:g} leaves all events of {dataset.name}: none has a rating"
        raise UsageError(message, hint="leave it out, or import the ratings, too")
    return dataset.filtered(~(dataset.ratings < min_rating), f"rated {min_rating:g} or higher")


def left_out_note(dataset: Dataset, min_rating: float) -> str:
    """Return how many events of a whole data set `rated_at_least` leaves out, and how many stay without a rating."""
    n_below = int(np.count_nonzero(dataset.ratings < min_rating))
    n_unrated = int(np.count_nonzero(np.isnan(dataset.ratings)))
    unrated = f"; kept: {counted(n_unrated)} without a rating" if n_unrated else ""
    return f"left out: {n_below:,} of {counted(dataset.n_events)}, rated below {min_rating:g}{unrated}"
