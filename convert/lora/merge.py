"""LoRA adapters merged into a checkpoint: tensor by tensor and row by row, when somebody asks for the rows.

The arithmetic is float32: W + sum(weight * scale * B @ A), the exact sum of the adapters, which is what PEFT calls the
combination type "cat". One DoRA adapter is merged as PEFT merges it.

An embedding that is also the output matrix (tied) is the exception. PEFT trains an adapter of the one without touching
the other, but its merge changes both (peft 0.21.2, `merge_and_unload`; it warns). Here the two part instead, so that
the merged model computes what was trained; they stay one where both were adapted alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.safetensors import StoredTensor
    from genrec_edge.convert.checkpoint.types import Rows
    from genrec_edge.convert.lora.peft_reader import Adapter, Delta, NewRows


def merge_adapters(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> Checkpoint:
    """Return a checkpoint whose tensors are those of `checkpoint` with the adapters merged in; nothing is written.

    Its config is no longer `tied` where embedding and output matrix have become two.

    Raises:
        ModelInvalidError: an adapter changes nothing, or two of them cannot be merged together.
    """
    adapters = [drop_copies(adapter, checkpoint) for adapter in adapters]
    _check_together(adapters)
    config = checkpoint.config
    tensors = {tensor.name: _merged(tensor, adapters) for tensor in _bases(checkpoint).values()}
    if config.tied:
        if _alike(adapters):
            del tensors[OUTPUT]
        else:
            config = replace(config, tied=False)
    return replace(checkpoint, config=config, tensors=tensors)


def drop_copies(adapter: Adapter, checkpoint: Checkpoint) -> Adapter:
    """Return the adapter without the tensors that are the same in the base: PEFT saves copies of embeddings unasked.

    Raises:
        ModelInvalidError: nothing is left that would change the base; or it is wanted in part, and a tensor that
            replaces one of the base cannot be.
    """
    bases = _bases(checkpoint)
    replaced = {name: t for name, t in adapter.replaced.items() if not _equal(_tensor(name, t), bases[name])}
    changed = any(_changes(delta, bases[name]) for name, delta in adapter.deltas.items())
    if (
        not replaced
        and not changed
        and not any(_differs(rows, bases[name]) for name, rows in adapter.replaced_rows.items())
    ):
        message = f"{adapter.path} changes nothing: every B @ A is zero"
        raise ModelInvalidError(message, hint="name the folder that was saved after the training, or leave it out")
    if (whole := [*replaced, *adapter.replaced_rows]) and adapter.weight != 1:
        names = ", ".join(dict.fromkeys(whole))
        message = f"{adapter.path} replaces {names}, of which {adapter.weight:g} times is not defined"
        raise ModelInvalidError(message, hint="leave its weight out")
    return replace(adapter, replaced=replaced)


def _tensor(name: str, stored: StoredTensor) -> Tensor:
    return Tensor(name, stored.shape, stored.dtype, stored.read)


def _bases(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of the base, a tied output matrix among them."""
    tensors = dict(checkpoint.tensors)
    if checkpoint.config.tied:
        tensors[OUTPUT] = replace(tensors[EMBEDDING], name=OUTPUT)
    return tensors


def _check_together(adapters: Sequence[Adapter]) -> None:
    touched = Counter(name for a in adapters for name in a.deltas.keys() | a.replaced.keys() | a.replaced_rows.keys())
    problems = [
        f"{name} is replaced in part, and also changed"
        for adapter in adapters
        for name in adapter.replaced_rows.keys() & (adapter.deltas.keys() | adapter.replaced.keys())
    ]
    for name in (name for name, count in touched.items() if count > 1):
        if any(name in adapter.replaced or name in adapter.replaced_rows for adapter in adapters):
            problems.append(f"{name} is replaced by one and changed by another")
        elif any(name in adapter.deltas and adapter.deltas[name].magnitude is not None for adapter in adapters):
            problems.append(f"{name} is changed by several, and by one of them with DoRA")
    if problems:
        message = f"the adapters cannot be merged together: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="merge one of them, and train the other on the result")


def _merged(base: Tensor, adapters: Sequence[Adapter]) -> Tensor:
    """Return the recipe of one tensor: its own, where no adapter touches it."""
    name = base.name
    for adapter in adapters:
        if stored := adapter.replaced.get(name):
            base = _tensor(name, stored)
        if new := adapter.replaced_rows.get(name):
            base = Tensor(name, base.shape, "F32", partial(_read_rows, base, new))
    changes = [(adapter.weight, adapter.deltas[name]) for adapter in adapters if name in adapter.deltas]
    if not changes:
        return base
    return Tensor(name, base.shape, "F32", partial(_read, base, changes))


def _read_rows(base: Tensor, new: NewRows, rows: Rows) -> NDArray[np.float32]:
    place = np.full(base.shape[0], -1, np.int64)
    place[new.token_ids] = np.arange(len(new.token_ids))
    weights, places = base.read(rows), place[rows]
    weights[places >= 0] = new.values[places[places >= 0]]
    return weights


def _differs(new: NewRows, base: Tensor) -> bool:
    return not np.array_equal(base.read(new.token_ids), new.values)


def _read(base: Tensor, changes: Sequence[tuple[float, Delta]], rows: Rows) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = base.read(rows)
    with np.errstate(all="ignore"):  # whoever writes refuses what is no number
        for weight, delta in changes:
            change = delta.b[rows] @ delta.a
            change *= np.float32(weight * delta.scale)
            weights += change
            if delta.magnitude is not None:
                weights *= (delta.magnitude[rows] / np.linalg.norm(weights, axis=1))[:, np.newaxis]
    return weights


def _changes(delta: Delta, base: Tensor) -> bool:
    if not delta.is_zero:
        return True
    if delta.magnitude is None:
        return False
    chunks = ((delta.magnitude[rows], np.linalg.norm(base.read(rows), axis=1)) for rows in base.row_chunks())
    return not all(np.allclose(lengths, of_base, rtol=1e-5) for lengths, of_base in chunks)


def _alike(adapters: Sequence[Adapter]) -> bool:
    """Whether embedding and output matrix are changed in the same way, or not at all."""
    return all(
        _same_delta(adapter.deltas.get(EMBEDDING), adapter.deltas.get(OUTPUT))
        and _same_stored(adapter.replaced.get(EMBEDDING), adapter.replaced.get(OUTPUT))
        and adapter.replaced_rows.get(EMBEDDING) is adapter.replaced_rows.get(OUTPUT)
        for adapter in adapters
    )


def _same_delta(one: Delta | None, other: Delta | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.magnitude is not None or other.magnitude is not None or one.scale != other.scale:
        return False
    return np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)


def _same_stored(one: StoredTensor | None, other: StoredTensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or _equal(_tensor(EMBEDDING, one), _tensor(OUTPUT, other))


def _equal(one: Tensor, other: Tensor) -> bool:
    return all(np.array_equal(one.read(rows), other.read(rows)) for rows in one.row_chunks())
