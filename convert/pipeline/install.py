"""Adds the files of a conversion to the model store, where they have the names of `store_names`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from genrec_edge._version import __version__
from genrec_edge.convert.pipeline.naming import base_name
from genrec_edge.convert.pipeline.plan import store_names
from genrec_edge.errors import ModelMissingError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.hub.manifest import Manifest
from genrec_edge.hub.store import ModelFile
from genrec_edge.serving.training_record import prompt_layout_of, score_kind_of
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.folders import locked_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.pipeline.plan import ConversionJob
    from genrec_edge.convert.pipeline.run import ConversionResult
    from genrec_edge.hub.store import ModelStore


def require_free_names(job: ConversionJob, store: ModelStore) -> None:
    """Raise UsageError if the store already has a model with a name that the job would use."""
    for name in store_names(job).values():
        store.require_absent(name)


def install(
    result: ConversionResult, job: ConversionJob, store: ModelStore, on_event: Callable[[str, int, int], object]
) -> list[str]:
    """Add each file type to the store and return the names. A model that the store has already is left unchanged.

    Raises:
        UsageError: the store has another model of that name.
        LockedError, DiskFullError, DiskError: see `ModelStore.add`.
    """
    with path_errors(store.root), locked_root(store.root, partial(on_event, "wait", 0, 0)):
        pass  # removes what a killed run left in the store
    digests = {entry["file_type"]: entry["sha256"] for entry in result.manifest["files"]}
    names = []
    for quant, name in store_names(job).items():
        manifest = _manifest(job, name, result.files[quant], quant, digests[quant])
        if not _is_installed(store, manifest):
            store.add(result.files[quant], manifest, on_event)
        names.append(name)
    return names


def _is_installed(store: ModelStore, manifest: Manifest) -> bool:
    try:
        return store.get(manifest.name)[1].sha256 == manifest.sha256
    except ModelMissingError:
        return False


def _manifest(job: ConversionJob, name: str, path: Path, quant: str, sha256: str) -> Manifest:
    header = read_header(path)
    return Manifest(
        name=name,
        file=path.name,
        size_bytes=header.file_size,
        sha256=sha256,
        architecture=header.architecture,
        quant=quant,
        n_params=header.n_params,
        licence=job.licence,
        base_model=base_name(job.base),
        source=None,
        tokenizer_fingerprint=tokenizer_fingerprint(header, path),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        score_kind=score_kind_of(ModelFile(path, None, header), None),
        prompt_version=prompt_layout_of(ModelFile(path, None, header), None),
        notes=" + ".join([f"converted from {base_name(job.base)}", *(path.name for path, _ in job.adapters)]),
    )
