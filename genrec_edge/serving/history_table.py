"""History files of any format: a title a line, JSON lines, or a table with names of columns."""

from __future__ import annotations

import json
import re
from typing import IO, TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.serving.history_file import (
    MAX_LINE_BYTES,
    ParsedHistory,
    history_of,
    parse_history,
    present,
    roles_of,
)
from genrec_edge.storage.spooled import in_memory
from genrec_edge.storage.tables import open_source
from genrec_edge.storage.text_files import first_bytes, lines_of, open_text
from genrec_edge.storage.user_json import RepeatedKeyError, parse_json, repeated_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SQLITE = b"SQLite format 3\0"
_BINARY = (_SQLITE, b"PAR1", b"PK\x03\x04")
_ARRAY = re.compile(r"\s*\[\s*(?:[{\"\]]|$)").match
"""The first line of an array of objects or texts; a title may begin with a bracket, too: [REC]."""
_MAX_STDIN_BYTES = 1 << 26
_MAX_ARRAY_CHARACTERS = 1 << 26


def read_history(path: Path) -> ParsedHistory:
    """Return what a file of a history means. Read-only.

    It is a table if it is one of SQLite, Parquet or xlsx, objects in JSON of several lines each, or a text whose first
    line names several of the columns title, id, year, timestamp and rating; else an array in JSON, or lines as
    `parse_history` has them. Text may be packed.

    Raises:
        UsageError: the file cannot be read, or something in it means nothing; the message says where.
        MissingExtraError: the format needs a library that is not installed.
    """
    try:
        head, is_packed = first_bytes(path, 16)
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}", hint="name a readable file, or - for stdin") from e
    if (head.startswith(_BINARY) and not is_packed) or _is_table(path, is_packed=is_packed):
        return history_of(_rows(path), str(path))
    if not is_packed and not _ARRAY(_first_line(path).decode("utf-8-sig", "replace").strip()):
        with path.open("rb") as file:
            return parse_history(file, str(path))
    with open_text(path) as (text, _):
        lines = lines_of(text, path)
        first_line = next((line for line in lines if line.strip()), "")
        if _ARRAY(first_line.strip()):
            return history_of(_array(path, first_line + text.read(_MAX_ARRAY_CHARACTERS)), str(path))
        return parse_history((line.encode() for line in (first_line, *lines)), str(path))


def read_piped_history(stream: IO[bytes], name: str) -> ParsedHistory:
    """Return what the bytes of a pipe mean, as `read_history` does; nothing of them is written to a disk.

    Raises: as `read_history`; and UsageError for more than 64 MB.
    """
    data = stream.read(_MAX_STDIN_BYTES + 1)
    if len(data) > _MAX_STDIN_BYTES:
        raise UsageError(f"{name} is longer than {_MAX_STDIN_BYTES:,} bytes", hint="name a file instead")
    if not data.strip():
        return ParsedHistory(())
    if data.startswith(_SQLITE):
        raise UsageError(f"{name} is a SQLite file, which cannot be read out of a pipe", hint="name the file")
    with in_memory(data, name) as path:
        parsed = read_history(path)
    return ParsedHistory(parsed.interactions, tuple(note.replace(str(path), name) for note in parsed.notes))


def _is_table(path: Path, *, is_packed: bool) -> bool:
    """Whether the first line of a text names a title or an id and another column, or begins an object of several."""
    try:
        if not is_packed:
            first = _first_line(path).removeprefix(b"\xef\xbb\xbf").strip()
            if first.startswith(b"{"):
                return not _is_json(first)
            if not any(mark in first for mark in (b",", b"\t", b";", b"|")) or first.startswith(b"["):
                return False
        roles = roles_of(open_source(path).columns)
    except (UsageError, OSError):
        return False
    return len(roles) > 1 and bool(roles & {"title", "id"})


def _first_line(path: Path) -> bytes:
    """Return the first line of a text that is not empty, or as much of it as a line may have."""
    with path.open("rb") as file:
        return next((line for line in iter(lambda: file.readline(MAX_LINE_BYTES), b"") if line.strip()), b"")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    """Yield where each row of a table stands, and its cells by the names of their columns."""
    try:
        source = open_source(path)
    except UsageError as e:
        hint = "name a file with one table" if "`table`" in e.hint else e.hint
        raise UsageError(e.message, hint=hint) from e
    for number, cells in source.rows():
        yield f"{path}, {source.unit} {number}", dict(zip(source.columns, map(present, cells), strict=False))


def _array(path: Path, text: str) -> Iterator[tuple[str, object]]:
    try:
        entries = parse_json(text)
    except RepeatedKeyError as e:
        raise UsageError(f"{path}, entry {repeated_at(text)}: {e}", hint=e.hint) from e
    except (ValueError, RecursionError) as e:
        hint = "write one object or title a line, or one array of them"
        raise UsageError(f"{path} begins like a JSON array and is not: {e}", hint=hint) from e
    yield from ((f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))
