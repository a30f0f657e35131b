"""Which columns of each weight matrix matter on the user's own prompts: the importance matrix of a quantization.

Runs the model in llama.cpp and listens to what enters its matrix products. The prompts are `samples.draw_sequences`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.bindings import Model, library
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.engine.ggml_tensor import matrix_product_op, rows_at, tensor_at
from genrec_edge.errors import EngineError, ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.validate import check_runnable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.gguf.header import GgufHeader


def importance_matrix(
    model_path: Path,
    sequences: Iterable[Sequence[int]],
    *,
    n_threads: int,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> dict[str, NDArray[np.float32]]:
    """Return the mean square of what enters each column of each weight matrix, (row length,) float32 by tensor name.

    The mean is over all tokens of all sequences; each is evaluated from an empty cache. Tied embeddings are entered
    as the output matrix they are too.

    Args:
        model_path: a GGUF; the closer to the original weights, the better.
        sequences: token ids, none of them longer than the model's context.
        n_threads: of the evaluation.
        on_progress: told how many sequences of how many are done.

    Raises:
        UsageError: no sequences, or one that cannot be evaluated.
        ModelInvalidError: not a model this product runs, or one whose activations are no numbers.
        EngineError: the installed llama.cpp is laid out in an unknown way.
    """
    prompts = list(sequences)
    if not all(prompts) or not prompts:
        raise UsageError("an importance matrix needs sequences of tokens", hint="draw some from the catalog")
    header = read_header(model_path)
    check_runnable(header)
    listener = _Listener(header)
    forward = FullLogitsModel(
        Model(model_path),
        n_ctx=max(len(ids) for ids in prompts),
        n_threads=n_threads,
        on_tensor=library().ggml_backend_sched_eval_callback(listener.on_tensor),
    )
    try:
        for done, ids in enumerate(prompts, start=1):
            forward.logits(ids)
            listener.raise_failure()
            on_progress(done, len(prompts))
    finally:
        forward.close()
    return listener.means()


class _Listener:
    """Sums the squares of what enters each matrix; llama.cpp calls `on_tensor` for every operation of the graph."""

    def __init__(self, header: GgufHeader) -> None:
        self._op = matrix_product_op()
        self._path = header.path
        self._shapes = {tensor.name: tensor.shape for tensor in header.tensors if len(tensor.shape) == 2}
        self._sums = {name: np.zeros(shape[0]) for name, shape in self._shapes.items()}
        self._counts = dict.fromkeys(self._shapes, 0)
        self._failure: BaseException | None = None

    def on_tensor(self, address: int, ask: bool, _user: object) -> bool:
        """Say whether an operation is of interest (`ask`), or take its input and let the graph go on."""
        try:
            return self._take(address, ask=ask)
        except BaseException as e:  # ctypes would print it and go on
            self._failure = e
            return False

    def raise_failure(self) -> None:
        """Raise what a callback could not."""
        if self._failure is not None:
            raise self._failure

    def means(self) -> dict[str, NDArray[np.float32]]:
        """Return the mean squares of all matrices that were used."""
        means = {name: self._sums[name] / count for name, count in self._counts.items() if count}
        if not means:
            raise EngineError(
                f"llama.cpp used no matrix of {self._path} under its name", hint="quantize without an importance matrix"
            )
        return {name: values.astype(np.float32) for name, values in means.items()}

    def _take(self, address: int, *, ask: bool) -> bool:
        product = tensor_at(address)
        if product.op != self._op:
            return False
        weight = tensor_at(product.src[0])
        name = weight.name.decode(errors="replace")
        shape = self._shapes.get(name)
        if shape is None:
            return False  # keys and values of the attention, an adapter
        if not ask:
            if tuple(weight.ne) != (*shape, 1, 1):
                raise EngineError(f"llama.cpp gives {name} the shape {tuple(weight.ne)}, the file {shape}")
            rows = rows_at(product.src[1])
            squares = np.square(rows, dtype=np.float64).sum(axis=0)
            if not np.isfinite(squares.astype(np.float32)).all():
                raise ModelInvalidError(
                    f"what {self._path} computes for {name} is no number", hint="convert the model again"
                )
            self._sums[name] += squares
            self._counts[name] += len(rows)
        return True
