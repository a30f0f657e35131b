"""Builds a known model from its base and the adapter that the package ships, when it is pulled."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.checkpoint.open import open_base
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.training_record import layers_to_keep
from genrec_edge.engine.bindings import quantize
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from genrec_edge.hub.registry import KnownModel


def shipped_adapter_path(name: str) -> Path:
    """Return the folder of an adapter that the package ships."""
    return Path(str(resources.files("genrec_edge.models").joinpath(name)))


def make_tuned_model(source: Path, target: Path, known: KnownModel) -> None:
    """Write `target`: the base `source` merged with the adapter of `known`, and quantized to its type.

    Needs space for an F16 file beside `target`. Nothing is compared with transformers: `convert` does that, and CI does
    it for the shipped adapter.

    Raises:
        ModelInvalidError: the adapter does not match the base.
        UsageError: the adapter was trained on other layers than the base has.
        EngineError: llama.cpp could not quantize it.
    """
    folder = shipped_adapter_path(known.adapter)
    base = open_base(source)
    layers = layers_to_keep(None, base, [folder])
    if layers is not None:
        base = keep_layers(base, layers)
    adapter = read_adapter(folder, base)
    checkpoint = merge_adapters(base, [adapter])
    f16_path = target.with_name(f"{target.name}.f16")
    with atomic_write(f16_path) as file:
        write_gguf(checkpoint, file, model_metadata(checkpoint, [adapter], known.adapter, known.licence))
    try:
        quantize(f16_path, target, known.quant)
    finally:
        f16_path.unlink()
