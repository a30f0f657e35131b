"""Hit rates of recommendations."""

from __future__ import annotations

import math

import pytest

from genrec_edge.convert.verification.recommendations import hit_rate


def test_hit_rate_and_ndcg() -> None:
    found = hit_rate([1, math.inf, 3, 10])
    assert (found.n, found.hit_rate) == (4, 0.75)
    assert found.ndcg == pytest.approx((1 + 0.5 + 1 / math.log2(11)) / 4)
