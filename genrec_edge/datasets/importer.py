"""Makes a data set of interactions from a file of events and a file of items.

The result is the folder that `folder.py` describes. It appears whole or not at all; the same input makes the same
`interactions.csv`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge._version import __version__
from genrec_edge.catalog import writer as catalog_writer
from genrec_edge.catalog.titles import clean
from genrec_edge.datasets.event_columns import open_events
from genrec_edge.datasets.event_reader import read_events
from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.folder import CARD, CATALOG, COLUMNS, INTERACTIONS, NAME, SCHEMA, read_items
from genrec_edge.errors import UsageError, several
from genrec_edge.storage import paths
from genrec_edge.storage.files import path_errors, require_other_file, sha256_file, sync
from genrec_edge.storage.folders import install, partial_folder
from genrec_edge.storage.spooled import STDIN, as_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.catalog.writer import BuildReport
    from genrec_edge.datasets.event_columns import EventColumns
    from genrec_edge.datasets.events import Events
    from genrec_edge.storage.tables import TableSource

OnEvent = Callable[[str, int, int], object]
"""Called with a stage ("download", "items", "events", "write"), how much of it is done, and how much there is."""

OnNote = Callable[[str], object]
"""Called with each sentence about what was left out, and what had to be decided."""

_PARTS = 1000
_CHUNK_ROWS = 8192
_MAX_SHOWN = 10
_DEFAULT_OPTIONS = EventOptions()


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """The description of a data set in its card. `terms` states in words what may be done with it."""

    name: str
    title: str
    licence: str
    terms: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of the columns of the two files, None to guess. Those below `rating` are of the item table.

    `columns` names all columns of an item table without a header, and `table` what to read where it has several.
    """

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    title: str | None = None
    id: str | None = None
    year: str | None = None
    columns: tuple[str, ...] | None = None
    table: str | None = None


def import_files(
    interactions: Path,
    items: Path,
    out: Path | None,
    about: DatasetInfo,
    columns: ColumnNames,
    *,
    options: EventOptions = _DEFAULT_OPTIONS,
    force: bool,
    on_event: OnEvent,
    on_note: OnNote = lambda _: None,
) -> Path:
    """Make a data set of two files or pipes, each a table that `open_source` reads; return its folder.

    `out` None is the folder of its name in `paths.datasets_path`. Events stay in the order of their file; `options` say
    which are left out.

    Raises:
        UsageError: a file, a column, a row or an option is invalid, or `out` exists and `force` is not set.
        CatalogError: no item has a title.
        DiskFullError, LockedError: no room, or another process is making the same folder; nothing has changed.
    """
    if not NAME.fullmatch(about.name):
        message = f"`name` must be up to 100 letters, digits, '.', '_' and '-', got {about.name!r}"
        raise UsageError(message)
    if not clean(about.licence):
        raise UsageError("a data set needs a `licence`", hint="give an SPDX expression, such as CC-BY-4.0")
    folder = paths.datasets_path() / about.name if out is None else out
    if (folder / CARD).is_file() and not force:
        raise UsageError(f"{folder} is a data set already", hint="replace it with `force`, or choose another `out`")
    require_other_file(folder, [interactions, items])
    with (
        as_file(interactions) as event_file,
        as_file(items) as item_file,
        creating_dataset(folder, force=force) as work,
    ):

        def named(note: str) -> None:
            """Call the copy of a pipe what it is a copy of."""
            for copy, path in ((event_file, interactions), (item_file, items)):
                note = note.replace(str(copy), str(STDIN if str(path) == "-" else path))
            on_note(note)

        write_dataset(work, event_file, item_file, about, columns, on_event, options, named)
    return folder


@contextmanager
def creating_dataset(out: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty hidden folder beside `out` that becomes `out` when the block succeeds, and is removed if it fails.

    Raises:
        UsageError: `out` exists and is not a data set, so it is not replaced.
    """
    out = out.absolute()
    is_dataset = (out / CARD).is_file()
    if os.path.lexists(out) and not is_dataset and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} exists and is not a data set", hint="choose another `out`")
    with path_errors(out), partial_folder(out, None) as work:
        yield work
        install(work, out, kept={CARD, CATALOG, INTERACTIONS}, replace=is_dataset and force)


def write_dataset(
    folder: Path,
    interactions: Path,
    items: Path,
    about: DatasetInfo,
    columns: ColumnNames,
    on_event: OnEvent,
    options: EventOptions = _DEFAULT_OPTIONS,
    on_note: OnNote = lambda _: None,
) -> None:
    """Write catalog, interactions and card into `folder`, the card last, and sync them to the disk."""
    options.check()
    # Before minutes of work: the file may be missing.
    source, at = open_events(interactions, {role: getattr(columns, role) for role in COLUMNS})
    built = _build_items(items, folder / CATALOG, about, columns, _shares("items", on_event))
    table, revision = read_items(folder / CATALOG)
    item_ids = [item.id for item in table]
    index = {item_id: i for i, item_id in enumerate(item_ids)}
    events = read_events(source, at, index, options, _shares("events", on_event))
    for note in (*_notes_of(items, built), *_unused(source, at), *events.notes):
        on_note(note)
    path = folder / INTERACTIONS
    _write(events, item_ids, path, _shares("write", on_event))
    card = {
        "schema": SCHEMA,
        "name": about.name,
        "title": about.title,
        "licence": about.licence,
        "terms": about.terms,
        "source": about.source or {"files": [_described(interactions), _described(items)]},
        "interactions": {
            "file": INTERACTIONS,
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
            "events": len(events.users),
            "users": len(events.user_ids),
            "items": len(np.unique(events.items)),
            "left_out": events.n_left_out,
            "rated": int(np.count_nonzero(~np.isnan(events.ratings))),
        },
        "catalog": {"file": CATALOG, "items": len(item_ids), "revision": revision},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in (CARD, INTERACTIONS):
        sync(folder / name)


def _build_items(
    items: Path, out: Path, about: DatasetInfo, columns: ColumnNames, on_share: Callable[[float], object]
) -> BuildReport:
    """Make the catalog of the items; hints name nothing that an import does not take."""
    try:
        return catalog_writer.build(
            items,
            out,
            title=columns.title,
            id=columns.id,
            year=columns.year,
            columns=columns.columns,
            table=columns.table,
            name=about.name,
            licence=about.licence,
            progress=on_share,
        )
    except UsageError as e:
        named = set(re.findall("`([a-z_]+)`", e.hint))
        known = {"title", "id", "year", "columns", "table"}
        hint = e.hint if named <= known else "correct the table of the items"
        raise UsageError(e.message, hint=hint) from e


def _notes_of(items: Path, built: BuildReport) -> Iterator[str]:
    if built.n_untitled:
        yield f"{items}: left out: {built.n_untitled:,} {'row' if built.n_untitled == 1 else 'rows'} without a title"
    for decision in built.decisions:
        yield f"{items}: {decision}"


def _unused(source: TableSource, at: EventColumns) -> Iterator[str]:
    if unused := at.not_used(source.columns):
        yield f"{source.path}: columns not used: {several(unused, most=_MAX_SHOWN, separator=', ')}"


def _described(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _write(events: Events, item_ids: Sequence[str], path: Path, on_share: Callable[[float], object]) -> None:
    """Write events as CSV, in their order."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # with CRLF it quotes ids that hold either of the two
        writer.writerow(COLUMNS)
        for start in range(0, len(events.users), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            # A float32 shown as itself, not as the nearest float64: 3.7, not 3.700000047683716.
            columns = (
                [events.user_ids[user] for user in events.users[part]],
                [item_ids[item] for item in events.items[part]],
                [_shown(time) for time in events.timestamps[part].tolist()],
                ["" if math.isnan(rating) else _shown(float(str(rating))) for rating in events.ratings[part]],
            )
            writer.writerows(zip(*columns, strict=True))
            on_share(start / len(events.users))


def _shown(number: float) -> str:
    """Return the shortest text that reads back as the number."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _shares(stage: str, on_event: OnEvent) -> Callable[[float], object]:
    return lambda share: on_event(stage, int(share * _PARTS), _PARTS)
