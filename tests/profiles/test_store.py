"""Profiles on disk: what an update costs, that nothing is lost and that what is forgotten is gone, byte by byte."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import DatasetError, DiskFullError, LockedError, UsageError
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.summaries import HistorySummary, hierarchical
from genrec_edge.profiles.tastes import Tastes, profile_text
from genrec_edge.records import Interaction
from tests.support.faults import largest_file
from tests.support.profiles import RecordingSummarizer, UnableSummarizer, random_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "folder" / "profiles.db")


def parts_of(path: Path, user: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT parts FROM profiles WHERE user = ?", [user]).fetchone()[0])


# ---- what an update does


@pytest.mark.slow
def test_updates_one_by_one_give_what_one_update_gives(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 43)
    summarizer = RecordingSummarizer(films)
    store.update("at once", events, films, summarizer)
    rng = np.random.default_rng(1)
    at = 0
    while at < len(events):
        n = int(rng.integers(1, 9))
        store.update("in parts", events[at : at + n], films, summarizer)
        at += n
    for event in events:
        store.update("one by one", [event], films, summarizer)
    profiles = [store.get(user) for user in ("at once", "in parts", "one by one")]
    assert {(p.text, p.kind, p.n_events, p.n_summarised, p.n_waiting) for p in profiles} == {
        (profiles[0].text, "facts", 43, 40, 3)
    }
    assert len({parts_of(store.path, p.user) for p in profiles}) == 1
    catalog_facts, rows = CatalogFacts(films), [films.by_ids([e.item_id])[e.item_id].row for e in events]
    assert profiles[0].text == profile_text(catalog_facts.of(rows[:40]), catalog_facts.share)
    assert summarizer.steps == [rows[i : i + 5] for i in range(0, 40, 5)] * 3


@pytest.mark.slow
def test_k_new_events_cost_a_step_a_block_however_long_the_history_is(films: Catalog, store: ProfileStore) -> None:
    summarizer = RecordingSummarizer(films)
    store.update("u", random_events(films, 2003), films, summarizer)
    assert len(summarizer.steps) == 400
    for new, steps, waiting in ((1, 0, 4), (1, 1, 0), (12, 2, 2), (3, 1, 0)):
        summarizer.steps.clear()
        done = store.update("u", random_events(films, new, start=store.get("u").n_events), films, summarizer)
        assert (done.n_new, done.n_blocks, done.profile.n_waiting) == (new, steps, waiting)
        assert [len(rows) for rows in summarizer.steps] == [5] * steps


def test_known_events_are_left_out(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 7)
    summarizer = RecordingSummarizer(films)
    first = store.update("u", events, films, summarizer)
    again = store.update("u", [*events, *events[:2]], films, summarizer)
    assert (first.n_new, again.n_new, again.n_blocks) == (7, 0, 0)
    assert again.profile == first.profile
    later = ProfileEvent(events[0].item_id, events[0].title, 9999.0)
    assert store.update("u", [later, later], films, summarizer).n_new == 1
    untimed = ProfileEvent(events[0].item_id, events[0].title)
    assert [store.update("u", [untimed], films, summarizer).n_new for _ in range(2)] == [1, 0]
    assert len(summarizer.steps) == 1


def test_events_that_are_not_liked_only_count_as_seen(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 12)
    mixed = [ProfileEvent(e.item_id, e.title, e.timestamp, liked=i % 2 == 0) for i, e in enumerate(events)]
    summarizer = RecordingSummarizer(films)
    done = store.update("u", mixed, films, summarizer)
    liked = [films.by_ids([e.item_id])[e.item_id].row for e in mixed if e.liked]
    assert summarizer.steps == [liked[:5]]
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (12, 5, 1)
    context = store.context("u")
    assert set(context.seen) == {e.item_id for e in events}
    assert [entry.id for entry in context.recent] == [e.item_id for e in mixed if e.liked]


def test_hierarchical_keeps_the_latest_blocks(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 60)
    rows = [films.by_ids([e.item_id])[e.item_id].row for e in events]
    summarizer = RecordingSummarizer(films)
    for start in range(0, 60, 6):
        store.update("u", events[start : start + 6], films, summarizer, method="hierarchical", block=4, blocks=3)
    assert summarizer.steps == [rows[i : i + 4] for i in range(0, 60, 4)]  # each once, never again
    expected = hierarchical(rows, RecordingSummarizer(films), block=4, blocks=3)
    assert expected is not None
    assert store.get("u").text == expected.text
    score_all = store.update("v", events, films, summarizer, method="hierarchical")
    assert (score_all.n_blocks, score_all.n_passed_over) == (5, 35)


def test_blocks_beyond_those_asked_for_only_count_as_seen(films: Catalog, store: ProfileStore) -> None:
    summarizer = UnableSummarizer(films)
    done = store.update("u", random_events(films, 33), films, summarizer, blocks=2)
    assert (done.n_blocks, done.n_passed_over, done.n_unwritten) == (2, 20, 2)
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (33, 10, 3)
    assert len(store.context("u").seen) == len({e.item_id for e in random_events(films, 33)})
    assert store.update("u", [], films, summarizer).n_blocks == 0


def test_items_that_have_left_the_catalog_are_passed_over(films: Catalog, store: ProfileStore) -> None:
    gone = [ProfileEvent("no such id", "Gone", float(i)) for i in range(5)]
    summarizer = RecordingSummarizer(films)
    assert store.update("u", gone, films, summarizer).profile.text == ""
    done = store.update("u", random_events(films, 10), films, summarizer)
    assert summarizer.steps[0] == []
    assert done.profile.text


# ---- what a request gets


def test_a_prompt_is_the_summary_and_the_latest_items(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 18)
    store.update("u", events[:3], films, RecordingSummarizer(films))
    context = store.context("u")
    assert context.preference is None
    assert context.recent == tuple(Interaction(e.title, e.item_id) for e in events[:3])
    store.update("u", events[3:], films, RecordingSummarizer(films))
    context = store.context("u")
    assert context.preference == store.get("u").text
    assert context.recent == tuple(Interaction(e.title, e.item_id) for e in events[10:])  # five, and three that wait
    assert context.catalog == "films"


@pytest.mark.slow
def test_the_prompt_does_not_grow_with_the_history(films: Catalog, store: ProfileStore) -> None:
    sizes, states = {}, {}
    summarizer = RecordingSummarizer(films)
    for n in (20, 100, 500, 2000):
        store.update("u", random_events(films, n), films, summarizer)
        context = store.context("u")
        sizes[n] = len(context.preference or "") + sum(len(entry.title or "") for entry in context.recent)
        states[n] = len(parts_of(store.path, "u"))
        assert len(context.recent) == 5
        assert len(context.seen) == len({e.item_id for e in random_events(films, n)})
    assert len(summarizer.steps) == 400
    assert max(sizes.values()) < 300  # ten facts and five titles
    assert sizes[2000] < 2 * sizes[20]
    assert states[2000] < 1.2 * states[100] < 60_000


# ---- several writers


def test_an_update_that_another_one_overtakes_is_done_again(films: Catalog, store: ProfileStore) -> None:
    events = random_events(films, 10)

    def meanwhile() -> None:
        if len(summarizer.steps) == 1:
            store.update("u", events[5:], films, RecordingSummarizer(films))

    summarizer = RecordingSummarizer(films, meanwhile)
    done = store.update("u", events[:5], films, summarizer)
    assert (done.profile.n_events, done.profile.n_summarised, done.profile.n_waiting) == (10, 10, 0)
    rows = [films.by_ids([e.item_id])[e.item_id].row for e in events]
    assert done.profile.text == profile_text(CatalogFacts(films).of(rows), CatalogFacts(films).share)


def test_a_user_who_is_forgotten_during_an_update_stays_forgotten(films: Catalog, store: ProfileStore) -> None:
    summarizer = RecordingSummarizer(films, lambda: store.forget("u"))
    with pytest.raises(UsageError, match="there is no profile of 'u'"):
        store.update("u", random_events(films, 5), films, summarizer)
    assert store.users() == []


_WRITER = """
import sys
from pathlib import Path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.summaries import FactSummarizer
path, catalog_path, me = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with Catalog.open(catalog_path) as catalog:
    items = catalog.items(range(1, 11))
    for i in range(30):
        event = ProfileEvent(items[i % 10].id, items[i % 10].title, float(i) + (0.5 if me == "b" else 0))
        for user in ("both", me):
            ProfileStore(path).update(user, [event], catalog, FactSummarizer(CatalogFacts(catalog)))
"""


@pytest.mark.slow
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
        catalog_facts, items = CatalogFacts(catalog), catalog.by_ids([i for (i,) in ids])
        assert store.get("both").text == profile_text(
            catalog_facts.of([items[i].row for (i,) in ids]), catalog_facts.share
        )


def test_a_file_that_another_process_writes_is_locked(
    films: Catalog, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for call in (
            lambda: store.get("u"),
            lambda: store.forget("u"),
            lambda: store.update("u", [], films, RecordingSummarizer(films)),
        ):
            with pytest.raises(LockedError, match="is being written by another process"):
                call()
    assert store.get("u").n_events == 1


# ---- forgetting


def bytes_of(store: ProfileStore) -> bytes:
    """Return the bytes of the file and of whatever SQLite left beside it."""
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()))


@pytest.mark.slow
def test_no_byte_of_a_forgotten_user_stays_in_the_file(films: Catalog, store: ProfileStore) -> None:
    class HushSummarizer(RecordingSummarizer):
        def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
            n = len(self.steps)
            self.steps.append(list(rows))
            return HistorySummary(f"hush-summary-{n}", "hush-model", Tastes())

    rng = np.random.default_rng(0)
    hush = HushSummarizer(films)
    others = [f"user {i}" for i in range(40)]
    for step in range(120):  # pages split and merge, rows move
        user = "hush-user" if step % 3 == 0 else others[int(rng.integers(40))]
        mark = "hush" if user == "hush-user" else "other"
        events = [
            ProfileEvent(f"{mark}-{step}-{i}", f"{mark} title " * int(rng.integers(1, 20)), float(step))
            for i in range(int(rng.integers(1, 12)))
        ]
        store.update(user, events, films, hush if mark == "hush" else RecordingSummarizer(films))
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


def test_what_killed_processes_left_beside_the_file_is_forgotten(films: Catalog, store: ProfileStore) -> None:
    store.update("hush-user", random_events(films, 9), films, RecordingSummarizer(films))
    title = store.context("hush-user").recent[0].title
    assert title is not None
    code = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(store.path)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE events SET title = title || 'hush-more', place = place + 1000")
connection.execute("CREATE TABLE filling AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 999)"
                   " SELECT randomblob(4000) FROM n")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    journal = store.path.with_name("profiles.db-journal")
    assert title.encode() in journal.read_bytes()
    assert store.forget(None) == 9
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]
    assert not [word for word in (title, "hush") if word.encode() in bytes_of(store)]
    journal.write_bytes(b"hush")
    store.path.unlink()
    assert store.forget("hush-user") == 0
    assert list(store.path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", ["WAL", "PERSIST"])
def test_a_journal_of_another_program_is_forgotten(films: Catalog, store: ProfileStore, mode: str) -> None:
    store.update("hush-user", random_events(films, 9), films, RecordingSummarizer(films))
    code = f"""
import os, sqlite3
connection = sqlite3.connect({str(store.path)!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode = {mode}")
connection.execute("UPDATE events SET title = 'hush-title' || title")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(store.path.parent.iterdir())) > 1
    assert store.forget(None) == 9
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]
    assert b"hush" not in bytes_of(store)


def test_a_damaged_file_is_removed_when_everybody_is_forgotten(films: Catalog, store: ProfileStore) -> None:
    store.update("hush-user", random_events(films, 9), films, RecordingSummarizer(films))
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:5_000])
    with pytest.raises(DatasetError):
        store.forget("hush-user")
    assert store.forget(None) == 0
    assert list(store.path.parent.iterdir()) == []
    for foreign in (b"no database, and much more than a hundred bytes" * 100, whole[:60] + b"\0\0\0\7" + whole[64:]):
        store.path.write_bytes(foreign)
        with pytest.raises(DatasetError):
            store.forget(None)
        assert store.path.read_bytes() == foreign


def test_a_full_disk_keeps_nobody_from_being_forgotten(films: Catalog, store: ProfileStore) -> None:
    store.update("hush-user", random_events(films, 9), films, RecordingSummarizer(films))
    with largest_file(100):
        with pytest.raises(DiskFullError, match="bytes free"):
            store.forget("hush-user")
        store.forget(None)
    assert list(store.path.parent.iterdir()) == []


def test_reading_makes_no_file(store: ProfileStore) -> None:
    assert store.users() == []
    assert store.forget("u") == store.forget(None) == 0
    for ask in (store.get, store.context):
        with pytest.raises(UsageError, match="there is no profile of 'u'"):
            ask("u")
    assert not store.path.parent.exists()


# ---- errors


def test_a_profile_belongs_to_one_catalog(films: Catalog, tricky_path: Path, store: ProfileStore) -> None:
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))
    with Catalog.open(tricky_path) as other, pytest.raises(UsageError, match="belongs to the catalog 'films', got"):
        store.update("u", random_events(other, 1), other, RecordingSummarizer(other))
    assert store.get("u").n_events == 1


@pytest.mark.parametrize("user", ["", "  ", "x" * 201, "a\nb", "\x1b[31m", "\udcff", "a\u202eb"])
def test_users_without_a_proper_name_are_refused(user: str, films: Catalog, store: ProfileStore) -> None:
    for call in (
        lambda: store.update(user, random_events(films, 1), films, RecordingSummarizer(films)),
        lambda: store.get(user),
        lambda: store.context(user),
    ):
        with pytest.raises(UsageError, match="must have 1 to 200 printable characters"):
            call()
    assert not store.path.exists()
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))
    with pytest.raises(UsageError, match="must have 1 to 200"):
        store.forget(user)


def test_one_error_names_everything_that_is_wrong_with_an_update(films: Catalog, store: ProfileStore) -> None:
    wrong = ProfileEvent("1", "Heat", float("nan"))
    with pytest.raises(
        UsageError, match=r"`block` must be .*got 0; `blocks` must be .*got 101; timestamps must be .*'Heat'"
    ):
        store.update("u", [wrong], films, RecordingSummarizer(films), block=0, blocks=101)
    with pytest.raises(UsageError, match="there is no profile"):
        store.update("u", [], films, RecordingSummarizer(films))
