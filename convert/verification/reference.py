"""Compares the reference GGUF with transformers: tokenizer and logits. A skipped comparison has a reason.

transformers and torch are loaded only from here, and only for a comparison.
"""

from __future__ import annotations

import os
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.convert.verification.logit_divergence import compare_logits
from genrec_edge.convert.verification.results import CheckpointCheck, Mismatch, TokenizerCheck, agrees
from genrec_edge.convert.verification.samples import MAX_SEQUENCE
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.storage.process_memory import memory_rooms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.convert.verification.samples import PromptSequences
    from genrec_edge.gguf.types import GgufHeader

_EXTRA = frozenset({"torch", "transformers"})
_MAX_MISMATCHES = 5
_MEMORY_FACTOR = 1.2
"""Memory of transformers per byte of float32 weights."""
_ROOT = Path("/")


def skip_reason(n_params: int) -> str:
    """Return why transformers cannot run a model of `n_params` weights on this machine, or "" if it can."""
    for module in sorted(_EXTRA):
        if find_spec(module) is None:
            return _not_installed(module)
    needed, available = int(n_params * 4 * _MEMORY_FACTOR), available_memory()
    if available is not None and needed > available:
        return f"transformers needs {needed / 1e9:.1f} GB of memory for it, and {available / 1e9:.1f} GB are available"
    return ""


def check_tokenizer(model: Model, folder: Path | None, titles: Sequence[str]) -> TokenizerCheck:
    """Compare the token ids of titles from llama.cpp with those from the tokenizer of a Hugging Face folder."""
    if folder is None:
        return TokenizerCheck("skipped", "there is no Hugging Face folder with the tokenizer")
    try:
        from genrec_edge.convert.verification import transformers_tokenizer  # noqa: PLC0415 - optional dependency

        tokenize = transformers_tokenizer.load(folder)
    except Exception as e:  # transformers can raise any exception
        return TokenizerCheck("skipped", _reason(e, folder))
    different = [
        Mismatch(title, tuple(found), tuple(expected))
        for title in titles
        if (found := model.tokenize(title)) != (expected := tokenize(title))
    ]
    return TokenizerCheck(
        "failed" if different else "passed",
        n_titles=len(titles),
        n_different=len(different),
        mismatches=tuple(different[:_MAX_MISMATCHES]),
    )


def check_checkpoint(
    reference: GgufHeader,
    folder: Path | None,
    sequences: PromptSequences,
    n_threads: int,
    on_sequence: Callable[[int, int], object],
) -> CheckpointCheck:
    """Compare the logits of a GGUF with those of a Hugging Face folder, if memory allows."""
    if reason := skip_reason(reference.n_params):
        return CheckpointCheck("skipped", reason)
    if folder is None:
        return CheckpointCheck("skipped", "there is no merged Hugging Face checkpoint")
    try:
        from genrec_edge.convert.verification.transformers_model import TransformersModel  # noqa: PLC0415 - optional dependency

        model = TransformersModel(folder, n_threads)
    except Exception as e:  # transformers can raise any exception
        return CheckpointCheck("skipped", _reason(e, folder))
    with closing(model), closing(open_full_logits(reference.path, n_threads)) as gguf_model:
        agreement = compare_logits(
            model.logits, gguf_model.logits, sequences.token_ids, start=sequences.start, on_sequence=on_sequence
        )
    return CheckpointCheck("passed" if agrees(agreement) else "failed", agreement=agreement)


def open_full_logits(path: Path, n_threads: int) -> FullLogitsModel:
    """Load a GGUF for sequences of up to `MAX_SEQUENCE` tokens."""
    return FullLogitsModel(Model(path), n_ctx=MAX_SEQUENCE, n_threads=n_threads)


def available_memory() -> int | None:
    """Return the bytes of memory that this process can still use, or None where the system does not report them.

    On Linux what the machine, its control groups and `ulimit` leave; elsewhere all physical memory.
    """
    rooms = [max(0, room.free_bytes) for room in memory_rooms(_ROOT)]
    return min(rooms) if rooms else _physical_memory()


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def _not_installed(module: str) -> str:
    return f"{module} is not installed; pip install 'genrec-edge[train]'"


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and (name := (error.name or "").partition(".")[0]) in _EXTRA:
        return _not_installed(name)
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"transformers cannot load {folder}: {first_line}"
