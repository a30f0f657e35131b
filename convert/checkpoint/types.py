"""A model's weights, read on demand: what every stage of the conversion is given and gives on.

A checkpoint is a mapping from Hugging Face tensor names to recipes. Nothing is read until a recipe is asked for
some rows, so a stage that changes weights (a merge) wraps recipes and costs no memory. Knows no file format.
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
"""Which rows of a tensor: a slice with step 1, or an array of row numbers."""

CHUNK_ELEMENTS = 8 << 20
"""Weights held in memory at once by whoever walks through a tensor: 32 MiB as float32."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight of a checkpoint.

    Attributes:
        name: as transformers calls it, such as "model.layers.0.self_attn.q_proj.weight".
        shape: as in torch: rows (outputs) first; one or two dimensions.
        dtype: how it is stored: "F32", "F16", "BF16", or a quantized type of ggml.
        read: given rows, returns them as a new float32 array of shape (n, *shape[1:]).
        read_f16: the same as float16, where they are stored so and nothing changes them: saves two conversions.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Rows], NDArray[np.float32]]
    read_f16: Callable[[Rows], NDArray[np.float16]] | None = None

    @property
    def n_elements(self) -> int:
        """The number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    def read_all(self) -> NDArray[np.float32]:
        """Return the whole tensor."""
        return self.read(slice(0, self.shape[0]))

    def row_chunks(self) -> Iterator[slice]:
        """Yield slices that cover the rows in order, `CHUNK_ELEMENTS` weights or one row each."""
        step = max(1, CHUNK_ELEMENTS * self.shape[0] // self.n_elements)
        for start in range(0, self.shape[0], step):
            yield slice(start, min(start + step, self.shape[0]))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model to convert.

    Attributes:
        path: the folder or the GGUF it came from.
        files: every file that decides what it is, for hashing.
        tensors: by name; exactly those that its `config` calls for.
    """

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer
    tensors: Mapping[str, Tensor]
    files: tuple[Path, ...]

    @property
    def n_params(self) -> int:
        """The number of weights."""
        return sum(tensor.n_elements for tensor in self.tensors.values())
