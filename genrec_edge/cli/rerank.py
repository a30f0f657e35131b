"""`genrec-edge rerank`: candidates in, all of them out, the likeliest first."""

from __future__ import annotations

from typing import Annotated

import typer

from genrec_edge.cli.asking import (
    Context,
    Explain,
    Intent,
    Preference,
    Profile,
    Timeout,
    context_of,
    interruptible,
    opened,
    user_context_of,
)
from genrec_edge.cli.history import HistoryFile, HistoryTitles, read_history
from genrec_edge.cli.options import AdapterPath, CatalogPath, Ctx, Json, ModelName, Offline, Quiet, Score, Threads
from genrec_edge.cli.output import emit_json


def rerank(
    *,
    candidates: Annotated[
        str,
        typer.Option(metavar="FILE", help="Titles or JSON lines, as a history file has them; - is stdin."),
    ],
    history: HistoryTitles = None,
    history_file: HistoryFile = None,
    preference: Preference = None,
    intent: Intent = None,
    context: Context = None,
    profile: Profile = None,
    explain: Explain = False,
    timeout: Timeout = None,
    model: ModelName = None,
    adapter: AdapterPath = None,
    catalog: CatalogPath = None,
    score: Score = None,
    threads: Threads = None,
    ctx: Ctx = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put candidates in the order in which the user is likeliest to choose them; any number, in any order."""
    known = user_context_of(profile, read_history(history_file, history), preference)
    named = [entry.id or entry.title or "" for entry in read_history(candidates, None)]
    from genrec_edge.cli.render import show, to_json  # noqa: PLC0415

    with opened(
        model, catalog, offline=offline, quiet=quiet, adapter=adapter, n_threads=threads, n_ctx=ctx, score=score
    ) as recommender:
        result = interruptible(
            recommender,
            lambda: recommender.rerank(
                named,
                known.history,
                preference=known.preference,
                intent=intent,
                context=context_of(context),
                explain=explain,
                timeout_s=timeout,
            ),
        )
    if json:
        emit_json("genrec-edge/rerank@1", to_json(result))
    else:
        show(result, quiet=quiet)
