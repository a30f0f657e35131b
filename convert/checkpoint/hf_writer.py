"""Writes a checkpoint as a Hugging Face folder, for training and for the comparison with transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.convert.checkpoint.config_hf import config_document
from genrec_edge.convert.checkpoint.hf_reader import WEIGHTS_NAME
from genrec_edge.convert.checkpoint.safetensors import NewTensor, write_safetensors
from genrec_edge.convert.hf_json import CONFIG_NAME
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor

_DTYPES = {"F16": np.float16, "F32": np.float32}


def write_folder(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: Literal["F16", "F32"],
    *,
    on_weights: Callable[[int], object] = lambda _n: None,
) -> None:
    """Write config, tokenizer and weights into `folder`, which is created; config.json is written last.

    Matrices are stored as `dtype`, vectors as F32. `on_weights` is called with the number of weights of each chunk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_hf_tokenizer(checkpoint.tokenizer, folder)
    stored = [_as_stored(tensor, dtype, on_weights) for tensor in checkpoint.tensors.values()]
    with atomic_write(folder / WEIGHTS_NAME) as file:
        write_safetensors(file, stored, {"format": "pt"})
    special = checkpoint.tokenizer.special
    ids = {f"{name}_token_id": special.get(name) for name in ("bos", "eos")}
    document = {**config_document(checkpoint.config), **ids, "dtype": "float16" if dtype == "F16" else "float32"}
    with atomic_write(folder / CONFIG_NAME) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")


def _as_stored(tensor: Tensor, dtype: Literal["F16", "F32"], on_weights: Callable[[int], object]) -> NewTensor:
    kind = dtype if len(tensor.shape) == 2 else "F32"

    def chunks() -> Iterator[NDArray[Any]]:
        for rows in tensor.row_chunks():
            chunk = tensor.read(rows).astype(_DTYPES[kind])
            yield chunk
            on_weights(chunk.size)

    return NewTensor(tensor.name, kind, tensor.shape, chunks())
