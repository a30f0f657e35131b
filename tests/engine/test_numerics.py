"""Logits to log-probabilities: against plain formulas, for sizes where those overflow, and for logits that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genrec_edge.engine.numerics import log_softmax, log_sum_exp, sigmoid
from genrec_edge.errors import EngineError


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_they_agree_with_the_plain_formulas(kind: type[np.float32]) -> None:
    logits = np.random.default_rng(1).normal(0, 4, (7, 500)).astype(kind)
    exact = logits.astype(np.float64)
    expected = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    found = log_softmax(logits)
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.exp(found).sum(axis=1) == pytest.approx(1)
    for row, whole in zip(logits, exact, strict=True):
        assert log_sum_exp(row) == pytest.approx(math.log(math.fsum(np.exp(whole))), abs=1e-5)
        assert log_softmax(row).tolist() == log_softmax(row[None])[0].tolist()


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([1e4, 1e4, -1e4], np.float32)
    assert log_sum_exp(logits) == pytest.approx(1e4 + math.log(2))
    assert log_softmax(logits)[:2] == pytest.approx(-math.log(2))
    assert log_softmax(np.array([0.0, -math.inf])).tolist() == [0.0, -math.inf]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_not_numbers_are_an_error(wrong: float) -> None:
    with pytest.raises(EngineError, match="not numbers") as caught:
        log_sum_exp(np.array([0.0, wrong], np.float32))
    assert caught.value.hint
    with pytest.raises(EngineError):
        log_sum_exp(np.full(3, -math.inf))


def test_the_sigmoid_is_the_inverse_of_the_log_odds() -> None:
    p = np.array([1e-9, 0.2, 0.5, 0.999])
    assert sigmoid(np.log(p / (1 - p))) == pytest.approx(p)
    assert sigmoid(np.array([-1e6, 1e6])) == pytest.approx([0, 1])
