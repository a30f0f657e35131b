"""The engine's logits against llama.cpp used the plain way: one sequence, one text, nothing shared."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.engine import llama_engine
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import EngineUsage, LlamaEngine, TokenRun
from genrec_edge.errors import CancelledError, DeadlineError, EngineError, UsageError
from tests.support.coordinates import token_list, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId

    Reference = Callable[[Sequence[int]], NDArray[np.float32]]

PROMPT = list(tokens(10, 20, 30, 40, 50))


@pytest.fixture
def engine(tiny_llama: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(Model(tiny_llama), n_ctx=512, n_threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def reference(tiny_llama: Path) -> Iterator[Reference]:
    """Returns a function from token ids to the logits after each of them, (n, n_vocab)."""
    import llama_cpp

    llm = llama_cpp.Llama(str(tiny_llama), n_ctx=512, logits_all=True, n_threads=1, verbose=False)

    def logits(token_ids: Sequence[int]) -> NDArray[np.float32]:
        llm.reset()  # type: ignore[no-untyped-call]
        llm.eval(token_ids)
        return np.array(llm.scores[: len(token_ids)])

    yield logits
    llm.close()


def assert_close(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    # The KV cache holds half floats, so other batch shapes round otherwise; a wrong path is off by more than 0.1.
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-2)


def test_the_prompt_gives_the_logits_after_its_last_token(engine: LlamaEngine, reference: Reference) -> None:
    row, reused = engine.prompt(PROMPT)
    assert reused == 0
    assert_close(row, reference(PROMPT)[-1])


def test_a_prompt_longer_than_one_piece(engine: LlamaEngine, reference: Reference) -> None:
    prompt = token_list((7 * i) % 250 for i in range(300))
    assert_close(engine.prompt(prompt)[0], reference(prompt)[-1])


@pytest.mark.parametrize(
    ("second", "reused"),
    [
        pytest.param([*PROMPT, *tokens(60, 70)], 5, id="longer"),
        pytest.param(PROMPT, 5, id="the same"),
        pytest.param(PROMPT[:3], 2, id="shorter"),
        pytest.param(list(tokens(10, 20, 99, 98)), 2, id="other end"),
        pytest.param(list(tokens(99, 98)), 0, id="other"),
    ],
)
def test_the_next_prompt_reuses_the_common_prefix(
    engine: LlamaEngine, reference: Reference, second: list[TokenId], reused: int
) -> None:
    engine.prompt(PROMPT)
    list(engine.evaluate([TokenRun(ROOT, tokens(1, 2))]))
    engine.usage = EngineUsage()
    row, from_cache = engine.prompt(second)
    assert from_cache == reused
    assert engine.usage.tokens == len(second) - reused
    assert_close(row, reference(second)[-1])


def test_runs_in_one_batch_see_their_own_path_only(engine: LlamaEngine, reference: Reference) -> None:
    engine.prompt(PROMPT)
    runs = [TokenRun(ROOT, tokens(1, 2, 3)), TokenRun(ROOT, tokens(1)), TokenRun(ROOT, tokens(4, 5))]
    results = list(_copied(engine.evaluate(runs)))
    for run, (_, row) in zip(runs, results, strict=True):
        assert_close(row, reference([*PROMPT, *run.token_ids])[-1])
    below = [
        TokenRun(results[0][0], tokens(6)),
        TokenRun(results[1][0], tokens(6, 7)),
        TokenRun(results[2][0], tokens(8)),
    ]
    for run, parent, (_, row) in zip(below, runs, _copied(engine.evaluate(below)), strict=True):
        assert_close(row, reference([*PROMPT, *parent.token_ids, *run.token_ids])[-1])


def test_a_tree_larger_than_the_sequences(
    tiny_llama: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_engine, "N_SEQUENCES", 4)
    engine = LlamaEngine(Model(tiny_llama), n_ctx=512, n_threads=1)
    _check_random_tree(engine, reference, n_levels=3, width=8)
    engine.close()


@pytest.mark.slow
def test_a_tree_larger_than_the_cache(tiny_llama: Path, reference: Reference) -> None:
    engine = LlamaEngine(Model(tiny_llama), n_ctx=256, n_threads=1)
    engine.usage = EngineUsage()
    _check_random_tree(engine, reference, n_levels=6, width=30)
    assert engine.usage.tokens > 256  # else the cache was large enough and the test shows nothing
    engine.close()


def _check_random_tree(engine: LlamaEngine, reference: Reference, *, n_levels: int, width: int) -> None:
    """Evaluate random runs below random earlier ones, and compare all logits with the plain evaluation."""
    rng = np.random.default_rng(3)
    engine.prompt(PROMPT)
    paths: dict[int, list[TokenId]] = {ROOT: []}
    for _ in range(n_levels):
        runs = [
            TokenRun(int(rng.choice(list(paths))), tokens(*rng.integers(0, 250, rng.integers(1, 4)).tolist()))
            for _ in range(width)
        ]
        for run, (node, row) in zip(runs, _copied(engine.evaluate(runs)), strict=True):
            paths[node] = [*paths[run.parent], *run.token_ids]
            assert_close(row, reference([*PROMPT, *paths[node]])[-1])


def test_runs_that_are_not_kept_leave_room(engine: LlamaEngine) -> None:
    engine.prompt(PROMPT)
    engine.usage = EngineUsage()
    for i in range(200):
        list(engine.evaluate([TokenRun(ROOT, tokens(i, i), keep=False) for _ in range(3)]))
    assert engine.usage.tokens == 200 * 6  # nothing was ever evaluated twice for lack of room
    assert engine.usage.calls == 200


def test_a_context_without_room_for_a_single_run_says_so(tiny_llama: Path) -> None:
    engine = LlamaEngine(Model(tiny_llama), n_ctx=256, n_threads=1)
    engine.prompt(tokens(1) * 250)
    with pytest.raises(EngineError, match="no room"):
        list(engine.evaluate([TokenRun(ROOT, tokens(*range(20)))]))
    engine.prompt(PROMPT)  # and the engine goes on
    engine.close()


def test_cancel_and_deadline_interrupt_and_leave_a_working_engine(engine: LlamaEngine, reference: Reference) -> None:
    with engine.deadline(None):
        engine.cancel()
        with pytest.raises(CancelledError):
            engine.prompt(PROMPT)
    with engine.deadline(1e-9):
        _wait_for_timers()
        with pytest.raises(DeadlineError):
            engine.prompt(PROMPT)
    with engine.deadline(None):
        row, reused = engine.prompt(PROMPT)
    assert reused == 0
    assert_close(row, reference(PROMPT)[-1])


def _wait_for_timers() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_prompts_that_cannot_be_are_refused_before_llama_cpp_sees_them(engine: LlamaEngine) -> None:
    for prompt in (tokens(), tokens(1) * 512):
        with pytest.raises(UsageError, match="prompt"):
            engine.prompt(prompt)
    for run in (TokenRun(ROOT, ids) for ids in (tokens(), tokens(1) * 300, tokens(-1), tokens(10**6))):
        engine.prompt(PROMPT)
        with pytest.raises(UsageError, match="run"):
            list(engine.evaluate([run]))
    with pytest.raises(UsageError, match="token"):
        engine.prompt(tokens(1, engine.n_vocab))


@pytest.mark.parametrize(("n_ctx", "n_threads"), [(64, 1), (10**9, 1), (512, 0), (512, 10**6)])
def test_options_out_of_range_are_refused(tiny_llama: Path, n_ctx: int, n_threads: int) -> None:
    model = Model(tiny_llama)
    with pytest.raises(UsageError):
        LlamaEngine(model, n_ctx=n_ctx, n_threads=n_threads)
    model.close()


def _copied(results: Iterator[tuple[int, NDArray[np.float32]]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    return ((node, row.copy()) for node, row in results)
