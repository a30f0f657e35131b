"""Packs an adapter to ship: whole matrices and rows of tokens as 8-bit differences to its base. And unpacks it.

    python -m genrec_edge.convert.pipeline.pack ADAPTER BASE OUT
    python -m genrec_edge.convert.pipeline.pack --unpack ADAPTER BASE OUT

OUT is a folder with all files of ADAPTER, and the weights in the other form. What was packed is read like any adapter
where an adapter is merged; only training wants it unpacked. Unpacked weights are float32: those that a merge reads.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.convert.checkpoint.safetensors import NewTensor, StoredTensor, read_safetensors, write_safetensors
from genrec_edge.convert.checkpoint.types import Tensor
from genrec_edge.convert.lora.adapter_file import WEIGHTS_NAME, weights_path
from genrec_edge.convert.lora.deltas import DELTAS_NAME, new_deltas, read_deltas, sha256_of_base, write_deltas
from genrec_edge.convert.lora.peft_reader import base_tensors, read_adapter
from genrec_edge.convert.pipeline.training_record import layers_to_keep
from genrec_edge.errors import GenRecError, UsageError
from genrec_edge.storage.files import atomic_write, path_errors
from genrec_edge.storage.folders import install, partial_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Checkpoint, Rows
    from genrec_edge.convert.lora.peft_reader import Adapter, NewRows

_Matrix = tuple[Tensor, Tensor, "NDArray[np.int64] | None"]
"""A matrix of an adapter, the tensor of the base that it changes, and which rows of that; None for all."""


def pack_adapter(folder: Path, base_path: Path, out: Path, *, unpack: bool = False) -> Path:
    """Write the folder of an adapter into the folder `out` in the other form, and return the file with the weights.

    Raises:
        UsageError: `out` exists, the adapter has that form already or has nothing to pack, or a file cannot be read.
        ModelInvalidError: the adapter does not match the base, or is damaged.
        DiskFullError, DiskError: the disk is full or failing; `out` is not created.
    """
    with path_errors(folder):
        require_absent(out)
        source = weights_path(folder)
        if out.absolute().resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{out} lies in the adapter {folder}", hint="give a folder beside it")
        if unpack != (source.name == DELTAS_NAME):
            message = f"{source} is {'not packed' if unpack else 'packed already'}"
            raise UsageError(message, hint="leave out --unpack" if unpack else "give --unpack to unpack it")
        base = open_base(base_path)
        if (layers := layers_to_keep(None, base, [folder])) is not None:
            base = keep_layers(base, layers)
        matrices = _matrices(read_adapter(folder, base), base)
    if not matrices:
        message = f"{folder} has no whole matrices and no rows of tokens, and A and B stay as they are"
        raise UsageError(message, hint="ship it as it is")
    name = WEIGHTS_NAME if unpack else DELTAS_NAME
    with path_errors(out), partial_folder(out, None) as made:
        shutil.copytree(folder, made, ignore=partial(_weights_of, source), copy_function=_copy, dirs_exist_ok=True)
        with atomic_write(made / name) as file:
            if unpack:
                write_safetensors(file, _unpacked(source, matrices), {"format": "pt"})
            else:
                write_deltas(file, _packed(source, matrices), sha256_of_base(base))
        install(made, out)
    return out / name


def _matrices(adapter: Adapter, base: Checkpoint) -> dict[str, _Matrix]:
    """Return the matrices of an adapter by PEFT's names."""
    changed, found = base_tensors(base), dict[str, _Matrix]()
    for name, tensor in adapter.replaced.items():
        if len(tensor.shape) == 2:
            found.setdefault(tensor.name, (tensor, changed[name], None))  # twice where embedding and output are tied
    for name, new in adapter.replaced_rows.items():
        found.setdefault(new.key, (_as_tensor(new), changed[name], new.token_ids))
    return found


def _as_tensor(new: NewRows) -> Tensor:
    def read(rows: Rows) -> NDArray[np.float32]:
        return new.values[rows].copy()

    return Tensor(new.key, new.values.shape, "F32", read)


def _packed(path: Path, matrices: Mapping[str, _Matrix]) -> list[NewTensor]:
    packed: list[NewTensor] = []
    for key, stored in read_safetensors(path).items():
        packed += new_deltas(*matrices[key]) if key in matrices else [_as_it_is(stored)]
    return packed


def _unpacked(path: Path, matrices: Mapping[str, _Matrix]) -> list[NewTensor]:
    return [
        _as_it_is(stored) if isinstance(stored, StoredTensor) else _as_f32(matrices[key][0])
        for key, stored in read_deltas(path)[0].items()
    ]


def _as_it_is(stored: StoredTensor) -> NewTensor:
    return NewTensor(stored.name, stored.dtype, stored.shape, [stored.data])


def _as_f32(tensor: Tensor) -> NewTensor:
    return NewTensor(tensor.name, "F32", tensor.shape, (tensor.read(rows) for rows in tensor.row_chunks()))


def _weights_of(source: Path, folder: str, _names: list[str]) -> set[str]:
    """Return what is not copied from a folder: the weights."""
    return {source.name} if Path(folder) == source.parent else set()


def _copy(source: str, target: str) -> None:
    if not Path(source).is_file():  # a pipe or a device could be read for ever
        raise UsageError(f"{source} is neither a file nor a folder", hint="remove it")
    shutil.copyfile(source, target)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m genrec_edge.convert.pipeline.pack", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--unpack", action="store_true", help="the way back")
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="the folder of an adapter")
    parser.add_argument("base", type=Path, metavar="BASE", help="what it was trained on: a Hugging Face folder or GGUF")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    options = parser.parse_args(words)
    try:
        path = pack_adapter(options.adapter, options.base, options.out, unpack=options.unpack)
    except GenRecError as e:
        sys.stderr.write(printable(f"error: {e.message}; {e.hint}") + "\n")
        sys.exit(e.exit_code)
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
