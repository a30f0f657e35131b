"""Checks that a GGUF file is a model that genrec-edge can run, before llama.cpp sees it.

llama.cpp answers some of these findings with `abort()`, which ends the host process. All findings of one file
are reported in one error.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_strings
from genrec_edge.gguf.types import ArrayInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.gguf.types import GgufHeader

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Mistral models say "llama": llama.cpp has no architecture of that name for them."""
TOKENIZERS = ("gpt2", "llama")

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS, src/llama-hparams.h: more abort
_MAX_TOKENS = 1 << 20  # four times as many as the largest vocabulary; what fits into a header takes 400 MB to check
_MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS, there too
_ROPE_SCALING = ("none", "linear", "yarn", "longrope")  # others abort (src/llama-model.cpp, load_hparams)
_NO_WEIGHTS = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})  # no matrix product, or intermediate
_SIZES = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
)


def check_runnable(header: GgufHeader) -> None:
    """Check that a file is a LLaMA-family model with a tokenizer. Reads the vocabulary.

    Raises:
        ModelInvalidError: it is not; the message lists everything that was found.
    """
    if reason := _other_kind(header):
        raise ModelInvalidError(f"{header.path} {reason}", hint="name a LLaMA-family model in GGUF format")
    if problems := _problems(header):
        message = f"{header.path} cannot be run: {problems}"
        raise ModelInvalidError(message, hint="convert or fetch the model again")


def why_not_runnable(header: GgufHeader) -> str:
    """Return everything for which `check_runnable` would refuse a file, or "". Reads the vocabulary."""
    return _other_kind(header) or _problems(header)


def _problems(header: GgufHeader) -> str:
    """Return everything that is wrong with a LLaMA-family model, or ""."""
    return "; ".join([*_hyperparameters(header), *_experts(header), *_weights(header), *_tokenizer(header)])


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


def _experts(header: GgufHeader) -> Iterator[str]:
    arch, metadata = header.architecture, header.metadata
    count = metadata.get(f"{arch}.expert_count", 0)
    used = metadata.get(f"{arch}.expert_used_count", 0)
    if not isinstance(count, int) or not isinstance(used, int) or not (count == used == 0 or 0 < used <= count):
        yield f"it uses {shown(used)} of {shown(count)} experts"
    elif count > _MAX_EXPERTS:
        yield f"it has {count} experts, more than {_MAX_EXPERTS}"
    if metadata.get(f"{arch}.expert_group_count", 0) != 0:
        yield f"{arch}.expert_group_count is set; grouped experts are not run"


def _weights(header: GgufHeader) -> Iterator[str]:
    tensors = {tensor.name: tensor for tensor in header.tensors}
    if odd := sorted({t.type for t in header.tensors} & _NO_WEIGHTS):
        yield f"its tensors are of type {', '.join(odd)}, which is not for weights"
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    n_embd = header.metadata.get(f"{header.architecture}.embedding_length")
    embedding = tensors.get("token_embd.weight")
    if embedding is None:
        yield "the tensor token_embd.weight is missing"
    elif isinstance(tokens, ArrayInfo) and embedding.shape != (n_embd, tokens.count):
        yield f"token_embd.weight has the shape {embedding.shape}, not ({shown(n_embd)}, {tokens.count})"
    if "output_norm.weight" not in tensors:
        yield "the tensor output_norm.weight is missing"


def _tokenizer(header: GgufHeader) -> Iterator[str]:
    metadata = header.metadata
    model = metadata.get("tokenizer.ggml.model")
    if model not in TOKENIZERS:
        yield f"its tokenizer is {shown(model)}, not one of {', '.join(TOKENIZERS)}"
        return
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, ArrayInfo) or tokens.kind != "string" or not tokens.count:
        yield "tokenizer.ggml.tokens is not a list of strings"
        return
    if tokens.count > _MAX_TOKENS:
        yield f"its vocabulary has {tokens.count:,} pieces, more than {_MAX_TOKENS:,}"
        return
    for name, kinds in (("scores", ("float32", "int32")), ("token_type", ("int32",))):
        array = metadata.get(f"tokenizer.ggml.{name}")
        optional = name == "token_type" or model == "gpt2"
        if array is None and optional:
            continue
        if not isinstance(array, ArrayInfo) or array.kind not in kinds or array.count != tokens.count:
            yield f"tokenizer.ggml.{name} is {shown(array)}, not one {kinds[0]} for each of {tokens.count} tokens"
    merges = metadata.get("tokenizer.ggml.merges")
    if model == "gpt2" and not (isinstance(merges, ArrayInfo) and merges.kind == "string"):
        yield f"tokenizer.ggml.merges is {shown(merges)}, not a list of strings"
    yield from _pieces(header, model)


def _pieces(header: GgufHeader, model: object) -> Iterator[str]:
    pieces = read_strings(header, "tokenizer.ggml.tokens")
    # llama.cpp gives each empty piece a name of its own; other duplicates abort (src/llama-vocab.cpp, load).
    named = [piece for piece in pieces if piece]
    if len(distinct := set(named)) < len(named):
        yield f"its vocabulary holds {len(named) - len(distinct)} pieces twice"
    # A text that needs a missing one throws through the C interface, which ends the process (byte_to_token).
    if model == "llama":
        missing = sum(not distinct & {b"<0x%02X>" % byte, bytes([byte])} for byte in range(256))
        if missing:
            yield f"its vocabulary has no piece for {missing} of the 256 bytes"


def shown(value: object) -> str:
    """Return a value of the metadata as a message shows it, shortened."""
    if value is None:
        return "missing"
    if isinstance(value, ArrayInfo):
        return f"a list of {value.count} {value.kind}"
    return reprlib.repr(value)
