"""The tokenizer of a Hugging Face folder, run by transformers: what llama.cpp's has to agree with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer
from transformers.utils import logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def load(folder: Path) -> Callable[[str], list[int]]:
    """Return the function from text to token ids; it adds nothing, and special tokens in a text stay plain text.

    Raises whatever transformers raises on a folder it cannot read. No network, and no code out of the folder.
    """
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def tokenize(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    return tokenize


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing warnings and progress bars while it loads something."""
    settings: Any = logging  # has no types
    verbosity, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if bars:
            settings.enable_progress_bar()
