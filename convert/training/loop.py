"""Training: LoRA on the titles of histories, with a loss that is the search's own score. Needs the extra [train]."""

from __future__ import annotations

import math
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list

from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.training import run_report, validation
from genrec_edge.convert.training.data.bundle import Count, prepare, write_vocabulary
from genrec_edge.convert.training.job import open_inputs
from genrec_edge.convert.training.loss import TitleLoss
from genrec_edge.convert.training.model import load_adapter, load_trainable, write_adapter
from genrec_edge.convert.training.state import Progress, load_state, save_state, trained_weights
from genrec_edge.convert.training.step import Stepper
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.work_folder import finish, partial_path, workplace

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.job import TrainJob
    from genrec_edge.datasets.folder import Dataset

    OnStep = Callable[[Progress, int], object]

_BASE, _VOCABULARY, _STATES, _LOOKS = "base", "vocabulary.gguf", "states", "looks"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of it: the adapter's folder and how the run went."""

    out: Path
    progress: Progress
    stopped_early: bool


def train(job: TrainJob, *, resume: bool = False, on_step: OnStep = lambda _progress, _total: None) -> TrainingResult:
    """Train an adapter. The folder `job.out` appears whole, or not at all.

    Written: the adapter as PEFT has it, `genrec_edge.json` (what `convert` puts into the GGUF), `run.json` (all that is
    needed to repeat the run), `log.jsonl` and `training.png`. `on_step` is told of every step, and of the number of
    targets after which training ends. Under `accelerate launch` every process calls this; the main one writes.

    Raises:
        UsageError: the job makes no sense; `resume`, and what was begun is another job; the loss is no number any more.
        DatasetError: the data set is damaged.
        ModelInvalidError: the base is.
        MissingExtraError: the recipe needs a library that is not installed.
        LockedError: another process makes the same adapter.
    """
    base, dataset = open_inputs(job)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if job.n_threads is not None:
        torch.set_num_threads(job.n_threads)
    if job.recipe.optimizer.batch % accelerator.num_processes:
        raise UsageError(
            f"a batch of {job.recipe.optimizer.batch} cannot be shared by {accelerator.num_processes} processes",
            hint="make optimizer.batch a multiple of the number of processes",
        )
    if accelerator.distributed_type == DistributedType.FSDP:
        _require_only_layers(job)
    run = _Run(job, base, dataset, accelerator)
    if not accelerator.is_main_process:
        return run.go(partial_path(job.out), on_step, resume=resume)
    identity = run_report.identity(job, base, dataset)
    with path_errors(job.out), workplace(job.out, identity, resume=resume) as folder:
        trained = run.go(folder, on_step, resume=resume)
        finish(folder, job.out, run.write(folder, trained.progress))
    return trained


def _require_only_layers(job: TrainJob) -> None:
    """Raise UsageError if something is trained outside of the model's layers, which FSDP would shard with the base."""
    outside = {
        "lora.tokens": job.recipe.lora.tokens,
        'objective.kind "residual"': job.recipe.objective.kind == "residual",
    }
    if found := [name for name, wanted in outside.items() if wanted]:
        message = f"{' and '.join(found)} cannot be trained with FSDP"
        raise UsageError(message, hint="train on one GPU, or leave that out")


class _Run:
    """One run in one process."""

    def __init__(self, job: TrainJob, base: Checkpoint, dataset: Dataset, accelerator: Accelerator) -> None:
        self._job = job
        self._recipe = job.recipe
        self._base = base
        self._dataset = dataset
        self._accelerator = accelerator

    def go(self, folder: Path, on_step: OnStep, *, resume: bool) -> TrainingResult:
        """Train in a folder until the epochs are over, or validation has not become better for a while."""
        base_folder = self._write_base(folder)
        with closing(Model(folder / _VOCABULARY, vocab_only=True)) as vocabulary:
            self._material = prepare(self._dataset, self._recipe, vocabulary, self._count())
            return self._train(folder, base_folder, on_step, resume=resume)

    def _train(self, folder: Path, base_folder: Path, on_step: OnStep, *, resume: bool) -> TrainingResult:
        recipe = self._recipe
        objective = TitleLoss(
            load_trainable(base_folder, recipe),
            recipe.objective.kind,
            recipe.objective.distill,
            self._material.token_ids if recipe.lora.tokens else (),
        )
        if recipe.base.adapter:
            load_adapter(Path(recipe.base.adapter), objective)
        self._objective = objective
        self._stepper = stepper = Stepper(self._accelerator, objective, self._material, recipe)
        progress = load_state(folder / _STATES, stepper.objective, stepper.optimizer) if resume else Progress()
        total = math.ceil(recipe.optimizer.epochs * self._material.corpus.n_events)
        while progress.events < total and not self._is_over(progress):
            stepper.step(progress, total)
            on_step(progress, total)
            if progress.events >= total or self._is_due(progress):
                self._look(folder / _LOOKS, progress)
                self._save(folder, progress)
            elif progress.step % recipe.checkpoint_every == 0:
                self._save(folder, progress)
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()
        return TrainingResult(self._job.out, progress, stopped_early=progress.events < total)

    def write(self, folder: Path, progress: Progress) -> set[str]:
        """Write what is to be kept beside the best adapter, and return the names; the main process does."""
        best = folder / _LOOKS / str(run_report.best_look(progress)["step"])
        names = {path.name for path in best.iterdir()}
        for name in names:  # which stay where they are, in case that this is interrupted
            shutil.copy(best / name, folder / name)
        n_processes = self._accelerator.num_processes
        return names | run_report.write_documents(folder, self._job, self._base, self._material, progress, n_processes)

    def _write_base(self, folder: Path) -> Path:
        """Write the vocabulary, and the base if it is a GGUF or has lost layers; return where transformers finds it."""
        is_plain = self._job.base.is_dir() and not self._recipe.base.layers
        if self._accelerator.is_main_process:
            write_vocabulary(self._base, folder / _VOCABULARY)
            if not is_plain and not (folder / _BASE / "config.json").exists():  # which is written last
                write_folder(self._base, folder / _BASE, "F16")
        self._accelerator.wait_for_everyone()
        return self._job.base if is_plain else folder / _BASE

    def _count(self) -> Count | None:
        if self._recipe.objective.kind != "residual" and not self._recipe.objective.distill:
            return None
        from genrec_edge.prior.model import cross_fitted  # noqa: PLC0415

        return cross_fitted

    def _is_due(self, progress: Progress) -> bool:
        if self._material.split is None:
            return False
        n_between = self._recipe.validation.every * self._material.corpus.n_events
        return progress.events >= (len(progress.looks) + 1) * n_between

    def _is_over(self, progress: Progress) -> bool:
        """Whether validation has not become better for a while."""
        values = [look["ndcg@10"] for look in progress.looks if "ndcg@10" in look]
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self._recipe.validation.patience

    def _look(self, folder: Path, progress: Progress) -> None:
        """Write the adapter as it is now; the main process asks the runtime's own decoder how good it is."""
        weights = trained_weights(self._stepper.objective)
        look = {"step": progress.step, "events": progress.events, **self._stepper.learned()}
        if self._accelerator.is_main_process:
            adapter = folder / str(progress.step)
            shutil.rmtree(adapter, ignore_errors=True)  # a look that was interrupted
            adapter.mkdir(parents=True)
            write_adapter(adapter, self._objective, weights, self._base.path.name)
            run_report.write_record(adapter, self._job, self._base, self._material, look)
            if self._material.split is not None:
                look |= validation.validate(self._base, adapter, self._dataset, self._material.split, self._job)
                run_report.write_record(adapter, self._job, self._base, self._material, look)
        progress.looks.append(broadcast_object_list([look])[0])

    def _save(self, folder: Path, progress: Progress) -> None:
        """Write a checkpoint; after that, of the adapters that were looked at, the best one is enough."""
        stepper, is_main = self._stepper, self._accelerator.is_main_process
        save_state(folder / _STATES, stepper.objective, stepper.optimizer, progress, is_main=is_main)
        if is_main and progress.looks:
            best = str(run_report.best_look(progress)["step"])
            for adapter in (folder / _LOOKS).iterdir():
                if adapter.name != best:
                    shutil.rmtree(adapter)
