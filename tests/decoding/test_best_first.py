"""The search against brute force over every title, under language models that are plain functions."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.coordinates import TokenId
from genrec_edge.decoding.best_first import Budget, SearchResult, TrieSearch
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.engine.evaluator import EngineUsage
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.errors import EngineError
from tests.support.coordinates import numbered, token_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.engine.llama_engine import TokenRun
    from genrec_edge.records import ScoreKind

N_VOCAB = 12
END = TokenId(11)
KINDS: list[ScoreKind] = ["vocabulary", "catalog"]

titles_st = st.lists(st.text(alphabet="abcd", min_size=1, max_size=7), min_size=1, max_size=30)


class FakeScorer:
    """A language model whose logits are a fixed random function of the whole path; it remembers what it was asked."""

    def __init__(self, seed: int, sharpness: float = 2.0) -> None:
        self.seed, self.sharpness = seed, sharpness
        self.usage = EngineUsage()
        self.paths: dict[int, tuple[int, ...]] = {ROOT: ()}
        self.asked: list[tuple[int, ...]] = []

    def row(self, path: tuple[int, ...]) -> NDArray[np.float32]:
        rng = np.random.default_rng([self.seed, len(path), *path])
        return (rng.normal(0, self.sharpness, N_VOCAB)).astype(np.float32)

    def evaluate(
        self, runs: Sequence[TokenRun], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        self.usage.calls += 1
        for run in runs:
            start = self.paths[run.parent]
            path = (*start, *run.token_ids)
            self.asked += [path[:n] for n in range(len(start) + 1, len(path) + 1)]
            self.usage.tokens += len(run.token_ids)
            node = len(self.paths)
            self.paths[node] = path
            yield node, self.row(path) if run.needed is None else self.row(path)[run.needed]


def ids(text: str) -> list[TokenId]:
    return token_list("abcd".index(c) for c in text)


def index_of(titles: Sequence[str]) -> TitleTrie:
    return build(numbered(titles), ids, TrieKey("r", "t"))


def log_softmax(values: NDArray[Any]) -> NDArray[np.float64]:
    shifted = values.astype(np.float64) - values.max()
    return np.asarray(shifted - math.log(np.exp(shifted).sum()))


def brute_force(titles: Sequence[str], model: FakeScorer, kind: ScoreKind) -> list[float]:
    """Return the log-probability of each item by the definition in `decoder`, one title at a time."""
    sequences = [tuple(ids(title)) for title in titles]
    scores = []
    for sequence in sequences:
        total = 0.0
        for n in range(len(sequence) + 1):
            prefix, token = sequence[:n], (*sequence, END)[n]
            row = model.row(prefix)
            if kind == "vocabulary":
                total += log_softmax(row)[token]
            else:
                nexts = sorted({(*s, END)[n] for s in sequences if s[:n] == prefix})
                total += log_softmax(row[nexts])[nexts.index(token)]
        scores.append(total - math.log(sequences.count(sequence)))
    return scores


def search(
    titles: Sequence[str], model: FakeScorer, kind: ScoreKind, bias: NDArray[np.float64], k: int
) -> tuple[TrieSearch, TitleTrie]:
    index = index_of(titles)
    by_position = bias[index.rows]
    return TrieSearch(index, model, end_id=END, kind=kind, bias=by_position, k=k), index


def expected_top(scores: Sequence[float], bias: NDArray[np.float64], k: int) -> list[float]:
    return sorted((s + b for s, b in zip(scores, bias, strict=True)), reverse=True)[:k]


def assert_answer_is(
    answer: SearchResult, index: TitleTrie, scores: Sequence[float], bias: NDArray[np.float64], k: int
) -> None:
    assert answer.exact
    assert answer.gap == 0
    found = [(int(index.rows[f.position]), f) for f in answer.found]
    assert len({row for row, _ in found}) == k
    for row, f in found:
        assert f.logprob == pytest.approx(scores[row], abs=1e-4)
        assert f.score == pytest.approx(scores[row] + bias[row], abs=1e-4)
    assert [f.score for _, f in found] == pytest.approx(expected_top(scores, bias, k), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(titles=titles_st, seed=st.integers(0, 10**6), data=st.data())
@settings(deadline=None, max_examples=150)
def test_the_top_k_equals_brute_force(kind: ScoreKind, titles: list[str], seed: int, data: st.DataObject) -> None:
    model = FakeScorer(seed)
    bias = np.array(
        data.draw(st.lists(st.sampled_from([0.0, -3.0, 2.5, -math.inf]), min_size=len(titles), max_size=len(titles)))
    )
    n_allowed = int((bias > -math.inf).sum())
    if n_allowed == 0:
        bias[0], n_allowed = 0.0, 1
    k = data.draw(st.integers(1, n_allowed))
    s, index = search(titles, model, kind, bias, k)
    answer = s.exact(model.row(()), Budget())
    assert_answer_is(answer, index, brute_force(titles, model, kind), bias, k)


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_catalog_scores_are_a_distribution_over_the_catalog(titles: list[str], seed: int) -> None:
    model = FakeScorer(seed)
    s, _ = search(titles, model, "catalog", np.zeros(len(titles)), len(titles))
    answer = s.exact(model.row(()), Budget())
    assert sum(math.exp(f.logprob) for f in answer.found) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_only_prefixes_of_allowed_titles_are_evaluated_and_none_twice(titles: list[str], seed: int) -> None:
    bias = np.array([0.0 if i % 3 == 0 else -math.inf for i in range(len(titles))])
    model = FakeScorer(seed)
    allowed = [tuple(ids(title)) for title in titles[::3]]
    s, _ = search(titles, model, "vocabulary", bias, 1)
    s.exact(model.row(()), Budget())
    assert len(model.asked) == len(set(model.asked))
    assert all(any(a[: len(path)] == path for a in allowed) for path in model.asked)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(titles=titles_st, seed=st.integers(0, 10**6), tokens=st.integers(0, 12), data=st.data())
@settings(deadline=None)
def test_a_spent_budget_still_gives_k_items_and_an_honest_gap(
    kind: ScoreKind, titles: list[str], seed: int, tokens: int, data: st.DataObject
) -> None:
    model = FakeScorer(seed, sharpness=0.3)
    k = data.draw(st.integers(1, len(titles)))
    bias = np.zeros(len(titles))
    s, index = search(titles, model, kind, bias, k)
    answer = s.exact(model.row(()), Budget(tokens=tokens))
    scores = brute_force(titles, model, kind)
    found = {int(index.rows[f.position]) for f in answer.found}
    assert len(found) == k
    assert all(f.logprob == pytest.approx(scores[int(index.rows[f.position])], abs=1e-4) for f in answer.found)
    left_out = [score for row, score in enumerate(scores) if row not in found]
    if left_out:
        assert max(left_out) <= answer.found[-1].score + answer.gap + 1e-4
    assert answer.exact == (answer.gap == 0)


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6), data=st.data())
@settings(deadline=None)
def test_beam_search_gives_k_items_and_an_honest_gap(titles: list[str], seed: int, data: st.DataObject) -> None:
    model = FakeScorer(seed)
    k = data.draw(st.integers(1, len(titles)))
    s, index = search(titles, model, "vocabulary", np.zeros(len(titles)), k)
    answer = s.beam(model.row(()), width=1)
    scores = brute_force(titles, model, "vocabulary")
    found = {int(index.rows[f.position]) for f in answer.found}
    assert len(found) == k
    best_left_out = max([s for row, s in enumerate(scores) if row not in found], default=-math.inf)
    assert best_left_out <= answer.found[-1].score + answer.gap + 1e-4


@pytest.mark.slow
def test_the_search_evaluates_hardly_more_than_any_exact_search_must() -> None:
    rng = random.Random(5)
    titles = sorted({"".join(rng.choices("abcd", k=rng.randint(2, 9))) for _ in range(3000)})
    model = FakeScorer(1)
    s, _ = search(titles, model, "vocabulary", np.zeros(len(titles)), 10)
    answer = s.exact(model.row(()), Budget())
    sequences = {tuple(ids(title)) for title in titles}
    prefixes = {q[:n] for q in sequences for n in range(1, len(q) + 1)}
    needed = {p for p in prefixes if _prefix_score(model, p) > answer.found[-1].score}
    assert needed <= set(model.asked)
    assert len(model.asked) <= len(needed) + 32  # a batch or two too many


def _prefix_score(model: FakeScorer, prefix: tuple[int, ...]) -> float:
    return sum(float(log_softmax(model.row(prefix[:n]))[token]) for n, token in enumerate(prefix))


def test_a_bias_lifts_an_item_and_the_score_says_so() -> None:
    titles = ["ab", "ac", "b", "cd", "d"]
    model = FakeScorer(2)
    plain = brute_force(titles, model, "vocabulary")
    last = int(np.argmin(plain))
    bias = np.zeros(len(titles))
    bias[last] = 50.0
    s, index = search(titles, model, "vocabulary", bias, 2)
    first = s.exact(model.row(()), Budget()).found[0]
    assert int(index.rows[first.position]) == last
    assert first.bias == 50.0
    assert first.logprob == pytest.approx(plain[last], abs=1e-4)


def test_items_that_share_a_title_share_its_probability_and_come_in_the_order_of_the_catalog() -> None:
    model = FakeScorer(4)
    titles = ["ab", "ab", "ab", "c"]
    s, index = search(titles, model, "vocabulary", np.zeros(4), 4)
    answer = s.exact(model.row(()), Budget())
    clones = [f for f in answer.found if index.rows[f.position] < 3]
    alone = brute_force(["ab", "c"], model, "vocabulary")[0]
    assert [f.logprob for f in clones] == pytest.approx([alone - math.log(3)] * 3, abs=1e-4)
    assert [int(index.rows[f.position]) for f in clones] == [0, 1, 2]


def test_time_can_end_the_search_too() -> None:
    titles = ["".join(random.Random(i).choices("abcd", k=8)) for i in range(200)]
    model = FakeScorer(3, sharpness=0.1)
    s, _ = search(titles, model, "vocabulary", np.zeros(200), 5)
    answer = s.exact(model.row(()), Budget(seconds=0.0))
    assert len(answer.found) == 5
    assert not answer.exact


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_an_error_and_not_an_empty_answer(kind: ScoreKind, value: float) -> None:
    model = FakeScorer(3)
    s, _ = search(["ab", "c"], model, kind, np.zeros(2), 1)
    with pytest.raises(EngineError, match="not numbers"):
        s.exact(np.full(N_VOCAB, value, np.float32), Budget())
