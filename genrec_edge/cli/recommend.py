"""`genrec-edge recommend`: titles in, the exact best next items out."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.cli.options import AdapterPath, CatalogPath, Ctx, Json, ModelName, Offline, Quiet, Score, Threads
from genrec_edge.cli.output import catalog_path, emit_json, title_bar
from genrec_edge.errors import UsageError
from genrec_edge.records import Decode, Interaction, PriorKind, Request

if TYPE_CHECKING:
    from genrec_edge.recommender import Recommender
    from genrec_edge.records import Result


_INTERRUPT_S = 0.05
"""How long Ctrl-C may go unnoticed while a request runs."""


def recommend(
    *,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", "-H", metavar="TITLE", help="A title enjoyed, oldest first; repeat it."),
    ] = None,
    history_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Titles, one a line, or JSON lines with id, title, timestamp, rating; - is stdin.",
        ),
    ] = None,
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
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up after this time.")] = None,
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
    request = Request(
        history=(*_read(history_file), *(Interaction(title=title) for title in history or ())),
        k=k,
        where=where,
        exclude=tuple(exclude or ()),
        candidates=None if candidates is None else tuple(candidates),
        allow_seen=allow_seen,
        min_rating=min_rating,
        decode=decode,
        temperature=temperature,
        seed=seed,
    )
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.cli.render import RECOMMEND_SCHEMA, show, to_json  # noqa: PLC0415
    from genrec_edge.decoder import Budget  # noqa: PLC0415
    from genrec_edge.recommender import Recommender  # noqa: PLC0415

    model_file = ensure_model(model, offline=offline, quiet=quiet)
    with title_bar(quiet=quiet) as on_title:
        recommender = Recommender.open(
            model_file,
            catalog_path(catalog, quiet=quiet),
            adapter=adapter,
            n_threads=threads,
            n_ctx=ctx,
            score=score,
            prior=prior_file,
            prior_kind=prior,
            prior_weight=prior_weight,
            budget=None if budget is None else Budget(budget),
            on_title=on_title,
        )
    with recommender:
        if calibrate:
            with title_bar("calibrating", quiet=quiet) as on_title:
                recommender.calibrate(calibrate, on_title)
        result = _interruptible(recommender, request, timeout)
    if json:
        emit_json(RECOMMEND_SCHEMA, to_json(result))
    else:
        show(result, quiet=quiet)


def _read(history_file: str | None) -> list[Interaction]:
    from genrec_edge.histories import parse_history  # noqa: PLC0415

    if history_file is None:
        return []
    if history_file == "-":
        if sys.stdin.isatty():
            raise UsageError(
                "--history-file - reads standard input, and nothing is piped in",
                hint="pipe titles in, one a line",
            )
        return parse_history(sys.stdin.buffer, "standard input")
    try:
        with Path(history_file).open("rb") as file:
            return parse_history(file, history_file)
    except OSError as e:
        raise UsageError(
            f"cannot read {history_file}: {e.strerror}", hint="name a readable file, or - for stdin"
        ) from e


def _interruptible(recommender: Recommender, request: Request, timeout_s: float | None) -> Result:
    """Answer in a thread, so that Ctrl-C reaches this one while llama.cpp computes; a second Ctrl-C kills."""
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
        future = pool.submit(recommender.answer, request, timeout_s=timeout_s)
        while not wait([future], timeout=_INTERRUPT_S).done:
            if interrupted:
                recommender.cancel()  # again and again: a request that has not begun cannot be cancelled
    if interrupted:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, previous)
    return future.result()
