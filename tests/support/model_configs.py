"""Configs of every supported family, made by transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import transformers

from genrec_edge.convert.checkpoint import config_hf

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.config import ModelConfig


SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LINEAR: dict[str, Any] = {"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, biases of the mlp": ("Llama", {"mlp_bias": True, "rms_norm_eps": 1e-5}),
    "llama, head size": ("Llama", {"head_dim": 32, "num_key_value_heads": 4}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}


def hf_config(model: str) -> Any:
    name, extra = MODELS[model]
    return getattr(transformers, f"{name}Config")(**{**SHAPE, **extra}, architectures=[f"{name}ForCausalLM"])


def write_config(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def read_document(folder: Path, document: dict[str, Any]) -> ModelConfig:
    return config_hf.read_config(write_config(folder, document))


def config_of(model: str, folder: Path) -> ModelConfig:
    hf_config(model).save_pretrained(folder)
    return config_hf.read_config(folder)
