"""`genrec-edge describe` and `queries`: a history in words, and what one would ask for to be given an item."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from genrec_edge.cli.asking import Profile, Timeout, interruptible, opened, user_context_of
from genrec_edge.cli.history import HistoryFile, HistoryTitles, read_history
from genrec_edge.cli.options import AdapterPath, CatalogPath, Ctx, Json, ModelName, Offline, Quiet, Threads
from genrec_edge.cli.output import emit_json, print_table, say

Count = Annotated[int, typer.Option("-k", help="How many at most.")]


def describe(
    *,
    history: HistoryTitles = None,
    history_file: HistoryFile = None,
    profile: Profile = None,
    k: Count = 10,
    timeout: Timeout = None,
    model: ModelName = None,
    adapter: AdapterPath = None,
    catalog: CatalogPath = None,
    threads: Threads = None,
    ctx: Ctx = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say in words what a history says of its user: facts of the catalog, by the model and by counting."""
    known = user_context_of(profile, read_history(history_file, history), None)
    from genrec_edge.cli.render import say_understood  # noqa: PLC0415

    with opened(model, catalog, offline=offline, quiet=quiet, adapter=adapter, n_threads=threads, n_ctx=ctx) as r:
        found = interruptible(r, lambda: r.describe(known.history, k=k, timeout_s=timeout))
    if json:
        said = [{**asdict(trait.fact), "nats": trait.nats, "items": trait.n_items} for trait in found.traits]
        emit_json("genrec-edge/describe@1", {"traits": said, "summary": found.summary})
        return
    if not quiet:
        say_understood(*found.resolved, *found.unresolved)
    rows = [(t.fact.value, t.fact.column, f"{t.nats:+.2f}", t.n_items) for t in found.traits]
    print_table(["likes", "is a", "nats a title", "titles"], rows, right=("nats a title", "titles"))
    say(f"by counting: {found.summary}" if found.summary else "counting finds nothing to say", quiet=quiet)


def queries(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="A title or id.")],
    *,
    k: Count = 10,
    timeout: Timeout = None,
    model: ModelName = None,
    adapter: AdapterPath = None,
    catalog: CatalogPath = None,
    threads: Threads = None,
    ctx: Ctx = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what one would ask for to be given an item, in facts that it has, and how many items have them all."""
    with opened(model, catalog, offline=offline, quiet=quiet, adapter=adapter, n_threads=threads, n_ctx=ctx) as r:
        asked, found = interruptible(r, lambda: r.queries(item, k=k, timeout_s=timeout))
    if json:
        named = {"id": asked.id, "title": asked.title, "year": asked.year}
        said = [
            {"text": p.text, "facts": [asdict(fact) for fact in p.facts], "share": p.share, "items": p.n_items}
            for p in found
        ]
        emit_json("genrec-edge/queries@1", {"item": named, "phrases": said})
        return
    rows = [(p.text, f"{p.share:.0%}", f"{p.n_items:,}") for p in found]
    print_table(["asked for as", "share", "items it finds"], rows, right=("share", "items it finds"))
