"""Reading files: every format gives the same rows, and what cannot be read is named with its line."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.errors import UsageError
from genrec_edge.storage.cells import scalar
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORDS: list[dict[str, Any]] = [
    {"id": "007", "title": "Matrix, The", "note": 'He said "no"'},
    {"id": "2", "title": "Amélie", "note": "a\tb"},
    {"id": "3", "title": "Heat", "note": None},
]


def write_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(RECORDS[0])
        writer.writerows(record.values() for record in RECORDS)


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(record) + "\n\n" for record in RECORDS), encoding="utf-8")


def write_array(path: Path) -> None:
    path.write_text(json.dumps(RECORDS, indent=2), encoding="utf-8")


def write_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE films("id" TEXT, "title" TEXT, "note" TEXT)')
        connection.executemany("INSERT INTO films VALUES (:id, :title, :note)", RECORDS)
        connection.commit()


def read(path: Path, table: str | None = None) -> list[dict[str, Any]]:
    source = open_source(path, table)
    rows = [cells for _, cells in source.rows()]
    return [{name: scalar(cell) for name, cell in zip(source.columns, cells, strict=False)} for cells in rows]


@pytest.mark.parametrize(
    "write",
    [
        write_csv,
        lambda path: write_csv(path, ";"),
        lambda path: write_csv(path, "|"),
        write_lines,
        write_array,
        write_sqlite,
    ],
)
def test_every_format_gives_the_same_rows(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "whatever.bin"
    write(path)
    assert read(path) == RECORDS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_unpacked(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "films"
    write_array(path)
    path.write_bytes(pack(path.read_bytes()))
    assert read(path) == RECORDS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="cannot be unpacked"):
        read(path)


def test_tabs_separate_whatever_stands_between_them(tmp_path: Path) -> None:
    path = tmp_path / "ml.item"
    text = 'item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\t"Great" Cats\tDrama War\n2\t"a ""b"""\t\n'
    path.write_text(text, encoding="utf-8")
    assert read(path) == [
        {"item_id": "1", "movie_title": '"Great" Cats', "class": "Drama War"},
        {"item_id": "2", "movie_title": 'a "b"', "class": None},
    ]
    assert open_source(path).space_lists == {"movie_title", "class"}


def test_one_column_may_hold_commas(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text('title\nGood, the Bad, The\n\n"Heat"\n', encoding="utf-8")
    assert read(path) == [{"title": "Good, the Bad, The"}, {"title": "Heat"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,title\n1,a\n2,b,c\n", "line 3: 3 fields, but the header names 2"),
        (b'id,title\n1,a\n2,"b\n', "line 3: not valid CSV"),
        (b"id,title\n1,caf\xe9\n", "line 2: not UTF-8"),
        ("id,title\n1,a\n".encode("utf-16"), "line 1: looks like UTF-16"),
        (b'{"title": "a"}\n{"title": }\n', "line 2: not valid JSON"),
        (b'{"title": "a"}\n["b"]\n', "line 2: not a JSON object"),
        (b'{\n"title": "a"\n', "line 1: not valid JSON"),
        (b'[{"title": "a"}, 3]', "item 2: not a JSON object"),
        (b'[{"title": "a"} {"title": "b"}]', "item 1: not valid JSON"),
        (b'[{"title": "a"}', "item 1: not valid JSON"),
        (b"[" * 100_000, "item 1: not valid JSON"),
        (b'{"title": ' + b"[" * 100_000 + b"\n", "line 1: not valid JSON"),
        (b"\n \n", "is empty"),
        (b"", "is empty"),
        (b"SQLite format 3\0 and then nothing", "cannot read the SQLite file"),
    ],
)
def test_broken_files_are_named_with_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read(path)


def test_a_table_has_to_be_chosen_and_to_exist(tmp_path: Path) -> None:
    path = tmp_path / "two.db"
    write_sqlite(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other(x BLOB)")
        connection.execute("INSERT INTO other VALUES (x'00')")
        connection.commit()
    with pytest.raises(UsageError, match="more than one table; it holds: films, other"):
        open_source(path)
    with pytest.raises(UsageError, match="no table 'actors'"):
        open_source(path, "actors")
    assert read(path, "films") == RECORDS
    assert read(path, "other") == [{"x": None}]
    write_csv(path.with_suffix(".csv"))
    with pytest.raises(UsageError, match="neither a database nor an archive"):
        open_source(path.with_suffix(".csv"), "films")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_source(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="is not a file but a folder"):
        open_source(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file but a pipe"):
        open_source(tmp_path / "pipe")


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(records=st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES), min_size=1, max_size=8))
def test_json_comes_back_whatever_is_in_it(records: list[dict[str, Any]], tmp_path: Path) -> None:
    records = [{**record, "x": 0} for record in records]  # lists alone are columns
    for text in (json.dumps(records), "".join(json.dumps(r) + "\n" for r in records)):
        path = tmp_path / "any.json"
        path.write_text(text, encoding="utf-8")
        source = open_source(path)
        rows = [cells for _, cells in source.rows()]
        found = [{k: v for k, v in zip(source.columns, cells, strict=False) if v is not None} for cells in rows]
        assert found == [{k: v for k, v in record.items() if v is not None} for record in records]


def test_an_array_larger_than_the_buffer(tmp_path: Path) -> None:
    records = [{"title": f"{i}" + "x" * (i % 3000)} for i in range(300)]
    path = tmp_path / "large.json"
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    assert read(path) == records
