"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrec_edge.records import PriorKind, ScoreKind

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

# What is asked, of one user or of many.
Items = Annotated[int, typer.Option("-k", help="How many items.")]
Where = Annotated[
    str | None, typer.Option(metavar="SQL", help='Condition on the catalog\'s columns, such as "year >= 1990".')
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="TITLE", help="A title or id never to recommend; repeat it.")
]
Candidates = Annotated[
    list[str] | None, typer.Option("--candidate", metavar="TITLE", help="Choose among these only; repeat it.")
]
AllowSeen = Annotated[bool, typer.Option("--allow-seen", help="Items of the history may be recommended.")]
MinRating = Annotated[
    float | None, typer.Option(metavar="N", help="Entries rated lower count as seen, not as enjoyed.")
]
Budget = Annotated[
    int | None,
    typer.Option(metavar="TOKENS", min=0, help="What an exact search may evaluate before a beam ends it; 4000."),
]
IntentWhere = Annotated[bool, typer.Option(help="Whether facts of the catalog that --intent names narrow the answer.")]
Prior = Annotated[PriorKind | None, typer.Option(help="What of the prior is used; sequence where there is one.")]
PriorFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Counts that `prior build` made, added to the model's scores.")
]
PriorWeight = Annotated[
    float | None,
    typer.Option(metavar="W", help="Nats for each nat of the prior; what the model was tuned for, else 4."),
]
Calibrate = Annotated[
    float, typer.Option(metavar="ALPHA", help="Take ALPHA times what a title gets without a history off.")
]
