"""Small GGUF files: headers alone, random LLaMAs that llama.cpp runs, and one whose probabilities are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PROVENANCE = {
    "genrec_edge.prompt_version": "titles-1",
    "genrec_edge.adapter.0.name": "films-lora",
    "genrec_edge.layers": "0-7,28,29",
    "genrec_edge.train.seed": 7,
    "genrec_edge.train.hit@10": 0.25,
}
"""Keys of `described_gguf` that say how it was trained."""
GENERAL = {
    "general.name": "Tiny Films",
    "general.basename": "films",
    "general.size_label": "135M",
    "general.license": "apache-2.0",
    "general.quantized_by": "genrec-edge 0.1.0",
    "general.base_model.count": 2,
    "general.base_model.0.name": "First",
    "general.base_model.0.repo_url": "https://example.org/first",
    "general.base_model.1.name": "Second",
    "tokenizer.chat_template": "{{ 1 / 0 }}",
}
"""Keys of `described_gguf` that say what it is."""


NOT_RUNNABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"architecture": "bert"}, "model", "is a 'bert' model; genrec-edge runs llama, qwen2, qwen3"),
    ({"tensors": {}}, "vocabulary", "holds a vocabulary and no weights"),
    ({"keys": {"general.type": "mmproj"}}, "mmproj", "is of type 'mmproj', not a model"),
    ({"keys": {"llama.block_count": 513}}, "model", "llama.block_count is 513, more than 512"),
]
"""Options of `write_tiny_gguf` whose file is well formed and no model that runs; its kind; and why."""


@pytest.fixture(scope="session")
def tiny_gguf() -> Callable[..., Path]:
    """Returns a function that writes a GGUF of one tiny layer, all zeros."""
    return write_tiny_gguf


def write_tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    n_tokens: int = 100,
    keys: Mapping[str, Any] | None = None,
    tensors: Mapping[str, NDArray[Any]] | None = None,
    reverse: bool = False,
) -> Path:
    """Write a small GGUF with the `gguf` package.

    `keys` overrides or adds metadata; a value of None leaves the key out. `reverse` turns the order round.
    """
    gguf = pytest.importorskip("gguf")
    values: dict[str, Any] = {
        "general.file_type": 0,
        f"{architecture}.context_length": 64,
        f"{architecture}.embedding_length": 8,
        f"{architecture}.block_count": 1,
        f"{architecture}.feed_forward_length": 16,
        f"{architecture}.attention.head_count": 2,
        f"{architecture}.attention.head_count_kv": 1,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [f"t{i}" for i in range(n_tokens)],
        "tokenizer.ggml.token_type": [1] * n_tokens,
        "tokenizer.ggml.merges": [f"t {i}" for i in range(n_tokens)],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        **(keys or {}),
    }
    if tensors is None:
        tensors = tiny_tensors(architecture, n_tokens)
    writer = gguf.GGUFWriter(path, architecture)
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key in reversed(values) if reverse else values:
        if isinstance(value := values[key], list):
            writer.add_array(key, value)
        elif value is not None:
            add[type(value)](key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_tensors(architecture: str = "llama", n_tokens: int = 100) -> dict[str, NDArray[Any]]:
    """Return the tensors of the model that `write_tiny_gguf` describes: one layer, 8 wide, two heads of 4 numbers."""
    shapes = {
        "attn_q": (8, 8),
        "attn_k": (4, 8),
        "attn_v": (4, 8),
        "attn_output": (8, 8),
        "ffn_gate": (16, 8),
        "ffn_up": (16, 8),
        "ffn_down": (8, 16),
    }
    norms = {"attn_norm": 8, "ffn_norm": 8}
    if architecture == "qwen3":
        norms |= {"attn_q_norm": 4, "attn_k_norm": 4}
    return {
        "token_embd.weight": np.zeros((n_tokens, 8), np.float32),
        "output_norm.weight": np.ones(8, np.float32),
        **{f"blk.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()},
        **{f"blk.0.{name}.weight": np.ones(n, np.float32) for name, n in norms.items()},
    }


@pytest.fixture
def described_gguf(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> Path:
    """Returns a model that runs and says all there is to say."""
    tensors = {**tiny_tensors(), "token_embd.weight": np.zeros((100, 8), np.float16)}
    return tiny_gguf(tmp_path / "films.gguf", keys={**GENERAL, **PROVENANCE}, tensors=tensors)


def write_small_adapter(path: Path, *, alpha: float = 16.0) -> Path:
    """Write an adapter of three matrices, one of rank 8 and two of rank 4, and return its path."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, rank in (("blk.0.attn_q", 8), ("blk.1.attn_q", 4), ("output", 4)):
        writer.add_tensor(f"{name}.weight.lora_a", np.ones((rank, 32), np.float32))
        writer.add_tensor(f"{name}.weight.lora_b", np.ones((16, rank), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a LLaMA of two layers with random weights that llama.cpp runs; every byte is a token."""
    return write_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny-llama.gguf")


def write_tiny_llama(path: Path, *, seed: int = 0, n_ctx: int = 2048) -> Path:
    """Write a GGUF of two layers, width 32, four heads and two KV heads, tied embeddings, byte-level vocabulary.

    The weights are large enough for peaked distributions: a flat model would hide errors of the search.
    """
    width, hidden, n_layers, n_heads, n_kv_heads = 32, 64, 2, 4, 2
    tokens, merges = byte_vocabulary()
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return rng.normal(0, scale, (rows, columns)).astype(np.float32)

    tensors = {
        "token_embd.weight": matrix(len(tokens), width, 0.6),
        "output_norm.weight": np.ones(width, np.float32),
    }
    kv_width = width // n_heads * n_kv_heads
    shapes = {
        "attn_q": (width, width),
        "attn_k": (kv_width, width),
        "attn_v": (kv_width, width),
        "attn_output": (width, width),
        "ffn_gate": (hidden, width),
        "ffn_up": (hidden, width),
        "ffn_down": (width, hidden),
    }
    for layer in range(n_layers):
        tensors |= {f"blk.{layer}.{name}.weight": matrix(*shape, 0.4) for name, shape in shapes.items()}
        tensors |= {f"blk.{layer}.{name}_norm.weight": np.ones(width, np.float32) for name in ("attn", "ffn")}
    keys = {
        "general.name": "tiny",
        "llama.context_length": n_ctx,
        "llama.embedding_length": width,
        "llama.block_count": n_layers,
        "llama.feed_forward_length": hidden,
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_kv_heads,
        "llama.rope.dimension_count": width // n_heads,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<|end|>" else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    return write_tiny_gguf(path, n_tokens=len(tokens), keys=keys, tensors=tensors)


def byte_vocabulary() -> tuple[list[str], list[str]]:
    """Return tokens and merges of a byte-level BPE: all bytes, some pairs, one control token."""
    # The printable stand-ins of byte-level BPE: source https://github.com/openai/gpt-2/blob/9b63575/src/encoder.py#L9
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(others))]
    merges = [
        "t h",
        "th e",
        "a n",
        "i n",
        "e r",
        "T h",
        "Th e",
        "A l",
        "i e",
        "ie n",
        "Al ien",
        "\u0120 t",
        "o u",
    ]
    return [*characters, *(merge.replace(" ", "") for merge in merges), "<|end|>"], merges


@pytest.fixture(scope="session")
def bigram_llama() -> Callable[[Path, Mapping[str, Mapping[str, float]]], Path]:
    """Returns a function that writes a LLaMA whose next character depends on the last one alone."""
    return write_bigram_llama


def write_bigram_llama(path: Path, next_of: Mapping[str, Mapping[str, float]]) -> Path:
    """Write a LLaMA whose next character depends on the last one alone, with known probabilities.

    `next_of["a"]` maps the ASCII characters that follow "a" to their probabilities; "<|end|>" ends the text.
    Everything else is as good as impossible. The embeddings are one-hot and the layer does nothing, so the
    distribution can be read off the output matrix.
    """
    tokens, merges = byte_vocabulary()
    width, epsilon = 288, 1e-5
    zeros = np.zeros((width, width), np.float32)
    layer = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    output = np.full((len(tokens), width), -40.0, np.float32)
    for last, followers in next_of.items():
        for character, probability in followers.items():
            output[_token_of(character, tokens), _token_of(last, tokens)] = np.log(probability)
    tensors = {
        "token_embd.weight": np.eye(len(tokens), width, dtype=np.float32),
        "output_norm.weight": np.ones(width, np.float32),
        # The factor undoes the norm of a one-hot vector.
        "output.weight": output * np.float32(np.sqrt(1 / width + epsilon)),
        **{f"blk.0.{name}.weight": zeros for name in layer},
        **{f"blk.0.{name}_norm.weight": np.ones(width, np.float32) for name in ("attn", "ffn")},
    }
    keys = {
        "llama.context_length": 2048,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.rope.dimension_count": width // 4,
        "llama.attention.layer_norm_rms_epsilon": epsilon,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<|end|>" else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    return write_tiny_gguf(path, n_tokens=len(tokens), keys=keys, tensors=tensors)


def _token_of(character: str, tokens: list[str]) -> int:
    # Byte-level BPE shows the n-th unprintable byte as chr(256 + n); the line break is the tenth of them.
    shown = {"\n": chr(256 + ord("\n")), " ": chr(256 + 32)}
    return tokens.index(shown.get(character, character))


@pytest.fixture(scope="session")
def tiny_base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns `tiny_llama` as a Hugging Face folder in float32."""
    from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
    from genrec_edge.convert.checkpoint.hf_writer import write_folder

    folder = tmp_path_factory.mktemp("base") / "tiny"
    write_folder(read_gguf(tiny_llama), folder, "F32")
    return folder
