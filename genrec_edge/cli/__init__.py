"""The command line: a thin file for each verb. `program` has them all, `commands` turns errors into exit codes.

Importing this package loads none of them, so that Ctrl-C is understood while they load.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from genrec_edge.cli import interrupts, streams

__all__ = ["app", "main"]

_WHILE_LOADING = (MemoryError, RuntimeError, ImportError, SyntaxError, SystemError)
_NO_ROOM_SIGNS = (
    "failed to map segment",
    "annot allocate memory",
    "can't load unicodedata",
    "start new thread",
    "without exception set",
)
"""What Python and the loader of libraries say if a module or a thread finds no memory."""
_NO_ROOM = {
    "code": "out-of-memory",
    "exit": 7,
    "message": "there is not enough memory to start",
    "hint": "raise the limit, or close other programs",
}


def main() -> None:
    """Run the command line."""
    streams.open_standard_streams()
    try:
        interrupts.watch()
        from genrec_edge.cli import program  # noqa: PLC0415

        program.app()
    except KeyboardInterrupt:
        _say_interrupted()
    except _WHILE_LOADING as e:  # commands see to theirs
        if interrupts.came():  # a library that was being loaded made another error of it
            _say_interrupted()
        if not isinstance(e, MemoryError) and not any(sign in str(e) for sign in _NO_ROOM_SIGNS):
            raise
        _say_no_room()
    finally:
        interrupts.finish()


def _say_interrupted() -> NoReturn:
    interrupts.say()
    raise SystemExit(interrupts.EXIT_CODE) from None


def _say_no_room() -> NoReturn:
    """End with the exit code of a lack of memory, and what belongs to it."""
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"schema": "genrec-edge/error@1", "error": _NO_ROOM}) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"error: {_NO_ROOM['message']}; {_NO_ROOM['hint']}\n")
    raise SystemExit(_NO_ROOM["exit"]) from None


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'genrec_edge.cli' has no attribute {name!r}")
    from genrec_edge.cli import program  # noqa: PLC0415

    return program.app
