"""Text files as a stream: marks, compression, and the share that has been read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.text_files import open_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_share_read_grows_to_one(is_packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    data = "".join(f"line {n}\n" for n in range(50_000)).encode()
    path.write_bytes(gzip.compress(data) if is_packed else data)
    shares = []
    with open_text(path) as (text, share):
        for n, _ in enumerate(text):
            if n % 10_000 == 0:
                shares.append(share())
        shares.append(share())
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert shares[0] < 1


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbftitle\n")
    with open_text(path) as (text, _):
        assert text.read() == "title\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\n\xff\n", "line 3: not UTF-8 text"),
        ("title\n".encode("utf-16"), "line 1: looks like UTF-16, not UTF-8"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-8], "is damaged and cannot be unpacked"),
    ],
)
def test_what_is_not_text_is_an_error_with_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught, open_text(path) as (text, _):
        text.read()
    assert caught.value.hint
