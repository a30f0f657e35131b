"""The header of a GGUF file: metadata, tensor table, and where the data lies. Tensor data is never read.

A header that is returned describes a whole file: its tensors follow each other without gap or overlap and end
inside the file. Knows nothing of models: whether the file can be run is for `validate.py` to say.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.byte_reader import DAMAGED_HINT
from genrec_edge.gguf.parser import parse_header
from genrec_edge.gguf.types import ArrayInfo, GgufHeader, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ArrayInfo",
    "GgufHeader",
    "TensorInfo",
    "read_array",
    "read_header",
    "read_strings",
    "tokenizer_fingerprint",
]

_U64 = struct.Struct("<Q")


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a GGUF file (version 2 or 3, little-endian). Read-only.

    Raises:
        ModelInvalidError: not such a file, damaged or cut short; the message names the file, the finding and
            the byte.
    """
    path = Path(path)
    try:
        status = path.stat()
        # Opening a pipe would wait for its other end for ever.
        if not stat.S_ISREG(status.st_mode):
            message = f"{path} is not a regular file"
            raise ModelInvalidError(message, hint="name a .gguf file")
        with path.open("rb") as file:
            return parse_header(path, file, status.st_size)
    except OSError as e:
        message = f"{path} cannot be read: {e.strerror}"
        raise ModelInvalidError(message, hint="check the file's name and rights") from e


def read_strings(header: GgufHeader, key: str) -> list[bytes]:
    """Return the elements of a string array of the metadata, undecoded: a piece may be half a character."""
    array = header.metadata.get(key)
    if not isinstance(array, ArrayInfo) or array.kind != "string":
        message = f"{header.path}: {key} is not an array of strings"
        raise ModelInvalidError(message, hint=DAMAGED_HINT)
    with header.path.open("rb") as file:
        file.seek(array.start)
        data = file.read(array.end - array.start)
    strings, position = [], 0
    for _ in range(array.count):
        start = position + 8
        position = start + _U64.unpack_from(data, position)[0]
        strings.append(data[start:position])
    return strings


def read_array(header: GgufHeader, key: str) -> NDArray[Any]:
    """Return the elements of an array of numbers of the metadata, (n,)."""
    array = header.metadata.get(key)
    if not isinstance(array, ArrayInfo) or array.kind in {"string", "bool"}:
        message = f"{header.path}: {key} is not an array of numbers"
        raise ModelInvalidError(message, hint=DAMAGED_HINT)
    with header.path.open("rb") as file:
        file.seek(array.start)
        data = file.read(array.end - array.start)
    return np.frombuffer(data, np.dtype(array.kind).newbyteorder("<"), array.count)


def tokenizer_fingerprint(header: GgufHeader, path: Path) -> str:
    """Return the sha256 of everything in the file that decides how text becomes tokens. Read-only.

    The raw `tokenizer.*` keys and values without the chat template, in the order of their names: equal
    tokenizers have equal fingerprints, whatever model they belong to and in whatever order they were written.
    `path` is where the file is now; it may have been renamed since `header` was read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for key in sorted(header.spans):
            if not key.startswith("tokenizer.") or key.startswith("tokenizer.chat_template"):
                continue
            start, end = header.spans[key]
            name = key.encode()
            digest.update(_U64.pack(len(name)) + name + _U64.pack(end - start))
            file.seek(start)
            digest.update(file.read(end - start))
    return digest.hexdigest()
