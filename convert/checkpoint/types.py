"""A model's weights, read on demand: the form in which the stages of a conversion pass a model on.

A checkpoint maps Hugging Face tensor names to tensors, which read rows when asked. A stage that changes weights, such
as a merge, wraps `read` and takes no memory for the whole. Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.config import ModelConfig
    from genrec_edge.convert.tokenizer.types import Tokenizer

Rows = slice | np.ndarray
"""Rows of a tensor: a slice with step 1, or an array of row numbers."""

CHUNK_ELEMENTS = 8 << 20
"""Weights per chunk of `Tensor.row_chunks`: 32 MiB as float32."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight of a checkpoint.

    Attributes:
        name: the name in transformers, such as "model.layers.0.self_attn.q_proj.weight".
        shape: as in torch: rows (outputs) first; one or two dimensions.
        dtype: the stored type: "F32", "F16", "BF16", or a quantized type of ggml.
        read: returns rows as a new float32 array of shape (n, *shape[1:]).
        read_f16: the same as float16, which saves two conversions; None unless the weights are F16 and unchanged.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Rows], NDArray[np.float32]]
    read_f16: Callable[[Rows], NDArray[np.float16]] | None = None

    def equals(self, other: Tensor) -> bool:
        """Return whether another tensor has the same shape and weights. Reads both, a chunk at a time."""
        return self.shape == other.shape and all(
            np.array_equal(self.read(rows), other.read(rows)) for rows in self.row_chunks()
        )

    @property
    def n_elements(self) -> int:
        """The number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    def read_all(self) -> NDArray[np.float32]:
        """Return the whole tensor."""
        return self.read(slice(0, self.shape[0]))

    def row_chunks(self) -> Iterator[slice]:
        """Yield slices that cover all rows in order, each of at most `CHUNK_ELEMENTS` weights or of one row."""
        step = max(1, CHUNK_ELEMENTS * self.shape[0] // self.n_elements)
        for start in range(0, self.shape[0], step):
            yield slice(start, min(start + step, self.shape[0]))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model to convert.

    Attributes:
        path: the folder or the GGUF it was read from.
        tensors: by name; exactly the tensors that `config` requires.
        files: all files that it depends on, for hashing.
        notes: what the user should know of how it was read, a sentence each: decisions, and what was left out.
    """

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer
    tensors: Mapping[str, Tensor]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_params(self) -> int:
        """The number of weights."""
        return sum(tensor.n_elements for tensor in self.tensors.values())
