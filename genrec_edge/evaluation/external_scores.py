"""Files of scores that another program computed for every user and item: baselines of other libraries.

The file states the split it was made for, so that one table never mixes metrics of different splits.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from genrec_edge.errors import UsageError, several
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.storage.files import atomic_write, open_regular, path_errors
from genrec_edge.storage.json_diff import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.datasets.split import Split
    from genrec_edge.records import Target

_MAX_CARD_BYTES = 1 << 20
_HINT = "write it again with genrec_edge.evaluation.external_scores.save_scores"


def save_scores(path: Path, scores: NDArray[np.floating], split: Split, target: Target = "test") -> None:
    """Write the scores of all items after each user's history, (n_users, n_items), as `read_scores` reads them.

    Args:
        path: a .npz file, replaced whole or not at all.
        scores: a row for each user of the data set; rows of users without a target may be nan.
        split: the split whose training part the scores were fitted on.
        target: which of the held-out items the histories lead up to.
    """
    card = json.dumps({"split": split.card(), "target": target})
    with atomic_write(path) as file:
        np.savez_compressed(file, scores=np.asarray(scores, np.float32), card=np.array(card))


def read_scores(path: Path, split: Split, target: Target) -> Callable[[NDArray[np.int32]], NDArray[np.float32]]:
    """Return the function from the history of a user with a target to the scores of all items, (n_items,). Read-only.

    Raises:
        UsageError: the file is not a file of scores, was made for another split, or has a score that is not a number.
            The returned function raises it for any other history, such as an empty one.
    """
    shape = (len(split.train), split.n_items)
    try:
        with path_errors(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
            card = json.loads(str(_array(archive, "card", _MAX_CARD_BYTES)))
            scores = _array(archive, "scores", 4 * shape[0] * shape[1])
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError) as e:
        raise UsageError(f"{path} is not a file of scores ({e})", hint=_HINT) from e
    expected = json.loads(json.dumps({"split": split.card(), "target": target}))
    if different := differences(expected, card):
        named = several(different, most=5, separator=", ")
        raise UsageError(f"{path} was made for another evaluation: {named} differ", hint=_HINT)
    if scores.shape != shape or scores.dtype != np.float32:
        message = f"{path} has scores of shape {scores.shape} and type {scores.dtype}, not float32 of {shape}"
        raise UsageError(message, hint=_HINT)
    cases = cases_of(split, target=target)
    n_invalid = int(np.isnan(scores[cases.users]).any(axis=1).sum())
    if n_invalid:
        message = f"{path}: {n_invalid:,} of {len(cases.users):,} users have scores that are not numbers"
        raise UsageError(message, hint=_HINT)
    row_of = {history.tobytes(): user for history, user in zip(cases.histories, cases.users.tolist(), strict=True)}

    def scores_of(history: NDArray[np.int32]) -> NDArray[np.float32]:
        user = row_of.get(history.tobytes())
        if user is None:
            message = f"{path} has no scores for a user without a history"
            raise UsageError(message, hint='leave out `scores`, or choose another `preference` than "none"')
        return np.asarray(scores[user], np.float32)

    return scores_of


def _array(archive: zipfile.ZipFile, name: str, max_bytes: int) -> NDArray[Any]:
    """Read one array without trusting its header: never reads or allocates more than `max_bytes`."""
    with archive.open(f"{name}.npy") as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not an array of format version 1.0")
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if is_fortran or dtype.hasobject or not 0 <= n_bytes <= max_bytes:
            raise ValueError(f"{name} has the shape {shape} and type {dtype}")
        content = file.read(n_bytes)
        if len(content) != n_bytes:
            raise ValueError(f"{name} is truncated")
        return np.frombuffer(content, dtype).reshape(shape)
