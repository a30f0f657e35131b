"""Pipes read as files, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.spooled import as_file


def test_a_pipe_is_copied_and_errors_name_the_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a,b\n" * 100_000,))
    writer.start()
    copies: list[Path] = []

    def read() -> None:
        with as_file(pipe) as copy:
            copies.append(copy)
            assert copy.read_bytes() == copy.read_bytes() == b"a,b\n" * 100_000
            raise UsageError(f"{copy}, line 3: wrong")

    with pytest.raises(UsageError, match=r"pipe.csv, line 3: wrong") as caught:
        read()
    writer.join()
    assert caught.value.message == f"{pipe}, line 3: wrong"
    assert copies[0] != pipe
    assert not copies[0].parent.exists()


def test_files_and_what_is_not_there_are_as_they_are(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with as_file(path) as same:
            assert same == path


def test_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="/dev/zero is a terminal or another device"), as_file(Path("/dev/zero")):
        pass


def test_a_dash_is_standard_input() -> None:
    program = (
        "from pathlib import Path; from genrec_edge.storage.spooled import as_file\n"
        "with as_file(Path('-')) as file: print(len(file.read_bytes()), file.read_bytes()[:3])"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b"abc" * 50_000, capture_output=True, check=True)
    assert done.stdout == b"150000 b'abc'\n"
    with tempfile.TemporaryFile() as file:
        file.write(b"abcd")
        file.seek(0)
        done = subprocess.run([sys.executable, "-c", program], stdin=file, capture_output=True, check=True)
    assert done.stdout == b"4 b'abc'\n"
