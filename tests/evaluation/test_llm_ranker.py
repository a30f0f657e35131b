"""Language models as systems: rankings against known probabilities and against `recommend`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.datasets.folder import Dataset, load
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.llm_ranker import N_TEXTS, LlmRanker
from genrec_edge.evaluation.prior_term import PriorTerm
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.records import Interaction
from genrec_edge.serving.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.evaluation.ranker import Ranking
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.options import OpenOptions
    from genrec_edge.records import ScoreKind

    BigramLlama = Callable[[Path, Mapping[str, Mapping[str, float]]], Path]


A, A1, B, B1, C, HEAT, HEAT_TOO = 0, 1, 2, 3, 4, 7, 8


NEXT = {
    "\n": {"A": 0.4, "B": 0.3, "q": 0.2, "C": 0.05, "<|end|>": 0.05},
    "A": {"\n": 0.9, "1": 0.1},
    "B": {"\n": 0.5, "1": 0.5},
    "C": {"\n": 1.0},
    "q": {"\n": 1.0},
    "1": {"\n": 1.0},
}
"""The characters of a model's titles: "A" has the probability .4 * .9, "B1" .3 * .5."""


def indexes(items: Sequence[int]) -> NDArray[np.int32]:
    return np.array(items, np.int32)


def file_of(path: Path) -> ModelFile:
    return resolve_model(path, ModelStore())


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(small_data: Path) -> Dataset:
    return load(small_data)


@pytest.fixture(scope="module")
def bigram_path(bigram_llama: BigramLlama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigram_llama(tmp_path_factory.mktemp("bigram") / "bigram.gguf", NEXT)


@pytest.fixture(scope="module")
def bigram(bigram_path: Path, data: Dataset) -> Iterator[LlmRanker]:
    with LlmRanker(file_of(bigram_path), data, n_threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def tiny(tiny_llama: Path, data: Dataset) -> Iterator[LlmRanker]:
    with LlmRanker(file_of(tiny_llama), data, n_threads=1) as opened:
        yield opened


def test_scores_are_the_probabilities_of_the_model(bigram: LlmRanker) -> None:
    ranked = bigram.rank(indexes([C]), 4)
    assert (ranked.items[0], set(ranked.items.tolist()), ranked.items[3]) == (A, {A, B, B1, A1}, A1)
    assert ranked.items.dtype == np.int32
    assert np.exp(ranked.scores) == pytest.approx([0.36, 0.15, 0.15, 0.04], rel=1e-3)
    assert (ranked.exact, ranked.gap, ranked.texts, ranked.all_scores) == (True, 0.0, 0, None)


def test_the_rank_of_a_target_in_an_answer(bigram: LlmRanker) -> None:
    ranked = bigram.rank(indexes([C]), 4)
    assert [ranked.rank_of(item) for item in (A, A1, HEAT, C)] == [1, 4, math.inf, math.inf]


def test_namesakes_share_a_place_and_a_seen_one_leaves_the_other(tiny: LlmRanker) -> None:
    ranked = tiny.rank(indexes([A]), 11)
    scores = dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))
    assert scores[HEAT] == scores[HEAT_TOO]
    assert ranked.rank_of(HEAT) == ranked.rank_of(HEAT_TOO) == ranked.items.tolist().index(HEAT) + 1.5
    assert HEAT_TOO in tiny.rank(indexes([HEAT]), 11).items


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("calibrate", [None, 0.7])
@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_the_answers_are_those_of_recommend(
    tiny_llama: Path, data: Dataset, score: ScoreKind, calibrate: float | None
) -> None:
    rng = np.random.default_rng(0)
    model_file = file_of(tiny_llama)
    options: dict[str, Any] = {"score": score, "calibrate": calibrate, "n_threads": 1}
    with (
        LlmRanker(model_file, data, **options) as ranker,
        Recommender.open(model_file, data.path / "catalog.db", prior_kind="none", **options) as r,
    ):
        assert ranker.name == f"{tiny_llama.stem}{' - 0.7 habits' if calibrate else ''}"
        assert ranker.about.get("calibrate") == calibrate
        histories = [indexes(rng.permutation(7)[: rng.integers(1, 7)].tolist()) for _ in range(12)]  # without namesakes
        for history, ranked in zip(histories, ranker.rank_many(histories, 5), strict=True):
            result = r.recommend([Interaction(id=data.item_ids[item]) for item in history], k=5)
            assert [data.item_ids[item] for item in ranked.items] == [found.item.id for found in result.items]
            assert ranked.scores == pytest.approx([found.score for found in result.items], abs=1e-3)
            assert not set(ranked.items.tolist()) & set(history.tolist())
            assert ranked.tokens > 0
            assert ranked.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize(("small_bytes", "n_contexts"), [(10**9, 3), (1, 1)])
def test_users_answered_at_once_get_the_answers_of_one_after_the_other(
    small_bytes: int, n_contexts: int, tiny_llama: Path, data: Dataset, tiny: LlmRanker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrec_edge.serving.session_pool._SMALL_BYTES", small_bytes)
    opened: list[int | None] = []
    really_open = Session.open

    def counted(options: OpenOptions) -> Session:
        opened.append(options.n_threads)
        return really_open(options)

    monkeypatch.setattr(Session, "open", counted)
    clones: list[Session] = []
    really_clone = Session.clone

    def clone(session: Session) -> Session:
        clones.append(really_clone(session))
        return clones[-1]

    monkeypatch.setattr(Session, "clone", clone)
    rng = np.random.default_rng(1)
    histories = [indexes(rng.permutation(12)[: rng.integers(1, 7)].tolist()) for _ in range(30)]
    pools = [indexes(np.sort(rng.permutation(12)[:9]).tolist()) for _ in range(30)]
    with LlmRanker(file_of(tiny_llama), data, n_threads=3) as ranker:
        together = list(ranker.rank_many(histories, 4, candidates=pools))
        begun = cast("Generator[Ranking]", ranker.rank_many(histories, 4))
        first = next(begun)
        begun.close()  # the users after it are not waited for
        assert list(ranker.rank_many([], 4)) == []
    assert opened == [3 // n_contexts]
    assert len(clones) == n_contexts - 1
    for history, pool, found in zip(histories, pools, together, strict=True):
        expected = tiny.rank(history, 4, candidates=pool)
        assert found.items.tolist() == expected.items.tolist()
        assert found.scores == pytest.approx(expected.scores, abs=1e-3)
    assert first.items.tolist() == tiny.rank(histories[0], 4).items.tolist()


def test_candidates_are_ranked_alone_and_in_the_order_of_the_whole(tiny: LlmRanker) -> None:
    history, pool = indexes([A, C]), indexes([B, A, 9, 11])
    whole = [item for item in tiny.rank(history, 12).items.tolist() if item in pool]
    assert tiny.rank(history, 20, candidates=pool).items.tolist() == whole
    (only,) = tiny.rank_many([history], 2, candidates=[pool])
    assert only.items.tolist() == whole[:2]
    assert len(tiny.rank(history, 3, candidates=indexes([A])).items) == 0


def test_the_prompt_has_the_latest_titles_and_each_once(tiny_llama: Path, data: Dataset, tiny: LlmRanker) -> None:
    long, same = indexes([5, 6, 9, 10]), indexes([10, 9, 10, 9, 10])
    with LlmRanker(file_of(tiny_llama), data, n_threads=1, max_history=2) as short:
        expected = tiny.rank(indexes([9, 10]), 8, candidates=indexes([A, A1, B, B1, C]))
        for history in (long, same):
            found = short.rank(history, 8, candidates=indexes([A, A1, B, B1, C]))
            assert found.items.tolist() == expected.items.tolist()
            assert found.scores == pytest.approx(expected.scores, abs=1e-3)
        assert not {5, 6} & set(short.rank(long, 12).items.tolist())
    with pytest.raises(UsageError, match="`max_history` must be at least 1, got 0"):
        LlmRanker(file_of(tiny_llama), data, max_history=0)


def test_what_answers_depend_on_is_said(bigram: LlmRanker, bigram_path: Path, tiny: LlmRanker) -> None:
    about = bigram.about
    assert about["model_bytes"] == bigram_path.stat().st_size
    assert (about["score"], about["decode"], about["quant"], about["adapter_sha256"]) == (
        "vocabulary",
        "exact",
        "F32",
        None,
    )
    assert about["model_sha256"] != tiny.about["model_sha256"]
    assert not any(str(bigram_path) in str(value) for value in about.values())
    assert (bigram.name, bigram.is_baseline) == ("bigram", False)
    assert about["tuned_on"] is None


def test_free_text_is_counted_and_grounded(bigram_path: Path, data: Dataset) -> None:
    with LlmRanker(file_of(bigram_path), data, decode="free", n_threads=1) as free:
        assert (free.name, free.is_baseline, free.about["decode"]) == ("bigram, free text", True, "free")
        ranked = free.rank(indexes([C]), 20)  # the model writes its likeliest line, A, again and again
        assert ranked.items.tolist() == [A]
        assert (ranked.texts, ranked.invalid, ranked.repeated) == (N_TEXTS, 0, N_TEXTS - 1)
        assert (ranked.exact, ranked.gap, ranked.rank_of(A), ranked.rank_of(B)) == (False, None, 1, math.inf)
        seen = free.rank(indexes([A]), 3)
        assert (seen.items.tolist(), seen.texts, seen.invalid, seen.repeated) == ([], 3, 0, 3)


def test_text_that_means_nothing_is_invalid(bigram_llama: BigramLlama, data: Dataset, tmp_path: Path) -> None:
    turns = {
        "\n": {"q": 1.0},
        "q": {"\n": 0.6, "q": 0.4},
    }
    path = bigram_llama(tmp_path / "q.gguf", turns)
    with LlmRanker(file_of(path), data, decode="free", n_threads=1) as free:
        ranked = free.rank(indexes([C]), 20)
    assert (ranked.items.tolist(), ranked.texts, ranked.invalid, ranked.repeated) == ([], N_TEXTS, N_TEXTS, 0)


def test_a_prior_is_added_to_the_score_before_the_search(bigram_path: Path, data: Dataset, bigram: LlmRanker) -> None:
    # A, of the greatest probability, becomes the last, and Heat, which the model would never name, the first.
    nats = np.zeros(data.n_items)
    nats[[A, HEAT]] = -20, 500

    def log_prob(history: NDArray[np.int32]) -> NDArray[np.float64]:
        assert history.tolist() == [C]
        return nats

    alone = bigram.rank(indexes([C]), 11)
    own = dict(zip(alone.items.tolist(), alone.scores.tolist(), strict=True))
    prior = PriorTerm("made", log_prob, 0.5)
    with LlmRanker(file_of(bigram_path), data, prior=prior, n_threads=1) as fused:
        ranked = fused.rank(indexes([C]), 11)
        assert (fused.name, fused.about["prior"], fused.about["prior_weight"]) == ("bigram + 0.5 made", "made", 0.5)
    expected = {item: score + 0.5 * nats[item] for item, score in own.items()}
    assert dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-3)
    assert (ranked.items[0], ranked.items[1:4].tolist().count(A), ranked.exact) == (HEAT, 0, True)
    with pytest.raises(UsageError, match="`prior_weight` must be finite and at least 0, got nan"):
        LlmRanker(file_of(bigram_path), data, prior=PriorTerm("made", log_prob, math.nan))
