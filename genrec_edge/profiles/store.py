"""Profiles of users on this machine: what they have met, and a summary that grows by a step for each block of it.

New events wait until they fill a block; then the block and the summary so far give the new summary, whatever came
before. A prompt is the summary, the latest items in full, and those that wait: it does not grow with the history.
"""

from __future__ import annotations

import math
import reprlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.errors import LockedError, UsageError
from genrec_edge.profiles.db import PROFILES, as_json, parts_of, writing
from genrec_edge.profiles.summaries import DEFAULT_BLOCK, DEFAULT_BLOCKS, advanced
from genrec_edge.records import Interaction
from genrec_edge.storage import paths

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.profiles.summaries import HistorySummary, Method, Summarizer

RECENT = 5
"""Latest items that are told in full although they are summarised. Source: as for `summaries.DEFAULT_BLOCK`."""
_MAX_WAITING = 50
"""Items in no summary that are told at most; there are fewer than a block, but for an update that was cut short."""
_MAX_BLOCK = 100
_MAX_USER_CHARACTERS = 200
_ATTEMPTS = 5

_WAITING = "SELECT place, item FROM events WHERE user = ? AND liked AND place >= ? ORDER BY place"


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """An item that a user has met: its id and title in the catalog, seconds or None, and whether it was enjoyed."""

    item_id: str
    title: str
    timestamp: float | None = None
    liked: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a user.

    Attributes:
        user: as the caller names them.
        catalog: the name of the catalog that the items are of.
        text: the summary, empty before the first block is full.
        kind: who wrote it, see `summaries.HistorySummary`; empty with an empty text.
        n_events: all that were met.
        n_summarised: events that went into the summary.
        n_waiting: enjoyed, and in no summary yet.
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
    """What a request is told of a user: the summary or None, the latest items enjoyed, oldest first, all ids met."""

    preference: str | None
    recent: tuple[Interaction, ...]
    seen: tuple[str, ...]
    catalog: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """What an update did.

    Attributes:
        profile: as it is now.
        n_new: events that were not known.
        n_blocks: summarised, a step of the summarizer each.
        n_unwritten: of those, how many it could not write and facts stand in for.
        n_passed_over: older events in more blocks than asked for, which only count as seen.
    """

    profile: Profile
    n_new: int
    n_blocks: int
    n_unwritten: int
    n_passed_over: int


@dataclass(frozen=True, slots=True)
class _State:
    """The row of a user: what its summary is made of, up to which place, and the row's version."""

    parts: tuple[HistorySummary, ...]
    done: int
    version: int


class ProfileStore:
    """The profiles in one file; `path` None is the user's own (`paths.profiles_path`), made on first use.

    Safe to use from several processes at once: no event is lost, and a summary is written only on top of the one that
    it was made from. Every method raises what `profile_file.opened` does.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = paths.profiles_path() if path is None else Path(path)

    def get(self, user: str) -> Profile:
        """Return the profile of a user.

        Raises:
            UsageError: there is none.
        """
        with self._reading(user) as connection:
            return self._get(connection, user)

    def users(self) -> list[str]:
        """Return all users, in the order of their names."""
        if not self._has_tables():
            return []
        with PROFILES.opened(self.path, "ro") as connection:
            return [str(user) for (user,) in connection.execute("SELECT user FROM profiles ORDER BY user")]

    def context(self, user: str) -> ProfileContext:
        """Return what a request is told of a user; its size does not depend on the length of the history.

        Raises:
            UsageError: there is no profile.
        """
        with self._reading(user) as connection:
            profile = self._get(connection, user)
            n_told = RECENT + min(profile.n_waiting, _MAX_WAITING)
            latest = connection.execute(
                "SELECT title, item FROM events WHERE user = ? AND liked ORDER BY place DESC LIMIT ?", [user, n_told]
            ).fetchall()
            seen = connection.execute("SELECT DISTINCT item FROM events WHERE user = ?", [user]).fetchall()
        recent = tuple(Interaction(title, item_id) for title, item_id in reversed(latest))
        return ProfileContext(profile.text or None, recent, tuple(item_id for (item_id,) in seen), profile.catalog)

    def update(
        self,
        user: str,
        events: Sequence[ProfileEvent],
        catalog: Catalog,
        summarizer: Summarizer,
        *,
        method: Method = "recurrent",
        block: int = DEFAULT_BLOCK,
        blocks: int | None = None,
    ) -> ProfileUpdate:
        """Add events, oldest first, and take each full block of those that wait into the summary.

        Events that are known are left out. The events are kept before the summarizer is asked: an update that is cut
        short leaves them waiting.

        Args:
            user: any name.
            events: items of the catalog; none at all goes on with what waits.
            catalog: the one the profile was begun with.
            summarizer: asked once for each block, and once more to merge.
            method: "recurrent" or "hierarchical", see `summaries`.
            block: enjoyed items of a block.
            blocks: full blocks summarised of one update, the latest, and blocks of a hierarchical summary; None takes
                all, and 5.

        Raises:
            UsageError: a number out of range, the profile is of another catalog, or there is none and no event.
            LockedError: others update this profile all the time.
        """
        _check_user(user)
        _check_update(events, block, blocks)
        n_new = self._add(user, events, catalog.name)
        most = DEFAULT_BLOCKS if blocks is None and method == "hierarchical" else blocks
        for _ in range(_ATTEMPTS):
            with self._reading(user) as connection:
                state = self._state(connection, user)
                waiting = connection.execute(_WAITING, [user, state.done]).fetchall()
            full = [waiting[i : i + block] for i in range(0, len(waiting) - block + 1, block)]
            if not full:
                return ProfileUpdate(self.get(user), n_new, 0, 0, 0)
            taken = full if most is None else full[-most:]
            rows = [_rows(catalog, [item_id for _, item_id in part]) for part in taken]
            parts, n_unwritten = advanced(state.parts, rows, summarizer, method, most or DEFAULT_BLOCKS)
            if self._put(user, state, parts, summarizer.merge(parts), full[-1][-1][0] + 1, block * len(taken)):
                n_passed_over = block * (len(full) - len(taken))
                return ProfileUpdate(self.get(user), n_new, len(taken), n_unwritten, n_passed_over)
        raise LockedError(f"others update the profile of {_named(user)} all the time", hint="repeat the command")

    def forget(self, user: str | None) -> int:
        """Delete a user, or all of them for None, and return how many events that were.

        Nothing of it is left in the file, whose free room is given back.
        """
        if not self.path.exists():
            return 0
        if user is not None:
            _check_user(user)
        where, given = ("", []) if user is None else (" WHERE user = ?", [user])
        with writing(self.path) as connection:
            n_events = connection.execute(f"DELETE FROM events{where}", given).rowcount
            connection.execute(f"DELETE FROM profiles{where}", given)
        with PROFILES.opened(self.path, "rw") as connection:
            # Zeros were written where a row was when it was deleted, not where it had been moved from before.
            connection.execute("VACUUM")
        return n_events

    def _has_tables(self) -> bool:
        """Whether the file exists and is more than the empty one that another process is about to fill."""
        return self.path.exists() and self.path.stat().st_size > 0

    @contextmanager
    def _reading(self, user: str) -> Iterator[sqlite3.Connection]:
        _check_user(user)
        if not self._has_tables():
            raise self._unknown(user)
        with PROFILES.opened(self.path, "ro") as connection:
            yield connection

    def _add(self, user: str, events: Sequence[ProfileEvent], catalog: str) -> int:
        if not events and not self.path.exists():
            raise self._unknown(user)
        with writing(self.path) as connection:
            row = connection.execute("SELECT catalog FROM profiles WHERE user = ?", [user]).fetchone()
            if row is None and not events:
                raise self._unknown(user)
            if row is not None and row[0] != catalog:
                message = f"the profile of {_named(user)} is of the catalog {row[0]!r}, this one is {catalog!r}"
                raise UsageError(message, hint="name that catalog, or forget the profile first")
            if row is None:
                connection.execute(
                    "INSERT INTO profiles VALUES (?, ?, '', '', '[]', 0, 0, 0, ?)", [user, catalog, _now()]
                )
            query = "SELECT ifnull(max(place) + 1, 0) FROM events WHERE user = ?"
            (first,) = connection.execute(query, [user]).fetchone()
            n_new = 0
            for event in events:
                row = (user, first + n_new, event.item_id, event.title, event.timestamp, int(event.liked))
                n_new += connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", row).rowcount
        return n_new

    def _put(
        self,
        user: str,
        state: _State,
        parts: Sequence[HistorySummary],
        whole: HistorySummary,
        done: int,
        n_summarised: int,
    ) -> bool:
        """Write a summary unless the row is another one than `state` by now; return whether it was written."""
        with writing(self.path) as connection:
            query = (
                "UPDATE profiles SET text = ?, kind = ?, parts = ?, done = ?, n_summarised = n_summarised + ?, "
                "version = version + 1, updated = ? WHERE user = ? AND version = ?"
            )
            values = (whole.text, whole.kind if whole.text else "", as_json(parts), done, n_summarised, _now())
            return connection.execute(query, [*values, user, state.version]).rowcount == 1

    def _state(self, connection: sqlite3.Connection, user: str) -> _State:
        row = connection.execute("SELECT parts, done, version FROM profiles WHERE user = ?", [user]).fetchone()
        if row is None:
            raise self._unknown(user)
        try:
            return _State(parts_of(row[0]), row[1], row[2])
        except ValueError as e:
            raise PROFILES.damaged(self.path, f"the summary of {_named(user)} cannot be read ({e})") from e

    def _get(self, connection: sqlite3.Connection, user: str) -> Profile:
        query = "SELECT catalog, text, kind, n_summarised, updated, done FROM profiles WHERE user = ?"
        row = connection.execute(query, [user]).fetchone()
        if row is None:
            raise self._unknown(user)
        catalog, text, kind, n_summarised, updated, done = row
        if not all(isinstance(cell, str) for cell in (catalog, text, kind, updated)) or not isinstance(done, int):
            raise PROFILES.damaged(self.path, f"a cell of {_named(user)} is not of its column's type")
        counts = "SELECT count(*), count(*) FILTER (WHERE liked AND place >= ?) FROM events WHERE user = ?"
        n_events, n_waiting = connection.execute(counts, [done, user]).fetchone()
        return Profile(user, catalog, text, kind, n_events, n_summarised, n_waiting, updated)

    def _unknown(self, user: str) -> UsageError:
        hint = f"genrec-edge profile update {_named(user)} -H TITLE begins one"
        return UsageError(f"there is no profile of {_named(user)} in {self.path}", hint=hint)


def _check_user(user: str) -> None:
    # SQLite cannot hold lone surrogates, which come from command lines that are not UTF-8.
    is_text = user == user.encode(errors="replace").decode()
    if not is_text or not user.strip() or len(user) > _MAX_USER_CHARACTERS or printable(user) != user:
        raise UsageError(f"{_named(user)} is no name of 1 to {_MAX_USER_CHARACTERS} printable characters")


def _check_update(events: Sequence[ProfileEvent], block: int, blocks: int | None) -> None:
    findings = [
        f"{name} is {number}, not a number from 1 to {_MAX_BLOCK}"
        for name, number in (("block", block), ("blocks", blocks))
        if number is not None and not 1 <= number <= _MAX_BLOCK
    ]
    if wrong := [event for event in events if event.timestamp is not None and not math.isfinite(event.timestamp)]:
        findings.append(f"{len(wrong)} timestamps are no numbers, such as that of {wrong[0].title!r}")
    if findings:
        raise UsageError("; ".join(findings))


def _rows(catalog: Catalog, item_ids: Sequence[str]) -> list[int]:
    """Return the rows of those items that the catalog still has, in their order."""
    items = catalog.by_ids(item_ids)
    return [items[item_id].row for item_id in item_ids if item_id in items]


def _named(user: str) -> str:
    return reprlib.repr(user)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
