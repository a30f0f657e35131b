"""What a conversion is asked for, and what it will do: steps, files, disk and memory, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrec_edge.convert.pipeline.metadata import file_name
from genrec_edge.convert.quantization.quantize import base_type
from genrec_edge.convert.quantization.sizes import estimate_bytes
from genrec_edge.engine.bindings import FILE_TYPES
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

Verify = Literal["full", "quick", "none"]

_UNTIED = (
    "the adapter changes embedding and output apart from each other, which the base has in common: the result holds "
    "both, and is larger"
)
_FINE = frozenset({"F32", "F16", "BF16"})
_SAME_GRID = (
    "the weights of the base are {type} already: rounded to {quant} again, many go back to what they were before the "
    "adapter changed them; name the base it was quantized from, or another type, or use --as-adapter"
)
_OWN_BYTES = 300 << 20
"""Interpreter, libraries, a chunk of weights in all its forms and the quantizer's buffers: 241 MiB for LLaMA-7B with an
adapter, the verification apart (benchmarks/convert.py)."""


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """What one conversion is asked for.

    Attributes:
        base: a Hugging Face folder or a GGUF.
        out: the folder to make.
        name: of the model, in file names and in the store.
        licence: SPDX expression.
        quants: file types to write, as `llama.FILE_TYPES` names them; the first is what `name` runs.
        adapters: PEFT folders and their weights.
        layers: which layers of the base to keep; None keeps all. Adapters belong to the shallower model.
        keep_f16: leave the F16 file beside the others.
        keep_checkpoint: write the merged model as a Hugging Face folder, too.
        imatrix: a catalog whose prompts tell the quantizer which weights matter.
        catalog: what the verification recommends from; None only where nothing is verified.
        verify: how much to compare; None is "full", or "quick" beyond a billion weights.
        test: the held-out interactions of a test split; see `samples.read_split`.
    """

    base: Path
    out: Path
    name: str
    licence: str
    quants: tuple[str, ...]
    catalog: Path | None
    adapters: tuple[tuple[Path, float], ...] = ()
    layers: tuple[int, ...] | None = None
    keep_f16: bool = False
    keep_checkpoint: bool = False
    imatrix: Path | None = None
    verify: Verify | None = None
    test: Path | None = None
    n_threads: int | None = None

    @property
    def is_plain(self) -> bool:
        """The model is the folder `base` as it is, so that transformers needs no copy."""
        return self.base.is_dir() and not self.adapters and self.layers is None


@dataclass(frozen=True, slots=True)
class ConversionStep:
    """One thing a conversion does, and how many bytes it leaves on the disk."""

    what: str
    target: str
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What a conversion will do.

    Attributes:
        files: file type -> file name, the F16 file first, whether it is kept or not.
        peak_disk_bytes: the most room it takes at any moment.
        memory_bytes: of our own process, without the mapped files: an estimate.
        notes: what the user should know, a sentence each.
    """

    steps: tuple[ConversionStep, ...]
    files: dict[str, str]
    peak_disk_bytes: int
    memory_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedConversion:
    """A job whose inputs are open and fit together; nothing has been written.

    Attributes:
        skip_reason: why transformers will not be compared with; empty where it will.
    """

    job: ConversionJob
    checkpoint: Checkpoint
    adapters: tuple[Adapter, ...]
    plan: ConversionPlan
    skip_reason: str


def check_quants(quants: tuple[str, ...]) -> None:
    """Check the list of file types.

    Raises:
        UsageError: it is empty, names a type twice or one that does not exist; all are named.
    """
    unknown = [quant for quant in quants if quant not in FILE_TYPES]
    if unknown or not quants:
        found = f"unknown: {', '.join(unknown)}" if unknown else "none is named"
        raise UsageError(f"--quant {','.join(quants)!r}: {found}", hint=f"known: {', '.join(FILE_TYPES)}")
    if twice := sorted({quant for quant in quants if quants.count(quant) > 1}):
        raise UsageError(f"--quant names {', '.join(twice)} twice", hint="name each file type once")


def merge_notes(base: Checkpoint, checkpoint: Checkpoint, quants: tuple[str, ...]) -> tuple[str, ...]:
    """Say what a merge does that nobody would expect."""
    notes = [_UNTIED] if base.config.tied and not checkpoint.config.tied else []
    changed = {t.dtype for name, t in base.tensors.items() if checkpoint.tensors[name] is not t}
    notes += [_SAME_GRID.format(type=base_type(q), quant=q) for q in quants if base_type(q) in changed - _FINE]
    return tuple(notes)


def make_plan(
    job: ConversionJob,
    checkpoint: Checkpoint,
    adapters: tuple[Adapter, ...],
    *,
    copies: bool,
    notes: tuple[str, ...] = (),
) -> ConversionPlan:
    """Return what the job will do. Writes nothing.

    `copies` says that transformers will load a copy of the merged model; `notes` become the plan's.
    """
    n_params = checkpoint.n_params
    files = {quant: file_name(job.name, n_params, quant) for quant in dict.fromkeys(("F16", *job.quants))}
    f16_bytes = estimate_bytes(checkpoint, "F16")
    merged = f" + {len(adapters)} adapter{'s' if len(adapters) > 1 else ''}" if adapters else ""
    steps = [ConversionStep("write", f"{files['F16']} from {checkpoint.path}{merged}", f16_bytes)]
    if job.keep_checkpoint or copies:
        steps.append(
            ConversionStep("write", "checkpoint/ for transformers", f16_bytes * (1 if job.keep_checkpoint else 2))
        )
    if job.imatrix is not None:
        steps.append(ConversionStep("importance", f"of weights for the prompts of {job.imatrix}"))
    steps += [ConversionStep("quantize", files[q], estimate_bytes(checkpoint, q)) for q in job.quants if q != "F16"]
    if job.verify != "none":
        steps.append(ConversionStep("verify", "tokenizer, logits, recommendations"))
    peak = sum(step.n_bytes for step in steps)
    if not job.keep_f16 and "F16" not in job.quants:
        steps.append(ConversionStep("remove", files["F16"], -f16_bytes))
    names = store_names(job)
    steps.append(ConversionStep("install", ", ".join(names[quant] for quant in job.quants)))
    lora_bytes = sum(4 * (d.a.size + d.b.size) for adapter in adapters for d in adapter.deltas.values())
    return ConversionPlan(tuple(steps), files, peak, _OWN_BYTES + lora_bytes, notes)


def store_names(job: ConversionJob) -> dict[str, str]:
    """Return what each file type is called in the model store: the first one NAME, the others NAME-TYPE."""
    return {quant: f"{job.name}-{quant.lower()}" if i else job.name for i, quant in enumerate(job.quants)}
