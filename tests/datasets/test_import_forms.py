"""Made histories in every form a file of events can have: the data set is the one that plain Python makes of them."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames, import_files
from tests.support.interactions import ABOUT, no_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_home")

ITEMS = "id,title\n" + "".join(f"{i},Film {i}\n" for i in range(1, 6))
COLUMNS = ("user", "item", "rating", "timestamp")
Event = tuple[int, int, float | None, int]
"""User, item (6 is not in the table), rating and seconds."""


def made(rng: random.Random) -> list[Event]:
    """Return events, some of them doubled and some of an unknown item; at least one is of a known one."""
    events: list[Event] = [(1, 1, 4.0, 1_600_000_000)]
    for _ in range(rng.randrange(25)):
        rating = rng.choice([None, 1.0, 2.5, 5.0])
        events.append((rng.randint(1, 4), rng.randint(1, 6), rating, 1_500_000_000 + rng.randrange(10**8)))
        if rng.random() < 0.2:
            events.append(rng.choice(events))
    rng.shuffle(events)
    return events


def time_cell(seconds: int, rng: random.Random, form: str) -> object:
    """Return a time in a form, or in any."""
    form = rng.choice(["s", "ms", "us", "ns", "iso", "zone", "dots"]) if form == "any" else form
    when = datetime.fromtimestamp(seconds, UTC)
    if form == "zone":
        return when.astimezone(timezone(timedelta(minutes=rng.randrange(-720, 720, 15)))).isoformat()
    if form == "dots":
        return when.strftime("%d.%m.%Y %H:%M:%S")
    return when.isoformat() if form == "iso" else seconds * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[form]


def id_cell(number: int, rng: random.Random) -> object:
    return rng.choice([number, float(number), str(number), f"{number}.0", f" {number}"])


def cells_of(events: list[Event], rng: random.Random) -> list[list[object]]:
    form = rng.choice(["any", "s", "ms", "iso"])
    rows: list[list[object]] = []
    for user, item, rating, seconds in events:
        shown = "" if rating is None else rng.choice([rating, str(rating), str(rating).replace(".", ",")])
        rows.append([id_cell(user, rng), id_cell(item, rng), shown, time_cell(seconds, rng, form)])
    return rows


def write(path: Path, rows: list[list[object]], rng: random.Random) -> ColumnNames:
    """Write rows in some format, and return the columns that have to be named."""
    form = rng.choice(["csv", "tsv", "semicolon", "colons", "lines", "array", "gzip", "sqlite"])
    records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    if form in {"lines", "gzip"}:
        text = "".join(json.dumps(record) + "\n" for record in records)
        path.write_bytes(gzip.compress(text.encode()) if form == "gzip" else text.encode())
    elif form == "array":
        path.write_text(json.dumps(records, indent=rng.choice([None, 1])))
    elif form == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"CREATE TABLE events ({', '.join(COLUMNS)})")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            connection.commit()
    else:
        has_header = rng.random() < 0.7
        lines: list[list[object]] = [list(COLUMNS), *rows] if has_header else rows
        if form == "colons":
            path.write_text("".join("::".join(map(str, row)) + "\n" for row in lines))
        else:
            with path.open("w", newline="") as file:
                csv.writer(file, delimiter={"csv": ",", "tsv": "\t", "semicolon": ";"}[form]).writerows(lines)
        if not has_header:
            return ColumnNames(user="1", item="2", rating="3", timestamp="4")
    return ColumnNames()


@pytest.mark.slow
def test_events_of_any_form_are_the_same_data_set(tmp_path: Path, trials: Callable[[int, int], int]) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    for seed in range(trials(30, 500)):
        rng = random.Random(seed)
        events = made(rng)
        path = tmp_path / f"events {seed}"
        columns = write(path, cells_of(events, rng), rng)
        drops = rng.random() < 0.5
        options = EventOptions(skip_unknown=True, repeats="drop" if drops else "keep")
        notes: list[str] = []
        folder = import_files(
            path,
            tmp_path / "items.csv",
            tmp_path / "made",
            ABOUT,
            columns,
            options=options,
            force=True,
            on_event=no_event,
            on_note=notes.append,
        )
        found = load(folder)
        expected = [event for event in events if event[1] <= 5]
        if drops:
            first = {(u, i): min(e[3] for e in expected if e[:2] == (u, i)) for u, i, _, _ in expected}
            kept: list[Event] = []
            for event in expected:
                if event[3] == first[event[:2]] and event[:2] not in {other[:2] for other in kept}:
                    kept.append(event)
            expected = kept
        ratings = [None if math.isnan(rating) else rating for rating in found.ratings.tolist()]
        users = [int(found.user_ids[user]) for user in found.users]
        items = [int(found.item_ids[item]) for item in found.items]
        assert list(zip(users, items, ratings, found.timestamps.tolist(), strict=True)) == expected, seed
        assert found.card["interactions"]["left_out"] == len(events) - len(expected), seed
        n_unknown = sum(event[1] > 5 for event in events)
        assert any("not in the item table" in note for note in notes) == bool(n_unknown), seed
