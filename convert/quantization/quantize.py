"""Quantizes a GGUF with llama.cpp's quantizer; checks the request before and the file afterwards.

Knows files and their headers. How an importance matrix is computed is in `imatrix.py`.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genrec_edge.engine.bindings import FILE_TYPES, quantize
from genrec_edge.errors import EngineError, ModelInvalidError, UsageError, several
from genrec_edge.gguf.header import GgufHeader, TensorInfo, read_header
from genrec_edge.gguf.types import GGML_TYPES
from genrec_edge.gguf.validate import check_runnable
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Imatrix = Mapping[str, NDArray[np.float32]]
    OnProgress = Callable[[int, int], object]

NEEDS_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"})
"""File types that llama.cpp writes only with an importance matrix (tensor_requires_imatrix, src/llama-quant.cpp)."""

_BLOCK_ELEMENTS = {kind.name: kind.block_elements for kind in GGML_TYPES.values()}
_BASE = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S"}
"""Source: llama_ftype_get_default_type, src/llama-quant.cpp (llama.cpp 0c1e57098)."""
_NEVER_NEED_IMATRIX = frozenset({"token_embd.weight", "output.weight"})
_TENSOR_LINE = re.compile(r"^\[ *(?P<number>\d+)/ *(?P<total>\d+)\]")
_FALLBACK_LINE = re.compile(r"^warning: (?P<tensor>\S+) +- ncols .*required for type +(?P<wanted>\w+)\)")
_POLL_S = 0.1
_PROBE_BYTES = 1 << 20
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor with the type `got`, not `wanted` as the file type requires: its rows do not divide into blocks."""

    tensor: str
    wanted: str
    got: str
    row_length: int

    @property
    def reason(self) -> str:
        """The reason, such as "row length 576 is not a multiple of 256"."""
        return f"row length {self.row_length} is not a multiple of {_BLOCK_ELEMENTS[self.wanted]}"


@dataclass(frozen=True, slots=True)
class QuantReport:
    """The composition of a quantized file.

    Attributes:
        file_type: the requested type.
        bits_per_weight: of the tensors, without the header.
        types: number of tensors and their bytes, by tensor type.
        fallbacks: the tensors with another type than the file type requires.
    """

    file_type: str
    size_bytes: int
    bits_per_weight: float
    types: Mapping[str, tuple[int, int]]
    fallbacks: tuple[Fallback, ...]

    @property
    def summary(self) -> list[str]:
        """The fallbacks, a sentence for each kind."""
        kinds = Counter((fallback.wanted, fallback.got, fallback.reason) for fallback in self.fallbacks)
        sentences = []
        for (wanted, got, reason), n_tensors in kinds.items():
            noun = "tensor" if n_tensors == 1 else "tensors"
            sentences.append(f"{n_tensors} {noun} {got} instead of {wanted}: {reason}")
        return sentences


def quantize_file(
    source: Path,
    target: Path,
    file_type: str,
    *,
    imatrix: Imatrix | None = None,
    n_threads: int | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> QuantReport:
    """Write `target` as `source` quantized to `file_type`; the bytes do not depend on the number of threads.

    `target` is replaced atomically. The quantizer's buffers stay below 512 MiB; the source is mapped. A tensor that has
    the right type already is copied. llama.cpp cannot be stopped: an exception raised by `on_progress`, or Ctrl-C, ends
    the call at once and removes the file, while the thread of the library runs until it is done or the process ends.

    Args:
        source: a GGUF of any types, best of the unquantized weights.
        target: the file to write; may be `source`.
        file_type: one of `engine.bindings.FILE_TYPES`, such as "Q4_K_M".
        imatrix: by tensor, the mean square of each column's input, (row length,) float32; see
            `imatrix.importance_matrix`.
        n_threads: None uses all CPUs.
        on_progress: called with the number of quantized tensors and of all.

    Raises:
        UsageError: `file_type` is unknown or needs `imatrix`, `imatrix` does not match the model, or the folder cannot
            be written.
        ModelInvalidError: the source is not a supported model.
        DiskFullError: the disk is full.
        EngineError: the quantizer failed.
    """
    before = read_header(source)
    check_runnable(before)
    _check_request(before, file_type, imatrix)
    log = _QuantizerLog()
    values = None if imatrix is None else {name: _above_zero(column) for name, column in imatrix.items()}

    def work() -> None:
        quantize(source, part_path, file_type, n_threads=n_threads, imatrix=values, on_line=log.read)

    try:
        with atomic_write(target) as file:
            part_path = Path(file.name)
            try:
                _run_in_thread(work, log, on_progress)
                after = _checked_result(part_path, before, file_type)
            except EngineError:
                _raise_disk_error(file)
                raise
    except OSError as e:
        raise UsageError(
            f"{target} cannot be written: {e.strerror}", hint="check the folder and its permissions"
        ) from e
    on_progress(len(after.tensors), len(after.tensors))
    return _report(after, file_type, log.wanted)


def base_type(file_type: str) -> str:
    """Return the tensor type that a file type is named after: "Q4_K" for "Q4_K_M"."""
    return _BASE.get(file_type, re.sub("_K_[SML]$", "_K", file_type))


def report_on(path: Path, file_type: str) -> QuantReport:
    """Return the report of a GGUF that was written without the quantizer. Read-only."""
    return _report(read_header(path), file_type, {})


class _QuantizerLog:
    """Parses the log of the quantizer: its progress, and tensors whose type did not fit."""

    def __init__(self) -> None:
        self.progress = (0, 0)
        self.wanted: dict[str, str] = {}

    def read(self, line: str) -> None:
        if match := _TENSOR_LINE.match(line):
            self.progress = (int(match["number"]) - 1, int(match["total"]))
        elif match := _FALLBACK_LINE.match(line):
            self.wanted[match["tensor"]] = match["wanted"].upper()


def _check_request(header: GgufHeader, file_type: str, imatrix: Imatrix | None) -> None:
    if file_type not in FILE_TYPES:
        raise UsageError(f"unknown quantization {file_type!r}", hint=f"choose one of {', '.join(FILE_TYPES)}")
    if imatrix is None:
        if file_type in NEEDS_IMATRIX:
            raise UsageError(
                f"{file_type} needs an importance matrix", hint="give `imatrix`, or choose Q4_0 or a larger type"
            )
        return
    problems = list(_imatrix_problems(header, imatrix, complete=file_type in NEEDS_IMATRIX))
    if problems:
        raise UsageError(
            f"the importance matrix does not match {header.path}: {several(problems, most=_MAX_SHOWN)}",
            hint="compute it with this model",
        )


def _imatrix_problems(header: GgufHeader, imatrix: Imatrix, *, complete: bool) -> Iterator[str]:
    matrices = {tensor.name: tensor for tensor in header.tensors if len(tensor.shape) > 1}
    for name, values in imatrix.items():
        if name not in matrices:
            yield f"{name} is not a matrix of the model"
        elif values.shape != matrices[name].shape[:1]:
            yield f"{name} has values of shape {values.shape}, expected ({matrices[name].shape[0]},)"
        elif not (np.isfinite(values).all() and (values >= 0).all()):
            yield f"{name} has values that are negative or not finite"
    if complete:
        yield from (f"{name} is missing" for name in matrices.keys() - imatrix.keys() - _NEVER_NEED_IMATRIX)


def _above_zero(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values raised to a small positive minimum: with zeros alone llama.cpp would lose a block's weights."""
    floor = max(float(values.mean()) * 1e-6, 1e-12)
    return np.ascontiguousarray(np.maximum(values, floor), np.float32)


def _run_in_thread(work: Callable[[], None], log: _QuantizerLog, on_progress: OnProgress) -> None:
    """Run `work` in a thread and report its progress: in a callback of the library Ctrl-C would be lost."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as e:  # raised again below
            failures.append(e)

    thread = threading.Thread(target=run, name="quantizer", daemon=True)
    thread.start()
    reported = log.progress
    while thread.is_alive():
        thread.join(_POLL_S)
        if log.progress != reported:
            reported = log.progress
            on_progress(*reported)
    if failures:
        raise failures[0]


def _checked_result(path: Path, before: GgufHeader, file_type: str) -> GgufHeader:
    try:
        header = read_header(path)
        check_runnable(header)
    except ModelInvalidError as e:  # llama.cpp writes the header last, and ignores errors there
        raise EngineError(f"llama.cpp wrote a damaged file: {e.message}", hint="check the disk, and try again") from e
    shapes, expected = ({t.name: t.shape for t in h.tensors} for h in (header, before))
    if header.quant != file_type or shapes != expected:
        message = f"llama.cpp wrote {header.quant} or other tensors when it quantized {before.path} to {file_type}"
        raise EngineError(message, hint="please report this")
    return header


def _raise_disk_error(file: BinaryIO) -> None:
    """Write more to a file that the quantizer could not finish, to get the system's error, which llama.cpp hides.

    Raises:
        OSError: the disk is full or failing.
    """
    file.seek(0, os.SEEK_END)
    file.write(bytes(_PROBE_BYTES))
    file.flush()
    os.fsync(file.fileno())


def _report(header: GgufHeader, file_type: str, wanted: Mapping[str, str]) -> QuantReport:
    types: dict[str, tuple[int, int]] = {}
    for tensor in header.tensors:
        count, n_bytes = types.get(tensor.type, (0, 0))
        types[tensor.type] = (count + 1, n_bytes + tensor.n_bytes)
    n_bits = 8 * sum(tensor.n_bytes for tensor in header.tensors)
    fallbacks = [_fallback(tensor, file_type, wanted) for tensor in header.tensors]
    return QuantReport(file_type, header.file_size, n_bits / header.n_params, types, tuple(filter(None, fallbacks)))


def _fallback(tensor: TensorInfo, file_type: str, wanted: Mapping[str, str]) -> Fallback | None:
    """Return the fallback of a tensor, or None if it has the type that the file type requires.

    The quantizer logs fallbacks, except for an output matrix, which becomes Q8_0 silently. The type in the file alone
    does not show one: a mixture gives some tensors more bits than the base type.
    """
    row_length = tensor.shape[0]
    required = wanted.get(tensor.name, base_type(file_type))
    if len(tensor.shape) < 2 or tensor.type == "F32" or not row_length % _BLOCK_ELEMENTS[required]:
        return None
    return Fallback(tensor.name, required, tensor.type, row_length)
