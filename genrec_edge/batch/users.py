"""The users of a batch, from JSON lines or Parquet: who they are and the request of each.

Every row is checked before the first is answered. Knows files and requests; neither models nor catalogs.
"""

from __future__ import annotations

import gzip
import math
import reprlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError
from genrec_edge.option_fields import option_of, types_of
from genrec_edge.records import Interaction
from genrec_edge.serving.history_file import ParsedHistory, history_of
from genrec_edge.storage.files import path_errors, sha256_file
from genrec_edge.storage.user_json import RepeatedKeyError, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from genrec_edge.options import Request

INPUT_ENDS = (".jsonl", ".jsonl.gz", ".parquet")
_BATCH_ROWS = 1024
_MAX_LINE_BYTES = 8 << 20
"""A line that goes on for ever would take all memory, and compressed it has a small file. 100,000 titles fit."""
_MAX_NOTES = 3


@dataclass(frozen=True, slots=True)
class BatchUser:
    """One row: the user, by the text or whole number in the file, the request, and what was not used of it."""

    user: str | int
    request: Request
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsersFile:
    """What a file of users holds: how many, its sha256, whether all users are numbers, and what was not used."""

    n_users: int
    sha256: str
    are_numbers: bool
    notes: tuple[str, ...] = ()


def check_users_file(path: Path, common: Request, on_progress: Callable[[float], object] = lambda _: None) -> UsersFile:
    """Read a file of users once, and check every row of it. Read-only.

    Args:
        path: JSON lines (.jsonl, .jsonl.gz) or Parquet.
        common: what is asked where a row says nothing else.
        on_progress: called with the share read, 0..1.

    Raises:
        UsageError: another kind of file; one that cannot be read; a wrong row, or a user who stands in two (the text
            "1" and the number 1 are the same user); the message names the lines.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file", hint="users are read twice: write them into a file first")
    sha256 = ""
    with path_errors(path):
        sha256 = sha256_file(path)
    place_of: dict[str, int] = {}
    are_numbers = True
    notes: list[str] = []
    n_notes = 0
    unit = "row" if path.name.endswith(".parquet") else "line"
    for number, user in _numbered_users(path, common, on_progress):
        if (before := place_of.setdefault(str(user.user), number)) != number:
            message = f"{path}: the user {reprlib.repr(user.user)} is in {unit} {before} and in {unit} {number}"
            raise UsageError(message, hint="give each user one row")
        are_numbers = are_numbers and isinstance(user.user, int)
        n_notes += len(user.notes)
        notes += user.notes[: _MAX_NOTES - len(notes)]
    if not place_of:
        raise UsageError(f"{path} has no users", hint="write one user a row, as docs/cli.md shows")
    on_progress(1.0)
    if n_notes > len(notes):
        notes.append(f"{path}: and so of {n_notes - len(notes):,} more histories")
    return UsersFile(len(place_of), sha256, are_numbers, tuple(notes))


def read_users(path: Path, common: Request) -> Iterator[BatchUser]:
    """Yield the users of a file in its order; `check_users_file` says what can be raised."""
    return (user for _, user in _numbered_users(path, common, lambda _: None))


def _numbered_users(
    path: Path, common: Request, on_progress: Callable[[float], object]
) -> Iterator[tuple[int, BatchUser]]:
    if not path.name.endswith(INPUT_ENDS):
        raise UsageError(
            f"{path} does not have the name of a users file", hint=f"it must end in {', '.join(INPUT_ENDS)}"
        )
    with path_errors(path):
        rows = _parquet_rows if path.name.endswith(".parquet") else _json_rows
        for number, where, row in rows(path, on_progress):
            yield number, _user(row, where, common)


def _json_rows(path: Path, on_progress: Callable[[float], object]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    n_bytes = max(1, path.stat().st_size)
    try:
        with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES + 1), b""), start=1):
                if len(line) > _MAX_LINE_BYTES:
                    message = f"{path}, line {number} has more than {_MAX_LINE_BYTES:,} bytes"
                    raise UsageError(message, hint="write one user a line, with no more history than is needed")
                if number % _BATCH_ROWS == 0:
                    on_progress(raw.tell() / n_bytes)
                if line.strip():
                    where = f"{path}, line {number}"
                    yield number, where, _object(line, where)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise UsageError(f"{path} is damaged: {e}", hint="compress it again, or write it as .jsonl") from e


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        row = parse_json(line.decode("utf-8-sig"))
    except RepeatedKeyError as e:
        raise UsageError(f"{where}: {e}", hint=e.hint) from e
    except (ValueError, RecursionError) as e:  # what is not UTF-8 is a ValueError, too
        raise UsageError(f"{where} is not JSON: {e}", hint="one object a line, in UTF-8") from e
    if not isinstance(row, dict):
        raise UsageError(f"{where} is {reprlib.repr(row)}, not an object", hint='write {"user": ..., "history": [...]}')
    return row


def _parquet_rows(path: Path, on_progress: Callable[[float], object]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            n_rows = max(1, file.metadata.num_rows)
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, f"{path}, row {number}", row
                on_progress(number / n_rows)
    except pa.ArrowException as e:
        first_line = str(e).partition("\n")[0]
        raise UsageError(f"{path} cannot be read as Parquet: {first_line}", hint="write it again, or as .jsonl") from e


def _user(row: Mapping[str, Any], where: str, common: Request) -> BatchUser:
    """Return the user a row means; fields that are null count as not there."""
    known = ["user", *(declared.name for declared in fields(common) if option_of(declared).per_user)]
    if unknown := [name for name in row if name not in known]:
        message = f"{where} has the unknown field {unknown[0]!r}"
        raise UsageError(message, hint=f"known: {', '.join(known)}")
    user = row.get("user")
    if isinstance(user, bool) or not isinstance(user, str | int) or user == "":
        raise UsageError(f"{where}: user is {reprlib.repr(user)}", hint="name the user by a text or a whole number")
    if isinstance(user, int) and not -(1 << 63) <= user < 1 << 63:
        raise UsageError(f"{where}: user is a number of more than 64 bits", hint="write it as text")
    kind: type = type(common)
    hints = types_of(kind)
    given: dict[str, Any] = {
        name: _READERS[hints[name]](value, f"{where}: {name}")
        for name, value in row.items()
        if name != "user" and value is not None
    }
    notes: tuple[str, ...] = ()
    if isinstance(parsed := given.get("history"), ParsedHistory):
        given["history"], notes = parsed.interactions, parsed.notes
    return BatchUser(user, replace(common, **given), notes)


def _wrong(value: object, where: str, wanted: str) -> UsageError:
    return UsageError(f"{where} is {reprlib.repr(value)}", hint=f"write {wanted}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, where, "a text")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        raise _wrong(value, where, "a list of titles or ids")
    return tuple(value)


def _history(value: object, where: str) -> ParsedHistory:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list of titles, or of objects with title or id")
    return history_of(((f"{where}, entry {n}", entry) for n, entry in enumerate(value, start=1)), where)


def _count(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, where, "a whole number")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(value, where, "a number")
    return float(value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")
    return value


def _words(value: object, where: str) -> dict[str, str]:
    return {name: _text(words, f"{where}.{name}") for name, words in _named(value, where, "words").items()}


def _biases(value: object, where: str) -> dict[str, float]:
    return {name: _number(nats, f"{where}.{name}") for name, nats in _named(value, where, "nats").items()}


def _named(value: object, where: str, wanted: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(value, where, f"an object of {wanted} by name")
    return {str(name): below for name, below in value.items() if below is not None}


_READERS: Mapping[object, Callable[[object, str], object]] = {
    str: _text,
    int: _count,
    float: _number,
    bool: _flag,
    Sequence[str]: _texts,
    Sequence[str | Interaction]: _history,
    Mapping[str, str]: _words,
    Mapping[str, float]: _biases,
}
"""How a value of JSON is read, by the type of the field."""
