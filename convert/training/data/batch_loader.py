"""The batches of each training step. Those of the next step are made while a step is trained."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.data.tensors import TrainingBatch

_MIN_TARGETS = 8
"""The loss of a step is divided by at least this many titles per example."""


@dataclass(frozen=True, slots=True)
class StepBatches:
    """What a process trains on in one step.

    Attributes:
        batches: of this process, one for each forward pass; examples of similar length are together.
        n_targets: titles to predict, of all processes.
        divisor: what the loss is divided by, of all processes: a step with few titles and some words must not weigh as
            much as one with many titles.
    """

    batches: list[TrainingBatch]
    n_targets: int
    divisor: int


class BatchLoader:
    """Makes the batches of steps, one step ahead, in a thread.

    Args:
        data: what to draw from; the examples of a step depend on its number alone.
        batch: examples of one step, over all processes.
        micro_batch: examples of one forward pass.
        process: number of this process.
        n_processes: of all processes.
    """

    def __init__(self, data: TrainingData, batch: int, micro_batch: int, process: int, n_processes: int) -> None:
        self._data = data
        self._batch = batch
        self._micro_batch = micro_batch
        self._process = process
        self._n_processes = n_processes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future[StepBatches]] | None = None

    def load(self, step: int) -> StepBatches:
        """Return the batches of a step, and begin with those of the step after it."""
        is_ahead = self._ahead is not None and self._ahead[0] == step
        loaded = self._ahead[1].result() if self._ahead is not None and is_ahead else self._make(step)
        self._ahead = step + 1, self._thread.submit(self._make, step + 1)
        return loaded

    def _make(self, step: int) -> StepBatches:
        examples = self._data.examples(step, self._batch)
        n_targets = sum(example.n_targets for example in examples)
        # Padding is most of a batch if a long history meets short ones.
        own = sorted(examples[self._process :: self._n_processes], key=lambda example: example.n_lines)
        collator, size = self._data.collator(step), self._micro_batch
        batches = [collator.collate(own[start : start + size]) for start in range(0, len(own), size)]
        return StepBatches(batches, n_targets, max(n_targets, _MIN_TARGETS * len(examples)))
