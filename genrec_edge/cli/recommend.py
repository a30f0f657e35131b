"""`genrec-edge recommend`: titles in, the exact best next items out."""

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
from genrec_edge.cli.options import (
    AdapterPath,
    AllowSeen,
    Budget,
    Calibrate,
    Candidates,
    CatalogPath,
    Ctx,
    Exclude,
    IntentWhere,
    Items,
    Json,
    MinRating,
    ModelName,
    Offline,
    Prior,
    PriorFile,
    PriorWeight,
    Quiet,
    Score,
    Threads,
    Where,
)
from genrec_edge.cli.output import emit_json, title_bar
from genrec_edge.records import Decode, Request


def recommend(
    *,
    history: HistoryTitles = None,
    history_file: HistoryFile = None,
    k: Items = 10,
    where: Where = None,
    exclude: Exclude = None,
    candidates: Candidates = None,
    allow_seen: AllowSeen = False,
    min_rating: MinRating = None,
    decode: Annotated[
        Decode, typer.Option(help="Exact search, beam search, or free text that is grounded afterwards.")
    ] = "exact",
    temperature: Annotated[float, typer.Option(help="Of free text: 0 is greedy, 1 samples the model as it is.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of free text.")] = 0,
    budget: Budget = None,
    preference: Preference = None,
    intent: Intent = None,
    intent_where: IntentWhere = True,
    context: Context = None,
    profile: Profile = None,
    explain: Explain = False,
    timeout: Timeout = None,
    model: ModelName = None,
    adapter: AdapterPath = None,
    catalog: CatalogPath = None,
    score: Score = None,
    prior: Prior = None,
    prior_file: PriorFile = None,
    prior_weight: PriorWeight = None,
    calibrate: Calibrate = 0.0,
    threads: Threads = None,
    ctx: Ctx = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recommend the items a language model finds likeliest to come next, out of your own catalog."""
    known = user_context_of(profile, read_history(history_file, history), preference)
    from genrec_edge.cli.render import RECOMMEND_SCHEMA, show, to_json  # noqa: PLC0415
    from genrec_edge.decoding import best_first  # noqa: PLC0415

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
        budget=None if budget is None else best_first.Budget(budget),
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
