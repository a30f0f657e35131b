"""Tables in JSON: an array of objects, or objects one after the other, one a line or not."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

from genrec_edge.storage.column_roles import has_title
from genrec_edge.storage.table_source import TableSource, distinct_names
from genrec_edge.storage.text_files import open_text
from genrec_edge.storage.user_json import RepeatedKeyError, spelled_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from genrec_edge.errors import UsageError

_CHUNK_CHARACTERS = 1 << 16
_MAX_VALUE_CHARACTERS = 1 << 26
_ROWS_HINT = "write one JSON object a line, or one array of objects"
_COLUMNS_HINT = 'write rows: pandas does with orient="records"'


class JsonTable(TableSource):
    """Objects in JSON, whose names are the columns. Arrays and objects may follow each other without a mark between."""

    def __init__(self, path: Path, member: str | None, *, is_array: bool) -> None:
        super().__init__(path, "item" if is_array else "line")
        self._is_array = is_array
        self._member = member
        self._position: dict[str, int] = {}

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number of the item or of its first line, values)."""
        position = self._position
        wrapped = ""
        for n_rows, (number, record) in enumerate(self._records()):
            if not isinstance(record, dict):
                hint = _COLUMNS_HINT if isinstance(record, list) else "every item must be an object with a title"
                raise self.error(number, "not a JSON object", hint)
            if not n_rows:
                self._check_orientation(number, record)
                wrapped = "" if self._is_array else _name_of_rows(record)
            if not record.keys() <= position.keys():
                self._learn(record)
            cells: list[object] = [None] * len(position)
            for name, value in record.items():
                cells[position[name]] = value
            yield number, cells
        if wrapped and not n_rows:
            hint = f"write the objects under {wrapped!r} alone"
            raise self.error(number, f"one object holds the whole table, under {wrapped!r}", hint)

    def _learn(self, record: dict[str, object]) -> None:
        for name in record:
            self._position.setdefault(name, len(self._position))
        self.columns = distinct_names(list(self._position))

    def _check_orientation(self, number: int, record: dict[str, object]) -> None:
        """Refuse a table that is written column by column, or as one object of rows."""
        values = list(record.values())
        first = values[0] if values else None
        if len(values) == 1:  # a single column, or a single name above all rows
            inner = next(iter(first.items()), None) if isinstance(first, dict) else None
            is_table = (inner is not None and (inner[0] == "0" or isinstance(inner[1], dict))) or (
                isinstance(first, list) and bool(first) and isinstance(first[0], dict)
            )
        else:
            is_table = any(values and all(isinstance(value, kind) for value in values) for kind in (dict, list))
        names = record.get("columns", record.get("schema"))
        if is_table or (isinstance(names, list | dict) and isinstance(record.get("data"), list)):
            shown = ", ".join(repr(name) for name in list(record)[:3])
            raise self.error(number, f"one object holds the whole table, under {shown}", _COLUMNS_HINT)

    def _records(self) -> Iterator[tuple[int, object]]:
        with open_text(self.path, None, self._member) as (text, share):
            for n, (number, value) in enumerate(_Values(self, text, is_array=self._is_array).read()):
                if not n & 1023:
                    self.share_read = share()
                yield number, value


def _name_of_rows(record: dict[str, object]) -> str:
    """Return the name under which an object holds rows that have a title themselves, "" if there is none."""
    for name, value in record.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) and has_title(row) for row in value):
            return name
    return ""


class _Values:
    """Decodes the values of a text one by one, without holding the whole of it."""

    def __init__(self, source: TableSource, text: IO[str], *, is_array: bool) -> None:
        self._source = source
        self._text = text
        self._is_array = is_array
        self._buffer = ""
        self._at = 0  # of the next character in the buffer
        self._line = 1
        self._n_values = 0
        self._decode = spelled_decoder().raw_decode

    def read(self) -> Iterator[tuple[int, object]]:
        """Yield (number of the item or of its first line, value)."""
        while self._peek():
            if self._is_array:
                yield from self._array()
            else:
                yield self._number(), self._value()

    def _array(self) -> Iterator[tuple[int, object]]:
        if self._peek() != "[":
            raise self._error("expected an array after the first one")
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self._number(), self._value()
            mark = self._peek()
            if mark not in {",", "]"}:
                self._n_values -= 1
                raise self._error("a comma or ] is missing after it")
            self._at += 1
            if mark == "]":
                return

    def _number(self) -> int:
        self._peek()
        return self._n_values + 1 if self._is_array else self._line

    def _peek(self) -> str:
        """Return the next character that is not white space, "" at the end."""
        while True:
            rest = self._buffer[self._at : self._at + 1]
            if rest and not rest.isspace():
                return rest
            if rest == "\n":
                self._line += 1
            if rest:
                self._at += 1
            elif not self._read_more():
                return ""

    def _read_more(self) -> bool:
        chunk = self._text.read(max(_CHUNK_CHARACTERS, len(self._buffer) - self._at))
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _value(self) -> object:
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
                if end < len(self._buffer) or not self._read_more():
                    return self._taken(value, end)
            except RepeatedKeyError as e:
                raise self._source.error(self._number(), str(e), e.hint) from e
            except (ValueError, RecursionError) as e:
                # A value that the buffer cuts off fails at the end of it, or in a text that begins before.
                at = e.pos if isinstance(e, json.JSONDecodeError) else 0
                is_cut_off = at > len(self._buffer) - 16 or str(e).startswith("Unterminated string")
                if not is_cut_off or not self._read_more():
                    raise self._error(str(e)) from e
                if len(self._buffer) > _MAX_VALUE_CHARACTERS:
                    what = f"a value has more than {_MAX_VALUE_CHARACTERS:,} characters"
                    raise self._source.error(self._number(), what, f"{_ROWS_HINT}; {_COLUMNS_HINT}") from e

    def _taken(self, value: object, end: int) -> object:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end
        self._n_values += 1
        return value

    def _error(self, what: str) -> UsageError:
        return self._source.error(self._number(), f"not valid JSON ({what})", _ROWS_HINT)
