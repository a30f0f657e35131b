"""One step of the optimizer, in one process or several.

Every process draws the same windows, takes its share of them and divides by the number of targets of all, so that the
gradient is the same however many processes and pieces there are.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.convert.training.loss import TitleLoss
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.convert.training.state import Progress

_BETAS = (0.9, 0.98)
_LEAST_TARGETS = 8
"""Titles of an example that the loss of a step is divided by at least."""
_LEAST_RATE = 0.03
"""Of the learning rate, at the end of a cosine."""


def learning_rate(step: int, events: int, total: int, *, peak: float, warmup: int, decay: str) -> float:
    """Return the rate of a step, counted from 0: a linear rise, times half a cosine over the events down to 3 %."""
    rise = min(1.0, (step + 1) / (warmup + 1))
    fall = 1.0 if decay == "constant" else max(_LEAST_RATE, (1 + math.cos(math.pi * min(1.0, events / total))) / 2)
    return peak * rise * fall


class Stepper:
    """An objective and its optimizer, made ready for the processes there are.

    Attributes:
        objective: as `accelerate` wraps it.
        optimizer: likewise.
    """

    def __init__(self, accelerator: Any, objective: TitleLoss, material: TrainingData, recipe: Recipe) -> None:
        self._accelerator = accelerator
        self._material = material
        self._recipe = recipe
        settings = recipe.optimizer
        weights = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=settings.lr, betas=_BETAS, weight_decay=settings.weight_decay)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)

    def step(self, progress: Progress, total: int) -> None:
        """Do the step that comes next, and note it; `total` is the number of targets after which training ends.

        Raises:
            UsageError: the loss is no number any more.
        """
        started, accelerator, settings = time.perf_counter(), self._accelerator, self._recipe.optimizer
        rate = learning_rate(
            progress.step, progress.events, total, peak=settings.lr, warmup=settings.warmup, decay=settings.decay
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        examples = self._material.examples(progress.step, settings.batch)
        n_targets = sum(example.n_targets for example in examples)
        # A step of few titles and some words must not count as much as one of many titles.
        divisor = max(n_targets, _LEAST_TARGETS * len(examples))
        mine = examples[accelerator.process_index :: accelerator.num_processes]
        # For dropout: the same after a kill, and not the same in every process.
        torch.manual_seed(self._recipe.seed + progress.step * accelerator.num_processes + accelerator.process_index)
        assembler = self._material.assembler(progress.step)
        pieces = [mine[at : at + settings.micro_batch] for at in range(0, len(mine), settings.micro_batch)]
        sums = torch.zeros(3, device=accelerator.device)
        for i, piece in enumerate(pieces):
            sums += self._backward(assembler.assemble(piece), divisor, is_last=i == len(pieces) - 1)
        loss, hard, tokens = accelerator.reduce(sums).tolist()
        if not math.isfinite(loss):
            message = f"the loss of step {progress.step + 1} is no number"
            raise UsageError(message, hint="train with a smaller optimizer.lr, or base.dtype bfloat16 or float32")
        norm = accelerator.clip_grad_norm_(self.objective.parameters(), settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.events += n_targets
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        entry = {
            "step": progress.step,
            "events": progress.events,
            "loss": loss / divisor,
            "nats": hard / max(1, n_targets),
        }
        entry |= {"lr": rate, "norm": float(norm), "tokens": tokens, "seconds": seconds}
        progress.log.append(entry | self.learned())

    def _backward(self, batch: TrainingBatch, divisor: int, *, is_last: bool) -> torch.Tensor:
        """Add the gradient of a batch; return the sums of loss and nats, and the number of tokens."""
        accelerator = self._accelerator
        batch = batch.to(accelerator.device)
        with nullcontext() if is_last else accelerator.no_sync(self.objective):
            losses = self.objective(batch)
            # The gradients of several processes are averaged, not added.
            accelerator.backward(losses.loss * (accelerator.num_processes / divisor))
        n_tokens = torch.tensor(float(batch.input_ids.numel()), device=accelerator.device)
        return torch.stack([losses.loss.detach(), losses.hard.detach().sum(), n_tokens])

    def learned(self) -> dict[str, float]:
        """Return what the residual objective has learned beside the adapter."""
        objective = self._accelerator.unwrap_model(self.objective)
        if objective.kind != "residual":
            return {}
        return {"tau": objective.tau.item(), "lambda": objective.lambda_.item()}
