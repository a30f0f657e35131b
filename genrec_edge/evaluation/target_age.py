"""How old items were when users met them. What came out lately can be known from the calendar alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.ages import ages, item_years
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.records import Target


@dataclass(frozen=True, slots=True, eq=False)
class OldTargets:
    """The users whose target was old enough when they met it.

    Attributes:
        min_age: least number of years between the year of the item and that of the event.
        users: (n_users,) whether the target counts.
        n_younger: targets that do not.
        n_undated: targets that do not, since their item has no year.
    """

    min_age: int
    users: NDArray[np.bool_]
    n_younger: int
    n_undated: int

    def note(self) -> str:
        """Return what is left out, in words."""
        undated = f", {self.n_undated:,} without a year" if self.n_undated else ""
        of = self.n_younger + self.n_undated + int(self.users.sum())
        age = "1 year" if self.min_age == 1 else f"{self.min_age} years"
        return f"left out: {self.n_younger:,} of {of:,} targets younger than {age}{undated}"


def old_targets(dataset: Dataset, split: Split, target: Target, min_age: int) -> OldTargets:
    """Return the users whose target is of a year at least `min_age` before the year (UTC) in which they met it.

    Raises:
        UsageError: `min_age` is out of range, or no target is that old.
    """
    if min_age < 1:
        raise UsageError(f"`min_age` must be at least 1, got {min_age}")
    items = split.targets(target)
    asked = np.flatnonzero(items >= 0)
    at_event = ages(item_years(dataset)[items[asked]], split.times[target][asked])
    is_old = at_event >= min_age  # nan is not
    if not is_old.any():
        message = f"no {target} item of {dataset.name} was {min_age} years old or older when its user met it"
        raise UsageError(
            message, hint="take a smaller `min_age`, or data whose items have years and whose times are dates"
        )
    users = np.zeros(dataset.n_users, np.bool_)
    users[asked[is_old]] = True
    n_undated = int(np.isnan(at_event).sum())
    return OldTargets(min_age, users, len(asked) - int(is_old.sum()) - n_undated, n_undated)
