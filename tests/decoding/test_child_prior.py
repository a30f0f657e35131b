"""The search on top of a prior against brute force by the definition in `decoder`, on made and on real models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.peer_llama import open_llama
from genrec_edge.coordinates import TokenId, TriePosition
from genrec_edge.decoding.best_first import Budget, TrieSearch
from genrec_edge.decoding.child_prior import ChildPrior
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.evaluator import EngineUsage
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.errors import UsageError
from tests.support.coordinates import numbered, token_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import llama_cpp
    from numpy.typing import NDArray

    from genrec_edge.engine.llama_engine import TokenRun

N_VOCAB, END = 12, TokenId(11)
Prefix = tuple[int, ...]

titles_st = st.lists(st.text(alphabet="abcd", min_size=1, max_size=6), min_size=1, max_size=25)
tau_st, lambda_st = st.sampled_from([0.0, 0.1, 1.0, 2.5]), st.sampled_from([0.0, 0.4, 1.0, 3.0])


class FakeScorer:
    """A language model whose logits are a fixed random function of the whole path."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.usage = EngineUsage()
        self.paths: dict[int, Prefix] = {ROOT: ()}
        self.asked: list[Prefix] = []

    def row(self, path: Prefix) -> NDArray[np.float32]:
        return np.random.default_rng([self.seed, len(path), *path]).normal(0, 2, N_VOCAB).astype(np.float32)

    def evaluate(
        self, runs: Sequence[TokenRun], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for run in runs:
            path = (*self.paths[run.parent], *run.token_ids)
            self.usage.tokens += len(run.token_ids)
            self.paths[len(self.paths)] = path
            self.asked.append(path)
            row = self.row(path)
            yield len(self.paths) - 1, row if run.needed is None else row[run.needed]


def ids(text: str) -> list[TokenId]:
    return token_list("abcd".index(c) for c in text)


def index_of(titles: Sequence[str]) -> TitleTrie:
    return build(numbered(titles), ids, TrieKey("r", "t"))


def brute_force(
    sequences: Sequence[Prefix],
    mass: NDArray[np.float64],
    tau: float,
    lambda_: float,
    row: Callable[[Prefix], Any],
    end: int,
) -> list[float]:
    """Return the log-probability of each item, one title and one node at a time."""
    scores = []
    for i, sequence in enumerate(sequences):
        total = 0.0
        for n in range(len(sequence) + 1):
            prefix, token = sequence[:n], (*sequence, end)[n]
            below: dict[int, float] = {}
            for other, m in zip(sequences, mass, strict=True):
                if other[:n] == prefix:
                    child = (*other, end)[n]
                    below[child] = below.get(child, 0.0) + float(m)
            logits = row(prefix)
            weights = {c: math.exp(tau * float(logits[c]) + lambda_ * math.log(m)) for c, m in below.items()}
            total += math.log(weights[token] / sum(weights.values()))
        own = sum(float(m) for other, m in zip(sequences, mass, strict=True) if other == sequence)
        scores.append(total + math.log(mass[i] / own))
    return scores


def masses(n: int, seed: int) -> NDArray[np.float64]:
    """Return a distribution with masses from nearly all to nearly nothing."""
    logs = np.random.default_rng(seed).uniform(-25, 0, n)
    return np.asarray(np.exp(logs) / np.exp(logs).sum())


def searched(
    titles: Sequence[str],
    model: FakeScorer,
    prior: tuple[NDArray[np.float64], float, float],
    bias: NDArray[np.float64],
    k: int,
) -> tuple[dict[int, float], bool]:
    """Return the score of each title found, best first, and whether that is exact."""
    index = index_of(titles)
    below = ChildPrior(prior[0][index.rows], *prior[1:])
    search = TrieSearch(index, model, end_id=END, kind="catalog", bias=bias[index.rows], k=k, prior=below)
    answer = search.exact(model.row(()), Budget())
    return {int(index.rows[f.position]): f.score for f in answer.found}, answer.exact


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6), tau=tau_st, lambda_=lambda_st, data=st.data())
@settings(deadline=None, max_examples=150)
def test_the_top_k_on_a_prior_equals_brute_force(
    titles: list[str], seed: int, tau: float, lambda_: float, data: st.DataObject
) -> None:
    model, mass = FakeScorer(seed), masses(len(titles), seed)
    values = st.sampled_from([0.0, -3.0, 2.5, -math.inf])
    bias = np.array(data.draw(st.lists(values, min_size=len(titles), max_size=len(titles))))
    bias[seed % len(titles)] = 0.0
    k = data.draw(st.integers(1, int((bias > -math.inf).sum())))
    truth = np.array(brute_force([tuple(ids(t)) for t in titles], mass, tau, lambda_, model.row, END)) + bias
    found, exact = searched(titles, model, (mass, tau, lambda_), bias, k)
    assert exact
    assert list(found.values()) == pytest.approx(sorted(truth, reverse=True)[:k], abs=1e-4)
    assert all(score == pytest.approx(truth[i], abs=1e-4) for i, score in found.items())


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6), tau=tau_st, lambda_=lambda_st)
@settings(deadline=None)
def test_scores_on_a_prior_are_a_distribution(titles: list[str], seed: int, tau: float, lambda_: float) -> None:
    prior = (masses(len(titles), seed), tau, lambda_)
    found, _ = searched(titles, FakeScorer(seed), prior, np.zeros(len(titles)), len(titles))
    assert sum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-9)
    assert max(found.values()) <= 0


@pytest.mark.slow
@given(titles=titles_st, seed=st.integers(0, 10**6), k=st.integers(1, 25))
@settings(deadline=None)
def test_without_the_model_the_answer_is_the_prior(titles: list[str], seed: int, k: int) -> None:
    mass = masses(len(titles), seed)
    k = min(k, len(titles))
    found, exact = searched(titles, FakeScorer(seed), (mass, 0.0, 1.0), np.zeros(len(titles)), k)
    assert exact
    assert list(found.values()) == pytest.approx(np.log(np.sort(mass)[::-1][:k]), abs=1e-9)
    assert all(score == pytest.approx(math.log(mass[i]), abs=1e-9) for i, score in found.items())


@pytest.mark.slow
def test_a_spent_budget_and_a_beam_keep_their_promises_on_a_prior() -> None:
    rng = np.random.default_rng(3)
    titles = sorted({"".join(rng.choice(list("abcd"), rng.integers(3, 9))) for _ in range(400)})
    model, mass = FakeScorer(1), np.full(len(titles), 1 / len(titles))
    index = index_of(titles)
    truth = brute_force([tuple(ids(t)) for t in titles], mass, 0.3, 1.0, model.row, END)
    for ask in ("exact", "beam"):
        search = TrieSearch(
            index,
            model,
            end_id=END,
            kind="catalog",
            bias=np.zeros(len(titles)),
            k=5,
            prior=ChildPrior(mass, 0.3, 1.0),
        )
        answer = search.exact(model.row(()), Budget(20)) if ask == "exact" else search.beam(model.row(()))
        found = {int(index.rows[f.position]): f.logprob for f in answer.found}
        assert len(found) == 5
        assert all(logprob == pytest.approx(truth[i], abs=1e-4) for i, logprob in found.items())
        best_left = max(score for i, score in enumerate(truth) if i not in found)
        assert best_left <= min(found.values()) + answer.gap + 1e-4


def test_the_score_over_the_vocabulary_stands_on_no_prior() -> None:
    with pytest.raises(UsageError, match="cannot be combined with a prior"):
        TrieSearch(
            index_of(["ab"]),
            FakeScorer(0),
            end_id=END,
            kind="vocabulary",
            bias=np.zeros(1),
            k=1,
            prior=ChildPrior(np.ones(1), 1.0, 1.0),
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vocabulary", "catalog"])
@given(titles=titles_st, seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_everything_is_every_title_and_no_prefix_twice(kind: Any, titles: list[str], seed: int) -> None:
    model, index = FakeScorer(seed), index_of(titles)

    def fresh() -> TrieSearch:
        return TrieSearch(index, model, end_id=END, kind=kind, bias=np.zeros(index.n_items), k=index.n_items)

    told: list[tuple[int, int]] = []
    logprobs = fresh().score_all(model.row(()), lambda done, total: told.append((done, total)))
    assert len(model.asked) == len(set(model.asked))
    assert told == [(n, len(titles)) for n in range(1, len(titles) + 1)]
    one_by_one = {f.position: f.logprob for f in fresh().exact(model.row(()), Budget(10**6)).found}
    assert logprobs.tolist() == pytest.approx([one_by_one[TriePosition(p)] for p in range(len(titles))], abs=1e-9)


# ---- a real file


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[LlamaEngine]:
    opened = LlamaEngine(Model(tiny_llama), n_ctx=1024, n_threads=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def llm(tiny_llama: Path) -> Iterator[llama_cpp.Llama]:
    opened = open_llama(tiny_llama, n_ctx=1024, logits_all=True, n_threads=1)
    yield opened
    opened.close()


REAL = [
    "Alien",
    "Aliens",
    "Alien 3",
    "Heat",
    "Heat",
    "The Heat",
    "Them!",
    "Then",
    "Theatre of Blood",
    "A",
    "An",
    "Anna",
]


@pytest.mark.slow
@given(seed=st.integers(0, 999), tau=st.sampled_from([0.1, 1.0]), lambda_=st.sampled_from([0.5, 1.0]))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_real_model_on_a_prior_equals_scoring_titles_one_by_one(
    engine: LlamaEngine, llm: llama_cpp.Llama, seed: int, tau: float, lambda_: float
) -> None:
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, 250, rng.integers(1, 20)).tolist()
    mass, end_id = masses(len(REAL), seed), engine.model.newline_id
    index = build(numbered(REAL), engine.model.tokenize, TrieKey("r", "t"))
    root_row, _ = engine.prompt(prompt)
    search = TrieSearch(
        index,
        engine,
        end_id=end_id,
        kind="catalog",
        bias=np.zeros(len(REAL)),
        k=len(REAL),
        prior=ChildPrior(mass[index.rows], tau, lambda_),
    )
    found = {int(index.rows[f.position]): f.logprob for f in search.exact(root_row, Budget()).found}
    llm.reset()  # type: ignore[no-untyped-call]
    llm.eval(prompt)

    def row(path: Prefix) -> NDArray[np.float32]:
        llm.n_tokens = len(prompt)
        if path:
            llm.eval(path)
        return np.array(llm.scores[len(prompt) + len(path) - 1])

    sequences = [tuple(llm.tokenize(title.encode(), add_bos=False, special=False)) for title in REAL]
    truth = brute_force(sequences, mass, tau, lambda_, row, end_id)
    assert [found[i] for i in range(len(REAL))] == pytest.approx(truth, abs=0.05)
    logprobs = TrieSearch(
        index, engine, end_id=end_id, kind="catalog", bias=np.zeros(len(REAL)), k=len(REAL)
    ).score_all(engine.prompt(prompt)[0])
    flat = brute_force(sequences, np.full(len(REAL), 1 / len(REAL)), 1.0, 0.0, row, end_id)
    assert logprobs[np.argsort(index.rows)].tolist() == pytest.approx(flat, abs=0.05)
