"""Keys of jobs that can be resumed: written, read and compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.job_key import is_same_key, other_job_error, read_key, write_key

if TYPE_CHECKING:
    from pathlib import Path

KEY: dict[str, Any] = {"name": "films", "sizes": (1, 2), "model": {"sha256": "ab", "seed": None}}


def test_a_key_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    assert read_key(path) is None
    write_key(path, KEY)
    found = read_key(path)
    assert found is not None
    assert found == json.loads(json.dumps(KEY))
    assert is_same_key(KEY, found)
    assert is_same_key(dict(reversed(KEY.items())), found)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_not_a_key_is_that_of_another_job(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(content)
    found = read_key(path)
    assert found is not None
    assert not is_same_key(KEY, found)
    assert not is_same_key({}, found)


def test_the_error_names_what_differs_by_dotted_names(tmp_path: Path) -> None:
    other = json.loads(json.dumps({**KEY, "model": {"sha256": "cd", "seed": None}, "more": 1}))
    error = other_job_error(KEY, other, tmp_path, "do this")
    assert isinstance(error, UsageError)
    assert error.message == f"{tmp_path} belongs to another job: model.sha256, more differ"
    assert error.hint == "do this"


def test_the_error_shows_the_first_five(tmp_path: Path) -> None:
    error = other_job_error({f"k{i}": i for i in range(8)}, {}, tmp_path, "")
    assert "k0, k1, k2, k3, k4 and 3 more differ" in error.message
