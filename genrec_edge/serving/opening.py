"""Finding a model file and loading it into an engine, as the options of opening say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from genrec_edge.engine.bindings import Model
from genrec_edge.engine.context import PIECE
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.engine.memory_plan import require_memory
from genrec_edge.engine.output_head import OutputMatrix
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.validate import context_length
from genrec_edge.hub.store import ModelFile, ModelStore, resolve_model
from genrec_edge.serving.config import SessionConfig, default_threads

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.options import OpenOptions

DEFAULT_CTX = 2048
"""KV cells, where the caller names no number and the model can do as many."""


def find_model(model: str | Path | ModelFile | None) -> ModelFile:
    """Return the model that is named, or the default one; `hub.store.resolve_model` says what is raised."""
    return model if isinstance(model, ModelFile) else resolve_model(model, ModelStore())


def open_engine(model_file: ModelFile, config: SessionConfig, options: OpenOptions) -> LlamaEngine:
    """Load the weights and make a context; closing the engine frees both.

    Raises:
        ModelInvalidError: the model's context is too small to recommend with.
        OutOfMemoryError: model and context need more memory than this process may have; nothing was loaded.
    """
    header = model_file.header
    n_ctx_train = context_length(header)
    if n_ctx_train < PIECE:
        raise ModelInvalidError(
            f"{model_file.path} has a context of {n_ctx_train} tokens, too small to recommend with",
            hint=f"use a model with at least {PIECE}",
        )
    n_ctx = min(DEFAULT_CTX, n_ctx_train) if options.n_ctx is None else options.n_ctx
    n_threads = default_threads() if options.n_threads is None else options.n_threads
    if n_ctx <= n_ctx_train:  # else the engine says that it is too large for the model
        adapter_bytes = 0 if config.adapter_path is None else config.adapter_path.stat().st_size
        require_memory(header, n_ctx, n_threads=n_threads, adapter_bytes=adapter_bytes)
    with ExitStack() as on_error:
        model = Model(model_file.path, adapter_path=config.adapter_path)
        on_error.callback(model.close)
        engine = LlamaEngine(
            model,
            n_ctx=n_ctx,
            n_threads=n_threads,
            output_rows=None if config.adapter_path else OutputMatrix.open(header, model_file.path),
        )
        on_error.pop_all()
    return engine
