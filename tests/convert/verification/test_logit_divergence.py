"""Divergence and agreement of logits, against torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from genrec_edge.convert.verification.logit_divergence import DivergenceAccumulator, LogitAgreement, compare_logits
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow


def test_figures_equal_those_of_torch_however_the_logits_are_cut() -> None:
    rng = np.random.default_rng(0)
    p = (rng.normal(0, 4, (50, 3000))).astype(np.float32)
    q = (p + rng.normal(0, 0.5, p.shape)).astype(np.float32)
    comparison = DivergenceAccumulator()
    for start, end in ((0, 1), (1, 30), (30, 50)):
        comparison.add(p[start:end], q[start:end])
    found = comparison.agreement()
    log_p, log_q = (torch.log_softmax(torch.from_numpy(x).double(), dim=1) for x in (p, q))
    kl = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(dim=1)
    assert found.mean_kl == pytest.approx(float(kl.mean()), rel=1e-12)
    assert found.max_kl == pytest.approx(float(kl.max()), rel=1e-12)
    assert found.top1 == np.mean([p[i].argmax() == q[i].argmax() for i in range(50)])
    assert found.max_abs_diff == pytest.approx(float(np.abs(p.astype(np.float64) - q).max()))
    assert (found.n_positions, found.n_not_finite) == (50, 0)


def test_a_shift_of_all_logits_changes_no_distribution() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 500)).astype(np.float32)
    found = compared(logits, logits + np.float32(2))
    assert found.mean_kl is not None
    assert 0 <= found.mean_kl < 1e-9
    assert found.top1 == 1
    assert found.max_abs_diff == pytest.approx(2, abs=1e-5)


def test_huge_logits_do_not_overflow() -> None:
    p = np.array([[3e38, -3e38, 0]], np.float32)
    found = compared(p, p)
    assert (found.mean_kl, found.n_not_finite) == (0, 0)


def test_positions_without_numbers_are_counted_and_left_out() -> None:
    p = np.random.default_rng(0).normal(0, 3, (6, 9)).astype(np.float32)
    q = p[:, ::-1].copy()
    whole = compared(p[2:], q[2:])
    p[0, 3], q[1, 8] = np.nan, np.inf
    found = compared(p, q)
    assert (found.n_positions, found.n_not_finite) == (6, 2)
    assert found.mean_kl == pytest.approx(whole.mean_kl)
    assert found.top1 == whole.top1
    assert compared(p[:1], q[:1]) == LogitAgreement(1, 1, None, None, None, None)


def test_other_vocabularies_cannot_be_compared() -> None:
    with pytest.raises(ModelInvalidError, match="vocabularies of 5 and 6 tokens"):
        DivergenceAccumulator().add(np.zeros((2, 5), np.float32), np.zeros((2, 6), np.float32))


def test_only_positions_from_the_start_on_count() -> None:
    calls: list[tuple[int, ...]] = []

    def model(token_ids: Sequence[int]) -> NDArray[np.float32]:
        calls.append(tuple(token_ids))
        return np.eye(len(token_ids), 4, dtype=np.float32)

    found = compare_logits(model, model, [(1, 2, 3), (1, 2, 3, 1)], start=2)
    assert found.n_positions == 3
    assert calls == [(1, 2, 3)] * 2 + [(1, 2, 3, 1)] * 2


def compared(p: NDArray[np.float32], q: NDArray[np.float32]) -> LogitAgreement:
    comparison = DivergenceAccumulator()
    comparison.add(p, q)
    return comparison.agreement()
