"""Where two models count as the same."""

from __future__ import annotations

import pytest

from genrec_edge.convert.verification.logit_divergence import LogitAgreement
from genrec_edge.convert.verification.results import agrees


@pytest.mark.parametrize(
    ("n_not_finite", "kl", "top1", "good"),
    [
        (0, 1e-3, 0.995, True),
        (0, 1.1e-3, 1.0, False),
        (0, 0.0, 0.994, False),
        (1, 0.0, 1.0, False),
        (9, None, None, False),
    ],
)
def test_where_agreement_ends(n_not_finite: int, kl: float | None, top1: float | None, good: bool) -> None:
    assert agrees(LogitAgreement(2000, n_not_finite, kl, kl, top1, 0.1)) is good
