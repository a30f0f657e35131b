"""Reads the JSON files of a Hugging Face folder within limits of size: they may be damaged or hostile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_NAME = "config.json"
_MAX_BYTES = 1 << 20
# Parsed JSON takes many times the bytes of its file. The tokenizer.json of LLaMA 3 has 0.9 million values.
_MAX_VALUES = 3_000_000
_MAX_OBJECTS = 100_000


def read_json(path: Path, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file of at most `max_bytes`. Read-only.

    Raises:
        ModelInvalidError: the file cannot be read, is larger, or is not a JSON object.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise ModelInvalidError(f"{path} is not a regular file", hint="fetch the checkpoint again")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        n_values = data.count(b",") + data.count(b"[")
        if len(data) > max_bytes or n_values > _MAX_VALUES or data.count(b"{") > _MAX_OBJECTS:
            message = f"{path} has more than {max_bytes:,} bytes, or more values than {_MAX_VALUES:,}"
            raise ModelInvalidError(message, hint="fetch the checkpoint again")
        document = json.loads(data)
    except OSError as e:
        hint = "name a folder with a Hugging Face checkpoint, or a .gguf file"
        raise ModelInvalidError(f"{path} cannot be read: {e.strerror}", hint=hint) from e
    except (ValueError, RecursionError) as e:
        raise ModelInvalidError(f"{path} is not JSON: {e}", hint="fetch the checkpoint again") from e
    if not isinstance(document, dict):
        raise ModelInvalidError(f"{path} is not a JSON object", hint="fetch the checkpoint again")
    return document
