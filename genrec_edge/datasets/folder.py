"""Data sets of interactions on disk: a folder whose files are checked against its card when it is read.

It holds `interactions.csv` (user, item, timestamp, rating; in the order of its source), `catalog.db` (the item table, a
catalog like any other) and `card.json` (source, licence, hashes). Written by `importer.py`, read here. Items are
identified by their index among all items of the catalog, which filters do not change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.event_columns import EventColumns
from genrec_edge.datasets.event_reader import read_events
from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.ratings import rated_at_least
from genrec_edge.errors import DatasetError, UsageError
from genrec_edge.storage import paths
from genrec_edge.storage.files import path_errors, sha256_file
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from genrec_edge.records import Item

SCHEMA = "genrec-edge/dataset@1"
CARD, INTERACTIONS, CATALOG = FILES = "card.json", "interactions.csv", "catalog.db"
COLUMNS = ("user", "item", "timestamp", "rating")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of data sets; any other text is the path of a folder."""

_MAX_CARD_BYTES = 1 << 20
_REPAIR_HINT = "make it again: run `genrec-edge data pull NAME --force` or `genrec-edge data import`"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set in memory; events are in the order of the file.

    Attributes:
        name: as in the card.
        path: its folder.
        card: `card.json`.
        user_ids: distinct, in the order of their first event.
        item_ids: of all items of the catalog in the order of its rows, those without events included.
        rows: (n_items,) int64, the catalog's row of each item.
        titles: (title, year) of each item.
        users: (n_events,) int32, positions in `user_ids`.
        items: (n_events,) int32, item indexes: positions in `item_ids`.
        timestamps: (n_events,) float64, seconds.
        ratings: (n_events,) float32, NaN where there is none.
        filters: descriptions of the filters that were applied, in order.
        other_catalog: the catalog that the items are of, if it is not the folder's own; see `datasets.transfer`.
    """

    name: str
    path: Path
    card: Mapping[str, Any]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    rows: NDArray[np.int64]
    titles: tuple[tuple[str, int | None], ...]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    timestamps: NDArray[np.float64]
    ratings: NDArray[np.float32]
    filters: tuple[str, ...] = ()
    other_catalog: Path | None = None

    @property
    def catalog_path(self) -> Path:
        """The catalog of the items: that of the folder, unless the events were found in another one."""
        return self.path / CATALOG if self.other_catalog is None else self.other_catalog

    @property
    def n_users(self) -> int:
        """The number of users, those without events left included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """The number of items of the catalog."""
        return len(self.item_ids)

    @property
    def n_events(self) -> int:
        """The number of events."""
        return len(self.users)

    def filtered(self, keep: NDArray[np.bool_], description: str) -> Dataset:
        """Return the data set with only the events of the mask `keep`, (n_events,).

        Raises:
            UsageError: no event is left.
        """
        if not keep.any():
            raise UsageError(f"no event of {self.name} is left: {description}", hint="use a weaker filter")
        return replace(
            self,
            users=self.users[keep],
            items=self.items[keep],
            timestamps=self.timestamps[keep],
            ratings=self.ratings[keep],
            filters=(*self.filters, description),
        )


def load(spec: str | Path, *, min_rating: float | None = None) -> Dataset:
    """Read a data set, by its name in `paths.datasets_path` or by its folder. Read-only.

    Args:
        spec: a name or a folder.
        min_rating: see `rated_at_least`; None keeps all events.

    Raises:
        UsageError: there is no such data set, or no event has such a rating.
        DatasetError: its card is invalid, or a file differs from what the card says.
        CatalogError: its catalog is damaged.
    """
    folder = _folder(spec)
    card = read_card(folder)
    path = folder / INTERACTIONS
    with path_errors(path):
        sha256 = sha256_file(path)
    if sha256 != card["interactions"]["sha256"]:
        message = f"{path} has the sha256 {sha256}, the card says {card['interactions']['sha256']}"
        raise DatasetError(message, hint=_REPAIR_HINT)
    items, revision = read_items(folder / CATALOG)
    if revision != card["catalog"]["revision"]:
        raise DatasetError(f"{folder / CATALOG} was changed after the data set was made", hint=_REPAIR_HINT)
    source = open_source(path)
    if tuple(source.columns) != COLUMNS:
        message = f"{path} has the columns {', '.join(source.columns)} instead of {', '.join(COLUMNS)}"
        raise DatasetError(message, hint=_REPAIR_HINT)
    index = {item.id: i for i, item in enumerate(items)}
    events = read_events(source, EventColumns(0, 1, 2, 3), index, EventOptions(is_ours=True))
    dataset = Dataset(
        name=card["name"],
        path=folder,
        card=card,
        user_ids=events.user_ids,
        item_ids=tuple(item.id for item in items),
        rows=np.array([item.row for item in items], np.int64),
        titles=tuple((item.title, item.year) for item in items),
        users=events.users,
        items=events.items,
        timestamps=events.timestamps,
        ratings=events.ratings,
    )
    return dataset if min_rating is None else rated_at_least(dataset, min_rating)


def read_items(path: Path) -> tuple[list[Item], str]:
    """Return all items of a catalog in the order of its rows, and its revision. Read-only; raises as `Catalog.open`."""
    with Catalog.open(path) as catalog:
        return catalog.items([row for row, _, _ in catalog.titles()]), catalog.revision


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a data set, validated. Read-only.

    Raises:
        UsageError: there is no card.
        DatasetError: the card is invalid; the message lists every key that is missing or of another type.
    """
    path = folder / CARD
    if not path.is_file():
        message = f"{folder} is not a data set: it has no {CARD}"
        raise UsageError(message, hint="make one with `genrec-edge data import`")
    try:
        with path_errors(path), path.open("rb") as file:
            card = json.loads(file.read(_MAX_CARD_BYTES))
    except (ValueError, RecursionError) as e:
        raise DatasetError(f"{path} is not valid JSON ({e})", hint=_REPAIR_HINT) from e
    schema = card.get("schema") if isinstance(card, dict) else None
    if schema != SCHEMA:
        raise DatasetError(f"{path} has the schema {schema!r}, not {SCHEMA!r}", hint=_REPAIR_HINT)
    required = ["name", "title", "licence", "terms", "interactions.sha256", "catalog.revision"]
    if wrong := [key for key in required if not isinstance(_value(card, key), str)]:
        raise DatasetError(f"{path}: missing, or not a text: {', '.join(wrong)}", hint=_REPAIR_HINT)
    return dict(card)


def _folder(spec: str | Path) -> Path:
    """Return the folder that `spec` names: the path if it has a card or is not a name, else the named data set."""
    path = Path(spec)
    is_name = isinstance(spec, str) and NAME.fullmatch(spec) is not None
    with path_errors(path):
        if not is_name or (path / CARD).is_file():
            if not path.is_dir():
                message = f"there is no data set in {path}"
                raise UsageError(message, hint="make one of your files with `genrec-edge data import`")
            return path
    folder = paths.datasets_path() / path
    if not folder.is_dir():
        hint = "run `genrec-edge data pull movietweetings`, or make one of your files with `genrec-edge data import`"
        raise UsageError(f"no data set {str(spec)!r} in {folder.parent}", hint=hint)
    return folder


def _value(card: Mapping[str, Any], key: str) -> object:
    """Return the value at the path "a.b", or None."""
    value: object = card
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
