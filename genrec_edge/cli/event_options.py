"""Options of the commands that read events: which columns they are in, how they are read, and which count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.cli.output import say
from genrec_edge.records import TimeUnit

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset

UserColumn = Annotated[str | None, typer.Option("--user", metavar="COLUMN", help="The column of the users.")]
ItemColumn = Annotated[str | None, typer.Option("--item", metavar="COLUMN", help="The column of the items met, by id.")]
TimestampColumn = Annotated[
    str | None, typer.Option("--timestamp", metavar="COLUMN", help="The column of the times: numbers or dates.")
]
RatingColumn = Annotated[
    str | None, typer.Option("--rating", metavar="COLUMN", help="The column of the ratings, if any.")
]
TimeUnitOption = Annotated[
    TimeUnit, typer.Option("--time-unit", help="Of times that are numbers; auto decides by their size.")
]
MinRating = Annotated[
    float | None,
    typer.Option(
        "--min-rating",
        metavar="N",
        help="Leave out events rated lower, as if they had not been, and say how many; those without a rating stay.",
    ),
]
SkipUnknown = Annotated[
    bool,
    typer.Option("--skip-unknown", help="Leave out events whose item is not in the item table, and say how many."),
]


def load_rated(data: str, min_rating: float | None, *, quiet: bool) -> Dataset:
    """Read a data set without the events that `--min-rating` leaves out, and say how many those are.

    Raises: as `folder.load`, and UsageError where no event is left.
    """
    from genrec_edge.datasets.folder import load  # noqa: PLC0415
    from genrec_edge.datasets.ratings import left_out_note, rated_at_least  # noqa: PLC0415

    dataset = load(data)
    if min_rating is None:
        return dataset
    rated = rated_at_least(dataset, min_rating)
    say(left_out_note(dataset, min_rating), quiet=quiet)
    return rated
