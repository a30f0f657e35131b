"""How much memory this process has needed. Knows the operating system, nothing else."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def peak_mib() -> float | None:
    """Return the most memory this process has held, mapped model pages included; None where the system cannot say."""
    try:
        import resource  # noqa: PLC0415
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Let `peak_mib` count from what is held now, where the system can (Linux).

    Source: "clear_refs" in https://docs.kernel.org/filesystems/proc.html: 5 resets the peak resident set size.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
