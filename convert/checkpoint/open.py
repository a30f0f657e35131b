"""Opens the base model of a conversion, whichever format it has, and checks where the result will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint


def open_base(path: Path) -> Checkpoint:
    """Open a Hugging Face folder or a GGUF. Read-only.

    Raises:
        UsageError: `path` does not exist.
        ModelInvalidError: it is damaged or not supported.
    """
    if not path.exists():
        hint = "give a folder with a Hugging Face checkpoint, a .gguf file, or a model of the store"
        raise UsageError(f"the base {path} does not exist", hint=hint)
    return read_folder(path) if path.is_dir() else read_gguf(path)


def require_absent(out: Path) -> None:
    """Raise UsageError unless `out` does not exist or is an empty folder."""
    if out.name in {"", ".."}:
        raise UsageError(f"`out` is {out}, which cannot be the name of a new folder", hint="give the folder to create")
    # A link could not be replaced by the finished folder.
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(f"{out} exists", hint="give another `out`, or remove it")
