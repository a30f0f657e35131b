"""Reads the `adapter_config.json` of a PEFT LoRA folder, strictly.

Every setting with which W + scale * B @ A would not be the trained matrix is refused by name, and so is every unknown
key.

Source: peft 0.21.2, tuners/lora/config.py (keys), tuners/lora/layer.py (scale, initialisations),
utils/other.py, `get_pattern_key` and `_set_trainable` (which module a pattern or a name means).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from genrec_edge.convert.checkpoint.safetensors import quoted
from genrec_edge.convert.hf_json import read_json
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG_NAME = "adapter_config.json"
MERGE_HINT = "merge the adapter with peft (merge_and_unload, save_pretrained) and convert the merged model"

_USED = {
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias",
    "init_lora_weights", "target_modules", "exclude_modules", "layers_to_transform", "modules_to_save",
    "trainable_token_indices",
}  # fmt: skip
# peft ignores fan_in_fan_out for nn.Linear and nn.Embedding, the only layers of these families. Settings of the
# initialisation do not matter after training.
_IGNORED = {
    "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version",
    "lora_dropout", "layers_pattern", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size", "ensure_weight_tying", "runtime_config",
}  # fmt: skip
_REFUSED = {
    "alora_invocation_tokens": "an activated LoRA applies only after certain tokens",
    "arrow_config": "a router chooses between adapters",
    "kasa_config": "KaSA changes the base",
    "layer_replication": "layers of the base are repeated",
    "lora_bias": "B has a bias",
    "megatron_config": "it adapts layers of Megatron",
    "monteclora_config": "the weights are sampled",
    "target_parameters": "it adapts parameters that are not linear layers",
    "use_bdlora": "A or B is block-diagonal",
    "use_qalora": "A is applied to pooled inputs",
    "velora_config": "VeLoRA is not supported",
}
_INIT_KEEPS_BASE = frozenset({"true", "false", "gaussian", "eva", "orthogonal", "mica"})
_INIT_CHANGES_BASE = re.compile(r"pissa(_niter_\d+)?|olora|corda|loftq|lora_ga")
_INPUT = "embed_tokens"
_MAX_RANK = 1 << 16
_MAX_PATTERN_LENGTH = 256
_MAX_PATTERN_COST = 4_000
_MAX_COST = 100_000
_MAX_NAMES = 4_000
_MAX_TOKENS = 1 << 20

_N = TypeVar("_N", int, float)
Patterns = tuple[tuple[re.Pattern[str], _N], ...]
"""Regular expressions for module names, each with a number."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The settings of a LoRA adapter; most names are those of PEFT.

    Attributes:
        trains_biases: whether biases were trained, too.
        target_modules: names or suffixes of the modules with A and B; None where only the tensors show which.
        modules_to_save: suffixes of the modules that were trained and saved as a whole.
        trainable_token_indices: the replaced rows, by suffix of the embedding or output matrix.
    """

    rank: int
    alpha: float
    rank_pattern: Patterns[int]
    alpha_pattern: Patterns[float]
    use_rslora: bool
    use_dora: bool
    trains_biases: bool
    target_modules: tuple[str, ...] | None
    modules_to_save: tuple[str, ...]
    trainable_token_indices: Mapping[str, tuple[int, ...]]

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's A and B."""
        return _first_match(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Return the factor of a module's B @ A."""
        alpha = _first_match(self.alpha_pattern, module, self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def is_saved(self, module: str) -> bool:
        """Return whether a module was saved as a whole."""
        return any(module.endswith(name) for name in self.modules_to_save)

    def is_target(self, module: str) -> bool:
        """Return whether a module must have A and B."""
        if self.target_modules is None or self.is_saved(module):
            return False
        return any(module == name or module.endswith(f".{name}") for name in self.target_modules)


def read_adapter_config(path: Path) -> AdapterConfig:
    """Return the settings of a LoRA adapter. Read-only.

    Raises:
        ModelInvalidError: not a LoRA, or settings that cannot be merged; the message lists all of them.
    """
    document = read_json(path)
    peft_type = document.get("peft_type")
    if peft_type != "LORA":
        message = f"{path}: peft_type is {_abbreviated(peft_type)}, and only LORA is supported"
        raise ModelInvalidError(message, hint=MERGE_HINT)
    problems = [*_unsupported_settings(document), *_invalid_values(document)]
    if problems:
        raise ModelInvalidError(f"{path} cannot be merged: {'; '.join(problems)}", hint=MERGE_HINT)
    narrowed = document.get("exclude_modules") or document.get("layers_to_transform") not in (None, [])
    targets = document.get("target_modules")
    return AdapterConfig(
        rank=document.get("r", 8),
        alpha=document.get("lora_alpha", 8),
        rank_pattern=_patterns(document.get("rank_pattern")),
        alpha_pattern=_patterns(document.get("alpha_pattern")),
        use_rslora=document.get("use_rslora", False),
        use_dora=document.get("use_dora", False),
        trains_biases=document.get("bias", "none") != "none",
        target_modules=tuple(targets) if isinstance(targets, list) and not narrowed else None,
        modules_to_save=tuple(document.get("modules_to_save") or ()),
        trainable_token_indices=_token_indices(document.get("trainable_token_indices")),
    )


def _unsupported_settings(document: Mapping[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key in _REFUSED and value not in (None, False, [], {}):
            yield f"{key} is set ({_REFUSED[key]})"
        elif key not in _USED | _IGNORED | _REFUSED.keys() and value not in (None, False, [], {}):
            yield f"{quoted(key)} is set to {_abbreviated(value)}, which is unknown"
    init = str(document.get("init_lora_weights", True)).lower()
    if _INIT_CHANGES_BASE.fullmatch(init):
        yield f"init_lora_weights is {init}, which changes the weights of the base before training"
    elif init not in _INIT_KEEPS_BASE:
        yield f"init_lora_weights is {_abbreviated(init)}, which is unknown"
    if (bias := document.get("bias", "none")) not in ("none", "all", "lora_only"):
        yield f"bias is {_abbreviated(bias)}, which is unknown"


def _invalid_values(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys whose values have a wrong type or range."""
    if not _is_rank(rank := document.get("r", 8)):
        yield f"r is {_abbreviated(rank)}, not a rank from 1 to {_MAX_RANK}"
    if not _is_alpha(alpha := document.get("lora_alpha", 8)):
        yield f"lora_alpha is {_abbreviated(alpha)}, not a number"
    for key in ("use_rslora", "use_dora"):
        if not isinstance(value := document.get(key, False), bool):
            yield f"{key} is {_abbreviated(value)}, not true or false"
    for key in ("target_modules", "modules_to_save"):
        value = document.get(key) or []
        if not _are_names(value) and not (key == "target_modules" and isinstance(value, str)):
            yield f"{key} is {_abbreviated(value)}, not a list of names"
    if not all(map(_are_tokens, _token_indices(rows := document.get("trainable_token_indices")).values())):
        yield f"trainable_token_indices is {_abbreviated(rows)}, not lists of different token ids"
    yield from _invalid_patterns(document)


def _invalid_patterns(document: Mapping[str, Any]) -> Iterator[str]:
    cost = 0
    for key, fits in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        pattern = document.get(key) or {}
        if not isinstance(pattern, dict) or len(pattern) > _MAX_NAMES or not all(map(fits, pattern.values())):
            yield f"{key} is {_abbreviated(pattern)}, not an object of patterns with a number each"
            continue
        yield from (
            f"{key} has {quoted(name)}, which {problem}" for name in pattern if (problem := _pattern_problem(name))
        )
        cost += sum(map(_match_cost, pattern))
    if cost > _MAX_COST:
        yield "rank_pattern and alpha_pattern take too long to match"


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_RANK


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _are_names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_NAMES and all(isinstance(n, str) and n for n in value)


def _are_tokens(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) > _MAX_TOKENS:
        return False
    numbers = all(isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 1 << 31 for token in value)
    return numbers and len(set(value)) == len(value)


def _token_indices(value: Any) -> dict[str, tuple[int, ...]]:
    """Return the row numbers by module; a bare list means the input embedding. Source: peft 0.21.2, utils/other.py."""
    table = value if isinstance(value, dict) else {}
    if value and not isinstance(value, dict):
        table = {_INPUT: value}
    return {str(name): tuple(rows) if isinstance(rows, list) else rows for name, rows in table.items()}


def _patterns(table: Mapping[str, _N] | None) -> Patterns[_N]:
    return tuple((re.compile(_anchored(pattern)), value) for pattern, value in (table or {}).items())


def _anchored(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _first_match(patterns: Patterns[_N], module: str, default: _N) -> _N:
    """Return the value of the first pattern, in the order of the file, that matches a module."""
    return next((value for pattern, value in patterns if pattern.match(module)), default)


def _pattern_problem(pattern: str) -> str:
    """Return why a pattern cannot be used, or "". A hostile one could take unbounded time to match."""
    if len(pattern) > _MAX_PATTERN_LENGTH or re.search(r"\)[*+{]", pattern) or _match_cost(pattern) > _MAX_PATTERN_COST:
        return "could take too long to match"
    try:
        re.compile(_anchored(pattern))
    except (re.error, OverflowError, RecursionError) as e:
        return f"is not a regular expression ({e})"
    return ""


def _match_cost(pattern: str) -> int:
    """Return an upper bound for the ways in which a pattern can match a name of some 60 characters."""
    n_repeats = min(9, len(re.findall(r"[*+{]", pattern)))
    n_choices = min(30, len(re.findall(r"[|?]", pattern)))
    return int(60**n_repeats * 2**n_choices)


def _abbreviated(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
