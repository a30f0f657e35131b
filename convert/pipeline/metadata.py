"""The metadata of a converted file: the `general.*` keys of the GGUF convention, and our own `genrec_edge.*`.

Source of the keys: docs/gguf.md of ggml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf

from genrec_edge._version import __version__
from genrec_edge.catalog.titles import clean
from genrec_edge.convert.checkpoint.layers import format_layers
from genrec_edge.convert.pipeline.naming import MODEL_VERSION, base_name, size_label
from genrec_edge.convert.pipeline.training_record import training_record
from genrec_edge.gguf.training_keys import (
    DEFAULT_PROMPT,
    LAYERS_KEY,
    LAYERS_OF_KEY,
    NAMESPACE,
    PROMPT_KEY,
    TRAIN_PREFIX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

_SCHEMA_VERSION = 1


def model_metadata(
    checkpoint: Checkpoint, adapters: Sequence[Adapter], name: str, licence: str
) -> dict[str, MetadataValue]:
    """Return the metadata of a checkpoint with these adapters merged into it."""
    config, record = checkpoint.config, training_record(checkpoint, adapters)
    fields = general_fields(name, licence, base_name(checkpoint.path), checkpoint.n_params, record)
    if config.n_layers < config.n_original_layers:
        fields |= {LAYERS_KEY: format_layers(config.layers), LAYERS_OF_KEY: config.n_original_layers}
    fields[f"{NAMESPACE}.adapter_count"] = len(adapters)
    for i, adapter in enumerate(adapters):
        fields |= adapter_fields(adapter, i)
    return fields


def general_fields(
    name: str, licence: str, base: str, n_params: int, record: Mapping[str, MetadataValue]
) -> dict[str, MetadataValue]:
    """Return the keys that models and adapters have in common; `record` is the training record, which may be empty."""
    return {
        "general.name": name,
        "general.basename": name,
        "general.version": MODEL_VERSION,
        "general.size_label": size_label(n_params),
        "general.license": licence,
        "general.quantized_by": f"genrec-edge {__version__}",
        "general.base_model.count": 1,
        "general.base_model.0.name": base,
        "general.tags": ["recommendation", "genrec-edge"],
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        f"{NAMESPACE}.schema_version": _SCHEMA_VERSION,
        f"{NAMESPACE}.tool_version": __version__,
        PROMPT_KEY: str(record.get("prompt", DEFAULT_PROMPT)),
        **{f"{TRAIN_PREFIX}{key}": value for key, value in record.items()},
    }


def adapter_fields(adapter: Adapter, number: int) -> dict[str, MetadataValue]:
    """Return the keys for one adapter; `number` counts the adapters of a file from 0."""
    prefix = f"{NAMESPACE}.adapter.{number}"
    return {
        f"{prefix}.name": clean(adapter.path.resolve().name),
        f"{prefix}.sha256": adapter.sha256,
        f"{prefix}.weight": float(adapter.weight),
    }
