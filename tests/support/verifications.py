"""A verification with three files and made-up values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genrec_edge.convert.verification.logit_divergence import LogitAgreement
from genrec_edge.convert.verification.recommendations import HitRate
from genrec_edge.convert.verification.results import CheckpointCheck, FileFigures, TokenizerCheck, Verification


def figures(file_type: str, n_bytes: int, kl: float, overlap: float, request_s: float) -> FileFigures:
    return FileFigures(
        name=f"films-{file_type}.gguf",
        file_type=file_type,
        n_bytes=n_bytes,
        bits_per_weight=n_bytes * 8 / 134.5e6,
        same_tokenizer=True,
        agreement=LogitAgreement(2000, 0, kl, 20 * kl, 0.9512, 1.5),
        overlap=overlap,
        exact_share=1.0,
        request_s=request_s,
        prompt_tokens_per_s=100.0,
        hits=HitRate(50, 0.24, 0.1),
    )


@pytest.fixture
def verification() -> Verification:
    reference = replace(figures("F16", 270_900_000, 0, 1, 2.0), agreement=None, overlap=None)
    return Verification(
        catalog="films | shown",
        n_items=17_472,
        seed=7,
        n_positions=2000,
        n_histories=50,
        n_unresolved=0,
        tokenizer=TokenizerCheck("passed", n_titles=500),
        checkpoint=CheckpointCheck("skipped", "torch is not installed"),
        files=(
            reference,
            figures("Q8_0", 144_800_000, 1.24e-4, 0.984, 1.0),
            figures("Q4_0", 91_700_000, 0.1234, 0.71, 1.6),
        ),
    )
