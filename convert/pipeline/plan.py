"""The request of a conversion, and the plan for it: steps, files, disk space and memory, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrec_edge.convert.pipeline.naming import file_name
from genrec_edge.convert.quantization.quantize import base_type
from genrec_edge.convert.quantization.sizes import estimate_bytes
from genrec_edge.convert.verification.samples import MAX_SEQUENCE
from genrec_edge.engine.bindings import FILE_TYPES
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

Verify = Literal["full", "quick", "none"]

_UNTIED = (
    "the base has one matrix as embedding and output, and the adapter changes only one of the two: the result has "
    "both, and is larger"
)
_UNQUANTIZED = frozenset({"F32", "F16", "BF16"})
_SAME_GRID = (
    "the weights of the base are {type} already: rounded to {quant} again, many return to their values before the "
    "merge; use the base from before its quantization, choose another type, or write the adapter as a file of its own"
)
_PROCESS_BYTES = 300 << 20
"""Interpreter, libraries, a chunk of weights in several types, and the quantizer's buffers: measured 241 MiB for
LLaMA-7B with an adapter, without verification (benchmarks/convert.py)."""
_TORCH_BYTES = 250 << 20
_LOGITS_COPIES = 6
"""Of the logits of one prompt, in two models and while they are compared. With SmolLM2-135M, whose plan says 838 MiB, a
verification took 740 MiB beside 1,031 MiB of mapped files."""


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """The request of one conversion.

    Attributes:
        base: a Hugging Face folder or a GGUF.
        out: the folder to create.
        name: name of the model, in file names and in the store.
        licence: SPDX expression.
        quants: file types to write, of `engine.bindings.FILE_TYPES`; the first gets `name` in the store.
        catalog: the catalog for the verification; None only with `verify` "none".
        adapters: PEFT folders and their weights.
        layers: layers of the base to keep; None keeps all. Adapters belong to the shallower model.
        keep_f16: keep the F16 file in the result.
        keep_checkpoint: also write the merged model as a Hugging Face folder.
        imatrix: a catalog; with it an importance matrix is computed from its prompts.
        verify: amount of verification; None means "full", or "quick" above a billion weights.
        test: held-out interactions of a test split; see `samples.read_split`.
        n_threads: number of threads; None uses all CPUs.
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
        """Whether the model is the folder `base` unchanged, so that transformers can load it from there."""
        return self.base.is_dir() and not self.adapters and self.layers is None


@dataclass(frozen=True, slots=True)
class ConversionStep:
    """One step of a conversion, and the bytes it adds to the disk (negative: frees)."""

    what: str
    target: str
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The plan of a conversion.

    Attributes:
        files: file names by file type; the F16 file is first, whether it is kept or not.
        peak_disk_bytes: the maximum disk space in use at any time.
        memory_bytes: estimated memory of this process, without mapped files.
        notes: notes for the user, a sentence each.
    """

    steps: tuple[ConversionStep, ...]
    files: dict[str, str]
    peak_disk_bytes: int
    memory_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedConversion:
    """A job whose inputs are open and match; nothing has been written.

    Attributes:
        skip_reason: why the comparison with transformers will be skipped; empty if it will not.
    """

    job: ConversionJob
    checkpoint: Checkpoint
    adapters: tuple[Adapter, ...]
    plan: ConversionPlan
    skip_reason: str


def check_quants(quants: tuple[str, ...]) -> None:
    """Check the list of file types.

    Raises:
        UsageError: the list is empty, or has unknown types or duplicates; the message lists them.
    """
    hint = f"choose from {', '.join(FILE_TYPES)}"
    if not quants:
        raise UsageError("`quants` must have at least one file type", hint=hint)
    if unknown := [quant for quant in quants if quant not in FILE_TYPES]:
        raise UsageError(f"`quants` has unknown file types: {', '.join(map(repr, unknown))}", hint=hint)
    if duplicates := sorted({quant for quant in quants if quants.count(quant) > 1}):
        raise UsageError(f"`quants` has {', '.join(duplicates)} more than once", hint="give each file type once")


def merge_notes(base: Checkpoint, checkpoint: Checkpoint, quants: tuple[str, ...]) -> tuple[str, ...]:
    """Return notes about unexpected effects of a merge: untied embeddings, and rounding to the type of the base."""
    notes = [_UNTIED] if base.config.tied and not checkpoint.config.tied else []
    changed_types = {t.dtype for name, t in base.tensors.items() if checkpoint.tensors[name] is not t}
    notes += [
        _SAME_GRID.format(type=base_type(q), quant=q) for q in quants if base_type(q) in changed_types - _UNQUANTIZED
    ]
    return tuple(notes)


def make_plan(
    job: ConversionJob,
    checkpoint: Checkpoint,
    adapters: tuple[Adapter, ...],
    *,
    copies: bool,
    compares: bool = False,
    notes: tuple[str, ...] = (),
) -> ConversionPlan:
    """Return the plan of a job. Writes nothing.

    `compares` means that transformers will load the model, and `copies` that this is a copy of the merged one. `notes`
    are those of the plan.
    """
    n_params = checkpoint.n_params
    files = {quant: file_name(job.name, n_params, quant) for quant in dict.fromkeys(("F16", *job.quants))}
    f16_bytes = estimate_bytes(checkpoint, "F16")
    merged = ""
    if adapters:
        merged = " + 1 adapter" if len(adapters) == 1 else f" + {len(adapters)} adapters"
    steps = [ConversionStep("write", f"{files['F16']} from {checkpoint.path}{merged}", f16_bytes)]
    if job.keep_checkpoint or copies:
        checkpoint_bytes = f16_bytes if job.keep_checkpoint else 2 * f16_bytes  # F16, or F32 for the comparison
        steps.append(ConversionStep("write", "checkpoint/ for transformers", checkpoint_bytes))
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
    memory = _PROCESS_BYTES + lora_bytes
    if job.verify != "none":
        memory += _verification_bytes(checkpoint, compares=compares, copies=copies)
    return ConversionPlan(tuple(steps), files, peak, memory, notes)


def _verification_bytes(checkpoint: Checkpoint, *, compares: bool, copies: bool) -> int:
    """Return the memory that a verification takes beside the rest, mapped files left out.

    transformers maps a copy, which has its own type, and converts the weights of a folder that it reads as it is.
    """
    logits = _LOGITS_COPIES * 4 * MAX_SEQUENCE * checkpoint.config.vocab_size
    weights = 0 if copies else 4 * checkpoint.n_params
    return logits + (_TORCH_BYTES + weights if compares else 0)


def store_names(job: ConversionJob) -> dict[str, str]:
    """Return the name of each file type in the model store: `job.name` for the first, then `job.name` and the type."""
    first, *others = job.quants
    return {first: job.name, **{quant: f"{job.name}-{quant.lower()}" for quant in others}}
