"""Converts one PEFT LoRA to a GGUF, which llama.cpp loads together with its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.convert.lora.merge import drop_copies
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.lora.to_gguf import write_adapter_gguf
from genrec_edge.convert.pipeline.metadata import adapter_fields, general_fields
from genrec_edge.convert.pipeline.naming import base_name, file_name
from genrec_edge.convert.pipeline.training_record import layers_to_keep, training_record
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.folders import install, partial_folder

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.pipeline.plan import ConversionJob


def convert_adapter(job: ConversionJob) -> Path:
    """Write the adapter of a job into the folder `job.out`, which is created atomically, and return the file.

    Raises:
        UsageError: `job.adapters` is not exactly one, or the folder exists.
        ModelInvalidError: the adapter does not match the base, or parts of it can only be merged.
        DiskFullError, DiskError: the disk is full or failing; the folder is not created.
        LockedError: another process is creating the same folder.
    """
    if len(job.adapters) != 1:
        message = f"`adapters` must be exactly one to write an adapter file, got {len(job.adapters)}"
        raise UsageError(message, hint="give one adapter, or merge several of them into a model")
    [(path, weight)] = job.adapters
    with path_errors(job.base):
        require_absent(job.out)
        base = open_base(job.base)
        layers = layers_to_keep(job.layers, base, [path])
        if layers is not None:
            base = keep_layers(base, layers)
        adapter = drop_copies(read_adapter(path, base, weight=weight), base)
    n_params = sum(delta.a.size + delta.b.size for delta in adapter.deltas.values())
    metadata = general_fields(job.name, job.licence, base_name(job.base), n_params, training_record(base, [adapter]))
    metadata |= adapter_fields(adapter, 0)
    name = file_name(job.name, n_params, "F32", "LoRA")
    with path_errors(job.out), partial_folder(job.out, None) as folder:
        write_adapter_gguf(adapter, base.config, folder / name, metadata)
        install(folder, job.out, kept={name})
    return job.out / name
