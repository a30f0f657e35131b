"""`genrec-edge describe` and `queries`: a history in words, and what one would ask for to be given an item."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CommandOptions
from genrec_edge.cli.history import HistoryOptions
from genrec_edge.cli.output import emit_json, print_table, say
from genrec_edge.cli.running import interruptible, opened
from genrec_edge.options import OpenOptions, Request
from genrec_edge.records import Match


@takes(HistoryOptions, into="user")
@takes(Request, "k timeout_s", into="request")
@takes(OpenOptions, "model adapter catalog n_threads n_ctx", into="options")
@takes(CommandOptions, into="command")
def describe(
    *,
    user: HistoryOptions,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Say in words what a history says of its user: facts of the catalog, by the model and by counting."""
    asked, _ = user.user_of(request, quiet=command.quiet)
    from genrec_edge.cli.render import say_understood  # noqa: PLC0415
    from genrec_edge.serving.serialize import history_json  # noqa: PLC0415

    with opened(replace(options, prior_kind="none"), command) as r:  # words have no use for a prior
        found = interruptible(r, lambda: r.describe(asked.history, k=asked.k, timeout_s=asked.timeout_s))
    if command.json:
        said = [{**asdict(trait.fact), "nats": trait.nats, "items": trait.n_items} for trait in found.traits]
        history = history_json(found.resolved, found.unresolved)
        emit_json("genrec-edge/describe@1", {"traits": said, "summary": found.summary, **history})
        return
    if not command.quiet:
        say_understood(*found.resolved, *found.unresolved)
    liked = [t for t in found.traits if t.nats > 0]
    others = [f"{t.fact.value} ({t.fact.column}, {t.nats:+.2f})" for t in found.traits if t.nats <= 0]
    rows = [(t.fact.value, t.fact.column, f"{t.nats:+.2f}", t.n_items) for t in liked]
    if rows:
        print_table(["likes", "is a", "nats a title", "titles"], rows, right=("nats a title", "titles"))
    if others:
        message = f"true of the titles, but the model does not expect them for it: {', '.join(others)}"
        say(message, quiet=command.quiet)
    say(f"by counting: {found.summary}" if found.summary else "counting finds nothing to say", quiet=command.quiet)


@takes(Request, "k timeout_s", into="request")
@takes(OpenOptions, "model adapter catalog n_threads n_ctx", into="options")
@takes(CommandOptions, into="command")
def queries(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="A title or id.")],
    *,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Say what one would ask for to be given an item, in facts that it has, and how many items have them all."""
    from genrec_edge.cli.render import say_understood  # noqa: PLC0415

    with opened(replace(options, prior_kind="none"), command) as r:  # words have no use for a prior
        named, found = interruptible(r, lambda: r.queries(item, k=request.k, timeout_s=request.timeout_s))
        match = r.resolve(item)
    if match.item != named:  # a title and an id are spelled the same
        match = Match(item, named, "id", 1.0)
    if not (command.json or command.quiet):
        say_understood(match)
    if command.json:
        shown = {"id": named.id, "title": named.title, "year": named.year}
        said = [
            {"text": p.text, "facts": [asdict(fact) for fact in p.facts], "share": p.share, "items": p.n_items}
            for p in found
        ]
        noted = {"note": match.note} if match.note else {}
        emit_json("genrec-edge/queries@1", {"item": {**shown, **noted}, "phrases": said})
        return
    rows = [(p.text, f"{p.share:.0%}", f"{p.n_items:,}") for p in found]
    print_table(["asked for as", "share", "items it finds"], rows, right=("share", "items it finds"))
