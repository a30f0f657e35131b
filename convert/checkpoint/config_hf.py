"""Reads and writes the `config.json` of a Hugging Face folder.

Reading is strict: every setting with which llama.cpp would compute something else than transformers is refused by name,
and one error lists all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrec_edge.convert.checkpoint.config import (
    FAMILIES,
    MAX_LAYERS,
    MAX_SIZE,
    SUPPORTED,
    ModelConfig,
    RopeScaling,
    is_positive_float32,
)
from genrec_edge.convert.checkpoint.layers import format_layers, recorded_layers
from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# For keys that the files of the first LLaMAs leave out. Source: transformers 5.23, configuration_*.py.
_DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0}
_OWN = "genrec_edge"  # our own key: which layers of how many are kept
_LLAMA_CONTEXT = 2048
_MISTRAL_WINDOW = 4096
_QWEN3_HEAD_SIZE = 128
_MAX_NAME_LENGTH = 80


def read_config(folder: Path) -> ModelConfig:
    """Return the hyperparameters of the checkpoint in `folder`. Read-only.

    Raises:
        ModelInvalidError: an unsupported model, a setting that llama.cpp does not support, or inconsistent numbers.
    """
    path = folder / CONFIG_NAME
    document = read_json(path)
    hf_class = _hf_class(path, document)
    reader = _ConfigReader(document)
    config = _config(reader, hf_class)
    problems = [*reader.problems, *_unsupported_settings(document, hf_class)]
    if not reader.problems:
        problems += _inconsistencies(config)
    if problems:
        raise ModelInvalidError(f"{path} cannot be converted: {'; '.join(problems)}", hint=f"supported: {SUPPORTED}")
    return config


def _hf_class(path: Path, document: Mapping[str, Any]) -> str:
    named = document.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    # The first LLaMA checkpoints spell their class differently.
    name = (names or ["unnamed"])[0][:_MAX_NAME_LENGTH].replace("LLaMAForCausalLM", "LlamaForCausalLM")
    if name not in FAMILIES:
        message = f"{path}: the architecture is {name}, which is not supported"
        raise ModelInvalidError(message, hint=f"supported: {SUPPORTED}")
    return name


class _ConfigReader:
    """Reads typed values from a document and collects what is wrong with them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.problems: list[str] = []

    def size(self, key: str, default: int | None = None) -> int:
        value = self.document.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= MAX_SIZE:
            self.problems.append(f"{key} is {_quoted(value)}, not a positive number")
            return 1
        return value

    def real(self, key: str) -> float:
        value = self.document.get(key)
        return self.positive(key, _DEFAULTS[key] if value is None else value)

    def positive(self, name: str, value: Any) -> float:
        if not is_positive_float32(value):
            self.problems.append(f"{name} is {_quoted(value)}, not a positive number")
            return 1.0
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.document.get(key)
        value = False if value is None else value
        if not isinstance(value, bool):
            self.problems.append(f"{key} is {_quoted(value)}, not true or false")
        return bool(value)


def _config(read: _ConfigReader, hf_class: str) -> ModelConfig:
    hidden, heads = read.size("hidden_size"), read.size("num_attention_heads")
    head_size = _QWEN3_HEAD_SIZE if hf_class == "Qwen3ForCausalLM" else max(1, hidden // heads)
    layers = min(read.size("num_hidden_layers"), MAX_LAYERS + 1)  # more are refused later
    is_llama = hf_class == "LlamaForCausalLM"
    context = read.size("max_position_embeddings", _LLAMA_CONTEXT if is_llama else None)
    bias = read.flag("attention_bias") and is_llama
    base, scaling = _rope(read)
    own = read.document.get(_OWN)
    own = own if isinstance(own, dict) else {}
    kept, n_original_layers = recorded_layers(own.get("layers"), own.get("layers_of"), layers)
    return ModelConfig(
        architecture=FAMILIES[hf_class],
        hf_class=hf_class,
        vocab_size=read.size("vocab_size"),
        hidden_size=hidden,
        layers=kept,
        n_original_layers=n_original_layers,
        n_heads=heads,
        n_kv_heads=read.size("num_key_value_heads", heads if is_llama else None),
        head_size=read.size("head_dim", head_size),
        ffn_size=read.size("intermediate_size"),
        # llama.cpp has no sliding window. Within the window full attention is the same, so the context ends there.
        context_length=min(context, _window(read, hf_class) or context),
        rms_epsilon=read.real("rms_norm_eps"),
        rope_base=base,
        rope_scaling=scaling,
        tied=read.flag("tie_word_embeddings"),
        attention_bias=bias or hf_class == "Qwen2ForCausalLM",
        output_bias=bias,
        mlp_bias=read.flag("mlp_bias") and is_llama,
        qk_norm=hf_class == "Qwen3ForCausalLM",
    )


def _window(read: _ConfigReader, hf_class: str) -> int | None:
    if hf_class == "MistralForCausalLM":
        windowed = read.document.get("sliding_window", _MISTRAL_WINDOW) is not None
    else:
        windowed = read.document.get("sliding_window") is not None and read.flag("use_sliding_window")
    return read.size("sliding_window", _MISTRAL_WINDOW) if windowed else None


def _rope(read: _ConfigReader) -> tuple[float, RopeScaling | None]:
    """Return base and scaling. transformers 5 keeps both in `rope_parameters`, earlier versions in two keys."""
    rope = read.document.get("rope_parameters") or read.document.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        read.problems.append("rope_scaling is not an object")
        return 1.0, None
    base = read.positive("rope_theta", rope["rope_theta"]) if "rope_theta" in rope else read.real("rope_theta")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return base, None
    if kind not in ("linear", "llama3"):
        read.problems.append(
            f"rope_scaling of type {_quoted(kind)} is not supported; remove it to convert without scaling"
        )
        return base, None
    factor = read.positive("rope_scaling.factor", rope.get("factor"))
    if kind == "linear":
        return base, RopeScaling("linear", factor)
    context, low, high = (
        read.positive(f"rope_scaling.{key}", rope.get(key))
        for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    return base, RopeScaling("llama3", factor, int(context), low, high)


def _unsupported_settings(document: Mapping[str, Any], hf_class: str) -> list[str]:
    problems = []
    if (act := document.get("hidden_act") or "silu") != "silu":
        problems.append(f"hidden_act is {_quoted(act)}, not silu")
    if document.get("quantization_config") is not None:
        problems.append("its weights are quantized (quantization_config); use the checkpoint from before that")
    rope = document.get("rope_parameters")
    places = (document, rope if isinstance(rope, dict) else {})  # of transformers 4 and 5
    if any(place.get("partial_rotary_factor") not in (None, 1) for place in places):
        problems.append("partial_rotary_factor is set, and llama.cpp rotates whole heads")
    if hf_class == "Qwen3ForCausalLM" and document.get("attention_bias"):
        problems.append("attention_bias is set, which llama.cpp does not compute for Qwen3")
    return problems


def _inconsistencies(config: ModelConfig) -> list[str]:
    problems = []
    if config.n_heads % config.n_kv_heads:
        problems.append(
            f"num_attention_heads {config.n_heads} is not a multiple of num_key_value_heads {config.n_kv_heads}"
        )
    if config.head_size % 2:
        problems.append(f"head_dim is {config.head_size}, which is odd")
    if config.architecture == "qwen2" and config.head_size * config.n_heads != config.hidden_size:
        problems.append("head_dim is not hidden_size / num_attention_heads, which llama.cpp expects of Qwen2")
    if config.n_layers > MAX_LAYERS:
        problems.append(f"num_hidden_layers is above {MAX_LAYERS}, the maximum of llama.cpp")
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "llama3":
        if scaling.high_freq_factor <= scaling.low_freq_factor:
            problems.append("rope_scaling.high_freq_factor is not above low_freq_factor")
        if config.architecture != "llama":
            problems.append(f"rope_scaling of type 'llama3', which llama.cpp does not compute for {config.hf_class}")
    return problems


def config_document(config: ModelConfig) -> dict[str, Any]:
    """Return the content of a config.json for transformers and `read_config`, without token ids."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_base}
    if config.rope_scaling is not None:
        rope |= {"rope_type": config.rope_scaling.kind, "factor": config.rope_scaling.factor}
        if config.rope_scaling.kind == "llama3":
            rope |= {
                "original_max_position_embeddings": config.rope_scaling.original_context,
                "low_freq_factor": config.rope_scaling.low_freq_factor,
                "high_freq_factor": config.rope_scaling.high_freq_factor,
            }
    document = {
        "architectures": [config.hf_class],
        "model_type": config.hf_class.removesuffix("ForCausalLM").lower(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_epsilon,
        "rope_theta": config.rope_base,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tied,
        "attention_bias": config.output_bias,
        "mlp_bias": config.mlp_bias,
    }
    if config.n_layers < config.n_original_layers:
        document[_OWN] = {"layers": format_layers(config.layers), "layers_of": config.n_original_layers}
    # For transformers 4, which does not know rope_parameters.
    if config.rope_scaling is not None:
        document["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    if config.hf_class == "MistralForCausalLM":
        document["sliding_window"] = None
    return document


def _quoted(value: object) -> str:
    return "missing" if value is None else repr(value)[:80]
