"""The product's one promise on real files: the answer equals scoring every title of the catalog one by one.

The independent path is llama-cpp-python's own `Llama` class: one sequence, one title at a time, its own tokenizer call,
a softmax in double precision. The engine, the trie and the search share nothing with it but llama.cpp itself.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.peer_llama import open_llama
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import model_titles
from genrec_edge.coordinates import CatalogRow
from genrec_edge.decoding.best_first import Budget, TrieSearch
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.llama_engine import LlamaEngine
from tests.support.coordinates import token_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from genrec_edge.records import ScoreKind

KINDS: list[ScoreKind] = ["vocabulary", "catalog"]
LONG = "The Assassination of a Coward by the Robber of Long Nights, "
Titled = tuple[str, int | None]


class BruteForce:
    """Scores titles one at a time with the high-level class."""

    def __init__(self, path: Path) -> None:
        self._llm = open_llama(path, n_ctx=1024, logits_all=True, n_threads=2)

    def ids(self, text: str) -> list[int]:
        return list(self._llm.tokenize(text.encode(errors="replace"), add_bos=False, special=False))

    def close(self) -> None:
        self._llm.close()

    def logprobs(self, prompt: list[int], spellings: Sequence[str], end_id: int, kind: ScoreKind) -> list[float]:
        """Return each title's log-probability after the prompt, by the definition of its kind of score."""
        sequences = [(*self.ids(spelling), end_id) for spelling in spellings]
        nexts: dict[tuple[int, ...], set[int]] = {}
        for sequence in sequences:
            for n, token in enumerate(sequence):
                nexts.setdefault(sequence[:n], set()).add(token)
        self._llm.reset()  # type: ignore[no-untyped-call]
        self._llm.eval(prompt)
        scores = []
        for sequence in sequences:
            self._llm.n_tokens = len(prompt)
            self._llm.eval(sequence[:-1])
            rows = self._llm.scores[len(prompt) - 1 : len(prompt) + len(sequence) - 1].astype(np.float64)
            total = 0.0
            for n, token in enumerate(sequence):
                allowed = sorted(nexts[sequence[:n]]) if kind == "catalog" else range(rows.shape[1])
                logits = rows[n][list(allowed)]
                total += rows[n][token] - logits.max() - math.log(np.exp(logits - logits.max()).sum())
            scores.append(float(total) - math.log(sequences.count(sequence)))
        return scores


def check(
    engine: LlamaEngine,
    brute: BruteForce,
    titles: Sequence[Titled],
    kind: ScoreKind,
    bias: Sequence[float],
    *,
    prompt: Sequence[int],
    k: int,
    tolerance: float,
) -> None:
    """TrieSearch, score everything by brute force, and compare items and scores."""
    index: TitleTrie = build(
        [(CatalogRow(i), t, y) for i, (t, y) in enumerate(titles)], engine.model.tokenize, TrieKey("r", "t")
    )
    end_id = engine.model.newline_id
    by_position = np.array(bias)[index.rows]
    root_row, _ = engine.prompt(token_list(prompt))
    answer = TrieSearch(index, engine, end_id=end_id, kind=kind, bias=by_position, k=k).exact(
        root_row, Budget(tokens=10**6)
    )
    assert answer.exact
    truth = brute.logprobs(list(prompt), model_titles(titles), end_id, kind)
    found = [(int(index.rows[f.position]), f) for f in answer.found]
    assert len({row for row, _ in found}) == k
    for row, f in found:
        assert f.logprob == pytest.approx(truth[row], abs=tolerance)
        assert f.score == pytest.approx(truth[row] + bias[row], abs=tolerance)
    best = sorted((t + b for t, b in zip(truth, bias, strict=True)), reverse=True)[:k]
    assert [f.score for _, f in found] == pytest.approx(best, abs=tolerance)


@pytest.fixture(scope="module")
def tiny(tiny_llama: Path) -> Iterator[tuple[LlamaEngine, BruteForce]]:
    engine, brute = LlamaEngine(Model(tiny_llama), n_ctx=1024, n_threads=1), BruteForce(tiny_llama)
    yield engine, brute
    engine.close()
    brute.close()


tricky = st.one_of(
    st.sampled_from(
        [
            "Alien",
            "Aliens",
            "Alien 3",
            "a",
            "The",
            "The Alien",
            "Matrix, The",
            "Heat",
            "Amélie",
            "日本",
            "🎬",
            "É",
        ]
    ),
    st.text(alphabet="theainr ou", min_size=1, max_size=12).filter(str.strip),
    st.integers(1, 9).map(lambda n: f"{LONG}{n}"),
)
catalogs = st.lists(st.tuples(tricky, st.sampled_from([None, 1979, 1995])), min_size=1, max_size=25)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(titles=catalogs, seed=st.integers(0, 999))
@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_small_random_llama_on_tricky_catalogs(
    tiny: tuple[LlamaEngine, BruteForce], kind: ScoreKind, titles: list[Titled], seed: int
) -> None:
    rng = random.Random(seed)
    bias = [rng.choice([0.0, 0.0, -4.0, 6.0, -math.inf]) for _ in titles]
    bias[rng.randrange(len(titles))] = 0.0
    k = min(10, sum(b > -math.inf for b in bias))
    prompt = [rng.randrange(250) for _ in range(rng.randrange(1, 30))]
    # Random weights of this size turn the last bits of half-float KV cells into hundredths of a nat over long titles.
    check(*tiny, titles, kind, bias, prompt=prompt, k=k, tolerance=0.05)


@pytest.mark.model
@pytest.mark.parametrize("kind", KINDS)
def test_the_default_model_on_300_real_titles(smollm2: Path, kind: ScoreKind) -> None:
    with Catalog.open(default_catalog_path()) as catalog:
        rng = random.Random(11)
        fitting = set(catalog.filter("year >= 1980 AND genre != 'Horror'").tolist())
        listed = rng.sample(list(catalog.titles()), 300)
    titles: list[Titled] = [(title, year) for _, title, year in listed]
    bias = [rng.choice([0.0, 0.5, -0.5]) if row in fitting else -math.inf for row, _, _ in listed]
    engine, brute = LlamaEngine(Model(smollm2), n_ctx=1024, n_threads=2), BruteForce(smollm2)
    history = "The best films of all time:\nToy Story\nAladdin\nThe Matrix\nAlien\nHeat\n"
    check(engine, brute, titles, kind, bias, prompt=engine.model.tokenize(history), k=10, tolerance=0.02)
    engine.close()
    brute.close()
