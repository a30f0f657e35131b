"""Finds and opens the file with the weights of an adapter: PEFT's, or one with 8-bit differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.safetensors import read_safetensors
from genrec_edge.convert.lora.deltas import DELTAS_NAME, read_deltas, sha256_of_base
from genrec_edge.convert.lora.peft_config import CONFIG_NAME
from genrec_edge.errors import ModelInvalidError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.convert.checkpoint.safetensors import StoredTensor
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.deltas import Difference

WEIGHTS_NAME = "adapter_model.safetensors"


def weights_path(folder: Path) -> Path:
    """Return the file with the weights of an adapter.

    Raises:
        UsageError: the folder does not exist.
        ModelInvalidError: it has no such file, or both.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint=f"give a PEFT folder, with {CONFIG_NAME} and {WEIGHTS_NAME}")
    found = [path for path in (folder / WEIGHTS_NAME, folder / DELTAS_NAME) if path.exists()]
    if len(found) > 1:
        message = f"{folder} has its weights twice, as {WEIGHTS_NAME} and as {DELTAS_NAME}"
        raise ModelInvalidError(message, hint="remove one of the two")
    if found:
        return found[0]
    if (folder / "adapter_model.bin").exists():
        message = f"{folder} has its weights as pickle (adapter_model.bin), which can run code when it is loaded"
        hint = "load and save it with peft in a sandbox: that writes safetensors"
        raise ModelInvalidError(message, hint=hint)
    raise ModelInvalidError(f"{folder} has no {WEIGHTS_NAME}", hint="give a folder saved by PEFT")


def open_weights(path: Path, base: Checkpoint) -> Mapping[str, StoredTensor | Difference]:
    """Return the tensors of a file by PEFT's names. Differences make it read the whole base. Read-only.

    Raises:
        ModelInvalidError: the file is damaged, or holds differences to another base.
    """
    if path.name != DELTAS_NAME:
        return read_safetensors(path)
    tensors, expected = read_deltas(path)
    if (found := sha256_of_base(base)) != expected:
        message = f"{path} holds differences to another base: the weights of {base.path} have the sha256 {found}, and"
        raise ModelInvalidError(f"{message} not {expected}", hint="give the base that the adapter was packed with")
    return tensors
