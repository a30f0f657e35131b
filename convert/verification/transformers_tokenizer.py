"""Runs the tokenizer of a Hugging Face folder with transformers, as the reference for llama.cpp's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer
from transformers.utils import logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def load(folder: Path) -> Callable[[str], list[int]]:
    """Return the function from text to token ids. It adds no tokens, and treats special tokens in a text as text.

    Uses no network and no code of the folder. Raises any exception of transformers for a folder that it cannot read.
    """
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def tokenize(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    return tokenize


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings and progress bars of transformers while it loads something."""
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
