"""The peak memory of this process, as the operating system counts it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


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


def free_bytes() -> int | None:
    """Return how much memory the machine has to give; None where the system does not say (not Linux)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    kib = next((line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")), None)
    return None if kib is None else int(kib) * 1024
