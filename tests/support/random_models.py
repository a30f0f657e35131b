"""Small random models of every supported family, saved by transformers with a real tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.gguf.header import read_header
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# name: (class of transformers, what its config has beyond SHAPE, llama.cpp's vocabulary)
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama-2": ("Llama", {}, "llama-spm"),
    "llama-1, all heads have keys": ("Llama", {"num_key_value_heads": 4}, "llama-spm"),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3}, "llama-bpe"),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}, "llama-bpe"),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}, "llama-spm"),
    "llama, explicit head size": ("Llama", {"head_dim": 32}, "llama-spm"),
    "llama, linear": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        "llama-spm",
    ),
    "mistral": ("Mistral", {"sliding_window": 4096, "head_dim": 16}, "llama-spm"),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "qwen2"),
    "qwen2.5, tied": ("Qwen2", {"tie_word_embeddings": True}, "qwen2"),
    "qwen3": ("Qwen3", {"head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "qwen2"),
}


def random_model(family: str, folder: Path, llama_vocabs: Path) -> Any:
    """Save a random model of a family with a real tokenizer, and return it in float32, as it was saved in float16."""
    name, extra, vocabulary = FAMILIES[family]
    tokenizer = read_gguf_tokenizer(read_header(llama_vocabs / f"ggml-vocab-{vocabulary}.gguf"))
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, "vocab_size": len(tokenizer.tokens), **extra})
    torch.manual_seed(len(family))
    model: Any = getattr(transformers, f"{name}ForCausalLM")(config)
    model.eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Attention far from uniform, so that a wrong order of its rows shows, and all else small, so that the half
            # floats of llama.cpp's products do not.
            scale = 0.12 if "q_proj" in parameter_name or "k_proj" in parameter_name else 0.06
            parameter.normal_(1.0 if "norm" in parameter_name else 0.0, scale)
    model.half().save_pretrained(folder)
    write_hf_tokenizer(tokenizer, folder)
    return model.float()


def to_gguf(folder: Path, path: Path) -> Path:
    with atomic_write(path) as file:
        write_gguf(read_folder(folder), file, {"general.name": "random"})
    return path
