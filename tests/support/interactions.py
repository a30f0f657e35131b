"""Small files of events and items, and their import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

if TYPE_CHECKING:
    from pathlib import Path

ABOUT = DatasetInfo("made", "Made", "CC0-1.0")


ITEMS = "id,title,genre\na,Alien (1979),Horror|Sci-Fi\nb,Brazil,Drama\nc,,\n"


EVENTS = "user,item,timestamp,rating\nx,b,10,4\ny,a,11,\n"


def no_event(_stage: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def make(folder: Path, events: str | bytes = EVENTS, items: str = ITEMS, **options: Any) -> Path:
    """Write both files and import them."""
    interactions = folder / "events.csv"
    interactions.write_bytes(events if isinstance(events, bytes) else events.encode())
    (folder / "items.csv").write_text(items, encoding="utf-8")
    options = {"about": ABOUT, "columns": ColumnNames(), "force": False, "on_event": no_event, **options}
    return import_files(interactions, folder / "items.csv", options.pop("out", folder / "made"), **options)
