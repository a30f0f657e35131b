"""Training: LoRA on the titles of histories, with a loss that is the search's own score. Needs the extra [train].

One process or several (`accelerate launch`): every process draws the same windows, takes its share of them and divides by
the number of targets of all, so that the gradient is the same however many there are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from genrec_edge.convert import material, train_report, validation
from genrec_edge.convert.folder_writer import write_folder
from genrec_edge.convert.objective import TitleObjective
from genrec_edge.convert.train_job import check_targets, open_trainee
from genrec_edge.convert.train_state import Progress, adapter_weights, load_state, save_state
from genrec_edge.convert.trainee import load_trainee, write_adapter
from genrec_edge.convert.transformers_tokenizer import load as load_tokenizer
from genrec_edge.convert.workplace import finish, partial_path, workplace
from genrec_edge.errors import UsageError
from genrec_edge.files import path_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.batches import Window
    from genrec_edge.convert.checkpoint import Checkpoint
    from genrec_edge.convert.train_job import TrainJob

    OnStep = Callable[["Progress", int], object]

BASE, STATES, BEST = "base", "states", train_report.BEST_NAME
_BETAS = (0.9, 0.98)
_LEAST_RATE = 0.03
"""Of the learning rate, at the end of a cosine."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it: the adapter's folder and how the run went."""

    out: Path
    progress: Progress
    stopped_early: bool


def learning_rate(step: int, events: int, total: int, *, peak: float, warmup: int, decay: str) -> float:
    """Return the rate of a step, counted from 0: a linear rise, times half a cosine over the events down to 3 %."""
    rise = min(1.0, (step + 1) / (warmup + 1))
    fall = 1.0 if decay == "constant" else max(_LEAST_RATE, (1 + math.cos(math.pi * min(1.0, events / total))) / 2)
    return peak * rise * fall


def train(job: TrainJob, *, resume: bool = False, on_step: OnStep = lambda _progress, _total: None) -> Trained:
    """Train an adapter. The folder `job.out` appears whole, or not at all.

    Written: the adapter as PEFT has it, `genrec_edge.json` (what `convert` puts into the GGUF), `run.json` (all that is
    needed to repeat the run), `log.jsonl`, `training.png` and a card.

    Raises:
        UsageError: the job makes no sense; `resume`, and what was begun is another job.
        DatasetError: the data set is not there, or damaged.
        LockedError: another process trains the same adapter.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if job.n_threads is not None:
        torch.set_num_threads(job.n_threads)
    base = open_trainee(job)
    check_targets(job.recipe, base)
    if accelerator.num_processes > 1 and job.recipe.optimizer.batch % accelerator.num_processes:
        raise UsageError(
            f"a batch of {job.recipe.optimizer.batch} cannot be shared by {accelerator.num_processes} processes",
            hint="make optimizer.batch a multiple of the number of processes",
        )
    if not accelerator.is_main_process:
        return _Run(job, base, accelerator, partial_path(job.out)).go(on_step, resume=resume)
    identifier = train_report.identity(job, base)
    with path_errors(job.out), workplace(job.out, identifier, resume=resume) as folder:
        run = _Run(job, base, accelerator, folder)
        trained = run.go(on_step, resume=resume)
        finish(folder, job.out, run.write(trained.progress))
    return trained


class _Run:
    """One run in one process."""

    def __init__(self, job: TrainJob, base: Checkpoint, accelerator: Accelerator, folder: Path) -> None:
        self._job = job
        self._recipe = job.recipe
        self._base = base
        self._accelerator = accelerator
        self._folder = folder

    def go(self, on_step: OnStep, *, resume: bool) -> Trained:
        """Train until the epochs are over, or validation has not become better for a while."""
        recipe, base_folder = self._recipe, self._base_folder()
        tokenize = load_tokenizer(base_folder)
        self._material = material.prepare(self._job.data, recipe, tokenize, self._prior())
        objective = TitleObjective(load_trainee(base_folder, recipe), recipe.objective.kind, recipe.objective.distill)
        self._adapted = objective.model
        weights = [p for p in objective.parameters() if p.requires_grad]
        settings = recipe.optimizer
        optimizer = torch.optim.AdamW(weights, lr=settings.lr, betas=_BETAS, weight_decay=settings.weight_decay)
        self._objective, self._optimizer = self._accelerator.prepare(objective, optimizer)
        progress = load_state(self._folder / STATES, self._objective, self._optimizer) if resume else Progress()
        total = math.ceil(settings.epochs * self._material.corpus.n_events)
        stopped = self._stopped(progress)
        while progress.events < total and not stopped:
            self._step(progress, total)
            on_step(progress, total)
            ended = progress.events >= total
            if self._due(progress) or ended:
                self._look(progress)
                stopped = self._stopped(progress)
            if progress.step % recipe.checkpoint_every == 0 or ended or stopped:
                self._save(progress)
        if self._material.split is None:
            self._keep_last()
        self._accelerator.wait_for_everyone()
        return Trained(self._job.out, progress, stopped_early=stopped)

    def write(self, progress: Progress) -> set[str]:
        """Write what is to be kept into the folder, in the main process; return the names."""
        n_processes = self._accelerator.num_processes
        kept = train_report.write_documents(
            self._folder, self._job, self._base, self._material, progress, n_processes
        )
        return kept | train_report.keep_best(self._folder, self._folder / BEST)

    def _base_folder(self) -> Path:
        """Return the base as transformers reads it, written first if it is a GGUF or has lost layers."""
        if self._job.base.is_dir() and not self._recipe.base.layers:
            return self._job.base
        folder = self._folder / BASE
        if self._accelerator.is_main_process and not (folder / "config.json").exists():
            write_folder(self._base, folder, "F16")
        self._accelerator.wait_for_everyone()
        return folder

    def _prior(self) -> Any:
        recipe = self._recipe.objective
        if recipe.kind != "residual" and not recipe.distill:
            return None
        from genrec_edge.priors import cross_fitted  # noqa: PLC0415

        return cross_fitted

    def _step(self, progress: Progress, total: int) -> None:
        """Do one step of the optimizer on the windows that belong to it."""
        started, recipe = time.perf_counter(), self._recipe
        accelerator, settings = self._accelerator, recipe.optimizer
        rate = learning_rate(
            progress.step, progress.events, total, peak=settings.lr, warmup=settings.warmup, decay=settings.decay
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        windows = self._material.corpus.draw(progress.step, settings.batch)
        n_targets = sum(len(window.positions) - window.first_target for window in windows)
        mine = windows[accelerator.process_index :: accelerator.num_processes]
        torch.manual_seed(recipe.seed + progress.step * accelerator.num_processes + accelerator.process_index)
        pieces = [mine[at : at + settings.micro_batch] for at in range(0, len(mine), settings.micro_batch)]
        sums = torch.zeros(3, device=accelerator.device)
        for i, piece in enumerate(pieces):
            sums += self._backward(piece, n_targets, is_last=i == len(pieces) - 1)
        accelerator.clip_grad_norm_(self._objective.parameters(), settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        loss, hard, tokens = accelerator.reduce(sums).tolist()
        progress.step += 1
        progress.events += n_targets
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        entry = {"step": progress.step, "events": progress.events, "loss": loss / n_targets, "nats": hard / n_targets}
        entry |= {"lr": rate, "tokens": tokens, "seconds": seconds}
        progress.log.append(entry | self._learned())

    def _backward(self, windows: list[Window], n_targets: int, *, is_last: bool) -> torch.Tensor:
        """Add the gradient of some windows; return the sums of loss and nats, and the number of tokens."""
        accelerator = self._accelerator
        batch = self._material.assembler.assemble(windows).to(accelerator.device)
        if is_last:
            losses = self._objective(batch)
            # The gradients of several processes are averaged, not added.
            accelerator.backward(losses.loss * (accelerator.num_processes / n_targets))
        else:
            with accelerator.no_sync(self._objective):
                losses = self._objective(batch)
                accelerator.backward(losses.loss * (accelerator.num_processes / n_targets))
        n_tokens = torch.tensor(float(batch.input_ids.numel()), device=accelerator.device)
        return torch.stack([losses.loss.detach(), losses.hard.detach().sum(), n_tokens])

    def _learned(self) -> dict[str, float]:
        objective = self._accelerator.unwrap_model(self._objective)
        if objective.kind != "residual":
            return {}
        return {"tau": float(objective.tau), "lambda": float(objective.lambda_)}

    def _due(self, progress: Progress) -> bool:
        every = self._recipe.validation.every * self._material.corpus.n_events
        return progress.events // every > len(progress.looks)

    def _look(self, progress: Progress) -> None:
        """Ask the runtime's decoder, in the main process, how good the adapter is now; keep the best one."""
        weights = adapter_weights(self._objective)
        material_, recipe = self._material, self._recipe
        if self._accelerator.is_main_process and material_.split is not None:
            folder = self._write_adapter("look", weights)
            figures = validation.look(
                self._base,
                folder,
                material_.dataset,
                material_.split,
                validation.sampled_users(material_.split, recipe.validation.users, recipe.seed),
                prior=self._job.prior if recipe.objective.kind == "residual" else None,
                n_threads=self._job.n_threads,
            )
            best = max((entry["ndcg@10"] for entry in progress.looks), default=-1.0)
            progress.looks.append({"step": progress.step, "events": progress.events, **figures, **self._learned()})
            if figures["ndcg@10"] > best:
                validation.keep(folder, self._folder / BEST)
        self._share_looks(progress)

    def _keep_last(self) -> None:
        weights = adapter_weights(self._objective)
        if self._accelerator.is_main_process:
            validation.keep(self._write_adapter("look", weights), self._folder / BEST)

    def _write_adapter(self, name: str, weights: dict[str, torch.Tensor]) -> Path:
        """Write the adapter as it is now into a folder of that name, with the record the recommender reads."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        write_adapter(folder, self._adapted, weights, self._base.path.name, "float16")
        train_report.write_record(folder, self._job, self._base, self._material, Progress())
        return folder

    def _share_looks(self, progress: Progress) -> None:
        """Give every process what the main one saw, so that all stop together."""
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415

        progress.looks = broadcast_object_list([progress.looks])[0]

    def _stopped(self, progress: Progress) -> bool:
        values = [entry["ndcg@10"] for entry in progress.looks]
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self._recipe.validation.patience

    def _save(self, progress: Progress) -> None:
        is_main = self._accelerator.is_main_process
        save_state(self._folder / STATES, self._objective, self._optimizer, progress, is_main=is_main)
