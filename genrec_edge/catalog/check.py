"""Whether a file is a catalog as this program makes it: its tables and triggers, its bytes, and the values in it.

Tables and triggers are looked at each time a file is opened (`known_tables.py`). The values are looked at once for each
state of a file, and what was found right is remembered in the cache folder. The bytes are compared with the file's
digest; a file without one, which another program changed, is checked by SQLite.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import schema, titles
from genrec_edge.catalog.list_triggers import has_list_triggers, lists_left_behind
from genrec_edge.storage import checked_files, paths
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES_OF_EACH_TIME = 32 << 20
"""A file up to this size is compared with its digest each time it is opened, which takes 30 ms; a larger one once."""
_MAX_BYTES_OF_WHOLE_CHECK = 64 << 20
"""Of a file without a digest; indexes of a larger one are not compared with their tables."""
_FILE_NAME = "checked-catalogs.json"
_MAX_REMEMBERED = 500
_STEPS_PER_SIGNAL = 100_000
"""Steps of SQLite between two moments at which Ctrl-C is noticed."""


def check_file(path: Path, connection: sqlite3.Connection) -> bool:
    """Check the bytes of a catalog, and the values in it where that was not done since it changed. Read-only.

    Returns False if another program changed list columns, and `item_values` did not follow: `edit.changing` mends that.

    Raises:
        sqlite3.DatabaseError: it is damaged, or not as this program makes it.
    """
    stamp, started = checked_files.stamp_of(path), time.time_ns()
    record = checked_files.read_record(paths.cache_path() / _FILE_NAME)
    remembered = record if isinstance(record, dict) else {}
    is_known = remembered.get(str(path.absolute())) == stamp
    if is_known and path.stat().st_size > _MAX_BYTES_OF_EACH_TIME:
        return True
    state = schema.CATALOG.digest_state(path, connection)
    if state == "wrong":
        raise sqlite3.DatabaseError("its bytes are not those that were written")
    if is_known:
        return True
    is_up_to_date = True
    connection.set_progress_handler(lambda: False, _STEPS_PER_SIGNAL)
    try:
        if state == "none":
            _check_by_sqlite(connection, is_whole=path.stat().st_size <= _MAX_BYTES_OF_WHOLE_CHECK)
        _check_values(connection)
        if state == "none" and not has_list_triggers(connection):
            is_up_to_date = not lists_left_behind(connection, schema.list_names(connection))
    finally:
        connection.set_progress_handler(None, 0)
    if is_up_to_date and checked_files.stamp_of(path) == stamp and checked_files.are_settled([stamp], started):
        _remember(remembered, str(path.absolute()), stamp)
    return is_up_to_date


def _check_by_sqlite(connection: sqlite3.Connection, *, is_whole: bool) -> None:
    """Let SQLite check the structure of the file, and its indexes as well where it `is_whole`."""
    ((found,),) = connection.execute(f"PRAGMA {'integrity' if is_whole else 'quick'}_check(1)").fetchall()
    if found != "ok" and "unable to validate" not in found:  # of full text, which some versions cannot read-only
        raise sqlite3.DatabaseError(" ".join(str(found).split()))


def _check_values(connection: sqlite3.Connection) -> None:
    """Check that every value of a catalog is of the kind that its column has."""
    schema.meta_value(connection, "revision")
    schema.separators(connection)
    for name, value in connection.execute("SELECT name, value FROM meta"):
        if not isinstance(name, str) or not isinstance(value, str):
            raise sqlite3.DatabaseError(f"its table meta has {value!r:.80} for {name!r:.80}")
    rules = {
        "id": "typeof(id) <> 'text' OR id = ''",
        "title": "typeof(title) <> 'text'",
        "key": "typeof(\"key\") <> 'text'",
        "year": "typeof(year) NOT IN ('integer', 'null')",
    }
    for column in schema.column_names(connection):
        rules[column] = f"typeof({quoted(column)}) = 'blob'"
    for column, rule in rules.items():
        found = connection.execute(f'SELECT "row", typeof({quoted(column)}) FROM items WHERE {rule} LIMIT 1').fetchone()
        if found is not None:
            raise sqlite3.DatabaseError(f"its item {found[0]} has a wrong {column} ({found[1]})")
    for row, title in connection.execute("""SELECT "row", title FROM items WHERE title NOT GLOB '*[!-~]*'"""):
        if not titles.clean(title):
            raise sqlite3.DatabaseError(f"its item {row} has no title")
    _check_lists_and_changes(connection)


def _check_lists_and_changes(connection: sqlite3.Connection) -> None:
    rule = "typeof(item) <> 'integer' OR typeof(field) <> 'text' OR typeof(value) <> 'text'"
    found = connection.execute(f"SELECT item FROM item_values WHERE {rule} LIMIT 1").fetchone()
    if found is not None:
        raise sqlite3.DatabaseError(f"a list of its item {found[0]!r:.80} has a value that is no text")
    if schema.has_changes(connection):
        rule = "typeof(revision) <> 'text' OR typeof(\"row\") NOT IN ('integer', 'null')"
        if connection.execute(f"SELECT 1 FROM changes WHERE {rule} LIMIT 1").fetchone():
            raise sqlite3.DatabaseError("its table changes has a wrong value")


def _remember(remembered: dict[str, Any], path: str, stamp: checked_files.Stamp) -> None:
    """Keep the stamp of a catalog that was found right; without a cache folder it is checked again next time."""
    remembered.pop(path, None)
    kept = dict([*remembered.items(), (path, stamp)][-_MAX_REMEMBERED:])
    checked_files.write_record(paths.cache_path() / _FILE_NAME, kept)
