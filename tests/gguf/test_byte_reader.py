"""Reading a header: how many bytes are read at most, and how many of them may be text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.byte_reader import MAX_HEADER_BYTES, ByteReader
from genrec_edge.gguf.header import read_header
from tests.support.gguf_bytes import ARRAY, STRING, array, gguf_bytes, pair, text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_of_a_gigabyte_of_empty_strings_only_a_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zeros.gguf"
    path.write_bytes(gguf_bytes((pair(b"a", ARRAY, array(STRING, (1 << 30) // 8 - 100)),)))
    os.truncate(path, 1 << 30)
    seen: list[int] = []
    needs = ByteReader.need

    def need(reader: ByteReader, n_bytes: int, what: str) -> None:
        try:
            needs(reader, n_bytes, what)
        finally:
            seen.append(len(reader.data))

    monkeypatch.setattr(ByteReader, "need", need)
    with pytest.raises(ModelInvalidError, match="beyond the 33,554,432 bytes a header may have"):
        read_header(path)
    assert seen[-1] <= MAX_HEADER_BYTES + (1 << 20)
    assert len(seen) < 100  # the strings are stepped over in chunks, not one by one


def test_text_is_bounded_in_all(tmp_path: Path) -> None:
    pairs = tuple(pair(f"k{i}".encode(), STRING, text(b"x" * (1 << 20))) for i in range(9))
    path = tmp_path / "talkative.gguf"
    path.write_bytes(gguf_bytes(pairs))
    with pytest.raises(ModelInvalidError, match="more than 8,388,608 bytes of text"):
        read_header(path)
