"""The rows of a job: what is said of a user, and how rows become a file, JSON lines or Parquet.

A row is the same whichever engine and process answered it: there are no times in it.
"""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from genrec_edge.errors import UsageError
from genrec_edge.prior.mixture import PARTS
from genrec_edge.serving.serialize import item_json, notes, unresolved_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from genrec_edge.records import Result

OUTPUT_ENDS = (".jsonl", ".parquet")
_ANSWERED = b', "error": null}\n'
"""How the line of an answered user ends: the error stands last."""
_GROUP_ROWS = 4096


def answer_row(user: str | int, result: Result) -> bytes:
    """Return the line of a user who got an answer; `notes` only where there are some."""
    said = notes((*result.resolved, *result.named))
    return _line(
        user,
        items=[item_json(r) for r in result.items],
        exact=result.exact,
        gap=result.gap if result.gap is not None and math.isfinite(result.gap) else None,
        unresolved=[unresolved_json(match) for match in result.unresolved],
        loosened=list(result.loosened),
        dropped=result.dropped,
        **({"notes": said} if said else {}),
        error=None,
    )


def error_row(user: str | int, code: str, message: str) -> bytes:
    """Return the line of a user whose request cannot be answered."""
    return _line(
        user,
        items=[],
        exact=None,
        gap=None,
        unresolved=[],
        loosened=[],
        dropped=0,
        error={"code": code, "message": message},
    )


def is_error_row(line: bytes) -> bool:
    """Return whether a line is that of a user without an answer."""
    return not line.endswith(_ANSWERED)


def _line(user: str | int, **row: object) -> bytes:
    document = {"user": user, **row}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a title of the history holds half of a surrogate pair
        return json.dumps(document, allow_nan=False).encode() + b"\n"


def check_ending(out_path: Path) -> None:
    """Raise UsageError unless rows can be written as a file of that name."""
    if not out_path.name.endswith(OUTPUT_ENDS):
        raise UsageError(
            f"{out_path} does not have the name of an output file", hint=f"it must end in {', '.join(OUTPUT_ENDS)}"
        )


def write_rows(lines: Iterable[bytes], file: BinaryIO, *, as_parquet: bool, are_numbers: bool) -> None:
    """Write lines as they are, or as Parquet, whose users are numbers only where all of them are."""
    if not as_parquet:
        file.writelines(lines)
        return
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(pa, are_numbers=are_numbers)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in _groups(map(json.loads, lines)):
            users = [row["user"] if are_numbers else _utf8(str(row["user"])) for row in rows]
            columns = {name: [row.get(name) for row in rows] for name in schema.names} | {"user": users}
            writer.write_table(pa.table({name: _utf8(column) for name, column in columns.items()}, schema))


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, _GROUP_ROWS)):
        yield group


def _utf8(value: Any) -> Any:
    """Return a value whose texts Parquet can hold: half of a surrogate pair is a question mark there."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_utf8(entry) for entry in value]
    return {name: _utf8(below) for name, below in value.items()} if isinstance(value, dict) else value


def _schema(pa: Any, *, are_numbers: bool) -> Any:
    named = [("id", pa.string()), ("title", pa.string()), ("year", pa.int64())]
    figures = [(name, pa.float64()) for name in ("score", "logprob", "bias", "prior")]
    parts = pa.struct([(name, pa.float64()) for name in ("model", *PARTS)])
    item = pa.struct([("rank", pa.int32()), *named, *figures, ("met", pa.bool_()), ("parts", parts)])
    near = pa.list_(pa.struct(named))
    unresolved = pa.struct([("input", pa.string()), ("method", pa.string()), ("candidates", near)])
    return pa.schema(
        [
            ("user", pa.int64() if are_numbers else pa.string()),
            ("items", pa.list_(item)),
            ("exact", pa.bool_()),
            ("gap", pa.float64()),
            ("unresolved", pa.list_(unresolved)),
            ("loosened", pa.list_(pa.string())),
            ("dropped", pa.int32()),
            ("notes", pa.list_(pa.string())),
            ("error", pa.struct([("code", pa.string()), ("message", pa.string())])),
        ]
    )
