"""Options that several commands share, so that they mean the same everywhere. What they mean is said in the records."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.option_fields import field_help, option
from genrec_edge.options import OpenOptions


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """How a command that asks a model behaves: whether it may use the network, and what it prints."""

    offline: bool = field(default=False, metadata=option("Never use the network."))
    json: bool = field(default=False, metadata=option("Print one JSON object."))
    quiet: bool = field(default=False, metadata=option("Print nothing on stderr but errors.", flag="--quiet -q"))


_OPENING, _COMMAND = field_help(OpenOptions), field_help(CommandOptions)

CatalogPath = Annotated[Path | None, typer.Option("--catalog", metavar="FILE", help=_OPENING["catalog"])]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help=_OPENING["n_threads"])]
Offline = Annotated[bool, typer.Option("--offline", help=_COMMAND["offline"])]
Json = Annotated[bool, typer.Option("--json", help=_COMMAND["json"])]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help=_COMMAND["quiet"])]
