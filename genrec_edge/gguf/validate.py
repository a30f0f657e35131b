"""Checks that a GGUF file is a model that genrec-edge can run, before llama.cpp sees it.

llama.cpp answers some of these findings with `abort()`, which ends the host process. All findings of one file
are reported in one error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.tensors import ModelSizes, tensor_problems, type_problems
from genrec_edge.gguf.types import ArrayInfo, shown
from genrec_edge.gguf.vocabulary import vocabulary_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.gguf.types import GgufHeader

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Mistral models say "llama": llama.cpp has no architecture of that name for them."""
_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS, src/llama-hparams.h: more abort
_MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS, there too
_ROPE_SCALING = ("none", "linear", "yarn", "longrope")  # others abort (src/llama-model.cpp, load_hparams)
_SIZES = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
)


def check_runnable(header: GgufHeader, *, to_convert: bool = False) -> None:
    """Check that a file is a LLaMA-family model with a tokenizer. Reads the vocabulary.

    Args:
        header: of the file.
        to_convert: whether it is only read, to be written anew, by what compares names and shapes of tensors itself;
            norms and biases need not be F32 then.

    Raises:
        ModelInvalidError: it is not; the message lists everything that was found.
    """
    if reason := _other_kind(header):
        raise ModelInvalidError(f"{header.path} {reason}", hint="name a LLaMA-family model in GGUF format")
    if problems := _problems(header, to_convert=to_convert):
        message = f"{header.path} cannot be run: {problems}"
        raise ModelInvalidError(message, hint="convert or fetch the model again")


def why_not_runnable(header: GgufHeader) -> str:
    """Return everything for which `check_runnable` would refuse a file, or "". Reads the vocabulary."""
    return _other_kind(header) or _problems(header)


def _problems(header: GgufHeader, *, to_convert: bool = False) -> str:
    """Return everything that is wrong with a LLaMA-family model, or ""."""
    return "; ".join(
        [
            *_hyperparameters(header),
            *_numbers(header),
            *_graph(header),
            *_experts(header),
            *_weights(header, to_convert=to_convert),
            *vocabulary_problems(header),
        ]
    )


def context_length(header: GgufHeader) -> int:
    """Return how many tokens a model that has passed `check_runnable` was trained on at once."""
    value = header.metadata.get(f"{header.architecture}.context_length")
    return value if isinstance(value, int) else 0


def model_sizes(header: GgufHeader) -> ModelSizes | None:
    """Return the sizes of a model, or None if the metadata do not say them as `check_runnable` demands."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, ArrayInfo) or any((*_hyperparameters(header), *_experts(header))):
        return None
    arch, metadata = header.architecture, header.metadata

    def size(name: str, otherwise: int = 0) -> int:
        value = metadata.get(f"{arch}.{name}", otherwise)
        return value if isinstance(value, int) else otherwise

    n_embd, n_heads = size("embedding_length"), size("attention.head_count")
    rope_factors: tuple[str, ...] = ()
    if arch == "llama":
        is_long = metadata.get(f"{arch}.rope.scaling.type") == "longrope"
        rope_factors = ("rope_factors_long.weight", "rope_factors_short.weight") if is_long else ("rope_freqs.weight",)
    return ModelSizes(
        architecture=arch,
        n_vocab=tokens.count,
        n_embd=n_embd,
        n_layers=size("block_count"),
        n_ff=size("feed_forward_length"),
        n_heads=n_heads,
        n_heads_kv=size("attention.head_count_kv", n_heads),
        head_size=size("attention.key_length", n_embd // n_heads),
        n_experts=size("expert_count"),
        rope_factors=rope_factors,
    )


def _other_kind(header: GgufHeader) -> str:
    """Return what the file is instead of a LLaMA-family model, or ""."""
    metadata = header.metadata
    kind = metadata.get("general.type", "model")
    if kind != "model":
        return f"is of type {shown(kind)}, not a model"
    if not header.architecture:
        return "does not say its architecture (no general.architecture)"
    if header.architecture not in ARCHITECTURES:
        return f"is a {shown(header.architecture)} model; genrec-edge runs {', '.join(ARCHITECTURES)}"
    parts = metadata.get("split.count", 1)
    if parts not in {0, 1}:
        return f"is one of {shown(parts)} parts of a split model; merge them with llama-gguf-split first"
    if not header.tensors:
        return "holds a vocabulary and no weights"
    return ""


def _hyperparameters(header: GgufHeader) -> Iterator[str]:
    arch, metadata = header.architecture, header.metadata
    sizes = {}
    for name in _SIZES:
        value = metadata.get(f"{arch}.{name}")
        if isinstance(value, int) and value > 0:
            sizes[name] = value
        else:
            yield f"{arch}.{name} is {shown(value)}, not a positive number"
    epsilon = metadata.get(f"{arch}.attention.layer_norm_rms_epsilon")
    if not (isinstance(epsilon, float) and 0 < epsilon < 1):
        yield f"{arch}.attention.layer_norm_rms_epsilon is {shown(epsilon)}, not between 0 and 1"
    if (scaling := metadata.get(f"{arch}.rope.scaling.type", "none")) not in _ROPE_SCALING:
        yield f"{arch}.rope.scaling.type is {shown(scaling)}, not one of {', '.join(_ROPE_SCALING)}"
    if metadata.get(f"{arch}.nextn_predict_layers", 0) != 0:
        yield f"{arch}.nextn_predict_layers is set; such layers are not run"
    if len(sizes) < len(_SIZES):
        return
    if sizes["block_count"] > _MAX_LAYERS:
        yield f"{arch}.block_count is {sizes['block_count']}, more than {_MAX_LAYERS}"
    yield from _heads(header, sizes["embedding_length"], sizes["attention.head_count"])


def _heads(header: GgufHeader, n_embd: int, n_head: int) -> Iterator[str]:
    arch, metadata = header.architecture, header.metadata
    n_head_kv = metadata.get(f"{arch}.attention.head_count_kv", n_head)
    if not isinstance(n_head_kv, int) or n_head_kv < 1 or n_head % n_head_kv:
        yield f"{n_head} heads cannot share {shown(n_head_kv)} key-value heads"
    key = metadata.get(f"{arch}.attention.key_length", n_embd // n_head)
    value = metadata.get(f"{arch}.attention.value_length", n_embd // n_head)
    rope = metadata.get(f"{arch}.rope.dimension_count", key)
    # The graphs of all three architectures abort on unequal ones (GGML_ASSERT(n_embd_head == n_rot)), and
    # rotation takes the numbers of a head in pairs.
    if not (isinstance(key, int) and key == value == rope and key > 0 and key % 2 == 0):
        sizes = f"key {shown(key)}, value {shown(value)}, rotated {shown(rope)}"
        yield f"the sizes of a head are not one even number ({sizes})"
    elif arch == "qwen2" and key * n_head != n_embd:
        # Its matrices are loaded as if it were so; the graph then aborts (src/models/qwen2.cpp, load_arch_tensors).
        yield f"{n_head} heads of {key} numbers are not the {n_embd} of a token"


def _numbers(header: GgufHeader) -> Iterator[str]:
    """Yield what would make every number that is computed none."""
    arch = header.architecture
    base = header.metadata.get(f"{arch}.rope.freq_base", 10000.0)
    if not (isinstance(base, float) and math.isfinite(base) and base > 0):
        yield f"{arch}.rope.freq_base is {shown(base)}, not a positive number"
    for key, value in header.metadata.items():
        if key.startswith(f"{arch}.rope.scaling.") and isinstance(value, float) and not math.isfinite(value):
            yield f"{key} is {shown(value)}"


def _graph(header: GgufHeader) -> Iterator[str]:
    """Yield what makes a model of the family something else than a causal language model."""
    arch, metadata = header.architecture, header.metadata
    if (causal := metadata.get(f"{arch}.attention.causal", True)) is not True:
        # Such calls may have no more tokens than are computed together, or abort (src/llama-context.cpp, decode).
        yield f"{arch}.attention.causal is {shown(causal)}; only models that look back run here"
    if (pooling := metadata.get(f"{arch}.pooling_type", 0)) != 0:
        yield f"{arch}.pooling_type is {shown(pooling)}; models of embeddings are not run"
    width = metadata.get(f"{arch}.embedding_length")
    if (out := metadata.get(f"{arch}.embedding_length_out", width)) != width:
        yield f"{arch}.embedding_length_out is {shown(out)}, not {shown(width)} as {arch}.embedding_length"


def _experts(header: GgufHeader) -> Iterator[str]:
    arch, metadata = header.architecture, header.metadata
    count = metadata.get(f"{arch}.expert_count", 0)
    used = metadata.get(f"{arch}.expert_used_count", 0)
    if not isinstance(count, int) or not isinstance(used, int) or not (count == used == 0 or 0 < used <= count):
        yield f"it uses {shown(used)} of {shown(count)} experts"
    elif count > _MAX_EXPERTS:
        yield f"it has {count} experts, more than {_MAX_EXPERTS}"
    elif count and arch != "llama":
        yield f"it has {count} experts, which llama.cpp does not run in a {arch} model"
    if metadata.get(f"{arch}.expert_group_count", 0) != 0:
        yield f"{arch}.expert_group_count is set; grouped experts are not run"


def _weights(header: GgufHeader, *, to_convert: bool) -> Iterator[str]:
    tensors = {tensor.name: tensor for tensor in header.tensors}
    yield from type_problems(tensors)
    if to_convert and len(getattr(tensors.get("token_embd.weight"), "shape", ())) != 2:
        yield "token_embd.weight is missing or not a matrix"
    sizes = None if to_convert else model_sizes(header)
    if sizes is not None:
        yield from tensor_problems(tensors, sizes)
