"""Measures a child process from outside: time, memory by kind, bytes read and written, disk space. Linux only.

Memory is sampled, so a peak shorter than `INTERVAL_S` may be missed; `peak_rss_bytes` is the kernel's own and is not.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INTERVAL_S = 0.05
_BLOCK_BYTES = 512  # of ru_inblock, ru_oublock and st_blocks


@dataclass(slots=True)
class Usage:
    """Resources of a process and its descendants; memory is the peak of their sum.

    Attributes:
        cpu_s: user and system time.
        peak_anon_bytes: memory that only the process can give back: heap, stacks, copies.
        peak_file_bytes: pages of mapped files, which the kernel takes back when it needs room.
        peak_rss_bytes: both together and shared memory, of the largest process alone (VmHWM).
        disk_read_bytes, disk_written_bytes: what went through to the disk, page cache apart.
        read_bytes, written_bytes: what was passed to read and write calls; mapped files do not count.
        peak_folder_bytes: most room taken below the watched folder.
        torch: a library of torch was mapped.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_anon_bytes: int = 0
    peak_file_bytes: int = 0
    peak_shmem_bytes: int = 0
    peak_rss_bytes: int = 0
    disk_read_bytes: int = 0
    disk_written_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    peak_folder_bytes: int = 0
    torch: bool = False


def watch(command: Sequence[str | Path], *, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Usage:
    """Run `command` to its end and return what it used; its output goes where ours goes.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    usage = Usage()
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **(env or {})})
    while True:
        pid, status, totals = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        _sample(process.pid, folder, usage)
        time.sleep(INTERVAL_S)
    usage.wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    usage.cpu_s = totals.ru_utime + totals.ru_stime
    usage.peak_rss_bytes = totals.ru_maxrss * 1024
    usage.disk_read_bytes = totals.ru_inblock * _BLOCK_BYTES
    usage.disk_written_bytes = totals.ru_oublock * _BLOCK_BYTES
    return usage


def folder_bytes(folder: Path) -> int:
    """Return the room the files below `folder` take on the disk, each once; some may vanish meanwhile."""
    room = {}
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                status = (Path(root) / name).stat()
                room[status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return sum(room.values())


def _sample(pid: int, folder: Path | None, usage: Usage) -> None:
    anon = file = shmem = read = written = 0
    for member in _family(pid):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile
            memory, moved = _fields(member, "status"), _fields(member, "io")
            anon += memory.get("RssAnon", 0) * 1024
            file += memory.get("RssFile", 0) * 1024
            shmem += memory.get("RssShmem", 0) * 1024
            read += moved["rchar"]
            written += moved["wchar"]
            usage.torch = usage.torch or "libtorch" in Path(f"/proc/{member}/maps").read_text()
    usage.peak_anon_bytes = max(usage.peak_anon_bytes, anon)
    usage.peak_file_bytes = max(usage.peak_file_bytes, file)
    usage.peak_shmem_bytes = max(usage.peak_shmem_bytes, shmem)
    usage.read_bytes = max(usage.read_bytes, read)
    usage.written_bytes = max(usage.written_bytes, written)
    if folder is not None:
        usage.peak_folder_bytes = max(usage.peak_folder_bytes, folder_bytes(folder))


def _family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in children.read_text().split():
                yield from _family(int(child))


def _fields(pid: int, name: str) -> dict[str, int]:
    """Return the numbers of `/proc/PID/status` (kB and counts) or `/proc/PID/io` (bytes)."""
    pairs = (line.split(":", 1) for line in Path(f"/proc/{pid}/{name}").read_text().splitlines())
    return {key: int(words[0]) for key, value in pairs if (words := value.split()) and words[0].isdecimal()}
