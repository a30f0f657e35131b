"""The steps of a conversion that write files into its hidden folder. Each skips files that exist already."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.training_record import training_record
from genrec_edge.convert.quantization.imatrix import importance_matrix
from genrec_edge.convert.quantization.quantize import Fallback, QuantReport, quantize_file, report_on
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.run import verify
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import VerificationError
from genrec_edge.gguf.training_keys import RECORD_NAME
from genrec_edge.storage.files import atomic_write, sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from genrec_edge.convert.pipeline.plan import PreparedConversion
    from genrec_edge.convert.verification.results import Verification

    OnEvent = Callable[[str, int, int], object]

CHECKPOINT_NAME = "checkpoint"
SEED = 0

_MERGED = "merged"  # a checkpoint that only the verification needs
_IMATRIX_NAME = "imatrix.npz"
_IMATRIX_TOKENS = 20_000
_LEVELS: dict[str, dict[str, int]] = {"full": {}, "quick": {"n_titles": 100, "n_positions": 256, "n_histories": 3}}


class ConversionRun:
    """The steps of one conversion, in `folder`, which is locked for it.

    A context manager: files are hashed in a thread beside the other steps.
    """

    def __init__(self, prepared: PreparedConversion, folder: Path, on_event: OnEvent) -> None:
        self.prepared = prepared
        self.job = prepared.job
        self.folder = folder
        self.on_event = on_event
        self.n_threads = prepared.job.n_threads or os.cpu_count() or 1
        self._hasher = ThreadPoolExecutor(max_workers=1)
        self._hashes: dict[Path, Future[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hasher.shutdown(wait=kind is None, cancel_futures=True)

    def path(self, quant: str) -> Path:
        """Return the path of the file of this type."""
        return self.folder / self.prepared.plan.files[quant]

    def hash(self, path: Path) -> None:
        """Start hashing a file in the background."""
        self._hashes[path] = self._hasher.submit(sha256_file, path)

    def sha256(self, path: Path) -> str:
        """Return the sha256 of a file passed to `hash`; waits for it."""
        return self._hashes[path].result()

    def write_f16(self) -> Path:
        """Write the F16 file, from which the others are quantized."""
        path, checkpoint = self.path("F16"), self.prepared.checkpoint
        if not path.exists():
            metadata = model_metadata(checkpoint, self.prepared.adapters, self.job.name, self.job.licence)
            with atomic_write(path) as file:
                write_gguf(checkpoint, file, metadata, on_weights=self._counter("writing F16", checkpoint.n_params))
        return path

    def write_checkpoint(self) -> Path | None:
        """Write the merged checkpoint if it is needed, and return the folder that transformers loads, or None."""
        checkpoint = self.prepared.checkpoint
        if not self.job.keep_checkpoint:
            if self.prepared.skip_reason:
                return None
            if self.job.is_plain:
                return self.job.base
        folder = self.folder / (CHECKPOINT_NAME if self.job.keep_checkpoint else _MERGED)
        if not (folder / "config.json").exists():  # written last
            on_weights = self._counter("writing the checkpoint", checkpoint.n_params)
            if record := training_record(checkpoint, self.prepared.adapters):
                with atomic_write(folder / RECORD_NAME) as file:
                    file.write(json.dumps(record, indent=2, ensure_ascii=False).encode())
            write_folder(checkpoint, folder, "F16" if self.job.keep_checkpoint else "F32", on_weights=on_weights)
        return folder

    def quantize(self, f16_path: Path) -> dict[str, QuantReport]:
        """Write the quantized files, start hashing them, and return a report for each file of the result."""
        reports: dict[str, QuantReport] = {}
        imatrix = None
        kept_f16 = ("F16",) if self.job.keep_f16 else ()
        for quant in dict.fromkeys((*kept_f16, *self.job.quants)):
            report_path = self.folder / f"{quant}.json"
            if not report_path.exists():
                if imatrix is None and self.job.imatrix is not None and quant != "F16":
                    imatrix = self._importance_matrix(f16_path, self.job.imatrix)
                report = self._quantize_one(f16_path, quant, imatrix)
                with atomic_write(report_path) as file:
                    file.write(json.dumps(asdict(report)).encode())
            reports[quant] = _read_report(report_path)
            self.hash(self.path(quant))
        return reports

    def _quantize_one(self, f16_path: Path, quant: str, imatrix: dict[str, np.ndarray] | None) -> QuantReport:
        if quant == "F16":
            return report_on(f16_path, quant)
        return quantize_file(
            f16_path,
            self.path(quant),
            quant,
            imatrix=imatrix,
            n_threads=self.n_threads,
            on_progress=partial(self.on_event, f"quantizing {quant}"),
        )

    def _importance_matrix(self, f16_path: Path, catalog_path: Path) -> dict[str, np.ndarray]:
        path = self.folder / _IMATRIX_NAME
        if not path.exists():
            with Catalog.open(catalog_path) as catalog, closing(Model(f16_path, vocab_only=True)) as model:
                prompts = samples.draw_sequences(model, catalog, _IMATRIX_TOKENS, SEED + 1)
            on_progress = partial(self.on_event, "weighing")
            imatrix = importance_matrix(f16_path, prompts.token_ids, n_threads=self.n_threads, on_progress=on_progress)
            with atomic_write(path) as file:
                np.savez(file, allow_pickle=False, **imatrix)
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    def verify(self, f16_path: Path, checkpoint_path: Path | None) -> Verification | None:
        """Verify the files as `job.verify` says; return None for "none".

        Raises:
            VerificationError: a file does not match the inputs.
        """
        job = self.job
        if job.verify is None or job.verify == "none" or job.catalog is None:
            return None
        verification = verify(
            f16_path,
            [self.path(quant) for quant in job.quants],
            checkpoint=None if self.prepared.skip_reason else checkpoint_path,
            tokenizer=job.base if job.base.is_dir() else None,
            catalog=job.catalog,
            test=job.test,
            n_threads=self.n_threads,
            seed=SEED,
            on_progress=self.on_event,
            **_LEVELS[job.verify],
        )
        if verification.problems:
            message = f"the converted model failed its verification: {'; '.join(verification.problems)}"
            raise VerificationError(message, hint=f"please report this; the files are in {self.folder}")
        return verification

    def _counter(self, step: str, total: int) -> Callable[[int], None]:
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            self.on_event(step, done, total)

        return count


def _read_report(path: Path) -> QuantReport:
    document: dict[str, Any] = json.loads(path.read_bytes())
    types = {name: (n, n_bytes) for name, (n, n_bytes) in document.pop("types").items()}
    fallbacks = tuple(Fallback(**fallback) for fallback in document.pop("fallbacks"))
    return QuantReport(**document, types=types, fallbacks=fallbacks)
