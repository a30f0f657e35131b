"""What the files of a job that can be resumed depend on: a JSON document beside them, or in their first line.

Files of a job with another key are not taken for its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError, several
from genrec_edge.storage.files import atomic_write, open_regular
from genrec_edge.storage.json_diff import differences

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_SHOWN = 5
_MAX_BYTES = 16 << 20
_NOT_A_KEY = {"schema": None}


def read_key(path: Path) -> dict[str, Any] | None:
    """Return the key in a file, None if there is no such file. A file that holds no key is that of another job."""
    try:
        with open_regular(path) as file:
            found = json.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return dict(_NOT_A_KEY)
    return found if isinstance(found, dict) else dict(_NOT_A_KEY)


def write_key(path: Path, key: Mapping[str, Any]) -> None:
    """Write a key file, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(key, indent=2, sort_keys=True).encode() + b"\n")


def is_same_key(key: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Return whether a key that was found is this one; tuples are lists here, as in JSON."""
    return not _differences(key, found)


def other_job_error(key: Mapping[str, Any], found: Mapping[str, Any], path: Path, hint: str) -> UsageError:
    """Return the error about `path`, whose files belong to the job of another key; it says what differs."""
    shown = several(_differences(key, found), most=_MAX_SHOWN, separator=", ")
    return UsageError(f"{path} belongs to another job: {shown} differ", hint=hint)


def _differences(key: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of what differs, sorted."""
    return sorted(differences(json.loads(json.dumps(key)), dict(found)))
