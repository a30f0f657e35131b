"""What the commands that ask a model share: options that tell of the user, opening, and Ctrl-C while it computes."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from genrec_edge.cli.output import catalog_path, title_bar
from genrec_edge.errors import UsageError
from genrec_edge.storage import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.recommender import Recommender
    from genrec_edge.records import Interaction

_Answer = TypeVar("_Answer")
_INTERRUPT_S = 0.05
"""How long Ctrl-C may go unnoticed while a request runs."""

Preference = Annotated[
    str | None, typer.Option(metavar="WORDS", help='What the user likes, such as "slow, melancholic".')
]
Intent = Annotated[
    str | None, typer.Option(metavar="WORDS", help='What is wanted this time, such as "comedy, 1990s, French".')
]
Context = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=WORDS", help='When, where, with whom: "when=Sunday evening"; repeat it.'),
]
Profile = Annotated[
    str | None, typer.Option(metavar="USER", help="Take the history of a user from `genrec-edge profile`.")
]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up after this time.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say which titles of the history speak for each item, by leaving them out.")
]


@dataclass(frozen=True, slots=True)
class UserContext:
    """What a request is told of a user: titles, a preference in words, and ids that count as seen."""

    history: tuple[Interaction, ...]
    preference: str | None
    seen: tuple[str, ...] = ()


def user_context_of(profile: str | None, history: Sequence[Interaction], preference: str | None) -> UserContext:
    """Return what is known of a user by name, with the titles that were named beside.

    Raises:
        UsageError: there is no such user, or their preference was given in words, too.
    """
    if profile is None:
        return UserContext(tuple(history), preference)
    from genrec_edge.profiles.store import ProfileStore  # noqa: PLC0415

    recalled = ProfileStore().context(profile)
    if preference is not None and recalled.preference is not None:
        message = f"the profile of {profile!r} and --preference both say what the user likes"
        raise UsageError(message, hint="leave one of them out")
    return UserContext((*recalled.recent, *history), preference or recalled.preference, recalled.seen)


def context_of(entries: Sequence[str] | None) -> Mapping[str, str]:
    """Return the context that NAME=WORDS entries name.

    Raises:
        UsageError: one of them is none.
    """
    found = {}
    for entry in entries or ():
        name, equals, words = entry.partition("=")
        if not (name.strip() and equals and words.strip()):
            raise UsageError(f"the context {entry!r} is not NAME=WORDS", hint='write it like "when=Sunday evening"')
        found[name.strip()] = words
    return found


@contextmanager
def opened(
    model: str | None, catalog: Path | None, *, offline: bool, quiet: bool, **options: Any
) -> Iterator[Recommender]:
    """Yield a recommender, its model fetched and its titles indexed first where needed; `options` as for its `open`."""
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.recommender import Recommender  # noqa: PLC0415

    model_file = ensure_model(model, offline=offline, quiet=quiet)
    with title_bar(quiet=quiet) as on_title:
        recommender = Recommender.open(
            model_file,
            catalog_path(catalog, quiet=quiet),
            on_title=on_title,
            prompts_path=paths.prompts_path() if paths.keeps_prompts() else None,
            **options,
        )
    with recommender:
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
    if previous is signal.default_int_handler:  # else the caller wants Ctrl-C ignored: leave it so
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
