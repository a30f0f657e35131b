"""A title index as a folder of arrays: written whole, and memory-mapped when it is read, unless it is small.

What is read back is what was written: `key.json` has the sha256 of each array. A small index is read and hashed every
time; then nothing that is done to its files matters. A large one is hashed once, and again when anything was done to
its files: `.checked.json` has their sizes, times and numbers, and is worth nothing but time. Beside the hashes the
arrays are checked to be a trie at all, so that no search can run in circles or out of them. Indexes of version 0.1 have
no hashes; of those this is all that is checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.coordinates import CatalogRows, TriePositions
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_checks import check_trie
from genrec_edge.storage import checked_files
from genrec_edge.storage.files import disk_errors, open_regular, sync
from genrec_edge.storage.folders import install, work_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS: dict[str, str] = {
    "tokens": "<i4",
    "first_child": "<i4",
    "first_item": "<i4",
    "rows": "<i8",
    "by_row": "<i8",
    "namesakes": "<u4",
}
"""The arrays of an index, one-dimensional, and their types on the disk."""
_KEY, _CHECKED = "key.json", ".checked.json"
_MAX_KEY_BYTES = 1 << 16
_SMALL_BYTES = 8 << 20
"""Indexes up to this size, of about 150,000 titles, are read and hashed every time, which takes 10 ms."""
_SIZE = 2
"""The place of the size in the stamp of a file."""


class DamagedIndexError(Exception):
    """An index that is not what was written; it says what is wrong."""


def write(trie: TitleTrie, path: Path) -> None:
    """Write an index as folder `path`, replacing what is there; readers see the old one or the new one, whole.

    Raises:
        DiskFullError, DiskError: the disk is full or fails; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path), work_folder(path.parent) as work:
        made = work / "made"
        made.mkdir()
        hashes = {}
        for name, kind in ARRAYS.items():
            array = np.ascontiguousarray(getattr(trie, name), kind)
            header = _header(array.dtype, len(array))
            with (made / f"{name}.npy").open("xb") as file:
                file.write(header)
                file.write(array.data)
            digest = hashlib.sha256(header)
            digest.update(array.data)
            hashes[name] = digest.hexdigest()
            sync(made / f"{name}.npy")
        (made / _KEY).write_text(json.dumps({**asdict(trie.key), "sha256": hashes}), encoding="utf-8")
        sync(made / _KEY)
        install(made, path, replace=True)


def read(path: Path) -> TitleTrie | None:
    """Return the index in the folder `path`, memory-mapped unless it is small; None if there is none.

    Raises:
        DamagedIndexError: it is damaged or of another format. So it may seem while another process replaces it.
    """
    try:
        if not path.is_dir():
            return None
        stamps = _stamps(path)
        key, hashes = _read_key(path / _KEY)
        is_small = sum(stamps[f"{name}.npy"][_SIZE] for name in ARRAYS) <= _SMALL_BYTES
        contents = {name: _content(path / f"{name}.npy", is_small=is_small) for name in ARRAYS}
    except (OSError, ValueError) as e:
        raise DamagedIndexError(str(e)) from e
    arrays = {name: _array(name, content) for name, content in contents.items()}
    trie = TitleTrie(
        arrays["tokens"],
        arrays["first_child"],
        arrays["first_item"],
        CatalogRows(arrays["rows"]),
        TriePositions(arrays["by_row"]),
        arrays["namesakes"],
        key,
    )
    if is_small or checked_files.read_record(path / _CHECKED) != stamps:
        started = time.time_ns()
        for name, content in contents.items():
            if hashes is not None and hashlib.sha256(content.data).hexdigest() != hashes[name]:
                raise DamagedIndexError(f"{name}.npy is not what was written")
        if wrong := check_trie(trie):
            raise DamagedIndexError(wrong)
        if not is_small and checked_files.are_settled(stamps.values(), started):
            checked_files.write_record(path / _CHECKED, stamps)
    return trie


def _read_key(path: Path) -> tuple[TrieKey, dict[str, str] | None]:
    """Return what an index was made from, and the hash of each array; None for an index of version 0.1."""
    with open_regular(path) as file:
        content = file.read(_MAX_KEY_BYTES)
    try:
        document = json.loads(content)
        hashes = document.pop("sha256", None)
        key = TrieKey(**document)
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise DamagedIndexError(f"{_KEY} cannot be read ({type(e).__name__})") from e
    if not all(isinstance(value, str) for value in asdict(key).values()) or key.format != TrieKey("", "").format:
        raise DamagedIndexError(f"{_KEY} is of another format")
    if hashes is not None and (not isinstance(hashes, dict) or hashes.keys() != ARRAYS.keys()):
        raise DamagedIndexError(f"{_KEY} has not the hash of each array")
    return key, hashes


def _content(path: Path, *, is_small: bool) -> NDArray[np.uint8]:
    """Return the bytes of a file, read or mapped."""
    if not is_small:
        return np.memmap(path, np.uint8, mode="r")
    with open_regular(path) as file:
        return np.frombuffer(file.read(_SMALL_BYTES + 1), np.uint8)


def _array(name: str, content: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array in the bytes of a file, not copied, whose header has to be what numpy writes for its size."""
    kind = np.dtype(ARRAYS[name])
    start = len(_header(kind, 0))
    n, rest = divmod(len(content) - start, kind.itemsize)
    if n < 0 or rest or content[:start].tobytes() != _header(kind, n):
        raise DamagedIndexError(f"{name}.npy is not an array of {kind.name}")
    # If mapped, it still is, and several times faster to index than the np.memmap around it.
    return np.asarray(content[start:].view(kind))


def _header(kind: np.dtype[Any], n: int) -> bytes:
    """Return how an .npy file of `n` numbers begins: 128 bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": (n,)})
    return file.getvalue()


def _stamps(path: Path) -> dict[str, checked_files.Stamp]:
    """Return the stamp of each file of the index.

    Raises:
        OSError: there is no such file, or it is not a file.
    """
    return {name: checked_files.stamp_of(path / name) for name in (_KEY, *(f"{name}.npy" for name in ARRAYS))}
