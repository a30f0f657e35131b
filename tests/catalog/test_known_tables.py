"""Files that call themselves catalogs, and have what SQLite would run."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import CatalogError, GenRecError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT"


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(path: Path, name: str, old: str, new: str) -> None:
    """Change the SQL of a table as an attacker can: nothing checks it against the table's content."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchone()
        assert old in sql
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [sql.replace(old, new), name])


FORGED = {
    "an endless view of items": (
        "ALTER TABLE items RENAME TO real_items",
        f"CREATE VIEW items AS {ENDLESS} n AS row, '1' AS id, 'a' AS title, 1 AS year, 'a' AS key FROM t",
    ),
    "an endless view of meta": ("DROP TABLE meta", f"CREATE VIEW meta AS {ENDLESS} 'lists' AS name, n AS value FROM t"),
    "an endless view of values": (
        "DROP TABLE item_values",
        f"CREATE VIEW item_values AS {ENDLESS} n AS item, 'a' AS field, 'b' AS value FROM t",
    ),
    "another view": ("CREATE VIEW v AS SELECT 1",),
    "a trigger that grows the file": (
        f"""CREATE TRIGGER grow AFTER INSERT ON items BEGIN
        INSERT INTO changes(revision) {ENDLESS} hex(randomblob(1000)) FROM t LIMIT 1000000; END""",
    ),
    "a trigger by one of our names": (
        "DROP TRIGGER items_values_delete",
        "CREATE TRIGGER items_values_delete AFTER DELETE ON items BEGIN DELETE FROM items; END",
    ),
    "a trigger of a value": ("CREATE TRIGGER t BEFORE UPDATE ON meta BEGIN SELECT RAISE(IGNORE); END",),
    "a computed column": ("ALTER TABLE items ADD COLUMN c AS (hex(zeroblob(1000000))) VIRTUAL",),
    "a checked column": ("ALTER TABLE items ADD COLUMN c CHECK (length(hex(zeroblob(10000))) > 1)",),
    "a computed default": ("ALTER TABLE items ADD COLUMN c TEXT COLLATE nocase",),
    "a virtual table": ("CREATE VIRTUAL TABLE v USING fts5(a)",),
    "another full-text index": ("DROP TABLE items_fts", "CREATE VIRTUAL TABLE items_fts USING fts5(title)"),
    "no full-text index": ("DROP TABLE items_fts",),
    "an index of an expression": ("CREATE INDEX e ON items(lower(hex(title)))",),
    "a partial index": ("CREATE INDEX p ON items(title) WHERE year > 1990",),
    "no values": ("DROP TABLE item_values",),
    "no meta": ("DROP TABLE meta",),
    "another meta": ("DROP TABLE meta", "CREATE TABLE meta(name, value)"),
    "another items": (
        "DROP TABLE items",
        'CREATE TABLE items(id TEXT, "row" INTEGER PRIMARY KEY, title TEXT, year INTEGER, "key" TEXT)',
    ),
    "items without row ids": (
        "DROP TABLE items",
        'CREATE TABLE items("row" INTEGER PRIMARY KEY, id TEXT, title TEXT, year INTEGER, "key" TEXT) WITHOUT ROWID',
    ),
    "lists nested too deep": (f"UPDATE meta SET value = '{'[' * 100_000}' WHERE name = 'lists'",),
    "lists that are no columns": ("UPDATE meta SET value = '[\"no\"]' WHERE name = 'lists'",),
    "a list of the own columns": ("UPDATE meta SET value = '[\"title\"]' WHERE name = 'lists'",),
    "lists twice": ("UPDATE meta SET value = '[\"genres\", \"genres\"]' WHERE name = 'lists'",),
    "lists of numbers": ("UPDATE meta SET value = '[1, null, {}, []]' WHERE name = 'lists'",),
    "lists that are none": ("UPDATE meta SET value = '{\"genres\": 1}' WHERE name = 'lists'",),
    "no lists": ("DELETE FROM meta WHERE name = 'lists'",),
    "no revision": ("DELETE FROM meta WHERE name = 'revision'",),
    "thousands of tables": tuple(f"CREATE TABLE t{i}(a)" for i in range(1_000)),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_catalog_is_refused_before_anything_runs(kind: str, nine_films_path: Path) -> None:
    execute(nine_films_path, *FORGED[kind])
    size = nine_films_path.stat().st_size
    with pytest.raises(CatalogError) as error:
        Catalog.open(nine_films_path)
    assert error.value.exit_code == 6
    assert error.value.message.isprintable()
    assert len(error.value.message) < 400
    with pytest.raises(CatalogError):
        edit.add_item(nine_films_path, "Another")
    with pytest.raises(CatalogError):
        edit.remove(nine_films_path, ["2"])
    assert nine_films_path.stat().st_size == size


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("items", "title TEXT NOT NULL", "title TEXT NOT NULL COLLATE none_of_ours"),
        ("items", '"length" INTEGER', '"length" INTEGER DEFAULT (abs(-9223372036854775808))'),
        ("items", '"length" INTEGER', '"length" GENERATED ALWAYS AS (1)'),
        ("items", "year INTEGER", "year TEXT"),
        ("items", "CREATE TABLE", "CREATE TABLE IF"),
        ("item_values", "COLLATE NOCASE", "COLLATE none_of_ours"),
        ("items_key", '("key")', '("key" COLLATE none_of_ours)'),
        ("items_fts_data", "CREATE TABLE", "CREATE VIRTUAL TABLE"),
        ("items_ai", "new.", "old."),
    ],
)
def test_a_rewritten_table_is_refused(name: str, old: str, new: str, nine_films_path: Path) -> None:
    rewrite(nine_films_path, name, old, new)
    with pytest.raises(CatalogError, match="damaged or not as expected"):
        Catalog.open(nine_films_path)


def test_what_does_no_harm_is_left_alone(nine_films_path: Path) -> None:
    execute(
        nine_films_path,
        "ALTER TABLE items ADD COLUMN owned INTEGER DEFAULT 0",
        "ALTER TABLE items ADD COLUMN \"as check (\" VARCHAR(20) NOT NULL DEFAULT 'generated as'",
        "CREATE TABLE notes(text)",
        "CREATE INDEX by_year ON items(year, title DESC)",
        "ANALYZE",
    )
    with Catalog.open(nine_films_path) as catalog:
        assert catalog.filter("owned = 0").size == 9
        assert "as check (" in catalog.columns
    assert edit.add_item(nine_films_path, "Another").n_items == 1


def test_a_pipe_or_a_device_is_not_waited_for(nine_films_path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    for path in (tmp_path / "pipe.db", tmp_path, os.devnull, "/dev/zero"):
        with pytest.raises(UsageError, match="cannot read the catalog"):
            Catalog.open(path)
    for end in ("journal", "wal"):
        os.mkfifo(f"{nine_films_path}-{end}")
        with pytest.raises(UsageError, match="is not a file"):
            Catalog.open(nine_films_path)
        nine_films_path.with_name(f"{nine_films_path.name}-{end}").unlink()
    with pytest.raises(GenRecError, match="cannot read"):
        edit.add_item(tmp_path / "pipe.db", "Another")
