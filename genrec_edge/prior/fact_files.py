"""An index of facts as a folder of arrays, beside the title index whose positions it has; see `array_folder`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.decoding.trie import TrieKey
from genrec_edge.prior.facts import FactColumn, FactIndex
from genrec_edge.storage import array_folder
from genrec_edge.storage.array_folder import ArrayFormat, DamagedArraysError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS: dict[str, str] = {
    "names": "<u1",
    "columns": "<i8",
    "n_values": "<i4",
    "group_of": "<i4",
    "n_items_with": "<i4",
    "starts": "<i8",
    "members": "<i4",
    "item_starts": "<i8",
    "item_values": "<i4",
}
"""The arrays of an index. `names` is a list of texts in JSON; `columns` has for each column how many values are held,
how many pairs there are, and how many groups, 0 where each item is its own; `n_values` and `group_of` are those of all
columns, one after the other."""
_FORMAT = ArrayFormat("genrec-edge/facts@2", frozenset({"revision", "tokenizer", "index"}), ARRAYS)
_N_NUMBERS = 3
"""In `columns`, of each column."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptFacts:
    """An index of facts, and the title index whose positions it has."""

    made_for: TrieKey
    index: FactIndex


def write(kept: KeptFacts, path: Path) -> None:
    """Write an index as folder `path`; `array_folder.write` says what is raised."""
    index, made_for = kept.index, kept.made_for
    key = {"revision": made_for.revision, "tokenizer": made_for.tokenizer, "index": made_for.format}
    numbers = [
        (len(column.values), column.n_pairs, 0 if column.group_of is None else len(column.n_values))
        for column in index.columns
    ]
    arrays: dict[str, NDArray[Any]] = {
        "names": np.frombuffer(json.dumps([column.name for column in index.columns]).encode(), np.uint8),
        "columns": np.array(numbers, np.int64).reshape(-1),
        "n_values": _joined(column.n_values for column in index.columns),
        "group_of": _joined(column.group_of for column in index.columns if column.group_of is not None),
        "n_items_with": index.n_items_with,
        "starts": index.starts,
        "members": index.members,
        "item_starts": index.item_starts,
        "item_values": index.item_values,
    }
    array_folder.write(path, _FORMAT, key, arrays)


def read(path: Path) -> KeptFacts | None:
    """Return the index in the folder `path`, memory-mapped unless it is small; None if there is none.

    Raises:
        DamagedArraysError: it is damaged or of another format. So it may seem while another process replaces it.
    """
    return array_folder.read(path, _FORMAT, _kept, check)


def check(kept: KeptFacts) -> str:
    """Return what is wrong with the arrays of an index, "" if nothing is: no request can run out of them."""
    index = kept.index
    n_values = index.columns[-1].values.stop if index.columns else 0
    if len(index.n_items_with) != n_values or len(index.starts) != n_values + 1:
        return "its arrays are not of one index"
    for starts, of in ((index.starts, index.members), (index.item_starts, index.item_values)):
        if int(starts[0]) != 0 or int(starts[-1]) != len(of) or not bool((starts[1:] >= starts[:-1]).all()):
            return "its parts do not lie side by side"
    if not _are_below(index.item_values, n_values):
        return "an item has a value that does not exist"
    for column in index.columns:
        members = index.members[int(index.starts[column.values.start]) : int(index.starts[column.values.stop])]
        if not _are_below(members, len(column.n_values)) or not bool((column.n_values[members] > 0).all()):
            return f"the column {column.name!r} has members that do not exist"
        if column.group_of is not None and not _are_below(column.group_of, len(column.n_values)):
            return f"the column {column.name!r} has groups that do not exist"
    return ""


def _kept(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> KeptFacts:
    """Return the index that arrays are, which `check` has still to look at."""
    made_for = TrieKey(key["revision"], key["tokenizer"], key["index"])
    n_items = len(arrays["item_starts"]) - 1
    try:
        names = json.loads(arrays["names"].tobytes())
        numbers = arrays["columns"].reshape(len(names), _N_NUMBERS).tolist()
    except (ValueError, TypeError, RecursionError) as e:
        raise DamagedArraysError(f"its columns cannot be read ({type(e).__name__})") from e
    held = pairwise(accumulate((number[0] for number in numbers), initial=0))
    sizes = [n_groups or n_items for _, _, n_groups in numbers]
    ends = list(accumulate(sizes, initial=0))
    n_grouped = sum(n_groups > 0 for _, _, n_groups in numbers)
    is_whole = ends[-1] == len(arrays["n_values"]) and n_grouped * n_items == len(arrays["group_of"])
    if n_items < 1 or not is_whole or any(min(number) < 0 or number[1] < 1 for number in numbers):
        raise DamagedArraysError("its arrays are not of one index")
    groups = iter(arrays["group_of"].reshape(n_grouped, n_items))
    columns = [
        FactColumn(
            str(name),
            range(*values),
            n_pairs,
            arrays["n_values"][ends[i] : ends[i + 1]],
            next(groups) if n_groups else None,
        )
        for i, (name, values, (_, n_pairs, n_groups)) in enumerate(zip(names, held, numbers, strict=True))
    ]
    if (columns[-1].values.stop if columns else 0) != len(arrays["n_items_with"]):
        raise DamagedArraysError("its arrays are not of one index")
    rest = ("n_items_with", "starts", "members", "item_starts", "item_values")
    return KeptFacts(made_for, FactIndex(columns, *(arrays[name] for name in rest)))


def _joined(parts: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.empty(0, np.int32), *parts])


def _are_below(numbers: NDArray[np.int32], limit: int) -> bool:
    """Whether all of these numbers are from 0 to below a limit."""
    return not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < limit)
