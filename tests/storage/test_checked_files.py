"""Records of files that were checked: stamps that notice every change, and files that are read with distrust."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage.checked_files import SETTLED_NS, are_settled, read_record, stamp_of, write_record

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stamp_notices_a_change_whose_size_and_time_are_set_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    before = stamp_of(path)
    assert stamp_of(path) == before
    time.sleep(0.02)  # longer than a tick of the file system's clock
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert stamp_of(path) != before


def test_what_is_not_a_file_has_no_stamp_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(OSError, match=r"is not a file|No such file"):
            stamp_of(tmp_path / name)


def test_files_are_settled_when_each_was_changed_long_before_the_check() -> None:
    old, new = [1, 1, 1, 5, 7], [1, 1, 1, 3, 100]
    assert are_settled([old], 8 + SETTLED_NS)
    assert not are_settled([old], 7 + SETTLED_NS)
    assert not are_settled([old, new], 8 + SETTLED_NS)
    assert are_settled([new, old], 101 + SETTLED_NS)


def test_a_record_comes_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_record(path) is None
    write_record(path, {"a": [1, "x"]})
    assert read_record(path) == {"a": [1, "x"]}
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        assert read_record(path) is None


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[object] = ["nothing yet"]
    reader = threading.Thread(target=lambda: found.append(read_record(tmp_path / "pipe")), daemon=True)
    reader.start()
    reader.join(10)
    assert found == ["nothing yet", None]


def test_a_record_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    write_record(tmp_path / "file" / "record.json", {})
    assert not (tmp_path / "file").is_dir()
