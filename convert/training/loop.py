"""Training: LoRA on histories of titles, with the search's own score as the loss. Needs the extra [train]."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.training import run_report
from genrec_edge.convert.training.data.bundle import prepare_training_data, write_vocabulary
from genrec_edge.convert.training.job import open_inputs
from genrec_edge.convert.training.loss import TitleLoss
from genrec_edge.convert.training.model import load_adapter, load_trainable
from genrec_edge.convert.training.trainer import Trainer
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import UsageError
from genrec_edge.prior.cross_fitting import cross_fitted
from genrec_edge.prior.dataset_mixture import mixture_of
from genrec_edge.prior.mixture import MIXTURES
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.folders import install, partial_folder, partial_path

if TYPE_CHECKING:
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.data.bundle import CountPrior, TrainingData
    from genrec_edge.convert.training.job import TrainInputs, TrainJob
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.convert.training.trainer import OnStep, TrainingResult

_BASE, _VOCABULARY = "base", "vocabulary.gguf"
"""Names in the work folder."""


def train(
    job: TrainJob,
    inputs: TrainInputs | None = None,
    *,
    resume: bool = False,
    on_step: OnStep = lambda _progress, _total: None,
) -> TrainingResult:
    """Train an adapter, and write its folder `job.out` as a whole or not at all.

    The folder has the adapter in PEFT's format, `genrec_edge.json` (what `convert` copies into the GGUF), `run.json`
    (all that is needed to repeat the run), `log.jsonl` and `training.png`. Under `accelerate launch` every process
    calls this; the main one writes.

    Args:
        job: what to train.
        inputs: from `open_inputs(job)`, if they have been opened already.
        resume: continue from the last state of an interrupted run of the same job.
        on_step: called after each step with the progress and the number of targets after which training ends.

    Raises:
        UsageError: the job is not valid, `resume` is set and the interrupted run was another job, or the loss is not a
            finite number.
        DatasetError: the data set is damaged.
        ModelInvalidError: the base is damaged.
        MissingExtraError: the recipe needs a library that is not installed.
        LockedError: another process is making the same adapter.
    """
    inputs = open_inputs(job) if inputs is None else inputs
    accelerator = _accelerator(job)
    if not accelerator.is_main_process:
        return _train_in(partial_path(job.out), job, inputs, accelerator, on_step, resume=resume).result()
    with path_errors(job.out), partial_folder(job.out, run_report.identity(job, inputs), resume=resume) as folder:
        training = _train_in(folder, job, inputs, accelerator, on_step, resume=resume)
        install(folder, job.out, kept=training.write_result())
    return training.result()


def _accelerator(job: TrainJob) -> Accelerator:
    """Return the processes and devices of this run, checked against the recipe."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if job.n_threads is not None:
        torch.set_num_threads(job.n_threads)
    if job.recipe.optimizer.batch % accelerator.num_processes:
        raise UsageError(
            f"optimizer.batch = {job.recipe.optimizer.batch} cannot be divided among "
            f"{accelerator.num_processes} processes",
            hint="make optimizer.batch a multiple of the number of processes",
        )
    if accelerator.distributed_type == DistributedType.FSDP:
        _require_sharded_weights(job.recipe)
    return accelerator


def _require_sharded_weights(recipe: Recipe) -> None:
    """Raise UsageError if a recipe trains weights outside the model's layers, which FSDP cannot shard."""
    unsharded = []
    if recipe.lora.tokens:
        unsharded.append("lora.tokens = true")
    if recipe.objective.kind == "residual":
        unsharded.append('objective.kind = "residual"')
    if unsharded:
        message = f"{' and '.join(unsharded)} cannot be trained with FSDP"
        raise UsageError(message, hint="train on one GPU, or change these settings")


def _train_in(
    folder: Path, job: TrainJob, inputs: TrainInputs, accelerator: Accelerator, on_step: OnStep, *, resume: bool
) -> Trainer:
    """Train in a work folder, which all processes share, and return the finished training."""
    base_folder = _write_base(folder, job, inputs.base, accelerator)
    with closing(Model(folder / _VOCABULARY, vocab_only=True)) as vocabulary:
        data = prepare_training_data(inputs.dataset, job.recipe, vocabulary, _count_prior(job.recipe))
        objective = _objective(base_folder, job.recipe, data)
        training = Trainer(folder, job, inputs, accelerator, data, objective)
        if resume:
            training.load_state()
        training.run(on_step)
    return training


def _write_base(folder: Path, job: TrainJob, base: Checkpoint, accelerator: Accelerator) -> Path:
    """Write the vocabulary, and the base if it is a GGUF or lost layers; return the folder transformers loads."""
    is_unchanged_folder = job.base.is_dir() and not job.recipe.base.layers
    if accelerator.is_main_process:
        write_vocabulary(base, folder / _VOCABULARY)
        if not is_unchanged_folder and not (folder / _BASE / "config.json").exists():  # which is written last
            write_folder(base, folder / _BASE, "F16")
    accelerator.wait_for_everyone()
    return job.base if is_unchanged_folder else folder / _BASE


def _count_prior(recipe: Recipe) -> CountPrior | None:
    """Return the function that counts the prior, None if the objective needs none."""
    if recipe.objective.kind != "residual" and not recipe.objective.distill:
        return None
    weights = MIXTURES.get(recipe.objective.teacher)
    if weights is not None:
        return lambda dataset, train: mixture_of(dataset, train, weights).cross_fitted(train)
    return lambda dataset, train: cross_fitted(train, dataset.n_items)


def _objective(base_folder: Path, recipe: Recipe, data: TrainingData) -> TitleLoss:
    """Return the base with an adapter, new or from the recipe, and its loss."""
    token_ids = data.token_ids if recipe.lora.tokens else ()
    model = load_trainable(base_folder, recipe)
    is_half = recipe.base.compute == "bfloat16"
    objective = TitleLoss(model, recipe.objective.kind, recipe.objective.distill, token_ids, is_half=is_half)
    if recipe.base.adapter:
        load_adapter(Path(recipe.base.adapter), objective)
    return objective
