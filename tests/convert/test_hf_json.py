"""JSON files of a Hugging Face folder: what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert import hf_json
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": [' + b"1," * 3_000_001 + b"1]}", b" " * (1 << 20) + b"{}"],
)
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelInvalidError, match=r"config\.json") as caught:
        hf_json.read_json(path)
    assert caught.value.hint
