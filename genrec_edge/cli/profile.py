"""`genrec-edge profile`: what is known of a user, in a line that grows with what they meet; and how it is forgotten."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CatalogPath, Json, Quiet, Threads
from genrec_edge.cli.history import HistoryOptions
from genrec_edge.cli.output import catalog_path, emit_json, print_table, say
from genrec_edge.errors import DatasetError, UsageError
from genrec_edge.option_fields import check_options
from genrec_edge.options import Request
from genrec_edge.records import SummaryMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.profiles.records import Profile, ProfileEvent, ProfileUpdate
    from genrec_edge.profiles.store import ProfileStore
    from genrec_edge.profiles.summaries import Summarizer
    from genrec_edge.records import Interaction, Match

profile_app = typer.Typer(help="Keep, show and forget what users have met, and what it says of them.")

User = Annotated[str, typer.Argument(metavar="USER", help="Any name.")]

_BLOCKS_OF_A_MODEL = 5


@profile_app.command()
@takes(HistoryOptions, "history history_file", into="source")
@takes(Request, "min_rating", into="request")
def update(
    user: User,
    *,
    source: HistoryOptions,
    request: Request,
    summarizer: Annotated[
        str,
        typer.Option(metavar="facts|NAME|FILE", help="What writes the summary: the catalog's facts, or a model."),
    ] = "facts",
    method: Annotated[
        SummaryMethod,
        typer.Option(help="The summary so far and the next block, or each block alone and then all of them."),
    ] = "recurrent",
    block: Annotated[int, typer.Option(metavar="N", help="Items of a block.")] = 5,
    blocks: Annotated[
        int | None,
        typer.Option(metavar="N", help="Summarise the latest N blocks of what is new; all, 5 by a model."),
    ] = None,
    catalog: CatalogPath = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Add what a user has met, and take each full block of it into the summary; what is known is left out."""
    from genrec_edge.catalog.reader import Catalog  # noqa: PLC0415
    from genrec_edge.cli.render import say_understood  # noqa: PLC0415
    from genrec_edge.profiles.store import ProfileStore  # noqa: PLC0415
    from genrec_edge.serving.serialize import notes  # noqa: PLC0415

    check_options(request)
    interactions, min_rating = source.interactions(quiet=quiet), request.min_rating
    with Catalog.open(catalog_path(catalog, quiet=quiet)) as opened:
        events, matches = _events(interactions, opened, min_rating)
        if blocks is None and summarizer != "facts":
            blocks = _BLOCKS_OF_A_MODEL
        with _summarizer(summarizer, opened, threads) as writer:
            done = ProfileStore().update(user, events, opened, writer, method=method, block=block, blocks=blocks)
    if not quiet:
        say_understood(*matches)
    if json:
        counts = {name: value for name, value in asdict(done).items() if name != "profile"}
        payload = {
            "profile": asdict(done.profile),
            **counts,
            "unresolved": [match.input for match in matches if match.item is None],
            "notes": notes(matches),
        }
        emit_json("genrec-edge/profile-update@1", payload)
        return
    for line in _said(done, summarizer):
        say(line, quiet=quiet)
    typer.echo(done.profile.text)


@profile_app.command()
def show(user: User, *, json: Json = False, _quiet: Quiet = False) -> None:
    """Show the summary of a user, and what it was made of."""
    from genrec_edge.profiles.store import ProfileStore  # noqa: PLC0415

    profile = ProfileStore().get(user)
    if json:
        emit_json("genrec-edge/profile-show@1", {"profile": asdict(profile)})
    else:
        print_table(["field", "value"], _readable(profile))


@profile_app.command()
def forget(
    user: Annotated[str | None, typer.Argument(metavar="USER", help="The user to forget.")] = None,
    *,
    everyone: Annotated[bool, typer.Option("--all", help="Forget all users.")] = False,
    json: Json = False,
    _quiet: Quiet = False,
) -> None:
    """Delete a user's events and summary; no trace of them stays in the file, nor of what was evaluated for anybody."""
    from genrec_edge.engine import prompt_cache  # noqa: PLC0415
    from genrec_edge.profiles.store import ProfileStore  # noqa: PLC0415
    from genrec_edge.storage import paths  # noqa: PLC0415

    if (user is None) != everyone:
        raise UsageError("name one user to forget, or --all, and not both")
    store = ProfileStore()
    try:
        known = _users(store) if everyone else store.users()
        n_events = store.forget(user)  # also of one who is not known: the file may not have been tidied up then
    finally:
        prompt_cache.clear(paths.prompts_path())  # of everybody: whose histories they hold is not written on them
    forgotten = known if user is None else [user]
    if user is not None and user not in known:
        raise UsageError(f"there is no profile of {user!r} in {store.path}")
    if json:
        emit_json("genrec-edge/profile-forget@1", {"users": forgotten, "events": n_events})
    else:
        typer.echo(f"forgotten: {', '.join(forgotten) or 'nobody'} ({n_events:,} events)")


def _users(store: ProfileStore) -> list[str]:
    """Return all users; nobody where the file is damaged, which is removed all the same."""
    try:
        return store.users()
    except DatasetError:
        return []


def _events(
    interactions: list[Interaction], catalog: Catalog, min_rating: float | None
) -> tuple[list[ProfileEvent], list[Match]]:
    """Return the events that a history means, and what each entry was understood as.

    Raises:
        NothingToRecommendError: there is a history, and nothing of it means one item.
    """
    from genrec_edge.catalog.resolver import TitleResolver  # noqa: PLC0415
    from genrec_edge.profiles.records import ProfileEvent  # noqa: PLC0415
    from genrec_edge.serving.constraints import in_order, require_one  # noqa: PLC0415

    history = in_order(interactions)
    matches = TitleResolver(catalog).resolve_history(history)
    events = []
    for interaction, match in zip(history, matches, strict=True):
        if match.item is None:
            continue
        liked = min_rating is None or interaction.rating is None or interaction.rating >= min_rating
        events.append(ProfileEvent(match.item.id, match.item.title, interaction.timestamp, liked))
    require_one(matches, "titles", catalog)
    return events, matches


@contextmanager
def _summarizer(spec: str, catalog: Catalog, n_threads: int | None) -> Iterator[Summarizer]:
    from genrec_edge.catalog.facts import CatalogFacts  # noqa: PLC0415
    from genrec_edge.profiles.summaries import FactSummarizer  # noqa: PLC0415

    facts = FactSummarizer(CatalogFacts(catalog))
    if spec == facts.kind:
        yield facts
        return
    from genrec_edge.hub.store import ModelStore, resolve_model  # noqa: PLC0415
    from genrec_edge.profiles.llm_summarizer import ModelSummarizer  # noqa: PLC0415
    from genrec_edge.serving.config import threads_or_default  # noqa: PLC0415

    model_file = resolve_model(spec, ModelStore())
    writer = ModelSummarizer.open(model_file, catalog, facts, n_threads=threads_or_default(n_threads))
    try:
        yield writer
    finally:
        writer.close()


def _said(done: ProfileUpdate, summarizer: str) -> Iterator[str]:
    """Yield the lines about an update."""
    counts = (
        ("new events", done.n_new),
        ("blocks summarised", done.n_blocks),
        ("items waiting", done.profile.n_waiting),
    )
    yield ", ".join(f"{what}: {n:,}" for what, n in counts)
    if done.n_passed_over:
        yield f"{done.n_passed_over:,} older events only count as seen; --blocks summarises more"
    if done.n_unwritten:
        yield f"{summarizer} could not write {done.n_unwritten} of the summaries; the catalog's facts stand in"


def _readable(profile: Profile) -> list[tuple[str, str]]:
    return [
        ("user", profile.user),
        ("summary", profile.text),
        ("made by", profile.kind),
        ("catalog", profile.catalog),
        ("events", f"{profile.n_events:,}, {profile.n_summarised:,} of them in the summary"),
        ("waiting", f"{profile.n_waiting:,}"),
        ("updated", profile.updated),
    ]
