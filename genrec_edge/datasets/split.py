"""A data set in parts: training histories and held-out items. Knows nothing of models, scores and how it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import Target, Ties

LONGER = "use data with longer histories"
"""What to do where nobody has a target."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Training histories and held-out targets. An item of the user's history is never a target.

    Attributes:
        n_items: of the catalog.
        users: (n,) int32, the evaluated users: those with a test target.
        train: item indexes of each user of the data set, oldest first; may be empty.
        validation: (n_users,) int32, an item or -1; what came before it is `train`.
        test: (n_users,) int32, an item or -1; what came before it is `train` and `between`.
        ties: the rule for equal timestamps.
        kind: "leave-one-out", "global temporal" or "cold items".
        between: item indexes of each user's events after `train` and before the test item, oldest first; None for the
            validation item, where there is one.
        times: of the events with the targets of each kind, (n_users,) float64 seconds, nan where there is no target;
            empty where they are not known.
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
    between: tuple[NDArray[np.int32], ...] | None = None
    times: Mapping[Target, NDArray[np.float64]] = field(default_factory=dict)
    held_out: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    about: Mapping[str, Any] = field(default_factory=dict)

    def targets(self, target: Target) -> NDArray[np.int32]:
        """Return the held-out items of each user, (n_users,), -1 where there is none."""
        return self.test if target == "test" else self.validation

    def history(self, user: int, target: Target) -> NDArray[np.int32]:
        """Return the items of a user before the target, oldest first."""
        train = self.train[user]
        if target == "validation":
            return train
        if self.between is not None:
            return np.append(train, self.between[user])
        return np.append(train, self.validation[user]) if self.validation[user] >= 0 else train

    def has_targets(self, target: Target) -> bool:
        """Whether any user has such a target."""
        return bool((self.targets(target) >= 0).any())

    def n_without(self, target: Target) -> int:
        """Return how many users with training events have no such target: no event is left, or its item is not new."""
        has_target = self.targets(target) >= 0
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


def target_times(times: NDArray[np.float64]) -> dict[Target, NDArray[np.float64]]:
    """Return `Split.times` of (2, n_users) times, those of the validation targets first."""
    return {"validation": times[0], "test": times[1]}


def describe(dataset: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the card of a split says of the data and the options."""
    return {
        "dataset": dataset.name,
        "sha256": dataset.card["interactions"]["sha256"],
        "filters": list(dataset.filters),
        **options,
    }
