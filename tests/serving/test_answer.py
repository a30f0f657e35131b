"""Answers: the probabilities of the model, exact, by a beam and as free text; and reranked candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import writer
from genrec_edge.decoding.best_first import Budget
from tests.support.recommenders import (
    HISTORY,
    NOISE,
    TWELVE_TITLES,
    USER_TEXTS,
    check_answer,
    ids,
    nats_of,
    user_prompt,
)

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import Decode, Item, Result

    BigramLlama = Callable[[Path, Mapping[str, Mapping[str, float]]], Path]

NEXT = {
    "\n": {"A": 0.4, "B": 0.3, "q": 0.2, "C": 0.05, "<|end|>": 0.05},
    "A": {"\n": 0.9, "1": 0.1},
    "B": {"\n": 0.5, "1": 0.5},
    "C": {"\n": 1.0},
    "q": {"\n": 1.0},
    "1": {"\n": 1.0},
}
BIGRAM_TITLES = {"A": 0.36, "B": 0.15, "B1": 0.15, "C": 0.05, "A1": 0.04}


@pytest.fixture(scope="module")
def bigram_path(bigram_llama: BigramLlama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigram_llama(tmp_path_factory.mktemp("bigram") / "bigram.gguf", NEXT)


@pytest.fixture(scope="module")
def bigram_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bigram-catalog")
    (folder / "bigram.csv").write_text("title\n" + "\n".join(BIGRAM_TITLES))
    writer.build(folder / "bigram.csv", folder / "bigram.db")
    return folder / "bigram.db"


@pytest.fixture(scope="module")
def bigram(bigram_path: Path, bigram_catalog: Path, own_cache: None) -> Iterator[Recommender]:
    with Recommender.open(bigram_path, bigram_catalog, n_threads=1) as opened:
        yield opened


def probabilities(result: Result) -> dict[str, float]:
    return {r.item.title: math.exp(r.logprob) for r in result.items}


def test_an_empty_history_gives_what_the_model_likes(recommender: Recommender, items_by_id: Mapping[str, Item]) -> None:
    result = recommender.recommend(k=10)
    check_answer(result, 10, items_by_id)
    assert result.exact
    assert (result.resolved, result.unresolved, result.dropped) == ((), (), 0)


def test_the_whole_catalog_can_be_ranked(recommender: Recommender, items_by_id: Mapping[str, Item]) -> None:
    result = recommender.recommend(k=len(items_by_id))
    check_answer(result, len(items_by_id), items_by_id)
    assert sorted(ids(result)) == sorted(items_by_id)


@pytest.mark.parametrize("decode", ["exact", "beam"])
def test_probabilities_are_those_of_the_model(bigram: Recommender, decode: Decode) -> None:
    result = bigram.recommend(k=5, decode=decode)
    assert result.exact
    assert probabilities(result) == pytest.approx(BIGRAM_TITLES, rel=1e-3)
    assert result.items[0].item.title == "A"


def test_the_catalog_score_is_a_distribution_over_the_catalog(
    bigram_path: Path, bigram_catalog: Path, own_cache: None
) -> None:
    with Recommender.open(bigram_path, bigram_catalog, n_threads=1, score="catalog") as r:
        result = r.recommend(k=5)
    begins = 0.4 + 0.3 + 0.05  # A, B and C: no title begins with a q
    expected = {"A": 0.36, "A1": 0.04, "B": 0.15, "B1": 0.15, "C": 0.05}
    assert probabilities(result) == pytest.approx({t: p / begins for t, p in expected.items()}, rel=1e-3)
    assert sum(probabilities(result).values()) == pytest.approx(1)
    assert result.model["score"] == "catalog"


def test_free_text_is_grounded_and_greedy_text_is_always_the_same(bigram: Recommender) -> None:
    greedy = bigram.recommend(k=5, decode="free")
    assert [(r.rank, r.item.title) for r in greedy.items] == [(1, "A")]  # the model repeats its likeliest line
    assert greedy.items[0].logprob == pytest.approx(math.log(0.36), rel=1e-3)
    assert greedy.items[0].grounding is not None
    assert (greedy.items[0].grounding.input, greedy.items[0].grounding.method) == ("A", "exact")
    assert (greedy.exact, greedy.gap, greedy.refused) == (False, None, 0)
    again = bigram.recommend(k=5, decode="free", seed=99)
    assert (again.items, again.refused) == (greedy.items, greedy.refused)


@pytest.mark.slow
def test_sampled_text_follows_its_seed(bigram: Recommender) -> None:
    def sampled(seed: int) -> tuple[list[str], int]:
        result = bigram.recommend(k=5, decode="free", temperature=1.0, seed=seed)
        assert {r.item.title for r in result.items} <= BIGRAM_TITLES.keys()
        assert len({r.item.title for r in result.items}) == len(result.items)
        assert [r.rank for r in result.items] == list(range(1, len(result.items) + 1))
        assert all(r.grounding is not None and r.grounding.item == r.item for r in result.items)
        return [r.item.title for r in result.items], result.refused

    answers = [sampled(seed) for seed in range(20)]
    assert [sampled(seed) for seed in range(20)] == answers
    assert len({tuple(found) for found, _ in answers}) > 3
    assert any(refused for _, refused in answers)  # "q" is one line in five, and no title


def test_free_text_returns_nothing_that_is_not_allowed(bigram: Recommender) -> None:
    result = bigram.recommend(["A"], k=4, decode="free")
    assert (result.items, result.refused > 0) == ((), True)
    below = bigram.recommend(k=1, decode="free", bias={"1": -2.0, "2": 0.0})
    assert below.items[0].score == below.items[0].logprob + below.items[0].bias


def test_a_random_model_writes_nothing_that_is_in_the_catalog(
    recommender: Recommender, items_by_id: Mapping[str, Item]
) -> None:
    result = recommender.recommend(["Jaws"], k=3, decode="free", temperature=1.0, seed=1)
    assert all(items_by_id[r.item.id] == r.item for r in result.items)
    assert not result.exact


@pytest.mark.parametrize("history", [[], ["Jaws"], ["Heat (1995)", "Fargo", "M"]])
def test_the_gap_bounds_what_a_beam_may_have_missed(
    recommender: Recommender, items_by_id: Mapping[str, Item], history: list[str]
) -> None:
    exact, beam = (recommender.recommend(history, k=8, decode=decode) for decode in ("exact", "beam"))
    check_bounded(beam, exact, items_by_id)


def test_an_answer_out_of_budget_says_so_and_bounds_its_error(
    tiny_llama: Path, tricky_path: Path, recommender: Recommender, items_by_id: Mapping[str, Item], own_cache: None
) -> None:
    exact = recommender.recommend(["Jaws"], k=8)
    assert exact.exact
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior_kind="none", budget=Budget(tokens=1)) as hurried:
        result = hurried.recommend(["Jaws"], k=8)
    assert not result.exact
    check_bounded(result, exact, items_by_id)


def check_bounded(result: Result, exact: Result, items_by_id: Mapping[str, Item]) -> None:
    """k allowed items, and none outside them better than the worst of them by more than the gap."""
    check_answer(result, len(exact.items), items_by_id)
    assert result.gap is not None
    missed = [r.score for r in exact.items if r.item.id not in ids(result)]
    assert max(missed, default=-math.inf) <= result.items[-1].score + result.gap + NOISE
    assert not (result.exact and missed)


def test_a_result_has_all_that_the_json_contract_names(
    recommender: Recommender, tiny_llama: Path, tricky_path: Path
) -> None:
    result = recommender.recommend(["teh matrx", "Jaws", "no such film at all"], k=2)
    assert all(
        isinstance(r.item.columns, Mapping) and set(r.item.columns) == {"genres", "rating"} for r in result.items
    )
    assert [(m.input, m.item and m.item.title, m.method) for m in result.resolved] == [
        ("teh matrx", "Matrix, The", "fuzzy"),
        ("Jaws", "Jaws", "exact"),
    ]
    assert 0 < result.resolved[0].confidence < result.resolved[1].confidence == 1
    assert dict(result.model) == {
        "name": "tiny-llama",
        "path": str(tiny_llama),
        "quant": None,
        "adapter": None,
        "score": "vocabulary",
        "prompt": "titles-1",
    }
    assert (result.catalog["name"], result.catalog["path"], result.catalog["items"]) == (
        "tricky",
        str(tricky_path),
        60,
    )
    timings = result.timings
    assert timings.prompt_s > 0
    assert timings.decode_s >= timings.engine_s > 0
    assert timings.prompt_tokens > timings.reused_tokens >= 0
    assert timings.evaluated_tokens > 0
    assert timings.engine_calls > 0


def test_reranking_scores_each_candidate_as_if_it_were_alone(twelve_films: Recommender, logits_after: Any) -> None:
    """Any order, duplicates and seen ones included; what is not in the catalog is said."""
    names = ["Ran", "Alien", "Rocky II", "nothing of this kind", "Heat", "Ran", "f9"]
    result = twelve_films.rerank(names, HISTORY, **USER_TEXTS)
    prompt = user_prompt(twelve_films, preference="loud ones", context={"when": "now"}, wanted="Drama")
    truth = {t: nats_of(twelve_films, logits_after, prompt, t) for t in ("Ran", "Alien", "Rocky II", "Heat", "Brazil")}
    assert {r.item.title: r.logprob for r in result.items} == pytest.approx(truth, abs=1e-3)
    assert [r.item.title for r in result.items] == sorted(truth, key=lambda t: -truth[t])
    assert [m.input for m in result.left_out] == ["nothing of this kind"]
    dramas = {title for i, title in enumerate(TWELVE_TITLES) if i % 3 != 1}
    assert {r.item.title: r.fits for r in result.items} == {title: title in dramas for title in truth}
    again = twelve_films.rerank(names[::-1], HISTORY, **USER_TEXTS)
    assert [r.item.row for r in again.items] == [r.item.row for r in result.items]
