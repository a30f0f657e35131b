"""The memory of this process: the most it has held, as the system counts it, and how much more it may have.

Limits are those of the machine, of control groups (containers, services) of both versions, and of `ulimit`.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from genrec_edge.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["resident", "data", "address space"]
"""What counts towards a limit: memory that is used and cannot be dropped; also memory that is only reserved; also files
that are mapped."""

_ROOT = Path("/")
_TO_START: Mapping[Kind, int] = {"resident": 64 << 20, "data": 96 << 20, "address space": 208 << 20}
_KIB = 1 << 10
_UNMAPPED = re.compile("failed to map segment|[Cc]annot allocate memory")
"""How the loader of libraries says that it has no memory, in glibc and musl."""


class _GroupFiles(NamedTuple):
    """Files of a control group; `droppable` begin the lines that count pages of files, which can be read again."""

    limit: str
    usage: str
    droppable: tuple[str, ...]


_V1 = _GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file ", "total_active_file "))
_V2 = _GroupFiles("memory.max", "memory.current", ("inactive_file ", "active_file "))


def peak_mib() -> float | None:
    """Return the peak resident memory in MiB, mapped model pages included; None where the system does not count it."""
    try:
        import resource  # noqa: PLC0415
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak() -> None:
    """Let `peak_mib` count from now on, where the system can (Linux).

    Source: "clear_refs" in https://docs.kernel.org/filesystems/proc.html: 5 resets the peak resident set size.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """How many bytes more this process may have, of what kind, and what sets the limit."""

    name: str
    free_bytes: int
    kind: Kind = "resident"


def memory_rooms(root: Path = _ROOT) -> list[MemoryRoom]:
    """Return the room that each limit leaves this process; an empty list where the system tells nothing (not Linux).

    Args:
        root: of the file system, whose `proc` and `sys` are read.
    """
    with suppress(OSError, ValueError, ModuleNotFoundError):
        return [*_machine(root), *_groups(root), *_limits(root)]
    return []


def require_room_to_start() -> None:
    """Check that this process may load the libraries it works with, before the first of them is imported.

    Under a limit of reserved memory, numpy's OpenBLAS would end the process without a word; it is told to use one
    thread, as each of them reserves tens of MiB more.

    Raises:
        OutOfMemoryError: it may not.
    """
    for room in memory_rooms():
        if room.kind != "resident":
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        needed = _TO_START[room.kind]
        if room.free_bytes < needed:
            raise OutOfMemoryError(
                f"{room.name} leaves {max(0, room.free_bytes) >> 20:,} MiB of memory, and {needed >> 20:,} MiB are"
                " needed to start",
                hint="raise the limit, or close other programs",
            )


def require_threads(n_threads: int) -> None:
    """Check that this process may have so many more threads at once: OpenMP ends a process that may not.

    Raises:
        OutOfMemoryError: it may not.
    """
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(n_threads):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as e:
        raise no_room_error(e) or e from e
    finally:
        end.set()
        for thread in started:
            thread.join()


def no_room_error(error: BaseException) -> OutOfMemoryError | None:
    """Return the error for what Python raises if it cannot start a thread or map a library; None for another error."""
    if type(error) is RuntimeError and str(error) == "can't start new thread":
        limits = "raise the limits (`ulimit -u`, `ulimit -v`), or lower that of stacks (`ulimit -s`)"
        return OutOfMemoryError("this process may have no more threads, or no memory for their stacks", hint=limits)
    if isinstance(error, ImportError) and _UNMAPPED.search(str(error)):
        return OutOfMemoryError(f"there is not enough memory to start ({error})", hint="raise the limit")
    return None


def _machine(root: Path) -> Iterator[MemoryRoom]:
    free = _kib_values(root / "proc/meminfo")
    if "MemAvailable" in free:
        yield MemoryRoom("the machine", free["MemAvailable"] + free.get("SwapFree", 0))


def _limits(root: Path) -> Iterator[MemoryRoom]:
    """Yield the limits of `ulimit -v` and `ulimit -d`, less what the process has reserved of them."""
    import resource  # noqa: PLC0415

    used = _kib_values(root / "proc/self/status")
    limits: tuple[tuple[str, int, str, Kind], ...] = (
        ("the limit of `ulimit -v`", resource.RLIMIT_AS, "VmSize", "address space"),
        ("the limit of `ulimit -d`", resource.RLIMIT_DATA, "VmData", "data"),
    )
    for name, limit, field, kind in limits:
        soft = resource.getrlimit(limit)[0]
        if soft != resource.RLIM_INFINITY:
            yield MemoryRoom(name, soft - used.get(field, 0), kind)


def _groups(root: Path) -> Iterator[MemoryRoom]:
    """Yield the limits of the control groups that this process is in, and of those above them.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
    """
    for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            top, files = root / "sys/fs/cgroup", _V2
        elif "memory" in controllers.split(","):
            top, files = root / "sys/fs/cgroup/memory", _V1
        else:
            continue
        folder = top / path.lstrip("/")
        if not folder.is_dir():
            folder = top  # inside a container its own group is mounted as the root
        while folder == top or top in folder.parents:
            yield from _group(folder, files)
            folder = folder.parent


def _group(folder: Path, files: _GroupFiles) -> Iterator[MemoryRoom]:
    with suppress(OSError, ValueError):  # the root of a hierarchy has no limit, and "max" is none
        most = int((folder / files.limit).read_text(encoding="ascii"))
        if most >= 1 << 60:
            return
        used = int((folder / files.usage).read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        droppable = sum(int(line.split()[1]) for line in lines if line.startswith(files.droppable))
        yield MemoryRoom("the memory limit of its control group", most - max(0, used - droppable))


def _kib_values(path: Path) -> dict[str, int]:
    """Return the lines "Name: 123 kB" of a file of /proc, in bytes."""
    found = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        number = value.split()
        if len(number) == 2 and number[1] == "kB":
            found[name] = int(number[0]) * _KIB
    return found
