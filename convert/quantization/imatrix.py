"""Computes the importance matrix of a quantization: how much each column of a weight matrix matters for given prompts.

Runs the model in llama.cpp and reads the inputs of its matrix products. `samples.draw_sequences` makes the prompts.
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
    """Return the mean square of the input of each column of each weight matrix, (row length,) float32 by tensor name.

    The mean is over all tokens of all sequences; each sequence is evaluated from an empty KV cache. For tied embeddings
    the inputs are those of the output matrix.

    Args:
        model_path: a GGUF, best of the unquantized weights.
        sequences: token ids, none longer than the model's context.
        n_threads: threads of the evaluation.
        on_progress: called with the number of evaluated sequences and of all.

    Raises:
        UsageError: `sequences` is empty, or one of them is empty or cannot be evaluated.
        ModelInvalidError: the model is not supported, or its activations are not finite.
        EngineError: the installed llama.cpp has an unknown memory layout.
    """
    prompts = list(sequences)
    if not all(prompts) or not prompts:
        raise UsageError("`sequences` must be at least one, and none of them empty", hint="draw some from the catalog")
    header = read_header(model_path)
    check_runnable(header)
    collector = _InputCollector(header)
    forward = FullLogitsModel(
        Model(model_path),
        n_ctx=max(len(ids) for ids in prompts),
        n_threads=n_threads,
        on_tensor=library().ggml_backend_sched_eval_callback(collector.on_tensor),
    )
    try:
        for done, ids in enumerate(prompts, start=1):
            forward.logits(ids)
            collector.raise_failure()
            on_progress(done, len(prompts))
    finally:
        forward.close()
    return collector.means()


class _InputCollector:
    """Sums the squares of the inputs of each matrix; llama.cpp calls `on_tensor` for every operation of the graph."""

    def __init__(self, header: GgufHeader) -> None:
        self._op = matrix_product_op()
        self._path = header.path
        self._shapes = {tensor.name: tensor.shape for tensor in header.tensors if len(tensor.shape) == 2}
        self._sums = {name: np.zeros(shape[0]) for name, shape in self._shapes.items()}
        self._counts = dict.fromkeys(self._shapes, 0)
        self._failure: BaseException | None = None

    def on_tensor(self, address: int, ask: bool, _user: object) -> bool:
        """Return whether the operation is a product with a weight matrix; unless `ask`, add its input to the sums."""
        try:
            return self._collect(address, ask=ask)
        except BaseException as e:  # ctypes would print it and continue
            self._failure = e
            return False

    def raise_failure(self) -> None:
        """Raise the exception of an earlier callback, if there was one."""
        if self._failure is not None:
            raise self._failure

    def means(self) -> dict[str, NDArray[np.float32]]:
        """Return the mean squares of all matrices that were used."""
        means = {name: self._sums[name] / count for name, count in self._counts.items() if count}
        if not means:
            raise EngineError(
                f"llama.cpp did not use any matrix of {self._path} under its name",
                hint="quantize without an importance matrix",
            )
        return {name: values.astype(np.float32) for name, values in means.items()}

    def _collect(self, address: int, *, ask: bool) -> bool:
        product = tensor_at(address)
        if product.op != self._op:
            return False
        weight = tensor_at(product.src[0])
        name = weight.name.decode(errors="replace")
        shape = self._shapes.get(name)
        if shape is None:
            return False  # keys and values of the attention, or an adapter
        if not ask:
            if tuple(weight.ne) != (*shape, 1, 1):
                raise EngineError(f"{name} has the shape {tuple(weight.ne)} in llama.cpp and {shape} in the file")
            rows = rows_at(product.src[1])
            squares = np.square(rows, dtype=np.float64).sum(axis=0)
            if not np.isfinite(squares.astype(np.float32)).all():
                raise ModelInvalidError(
                    f"the inputs that {self._path} computes for {name} are not finite", hint="convert the model again"
                )
            self._sums[name] += squares
            self._counts[name] += len(rows)
        return True
