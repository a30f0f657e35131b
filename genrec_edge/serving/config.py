"""What a session is opened with: what the model was tuned for and what the caller asks for, put together."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from genrec_edge.decoding.best_first import Budget
from genrec_edge.engine.prompt_cache import PromptCache
from genrec_edge.errors import UsageError
from genrec_edge.gguf.adapter import find_adapter
from genrec_edge.serving.score_fusion import PriorUse, prior_use
from genrec_edge.serving.training_record import (
    calibrate_of,
    items_met_of,
    judge_calibration_of,
    max_titles_of,
    prompt_layout_of,
    score_kind_of,
    training_record_of,
)
from genrec_edge.storage.files import sha256_file

_MAX_THREADS = 512

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.hub.store import ModelFile
    from genrec_edge.options import OpenOptions
    from genrec_edge.records import ScoreKind


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """All that answers depend on besides the model's weights and the catalog.

    Attributes:
        adapter_path: a LoRA adapter in GGUF format that fits the model, or None.
        score: which probabilities are searched.
        prompt: the layout of prompts, a key of `prompts.LAYOUTS`.
        prior: what is known without the model and how it enters, or None.
        calibrate: how much of what a title gets without a history is taken off its score.
        max_titles: how many titles of a history the model has seen at once.
        items_met: hashes of the items that the model met in training, or None where nobody knows.
        judge_calibration: slope and offset that turn a margin into a probability, or None.
        budget: of an exact search.
        prompt_cache: evaluated prompts on disk, or None.
    """

    adapter_path: Path | None
    score: ScoreKind
    prompt: str
    prior: PriorUse | None
    calibrate: float
    max_titles: int
    items_met: frozenset[int] | None
    judge_calibration: tuple[float, float] | None
    budget: Budget
    prompt_cache: PromptCache | None

    @classmethod
    def of(cls, model_file: ModelFile, options: OpenOptions) -> Self:
        """Return the configuration of a model opened with these options; `Session.open` says what is raised."""
        header = None if options.adapter is None else find_adapter(options.adapter, model_file.header)
        adapter_path = None if header is None else header.path
        record = training_record_of(model_file, header)
        prompt = prompt_layout_of(model_file, header)
        score = options.score or score_kind_of(model_file, header)
        budget = Budget() if options.budget is None else options.budget
        return cls(
            adapter_path=adapter_path,
            score=score,
            prompt=prompt,
            prior=prior_use(options, score=score, record=record),
            calibrate=calibrate_of(record) if options.calibrate is None else options.calibrate,
            max_titles=max_titles_of(record),
            items_met=items_met_of(record),
            judge_calibration=judge_calibration_of(record),
            budget=Budget(budget) if isinstance(budget, int) else budget,
            prompt_cache=_prompt_cache(options.prompts_path, model_file, adapter_path),
        )


def default_threads() -> int:
    """Return the number of CPUs this process may use, at most 8: more gains little on small models."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def threads_or_default(n_threads: int | None) -> int:
    """Return a number of threads; the default for None.

    Raises:
        UsageError: it is not from 1 to 512.
    """
    if n_threads is None:
        return default_threads()
    if not 1 <= n_threads <= _MAX_THREADS:
        raise UsageError(f"`n_threads` must be from 1 to {_MAX_THREADS}, got {n_threads}")
    return n_threads


def _prompt_cache(folder: Path | None, model_file: ModelFile, adapter_path: Path | None) -> PromptCache | None:
    """Return the kept prompts of a model of the store; of other files there is no hash without reading them whole."""
    if folder is None or model_file.manifest is None:
        return None
    key: dict[str, str | int | None] = {
        "model": model_file.manifest.sha256,
        "changed": model_file.path.stat().st_mtime_ns,  # the store's files are not read again at every start
        "adapter": None if adapter_path is None else sha256_file(adapter_path),
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
    }
    return PromptCache(folder, key)
