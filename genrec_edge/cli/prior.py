"""`genrec-edge prior`: what follows what, counted for `recommend --prior-file`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.common_options import Json, Quiet
from genrec_edge.cli.event_options import (
    ItemColumn,
    MinRating,
    SkipUnknown,
    TimestampColumn,
    TimeUnitOption,
    UserColumn,
    load_rated,
)
from genrec_edge.cli.output import emit_json, say
from genrec_edge.records import Ties, TrainingPart
from genrec_edge.storage.files import refuse_existing

prior_app = typer.Typer(help="Count which items are met, and which after which.", no_args_is_help=True)


@prior_app.command()
def build(
    *,
    data: Annotated[str, typer.Option(metavar="NAME|DIR", help="A data set by its name, or its folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to make.")],
    split: Annotated[
        TrainingPart,
        typer.Option(help="Count the training part of a split, or all events, to which more can be added."),
    ] = "leave-one-out",
    ties: Annotated[Ties, typer.Option(help="Order of events of one user with equal timestamps.")] = "file",
    min_rating: MinRating = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the coefficients to these data instead of taking those of ML-100K.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Count a data set into a file, whole or not at all."""
    from genrec_edge.datasets.histories import user_histories  # noqa: PLC0415
    from genrec_edge.datasets.splits import split_of  # noqa: PLC0415
    from genrec_edge.prior import build as build_module  # noqa: PLC0415
    from genrec_edge.prior.fit import fit as fit_to  # noqa: PLC0415
    from genrec_edge.prior.model import DEFAULT  # noqa: PLC0415

    refuse_existing(out, force=force)
    dataset = load_rated(data, min_rating, quiet=quiet)
    chosen = None if split == "all" else split_of(dataset, split, ties)
    train = user_histories(dataset, ties) if chosen is None else chosen.train
    fitted = fit_to(train, dataset.n_items) if fit else None
    coefficients = DEFAULT if fitted is None else fitted.coefficients
    prior = build_module.build(out, dataset, train, ties, split=chosen, coefficients=coefficients, force=force)
    n_events, n_pairs = int(prior.counts.events.sum()), len(prior.counts.transitions.values)
    if json:
        facts = {
            "path": str(out),
            "data": prior.card.data,
            "split": dict(prior.card.split),
            "ties": ties,
            "events": n_events,
            "items": prior.counts.n_items,
            "transitions": n_pairs,
            "coefficients": asdict(coefficients),
            "fit": None if fitted is None else {"nats": fitted.nats, "default_nats": fitted.default_nats},
        }
        emit_json("genrec-edge/prior-build@1", facts)
        return
    say(f"{n_events:,} events, {n_pairs:,} pairs of {prior.counts.n_items:,} items", quiet=quiet)
    if fitted is not None:
        say(f"fitted: {fitted.nats:.4f} nats an item, {fitted.default_nats:.4f} as they were", quiet=quiet)
    typer.echo(out)


@prior_app.command()
def update(
    *,
    prior: Annotated[Path, typer.Option(metavar="FILE", help="What `prior build --split all` made.")],
    interactions: Annotated[
        Path, typer.Option(metavar="FILE", help="New events: user, item, timestamp; as for `data import`.")
    ],
    user: UserColumn = None,
    item: ItemColumn = None,
    timestamp: TimestampColumn = None,
    time_unit: TimeUnitOption = "auto",
    skip_unknown: SkipUnknown = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Add new events, all or none; the same as counting everything anew."""
    from genrec_edge.datasets.events import EventOptions  # noqa: PLC0415
    from genrec_edge.prior.update import update as update_prior  # noqa: PLC0415

    columns = {"user": user, "item": item, "timestamp": timestamp}
    added = update_prior(prior, interactions, columns, EventOptions(time_unit, skip_unknown))
    for note in added.notes:
        say(printable(note), quiet=quiet)
    if json:
        counts = {name: value for name, value in asdict(added).items() if name != "notes"}
        emit_json("genrec-edge/prior-update@1", {"path": str(prior), **counts})
        return
    say(f"{added.events:,} events of {added.users:,} users, {added.new_users:,} of them new", quiet=quiet)
    typer.echo(prior)
