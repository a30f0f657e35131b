"""Opening a recommender for a command, and Ctrl-C while it computes."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from genrec_edge.cli import interrupts
from genrec_edge.cli.output import catalog_path, title_bar
from genrec_edge.option_fields import check_options
from genrec_edge.storage import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genrec_edge.cli.common_options import CommandOptions
    from genrec_edge.options import OpenOptions
    from genrec_edge.recommender import Recommender

_Answer = TypeVar("_Answer")
_INTERRUPT_S = 0.05
"""How long Ctrl-C may go unnoticed while a request runs."""


@contextmanager
def opened(options: OpenOptions, command: CommandOptions) -> Iterator[Recommender]:
    """Yield a recommender, its model fetched and its titles indexed first where needed."""
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.recommender import Recommender  # noqa: PLC0415
    from genrec_edge.serving.session import Session  # noqa: PLC0415

    check_options(options)  # before anything is fetched
    options = replace(
        options,
        model=ensure_model(options.model, offline=command.offline, quiet=command.quiet),
        catalog=catalog_path(options.catalog, quiet=command.quiet),
        prompts_path=paths.prompts_path() if paths.keeps_prompts() else None,
    )
    with title_bar(quiet=command.quiet) as on_title:
        session = Session.open(replace(options, on_title=on_title))
    with Recommender(session) as recommender:
        yield recommender


def interruptible(recommender: Recommender, work: Callable[[], _Answer]) -> _Answer:
    """Work in a thread, so that Ctrl-C reaches this one while llama.cpp computes; a second Ctrl-C kills."""
    interrupted = False

    def on_interrupt(_signal: int, _frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    # An exception could come at any point, such as between starting the thread and waiting for it.
    previous = signal.getsignal(signal.SIGINT)
    if previous in (
        signal.default_int_handler,
        interrupts.raise_once,
    ):  # else the caller wants Ctrl-C ignored: leave it so
        signal.signal(signal.SIGINT, on_interrupt)
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(work)
        while not wait([future], timeout=_INTERRUPT_S).done:
            if interrupted:
                recommender.cancel()  # again and again: a request that has not begun cannot be cancelled
    if interrupted:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, previous)
    return future.result()
