"""The tensors of a model of the LLaMA family: their names, their shapes, and the types that llama.cpp computes with.

llama.cpp checks names and shapes and says what is wrong. It does not check types: what is added to, multiplied with or
rotated by must be F32, and anything else ends the process in the first call of the model.

Source: src/models/llama.cpp, qwen2.cpp and qwen3.cpp; `load_tensors` and `create_tensor_qkv` in src/llama-model.cpp;
`build_qkv`, `build_ffn` and `build_moe_ffn` in src/llama-graph.cpp (llama.cpp 0c1e57098).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from genrec_edge.errors import several

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from genrec_edge.gguf.types import TensorInfo

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"

_NO_WEIGHTS = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})  # no matrix product, or intermediate
_NVFP4 = "NVFP4"
_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """What the metadata say of the shape of a model; `n_experts` is 0 for a dense one.

    `rope_factors` are the names of tensors that the rotation of its architecture and kind of scaling may use.
    """

    architecture: str
    n_vocab: int
    n_embd: int
    n_layers: int
    n_ff: int
    n_heads: int
    n_heads_kv: int
    head_size: int
    n_experts: int = 0
    rope_factors: tuple[str, ...] = ()

    @property
    def q_width(self) -> int:
        """The numbers of all queries of one token."""
        return self.n_heads * self.head_size

    @property
    def kv_width(self) -> int:
        """The numbers of all keys of one token, which has as many values."""
        return self.n_heads_kv * self.head_size


class Expected(NamedTuple):
    """What llama.cpp expects of one tensor: its shape, without ones at the end; and a matrix may be quantized."""

    shape: tuple[int, ...]
    is_required: bool
    is_matrix: bool


def tensor_problems(tensors: Mapping[str, TensorInfo], sizes: ModelSizes) -> Iterator[str]:
    """Yield everything that is wrong with the tensors of a model of these sizes, by name; an empty one for none."""
    expected = dict(_expected(tensors, sizes))
    missing = [name for name, wanted in expected.items() if wanted.is_required and name not in tensors]
    if missing:
        yield f"{_named(missing)} missing"
    if unknown := [name for name in tensors if name not in expected]:
        yield f"{_named(unknown)} not part of a {sizes.architecture} model that llama.cpp runs"
    present = [(tensors[name], wanted) for name, wanted in expected.items() if name in tensors]
    wrong_shapes = [
        f"{tensor.name} has the shape {tensor.shape}, not {wanted.shape}"
        for tensor, wanted in present
        if _without_ones(tensor.shape) != _without_ones(wanted.shape)
    ]
    if wrong_shapes:
        yield several(wrong_shapes, most=_MOST_SHOWN)
    vectors = [
        f"{tensor.name} is of type {tensor.type}"
        for tensor, wanted in present
        if not wanted.is_matrix and tensor.type != "F32"
    ]
    if vectors:
        yield f"{several(vectors, most=_MOST_SHOWN, separator=', ')}; llama.cpp needs F32 there"
    yield from _nvfp4_problems(tensors)


def type_problems(tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield the types of tensors with which llama.cpp computes nothing."""
    if odd := sorted({tensor.type for tensor in tensors.values()} & _NO_WEIGHTS):
        yield f"its tensors are of type {', '.join(odd)}, which is not for weights"


def _expected(tensors: Mapping[str, TensorInfo], sizes: ModelSizes) -> Iterator[tuple[str, Expected]]:
    """Yield the names of all tensors that a model of these sizes may have; some depend on which others there are."""
    n_embd, n_vocab = sizes.n_embd, sizes.n_vocab
    yield EMBEDDING, _matrix(n_embd, n_vocab)
    yield "output_norm.weight", _vector(n_embd)
    yield OUTPUT, _matrix(n_embd, n_vocab, is_required=False)
    if sizes.architecture == "qwen2":
        yield "output.bias", _vector(n_vocab, is_required=False)
    if OUTPUT in tensors and tensors[OUTPUT].type == _NVFP4:
        yield from _scales("output", 1)
    has_factors = any(name in tensors for name in sizes.rope_factors)
    for name in sizes.rope_factors:
        yield name, _vector(sizes.head_size // 2, is_required=has_factors)  # one alone is not used at some lengths
    for layer in range(sizes.n_layers):
        yield from _layer(f"blk.{layer}.", tensors, sizes)


def _layer(blk: str, tensors: Mapping[str, TensorInfo], sizes: ModelSizes) -> Iterator[tuple[str, Expected]]:
    yield f"{blk}attn_norm.weight", _vector(sizes.n_embd)
    yield from _attention(blk, tensors, sizes)
    yield f"{blk}attn_output.weight", _matrix(sizes.q_width, sizes.n_embd)
    yield from _scales(f"{blk}attn_output", 1)
    if sizes.architecture == "qwen3":
        yield f"{blk}attn_q_norm.weight", _vector(sizes.head_size)
        yield f"{blk}attn_k_norm.weight", _vector(sizes.head_size)
    yield f"{blk}ffn_norm.weight", _vector(sizes.n_embd)
    if sizes.n_experts:
        yield f"{blk}ffn_gate_inp.weight", _matrix(sizes.n_embd, sizes.n_experts)
    has_biases = sizes.architecture == "llama"
    if has_biases:
        yield f"{blk}attn_output.bias", _vector(sizes.n_embd, is_required=False)
    for name, columns, rows in (
        ("ffn_gate", sizes.n_embd, sizes.n_ff),
        ("ffn_up", sizes.n_embd, sizes.n_ff),
        ("ffn_down", sizes.n_ff, sizes.n_embd),
    ):
        if sizes.n_experts:
            yield f"{blk}{name}_exps.weight", _matrix(columns, rows, sizes.n_experts)
            yield from _scales(f"{blk}{name}_exps", sizes.n_experts)
            continue
        yield f"{blk}{name}.weight", _matrix(columns, rows)
        if has_biases:
            yield f"{blk}{name}.bias", _vector(rows, is_required=False)
        if sizes.architecture != "qwen2":  # whose graph leaves these out in silence
            yield from _scales(f"{blk}{name}", 1)


def _attention(blk: str, tensors: Mapping[str, TensorInfo], sizes: ModelSizes) -> Iterator[tuple[str, Expected]]:
    """Yield queries, keys and values: in one matrix, or in three."""
    rows = {"q": sizes.q_width, "k": sizes.kv_width, "v": sizes.kv_width}
    is_fused = f"{blk}attn_qkv.weight" in tensors
    if is_fused:
        yield f"{blk}attn_qkv.weight", _matrix(sizes.n_embd, sum(rows.values()))
        yield from _scales(f"{blk}attn_qkv", 1)
    else:
        for name, n_rows in rows.items():
            yield f"{blk}attn_{name}.weight", _matrix(sizes.n_embd, n_rows)
            yield from _scales(f"{blk}attn_{name}", 1)
    if is_fused and f"{blk}attn_qkv.bias" in tensors:
        yield f"{blk}attn_qkv.bias", _vector(sum(rows.values()))
        return
    any_bias = any(f"{blk}attn_{name}.bias" in tensors for name in rows)
    for name, n_rows in rows.items():  # beside a single matrix llama.cpp adds all three or none
        yield f"{blk}attn_{name}.bias", _vector(n_rows, is_required=is_fused and any_bias)


def _nvfp4_problems(tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield matrices of the feed-forward networks for which llama.cpp ends the process: scaled, and with a bias."""
    for name, tensor in tensors.items():
        stem = name.removesuffix(".weight")
        if ".ffn_" in name and tensor.type == _NVFP4 and f"{stem}.scale" in tensors and f"{stem}.bias" in tensors:
            yield f"{name} is of type {_NVFP4} and has both a scale and a bias, which llama.cpp does not compute"


def _scales(stem: str, n: int) -> Iterator[tuple[str, Expected]]:
    yield f"{stem}.scale", _vector(n, is_required=False)
    yield f"{stem}.input_scale", _vector(n, is_required=False)


def _matrix(*shape: int, is_required: bool = True) -> Expected:
    return Expected(shape, is_required, is_matrix=True)


def _vector(n: int, *, is_required: bool = True) -> Expected:
    return Expected((n,), is_required, is_matrix=False)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape as llama.cpp compares it: it has four sides, and those that are not given are 1."""
    end = len(shape)
    while end and shape[end - 1] == 1:
        end -= 1
    return shape[:end]


def _named(names: list[str]) -> str:
    """Return "the tensor a is" or "the tensors a, b are", for the words that follow."""
    if len(names) == 1:
        return f"the tensor {names[0]} is"
    return f"the tensors {several(names, most=_MOST_SHOWN, separator=', ')} are"
