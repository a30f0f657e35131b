"""Options of every command that are no option of a request or of opening, so that they mean the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.option_fields import option

CatalogPath = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="A catalog; the films that come along where none is named."),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads; all there are, up to 8.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages and no progress bar.")]


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """How a command that asks a model behaves: whether it may use the network, and what it prints."""

    offline: bool = field(default=False, metadata=option("Never use the network."))
    json: bool = field(default=False, metadata=option("Print one JSON object."))
    quiet: bool = field(default=False, metadata=option("No messages and no progress bar.", flag="--quiet -q"))
