"""Fixtures of the tests of `convert/`: models, tokenizers and verifications that several files share."""

from __future__ import annotations

from tests.support.converted_models import converted_models
from tests.support.tokenizers import exported_vocab, real_titles, tiny_bpe, tiny_spm
from tests.support.verifications import verification
from tests.support.wide_checkpoints import wide_checkpoints

__all__ = [
    "converted_models",
    "exported_vocab",
    "real_titles",
    "tiny_bpe",
    "tiny_spm",
    "verification",
    "wide_checkpoints",
]
