"""Who asks: the options that name a history or a user, and how they are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.output import say
from genrec_edge.errors import UsageError
from genrec_edge.option_fields import option
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from genrec_edge.options import Request
    from genrec_edge.serving.history_file import ParsedHistory


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """Where a history comes from: titles, a file of them, a user's profile, or all of these."""

    history: Sequence[str] = field(
        default=(), metadata=option("A title enjoyed, oldest first; repeat it.", flag="--history -H", metavar="TITLE")
    )
    history_file: str | None = field(
        default=None,
        metadata=option(
            "Titles or ids, one a line, or a table with title, id, year, timestamp, rating; - is stdin.",
            metavar="FILE",
        ),
    )
    user: str | None = field(
        default=None,
        metadata=option("Take the history of a user from `genrec-edge profile`.", flag="--profile", metavar="USER"),
    )

    def interactions(self, *, quiet: bool = False) -> list[Interaction]:
        """Return the interactions of the file in their order, then the titles named one by one; say what was not used.

        Raises:
            UsageError: the file cannot be read, or a line of it is wrong.
        """
        from genrec_edge.serving.constraints import in_order  # noqa: PLC0415

        in_file = in_order(read_interactions(self.history_file, quiet=quiet))
        return [*in_file, *(Interaction(title=title) for title in self.history)]

    def user_of(self, request: Request, *, quiet: bool = False) -> tuple[Request, tuple[str, ...]]:
        """Return a request with the history, and the ids of other items the user has seen.

        Raises:
            UsageError: there is no such profile, or its preference was given in words, too.
        """
        named = self.interactions(quiet=quiet)
        if self.user is None:
            return replace(request, history=tuple(named)), ()
        from genrec_edge.profiles.store import ProfileStore  # noqa: PLC0415

        known = ProfileStore().context(self.user)
        if request.preference is not None and known.preference is not None:
            message = f"the profile of {self.user!r} and `preference` both say what the user likes"
            raise UsageError(message, hint="leave one of them out")
        preference = request.preference or known.preference
        return replace(request, history=(*known.recent, *named), preference=preference), known.seen


def read_interactions(history_file: str | None, *, quiet: bool = False) -> tuple[Interaction, ...]:
    """Return the interactions of a file, "-" being standard input; none without a file. Say what was not used.

    Raises:
        UsageError: the file cannot be read, or a line of it is wrong.
    """
    if history_file is None:
        return ()
    if not history_file:
        raise UsageError("`history_file` is empty", hint="name a file, or - for stdin")
    parsed = _parsed(history_file)
    for note in parsed.notes:
        say(printable(note), quiet=quiet)
    return parsed.interactions


def _parsed(history_file: str) -> ParsedHistory:
    from genrec_edge.serving.history_table import read_history, read_piped_history  # noqa: PLC0415

    if history_file == "-":
        if sys.stdin.isatty():
            raise UsageError(
                "`history_file` is -, which reads standard input, and nothing is piped in",
                hint="pipe titles in, one a line",
            )
        return read_piped_history(sys.stdin.buffer, "standard input")
    path = Path(history_file)
    try:
        if path.is_fifo() or path.is_char_device() or path.is_socket():
            with path.open("rb") as pipe:
                return read_piped_history(pipe, history_file)
        with path.open("rb"):
            pass
        return read_history(path)
    except OSError as e:
        raise UsageError(
            f"cannot read {history_file}: {e.strerror}", hint="name a readable file, or - for stdin"
        ) from e
