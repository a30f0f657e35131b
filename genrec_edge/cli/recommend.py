"""`genrec-edge recommend`: titles in, the exact best next items out."""

from __future__ import annotations

from dataclasses import replace

import typer

from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CommandOptions
from genrec_edge.cli.history import HistoryOptions
from genrec_edge.cli.output import emit_json
from genrec_edge.cli.running import interruptible, opened
from genrec_edge.errors import NothingToRecommendError
from genrec_edge.options import OpenOptions, Request


@takes(HistoryOptions, into="user")
@takes(Request, into="request")
@takes(OpenOptions, into="options")
@takes(CommandOptions, into="command")
def recommend(
    *,
    user: HistoryOptions,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Recommend the items a language model finds likeliest to come next, out of your own catalog."""
    request, seen = user.user_of(request, quiet=command.quiet)
    from genrec_edge.cli.render import RECOMMEND_SCHEMA, show, to_json  # noqa: PLC0415

    with opened(options, command) as recommender:
        asked = replace(request, exclude=(*request.exclude, *recommender.catalog.by_ids(seen)))
        result = interruptible(recommender, lambda: recommender.answer(asked))
    if command.json:
        emit_json(RECOMMEND_SCHEMA, to_json(result))
        if not result.items:
            raise typer.Exit(NothingToRecommendError.exit_code)
    elif result.items:
        show(result, quiet=command.quiet, explain=request.explain)
    else:  # only free text may find nothing
        none = f"none of the {result.refused} titles that the model wrote can be recommended"
        message = none if result.refused else "the model wrote no title"
        raise NothingToRecommendError(message, hint="leave `decode` out: an exact search always finds items")
