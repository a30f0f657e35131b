"""Merges LoRA adapters into a checkpoint. Rows are computed when they are read.

The arithmetic is float32: W + sum(weight * scale * B @ A), the exact sum of the adapters, as with PEFT's combination
type "cat". One DoRA adapter is merged as PEFT merges it.

An embedding that is also the output matrix (tied) is an exception. PEFT trains an adapter of one of them without
changing the other, but its merge changes both (peft 0.21.2, `merge_and_unload`; it warns). Here the two are untied
instead, so that the merged model computes what was trained. They stay tied where both were adapted in the same way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.peft_reader import base_tensors
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows
    from genrec_edge.convert.lora.peft_reader import Adapter, Delta, NewRows


def merge_adapters(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> Checkpoint:
    """Return `checkpoint` with the adapters merged into its tensors. Writes nothing.

    Its config is no longer `tied` where embedding and output matrix differ after the merge.

    Raises:
        ModelInvalidError: an adapter changes nothing, or two adapters cannot be merged together.
    """
    adapters = [drop_copies(adapter, checkpoint) for adapter in adapters]
    _check_compatible(adapters)
    config = checkpoint.config
    tensors = {tensor.name: _merge_tensor(tensor, adapters) for tensor in base_tensors(checkpoint).values()}
    if config.tied:
        if _stay_tied(adapters):
            del tensors[OUTPUT]
        else:
            config = replace(config, tied=False)
    return replace(checkpoint, config=config, tensors=tensors)


def drop_copies(adapter: Adapter, checkpoint: Checkpoint) -> Adapter:
    """Return the adapter without tensors that equal those of the base: PEFT saves such copies of embeddings.

    Raises:
        ModelInvalidError: the adapter does not change the base, or its weight is not 1 and it replaces tensors.
    """
    base = base_tensors(checkpoint)
    replaced = {name: tensor for name, tensor in adapter.replaced.items() if not tensor.equals(base[name])}
    changed = any(_changes_base(delta, base[name]) for name, delta in adapter.deltas.items())
    if (
        not replaced
        and not changed
        and not any(_rows_differ(rows, base[name]) for name, rows in adapter.replaced_rows.items())
    ):
        message = f"{adapter.path} changes nothing: every B @ A is zero"
        raise ModelInvalidError(message, hint="give the folder that was saved after training, or leave it out")
    if adapter.weight != 1 and (replaced or adapter.replaced_rows):
        names = ", ".join(dict.fromkeys([*replaced, *adapter.replaced_rows]))
        message = f"{adapter.path} replaces {names}, which the weight {adapter.weight:g} cannot scale"
        raise ModelInvalidError(message, hint="leave its weight out")
    return replace(adapter, replaced=replaced)


def _check_compatible(adapters: Sequence[Adapter]) -> None:
    n_adapters_of = Counter(
        name for a in adapters for name in a.deltas.keys() | a.replaced.keys() | a.replaced_rows.keys()
    )
    problems = [
        f"some rows of {name} are replaced, and it is also changed"
        for adapter in adapters
        for name in adapter.replaced_rows.keys() & (adapter.deltas.keys() | adapter.replaced.keys())
    ]
    for name in (name for name, count in n_adapters_of.items() if count > 1):
        if any(name in adapter.replaced or name in adapter.replaced_rows for adapter in adapters):
            problems.append(f"{name} is replaced by one adapter and changed by another")
        elif any(name in adapter.deltas and adapter.deltas[name].magnitude is not None for adapter in adapters):
            problems.append(f"{name} is changed by several adapters, one of them with DoRA")
    if problems:
        message = f"the adapters cannot be merged together: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="merge one of them, and train the other on the result")


def _merge_tensor(base: Tensor, adapters: Sequence[Adapter]) -> Tensor:
    """Return one tensor with the adapters merged in; the tensor itself where none of them changes it."""
    name = base.name
    for adapter in adapters:
        if whole := adapter.replaced.get(name):
            base = replace(whole, name=name)
        if new := adapter.replaced_rows.get(name):
            base = Tensor(name, base.shape, "F32", partial(_read_with_new_rows, base, new))
    deltas = [(adapter.weight, adapter.deltas[name]) for adapter in adapters if name in adapter.deltas]
    if not deltas:
        return base
    return Tensor(name, base.shape, "F32", partial(_read_with_deltas, base, deltas))


def _read_with_new_rows(base: Tensor, new: NewRows, rows: Rows) -> NDArray[np.float32]:
    index_of = np.full(base.shape[0], -1, np.int64)
    index_of[new.token_ids] = np.arange(len(new.token_ids))
    weights, indices = base.read(rows), index_of[rows]
    is_new = indices >= 0
    weights[is_new] = new.values[indices[is_new]]
    return weights


def _rows_differ(new: NewRows, base: Tensor) -> bool:
    return not np.array_equal(base.read(new.token_ids), new.values)


def _read_with_deltas(base: Tensor, deltas: Sequence[tuple[float, Delta]], rows: Rows) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = base.read(rows)
    with np.errstate(all="ignore"):  # non-finite weights are refused when they are written
        for weight, delta in deltas:
            change = delta.b[rows] @ delta.a
            change *= np.float32(weight * delta.scale)
            weights += change
            if delta.magnitude is not None:
                weights *= (delta.magnitude[rows] / np.linalg.norm(weights, axis=1))[:, np.newaxis]
    return weights


def _changes_base(delta: Delta, base: Tensor) -> bool:
    if not delta.is_zero:
        return True
    if delta.magnitude is None:
        return False
    magnitude = delta.magnitude
    return not all(
        np.allclose(magnitude[rows], np.linalg.norm(base.read(rows), axis=1), rtol=1e-5) for rows in base.row_chunks()
    )


def _stay_tied(adapters: Sequence[Adapter]) -> bool:
    """Return whether embedding and output matrix are changed in the same way, or not at all."""
    return all(
        _same_delta(adapter.deltas.get(EMBEDDING), adapter.deltas.get(OUTPUT))
        and _same_tensor(adapter.replaced.get(EMBEDDING), adapter.replaced.get(OUTPUT))
        and adapter.replaced_rows.get(EMBEDDING) is adapter.replaced_rows.get(OUTPUT)
        for adapter in adapters
    )


def _same_delta(one: Delta | None, other: Delta | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.magnitude is not None or other.magnitude is not None or one.scale != other.scale:
        return False
    return np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)


def _same_tensor(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or one.equals(other)
