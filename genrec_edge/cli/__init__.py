"""The command line: a thin file for each verb. `program` has them all, `commands` turns errors into exit codes.

Importing this package loads none of them, so that Ctrl-C is understood while they load.
"""

from __future__ import annotations

from typing import Any

from genrec_edge.cli import interrupts, streams

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    streams.open_standard_streams()
    try:
        interrupts.watch()
        from genrec_edge.cli import program  # noqa: PLC0415

        program.app()
    except KeyboardInterrupt:
        interrupts.say()
        raise SystemExit(interrupts.EXIT_CODE) from None
    finally:
        interrupts.finish()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'genrec_edge.cli' has no attribute {name!r}")
    from genrec_edge.cli import program  # noqa: PLC0415

    return program.app
