"""The answers of a system during an evaluation, on disk: one JSON line per user, so that it can be resumed.

The first line is the key: everything an answer depends on. A file with another key is refused. A line that a kill cut
short is removed, and the evaluation continues with that user. Knows neither systems nor metrics.
"""

from __future__ import annotations

import json
import math
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.job_key import is_same_key, other_job_error
from genrec_edge.storage.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SCHEMA = "genrec-edge/answers@1"
_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """The answer of one system for one user, and its cost.

    Attributes:
        user: index of the user in the data set.
        rank: of the target, from 1; inf where it was not found.
        items: item indexes, best first, different from each other.
        exact: whether no other candidate is better.
        tokens: evaluated by the model; 0 for systems without a model.
        texts: number of generated texts; 0 for a search.
        invalid: generated texts that resolve to no candidate.
        repeated: generated texts that resolve to an item of the history or of an earlier text.
        seconds: time of this answer.
        wall_s: time since the previous answer; less than `seconds` where users are answered in parallel.
        peak_mib: peak memory of the process so far, or None where it cannot be measured.
    """

    user: int
    rank: float
    items: tuple[int, ...]
    exact: bool
    tokens: int
    texts: int
    invalid: int
    repeated: int
    seconds: float
    wall_s: float
    peak_mib: float | None


_CHECKSUM = "crc32"
"""Of the rest of a line; version 0.1 wrote none."""
_KEYS = frozenset(field.name for field in fields(LoggedAnswer))
_COUNTS = ("user", "tokens", "texts", "invalid", "repeated")


@contextmanager
def open_answer_log(
    path: Path, key: Mapping[str, Any]
) -> Iterator[tuple[dict[int, LoggedAnswer], Callable[[LoggedAnswer], None]]]:
    """Yield the answers in a file, by user, and the function that adds one; a missing file is created.

    An added answer is in the file when the function returns, so it survives the process, but not a power cut.

    Raises:
        UsageError: the file is not an answer log, or is of another evaluation; the message names the differences.
        LockedError: another process writes to the file.
    """
    key = json.loads(json.dumps({"schema": SCHEMA, **key}))
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        hint = "wait for it, or give another folder as `resume`"
        with locked(path.with_name(f".{path.name}.lock"), path, hint=hint):
            answers = _read(path, key)
            with path.open("ab") as file:
                if not file.tell():
                    file.write(_line(key))

                def add(answer: LoggedAnswer) -> None:
                    with path_errors(path):
                        file.write(_line(_to_json(answer)))
                        file.flush()

                yield answers, add


def _read(path: Path, key: Mapping[str, Any]) -> dict[int, LoggedAnswer]:
    """Return the answers of a file, after removing a last line without a line break."""
    answers: dict[int, LoggedAnswer] = {}
    if not path.exists():
        return answers
    if not path.is_file():
        raise _not_a_log(path, 1)
    with path.open("rb+") as file:
        end = 0
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
            if not line.endswith(b"\n"):
                if len(line) == _MAX_LINE_BYTES or (number == 1 and not _line(key).startswith(line)):
                    raise _not_a_log(path, number)
                break
            if number == 1:
                _check_key(path, line, key)
            else:
                answer = _from_json(line)
                if answer is None:
                    raise _not_a_log(path, number)
                answers[answer.user] = answer
            end += len(line)
        file.truncate(end)
    return answers


def _check_key(path: Path, line: bytes, key: Mapping[str, Any]) -> None:
    found = _parsed(line)
    if found is None or found.get("schema") != SCHEMA:
        raise _not_a_log(path, 1)
    if not is_same_key(key, found):
        hint = "use the same options as before, or give another folder as `resume`"
        raise other_job_error(key, found, path, hint)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode() + b"\n"


def _to_json(answer: LoggedAnswer) -> dict[str, Any]:
    document = {**asdict(answer), "rank": answer.rank if math.isfinite(answer.rank) else None}
    return {**document, _CHECKSUM: zlib.crc32(_line(document))}


def _from_json(line: bytes) -> LoggedAnswer | None:
    """Return the answer of a line, or None for an invalid line."""
    found = _parsed(line)
    if found is None:
        return None
    checksum = found.pop(_CHECKSUM, None)
    if found.keys() != _KEYS or not _has_checksum(found, checksum):
        return None
    items, rank, peak = found["items"], found["rank"], found["peak_mib"]
    is_valid = (
        all(_is_count(found[name]) for name in _COUNTS)
        and isinstance(items, list)
        and all(_is_count(item) for item in items)
        and isinstance(found["exact"], bool)
        and (rank is None or (_is_number(rank) and rank >= 1))
        and (peak is None or _is_number(peak))
        and _is_number(found["seconds"])
        and _is_number(found["wall_s"])
    )
    if not is_valid:
        return None
    return LoggedAnswer(**{**found, "items": tuple(items), "rank": math.inf if rank is None else rank})


def _has_checksum(found: Mapping[str, Any], checksum: object) -> bool:
    try:
        return checksum is None or checksum == zlib.crc32(_line(found))
    except ValueError:  # a number that is none
        return False


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _not_a_log(path: Path, line: int) -> UsageError:
    return UsageError(f"line {line} of {path} is not what an evaluation writes", hint="give another folder as `resume`")
