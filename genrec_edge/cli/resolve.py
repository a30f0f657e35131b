"""`genrec-edge resolve`: what messy input is understood as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.catalog.namesakes import label, question
from genrec_edge.cli.common_options import CatalogPath, Json, Quiet
from genrec_edge.cli.history import read_interactions
from genrec_edge.cli.output import catalog_path, emit_json, print_table
from genrec_edge.errors import NothingToRecommendError
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from genrec_edge.records import Item, Match


def resolve(
    titles: Annotated[
        list[str], typer.Argument(metavar="TITLE...", help="Titles as people write them; - reads stdin.")
    ],
    *,
    catalog: CatalogPath = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the items that titles mean, and say how sure that is; exit with 3 if one is not found."""
    from genrec_edge.catalog.reader import Catalog  # noqa: PLC0415
    from genrec_edge.catalog.resolver import TitleResolver  # noqa: PLC0415

    entries = read_interactions("-", quiet=quiet) if titles == ["-"] else [Interaction(title=title) for title in titles]
    with Catalog.open(catalog_path(catalog, quiet=quiet)) as opened:
        resolver = TitleResolver(opened)
        matches = [resolver.resolve_interaction(entry) for entry in entries]
    if json:
        emit_json("genrec-edge/resolve@1", {"matches": [_entry(match) for match in matches]})
    else:
        print_table(["input", "method", "sure", "item"], [_row(match) for match in matches], right=["sure"])
    if any(match.item is None for match in matches):
        raise typer.Exit(NothingToRecommendError.exit_code)


def _entry(match: Match) -> dict[str, object]:
    entry: dict[str, object] = {
        "input": match.input,
        "method": match.method,
        "confidence": match.confidence,
        "item": None if match.item is None else _item(match.item),
        "candidates": [_item(item) for item in match.candidates],
    }
    return entry | ({"note": match.note} if match.note else {})


def _item(item: Item) -> dict[str, object]:
    return {"id": item.id, "title": item.title, "year": item.year}


def _row(match: Match) -> tuple[str, str, str, str]:
    if match.item is not None:
        what = label(match.item) + (f": {match.note}" if match.note else "")
        return match.input, match.method, f"{match.confidence:.2f}", what
    if match.method == "ambiguous":
        return match.input, match.method, "", question(match.candidates)
    names = ", ".join(map(label, match.candidates))
    what = f"perhaps {names}" if names else "nothing like it"
    return match.input, match.method, "", what + (f"; {match.note}" if match.note else "")
