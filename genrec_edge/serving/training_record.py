"""What a model was tuned for, by its manifest, its metadata and those of its adapter: score, prompts, histories."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.decoding import prompts
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf import items_met
from genrec_edge.gguf.training_keys import (
    CALIBRATE_KEY,
    DEFAULT_PROMPT,
    FILTERS_KEY,
    HISTORY_KEY,
    ITEMS_MET_KEY,
    JUDGE_KEYS,
    PROMPT_KEY,
    SCORE_KEY,
    SPLIT_KEYS,
    score_kind_in,
)
from genrec_edge.gguf.types import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.gguf.types import GgufHeader
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.records import ScoreKind

MOST_TITLES = 10_000
"""Of a history in the prompt; the context holds fewer."""


def score_kind_of(model_file: ModelFile, adapter: GgufHeader | None) -> ScoreKind:
    """Return the kind of score that the adapter, or else the model, was tuned for; "vocabulary" where neither says."""
    manifest = model_file.manifest
    own = score_kind_in(model_file.header.metadata) if manifest is None else manifest.score_kind
    return own if adapter is None else score_kind_in(adapter.metadata, own)


def training_record_of(model_file: ModelFile, adapter: GgufHeader | None) -> Mapping[str, object]:
    """Return the metadata with the record of the training: the adapter's if it has one, else the model's."""
    if adapter is not None and SCORE_KEY in adapter.metadata:
        return adapter.metadata
    return model_file.header.metadata


def max_titles_of(record: Mapping[str, object]) -> int:
    """Return how many titles before a target a model was tuned with at most; all, where its record does not say."""
    claim = record.get(HISTORY_KEY)
    return claim if isinstance(claim, int) and 0 < claim < MOST_TITLES else MOST_TITLES


def judge_calibration_of(record: Mapping[str, object]) -> tuple[float, float] | None:
    """Return slope and offset that calibrate the margin of yes over no; None where they were not fitted.

    Source: Platt 1999, "Probabilistic outputs for support vector machines", equation 1.
    """
    slope, offset = (record.get(key) for key in JUDGE_KEYS)
    if isinstance(slope, float) and isinstance(offset, float) and math.isfinite(slope) and math.isfinite(offset):
        return slope, offset
    return None


def calibrate_of(record: Mapping[str, object]) -> float:
    """Return how much of what a title gets without a history is best taken off, 0 where the record does not say."""
    alpha = record.get(CALIBRATE_KEY)
    return alpha if isinstance(alpha, float) and 0 <= alpha < math.inf else 0.0


def items_met_of(record: Mapping[str, object]) -> frozenset[int] | None:
    """Return the hashes of the items that a model met in training, None where its record does not say."""
    return items_met.from_text(record.get(ITEMS_MET_KEY))


def training_split_of(record: Mapping[str, object]) -> dict[str, str] | None:
    """Return whose training part a model was tuned on: the events' "sha256", the "split", its "ties", the "filters"."""
    found = {name: record[key] for name, key in SPLIT_KEYS.items() if key in record}
    if len(found) < len(SPLIT_KEYS):
        return None
    filters = {"filters": record[FILTERS_KEY]} if FILTERS_KEY in record else {}
    return {name: str(value) for name, value in (found | filters).items()}


def prompt_layout_of(model_file: ModelFile, adapter: GgufHeader | None) -> str:
    """Return the prompt layout that the adapter, or else the model, was tuned with; else the default.

    Raises:
        ModelInvalidError: it is not known here.
    """
    manifest = model_file.manifest
    made_for: list[tuple[object, object]] = [] if manifest is None else [(manifest.name, manifest.prompt_version)]
    headers = [model_file.header, *([] if adapter is None else [adapter])]
    made_for += [(h.path, h.metadata[PROMPT_KEY]) for h in headers if PROMPT_KEY in h.metadata]
    for name, version in made_for:
        if version not in prompts.LAYOUTS:
            known = ", ".join(map(repr, prompts.LAYOUTS))
            raise ModelInvalidError(
                f"{name} was made for prompts {shown(version)}, and known here are {known}",
                hint="convert it again, or install the version of genrec-edge that made it",
            )
    return str(made_for[-1][1]) if made_for else DEFAULT_PROMPT
