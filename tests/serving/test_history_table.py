"""Histories of every format are the same history, out of files and out of pipes, and leave nothing on a disk."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import GenRecError, UsageError
from genrec_edge.records import Interaction
from genrec_edge.serving.history_table import read_history, read_piped_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.serving.history_file import ParsedHistory

NAMES = ("title", "id", "year", "timestamp", "rating")
ROWS: list[tuple[Any, ...]] = [
    ("Heat", "h1", 1995, 1706732100, 4.5),
    ("Good, the Bad and the Ugly, The", "g1", 1966, 1706732200, 5),
    ("Amélie", "a1", 2001, 1706732300, 3),
]
EXPECTED = tuple(Interaction(title, item_id, float(t), float(r), y) for title, item_id, y, t, r in ROWS)


def delimited(mark: str) -> bytes:
    def cell(value: object) -> str:
        return f'"{value}"' if mark in str(value) else str(value)

    return "".join(mark.join(map(cell, row)) + "\n" for row in (NAMES, *ROWS)).encode()


def objects() -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in ROWS]


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("history.csv", data)
    return file.getvalue()


TEXTS: dict[str, Callable[[], bytes]] = {
    "csv": lambda: delimited(","),
    "csv with a mark": lambda: b"\xef\xbb\xbf" + delimited(","),
    "semicolons": lambda: delimited(";"),
    "tsv": lambda: delimited("\t"),
    "lines": lambda: "\n".join(map(json.dumps, objects())).encode(),
    "array": lambda: json.dumps(objects()).encode(),
    "pretty array": lambda: json.dumps(objects(), indent=2).encode(),
    "pretty objects": lambda: "\n".join(json.dumps(one, indent=2) for one in objects()).encode(),
    "csv.gz": lambda: gzip.compress(delimited(",")),
    "lines.bz2": lambda: bz2.compress("\n".join(map(json.dumps, objects())).encode()),
    "array.xz": lambda: lzma.compress(json.dumps(objects()).encode()),
    "csv.zip": lambda: zipped(delimited(",")),
}


@pytest.mark.parametrize("form", TEXTS)
def test_every_text_is_the_same_history_in_a_file_and_in_a_pipe(form: str, tmp_path: Path) -> None:
    data = TEXTS[form]()
    path = tmp_path / "history"
    path.write_bytes(data)
    assert read_history(path).interactions == EXPECTED
    assert read_piped_history(io.BytesIO(data), "standard input").interactions == EXPECTED
    assert list(tmp_path.iterdir()) == [path]


def test_sqlite_and_parquet(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE watched (title, id, year, timestamp, rating)")
        connection.executemany("INSERT INTO watched VALUES (?, ?, ?, ?, ?)", ROWS)
        connection.commit()
        assert read_history(path).interactions == EXPECTED
        connection.execute("CREATE TABLE other (title, id)")
        with pytest.raises(UsageError, match="has more than one table; it holds: watched, other") as caught:
            read_history(path)
    assert caught.value.hint == "name a file with one table"
    with pytest.raises(UsageError, match="standard input is a SQLite file, which cannot be read out of a pipe"):
        read_piped_history(io.BytesIO(path.read_bytes()), "standard input")
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(objects()), tmp_path / "h.parquet")
    assert read_history(tmp_path / "h.parquet").interactions == EXPECTED


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Heat\nAlien\n", ["Heat", "Alien"]),
        ("[REC]\nHeat\n", ["[REC]", "Heat"]),
        ("Good, the Bad and the Ugly, The\nHeat\n", ["Good, the Bad and the Ugly, The", "Heat"]),
        ("Name, The\nHeat\n", ["Name, The", "Heat"]),
        ("title\nHeat\n", ["title", "Heat"]),
        ('"Crocodile" Dundee, Paul Hogan\nHeat\n', ['"Crocodile" Dundee, Paul Hogan', "Heat"]),
        ('["Heat", "Alien"]', ["Heat", "Alien"]),
        ('[\n"Heat",\n"Alien"\n]', ["Heat", "Alien"]),
        ("[]", []),
        ("", []),
        ("\n \n", []),
    ],
)
def test_a_title_a_line_or_an_array_of_titles(text: str, titles: list[str], tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    for data in (text.encode(), gzip.compress(text.encode())):
        path.write_bytes(data)
        for parsed in (read_history(path), read_piped_history(io.BytesIO(data), "stdin")):
            assert [entry.title for entry in parsed.interactions] == titles


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title,date\nHeat,1/5/24\n", "line 2: date is '1/5/24'"),
        ("title,rating\nHeat,4\nAlien,good\n", "line 3: rating is 'good'"),
        ("title,year\nHeat,1995\n,1979\n,\n", "line 3 has neither a title nor an id"),
        ("title,year\nHeat,1995,x\n", "line 2: 3 fields, but the header names 2"),
        ('["Heat", 7]', "entry 2 is 7"),
        ('["Heat", {"id": 1, "id": 2}]', "entry 2: the key 'id' stands twice in one object"),
        ('{"title": "Heat",\n"year": 1995, "year": 1996}', "line 1: the key 'year' stands twice in one object"),
        ('["Heat"', "begins like a JSON array and is not"),
        ('[{"title": "Heat"}, {"rating": 5}]', "entry 2 has neither a title nor an id"),
        ('{\n"title": "Heat",\n', "not valid JSON"),
        ('{"Items": [\n{"Name": "Heat"}]}', "one object holds the whole table, under 'Items'"),
        (b"title,year\nAm\xe9lie,2001\n", "line 2 is not UTF-8 (byte 3)"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_in_files_and_pipes(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    path = tmp_path / "history"
    path.write_bytes(data)

    def fails(read: Callable[[], ParsedHistory], name: str) -> None:
        with pytest.raises(UsageError) as caught:
            read()
        assert caught.value.message.startswith(name)
        assert message in caught.value.message
        assert caught.value.hint
        assert "/proc/" not in caught.value.message

    fails(lambda: read_history(path), str(path))
    fails(lambda: read_piped_history(io.BytesIO(data), "standard input"), "standard input")


def test_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("Const,Your Rating,Date Rated,Title,Year,Genres\ntt1,9,2024-01-31,Heat,1995,Crime\ntt2,8,,Ran,,\n")
    parsed = read_history(path)
    assert parsed.interactions == (
        Interaction("Heat", "tt1", 1706659200.0, 9.0, 1995),
        Interaction("Ran", "tt2", None, 8.0),
    )
    assert parsed.notes == (
        f"{path}: 1 of 2 entries have no time: all stay in their order",
        f"{path}: not used: 'Genres' (1)",
    )
    piped = read_piped_history(io.BytesIO(path.read_bytes()), "standard input")
    assert piped.notes[1] == "standard input: not used: 'Genres' (1)"


def test_a_pipe_of_any_length_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.serving.history_table._MAX_STDIN_BYTES", 10)
    with pytest.raises(UsageError, match="standard input is longer than 10 bytes"):
        read_piped_history(io.BytesIO(b"x" * 11), "standard input")


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path, trials: Callable[[int, int], int]) -> None:
    path = tmp_path / "history"
    forms = [make() for make in TEXTS.values()]
    for seed in range(trials(200, 5000)):
        rng = random.Random(seed)
        data = bytearray(rng.choice(forms))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data) or 1)
            data = data or bytearray(b"x")
            what = rng.randrange(4)
            if what == 0:
                data[place] = rng.randrange(256)
            elif what == 1:
                del data[place : place + rng.randint(1, 20)]
            elif what == 2:
                data[place:place] = rng.choice([b"\0", b'"', b"[", b"}", b"\n", b"\xff\xfe", b",", b"1e999", b"null"])
            else:
                data = data[: place + 1]
        path.write_bytes(data)
        for read in (lambda: read_history(path), lambda: read_piped_history(io.BytesIO(bytes(data)), "stdin")):  # noqa: B023
            parsed, message = outcome(read)
            assert parsed is None or all(
                entry.title is not None or entry.id is not None for entry in parsed.interactions
            ), seed
            assert message.isprintable(), (seed, message)
            assert bool(message) == (parsed is None), seed
            assert len(message) < 700, (seed, message)


def outcome(read: Callable[[], ParsedHistory]) -> tuple[ParsedHistory | None, str]:
    """Return what was read, or the message of the error."""
    try:
        return read(), ""
    except GenRecError as e:
        return None, e.message
