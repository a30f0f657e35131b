"""The rows of a user: events once each and in order; summaries over their own version alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.profiles import rows
from genrec_edge.profiles.db import m001_initial
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.profiles.tastes import Tastes
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = [
    ProfileEvent("a", "Alien", 1.0),
    ProfileEvent("b", "Brazil", 2.0, liked=False),
    ProfileEvent("c", "Cube"),
    ProfileEvent("a", "Alien", 3.0),
]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        m001_initial(connection)
        rows.insert_profile(connection, "ann", "films")
        yield connection


@pytest.mark.parametrize("factor", [1e3, 1e6])
def test_events_that_an_earlier_version_kept_in_milliseconds_are_known(
    connection: sqlite3.Connection, factor: float
) -> None:
    old = [ProfileEvent("a", "Alien", 1_706_732_100.123 * factor), ProfileEvent("b", "Brazil", 5.0)]
    assert rows.insert_events(connection, "ann", old) == 2
    now = [ProfileEvent("a", "Alien", 1_706_732_100.123), ProfileEvent("b", "Brazil", 0.005)]
    assert rows.insert_events(connection, "ann", now) == 1
    assert rows.insert_events(connection, "ann", [ProfileEvent("a", "Alien", 1_706_732_101.123)]) == 1


def test_events_are_added_once_and_in_order(connection: sqlite3.Connection) -> None:
    assert rows.insert_events(connection, "ann", EVENTS[:2]) == 2
    assert rows.insert_events(connection, "ann", EVENTS) == 2
    assert rows.waiting_events(connection, "ann", 0) == [(0, "a"), (2, "c"), (3, "a")]
    assert rows.waiting_events(connection, "ann", 2) == [(2, "c"), (3, "a")]
    assert rows.latest_liked(connection, "ann", 2) == (Interaction("Cube", "c"), Interaction("Alien", "a"))
    assert set(rows.seen_ids(connection, "ann")) == {"a", "b", "c"}
    profile = rows.read_profile(connection, "ann")
    assert profile is not None
    assert (profile.catalog, profile.text, profile.n_events, profile.n_waiting) == ("films", "", 4, 3)


def test_a_summary_is_written_over_its_own_version_alone(connection: sqlite3.Connection) -> None:
    rows.insert_events(connection, "ann", EVENTS)
    state = rows.read_state(connection, "ann")
    assert state == rows.SummaryState((), 0, 0)
    summary = HistorySummary("quiet films", "facts", Tastes())
    for is_written in (True, False):  # the second time the version is another one
        assert is_written is rows.write_summary(
            connection, "ann", state.version, [summary], summary, done=3, n_summarised=2
        )
    assert rows.read_state(connection, "ann") == rows.SummaryState((summary,), 3, 1)
    profile = rows.read_profile(connection, "ann")
    assert profile is not None
    assert (profile.text, profile.kind, profile.n_summarised, profile.n_waiting) == ("quiet films", "facts", 2, 1)


def test_users_without_a_profile_have_no_rows(connection: sqlite3.Connection) -> None:
    assert rows.catalog_of(connection, "ann") == "films"
    assert rows.catalog_of(connection, "ben") is None
    assert rows.read_profile(connection, "ben") is None
    assert rows.read_state(connection, "ben") is None


def test_deleting_counts_the_events(connection: sqlite3.Connection) -> None:
    rows.insert_profile(connection, "ben", "films")
    rows.insert_events(connection, "ann", EVENTS)
    rows.insert_events(connection, "ben", EVENTS[:1])
    assert rows.delete_users(connection, "ann") == 4
    assert rows.catalog_of(connection, "ann") is None
    assert rows.delete_users(connection, None) == 1
    assert rows.catalog_of(connection, "ben") is None
