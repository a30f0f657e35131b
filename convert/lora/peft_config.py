"""`adapter_config.json` of a PEFT LoRA folder, read strictly.

Everything that would make W + scale * B @ A another matrix than the one that was trained is refused by name, and so is
every key that is not known here.

Source: peft 0.21.2, tuners/lora/config.py (keys), tuners/lora/layer.py (scale, initialisations),
utils/other.py, `get_pattern_key` and `_set_trainable` (which module a pattern or a name means).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from genrec_edge.convert.checkpoint.safetensors import shown
from genrec_edge.convert.hf_json import read_json
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG_NAME = "adapter_config.json"
MERGE_HINT = "merge it with peft where it was trained (merge_and_unload, save_pretrained) and convert the result"

_USED = {
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias",
    "init_lora_weights", "target_modules", "exclude_modules", "layers_to_transform", "modules_to_save",
    "trainable_token_indices",
}  # fmt: skip
# peft ignores fan_in_fan_out for nn.Linear and nn.Embedding, which is all that these families have; the settings of an
# initialisation say nothing once it is over.
_NO_MATTER = {
    "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version",
    "lora_dropout", "layers_pattern", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size", "ensure_weight_tying", "runtime_config",
}  # fmt: skip
_REFUSED = {
    "alora_invocation_tokens": "an activated LoRA works from a certain text on",
    "arrow_config": "a router chooses between adapters",
    "kasa_config": "KaSA changes the base",
    "layer_replication": "layers of the base are repeated",
    "lora_bias": "B carries a bias",
    "megatron_config": "the layers are those of Megatron",
    "monteclora_config": "the weights are sampled",
    "target_parameters": "parameters are adapted that are no linear layers",
    "use_bdlora": "A or B is block-diagonal",
    "use_qalora": "A works on pooled inputs",
    "velora_config": "VeLoRA is not supported",
}
_BASE_KEPT = frozenset({"true", "false", "gaussian", "eva", "orthogonal", "mica"})
_BASE_CHANGED = re.compile(r"pissa(_niter_\d+)?|olora|corda|loftq|lora_ga")
_INPUT = "embed_tokens"
_MOST_RANK = 1 << 16
_MOST_PATTERN_LENGTH = 256
_MOST_PATTERN_COST = 4_000
_MOST_COST = 100_000
_MOST_NAMES = 4_000
_MOST_TOKENS = 1 << 20

_N = TypeVar("_N", int, float)
Patterns = tuple[tuple[re.Pattern[str], _N], ...]
"""Regular expressions for the names of modules, each with a number."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """How the tensors of an adapter are meant.

    Attributes:
        targets: the modules that have A and B, by name or its end; None where only the tensors tell.
        saved: ends of the names of modules that were trained and saved as a whole.
        tokens: ends of the names of embeddings and output matrices of which rows are replaced, and which rows.
        biases: biases were trained, too.
    """

    rank: int
    alpha: float
    rank_pattern: Patterns[int]
    alpha_pattern: Patterns[float]
    rslora: bool
    dora: bool
    biases: bool
    targets: tuple[str, ...] | None
    saved: tuple[str, ...]
    tokens: Mapping[str, tuple[int, ...]]

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's A and B."""
        return _first(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Return the factor of a module's B @ A."""
        alpha = _first(self.alpha_pattern, module, self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def is_saved(self, module: str) -> bool:
        """Whether a module was saved as a whole."""
        return any(module.endswith(name) for name in self.saved)

    def is_target(self, module: str) -> bool:
        """Whether a module must have A and B."""
        if self.targets is None or self.is_saved(module):
            return False
        return any(module == name or module.endswith(f".{name}") for name in self.targets)


def read_adapter_config(path: Path) -> AdapterConfig:
    """Return the settings of a LoRA adapter. Read-only.

    Raises:
        ModelInvalidError: another kind of adapter, or settings that cannot be merged; the message lists them all.
    """
    document = read_json(path)
    kind = document.get("peft_type")
    if kind != "LORA":
        message = f"{path} describes an adapter of type {_brief(kind)}, and only LORA can be merged"
        raise ModelInvalidError(message, hint=MERGE_HINT)
    problems = [*_refused(document), *_wrong(document)]
    if problems:
        raise ModelInvalidError(f"{path} cannot be merged: {'; '.join(problems)}", hint=MERGE_HINT)
    narrowed = document.get("exclude_modules") or document.get("layers_to_transform") not in (None, [])
    targets = document.get("target_modules")
    return AdapterConfig(
        rank=document.get("r", 8),
        alpha=document.get("lora_alpha", 8),
        rank_pattern=_patterns(document.get("rank_pattern")),
        alpha_pattern=_patterns(document.get("alpha_pattern")),
        rslora=document.get("use_rslora", False),
        dora=document.get("use_dora", False),
        biases=document.get("bias", "none") != "none",
        targets=tuple(targets) if isinstance(targets, list) and not narrowed else None,
        saved=tuple(document.get("modules_to_save") or ()),
        tokens=_tokens(document.get("trainable_token_indices")),
    )


def _refused(document: Mapping[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key in _REFUSED and value not in (None, False, [], {}):
            yield f"{key} is set ({_REFUSED[key]})"
        elif key not in _USED | _NO_MATTER | _REFUSED.keys() and value not in (None, False, [], {}):
            yield f"{shown(key)} is set to {_brief(value)}, which is not known here"
    init = str(document.get("init_lora_weights", True)).lower()
    if _BASE_CHANGED.fullmatch(init):
        yield f"init_lora_weights is {init}, which changed the weights of the base before the training"
    elif init not in _BASE_KEPT:
        yield f"init_lora_weights is {_brief(init)}, which is not known here"
    if (bias := document.get("bias", "none")) not in ("none", "all", "lora_only"):
        yield f"bias is {_brief(bias)}, which is not known here"


def _wrong(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is no value of its key."""
    if not _is_rank(rank := document.get("r", 8)):
        yield f"r is {_brief(rank)}, not a rank"
    if not _is_alpha(alpha := document.get("lora_alpha", 8)):
        yield f"lora_alpha is {_brief(alpha)}, not a number"
    for key in ("use_rslora", "use_dora"):
        if not isinstance(value := document.get(key, False), bool):
            yield f"{key} is {_brief(value)}, not true or false"
    for key in ("target_modules", "modules_to_save"):
        value = document.get(key) or []
        if not _are_names(value) and not (key == "target_modules" and isinstance(value, str)):
            yield f"{key} is {_brief(value)}, not a list of names"
    if not all(map(_are_tokens, _tokens(rows := document.get("trainable_token_indices")).values())):
        yield f"trainable_token_indices is {_brief(rows)}, not lists of token ids, each of them once"
    yield from _wrong_patterns(document)


def _wrong_patterns(document: Mapping[str, Any]) -> Iterator[str]:
    cost = 0
    for key, fits in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        pattern = document.get(key) or {}
        if not isinstance(pattern, dict) or len(pattern) > _MOST_NAMES or not all(map(fits, pattern.values())):
            yield f"{key} is {_brief(pattern)}, not a number for each of some patterns"
            continue
        yield from (f"{key} has {shown(name)}, which {reason}" for name in pattern if (reason := _unusable(name)))
        cost += sum(map(_cost, pattern))
    if cost > _MOST_COST:
        yield "rank_pattern and alpha_pattern take too long to match"


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_RANK


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _are_names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_NAMES and all(isinstance(n, str) and n for n in value)


def _are_tokens(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) > _MOST_TOKENS:
        return False
    numbers = all(isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 1 << 31 for token in value)
    return numbers and len(set(value)) == len(value)


def _tokens(value: Any) -> dict[str, tuple[int, ...]]:
    """Return the rows of each embedding; a list alone means the input's. Source: peft 0.21.2, utils/other.py."""
    table = value if isinstance(value, dict) else {_INPUT: value} if value else {}
    return {str(name): tuple(rows) if isinstance(rows, list) else rows for name, rows in table.items()}


def _patterns(table: Mapping[str, _N] | None) -> Patterns[_N]:
    return tuple((re.compile(_whole(pattern)), value) for pattern, value in (table or {}).items())


def _whole(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _first(patterns: Patterns[_N], module: str, otherwise: _N) -> _N:
    """Return the value of the first pattern, in the order of the file, that means a module."""
    return next((value for pattern, value in patterns if pattern.match(module)), otherwise)


def _unusable(pattern: str) -> str:
    """Say why a pattern cannot be matched in bounded time: an untrusted one could take for ever."""
    if len(pattern) > _MOST_PATTERN_LENGTH or re.search(r"\)[*+{]", pattern) or _cost(pattern) > _MOST_PATTERN_COST:
        return "could take too long to match"
    try:
        re.compile(_whole(pattern))
    except (re.error, OverflowError, RecursionError) as e:
        return f"is no regular expression ({e})"
    return ""


def _cost(pattern: str) -> int:
    """Bound the ways in which a pattern can match a name of some 60 characters, in each of its parts."""
    return int(60 ** min(9, len(re.findall(r"[*+{]", pattern))) * 2 ** min(30, len(re.findall(r"[|?]", pattern))))


def _brief(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
