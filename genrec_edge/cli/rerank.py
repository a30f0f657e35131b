"""`genrec-edge rerank`: candidates in, all of them out, the likeliest first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.catalog.title_match import year_note
from genrec_edge.catalog.titles import printable, split_year, with_year
from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CommandOptions
from genrec_edge.cli.history import HistoryOptions, read_interactions
from genrec_edge.cli.output import emit_json, say
from genrec_edge.cli.running import interruptible, opened
from genrec_edge.options import OpenOptions, Request

if TYPE_CHECKING:
    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.records import Interaction


@takes(HistoryOptions, into="user")
@takes(Request, "preference intent context explain timeout_s", into="request")
@takes(
    OpenOptions,
    "model adapter catalog score prior prior_kind prior_weight n_threads n_ctx",
    into="options",
)
@takes(CommandOptions, into="command")
def rerank(
    *,
    candidates: Annotated[
        str,
        typer.Option(metavar="FILE", help="Titles or JSON lines, as a history file has them; - is stdin."),
    ],
    user: HistoryOptions,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Put candidates in the order in which the user is likeliest to choose them; any number, in any order."""
    request, _ = user.user_of(request, quiet=command.quiet)
    entries = read_interactions(candidates, quiet=command.quiet)
    for entry in entries:
        if note := year_note(entry.title or "", entry.year):
            say(printable(f"{entry.title}: {note}"), quiet=command.quiet)
    from genrec_edge.cli.render import show, to_json  # noqa: PLC0415

    with opened(options, command) as recommender:
        named = tuple(_name(entry, recommender.catalog) for entry in entries)
        request = replace(request, task="reranking", candidates=named)
        result = interruptible(recommender, lambda: recommender.answer(request))
    if command.json:
        emit_json("genrec-edge/rerank@1", to_json(result))
    else:
        show(result, quiet=command.quiet, explain=request.explain)


def _name(entry: Interaction, catalog: Catalog) -> str:
    """Return what a candidate is called in a request: its id if the catalog has it, else its title with the year."""
    if entry.title is None or (entry.id is not None and catalog.by_ids([entry.id])):
        return entry.id or ""
    title, year = split_year(entry.title)
    return entry.title if entry.year in {None, year} else with_year(title, entry.year or 0)
