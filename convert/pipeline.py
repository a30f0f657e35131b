"""The story of a conversion: open, plan, write, quantize, verify, describe.

Every file appears whole in a hidden folder, which becomes the result when all of it is there; after a kill, a step
whose files are there is not repeated. Nothing here needs torch; the verification uses transformers where it finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge import __version__
from genrec_edge.catalog import Catalog
from genrec_edge.convert import parity, samples
from genrec_edge.convert.adapter import read_adapter
from genrec_edge.convert.card import card
from genrec_edge.convert.config_hf import read_json
from genrec_edge.convert.depth import keep_layers, shown_layers
from genrec_edge.convert.folder_writer import write_folder
from genrec_edge.convert.gguf_writer import write_gguf
from genrec_edge.convert.imatrix import importance
from genrec_edge.convert.merge import merged
from genrec_edge.convert.open_base import open_base, require_absent
from genrec_edge.convert.plan import Job, Plan, make_plan
from genrec_edge.convert.provenance import base_name, describe, training
from genrec_edge.convert.quantize import Fallback, QuantReport, examine, quantize_file
from genrec_edge.convert.verify import verify
from genrec_edge.convert.workplace import finish, identity, workplace
from genrec_edge.errors import UsageError, VerificationError
from genrec_edge.files import atomic_write, require_free, sha256_file
from genrec_edge.llama import Model

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.adapter import Adapter
    from genrec_edge.convert.checkpoint import Checkpoint
    from genrec_edge.convert.verification import Verification

OnEvent = Callable[[str, int, int], object]
"""Told what is done, and how much of how much of it."""

MANIFEST_NAME = "manifest.json"
SCHEMA = "genrec-edge/conversion@1"
CHECKPOINT_NAME = "checkpoint"
SEED = 0

_IMATRIX_NAME = "imatrix.npz"
_IMATRIX_TOKENS = 20_000
_TEMPORARY = "merged"  # the checkpoint that only the verification needs
_QUICK_BEYOND = 1_000_000_000
_LEVELS: dict[str, dict[str, int]] = {"full": {}, "quick": {"n_titles": 100, "n_positions": 256, "n_histories": 3}}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose inputs are open and fit together; nothing has been written."""

    job: Job
    checkpoint: Checkpoint
    adapters: tuple[Adapter, ...]
    plan: Plan
    compares: str
    """Why transformers will not be compared with; empty where it will."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made: the folder, its files by file type, what they consist of, and what was found."""

    out: Path
    files: dict[str, Path]
    reports: dict[str, QuantReport]
    verification: Verification | None
    manifest: dict[str, Any]


def prepare(job: Job, *, resume: bool = False) -> Prepared:
    """Open the inputs of a job and plan it. Read-only.

    `resume` allows for a result that is there already.

    Raises:
        UsageError: the result exists, or an option does not fit the base.
        ModelInvalidError: the base or an adapter is damaged, unsupported, or they do not fit each other.
    """
    if not (resume and (job.out / MANIFEST_NAME).is_file()):
        require_absent(job.out)
    base = open_base(job.base)
    if job.layers is not None:
        base = keep_layers(base, job.layers)
    adapters = tuple(read_adapter(path, base.config, weight=weight) for path, weight in job.adapters)
    checkpoint = merged(base, adapters) if adapters else base
    if job.verify is None:
        job = replace(job, verify="full" if checkpoint.n_params <= _QUICK_BEYOND else "quick")
    compares = parity.obstacle(checkpoint.n_params) if job.verify != "none" else "nothing is verified"
    writes = not compares and not (checkpoint is base and job.base.is_dir())
    plan = make_plan(job, checkpoint, adapters, compares=writes)
    return Prepared(job, checkpoint, adapters, plan, compares)


def convert(prepared: Prepared, *, resume: bool = False, on_event: OnEvent = lambda *_: None) -> Outcome:
    """Do a job. The folder `job.out` appears whole, or not at all.

    Raises:
        DiskFullError: there is no room, or not enough of it to begin.
        LockedError: another process makes the same folder.
        VerificationError: what was written is not what was meant; it stays in the hidden folder.
        UsageError: `resume`, and what was begun is another job.
    """
    if resume and (prepared.job.out / MANIFEST_NAME).is_file():
        return _finished(prepared)
    return _Work(prepared, resume=resume, on_event=on_event).run()


class _Work:
    """One conversion under way; `folder` is the hidden one."""

    def __init__(self, prepared: Prepared, *, resume: bool, on_event: OnEvent) -> None:
        self.prepared = prepared
        self.job = prepared.job
        self.resume = resume
        self.on_event = on_event
        self.n_threads = prepared.job.n_threads or os.cpu_count() or 1
        self.identity = _identity(prepared)
        self.hashes: dict[Path, Future[str]] = {}

    def run(self) -> Outcome:
        with (
            workplace(self.job.out, self.identity, resume=self.resume) as self.folder,
            ThreadPoolExecutor(max_workers=1) as self.hasher,
        ):
            try:
                return self._steps()
            except BaseException:
                self.hasher.shutdown(wait=False, cancel_futures=True)
                raise

    def _steps(self) -> Outcome:
        present = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        require_free(self.folder, self.prepared.plan.peak_disk_bytes * 11 // 10 - present)
        for path in self.prepared.checkpoint.files:
            self._hash(path)
        f16_path = self._write_f16()
        checkpoint_path = self._write_checkpoint()
        reports = self._quantize(f16_path)
        for quant in reports:
            self._hash(self.path(quant))
        verification = self._verify(f16_path, checkpoint_path)
        manifest = self._manifest(reports)
        self._describe(verification, manifest)
        kept = {MANIFEST_NAME, "README.md", *(self.path(quant).name for quant in reports)}
        kept |= {"report.json", "report.png"} if verification is not None else set()
        kept |= {CHECKPOINT_NAME} if self.job.keep_checkpoint else set()
        finish(self.folder, self.job.out, kept)
        files = {quant: self.job.out / self.path(quant).name for quant in reports}
        return Outcome(self.job.out, files, reports, verification, manifest)

    def path(self, quant: str) -> Path:
        return self.folder / self.prepared.plan.files[quant]

    def _hash(self, path: Path) -> None:
        self.hashes[path] = self.hasher.submit(sha256_file, path)

    def _write_f16(self) -> Path:
        path, checkpoint = self.path("F16"), self.prepared.checkpoint
        if not path.exists():
            metadata = describe(checkpoint, self.prepared.adapters, self.job.name, self.job.licence)
            with atomic_write(path) as file:
                write_gguf(checkpoint, file, metadata, on_weights=self._counter("writing F16", checkpoint.n_params))
        return path

    def _write_checkpoint(self) -> Path | None:
        """Write the merged checkpoint where it is wanted, and return where transformers finds one."""
        checkpoint = self.prepared.checkpoint
        compares = not self.prepared.compares
        if not self.job.keep_checkpoint and compares and self._is_base():
            return self.job.base
        if not self.job.keep_checkpoint and not compares:
            return None
        folder = self.folder / (CHECKPOINT_NAME if self.job.keep_checkpoint else _TEMPORARY)
        if not (folder / "config.json").exists():  # which is written last
            on_weights = self._counter("writing the checkpoint", checkpoint.n_params)
            write_folder(checkpoint, folder, "F16" if self.job.keep_checkpoint else "F32", on_weights=on_weights)
        return folder

    def _is_base(self) -> bool:
        return self.job.base.is_dir() and not self.job.adapters and self.job.layers is None

    def _quantize(self, f16_path: Path) -> dict[str, QuantReport]:
        reports: dict[str, QuantReport] = {}
        imatrix = None
        for quant in dict.fromkeys((*(("F16",) if self.job.keep_f16 else ()), *self.job.quants)):
            record = self.folder / f"{quant}.json"
            if not record.exists():
                if imatrix is None and self.job.imatrix is not None and quant != "F16":
                    imatrix = self._importance(f16_path, self.job.imatrix)
                done = self._quantize_one(f16_path, quant, imatrix)
                with atomic_write(record) as file:
                    file.write(json.dumps(asdict(done)).encode())
            reports[quant] = _report(json.loads(record.read_bytes()))
        return reports

    def _quantize_one(self, f16_path: Path, quant: str, imatrix: dict[str, np.ndarray] | None) -> QuantReport:
        if quant == "F16":
            return examine(f16_path, quant)
        return quantize_file(
            f16_path,
            self.path(quant),
            quant,
            imatrix=imatrix,
            n_threads=self.n_threads,
            on_progress=partial(self.on_event, f"quantizing {quant}"),
        )

    def _importance(self, f16_path: Path, catalog_path: Path) -> dict[str, np.ndarray]:
        path = self.folder / _IMATRIX_NAME
        if not path.exists():
            with Catalog.open(catalog_path) as catalog, closing(Model(f16_path, vocab_only=True)) as model:
                drawn = samples.draw_sequences(model, catalog, _IMATRIX_TOKENS, SEED + 1)
            on_progress = partial(self.on_event, "weighing")
            found = importance(f16_path, drawn.token_ids, n_threads=self.n_threads, on_progress=on_progress)
            with atomic_write(path) as file:
                np.savez(file, allow_pickle=False, **found)
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    def _verify(self, f16_path: Path, checkpoint_path: Path | None) -> Verification | None:
        job = self.job
        if job.verify is None or job.verify == "none":
            return None
        found = verify(
            f16_path,
            [self.path(quant) for quant in job.quants],
            checkpoint=None if self.prepared.compares else checkpoint_path,
            tokenizer=job.base if job.base.is_dir() else None,
            catalog=job.catalog,
            test=job.test,
            n_threads=self.n_threads,
            seed=SEED,
            on_progress=self.on_event,
            **_LEVELS[job.verify],
        )
        if found.problems:
            message = f"the converted model is not the one that was meant: {'; '.join(found.problems)}"
            raise VerificationError(message, hint=f"please report this; the files are in {self.folder}")
        return found

    def _manifest(self, reports: dict[str, QuantReport]) -> dict[str, Any]:
        prepared, job = self.prepared, self.job
        self.on_event("hashing", 0, 0)
        return {
            "schema": SCHEMA,
            "job": _digest(self.identity),
            "tool_version": __version__,
            "name": job.name,
            "license": job.licence,
            "base": {path.name: self.hashes[path].result() for path in prepared.checkpoint.files},
            "layers": shown_layers(prepared.checkpoint.config.layers),
            "adapters": [
                {"name": a.path.resolve().name, "sha256": a.sha256, "weight": a.weight} for a in prepared.adapters
            ],
            "files": [
                {"file": self.path(quant).name, "sha256": self.hashes[self.path(quant)].result(), **asdict(report)}
                for quant, report in reports.items()
            ],
        }

    def _describe(self, verification: Verification | None, manifest: dict[str, Any]) -> None:
        if verification is not None:
            from genrec_edge.convert.plot import draw  # noqa: PLC0415 - matplotlib takes a second to load
            from genrec_edge.convert.report import write_report  # noqa: PLC0415

            write_report(self.folder / "report.json", verification, manifest)
            draw(self.folder / "report.png", verification, name=self.job.name)
        with atomic_write(self.folder / "README.md") as file:
            file.write(self._card(verification, manifest).encode())
        with atomic_write(self.folder / MANIFEST_NAME) as file:
            file.write(json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")
        shutil.rmtree(self.folder / _TEMPORARY, ignore_errors=True)

    def _card(self, verification: Verification | None, manifest: dict[str, Any]) -> str:
        checkpoint, job = self.prepared.checkpoint, self.job
        record = training(checkpoint, self.prepared.adapters)
        layers = manifest["layers"] if job.layers is not None else ""
        return card(
            name=job.name,
            licence=job.licence,
            base_model=base_name(job.base),
            files={entry["file"]: entry["sha256"] for entry in manifest["files"]},
            verification=verification,
            adapters=[adapter.path.resolve().name for adapter in self.prepared.adapters],
            layers=f"{layers} of {checkpoint.config.original_layers}" if layers else "",
            datasets=[str(record["data"])] if "data" in record else [],
            training=record,
        )

    def _counter(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            self.on_event(what, done, total)

        return count


def _finished(prepared: Prepared) -> Outcome:
    """Return the result that is there, if this job made it."""
    out = prepared.job.out
    manifest = read_json(out / MANIFEST_NAME)
    if manifest.get("job") != _digest(_identity(prepared)):
        raise UsageError(f"{out} was made by another job", hint="name another --out, or remove it")
    reports = {}
    for entry in manifest["files"]:
        figures = {key: value for key, value in entry.items() if key not in ("file", "sha256")}
        reports[entry["file_type"]] = _report(figures)
    files = {quant: out / prepared.plan.files[quant] for quant in reports}
    return Outcome(out, files, reports, None, manifest)


def _identity(prepared: Prepared) -> dict[str, Any]:
    """Return what decides the bytes of a job's files, without reading the base."""
    job = prepared.job
    return {
        "tool_version": __version__,
        "base": [identity(path) for path in prepared.checkpoint.files],
        "adapters": [[adapter.sha256, adapter.weight] for adapter in prepared.adapters],
        "layers": job.layers,
        "name": job.name,
        "license": job.licence,
        "quants": job.quants,
        "keep_f16": job.keep_f16,
        "keep_checkpoint": job.keep_checkpoint,
        "imatrix": None if job.imatrix is None else identity(job.imatrix),
    }


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _report(document: dict[str, Any]) -> QuantReport:
    types = {name: (n, n_bytes) for name, (n, n_bytes) in document.pop("types").items()}
    fallbacks = tuple(Fallback(**fallback) for fallback in document.pop("fallbacks"))
    return QuantReport(**document, types=types, fallbacks=fallbacks)
