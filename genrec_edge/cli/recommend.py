"""`genrec-edge recommend`: titles in, the exact best next items out."""

from __future__ import annotations

from pathlib import Path
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
    known_of,
    opened,
)
from genrec_edge.cli.history import HistoryFile, HistoryTitles, read_history
from genrec_edge.cli.options import AdapterPath, CatalogPath, Ctx, Json, ModelName, Offline, Quiet, Score, Threads
from genrec_edge.cli.output import emit_json, title_bar
from genrec_edge.records import Decode, PriorKind, Request


def recommend(
    *,
    history: HistoryTitles = None,
    history_file: HistoryFile = None,
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help='Condition on the catalog\'s columns, such as "year >= 1990".'),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="TITLE", help="A title or id never to recommend; repeat it.")
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option("--candidate", metavar="TITLE", help="Choose among these only; repeat it."),
    ] = None,
    allow_seen: Annotated[bool, typer.Option("--allow-seen", help="Items of the history may be recommended.")] = False,
    min_rating: Annotated[
        float | None, typer.Option(metavar="N", help="Entries rated lower count as seen, not as enjoyed.")
    ] = None,
    decode: Annotated[
        Decode, typer.Option(help="Exact search, beam search, or free text that is grounded afterwards.")
    ] = "exact",
    temperature: Annotated[float, typer.Option(help="Of free text: 0 is greedy, 1 samples the model as it is.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of free text.")] = 0,
    budget: Annotated[
        int | None,
        typer.Option(metavar="TOKENS", min=0, help="What an exact search may evaluate before a beam ends it; 4000."),
    ] = None,
    preference: Preference = None,
    intent: Intent = None,
    intent_where: Annotated[
        bool, typer.Option(help="Whether facts of the catalog that --intent names narrow the answer.")
    ] = True,
    context: Context = None,
    profile: Profile = None,
    explain: Explain = False,
    timeout: Timeout = None,
    model: ModelName = None,
    adapter: AdapterPath = None,
    catalog: CatalogPath = None,
    score: Score = None,
    prior: Annotated[
        PriorKind | None, typer.Option(help="What of the prior is used; sequence where there is one.")
    ] = None,
    prior_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Counts that `prior build` made, added to the model's scores.")
    ] = None,
    prior_weight: Annotated[
        float | None,
        typer.Option(metavar="W", help="Nats for each nat of the prior; what the model was tuned for, else 4."),
    ] = None,
    calibrate: Annotated[
        float, typer.Option(metavar="ALPHA", help="Take ALPHA times what a title gets without a history off.")
    ] = 0.0,
    threads: Threads = None,
    ctx: Ctx = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recommend the items a language model finds likeliest to come next, out of your own catalog."""
    known = known_of(profile, read_history(history_file, history), preference)
    from genrec_edge.cli.render import RECOMMEND_SCHEMA, show, to_json  # noqa: PLC0415
    from genrec_edge.decoder import Budget  # noqa: PLC0415

    with opened(
        model,
        catalog,
        offline=offline,
        quiet=quiet,
        adapter=adapter,
        n_threads=threads,
        n_ctx=ctx,
        score=score,
        prior=prior_file,
        prior_kind=prior,
        prior_weight=prior_weight,
        budget=None if budget is None else Budget(budget),
    ) as recommender:
        if calibrate:
            with title_bar("calibrating", quiet=quiet) as on_title:
                recommender.calibrate(calibrate, on_title)
        request = Request(
            history=known.history,
            k=k,
            preference=known.preference,
            intent=intent,
            intent_where=intent_where,
            context=context_of(context),
            where=where,
            exclude=(*(exclude or ()), *recommender.catalog.by_ids(known.seen)),
            candidates=None if candidates is None else tuple(candidates),
            allow_seen=allow_seen,
            min_rating=min_rating,
            decode=decode,
            temperature=temperature,
            seed=seed,
        )
        result = interruptible(recommender, lambda: recommender.answer(request, explain=explain, timeout_s=timeout))
    if json:
        emit_json(RECOMMEND_SCHEMA, to_json(result))
    else:
        show(result, quiet=quiet)
