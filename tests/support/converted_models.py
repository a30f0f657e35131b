"""A tiny model in all forms of a conversion, made without our own code where that is possible."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.convert.verification.run import verify
from genrec_edge.engine.bindings import quantize
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from genrec_edge.convert.verification.results import Verification

N_HEADS, N_KV_HEADS = 4, 2


@dataclass(frozen=True)
class ConvertedModels:
    """A tiny model in all forms: what it was converted from, the conversion, quantizations, and one gone wrong."""

    checkpoint: Path
    f16: Path
    q8: Path
    q4: Path
    bad: Path
    catalog: Path


@pytest.fixture(scope="session")
def converted_models(tiny_llama: Path, films_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertedModels:
    folder = tmp_path_factory.mktemp("converted")
    source = soften(tiny_llama, folder / "source.gguf")
    made = ConvertedModels(
        checkpoint=write_checkpoint(folder / "checkpoint", source),
        f16=folder / "tiny-F16.gguf",
        q8=folder / "tiny-Q8_0.gguf",
        q4=folder / "tiny-Q4_0.gguf",
        bad=folder / "tiny-bad-Q4_0.gguf",
        catalog=folder / "some-films.db",
    )
    quantize(source, made.f16, "F16", n_threads=1)
    quantize(made.f16, made.q8, "Q8_0", n_threads=1)
    quantize(made.f16, made.q4, "Q4_0", n_threads=1)
    scramble(made.q4, made.bad)
    with Catalog.open(films_path) as films:
        rows = [row for row, _, _ in films.titles()][:17_472:150]
        items = [{"id": item.id, "title": item.title, "year": item.year} for item in films.items(rows)]
    (folder / "films.json").write_text(json.dumps(items), encoding="utf-8")
    build(folder / "films.json", made.catalog)
    return made


def soften(source: Path, target: Path) -> Path:
    """Copy the tiny LLaMA with half the weights, as half floats can hold them: the larger ones amplify rounding."""
    data = bytearray(source.read_bytes())
    for tensor in read_header(source).tensors:
        if len(tensor.shape) == 2:
            weights = np.frombuffer(data, np.float32, tensor.n_elements, tensor.offset)
            weights[:] = (weights / 2).astype(np.float16)
    target.write_bytes(data)
    return target


def write_checkpoint(folder: Path, source: Path) -> Path:
    """Write the tiny LLaMA as a Hugging Face folder, without any of our own code."""
    folder.mkdir()
    reader = gguf.GGUFReader(source)
    parts = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "token_embd": "embed_tokens", "output_norm": "norm",
    }  # fmt: skip
    tensors = {}
    for tensor in reader.tensors:
        *block, part, _ = tensor.name.split(".")
        data = np.array(tensor.data)
        for name, n_heads in (("attn_q", N_HEADS), ("attn_k", N_KV_HEADS)):
            if part == name:  # back to rotating halves
                pairs = data.reshape(n_heads, data.shape[0] // n_heads // 2, 2, data.shape[1])
                data = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(data.shape))
        prefix = f"model.layers.{block[1]}" if block else "model"
        tensors[f"{prefix}.{parts[part]}.weight"] = data
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(tokens), "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": None, "eos_token_id": len(tokens) - 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, tokens, reader.fields["tokenizer.ggml.merges"].contents())
    return folder


def write_tokenizer(folder: Path, tokens: Sequence[str], merges: Sequence[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs: Any = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokens[-1]])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokens[-1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def scramble(source: Path, target: Path) -> None:
    """Copy a GGUF with the quants of each matrix in another order, their scales in place."""
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(1)
    for tensor in read_header(source).tensors:
        if block_bytes := {"Q4_0": 18, "Q8_0": 34}.get(tensor.type):
            blocks = np.frombuffer(data, np.uint8, tensor.n_bytes, tensor.offset).reshape(-1, block_bytes)
            blocks[:, 2:] = rng.permutation(blocks[:, 2:].ravel()).reshape(-1, block_bytes - 2)
    target.write_bytes(data)


def small_verify(
    converted_models: ConvertedModels, files: list[Path], checkpoint: Path | None, **changed: Any
) -> Verification:
    sizes = {"n_titles": 30, "n_positions": 40, "n_histories": 1, "n_threads": 1, "seed": 0, "test": None}
    reference = changed.pop("reference", converted_models.f16)
    return verify(reference, files, checkpoint=checkpoint, catalog=converted_models.catalog, **{**sizes, **changed})
