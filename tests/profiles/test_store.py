"""Profiles on disk: what an update costs, that nothing is lost and that what is forgotten is gone, byte by byte."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import DatasetError, GenRecError, LockedError, UsageError
from genrec_edge.profiles.store import ProfileEvent, ProfileStore
from genrec_edge.profiles.summaries import FactSummarizer, HistorySummary, hierarchical
from genrec_edge.profiles.tastes import Tastes, profile_text
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def films(films_path: Path) -> Iterator[Catalog]:
    with Catalog.open(films_path) as catalog:
        yield catalog


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "folder" / "profiles.db")


class Counting:
    """The summarizer of facts, which writes down what it is asked."""

    kind = "facts"

    def __init__(self, catalog: Catalog, at_step: Callable[[], object] = lambda: None) -> None:
        self._facts = FactSummarizer(CatalogFacts(catalog))
        self._at_step = at_step
        self.steps: list[list[int]] = []

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        self.steps.append(list(rows))
        self._at_step()
        return self._facts.summarize(rows, previous)

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        return self._facts.merge(parts)


class Unable(Counting):
    """Has another name, so that every summary it returns is one it could not write."""

    kind = "unable"


def met(catalog: Catalog, n: int, *, seed: int = 0, start: int = 0) -> list[ProfileEvent]:
    """Return n events a second apart, of random items, the first of them at `start` seconds."""
    rows = np.random.default_rng(seed).integers(1, catalog.n_items + 1, start + n)[start:].tolist()
    return [ProfileEvent(item.id, item.title, 1000.0 + start + i) for i, item in enumerate(catalog.items(rows))]


def parts_of(path: Path, user: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT parts FROM profiles WHERE user = ?", [user]).fetchone()[0])


# ---- what an update does


def test_updates_one_by_one_give_what_one_update_gives(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 43)
    counting = Counting(films)
    store.update("at once", events, films, counting)
    rng = np.random.default_rng(1)
    at = 0
    while at < len(events):
        n = int(rng.integers(1, 9))
        store.update("in parts", events[at : at + n], films, counting)
        at += n
    for event in events:
        store.update("one by one", [event], films, counting)
    profiles = [store.get(user) for user in ("at once", "in parts", "one by one")]
    assert {(p.text, p.kind, p.n_events, p.n_summarised, p.n_waiting) for p in profiles} == {
        (profiles[0].text, "facts", 43, 40, 3)
    }
    assert len({parts_of(store.path, p.user) for p in profiles}) == 1
    book, rows = CatalogFacts(films), [films.by_ids([e.item_id])[e.item_id].row for e in events]
    assert profiles[0].text == profile_text(book.of(rows[:40]), book.share)
    assert counting.steps == [rows[i : i + 5] for i in range(0, 40, 5)] * 3


def test_k_new_events_cost_a_step_a_block_however_long_the_history_is(films: Catalog, store: ProfileStore) -> None:
    counting = Counting(films)
    store.update("u", met(films, 2003), films, counting)
    assert len(counting.steps) == 400
    for new, steps, waiting in ((1, 0, 4), (1, 1, 0), (12, 2, 2), (3, 1, 0)):
        counting.steps.clear()
        done = store.update("u", met(films, new, start=store.get("u").n_events), films, counting)
        assert (done.n_new, done.n_blocks, done.profile.n_waiting) == (new, steps, waiting)
        assert [len(rows) for rows in counting.steps] == [5] * steps


def test_what_is_known_is_left_out(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 7)
    counting = Counting(films)
    first = store.update("u", events, films, counting)
    again = store.update("u", [*events, *events[:2]], films, counting)
    assert (first.n_new, again.n_new, again.n_blocks) == (7, 0, 0)
    assert again.profile == first.profile
    later = ProfileEvent(events[0].item_id, events[0].title, 9999.0)
    assert store.update("u", [later, later], films, counting).n_new == 1
    untimed = ProfileEvent(events[0].item_id, events[0].title)
    assert [store.update("u", [untimed], films, counting).n_new for _ in range(2)] == [1, 0]
    assert len(counting.steps) == 1


def test_what_is_not_enjoyed_counts_as_seen_and_no_more(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 12)
    mixed = [ProfileEvent(e.item_id, e.title, e.timestamp, liked=i % 2 == 0) for i, e in enumerate(events)]
    counting = Counting(films)
    done = store.update("u", mixed, films, counting)
    liked = [films.by_ids([e.item_id])[e.item_id].row for e in mixed if e.liked]
    assert counting.steps == [liked[:5]]
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (12, 5, 1)
    recalled = store.context("u")
    assert set(recalled.seen) == {e.item_id for e in events}
    assert [entry.id for entry in recalled.recent] == [e.item_id for e in mixed if e.liked]


def test_hierarchical_keeps_the_latest_blocks(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 60)
    rows = [films.by_ids([e.item_id])[e.item_id].row for e in events]
    counting = Counting(films)
    for start in range(0, 60, 6):
        store.update("u", events[start : start + 6], films, counting, method="hierarchical", block=4, blocks=3)
    assert counting.steps == [rows[i : i + 4] for i in range(0, 60, 4)]  # each once, never again
    expected = hierarchical(rows, Counting(films), block=4, blocks=3)
    assert expected is not None
    assert store.get("u").text == expected.text
    score_all = store.update("v", events, films, counting, method="hierarchical")
    assert (score_all.n_blocks, score_all.n_passed_over) == (5, 35)


def test_blocks_beyond_those_asked_for_only_count_as_seen(films: Catalog, store: ProfileStore) -> None:
    counting = Unable(films)
    done = store.update("u", met(films, 33), films, counting, blocks=2)
    assert (done.n_blocks, done.n_passed_over, done.n_unwritten) == (2, 20, 2)
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (33, 10, 3)
    assert len(store.context("u").seen) == len({e.item_id for e in met(films, 33)})
    assert store.update("u", [], films, counting).n_blocks == 0


def test_items_that_have_left_the_catalog_are_passed_over(films: Catalog, store: ProfileStore) -> None:
    gone = [ProfileEvent("no such id", "Gone", float(i)) for i in range(5)]
    counting = Counting(films)
    assert store.update("u", gone, films, counting).profile.text == ""
    done = store.update("u", met(films, 10), films, counting)
    assert counting.steps[0] == []
    assert done.profile.text


# ---- what a prompt is told


def test_a_prompt_is_the_summary_and_the_latest_items(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 18)
    store.update("u", events[:3], films, Counting(films))
    recalled = store.context("u")
    assert recalled.preference is None
    assert recalled.recent == tuple(Interaction(e.title, e.item_id) for e in events[:3])
    store.update("u", events[3:], films, Counting(films))
    recalled = store.context("u")
    assert recalled.preference == store.get("u").text
    assert recalled.recent == tuple(Interaction(e.title, e.item_id) for e in events[10:])  # five, and three that wait
    assert recalled.catalog == "films"


def test_the_prompt_does_not_grow_with_the_history(films: Catalog, store: ProfileStore) -> None:
    sizes, states = {}, {}
    counting = Counting(films)
    for n in (20, 100, 500, 2000):
        store.update("u", met(films, n), films, counting)
        recalled = store.context("u")
        sizes[n] = len(recalled.preference or "") + sum(len(entry.title or "") for entry in recalled.recent)
        states[n] = len(parts_of(store.path, "u"))
        assert len(recalled.recent) == 5
        assert len(recalled.seen) == len({e.item_id for e in met(films, n)})
    assert len(counting.steps) == 400
    assert max(sizes.values()) < 300  # ten facts and five titles
    assert sizes[2000] < 2 * sizes[20]
    assert states[2000] < 1.2 * states[100] < 60_000


# ---- several writers


def test_an_update_on_top_of_another_one_is_done_again(films: Catalog, store: ProfileStore) -> None:
    events = met(films, 10)

    def meanwhile() -> None:
        if len(counting.steps) == 1:
            store.update("u", events[5:], films, Counting(films))

    counting = Counting(films, meanwhile)
    done = store.update("u", events[:5], films, counting)
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (10, 10, 0)
    rows = [films.by_ids([e.item_id])[e.item_id].row for e in events]
    assert done.profile.text == profile_text(CatalogFacts(films).of(rows), CatalogFacts(films).share)


def test_who_is_forgotten_meanwhile_stays_forgotten(films: Catalog, store: ProfileStore) -> None:
    counting = Counting(films, lambda: store.forget("u"))
    with pytest.raises(UsageError, match="there is no profile of 'u'"):
        store.update("u", met(films, 5), films, counting)
    assert store.users() == []


_WRITER = """
import sys
from pathlib import Path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.profiles.store import ProfileEvent, ProfileStore
from genrec_edge.profiles.summaries import FactSummarizer
path, catalog_path, me = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with Catalog.open(catalog_path) as catalog:
    items = catalog.items(range(1, 11))
    for i in range(30):
        event = ProfileEvent(items[i % 10].id, items[i % 10].title, float(i) + (0.5 if me == "b" else 0))
        for user in ("both", me):
            ProfileStore(path).update(user, [event], catalog, FactSummarizer(CatalogFacts(catalog)))
"""


def test_two_processes_lose_nothing(facts_data: Path, store: ProfileStore) -> None:
    catalog_path = facts_data / "catalog.db"
    command = [sys.executable, "-c", _WRITER, str(store.path), str(catalog_path)]
    running = [subprocess.Popen([*command, me], stderr=subprocess.PIPE, text=True) for me in ("a", "b")]
    assert [process.communicate()[1] for process in running] == ["", ""]
    assert [(p.n_events, p.n_summarised, p.n_waiting) for p in map(store.get, ("a", "b", "both"))] == [
        (30, 30, 0),
        (30, 30, 0),
        (60, 60, 0),
    ]
    with closing(sqlite3.connect(store.path)) as connection:
        ids = connection.execute("SELECT item FROM events WHERE user = 'both' ORDER BY place").fetchall()
    with Catalog.open(catalog_path) as catalog:
        book, items = CatalogFacts(catalog), catalog.by_ids([i for (i,) in ids])
        assert store.get("both").text == profile_text(book.of([items[i].row for (i,) in ids]), book.share)


def test_a_file_that_another_process_holds_is_said_to_be_locked(
    films: Catalog, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("u", met(films, 1), films, Counting(films))
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for call in (
            lambda: store.get("u"),
            lambda: store.forget("u"),
            lambda: store.update("u", [], films, Counting(films)),
        ):
            with pytest.raises(LockedError, match="another process is writing"):
                call()
    assert store.get("u").n_events == 1


# ---- forgetting


def bytes_of(store: ProfileStore) -> bytes:
    """Return the bytes of the file and of whatever SQLite left beside it."""
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()))


def test_what_is_forgotten_is_in_no_byte_of_the_file(films: Catalog, store: ProfileStore) -> None:
    class Telling(Counting):
        def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
            n = len(self.steps)
            self.steps.append(list(rows))
            return HistorySummary(f"hush-summary-{n}", "hush-model", Tastes())

    rng = np.random.default_rng(0)
    told = Telling(films)
    others = [f"user {i}" for i in range(40)]
    for step in range(120):  # pages split and merge, rows move
        user = "hush-user" if step % 3 == 0 else others[int(rng.integers(40))]
        mark = "hush" if user == "hush-user" else "other"
        events = [
            ProfileEvent(f"{mark}-{step}-{i}", f"{mark} title " * int(rng.integers(1, 20)), float(step))
            for i in range(int(rng.integers(1, 12)))
        ]
        store.update(user, events, films, told if mark == "hush" else Counting(films))
    assert bytes_of(store).count(b"hush") > 100
    kept = {user: store.get(user) for user in store.users() if user != "hush-user"}
    n_events = store.get("hush-user").n_events
    assert store.forget("hush-user") == n_events
    assert b"hush" not in bytes_of(store)
    assert {user: store.get(user) for user in store.users()} == kept
    assert store.forget("hush-user") == 0
    assert b"other title" in bytes_of(store)
    assert store.forget(None) == sum(profile.n_events for profile in kept.values())
    assert b"other" not in bytes_of(store)
    assert store.users() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_only_its_owner_may_read_the_file(films: Catalog, store: ProfileStore) -> None:
    store.update("u", met(films, 1), films, Counting(films))
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_asking_makes_no_file(store: ProfileStore) -> None:
    assert store.users() == []
    assert store.forget("u") == store.forget(None) == 0
    for ask in (store.get, store.context):
        with pytest.raises(UsageError, match="there is no profile of 'u'"):
            ask("u")
    assert not store.path.parent.exists()


# ---- what is wrong


def test_a_profile_belongs_to_one_catalog(films: Catalog, tricky_path: Path, store: ProfileStore) -> None:
    store.update("u", met(films, 1), films, Counting(films))
    with Catalog.open(tricky_path) as other, pytest.raises(UsageError, match="of the catalog 'films', this one is"):
        store.update("u", met(other, 1), other, Counting(other))
    assert store.get("u").n_events == 1


@pytest.mark.parametrize("user", ["", "  ", "x" * 201, "a\nb", "\x1b[31m", "\udcff", "a\u202eb"])
def test_what_is_no_name(user: str, films: Catalog, store: ProfileStore) -> None:
    for call in (
        lambda: store.update(user, met(films, 1), films, Counting(films)),
        lambda: store.get(user),
        lambda: store.context(user),
    ):
        with pytest.raises(UsageError, match="is no name of 1 to 200 printable characters"):
            call()
    assert not store.path.exists()
    store.update("u", met(films, 1), films, Counting(films))
    with pytest.raises(UsageError, match="is no name"):
        store.forget(user)


def test_all_that_is_wrong_with_an_update_is_told_at_once(films: Catalog, store: ProfileStore) -> None:
    wrong = ProfileEvent("1", "Heat", float("nan"))
    with pytest.raises(UsageError, match=r"block is 0.*; blocks is 101.*; 1 timestamps are no numbers.*'Heat'"):
        store.update("u", [wrong], films, Counting(films), block=0, blocks=101)
    with pytest.raises(UsageError, match="there is no profile"):
        store.update("u", [], films, Counting(films))


@pytest.mark.parametrize("name", ["films", "text", "other", "newer", "view", "parts", "weights", "folder", "blob"])
def test_a_file_that_is_none_is_one_clear_line(
    name: str, films: Catalog, films_path: Path, store: ProfileStore, tmp_path: Path
) -> None:
    store.update("u", met(films, 10), films, Counting(films))
    path = store.path
    statements = {
        "newer": "PRAGMA user_version = 2",
        "view": "CREATE VIEW endless AS SELECT 1",
        "parts": "UPDATE profiles SET parts = '[{\"text\": 1}]'",
        "weights": "UPDATE profiles SET parts = replace(parts, '\"total\": ', '\"total\": -')",
        "blob": "UPDATE profiles SET text = x'ff'",
    }
    if name == "films":
        shutil.copy(films_path, path)
    elif name == "text":
        path.write_bytes(b"no database\n" * 100)
    elif name == "folder":
        path.unlink()
        path.mkdir()
    elif name == "other":
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t(x)")
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statements[name])
    expected = UsageError if name == "folder" else DatasetError
    call = store.get if name == "blob" else lambda user: store.update(user, met(films, 15), films, Counting(films))
    with pytest.raises(expected, match=r"profiles\.db") as raised:
        call("u")
    assert "\n" not in raised.value.message
    assert raised.value.hint


def test_flipped_bytes_end_in_an_error_of_ours_or_in_none(films: Catalog, store: ProfileStore) -> None:
    store.update("u", met(films, 40), films, Counting(films))
    whole = store.path.read_bytes()
    rng = np.random.default_rng(2)
    n_errors = 0
    for at in [*range(0, 100, 3), *rng.integers(0, len(whole), 150).tolist()]:
        broken = bytearray(whole)
        broken[at] ^= int(rng.integers(1, 256))
        store.path.write_bytes(broken[: int(rng.integers(1, len(whole)))] if at % 5 == 0 else broken)
        try:
            store.get("u")
            store.context("u")
            store.update("u", met(films, 5, start=40), films, Counting(films))
            store.forget("u")
        except GenRecError:
            n_errors += 1
        for left in store.path.parent.glob("profiles.db-*"):
            left.unlink()
    assert n_errors > 20
