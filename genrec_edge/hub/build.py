"""A model's folder out of a wheel on a package index: download, extract, check, make, describe.

Works in a given folder and knows nothing of the store around it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from genrec_edge._version import __version__
from genrec_edge.errors import EngineError, ModelInvalidError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.gguf.training_keys import prompt_version_in, score_kind_in
from genrec_edge.gguf.validate import check_runnable
from genrec_edge.hub.manifest import MANIFEST_NAME, Manifest, PackageSource, save_manifest
from genrec_edge.hub.registry import KnownModel
from genrec_edge.hub.wheel import download_wheel, extract_member
from genrec_edge.storage.files import require_free, sha256_file, sync

Make = Callable[[Path, Path, KnownModel], None]
"""Called with source, target and registry entry: makes the target, as the entry says, of the file from the wheel."""
OnEvent = Callable[[str, int, int], object]
"""Called with a stage ("wait", "download", "extract", "make", "hash") and how many of how many bytes are done; 0 of 0
in a stage that cannot be measured."""


def make_model(name: str, known: KnownModel, work: Path, make: Make, on_event: OnEvent) -> Path:
    """Make the folder of a known model below `work` and return it, every byte on the disk, manifest last.

    Raises:
        ModelInvalidError: the wheel, or the model made of it, is not what the registry describes.
        OfflineError: the package could not be downloaded.
        DiskFullError: the disk is full.
    """
    folder = work / "model"
    folder.mkdir()
    source_path, path = work / "source.gguf", folder / known.file
    on_event("download", 0, known.wheel_bytes)
    wheel_path = download_wheel(known, work, lambda done: on_event("download", done, known.wheel_bytes))
    extract_member(known, wheel_path, source_path, lambda done: on_event("extract", done, known.member_bytes))
    wheel_path.unlink()
    check_runnable(read_header(source_path))
    _make(source_path, path, known, make, on_event)
    source_path.unlink()
    save_manifest(_describe(name, known, path, on_event), folder / MANIFEST_NAME)
    sync(path)
    sync(folder)
    return folder


def _make(source: Path, target: Path, known: KnownModel, make: Make, on_event: OnEvent) -> None:
    on_event("make", 0, 0)
    try:
        make(source, target, known)
    except EngineError:
        # llama.cpp does not say why it stopped; a disk that became full meanwhile is the likely reason.
        target.unlink(missing_ok=True)
        require_free(target, known.file_bytes)
        raise


def _describe(name: str, known: KnownModel, path: Path, on_event: OnEvent) -> Manifest:
    header = read_header(path)
    check_runnable(header)
    if header.quant != known.quant:
        message = f"{path} has the type {header.quant} instead of {known.quant}"
        raise ModelInvalidError(message, hint="report this: the quantizer made another type than requested")
    done = 0

    def count(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        on_event("hash", done, header.file_size)

    return Manifest(
        name=name,
        file=path.name,
        size_bytes=header.file_size,
        sha256=sha256_file(path, count),
        architecture=header.architecture,
        quant=header.quant,
        n_params=header.n_params,
        licence=known.licence,
        base_model=known.base_model,
        source=PackageSource(
            package=known.package,
            version=known.version,
            wheel_sha256=known.wheel_sha256,
            member=known.member,
            member_sha256=known.member_sha256,
        ),
        tokenizer_fingerprint=tokenizer_fingerprint(header, path),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        score_kind=score_kind_in(header.metadata),
        prompt_version=prompt_version_in(header.metadata),
        notes=known.notes,
    )
