"""What a known data set is made of: its two tables, ready for `importer.write_dataset`, and how their rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.datasets.events import EventOptions

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = EventOptions()


@dataclass(frozen=True, slots=True)
class SourceTables:
    """The tables of a data set.

    Attributes:
        interactions: events; the columns have usual names.
        items: the items, a table that a catalog can be built of.
        options: how the events are read.
    """

    interactions: Path
    items: Path
    options: EventOptions = _DEFAULT
