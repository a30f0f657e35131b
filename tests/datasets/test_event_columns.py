"""Columns of events: found by usual names, named, or numbered where the file has no header."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.datasets.event_columns import EventColumns, open_events
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames, import_files
from genrec_edge.errors import UsageError
from tests.support.interactions import ABOUT, EVENTS, make, no_event

if TYPE_CHECKING:
    from pathlib import Path

_GUESSED = ColumnNames()
NUMBERED = ColumnNames(user="1", item="2", rating="3", timestamp="4")


@pytest.mark.parametrize("mark", ["\t", ",", "::", ";"])
@pytest.mark.parametrize("when", ["881250949", "2024-01-31T20:15:00Z"])
def test_a_file_without_a_header_keeps_its_first_event(tmp_path: Path, mark: str, when: str) -> None:
    rows = [("x", "b", "4", when), ("y", "a", "3", when)]
    text = "".join(mark.join(row) + "\n" for row in rows)
    with pytest.raises(UsageError) as caught:
        make(tmp_path, text)
    assert caught.value.message.endswith(f"begins with data, not with names of columns: x, b, 4, {when}")
    assert caught.value.hint == "name its columns by their numbers, 1 to 4, with `user`, `item`, `timestamp`"
    with pytest.raises(UsageError) as caught:
        make(tmp_path, text, columns=ColumnNames(user="1", item="2", timestamp="9"))
    assert caught.value.hint == "name its columns by their numbers, 1 to 4, with `timestamp`"
    dataset = load(make(tmp_path, text, columns=NUMBERED))
    assert (dataset.user_ids, dataset.items.tolist(), dataset.ratings.tolist()) == (("x", "y"), [1, 0], [4.0, 3.0])


def test_a_header_with_numbers_in_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    for header, named in (
        ("userId,movieId,timestamp,2024", {}),
        ("who,what,when,2024", {"user": "who", "item": "what", "timestamp": "when"}),
    ):
        path.write_text(f"{header}\nx,a,1,2\n")
        source, at = open_events(path, named)
        assert at == EventColumns(0, 1, 2, None)
        assert [row for _, row in source.rows()] == [["x", "a", "1", "2"]]
        assert at.not_used(source.columns) == ["2024"]


def test_a_file_of_several_tables_is_refused_without_an_option_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (user, item, timestamp)")
        connection.execute("CREATE TABLE items (id, title)")
        connection.execute("INSERT INTO items VALUES ('a', 'Alien'), ('b', 'Brazil')")
        connection.commit()
    with pytest.raises(UsageError, match="more than one table") as caught:
        open_events(path, {})
    assert caught.value.hint == "give the events as a file with one table"
    with pytest.raises(UsageError, match="more than one table") as caught:
        _import_items(tmp_path, path)
    assert caught.value.hint == "choose one with `table`"
    _import_items(tmp_path, path, ColumnNames(table="items"))


def test_items_without_a_header_are_named(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_text("1::Alien (1979)::Horror\n2::Brazil::Drama\n")
    with pytest.raises(UsageError, match="begins with data, not with names of columns") as caught:
        _import_items(tmp_path, tmp_path / "movies.dat")
    assert "`columns`" in caught.value.hint
    (tmp_path / "e.csv").write_text("user,item,timestamp\nx,2,1\n")
    _import_items(tmp_path, tmp_path / "movies.dat", ColumnNames(columns=("id", "title", "genres")))
    assert load(tmp_path / "out").titles == (("Alien", 1979), ("Brazil", None))


def _import_items(folder: Path, items: Path, columns: ColumnNames = _GUESSED) -> None:
    if not (folder / "e.csv").exists():
        (folder / "e.csv").write_text(EVENTS)
    import_files(folder / "e.csv", items, folder / "out", ABOUT, columns, force=False, on_event=no_event)
