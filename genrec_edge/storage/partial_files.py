"""The hidden files in which other files are made, and which of them killed processes left behind.

A partial file `.NAME.HOST-PID.RANDOM.part` lies beside the file NAME that it becomes. Its name says who writes it: the
host, as containers may share a folder, and the process.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path

_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)\.[0-9a-f]{8}\.part", re.DOTALL)
_CLOCK_S = 2.0
"""How much two clocks of one machine may differ: that of the file system, and that of the list of processes."""


def partial_file(path: Path) -> Path:
    """Return a new name for the partial file of `path`."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.{secrets.token_hex(4)}.part")


def partial_files(folder: Path, *, dead: bool, of: str | None = None) -> list[Path]:
    """Return the partial files in a folder; none where there is no folder.

    Args:
        folder: where to look, not below it.
        dead: only those whose process has ended; those of other hosts are left out, as nobody knows.
        of: only those of the file of this name.
    """
    found = []
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _PARTIAL.fullmatch(entry.name)
            if match is None or (of is not None and match["name"] != of):
                continue
            if not dead or _is_left_behind(Path(entry.path), match["host"], int(match["pid"])):
                found.append(Path(entry.path))
    return found


def remove_dead_partial_files(folder: Path, of: str | None = None) -> None:
    """Remove the partial files of a folder that killed processes left; `of` as in `partial_files`."""
    for path in partial_files(folder, dead=True, of=of):
        with suppress(OSError):  # another process removed it, or it is in a folder that cannot be written
            path.unlink()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_left_behind(path: Path, host: str, pid: int) -> bool:
    if os.name == "nt" or host != _host():  # on Windows asking whether a process is alive could end it
        return False
    if not _is_alive(pid):
        return True
    # The number may have been given to another process since: in containers it is often the same small one.
    started = _start_time(pid)
    try:
        return started is not None and path.lstat().st_mtime < started - _CLOCK_S
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or too large a number to ask for
        return True
    return True


def _start_time(pid: int) -> float | None:
    """Return when a process began, in seconds since the epoch; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(encoding="ascii"), re.MULTILINE)
        return None if boot is None else int(boot[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
