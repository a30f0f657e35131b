"""A data set of files that belong to this project: in the installed package, or in a checkout of it. No network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge.datasets import goodbooks, movietweetings
from genrec_edge.errors import DatasetError, UsageError
from genrec_edge.storage.files import path_errors, sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genrec_edge.datasets.source_files import SourceTables
    from genrec_edge.hub.registry import FolderSource

_ROOT = Path(__file__).parents[2]
"""Holds `genrec_edge/`: a checkout, or the folder that the package was installed into."""
_TABLES: Mapping[str, Callable[[Path, Path], SourceTables]] = {
    "movietweetings": movietweetings.tables,
    "goodbooks": goodbooks.tables,
}
_OTHER_FILES: Mapping[str, Callable[[], tuple[Path, ...]]] = {"movietweetings": movietweetings.other_files}


def find(name: str, source: FolderSource, folder: Path | None) -> Path:
    """Return the folder with the files of a data set, each checked: `folder`, or None for its place in the project.

    Raises:
        UsageError: the files are not part of this installation, or not in `folder`.
        DatasetError: a file differs from what the registry says.
    """
    place = _ROOT / source.folder if folder is None else folder
    missing = [file.name for file in source.files if not (place / file.name).is_file()]
    if missing and (source.ships or folder is not None):
        message = f"{place} does not have {' and '.join(missing)}, which {name} is made of"
        hint = "install the package again" if folder is None else f"name `{source.folder}` of a checkout"
        raise UsageError(message, hint=hint)
    if missing:
        message = f"the files of {name} are not part of the installed package"
        where = f"they are in {source.folder}/ of the source code; name that folder with `from`"
        raise UsageError(message, hint=where)
    for file in source.files:
        path = place / file.name
        with path_errors(path):
            sha256 = sha256_file(path)
        if sha256 != file.sha256:
            message = f"{path} has the sha256 {sha256}, and {name} is made of the file with {file.sha256}"
            hint = f"take the file as it is in {source.folder}/ of this version's source code"
            raise DatasetError(message, hint="install the package again" if source.ships and folder is None else hint)
    return place


def tables(source: FolderSource, folder: Path, work: Path) -> SourceTables:
    """Return the tables of the files that `find` found; what has to be written goes to `work`."""
    return _TABLES[source.reader](folder, work)


def described(source: FolderSource) -> dict[str, Any]:
    """Return what the card of the data set says about its source."""
    files = [{"name": file.name, "bytes": file.n_bytes, "sha256": file.sha256} for file in source.files]
    others = _OTHER_FILES.get(source.reader, tuple)()
    files += [{"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in others]
    return {"files": files}


def changed_files(source: FolderSource, card: Mapping[str, Any]) -> list[str]:
    """Return the names of the files that are not those any more which the data set with this card was made of."""
    made_of = card.get("source")
    files = made_of.get("files") if isinstance(made_of, dict) else None
    return [file["name"] for file in described(source)["files"] if not isinstance(files, list) or file not in files]
