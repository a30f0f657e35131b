"""The story of a conversion: open, plan, write, quantize, verify, describe.

Every file appears whole in a hidden folder, which becomes the result when all of it is there; after a kill, a step
whose files are there is not repeated. Nothing here needs torch; the verification uses transformers where it finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from genrec_edge._version import __version__
from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.convert.hf_json import read_json
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.pipeline.check_inputs import check_inputs
from genrec_edge.convert.pipeline.documents import MANIFEST_NAME, make_manifest, write_documents
from genrec_edge.convert.pipeline.metadata import layers_to_keep
from genrec_edge.convert.pipeline.plan import ConversionJob, PreparedConversion, make_plan, merge_notes
from genrec_edge.convert.pipeline.steps import CHECKPOINT_NAME, ConversionRun
from genrec_edge.convert.verification import reference
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import file_identity, path_errors, require_free
from genrec_edge.storage.folders import install, partial_folder

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.verification.results import Verification

OnEvent = Callable[[str, int, int], object]
"""Told what is done, and how much of how much of it."""

_QUICK_BEYOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """What a conversion made: the folder, its files by file type, what was found, and its manifest."""

    out: Path
    files: dict[str, Path]
    verification: Verification | None
    manifest: dict[str, Any]


def prepare(job: ConversionJob, *, resume: bool = False) -> PreparedConversion:
    """Open the inputs of a job and plan it. Read-only.

    `resume` allows for a result that is there already.

    Raises:
        UsageError: the result exists, an option does not fit the base, or a file cannot be read.
        CatalogError: a catalog is none, or too small.
        ModelInvalidError: the base or an adapter is damaged, unsupported, or they do not fit each other.
    """
    with path_errors(job.base):
        if not (resume and (job.out / MANIFEST_NAME).is_file()):
            require_absent(job.out)
            check_inputs(job)
        base = open_base(job.base)
        job = replace(job, layers=layers_to_keep(job.layers, base, [path for path, _ in job.adapters]))
        if job.layers is not None:
            base = keep_layers(base, job.layers)
        adapters = tuple(read_adapter(path, base.config, weight=weight) for path, weight in job.adapters)
        checkpoint = merge_adapters(base, adapters) if adapters else base
    if job.verify is None:
        job = replace(job, verify="full" if checkpoint.n_params <= _QUICK_BEYOND else "quick")
    skip_reason = reference.skip_reason(checkpoint.n_params) if job.verify != "none" else "nothing is verified"
    copies = not skip_reason and not job.is_plain
    notes = merge_notes(base, checkpoint, job.quants) if adapters else ()
    plan = make_plan(job, checkpoint, adapters, copies=copies, notes=notes)
    return PreparedConversion(job, checkpoint, adapters, plan, skip_reason)


def convert(
    prepared: PreparedConversion, *, resume: bool = False, on_event: OnEvent = lambda *_: None
) -> ConversionResult:
    """Do a job. The folder `job.out` appears whole, or not at all.

    Raises:
        DiskFullError: there is no room, or not enough of it to begin.
        LockedError: another process makes the same folder.
        VerificationError: what was written is not what was meant; it stays in the hidden folder.
        UsageError: `resume`, and what was begun is another job; or the folder cannot be made.
    """
    if resume and (prepared.job.out / MANIFEST_NAME).is_file():
        return _finished(prepared)
    job, plan = prepared.job, prepared.plan
    identifier = _identity(prepared)
    with (
        path_errors(job.out),
        partial_folder(job.out, identifier, resume=resume) as folder,
        ConversionRun(prepared, folder, on_event) as steps,
    ):
        present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        require_free(folder, plan.peak_disk_bytes * 11 // 10 - present)
        for path in prepared.checkpoint.files:
            steps.hash(path)
        f16_path = steps.write_f16()
        checkpoint_path = steps.write_checkpoint()
        reports = steps.quantize(f16_path)
        verification = steps.verify(f16_path, checkpoint_path)
        manifest = make_manifest(steps, reports, _digest(identifier))
        kept = write_documents(steps, verification, manifest) | {steps.path(quant).name for quant in reports}
        install(folder, job.out, kept=kept | ({CHECKPOINT_NAME} if job.keep_checkpoint else set()))
    files = {quant: job.out / plan.files[quant] for quant in reports}
    return ConversionResult(job.out, files, verification, manifest)


def _finished(prepared: PreparedConversion) -> ConversionResult:
    """Return the result that is there, if this job made it; what its files consist of is in its manifest."""
    out = prepared.job.out
    manifest = read_json(out / MANIFEST_NAME)
    if manifest.get("job") != _digest(_identity(prepared)):
        raise UsageError(f"{out} was made by another job", hint="name another --out, or remove it")
    files = {entry["file_type"]: out / entry["file"] for entry in manifest["files"]}
    return ConversionResult(out, files, None, manifest)


def _identity(prepared: PreparedConversion) -> dict[str, Any]:
    """Return what decides the bytes of a job's files, without reading the base."""
    job = prepared.job
    return {
        "tool_version": __version__,
        "base": [file_identity(path) for path in prepared.checkpoint.files],
        "adapters": [[adapter.sha256, adapter.weight] for adapter in prepared.adapters],
        "layers": job.layers,
        "name": job.name,
        "license": job.licence,
        "quants": job.quants,
        "keep_f16": job.keep_f16,
        "keep_checkpoint": job.keep_checkpoint,
        "imatrix": None if job.imatrix is None else file_identity(job.imatrix),
    }


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
