"""Several sessions that answer at once: as many as there are threads, cancelled together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge import Recommender
from genrec_edge.errors import CancelledError, NothingToRecommendError
from genrec_edge.options import Request
from genrec_edge.serving.answer import answer as really_answer
from genrec_edge.serving.session_pool import pool_size
from tests.support.recommenders import Hook, ids

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import Result
    from genrec_edge.serving.session import Session


@pytest.mark.slow
def test_many_requests_are_answered_by_as_many_contexts_as_there_are_threads(
    tiny_llama: Path, tricky_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads_of: dict[int, set[int]] = {}

    def answer(session: Session, request: Request) -> Result:
        threads_of.setdefault(session.engine.n_threads, set()).add(id(session))
        return really_answer(session, request)

    monkeypatch.setattr("genrec_edge.recommender.answer", answer)
    with Recommender.open(tiny_llama, tricky_path, n_threads=3) as r:
        histories = [["Alien"], ["Jaws"], ["Fargo", "Psycho"]] * 8
        many = r.recommend_many(histories, k=4)
        assert {n: len(found) for n, found in threads_of.items()} == {1: 3}
        threads_of.clear()
        assert [ids(result) for result in many] == [ids(r.recommend(history, k=4)) for history in histories]
        monkeypatch.setattr("genrec_edge.serving.session_pool._SMALL_BYTES", 1)
        assert [ids(result) for result in r.recommend_many(histories, k=4)] == [ids(result) for result in many]
        assert threads_of == {3: {id(r.session)}}
        with pytest.raises(NothingToRecommendError):
            r.recommend_many([["Alien"], ["nothing like any of the titles"], *histories])


def test_many_requests_are_cancelled_together(tiny_llama: Path, tricky_path: Path, own_cache: None) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=3) as r:
        requests = [Request(history=("Jaws",), k=3, bias=Hook(r.cancel)) for _ in range(4)]
        with pytest.raises(CancelledError):
            r.recommend_many(requests)
        assert len(r.recommend(["Jaws"], k=3).items) == 3


def test_only_small_models_share_their_threads() -> None:
    assert [pool_size(n_bytes, 4) for n_bytes in (1, 145_000_000, 500_000_000, 500_000_001)] == [4, 4, 4, 1]
    assert pool_size(1, 1) == 1
