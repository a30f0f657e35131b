"""What a session is opened with: how its model was tuned, what the caller asks for, and what both come to."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, get_args

from genrec_edge.decoding.best_first import Budget
from genrec_edge.engine.prompt_cache import PromptCache
from genrec_edge.errors import UsageError
from genrec_edge.gguf.adapter import find_adapter
from genrec_edge.records import ScoreKind
from genrec_edge.serving.score_fusion import PriorUse, prior_use
from genrec_edge.serving.training_record import (
    judge_calibration_of,
    max_titles_of,
    prompt_layout_of,
    score_kind_of,
    training_record_of,
)
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.records import PriorKind


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """All that answers depend on besides the model's weights and the catalog.

    Attributes:
        adapter_path: a LoRA adapter in GGUF format that fits the model, or None.
        score: which probabilities are searched.
        prompt: the layout of prompts, a key of `prompts.LAYOUTS`.
        prior: how a counted prior enters, or None.
        most_titles: how many titles of a history the model has seen at once.
        judging: slope and offset that turn a margin into a probability, or None.
        budget: of an exact search.
        prompts_kept: evaluated prompts on disk, or None.
    """

    adapter_path: Path | None
    score: ScoreKind
    prompt: str
    prior: PriorUse | None
    most_titles: int
    judging: tuple[float, float] | None
    budget: Budget
    prompt_cache_of_model: PromptCache | None

    @classmethod
    def of(
        cls,
        model_file: ModelFile,
        *,
        adapter: str | Path | None,
        score: ScoreKind | None,
        prior: str | Path | None,
        prior_kind: PriorKind | None,
        prior_weight: float | None,
        budget: Budget | None,
        prompts_path: Path | None,
    ) -> Self:
        """Return the settings for a model; see `Session.open` for the arguments and what is raised."""
        if score is not None and score not in get_args(ScoreKind):
            raise UsageError(f"unknown kind of score {score!r}", hint=f"known: {', '.join(get_args(ScoreKind))}")
        header = None if adapter is None else find_adapter(adapter, model_file.header)
        adapter_path = None if header is None else header.path
        record = training_record_of(model_file, header)
        prompt = prompt_layout_of(model_file, header)
        score = score or score_kind_of(model_file, header)
        return cls(
            adapter_path=adapter_path,
            score=score,
            prompt=prompt,
            prior=prior_use(
                None if prior is None else Path(prior), prior_kind, prior_weight, score=score, record=record
            ),
            most_titles=max_titles_of(record),
            judging=judge_calibration_of(record),
            budget=budget or Budget(),
            prompt_cache_of_model=None
            if prompts_path is None
            else _prompts_kept(prompts_path, model_file, adapter_path),
        )


def default_threads() -> int:
    """Return the number of CPUs this process may use, at most 8: more gains little on small models."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _prompts_kept(folder: Path, model_file: ModelFile, adapter_path: Path | None) -> PromptCache | None:
    """Return the kept prompts of a model of the store; of other files, nobody has read every byte."""
    if model_file.manifest is None:
        return None
    key: dict[str, str | int | None] = {
        "model": model_file.manifest.sha256,
        "changed": model_file.path.stat().st_mtime_ns,  # the store's files are not read again at every start
        "adapter": None if adapter_path is None else sha256_file(adapter_path),
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
    }
    return PromptCache(folder, key)
