"""Runs a conversion: open, plan, write, quantize, verify, describe.

Every file is written atomically in a hidden folder, which is renamed to the result at the end. A resumed run skips the
steps whose files exist. Nothing here needs torch; the verification uses transformers if it is installed.
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
from genrec_edge.convert.pipeline.naming import licence_note
from genrec_edge.convert.pipeline.plan import ConversionJob, PreparedConversion, make_plan, merge_notes
from genrec_edge.convert.pipeline.steps import CHECKPOINT_NAME, ConversionRun
from genrec_edge.convert.pipeline.training_record import layers_to_keep
from genrec_edge.convert.verification import reference
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import file_identity, path_errors, require_free
from genrec_edge.storage.folders import install, partial_folder

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.verification.results import Verification

OnEvent = Callable[[str, int, int], object]
"""Called with the name of the step, the finished and the total amount."""

_MAX_PARAMS_FULL = 1_000_000_000  # larger models are verified quickly by default


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """The result of a conversion: the folder, its files by file type, the verification, and the manifest."""

    out: Path
    files: dict[str, Path]
    verification: Verification | None
    manifest: dict[str, Any]


def prepare(job: ConversionJob, *, resume: bool = False) -> PreparedConversion:
    """Open the inputs of a job and plan it. Read-only.

    With `resume` the result may exist already.

    Raises:
        UsageError: the result exists, a field of the job does not match the base, or a file cannot be read.
        CatalogError: a file is not a catalog, or too small.
        ModelInvalidError: the base or an adapter is damaged or not supported, or they do not match.
    """
    with path_errors(job.base):
        if not (resume and (job.out / MANIFEST_NAME).is_file()):
            require_absent(job.out)
            check_inputs(job)
        base = open_base(job.base)
        job = replace(job, layers=layers_to_keep(job.layers, base, [path for path, _ in job.adapters]))
        if job.layers is not None:
            base = keep_layers(base, job.layers)
        adapters = tuple(read_adapter(path, base, weight=weight) for path, weight in job.adapters)
        checkpoint = merge_adapters(base, adapters) if adapters else base
    if job.verify is None:
        job = replace(job, verify="full" if checkpoint.n_params <= _MAX_PARAMS_FULL else "quick")
    skip_reason = "nothing is verified" if job.verify == "none" else reference.skip_reason(checkpoint.n_params)
    copies = not skip_reason and not job.is_plain
    terms = (licence_note(job.licence, path) for path, _weight in job.adapters if job.licence)
    merged = merge_notes(base, checkpoint, job.quants) if adapters else ()
    notes = (*base.notes, *merged, *filter(None, terms))
    plan = make_plan(job, checkpoint, adapters, copies=copies, compares=not skip_reason, notes=notes)
    return PreparedConversion(job, checkpoint, adapters, plan, skip_reason)


def convert(
    prepared: PreparedConversion, *, resume: bool = False, on_event: OnEvent = lambda *_: None
) -> ConversionResult:
    """Run a job. The folder `job.out` is created atomically.

    Raises:
        DiskFullError: the disk is full, or has too little space to begin.
        LockedError: another process is creating the same folder.
        VerificationError: the written files do not match the inputs; they stay in the hidden folder.
        UsageError: with `resume`, the unfinished run had another job; or the folder cannot be created.
    """
    if resume and (prepared.job.out / MANIFEST_NAME).is_file():
        return _finished(prepared)
    job, plan = prepared.job, prepared.plan
    identifier = _identity(prepared)
    with (
        path_errors(job.out),
        partial_folder(job.out, identifier, resume=resume) as folder,
        ConversionRun(prepared, folder, on_event) as run,
    ):
        present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        require_free(folder, plan.peak_disk_bytes * 11 // 10 - present)
        for path in prepared.checkpoint.files:
            run.hash(path)
        f16_path = run.write_f16()
        checkpoint_path = run.write_checkpoint()
        reports = run.quantize(f16_path)
        verification = run.verify(f16_path, checkpoint_path)
        manifest = make_manifest(run, reports, _digest(identifier))
        kept = write_documents(run, verification, manifest) | {run.path(quant).name for quant in reports}
        install(folder, job.out, kept=kept | ({CHECKPOINT_NAME} if job.keep_checkpoint else set()))
    files = {quant: job.out / plan.files[quant] for quant in reports}
    return ConversionResult(job.out, files, verification, manifest)


def _finished(prepared: PreparedConversion) -> ConversionResult:
    """Return the existing result of this job.

    Raises:
        UsageError: it is the result of another job.
    """
    out = prepared.job.out
    manifest = read_json(out / MANIFEST_NAME)
    if manifest.get("job") != _digest(_identity(prepared)):
        raise UsageError(f"{out} was made by another job", hint="give another `out`, or remove it")
    files = {entry["file_type"]: out / entry["file"] for entry in manifest["files"]}
    return ConversionResult(out, files, None, manifest)


def _identity(prepared: PreparedConversion) -> dict[str, Any]:
    """Return everything that the bytes of a job's files depend on, without reading the base."""
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
