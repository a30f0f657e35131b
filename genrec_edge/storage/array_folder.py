"""A folder of arrays beside what they were made from: written whole, and memory-mapped when read, unless it is small.

What is read back is what was written: `key.json` has the sha256 of each array. A small folder is read and hashed every
time; then nothing that is done to its files matters. A large one is hashed once, and again when anything was done to
its files: `.checked.json` has their sizes, times and numbers, and is worth nothing but time. Knows nothing of what the
arrays mean.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from genrec_edge.storage import checked_files
from genrec_edge.storage.files import disk_errors, open_regular, sync
from genrec_edge.storage.folders import install, work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_KEY, _CHECKED = "key.json", ".checked.json"
_MAX_KEY_BYTES = 1 << 16
_SMALL_BYTES = 8 << 20
"""Folders up to this size are read and hashed every time, which takes 10 ms."""
_SIZE = 2
"""The place of the size in the stamp of a file."""

_Made = TypeVar("_Made")


class DamagedArraysError(Exception):
    """A folder that does not hold what was written; it says what is wrong."""


@dataclass(frozen=True, slots=True)
class ArrayFormat:
    """What is in a folder of arrays.

    Attributes:
        name: of the format and its version; `key.json` has it as `format`.
        fields: what else `key.json` says of what the arrays were made from, a text each.
        kinds: the arrays, one-dimensional, and their types on the disk.
        may_lack_hashes: whether earlier versions wrote none.
    """

    name: str
    fields: frozenset[str]
    kinds: Mapping[str, str]
    may_lack_hashes: bool = False


def write(path: Path, form: ArrayFormat, key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as folder `path`, replacing what is there; readers see the old one or the new one, whole.

    Raises:
        DiskFullError, DiskError: the disk is full or fails; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path), work_folder(path.parent) as work:
        made = work / "made"
        made.mkdir()
        hashes = {}
        for name, kind in form.kinds.items():
            array = np.ascontiguousarray(arrays[name], kind)
            header = _header(array.dtype, len(array))
            with (made / f"{name}.npy").open("xb") as file:
                file.write(header)
                file.write(array.data)
            digest = hashlib.sha256(header)
            digest.update(array.data)
            hashes[name] = digest.hexdigest()
            sync(made / f"{name}.npy")
        (made / _KEY).write_text(json.dumps({**key, "format": form.name, "sha256": hashes}), encoding="utf-8")
        sync(made / _KEY)
        install(made, path, replace=True)


def read(
    path: Path,
    form: ArrayFormat,
    make: Callable[[Mapping[str, str], Mapping[str, NDArray[Any]]], _Made],
    check: Callable[[_Made], str],
) -> _Made | None:
    """Return what `make` makes of the key and the arrays in the folder `path`, None if there is none.

    Args:
        path: the folder.
        form: what is in it.
        make: from the fields of the key and the arrays, mapped unless they are small; it may raise DamagedArraysError.
        check: says what is wrong with what was made, "" for nothing; asked whenever the arrays are hashed.

    Raises:
        DamagedArraysError: it is damaged or of another format. So it may seem while another process replaces it.
    """
    try:
        if not path.is_dir():
            return None
        stamps = _stamps(path, form)
        key, hashes = _read_key(path / _KEY, form)
        is_small = sum(stamps[f"{name}.npy"][_SIZE] for name in form.kinds) <= _SMALL_BYTES
        contents = {name: _content(path / f"{name}.npy", is_small=is_small) for name in form.kinds}
    except (OSError, ValueError) as e:
        raise DamagedArraysError(str(e)) from e
    is_known = not is_small and checked_files.read_record(path / _CHECKED) == stamps
    started = time.time_ns()
    arrays = {name: _array(name, form.kinds[name], content) for name, content in contents.items()}
    if not is_known and hashes is not None:
        for name, content in contents.items():
            if hashlib.sha256(content.data).hexdigest() != hashes[name]:
                raise DamagedArraysError(f"{name}.npy is not what was written")
    made = make(key, arrays)
    if not is_known and (wrong := check(made)):
        raise DamagedArraysError(wrong)
    if not (is_small or is_known) and checked_files.are_settled(stamps.values(), started):
        checked_files.write_record(path / _CHECKED, stamps)
    return made


def _read_key(path: Path, form: ArrayFormat) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return what the arrays were made from, and the hash of each; None if there is none and there need not be."""
    with open_regular(path) as file:
        content = file.read(_MAX_KEY_BYTES)
    try:
        document = json.loads(content)
        hashes = document.pop("sha256", None)
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise DamagedArraysError(f"{_KEY} cannot be read ({type(e).__name__})") from e
    if document.pop("format", None) != form.name or document.keys() != form.fields:
        raise DamagedArraysError(f"{_KEY} is of another format")
    if not all(isinstance(value, str) for value in document.values()):
        raise DamagedArraysError(f"{_KEY} has something else than texts")
    if hashes is None and form.may_lack_hashes:
        return document, None
    if not isinstance(hashes, dict) or hashes.keys() != form.kinds.keys():
        raise DamagedArraysError(f"{_KEY} has not the hash of each array")
    return document, hashes


def _content(path: Path, *, is_small: bool) -> NDArray[np.uint8]:
    """Return the bytes of a file, read or mapped."""
    if not is_small:
        return np.memmap(path, np.uint8, mode="r")
    with open_regular(path) as file:
        return np.frombuffer(file.read(_SMALL_BYTES + 1), np.uint8)


def _array(name: str, kind_name: str, content: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array in the bytes of a file, not copied, whose header has to be what numpy writes for its size."""
    kind = np.dtype(kind_name)
    start = len(_header(kind, 0))
    n, rest = divmod(len(content) - start, kind.itemsize)
    if n < 0 or rest or content[:start].tobytes() != _header(kind, n):
        raise DamagedArraysError(f"{name}.npy is not an array of {kind.name}")
    # If mapped, it still is, and several times faster to index than the np.memmap around it.
    return np.asarray(content[start:].view(kind))


def _header(kind: np.dtype[Any], n: int) -> bytes:
    """Return how an .npy file of `n` numbers begins: 128 bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": (n,)})
    return file.getvalue()


def _stamps(path: Path, form: ArrayFormat) -> dict[str, checked_files.Stamp]:
    """Return the stamp of each file of the folder.

    Raises:
        OSError: there is no such file, or it is not a file.
    """
    return {name: checked_files.stamp_of(path / name) for name in (_KEY, *(f"{name}.npy" for name in form.kinds))}
