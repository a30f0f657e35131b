"""Builds are compared by what their answers share: quality, scores of the same items, and other items."""

from __future__ import annotations

from math import log2

import pytest

from tests.support.folders import ROOT


def test_differences_are_those_of_items_that_both_answers_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # the folder of the benchmarks is not installed
    from benchmarks.builds import compared

    first = [
        {"target": 5, "items": [4, 5, 6], "scores": [-1.0, -2.0, -3.0]},
        {"target": 9, "items": [1, 2, 3], "scores": [-1.0, -2.0, -3.0]},
    ]
    second = [
        {"target": 5, "items": [5, 4, 7], "scores": [-1.0, -1.25, -3.0]},  # 5: 1, 4: .25; 6 and 7 in one alone
        {"target": 9, "items": [1, 2, 3], "scores": [-1.5, -2.0, -3.0]},  # .5, 0, 0
    ]
    assert compared(second, first) == {
        "users": 2,
        "hr": 0.5,
        "ndcg": 0.5,
        "median_difference": 0.25,
        "largest_difference": 1.0,
        "other_items": 1,
        "other_first": 1,
    }
    assert compared(first, first)["ndcg"] == pytest.approx(1 / log2(3) / 2)
