"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.records import ScoreKind

CatalogPath = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="A catalog; the films that come along where none is named."),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FILE", help="A model of the store or a .gguf file; else the default."),
]
AdapterPath = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="FILE", help="A LoRA adapter in GGUF format, made for the model."),
]
Score = Annotated[
    ScoreKind | None, typer.Option("--score", help="Overrides the kind of score the model was tuned for.")
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads; all there are, up to 8.")]
Ctx = Annotated[int | None, typer.Option("--ctx", metavar="N", help="Context in tokens; 2048.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages and no progress bar.")]
