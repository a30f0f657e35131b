"""How old items were at the time of an event, in calendar years."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset


def item_years(dataset: Dataset) -> NDArray[np.float64]:
    """Return the year of each item, (n_items,), nan where it has none."""
    return np.array([np.nan if year is None else year for _, year in dataset.titles], np.float64)


def ages(years: NDArray[np.float64], times: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the year (UTC) of times in seconds minus the years of items, nan for items without one."""
    seconds = np.asarray(times, np.float64)
    calendar_years = seconds.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    return calendar_years - years
