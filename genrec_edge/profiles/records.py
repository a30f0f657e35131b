"""What goes into the profiles of users, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genrec_edge.records import Interaction


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """An interaction of a user with an item of the catalog.

    Attributes:
        item_id: the item's id in the catalog.
        title: its title there.
        timestamp: seconds, None if unknown.
        liked: whether the user enjoyed it; otherwise it only counts as seen.
    """

    item_id: str
    title: str
    timestamp: float | None = None
    liked: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a user.

    Attributes:
        user: the name that the caller gave.
        catalog: the name of the catalog that the items belong to.
        text: the summary, empty before the first block is full.
        kind: who wrote it, see `summaries.HistorySummary`; empty with an empty text.
        n_events: all events.
        n_summarised: liked events that went into the summary.
        n_waiting: liked events that are in no summary yet.
        updated: when, ISO 8601 in UTC.
    """

    user: str
    catalog: str
    text: str
    kind: str
    n_events: int
    n_summarised: int
    n_waiting: int
    updated: str


@dataclass(frozen=True, slots=True)
class ProfileContext:
    """What a request needs of a profile.

    Attributes:
        preference: the summary, None if there is none yet.
        recent: the latest liked items, oldest first.
        seen: the ids of all items with an event.
        catalog: the name of the catalog that the items belong to.
    """

    preference: str | None
    recent: tuple[Interaction, ...]
    seen: tuple[str, ...]
    catalog: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """What an update did.

    Attributes:
        profile: after the update.
        n_new: events that were not known before.
        n_blocks: blocks that were summarised.
        n_unwritten: blocks among them that the summarizer could not write about, so that facts were used.
        n_passed_over: older liked events, in more blocks than `blocks` allows, which only count as seen.
    """

    profile: Profile
    n_new: int
    n_blocks: int
    n_unwritten: int
    n_passed_over: int
