"""Quantizing a GGUF with llama.cpp's own quantizer: refused early, watched, checked afterwards, whole or absent.

Knows files and their headers; what the numbers of an importance matrix mean is `imatrix.py`'s matter.
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
"""Types llama.cpp refuses to write without an importance matrix (tensor_requires_imatrix, src/llama-quant.cpp)."""

_BLOCK = {kind.name: kind.block_elements for kind in GGML_TYPES.values()}
_BASE = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S"}
"""Source: llama_ftype_get_default_type, src/llama-quant.cpp (llama.cpp 0c1e57098)."""
_FREE = frozenset({"token_embd.weight", "output.weight"})  # these never need an importance matrix
_TENSOR_LINE = re.compile(r"^\[ *(?P<number>\d+)/ *(?P<total>\d+)\]")
_FALLBACK_LINE = re.compile(r"^warning: (?P<tensor>\S+) +- ncols .*required for type +(?P<wanted>\w+)\)")
_POLL_S = 0.1
_PROBE_BYTES = 1 << 20
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor that got another type than the file type asks for, because its rows do not divide into blocks."""

    tensor: str
    wanted: str
    got: str
    row_length: int

    @property
    def reason(self) -> str:
        """Why: "rows of 576 are no multiple of 256"."""
        return f"rows of {self.row_length} are no multiple of {_BLOCK[self.wanted]}"


@dataclass(frozen=True, slots=True)
class QuantReport:
    """What a quantized file consists of.

    Attributes:
        file_type: as asked for.
        bits_per_weight: of the tensors, without the header.
        types: by tensor type, how many tensors have it and how many bytes they take.
        fallbacks: empty where every tensor has a type that the file type asks for.
    """

    file_type: str
    size_bytes: int
    bits_per_weight: float
    types: Mapping[str, tuple[int, int]]
    fallbacks: tuple[Fallback, ...]

    @property
    def summary(self) -> list[str]:
        """The fallbacks, a sentence for each kind of them."""
        kinds = Counter((found.wanted, found.got, found.reason) for found in self.fallbacks)
        return [
            f"{n} tensor{'s' if n > 1 else ''} {got} instead of {wanted}: {reason}"
            for (wanted, got, reason), n in kinds.items()
        ]


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

    `target` appears whole or not at all. The quantizer's own buffers stay below 512 MiB; the source is mapped. A
    tensor that has its type already is copied. llama.cpp cannot be stopped: an exception raised by `on_progress`, or
    Ctrl-C, ends the call at once and removes the file, while a thread of the library works on until it is done or the
    process ends.

    Args:
        source: a GGUF of any types; the fewer bits it has, the more is lost already.
        target: where the result belongs; may be `source`.
        file_type: one of `llama.FILE_TYPES`, such as "Q4_K_M".
        imatrix: by tensor, the mean square of each column's input, (row length,) float32; see
            `imatrix.importance_matrix`.
        n_threads: None takes all CPUs.
        on_progress: told how many tensors of how many are done.

    Raises:
        UsageError: an unknown file type, one that needs an importance matrix, a matrix that does not fit the model, or
            a folder that cannot be written.
        ModelInvalidError: the source is no model this product runs.
        DiskFullError: there is no room.
        EngineError: the quantizer failed.
    """
    before = read_header(source)
    check_runnable(before)
    _check_request(before, file_type, imatrix)
    log = _Log()
    values = None if imatrix is None else {name: _positive(column) for name, column in imatrix.items()}

    def work() -> None:
        quantize(source, part_path, file_type, n_threads=n_threads, imatrix=values, on_line=log.read)

    try:
        with atomic_write(target) as file:
            part_path = Path(file.name)
            try:
                _watch(work, log, on_progress)
                after = _checked_result(part_path, before, file_type)
            except EngineError:
                _probe(file)
                raise
    except OSError as e:
        raise UsageError(f"{target} cannot be written: {e.strerror}", hint="check the folder and its rights") from e
    on_progress(len(after.tensors), len(after.tensors))
    return _report(after, file_type, log.wanted)


def base_type(file_type: str) -> str:
    """Return the tensor type that a file type is named after: "Q4_K" of "Q4_K_M"."""
    return _BASE.get(file_type, re.sub("_K_[SML]$", "_K", file_type))


def report_on(path: Path, file_type: str) -> QuantReport:
    """Return what a GGUF that nobody had to quantize consists of. Read-only."""
    return _report(read_header(path), file_type, {})


class _Log:
    """What the quantizer says while it works: where it is, and which types did not fit."""

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
        raise UsageError(f"unknown quantization {file_type!r}", hint=f"known: {', '.join(FILE_TYPES)}")
    if imatrix is None:
        if file_type in NEEDS_IMATRIX:
            raise UsageError(
                f"{file_type} is too coarse without an importance matrix", hint="give --imatrix, or choose Q4_0 or more"
            )
        return
    problems = list(_imatrix_problems(header, imatrix, complete=file_type in NEEDS_IMATRIX))
    if problems:
        raise UsageError(
            f"the importance matrix does not fit {header.path}: {several(problems, most=_MAX_SHOWN)}",
            hint="compute it with this model",
        )


def _imatrix_problems(header: GgufHeader, imatrix: Imatrix, *, complete: bool) -> Iterator[str]:
    matrices = {tensor.name: tensor for tensor in header.tensors if len(tensor.shape) > 1}
    for name, values in imatrix.items():
        if name not in matrices:
            yield f"{name} is no matrix of the model"
        elif values.shape != matrices[name].shape[:1]:
            yield f"{name} has {values.shape} values for rows of {matrices[name].shape[0]}"
        elif not (np.isfinite(values).all() and (values >= 0).all()):
            yield f"{name} has values that are negative or no numbers"
    if complete:
        yield from (f"{name} is missing" for name in matrices.keys() - imatrix.keys() - _FREE)


def _positive(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values that are all above zero: a block that weighs nothing would be rounded to anything."""
    floor = max(float(values.mean()) * 1e-6, 1e-12)
    return np.ascontiguousarray(np.maximum(values, floor), np.float32)


def _watch(work: Callable[[], None], log: _Log, on_progress: OnProgress) -> None:
    """Do `work` in a thread of its own: Ctrl-C would be lost in a callback of the library."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as e:  # raised again below
            failures.append(e)

    thread = threading.Thread(target=run, name="quantizer", daemon=True)
    thread.start()
    told = log.progress
    while thread.is_alive():
        thread.join(_POLL_S)
        if log.progress != told:
            told = log.progress
            on_progress(*told)
    if failures:
        raise failures[0]


def _checked_result(path: Path, before: GgufHeader, file_type: str) -> GgufHeader:
    try:
        header = read_header(path)
        check_runnable(header)
    except ModelInvalidError as e:  # llama.cpp writes the header last, and does not notice when that fails
        raise EngineError(f"llama.cpp left a damaged file: {e.message}", hint="check the disk, and repeat it") from e
    shapes, expected = ({t.name: t.shape for t in h.tensors} for h in (header, before))
    if header.quant != file_type or shapes != expected:
        raise EngineError(f"llama.cpp made something else of {before.path} than {file_type}", hint="report this")
    return header


def _probe(file: BinaryIO) -> None:
    """Write a little more to a file that the quantizer could not finish: it does not say why, the system does.

    Raises:
        OSError: why.
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
    fallbacks = tuple(f for tensor in header.tensors if (f := _fallback(tensor, file_type, wanted)))
    return QuantReport(file_type, header.file_size, n_bits / header.n_params, types, fallbacks)


def _fallback(tensor: TensorInfo, file_type: str, wanted: Mapping[str, str]) -> Fallback | None:
    """Say whether a tensor had to take another type.

    The quantizer names them, apart from an output matrix, for which it goes to Q8_0 silently. The result alone does
    not tell what was asked for: a mixture asks for more bits than the file's own type in places.
    """
    row_length = tensor.shape[0]
    asked = wanted.get(tensor.name, base_type(file_type))
    if len(tensor.shape) < 2 or tensor.type == "F32" or not row_length % _BLOCK[asked]:
        return None
    return Fallback(tensor.name, asked, tensor.type, row_length)
