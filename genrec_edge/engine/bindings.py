"""The only module that imports llama_cpp: library start-up, log routing, loading, tokenising and quantizing.

`context.py` and `full_logits.py` build on it. Arguments are checked before they reach the library, because a
failed assertion inside llama.cpp ends the process and cannot be caught.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from genrec_edge.coordinates import TokenId
from genrec_edge.engine.run_apart import run_apart
from genrec_edge.errors import EngineError, ModelInvalidError, UsageError
from genrec_edge.gguf import types

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

log = logging.getLogger("genrec_edge.engine.bindings")

# Source: ggml/include/ggml.h, enum ggml_log_level (llama.cpp 0c1e57098). 5 continues the previous line.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}

_ONLY_FOR_TRAINED = frozenset(
    {"TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0"}
)  # weights that were not trained in them become noise
FILE_TYPES = {name: number for number, name in types.FILE_TYPES.items() if name not in _ONLY_FOR_TRAINED}
"""What a model can be quantized to, and its number in `enum llama_ftype`."""

_QUANTIZER_BUFFER_BYTES = 128 << 20
"""Rows that the quantizer holds at once, in all forms, and twice while a buffer grows. Its own choice is 8 GiB."""

_MAX_TEXT_BYTES = 1 << 30
"""Of one text: llama.cpp counts bytes and tokens in 32 bits."""

_FLOATS = ctypes.POINTER(ctypes.c_float)
_kept_alive: list[object] = []  # ctypes does not hold on to the callbacks it hands out


_BUFFER_TOKENS = 1024


class _TokenBuffer(threading.local):
    """Memory for the tokens of a title, one for each thread: allocated anew, two threads are no faster than one."""

    def __init__(self) -> None:
        self.ids = (ctypes.c_int32 * _BUFFER_TOKENS)()


_token_buffer = _TokenBuffer()
_last_error = threading.local()
_listener = threading.local()


@functools.cache
def is_built_for_amx() -> bool:
    """Return whether llama.cpp was built with its AMX kernels, which it takes for weights in "extra" buffers.

    On some of the CPUs and virtual machines that have AMX they end the process with a segmentation fault
    (ggml-org/llama.cpp issue 20824), so no weights are put there; the AVX-512 kernels do the work.
    """
    return b"AMX_INT8 = 1" in (library().llama_print_system_info() or b"")


@functools.cache
def library() -> Any:
    """Return the low-level bindings, started once, with their log sent to `logging` instead of stderr.

    Threads that wait for each other sleep instead of spinning, unless `OMP_WAIT_POLICY` says otherwise: beside one busy
    process on 2 cores that is 145 tokens/s instead of 9 to 38, and on an idle machine no difference was seen.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read by OpenMP when the library is loaded
    import llama_cpp
    import llama_cpp.llama_cpp as bindings

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def on_log(level: int, text: bytes, _user: int) -> None:
        # Runs on any thread of the library; an exception here would be printed by ctypes and lost.
        line = text.decode("utf-8", errors="replace").rstrip()
        if level >= 4 and not getattr(_last_error, "line", ""):
            # The first says what is wrong, the next ones what could not be done therefore. It may be framed by "====".
            _last_error.line = " ".join(word for word in line.split() if set(word) != {"="})
        if not line:
            return
        if (held := getattr(_listener, "held", None)) is not None:
            held.append((level, line))
            return
        if on_line := getattr(_listener, "on_line", None):
            try:
                on_line(line)
            except BaseException as e:  # raised again after the call
                _listener.on_line, _listener.failure = None, e
            level = min(level, 2)  # the listener reports what matters
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)

    bindings.llama_log_set(on_log, ctypes.c_void_p(0))
    _kept_alive.append(on_log)
    bindings.llama_backend_init()
    return bindings


def tensor_library() -> Any:
    """Return ggml, the library of tensors below llama.cpp, as ctypes opened it."""
    library()
    from llama_cpp._ggml import libggml

    return libggml


def last_error() -> str:
    """Return the first error line that the library logged on this thread since the last call, in brackets, or ""."""
    line = getattr(_last_error, "line", "")
    _last_error.line = ""
    return f" ({line})" if line else ""


def called(call: Callable[[], _T]) -> tuple[_T, str]:
    """Return what a call of the library returns, and its error line as `last_error` does; Ctrl-C waits for its end."""

    def work() -> tuple[_T, str]:
        last_error()
        result = call()
        return result, last_error()

    return run_apart(work)


def logged(call: Callable[[], int], *, quiet: Container[int]) -> int:
    """Return the code that a call of the library returns; if it is among `quiet`, its lines are logged at DEBUG."""
    held: list[tuple[int, str]] = []
    _listener.held = held
    try:
        code = call()
    finally:
        _listener.held = None
    for level, line in held:
        log.log(logging.DEBUG if code in quiet else _LEVELS.get(level, logging.DEBUG), "%s", line)
    return code


class Model:
    """A loaded GGUF: weights (or the vocabulary alone) and its tokenizer. Thread-safe after construction.

    The caller has checked the headers of the file (`gguf.validate`) and of the LoRA adapter, if any (`gguf.adapter`):
    llama.cpp trusts what it reads.

    Raises:
        ModelInvalidError: llama.cpp refuses a file.
    """

    def __init__(self, path: Path, *, vocab_only: bool = False, adapter_path: Path | None = None) -> None:
        lib = library()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        params.use_extra_bufts = not is_built_for_amx()
        self._lib = lib
        self.path = path
        self.handle, why = called(lambda: lib.llama_model_load_from_file(os.fsencode(path), params))
        if not self.handle:
            raise ModelInvalidError(f"llama.cpp cannot load {path}{why}")
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.n_ctx_train = int(lib.llama_model_n_ctx_train(self.handle))
        self.newline_id = TokenId(int(lib.llama_vocab_nl(self.vocab)))
        bos_id = TokenId(int(lib.llama_vocab_bos(self.vocab)))
        self.bos_id = bos_id if lib.llama_vocab_get_add_bos(self.vocab) and bos_id >= 0 else None
        if not 0 <= self.newline_id < self.n_vocab:
            self.close()
            raise ModelInvalidError(
                f"the vocabulary of {path} has no token for the line break, which ends a title in a prompt",
                hint="use a model with a byte-level or byte-fallback vocabulary",
            )
        self.adapter_path = adapter_path
        self._adapter = None
        if adapter_path is not None:
            self._adapter, why = called(lambda: lib.llama_adapter_lora_init(self.handle, os.fsencode(adapter_path)))
            if not self._adapter:
                self.close()
                raise ModelInvalidError(f"llama.cpp cannot load the adapter {adapter_path}{why}")

    def apply_adapter(self, context: int) -> None:
        """Let a new context of this model evaluate with the adapter, if there is one.

        What is already in the cache would stay as it was computed.

        Raises:
            EngineError: llama.cpp refuses it.
        """
        if self._adapter:
            adapters = (self._lib.llama_adapter_lora_p_ctypes * 1)(self._adapter)
            if self._lib.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)) != 0:
                raise EngineError(f"llama.cpp cannot use the adapter {self.adapter_path}{last_error()}")

    def tokenize(self, text: str) -> list[TokenId]:
        """Return the token ids of `text` alone: nothing added, and special tokens in it stay plain text.

        Raises:
            UsageError: it is longer than 1 GiB.
        """
        data = text.encode("utf-8", errors="replace")
        if len(data) > _MAX_TEXT_BYTES:
            raise UsageError(f"a text of {len(data)} bytes is too long to be tokenised, at most {_MAX_TEXT_BYTES}")
        size = len(data) + 8
        buffer = _token_buffer.ids if size <= _BUFFER_TOKENS else (ctypes.c_int32 * size)()
        n = self._lib.llama_tokenize(self.vocab, data, len(data), buffer, size, False, False)  # noqa: FBT003
        if n < 0:  # more tokens than bytes: possible only through normalisation; -n is the size needed
            buffer = (ctypes.c_int32 * -n)()
            n = self._lib.llama_tokenize(self.vocab, data, len(data), buffer, -n, False, False)  # noqa: FBT003
        return cast("list[TokenId]", buffer[:n])

    def tokenize_start(self, text: str) -> list[TokenId]:
        """Return the token ids of a text that begins a prompt: after the token that begins a text, if there is one."""
        bos = [] if self.bos_id is None else [self.bos_id]
        return bos + self.tokenize(text)

    def detokenize(self, token_ids: Sequence[TokenId]) -> str:
        """Return the text of token ids; bytes that are not UTF-8 become replacement characters.

        Raises:
            UsageError: one does not exist.
        """
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self.n_vocab:
            raise UsageError(f"token ids must be from 0 to {self.n_vocab - 1}")
        ids = (ctypes.c_int32 * len(token_ids))(*token_ids)
        size = 16 * len(token_ids) + 16
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_detokenize(self.vocab, ids, len(token_ids), buffer, size, False, False)  # noqa: FBT003
            if n >= 0:
                return buffer.raw[:n].decode("utf-8", errors="replace")
            size = -n
        raise EngineError(f"llama.cpp cannot turn {len(token_ids)} tokens back into text")

    def is_end_of_generation(self, token_id: TokenId) -> bool:
        """Whether the model uses this token to say that it has finished."""
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token_id))

    def close(self) -> None:
        """Free the weights and the adapter. The model must not be used afterwards; closing twice is allowed."""
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None


def quantize(
    source_path: Path,
    target_path: Path,
    file_type: str,
    *,
    n_threads: int | None = None,
    imatrix: Mapping[str, NDArray[np.float32]] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> None:
    """Write `target_path` as `source_path` requantized to `file_type` (a key of `FILE_TYPES`) by llama.cpp.

    Args:
        source_path: a GGUF whose header has been checked.
        target_path: where to write; what is there is lost.
        file_type: what most tensors become.
        n_threads: None takes all CPUs.
        imatrix: by tensor, the weight of each column's error: (row length,), contiguous, finite. See
            `convert/quantization/imatrix.py`.
        on_line: called with every line of the quantizer's log, warnings too, which is then not logged as well. What it
            raises is raised when the quantizer has ended, which it cannot be made to do earlier.

    Raises:
        UsageError: an unknown file type, fewer than one thread, or an importance matrix of another kind of numbers.
        EngineError: the quantizer failed; the target is removed.
    """
    if file_type not in FILE_TYPES:
        raise UsageError(
            f"`file_type` must be a quantization that llama.cpp knows, got {file_type!r}",
            hint=f"use one of {', '.join(FILE_TYPES)}",
        )
    if n_threads is not None and n_threads < 1:
        raise UsageError(f"`n_threads` must be at least 1, got {n_threads}")
    for name, values in (imatrix or {}).items():
        if str(values.dtype) != "float32" or values.ndim != 1 or not values.flags.c_contiguous:
            raise UsageError(f"`imatrix` must hold rows of float32 without gaps, {name!r} does not")
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.nthread = n_threads or os.cpu_count() or 1
    params.ftype = FILE_TYPES[file_type]
    params.allow_requantize = True
    params.max_buf_size = _QUANTIZER_BUFFER_BYTES
    if imatrix:
        entries = [(name.encode(), values.ctypes.data_as(_FLOATS), values.size) for name, values in imatrix.items()]
        params.imatrix = (lib.llama_model_imatrix_data * (len(entries) + 1))(*entries)  # a name of NULL ends the list

    def work() -> int:
        _listener.on_line, _listener.failure = on_line, None
        code = int(lib.llama_model_quantize(os.fsencode(source_path), os.fsencode(target_path), ctypes.byref(params)))
        _listener.on_line, failure = None, _listener.failure
        if failure is not None:
            target_path.unlink(missing_ok=True)
            raise failure
        return code

    code, why = called(work)
    if code != 0:
        target_path.unlink(missing_ok=True)
        raise EngineError(f"llama.cpp could not quantize {source_path} to {file_type}{why}")
