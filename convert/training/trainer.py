"""The course of a training run: steps, validations, states to resume from, and what is kept at the end."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list

from genrec_edge.convert.training import run_report, validation
from genrec_edge.convert.training.model import write_adapter
from genrec_edge.convert.training.state import Progress, load_state, save_state, trained_weights
from genrec_edge.convert.training.step import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from accelerate import Accelerator

    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.job import TrainInputs, TrainJob
    from genrec_edge.convert.training.loss import TitleLoss

    OnStep = Callable[[Progress, int], object]
    """(progress, number of targets after which training ends)."""

_STATES, _VALIDATIONS = "states", "looks"
"""Names in the work folder."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a run: the adapter's folder, and how the run went."""

    out: Path
    progress: Progress
    stopped_early: bool


class Trainer:
    """One run in one process, in a work folder that all processes share.

    Args:
        folder: the work folder.
        job: what to train.
        inputs: the base and the data set.
        accelerator: the processes and devices, of `accelerate`.
        data: what steps draw from.
        objective: the model with its loss.
    """

    def __init__(
        self,
        folder: Path,
        job: TrainJob,
        inputs: TrainInputs,
        accelerator: Accelerator,
        data: TrainingData,
        objective: TitleLoss,
    ) -> None:
        self._folder = folder
        self._job = job
        self._recipe = job.recipe
        self._inputs = inputs
        self._accelerator = accelerator
        self._data = data
        self._objective = objective
        self._stepper = Stepper(accelerator, objective, data, job.recipe)
        self._progress = Progress()
        self._total = math.ceil(job.recipe.optimizer.epochs * data.windows.n_events)

    def load_state(self) -> None:
        """Continue from the last state in the work folder, if there is one."""
        stepper = self._stepper
        self._progress = load_state(self._folder / _STATES, stepper.objective, stepper.optimizer)

    def run(self, on_step: OnStep) -> None:
        """Train until the epochs are over, or until validation has not improved for a while."""
        progress, total = self._progress, self._total
        while progress.events < total and not self._is_patience_over():
            self._stepper.step(progress, total)
            on_step(progress, total)
            if progress.events >= total or self._is_validation_due():
                self._validate()
                self._save_state()
            elif progress.step % self._recipe.checkpoint_every == 0:
                self._save_state()
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()

    def result(self) -> TrainingResult:
        """Return how the run went."""
        return TrainingResult(self._job.out, self._progress, stopped_early=self._progress.events < self._total)

    def write_result(self) -> set[str]:
        """Copy the best adapter to the top of the work folder, add the files beside it, and return all their names."""
        best = self._folder / _VALIDATIONS / str(run_report.best_validation(self._progress)["step"])
        names = {path.name for path in best.iterdir()}
        for name in names:  # copied, not moved, in case this is interrupted
            shutil.copy(best / name, self._folder / name)
        n_processes = self._accelerator.num_processes
        return names | run_report.write_run_files(
            self._folder, self._job, self._inputs.base, self._data, self._progress, n_processes
        )

    def _is_validation_due(self) -> bool:
        if self._data.split is None:
            return False
        n_between = self._recipe.validation.every * self._data.windows.n_events
        return self._progress.events >= (len(self._progress.validations) + 1) * n_between

    def _is_patience_over(self) -> bool:
        """Whether validation has not improved for as long as the recipe allows."""
        values = [entry["ndcg@10"] for entry in self._progress.validations if "ndcg@10" in entry]
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self._recipe.validation.patience

    def _validate(self) -> None:
        """Write the adapter as it is now; the main process validates it."""
        progress, base, split = self._progress, self._inputs.base, self._data.split
        weights = trained_weights(self._stepper.objective)
        entry = {"step": progress.step, "events": progress.events, **self._stepper.residual_parameters()}
        if self._accelerator.is_main_process:
            adapter = self._folder / _VALIDATIONS / str(progress.step)
            shutil.rmtree(adapter, ignore_errors=True)  # of a validation that was interrupted
            adapter.mkdir(parents=True)
            write_adapter(adapter, self._objective, weights, base.path.name)
            run_report.write_record(adapter, self._job, base, self._data, entry)
            if split is not None:
                entry |= validation.validate(base, adapter, self._inputs.dataset, split, self._job)
                run_report.write_record(adapter, self._job, base, self._data, entry)
        progress.validations.append(broadcast_object_list([entry])[0])

    def _save_state(self) -> None:
        """Write a state to resume from, and remove all validated adapters but the best."""
        stepper, is_main = self._stepper, self._accelerator.is_main_process
        save_state(self._folder / _STATES, stepper.objective, stepper.optimizer, self._progress, is_main=is_main)
        if is_main and self._progress.validations:
            best = str(run_report.best_validation(self._progress)["step"])
            for adapter in (self._folder / _VALIDATIONS).iterdir():
                if adapter.name != best:
                    shutil.rmtree(adapter)
