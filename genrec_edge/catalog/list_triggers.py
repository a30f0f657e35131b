"""Triggers that let `item_values` follow the list columns of `items` when another program writes those.

The text of a list column is split at ", ", which is how it was joined. Values that hold a comma and were not changed
stay as they are.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_IMPORTING = "importing"
"""A row of `meta` inside the transactions of our own imports, which know the values of lists better."""
_VALUES_AGAIN_TRIGGER = """CREATE TRIGGER item_values_again BEFORE INSERT ON item_values
WHEN EXISTS (SELECT 1 FROM item_values WHERE item = new.item AND field = new.field AND value = new.value) BEGIN
  SELECT RAISE(IGNORE);
END"""
"""Programs that write the values themselves, too, may go on doing so."""


def list_triggers(lists: Sequence[str]) -> dict[str, str]:
    """Return the triggers of a catalog with these list columns, by name; none without list columns."""
    if not lists:
        return {}
    columns = ", ".join(quoted(name) for name in ("row", *lists))
    update = "".join(
        f'  DELETE FROM item_values WHERE item = new."row" AND field = {_literal(name)} AND {_is_changed(name)};\n'
        + _insertion("new", name, _is_changed(name))
        for name in lists
    )
    insert = '  DELETE FROM item_values WHERE item = new."row";\n' + "".join(_insertion("new", name) for name in lists)
    return {
        "items_lists_insert": f"""CREATE TRIGGER items_lists_insert AFTER INSERT ON items
WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = '{_IMPORTING}') BEGIN
{insert}END""",
        "items_lists_update": f"""CREATE TRIGGER items_lists_update AFTER UPDATE OF {columns} ON items BEGIN
  UPDATE item_values SET item = new."row" WHERE item = old."row" AND new."row" <> old."row";
{update}END""",
        "item_values_again": _VALUES_AGAIN_TRIGGER,
    }


def has_list_triggers(connection: sqlite3.Connection) -> bool:
    """Whether a catalog has the triggers."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'items_lists_update'").fetchone() is not None


def follow_lists(connection: sqlite3.Connection, lists: Sequence[str]) -> None:
    """Add the triggers to a catalog that does not have them, and let `item_values` follow what was missed."""
    if has_list_triggers(connection):
        return
    for row, column in lists_left_behind(connection, lists):
        connection.execute("DELETE FROM item_values WHERE item = ? AND field = ?", [row, column])
        connection.execute(_insertion('(SELECT * FROM items WHERE "row" = ?) AS i', column).strip(), [row])
    for statement in list_triggers(lists).values():
        connection.execute(statement)


def lists_left_behind(connection: sqlite3.Connection, lists: Sequence[str]) -> list[tuple[int, str]]:
    """Return each (row, column) whose text is not that of its values in `item_values`: another program wrote it."""
    found: list[tuple[int, str]] = []
    for column in lists:
        text = f"ifnull(i.{quoted(column)}, '')"
        query = f"""
            SELECT i."row" FROM items AS i LEFT JOIN item_values AS v ON v.item = i."row" AND v.field = ?
            GROUP BY i."row" HAVING max(ifnull(instr(lower({text}), lower(v.value)), 1) = 0) = 1
              OR length({text}) <> ifnull(sum(length(v.value) + 2) - 2, 0)"""
        found += [(row, column) for (row,) in connection.execute(query, [column])]
    return found


@contextmanager
def importing(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the block of a transaction write `items` and `item_values` by itself, without the triggers."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", [_IMPORTING])
    yield
    connection.execute("DELETE FROM meta WHERE name = ?", [_IMPORTING])


def _insertion(source: str, column: str, condition: str = "1") -> str:
    """Return the statement that splits a list into `item_values`: of the new row, or of the row of a table AS i."""
    row = "new" if source == "new" else "i"
    tables = "" if source == "new" else f"{source}, "
    text = f"replace(json_quote({row}.{quoted(column)}), ', ', '\",\"')"
    return f"""  INSERT OR IGNORE INTO item_values SELECT {row}."row", {_literal(column)}, trim(value)
    FROM {tables}json_each('[' || {text} || ']') WHERE trim(value) <> '' AND {condition};
"""


def _is_changed(column: str) -> str:
    return f"new.{quoted(column)} IS NOT old.{quoted(column)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
