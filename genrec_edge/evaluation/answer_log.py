"""What systems answered the users of an evaluation, on disk while it runs: one JSON line per user.

The first line is the key, which says all that an answer depends on; a file with another key is refused. A line that was
cut short by a kill is taken away, and the users after it are asked again. Knows neither systems nor figures.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError, several
from genrec_edge.storage.files import locked, path_errors
from genrec_edge.storage.json_diff import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SCHEMA = "genrec-edge/answers@1"
_MAX_LINE_BYTES = 1 << 20
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """What one system answered one user, and what it took.

    Attributes:
        user: index of the user in the data set.
        rank: of the target, from 1; inf where it was not found.
        items: item indexes, best first, different from each other.
        exact: whether no item left out is better.
        tokens: given to the model, 0 where there is none.
        texts: how many texts were written; 0 where the answer was searched.
        invalid: texts that mean no item.
        repeated: texts that mean an item of the history or one written before.
        seconds: what the answer took.
        wall_s: time since the answer before; less than `seconds` where users are answered together.
        peak_mib: the most memory the process had held until then, or None.
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


_KEYS = frozenset(field.name for field in fields(LoggedAnswer))
_COUNTS = ("user", "tokens", "texts", "invalid", "repeated")


@contextmanager
def open_answer_log(
    path: Path, key: Mapping[str, Any]
) -> Iterator[tuple[dict[int, LoggedAnswer], Callable[[LoggedAnswer], None]]]:
    """Yield the answers a file holds, by user, and the function that adds one; the file is made if it is not there.

    An added answer is in the file when the function returns, so it outlives the process, though not a power cut.

    Raises:
        UsageError: the file is none of ours, or holds answers of another evaluation; the message says in what.
        LockedError: another process is adding answers.
    """
    key = json.loads(json.dumps({"schema": SCHEMA, **key}))
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{path} is being written by another evaluation"
        hint = "wait for it, or name another folder with --resume"
        with locked(path.with_name(f".{path.name}.lock"), busy, hint):
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
    """Return the answers of a file, after cutting off what does not end in a line break."""
    answers: dict[int, LoggedAnswer] = {}
    if not path.exists():
        return answers
    with path.open("rb+") as file:
        end = 0
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
            if not line.endswith(b"\n"):
                if len(line) == _MAX_LINE_BYTES or (number == 1 and not _line(key).startswith(line)):
                    raise _foreign(path, number)
                break
            if number == 1:
                _check_key(path, line, key)
            else:
                answer = _from_json(line)
                if answer is None:
                    raise _foreign(path, number)
                answers[answer.user] = answer
            end += len(line)
        file.truncate(end)
    return answers


def _check_key(path: Path, line: bytes, key: Mapping[str, Any]) -> None:
    found = _parsed(line)
    if found is None or found.get("schema") != SCHEMA:
        raise _foreign(path, 1)
    if wrong := differences(key, found):
        raise UsageError(
            f"{path} holds answers of another evaluation: {several(wrong, most=_MAX_SHOWN, separator=', ')} differ",
            hint="repeat the call it was made with, or name another folder with --resume",
        )


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode() + b"\n"


def _to_json(answer: LoggedAnswer) -> dict[str, Any]:
    return {**asdict(answer), "rank": answer.rank if math.isfinite(answer.rank) else None}


def _from_json(line: bytes) -> LoggedAnswer | None:
    """Return the answer that a line holds, or None if it holds none."""
    found = _parsed(line)
    if found is None or found.keys() != _KEYS:
        return None
    items, rank, peak = found["items"], found["rank"], found["peak_mib"]
    good = (
        all(_is_count(found[name]) for name in _COUNTS)
        and isinstance(items, list)
        and all(_is_count(item) for item in items)
        and isinstance(found["exact"], bool)
        and (rank is None or (_is_number(rank) and rank >= 1))
        and (peak is None or _is_number(peak))
        and _is_number(found["seconds"])
        and _is_number(found["wall_s"])
    )
    return (
        LoggedAnswer(**{**found, "items": tuple(items), "rank": math.inf if rank is None else rank}) if good else None
    )


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


def _foreign(path: Path, line: int) -> UsageError:
    return UsageError(
        f"line {line} of {path} is not what an evaluation writes", hint="name another folder with --resume"
    )
