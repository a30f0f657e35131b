"""Checks that a LoRA adapter in GGUF format fits a model, before llama.cpp sees it.

llama.cpp throws on some of these findings, ends the process on others, and passes over the rest in silence. All
findings of one adapter are reported in one error.

Source: src/llama-adapter.cpp (loading), `build_lora_mm` and `build_inp_embd` in src/llama-graph.cpp (use),
llama.cpp 0c1e57098.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.errors import ModelInvalidError, UsageError, several
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.types import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.gguf.types import GgufHeader, TensorInfo

ALPHA = "adapter.lora.alpha"

_ALORA = "adapter.alora.invocation_tokens"
_A, _B = ".lora_a", ".lora_b"
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_TYPES = ("F32", "F16", "BF16", "Q8_0")  # all that converters write
_FLOAT32_SPAN = 4 + 4  # type and value
_MOST_SHOWN = 40


def find_adapter(spec: str | Path, model: GgufHeader) -> GgufHeader:
    """Return the header of the adapter file `spec`, which fits `model`. Read-only.

    Raises:
        UsageError: no such file, or a folder; the hint says how an adapter of PEFT is converted.
        ModelInvalidError: damaged, not an adapter, or one that does not fit; the message lists everything found.
    """
    path = Path(spec)
    try:
        path.stat()
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}", hint="name a LoRA adapter in GGUF format") from e
    folder = path if path.is_dir() else path.parent
    if (folder / "adapter_config.json").is_file() and path.suffix != ".gguf":
        command = f"genrec-edge convert --base BASE --adapter {folder} --as-adapter"
        raise UsageError(f"{path} is a PEFT adapter, not one in GGUF format", hint=f"convert it: {command}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not an adapter", hint="name a LoRA adapter in GGUF format")
    header = read_header(path)
    check_adapter(header, model)
    return header


def check_adapter(adapter: GgufHeader, model: GgufHeader) -> None:
    """Check that llama.cpp can apply all of `adapter` to `model`, which has passed `check_runnable`.

    Raises:
        ModelInvalidError: it cannot; the message lists everything that was found.
    """
    problems = list(adapter_problems(adapter))
    if not problems:
        problems = [*_architecture(adapter, model), *_tensors(adapter, model)]
    if problems:
        message = f"{adapter.path} cannot be used on {model.path}: {several(problems, most=_MOST_SHOWN)}"
        raise ModelInvalidError(message, hint="name an adapter made for this model, in GGUF format")


def adapter_problems(adapter: GgufHeader) -> Iterator[str]:
    """Yield everything that makes an adapter unusable on any model."""
    metadata = adapter.metadata
    for key, expected in (("general.type", "adapter"), ("adapter.type", "lora")):
        if (value := metadata.get(key)) != expected:
            yield f"{key} is {shown(value)}, not {expected!r}"
            return
    alpha = metadata.get(ALPHA)
    start, end = adapter.spans.get(ALPHA, (0, 0))
    # Another type aborts; 0 and a missing one would mean alpha = rank.
    if not isinstance(alpha, float) or end - start != _FLOAT32_SPAN or not math.isfinite(alpha) or alpha == 0:
        yield f"{ALPHA} is {shown(alpha)}, not a float32 other than 0"
    if _ALORA in metadata:
        yield "it is an activated LoRA (aLoRA), which works from a certain text on; such adapters are not supported"
    if not adapter.tensors:
        yield "it holds no tensors"
    names = {tensor.name for tensor in adapter.tensors}
    for tensor in adapter.tensors:
        half, other = (_A, _B) if tensor.name.endswith(_A) else (_B, _A)
        if not tensor.name.endswith(half):
            yield f"{tensor.name} is neither a {_A[1:]} nor a {_B[1:]}: merge the adapter into the model instead"
        elif tensor.name.removesuffix(half) + other not in names:
            yield f"{tensor.name} has no {other[1:]}"
        if tensor.type not in _TYPES:
            yield f"{tensor.name} is of type {tensor.type}, not one of {', '.join(_TYPES)}"


def lora_pairs(adapter: GgufHeader) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    """Return A and B by the name of the weight they change; halves without the other are left out."""
    tensors = {tensor.name: tensor for tensor in adapter.tensors}
    names = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
    return {name: (tensors[name + _A], tensors[name + _B]) for name in names if name + _B in tensors}


def _architecture(adapter: GgufHeader, model: GgufHeader) -> Iterator[str]:
    if adapter.architecture != model.architecture:
        yield f"it is for a {shown(adapter.architecture)} model, and this is a {model.architecture} model"


def _tensors(adapter: GgufHeader, model: GgufHeader) -> Iterator[str]:
    weights = {tensor.name: tensor for tensor in model.tensors}
    for name, (a, b) in lora_pairs(adapter).items():
        if name == _EMBEDDING and _OUTPUT not in weights:
            # The output would look up the same pair, whose halves are swapped for the embedding, and abort.
            yield f"{name} is the output of this model too, which no adapter in GGUF format can change: merge it"
        elif name not in weights:
            yield f"{name} is not a tensor of this model"
        elif not _is_matrix(weights[name].shape):
            yield f"{name} is not a matrix in this model; adapters change matrices"
        elif weights[name].type == "NVFP4" and f"{name.removesuffix('.weight')}.scale" in weights:
            # build_ffn aborts on one (src/llama-graph.cpp).
            yield f"{name} is of type NVFP4 with a scale, which no adapter can change: merge it into another type"
        elif not _fits(name, a.shape, b.shape, weights[name].shape):
            yield f"{name}: {a.shape} and {b.shape} do not fit the model's {weights[name].shape}"


def _is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of rows, of which llama.cpp would take a single one without ever using it."""
    return len(shape) == 2 and shape[1] > 1


def _fits(name: str, a: tuple[int, ...], b: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether A and B have one rank and the sides of the weight. ggml's order: row length first."""
    if len(a) != 2 or len(b) != 2:
        return False
    columns, rows = weight
    if name == _EMBEDDING:  # A is looked up by token, so it lies the other way round
        return a == (b[0], rows) and b[1] == columns
    return a == (columns, b[0]) and b[1] == rows
