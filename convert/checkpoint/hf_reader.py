"""Reads a Hugging Face folder as a checkpoint: one or several safetensors files with the tensors of its config."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.safetensors import StoredTensor, read_safetensors
from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT, expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.convert.tokenizer.hf import MODEL_NAME, TOKENIZER_NAME, read_hf_tokenizer
from genrec_edge.errors import ModelInvalidError, several

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.convert.checkpoint.config import ModelConfig

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_MAX_INDEX_BYTES = 16 << 20
_WEIGHT_TYPES = frozenset({"F32", "F16", "BF16"})
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
# Buffers, not weights; older versions of transformers stored them.
_BUFFER = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
_MAX_SHOWN = 8
_MAX_TEXT_LENGTH = 200


def read_folder(folder: Path) -> Checkpoint:
    """Open the checkpoint in `folder`; the weights stay on the disk. Read-only.

    Raises:
        ModelInvalidError: the checkpoint is not supported, or tensors are missing, unknown or of another shape; the
            first are named and the others counted.
    """
    config = read_config(folder)
    paths = _weight_files(folder)
    stored: dict[str, StoredTensor] = {}
    for path in paths:
        tensors = read_safetensors(path)
        if duplicates := sorted(stored.keys() & tensors.keys()):
            raise ModelInvalidError(
                f"{path} has tensors that an earlier shard has too: {_listed(duplicates)}",
                hint="fetch the checkpoint again",
            )
        stored |= tensors
    config, notes = _with_output(folder, config, stored)
    problems = _mismatches(stored, config)
    if problems:
        message = f"the weights of {folder} do not match its {CONFIG_NAME}: {_listed(problems)}"
        raise ModelInvalidError(message, hint="fetch the checkpoint again, weights and config.json together")
    json_paths = (folder / name for name in (CONFIG_NAME, TOKENIZER_NAME, MODEL_NAME))
    return Checkpoint(
        path=folder,
        config=config,
        tokenizer=read_hf_tokenizer(folder, config.vocab_size),
        tensors={name: _tensor(stored[name]) for name in expected_shapes(config)},
        files=tuple(path for path in (*json_paths, *paths) if path.is_file()),
        notes=(*notes, *_left_out(folder, paths, stored)),
    )


def _with_output(
    folder: Path, config: ModelConfig, stored: Mapping[str, StoredTensor]
) -> tuple[ModelConfig, tuple[str, ...]]:
    """Return the config, untied if the files hold another output matrix than the embedding, and a note of that.

    transformers does the same since version 5: `tie_weights` leaves matrices alone that are both there and differ.
    """
    output = stored.get(OUTPUT)
    if not config.tied or output is None or _are_same(output, stored.get(EMBEDDING), config):
        return config, ()
    note = (
        f"{folder / CONFIG_NAME} says that embedding and output are one matrix (tie_word_embeddings), and the weights"
        f" hold another {OUTPUT}: the two are kept apart"
    )
    return replace(config, tied=False), (note,)


def _are_same(output: StoredTensor, embedding: StoredTensor | None, config: ModelConfig) -> bool:
    """Return whether two matrices hold the same weights; not if one of them cannot be read, which is said later."""
    shape = expected_shapes(config)[EMBEDDING]
    if embedding is None or any(t.shape != shape or t.dtype not in _WEIGHT_TYPES for t in (output, embedding)):
        return False
    return _tensor(output).equals(_tensor(embedding))


def _left_out(folder: Path, paths: Sequence[Path], stored: Mapping[str, StoredTensor]) -> Iterator[str]:
    """Yield what the folder holds of weights that is not part of the model, and why."""
    if buffers := [name for name in stored if _BUFFER.fullmatch(name)]:
        yield f"not read: {_listed(buffers)}: the frequencies of the rotation, which follow from {CONFIG_NAME}"
    others = sorted(path.name for path in folder.glob("*.safetensors") if path not in paths)
    if others:
        yield f"not read: {_listed(others)} in {folder}, which hold no weights of this model"


def _tensor(stored: StoredTensor) -> Tensor:
    read_f16 = stored.read_f16 if stored.dtype == "F16" else None
    return Tensor(stored.name, stored.shape, stored.dtype, stored.read, read_f16)


def _weight_files(folder: Path) -> list[Path]:
    if (path := folder / WEIGHTS_NAME).exists():  # before the shards, as in transformers
        return [path]
    if (index_path := folder / INDEX_NAME).exists():
        return _shards(index_path)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelInvalidError(
            f"{folder} has its weights as pickle ({_listed(pickles)}), which can run code when it is loaded",
            hint="fetch the model as safetensors, or load and save it with transformers in a sandbox",
        )
    raise ModelInvalidError(f"{folder} has no {WEIGHTS_NAME} and no {INDEX_NAME}", hint="fetch the checkpoint again")


def _shards(index_path: Path) -> list[Path]:
    mapping = read_json(index_path, _MAX_INDEX_BYTES).get("weight_map")
    names: set[str] = set()
    if isinstance(mapping, dict) and all(isinstance(value, str) for value in mapping.values()):
        names = set(mapping.values())
    # A name with a path separator could lead outside the folder.
    if not names or any(not name.endswith(".safetensors") or set(name) & set("/\\\0") for name in names):
        message = f"{index_path} does not list the .safetensors files of its folder as weight_map"
        raise ModelInvalidError(message, hint="fetch the checkpoint again")
    paths = [index_path.with_name(name) for name in sorted(names)]
    if missing := [path.name for path in paths if not path.exists()]:
        message = f"{index_path.parent} lacks {_listed(missing)}"
        raise ModelInvalidError(message, hint="fetch the missing files of the checkpoint")
    return paths


def _mismatches(stored: Mapping[str, StoredTensor], config: ModelConfig) -> list[str]:
    expected = expected_shapes(config)
    problems = [f"{name} is missing" for name in expected if name not in stored]
    for name, tensor in stored.items():
        if name not in expected:
            if not _BUFFER.fullmatch(name) and not (name == OUTPUT and config.tied):
                problems.append(f"{name} is unknown")
        elif tensor.shape != expected[name]:
            problems.append(f"{name} has the shape {tensor.shape}, not {expected[name]}")
        elif tensor.dtype not in _WEIGHT_TYPES:
            problems.append(f"{name} is of type {tensor.dtype}, not one of {', '.join(sorted(_WEIGHT_TYPES))}")
    return problems


def _listed(texts: list[str]) -> str:
    return several([text[:_MAX_TEXT_LENGTH] for text in texts], most=_MAX_SHOWN, separator=", ")
