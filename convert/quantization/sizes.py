"""Estimates the size of a file of each type before it is written.

Source of the mixtures: src/llama-quant.cpp, `llama_tensor_get_type` and `tensor_type_fallback` (llama.cpp 0c1e57098).
Where llama.cpp gives only some layers more bits, all layers count as having them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT
from genrec_edge.convert.quantization.quantize import base_type
from genrec_edge.gguf.types import GGML_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor

_METADATA_BYTES = 8 << 20  # the largest tokenizer, of LLaMA 3, takes 7.8 MB
_UNIFORM = frozenset({"F32", "F16", "BF16", "Q8_0"})  # all matrices have the same type
_V, _DOWN, _O = "self_attn.v_proj", "mlp.down_proj", "self_attn.o_proj"
_RAISED: Mapping[str, Mapping[str, str]] = {
    "Q2_K": {_V: "Q4_K", _DOWN: "Q3_K", _O: "Q3_K"},
    "Q2_K_S": {_V: "Q4_K"},
    "Q3_K_M": {_V: "Q5_K", _DOWN: "Q4_K", _O: "Q4_K"},
    "Q3_K_L": {_V: "Q5_K", _DOWN: "Q5_K", _O: "Q5_K"},
    "Q4_K_S": {_V: "Q5_K"},
    "Q4_K_M": {_V: "Q6_K", _DOWN: "Q6_K"},
    "Q5_K_M": {_V: "Q6_K", _DOWN: "Q6_K"},
    "IQ1_S": {_V: "Q4_K", _O: "IQ2_XXS", EMBEDDING: "Q2_K"},
    "IQ1_M": {_V: "Q4_K", _O: "IQ2_XXS", EMBEDDING: "Q2_K"},
    "IQ2_XXS": {_V: "Q4_K", EMBEDDING: "Q2_K"},
    "IQ2_XS": {_V: "Q4_K", EMBEDDING: "Q2_K"},
    "IQ2_S": {_V: "Q4_K", _O: "IQ3_S", EMBEDDING: "IQ3_S"},
    "IQ2_M": {_V: "Q4_K", _O: "IQ3_S", EMBEDDING: "IQ3_S"},
    "IQ3_XXS": {_V: "Q4_K", _DOWN: "Q3_K", _O: "IQ3_S", EMBEDDING: "IQ3_S"},
    "IQ3_XS": {_V: "Q4_K"},
    "IQ3_S": {_V: "Q4_K"},
    "IQ3_M": {_V: "Q4_K", _O: "Q4_K"},
    "IQ4_NL": {_V: "Q5_K"},
    "IQ4_XS": {_V: "Q5_K"},
}
_OUTPUT = "Q6_K"
_FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows whose length is not a multiple of 256
_FALLBACK_OF_OTHERS = "Q4_0"
_MARGIN = 1.03  # some types give the first eighth of the layers more bits
_TYPES = {kind.name: kind for kind in GGML_TYPES.values()}


def estimate_bytes(checkpoint: Checkpoint, file_type: str) -> int:
    """Return an upper bound for the size of a file: at most 20 % too large, besides 8 MiB for metadata."""
    total = sum(_tensor_bytes(tensor, file_type, tied=checkpoint.config.tied) for tensor in checkpoint.tensors.values())
    return int(total * (1 if file_type in _UNIFORM else _MARGIN)) + _METADATA_BYTES


def _tensor_bytes(tensor: Tensor, file_type: str, *, tied: bool) -> float:
    if len(tensor.shape) == 1:
        return tensor.n_elements * 4
    kind = _TYPES[_tensor_type(tensor, file_type, tied=tied)]
    return tensor.n_elements * kind.block_bytes / kind.block_elements


def _tensor_type(tensor: Tensor, file_type: str, *, tied: bool) -> str:
    """Return the type of a matrix in a file."""
    kind = base_type(file_type)
    if file_type not in _UNIFORM:
        if tensor.name == OUTPUT or (tied and tensor.name == EMBEDDING):
            kind = _OUTPUT
        else:
            raised = _RAISED.get(file_type, {})
            kind = next((larger for part, larger in raised.items() if part in tensor.name), kind)
    row_length = tensor.shape[1]
    if row_length % _TYPES[kind].block_elements:
        kind = _FALLBACKS.get(kind, _FALLBACK_OF_OTHERS)
    return "F16" if row_length % _TYPES[kind].block_elements else kind
