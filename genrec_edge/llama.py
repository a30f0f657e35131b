"""The only module that imports llama_cpp: library start-up, log routing, loading, tokenising and quantizing.

`engine.py` builds the search engine on what is here. Arguments are checked before they reach the library, because a
failed assertion inside llama.cpp ends the process and cannot be caught.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import EngineError, ModelInvalidError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("genrec_edge.llama")

# Source: ggml/include/ggml.h, enum ggml_log_level (llama.cpp 0c1e57098). 5 continues the previous line.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}

# Source: include/llama.h, enum llama_ftype (llama.cpp 0c1e57098).
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
    "BF16": 32,
}  # fmt: skip

_kept_alive: list[object] = []  # ctypes does not hold on to the callbacks it hands out
_last_error = threading.local()


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
        if level >= 4:
            _last_error.line = line
        if line:
            log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)

    bindings.llama_log_set(on_log, ctypes.c_void_p(0))
    _kept_alive.append(on_log)
    bindings.llama_backend_init()
    return bindings


def last_error() -> str:
    """Return the last error line the library logged on this thread, in brackets, or an empty string."""
    line = getattr(_last_error, "line", "")
    _last_error.line = ""
    return f" ({line})" if line else ""


class Model:
    """A loaded GGUF: weights (or the vocabulary alone) and its tokenizer. Thread-safe after construction.

    The caller has checked the file's header (`gguf_header`); llama.cpp trusts what it reads.

    Raises:
        ModelInvalidError: llama.cpp refuses the file.
    """

    def __init__(self, path: Path, *, vocab_only: bool = False) -> None:
        lib = library()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        self._lib = lib
        self.path = path
        last_error()
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelInvalidError(f"llama.cpp cannot load {path}{last_error()}")
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.n_ctx_train = int(lib.llama_model_n_ctx_train(self.handle))
        self.newline_id = int(lib.llama_vocab_nl(self.vocab))
        bos_id = int(lib.llama_vocab_bos(self.vocab))
        self.bos_id = bos_id if lib.llama_vocab_get_add_bos(self.vocab) and bos_id >= 0 else None
        if not 0 <= self.newline_id < self.n_vocab:
            self.close()
            raise ModelInvalidError(
                f"the vocabulary of {path} has no line break, which ends a title in the prompt",
                hint="use a model with a byte-level or byte-fallback vocabulary",
            )

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of `text` alone: nothing added, and special tokens in it stay plain text."""
        data = text.encode("utf-8", errors="replace")
        size = len(data) + 8
        buffer = (ctypes.c_int32 * size)()
        n = self._lib.llama_tokenize(self.vocab, data, len(data), buffer, size, False, False)  # noqa: FBT003
        if n < 0:  # more tokens than bytes: possible only through normalisation; -n is the size needed
            buffer = (ctypes.c_int32 * -n)()
            n = self._lib.llama_tokenize(self.vocab, data, len(data), buffer, -n, False, False)  # noqa: FBT003
        return buffer[:n]

    def detokenize(self, token_ids: list[int]) -> str:
        """Return the text of token ids; bytes that are no UTF-8 become replacement characters."""
        ids = (ctypes.c_int32 * len(token_ids))(*token_ids)
        size = 16 * len(token_ids) + 16
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_detokenize(self.vocab, ids, len(token_ids), buffer, size, False, False)  # noqa: FBT003
            if n >= 0:
                return buffer.raw[:n].decode("utf-8", errors="replace")
            size = -n
        raise EngineError(f"llama.cpp cannot turn {len(token_ids)} tokens back into text")

    def is_end_of_generation(self, token_id: int) -> bool:
        """Whether the model uses this token to say that it has finished."""
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token_id))

    def close(self) -> None:
        """Free the weights. The model must not be used afterwards; closing twice is allowed."""
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None


def quantize(source_path: Path, target_path: Path, file_type: str, *, n_threads: int | None = None) -> None:
    """Write `target_path` as `source_path` requantized to `file_type` (a key of `FILE_TYPES`) by llama.cpp.

    Raises:
        UsageError: an unknown file type.
        EngineError: the quantizer failed; the target is removed.
    """
    if file_type not in FILE_TYPES:
        raise UsageError(f"unknown quantization {file_type!r}", hint=f"known: {', '.join(FILE_TYPES)}")
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.nthread = n_threads or os.cpu_count() or 1
    params.ftype = FILE_TYPES[file_type]
    params.allow_requantize = True
    last_error()
    if lib.llama_model_quantize(os.fsencode(source_path), os.fsencode(target_path), ctypes.byref(params)) != 0:
        target_path.unlink(missing_ok=True)
        raise EngineError(f"llama.cpp could not quantize {source_path} to {file_type}{last_error()}")
