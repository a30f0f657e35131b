"""One step of the optimizer, in one process or several.

Every process draws the same examples, trains on its share of them and divides by the number of targets of all. The
gradient is therefore the same for any number of processes and micro-batches.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from genrec_edge.convert.training.data.batch_loader import BatchLoader
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.training.data.batch_loader import StepBatches
    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.convert.training.loss import TitleLoss
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.convert.training.state import Progress

_BETAS = (0.9, 0.98)
_MIN_LR_SHARE = 0.03
"""Share of the learning rate at the end of a cosine."""


def learning_rate(step: int, events: int, total: int, *, peak: float, warmup: int, decay: str) -> float:
    """Return the learning rate of a step.

    Args:
        step: counted from 0.
        events: targets trained on so far.
        total: number of targets after which training ends.
        peak: the largest learning rate.
        warmup: steps of the linear rise.
        decay: "constant", or "cosine" for half a cosine over the events, down to 3 %.
    """
    rise = min(1.0, (step + 1) / (warmup + 1))
    if decay == "constant":
        return peak * rise
    cosine = (1 + math.cos(math.pi * min(1.0, events / total))) / 2
    return peak * rise * max(_MIN_LR_SHARE, cosine)


class Stepper:
    """An objective and its optimizer, prepared for the processes of this run.

    Attributes:
        objective: as wrapped by `accelerate`.
        optimizer: as wrapped by `accelerate`.
    """

    def __init__(self, accelerator: Any, objective: TitleLoss, data: TrainingData, recipe: Recipe) -> None:
        self._accelerator = accelerator
        self._recipe = recipe
        settings = recipe.optimizer
        self._loader = BatchLoader(
            data, settings.batch, settings.micro_batch, accelerator.process_index, accelerator.num_processes
        )
        weights = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            weights, lr=settings.lr, betas=_BETAS, weight_decay=settings.weight_decay, fused=True
        )
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)

    def step(self, progress: Progress, total: int) -> None:
        """Train one step and record it in `progress`; `total` is the number of targets after which training ends.

        Raises:
            UsageError: the loss is not a finite number.
        """
        started = time.perf_counter()
        lr = self._set_learning_rate(progress, total)
        loaded = self._loader.load(progress.step)
        loss, hard_loss, n_tokens = self._accumulate(loaded, progress.step)
        if not math.isfinite(loss):
            message = f"the loss of step {progress.step + 1} is {loss}, not a finite number"
            raise UsageError(message, hint="train with a smaller optimizer.lr, or base.dtype bfloat16 or float32")
        norm = self._accelerator.clip_grad_norm_(self.objective.parameters(), self._recipe.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.events += loaded.n_targets
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        entry = {
            "step": progress.step,
            "events": progress.events,
            "loss": loss / loaded.divisor,
            "nats": hard_loss / max(1, loaded.n_targets),
            "lr": lr,
            "norm": float(norm),
            "tokens": n_tokens,
            "seconds": seconds,
        }
        progress.log.append(entry | self.residual_parameters())

    def residual_parameters(self) -> dict[str, float]:
        """Return tau and lambda of the residual objective; empty for the other objectives."""
        objective = self._accelerator.unwrap_model(self.objective)
        if objective.kind != "residual":
            return {}
        return {"tau": objective.tau.item(), "lambda": objective.lambda_.item()}

    def _set_learning_rate(self, progress: Progress, total: int) -> float:
        settings = self._recipe.optimizer
        lr = learning_rate(
            progress.step, progress.events, total, peak=settings.lr, warmup=settings.warmup, decay=settings.decay
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _accumulate(self, loaded: StepBatches, step: int) -> tuple[float, float, float]:
        """Add the gradients of this process's batches.

        Returns:
            The sums over all processes of the loss, the nats of the titles, and the number of tokens.
        """
        accelerator = self._accelerator
        # For dropout: the same after a kill, and different in every process.
        torch.manual_seed(self._recipe.seed + step * accelerator.num_processes + accelerator.process_index)
        sums = torch.zeros(3, device=accelerator.device)
        for i, batch in enumerate(loaded.batches, 1):
            sums += self._backward(batch, loaded.divisor, is_last=i == len(loaded.batches))
        loss, hard_loss, n_tokens = accelerator.reduce(sums).tolist()
        return loss, hard_loss, n_tokens

    def _backward(self, batch: TrainingBatch, divisor: int, *, is_last: bool) -> torch.Tensor:
        """Add the gradient of a batch; return its loss, its nats of titles and its number of tokens, (3,)."""
        accelerator = self._accelerator
        batch = batch.to(accelerator.device)
        with nullcontext() if is_last else accelerator.no_sync(self.objective):
            losses = self.objective(batch)
            # The gradients of several processes are averaged, not added.
            accelerator.backward(losses.loss * (accelerator.num_processes / divisor))
        n_tokens = torch.tensor(float(batch.input_ids.numel()), device=accelerator.device)
        return torch.stack([losses.loss.detach(), losses.hard_loss.detach().sum(), n_tokens])
