"""Profiles of users on this machine: their events, and a summary that grows by one step for each block of events.

New events wait until they fill a block; then the block and the summary so far give the new summary, however long the
history is. A request gets the summary, the latest items, and the items that wait: it does not grow with the history.
"""

from __future__ import annotations

import math
import reprlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.errors import DatasetError, DiskError, DiskFullError, LockedError, UsageError
from genrec_edge.profiles import rows
from genrec_edge.profiles.db import PROFILES, reading, remove_profiles, remove_side_files, wipe, writing
from genrec_edge.profiles.records import Profile, ProfileContext, ProfileUpdate
from genrec_edge.profiles.summaries import DEFAULT_BLOCK, DEFAULT_BLOCKS, update_parts
from genrec_edge.storage import paths

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.profiles.records import ProfileEvent
    from genrec_edge.profiles.rows import SummaryState
    from genrec_edge.profiles.summaries import Summarizer
    from genrec_edge.records import SummaryMethod

N_RECENT = 5
"""Latest items in a request, beside the summary that covers them. Source: as for `summaries.DEFAULT_BLOCK`."""
_MAX_WAITING = 50
"""Items in no summary, in a request; there are fewer than a block, unless an update was interrupted."""
_MAX_BLOCK = 100
_MAX_USER_CHARACTERS = 200
_N_ATTEMPTS = 5


class ProfileStore:
    """The profiles in one file; `path` None is the user's own (`paths.profiles_path`), made on first use.

    Safe to use from several processes at once: no event is lost, and a summary is only written if the one that it was
    made from is still there. Every method raises what `SqliteFormat.opened` does.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = paths.profiles_path() if path is None else Path(path)

    def get(self, user: str) -> Profile:
        """Return the profile of a user.

        Raises:
            UsageError: there is no profile.
        """
        with self._reading(user) as connection:
            return self._profile(connection, user)

    def users(self) -> list[str]:
        """Return all users, in the order of their names."""
        if not self._has_tables():
            return []
        with reading(self.path) as connection:
            return [str(user) for (user,) in connection.execute("SELECT user FROM profiles ORDER BY user")]

    def context(self, user: str) -> ProfileContext:
        """Return what a request needs of a profile; its size does not depend on the length of the history.

        Raises:
            UsageError: there is no profile.
        """
        with self._reading(user) as connection:
            profile = self._profile(connection, user)
            n_recent = N_RECENT + min(profile.n_waiting, _MAX_WAITING)
            recent = rows.latest_liked(connection, user, n_recent)
            seen = rows.seen_ids(connection, user)
        return ProfileContext(profile.text or None, recent, seen, profile.catalog)

    def update(
        self,
        user: str,
        events: Sequence[ProfileEvent],
        catalog: Catalog,
        summarizer: Summarizer,
        *,
        method: SummaryMethod = "recurrent",
        block: int = DEFAULT_BLOCK,
        blocks: int | None = None,
    ) -> ProfileUpdate:
        """Add events, oldest first, and take each full block of waiting events into the summary.

        Events that are known are left out. The events are kept before the summarizer is called: after an interrupted
        update they wait for the next one.

        Args:
            user: any name of 1 to 200 printable characters.
            events: of items of the catalog; without events, those that wait are summarised.
            catalog: the one that the profile was begun with.
            summarizer: called once for each block, and once more to merge.
            method: "recurrent" or "hierarchical", see `summaries`.
            block: liked items of a block, 1 to 100.
            blocks: the largest number of full blocks that one update summarises, the latest ones, and the number of
                blocks of a hierarchical summary; None takes all, and 5.

        Raises:
            UsageError: a number is out of range, the profile belongs to another catalog, or there are neither a profile
                nor events.
            LockedError: other processes changed the profile during each of five attempts.
        """
        _check_user(user)
        _check_update(events, block, blocks)
        n_new = self._add(user, events, catalog.name)
        max_blocks = DEFAULT_BLOCKS if blocks is None and method == "hierarchical" else blocks
        for _ in range(_N_ATTEMPTS):
            with self._reading(user) as connection:
                state = self._state(connection, user)
                waiting = rows.waiting_events(connection, user, state.done)
            full_blocks = [waiting[i : i + block] for i in range(0, len(waiting) - block + 1, block)]
            if not full_blocks:
                return ProfileUpdate(self.get(user), n_new, n_blocks=0, n_unwritten=0, n_passed_over=0)
            taken = full_blocks if max_blocks is None else full_blocks[-max_blocks:]
            catalog_rows = [_catalog_rows(catalog, [item_id for _, item_id in events_of]) for events_of in taken]
            max_parts = max_blocks or DEFAULT_BLOCKS
            parts, n_unwritten = update_parts(state.parts, catalog_rows, summarizer, method, max_parts)
            summary = summarizer.merge(parts)
            last_place, _ = full_blocks[-1][-1]
            with writing(self.path) as connection:
                is_written = rows.write_summary(
                    connection,
                    user,
                    state.version,
                    parts,
                    summary,
                    done=last_place + 1,
                    n_summarised=block * len(taken),
                )
            if is_written:
                n_passed_over = block * (len(full_blocks) - len(taken))
                return ProfileUpdate(self.get(user), n_new, len(taken), n_unwritten, n_passed_over)
        message = f"other processes changed the profile of {_shown(user)} in each of {_N_ATTEMPTS} attempts"
        raise LockedError(message, hint="try again when they are done")

    def forget(self, user: str | None) -> int:
        """Delete a user, or all of them for None, and return how many events that were.

        Nothing of them is left in the file, nor beside it where a process was killed; free space is given back. For
        None, a file of profiles that is damaged, or has no room to be written anew, is removed as a whole.
        """
        if user is not None:
            _check_user(user)
        if not self.path.exists():
            remove_side_files(self.path)
            return 0
        n_events = 0
        try:
            with writing(self.path) as connection:
                n_events = rows.delete_users(connection, user)
            wipe(self.path)
        except (DatasetError, DiskError, DiskFullError) as e:
            if user is not None or not remove_profiles(self.path, why=e.message):
                raise
        return n_events

    def _has_tables(self) -> bool:
        """Whether the file exists and is more than the empty one that another process is about to fill."""
        return self.path.exists() and self.path.stat().st_size > 0

    @contextmanager
    def _reading(self, user: str) -> Iterator[sqlite3.Connection]:
        _check_user(user)
        if not self._has_tables():
            raise self._no_profile(user)
        with reading(self.path) as connection:
            yield connection

    def _add(self, user: str, events: Sequence[ProfileEvent], catalog: str) -> int:
        """Add events to a profile, which is begun if there is none; return how many are new."""
        if not events and not self.path.exists():
            raise self._no_profile(user)
        with writing(self.path) as connection:
            own_catalog = rows.catalog_of(connection, user)
            if own_catalog is None and not events:
                raise self._no_profile(user)
            if own_catalog is None:
                rows.insert_profile(connection, user, catalog)
            elif own_catalog != catalog:
                message = f"the profile of {_shown(user)} belongs to the catalog {own_catalog!r}, got {catalog!r}"
                raise UsageError(message, hint="use that catalog, or run `genrec-edge profile forget USER` first")
            return rows.insert_events(connection, user, events)

    def _profile(self, connection: sqlite3.Connection, user: str) -> Profile:
        try:
            profile = rows.read_profile(connection, user)
        except ValueError as e:
            raise PROFILES.damaged(self.path, f"the profile of {_shown(user)}: {e}") from e
        if profile is None:
            raise self._no_profile(user)
        return profile

    def _state(self, connection: sqlite3.Connection, user: str) -> SummaryState:
        try:
            state = rows.read_state(connection, user)
        except ValueError as e:
            raise PROFILES.damaged(self.path, f"the summary of {_shown(user)}: {e}") from e
        if state is None:
            raise self._no_profile(user)
        return state

    def _no_profile(self, user: str) -> UsageError:
        hint = f"`genrec-edge profile update {_shown(user)} -H TITLE` begins one"
        return UsageError(f"there is no profile of {_shown(user)} in {self.path}", hint=hint)


def _check_user(user: str) -> None:
    # SQLite cannot hold lone surrogates, which come from command lines that are not UTF-8.
    is_unicode = user == user.encode(errors="replace").decode()
    if not is_unicode or not user.strip() or len(user) > _MAX_USER_CHARACTERS or printable(user) != user:
        message = f"`user` must have 1 to {_MAX_USER_CHARACTERS} printable characters, got {_shown(user)}"
        raise UsageError(message)


def _check_update(events: Sequence[ProfileEvent], block: int, blocks: int | None) -> None:
    findings = []
    for name, number in (("block", block), ("blocks", blocks)):
        if number is not None and not 1 <= number <= _MAX_BLOCK:
            findings.append(f"`{name}` must be from 1 to {_MAX_BLOCK}, got {number}")
    wrong = [event for event in events if event.timestamp is not None and not math.isfinite(event.timestamp)]
    if wrong:
        findings.append(
            f"timestamps must be finite numbers, got {wrong[0].timestamp} for {wrong[0].title!r} ({len(wrong)} in all)"
        )
    if findings:
        raise UsageError("; ".join(findings))


def _catalog_rows(catalog: Catalog, item_ids: Sequence[str]) -> list[CatalogRow]:
    """Return the rows of those items that the catalog still has, in their order."""
    items = catalog.by_ids(item_ids)
    return [items[item_id].row for item_id in item_ids if item_id in items]


def _shown(user: str) -> str:
    return reprlib.repr(user)
