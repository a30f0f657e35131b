"""Shows what the library logs as a warning, such as a damaged cache that is made again: a line each on stderr."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGER = "genrec_edge"
_LLAMA_CPP = "genrec_edge.engine.bindings"
"""What llama.cpp says is part of the errors that it is about."""


@contextmanager
def shown_warnings(*, quiet: bool) -> Iterator[None]:
    """Show the warnings that are logged in the block, unless `quiet`."""
    logger, handler = logging.getLogger(_LOGGER), _WarningLines(logging.WARNING)
    if not quiet:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _WarningLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name != _LLAMA_CPP:
            say(printable(record.getMessage()))
