"""The short story of `--as-adapter`: a PEFT LoRA becomes a GGUF that llama.cpp loads beside the base it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.convert.lora.merge import drop_copies
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.lora.to_gguf import write_adapter_gguf
from genrec_edge.convert.pipeline.metadata import (
    adapter_fields,
    base_name,
    file_name,
    general_fields,
    layers_to_keep,
    training_record,
)
from genrec_edge.errors import UsageError
from genrec_edge.gguf.training_keys import NAMESPACE
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.folders import install, partial_folder

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.pipeline.plan import ConversionJob


def convert_adapter(job: ConversionJob) -> Path:
    """Write the one adapter of a job into its folder, which appears whole, and return the file.

    Raises:
        UsageError: the job has no adapter or several, or its folder exists.
        ModelInvalidError: the adapter does not fit the base, or part of it can only be merged.
        DiskFullError, DiskError: no room, or a failing disk; the folder does not appear.
        LockedError: another process makes the same folder.
    """
    if len(job.adapters) != 1:
        hint = "give one; several are merged into a model, without --as-adapter"
        raise UsageError(f"--as-adapter writes one adapter, and {len(job.adapters)} are named", hint=hint)
    [(path, weight)] = job.adapters
    with path_errors(job.base):
        require_absent(job.out)
        base = open_base(job.base)
        layers = layers_to_keep(job.layers, base, [path])
        if layers is not None:
            base = keep_layers(base, layers)
        adapter = drop_copies(read_adapter(path, base.config, weight=weight), base)
    n_params = sum(delta.a.size + delta.b.size for delta in adapter.deltas.values())
    metadata = general_fields(job.name, job.licence, base_name(job.base), n_params, training_record(base, [adapter]))
    metadata |= {f"{NAMESPACE}.adapter.0.{key}": value for key, value in adapter_fields(adapter).items()}
    name = file_name(job.name, n_params, "F32", "LoRA")
    with path_errors(job.out), partial_folder(job.out, None) as folder:
        write_adapter_gguf(adapter, base.config, folder / name, metadata)
        install(folder, job.out, kept={name})
    return job.out / name
