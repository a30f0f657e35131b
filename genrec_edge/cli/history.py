"""The options that name a history, and how it is read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction

HistoryTitles = Annotated[
    list[str] | None,
    typer.Option("--history", "-H", metavar="TITLE", help="A title enjoyed, oldest first; repeat it."),
]
HistoryFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Titles, one a line, or JSON lines with id, title, timestamp, rating; - is stdin.",
    ),
]


def read_history(history_file: str | None, titles: list[str] | None) -> list[Interaction]:
    """Return the interactions of a history file, then the titles named one by one.

    Raises:
        UsageError: the file cannot be read, or a line of it is wrong.
    """
    return [*_read(history_file), *(Interaction(title=title) for title in titles or ())]


def _read(history_file: str | None) -> list[Interaction]:
    from genrec_edge.serving.history_file import parse_history  # noqa: PLC0415

    if history_file is None:
        return []
    if history_file == "-":
        if sys.stdin.isatty():
            raise UsageError(
                "--history-file - reads standard input, and nothing is piped in",
                hint="pipe titles in, one a line",
            )
        return parse_history(sys.stdin.buffer, "standard input")
    try:
        with Path(history_file).open("rb") as file:
            return parse_history(file, history_file)
    except OSError as e:
        raise UsageError(
            f"cannot read {history_file}: {e.strerror}", hint="name a readable file, or - for stdin"
        ) from e
