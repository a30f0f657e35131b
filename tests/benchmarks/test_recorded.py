"""Recorded searches: their tokens are those that the recommender reports, and what is needed is a part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.recommender import Recommender
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("own_home")
def test_steps_have_the_tokens_of_the_search(
    tiny_llama: Path, tricky_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)  # the folder of the benchmarks is not installed
    from benchmarks.recorded import n_tokens, recorded_searches

    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as r, recorded_searches() as recorded:
        result = r.recommend(["Alien"], k=3)
        assert result.exact
        assert n_tokens(recorded.last.steps) == result.timings.evaluated_tokens > 0
        assert 0 < n_tokens(recorded.last.needed()) <= n_tokens(recorded.last.steps)
