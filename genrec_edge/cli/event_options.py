"""Options of the commands that read events: which columns they are in, and how they are read."""

from __future__ import annotations

from typing import Annotated

import typer

from genrec_edge.records import TimeUnit

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
SkipUnknown = Annotated[
    bool,
    typer.Option("--skip-unknown", help="Leave out events whose item is not in the item table, and say how many."),
]
