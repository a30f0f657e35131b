"""Describes a GGUF file as JSON: what it is, whether it can be run, where it comes from.

Needs the header alone, of any well-formed file: a model of any architecture, a vocabulary, an adapter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from genrec_edge.gguf.adapter import ALPHA, adapter_problems, lora_pairs
from genrec_edge.gguf.training_keys import NAMESPACE
from genrec_edge.gguf.types import ArrayInfo
from genrec_edge.gguf.validate import why_not_runnable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.gguf.types import GgufHeader, Scalar

_GENERAL = ("name", "basename", "size_label", "finetune", "version", "license", "quantized_by", "author")
_SHAPE = {
    "context_length": "context_length",
    "block_count": "layers",
    "embedding_length": "width",
    "feed_forward_length": "feed_forward",
    "attention.head_count": "heads",
    "attention.head_count_kv": "kv_heads",
    "attention.key_length": "head_size",
    "rope.freq_base": "rope_base",
}
_BASE_MODEL = re.compile(r"general\.base_model\.(\d+)\.(?:repo_url|name)")
_LAYER = re.compile(r"blk\.\d+\.")


def describe_header(header: GgufHeader) -> dict[str, Any]:
    """Return everything a header says as the payload of `genrec-edge/inspect@1`. Reads the vocabulary."""
    metadata = header.metadata
    why_not = why_not_runnable(header)
    return {
        "path": str(header.path),
        "size_bytes": header.file_size,
        "gguf_version": header.version,
        "kind": _kind(header),
        "runs": not why_not,
        "why_not": why_not or None,
        "architecture": header.architecture,
        "file_type": header.quant,
        "n_params": header.n_params,
        "general": {name: json_value(metadata[key]) for name in _GENERAL if (key := f"general.{name}") in metadata},
        "base_models": _base_models(header),
        "model": {
            name: json_value(metadata[key])
            for suffix, name in _SHAPE.items()
            if (key := f"{header.architecture}.{suffix}") in metadata
        },
        "tokenizer": _tokenizer(metadata),
        "adapter": _adapter(header) if _kind(header) == "adapter" else None,
        "provenance": {
            key.removeprefix(f"{NAMESPACE}."): json_value(v)
            for key, v in metadata.items()
            if key.startswith(f"{NAMESPACE}.")
        },
        "types": _types(header),
        "metadata": {key: json_value(value) for key, value in metadata.items()},
        "tensors": [
            {"name": t.name, "shape": list(t.shape), "type": t.type, "offset": t.offset, "bytes": t.n_bytes}
            for t in header.tensors
        ],
    }


def json_value(value: Scalar | ArrayInfo | None) -> Any:
    """Return a value of the metadata as JSON has it; of an array too long to be kept, its kind and length."""
    if not isinstance(value, ArrayInfo):
        return value
    if value.values is not None:
        return list(value.values)
    return {"array": value.kind, "count": value.count}


def _kind(header: GgufHeader) -> str:
    kind = str(json_value(header.metadata.get("general.type", "model")))
    return "vocabulary" if kind == "model" and not header.tensors else kind


def _base_models(header: GgufHeader) -> list[str]:
    """Return the addresses of what the model was made from, or the names of those without one."""
    found: dict[int, str] = {}
    for key, value in header.metadata.items():
        match = _BASE_MODEL.fullmatch(key)
        if match and isinstance(value, str) and (key.endswith("repo_url") or int(match[1]) not in found):
            found[int(match[1])] = value
    return [found[number] for number in sorted(found)]


def _tokenizer(metadata: Mapping[str, Scalar | ArrayInfo]) -> dict[str, Any]:
    prefix = "tokenizer.ggml."
    tokens, template = metadata.get(f"{prefix}tokens"), metadata.get("tokenizer.chat_template")
    return {
        "model": json_value(metadata.get(f"{prefix}model")),
        "pre": json_value(metadata.get(f"{prefix}pre")),
        "n_tokens": tokens.count if isinstance(tokens, ArrayInfo) else None,
        "chat_template_characters": len(template) if isinstance(template, str) else None,
    }


def _adapter(header: GgufHeader) -> dict[str, Any]:
    found = lora_pairs(header)
    return {
        "type": json_value(header.metadata.get("adapter.type")),
        "alpha": json_value(header.metadata.get(ALPHA)),
        "ranks": sorted({b.shape[0] for _, b in found.values()}),
        "matrices": len(found),
        "targets": sorted({_LAYER.sub("", name).removesuffix(".weight") for name in found}),
        "problems": list(adapter_problems(header)),
    }


def _types(header: GgufHeader) -> list[dict[str, Any]]:
    """Return how many tensors there are of each type, their bytes and the share of them in all, largest first."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for tensor in header.tensors:
        counts[tensor.type] = counts.get(tensor.type, 0) + 1
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.n_bytes
    total = sum(sizes.values())
    largest_first = sorted(counts, key=lambda kind: -sizes[kind])
    return [
        {"type": kind, "tensors": counts[kind], "bytes": sizes[kind], "share": sizes[kind] / total}
        for kind in largest_first
    ]
