"""The standard streams of a command, whatever the caller made of them. Loaded first, and knows nothing of the rest."""

from __future__ import annotations

import io
import os
import sys

_STDERR = 2


def open_standard_streams() -> None:
    """Open those the caller closed on nothing, else the next file would be taken for one; write any character."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(_STDERR, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a table is readable in any encoding
