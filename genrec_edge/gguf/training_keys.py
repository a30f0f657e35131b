"""How a model was tuned, as the metadata of a GGUF say it: the keys, spelled here for writers and readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from genrec_edge.records import ScoreKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMESPACE = "genrec_edge"
TRAIN_PREFIX = f"{NAMESPACE}.train."
"""The record of the training: what `genrec_edge.json` beside an adapter says, key by key."""
PROMPT_KEY = f"{NAMESPACE}.prompt_version"
LAYERS_KEY, LAYERS_OF_KEY = f"{NAMESPACE}.layers", f"{NAMESPACE}.layers_of"
SCORE_KEY = f"{TRAIN_PREFIX}score_kind"
HISTORY_KEY = f"{TRAIN_PREFIX}history"
JUDGE_KEYS = (f"{TRAIN_PREFIX}judge_slope", f"{TRAIN_PREFIX}judge_offset")
SPLIT_KEYS = {
    "sha256": f"{TRAIN_PREFIX}data_sha256",
    "split": f"{TRAIN_PREFIX}split",
    "ties": f"{TRAIN_PREFIX}ties",
}
FILTERS_KEY = f"{TRAIN_PREFIX}filters"
"""What was left out of the data before the split, as `filters_text` writes it; absent where nothing was."""

CALIBRATE_KEY = f"{TRAIN_PREFIX}calibrate"
"""How much of what a title gets without a history is best taken off its score, a float."""

ITEMS_MET_KEY = f"{TRAIN_PREFIX}items_met"
"""The items of the histories that were trained on, as `items_met.to_text` writes them."""

RECORD_NAME = "genrec_edge.json"
"""What the training stage leaves in an adapter's folder: data, split, items met, measured quality; scalars only."""

DEFAULT_PROMPT = "titles-1"
"""The prompt layout of models that do not say which one they were tuned with."""


def filters_text(filters: Iterable[str]) -> str:
    """Return the filters of a data set, in order, as one text."""
    return ", ".join(filters)


def score_kind_in(metadata: Mapping[str, object], otherwise: ScoreKind = "vocabulary") -> ScoreKind:
    """Return the kind of score that the metadata of a file say the model was tuned for, else `otherwise`."""
    claim = metadata.get(SCORE_KEY)
    return cast("ScoreKind", claim) if claim in get_args(ScoreKind) else otherwise


def prompt_version_in(metadata: Mapping[str, object]) -> str:
    """Return the version of the prompts that the metadata of a file say the model was tuned with, else the default."""
    return str(metadata.get(PROMPT_KEY, DEFAULT_PROMPT))
