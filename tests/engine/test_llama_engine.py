"""The engine's logits against llama.cpp used the plain way: one sequence, one text, nothing shared."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.peer_llama import open_llama
from genrec_edge.engine import llama_engine
from genrec_edge.engine.bindings import Model, quantize
from genrec_edge.engine.evaluator import EngineUsage
from genrec_edge.engine.interrupt import Call
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import LlamaEngine, TokenRun
from genrec_edge.errors import CancelledError, DeadlineError, EngineError, UsageError
from tests.support.coordinates import token_list, tokens
from tests.support.gguf_files import write_tiny_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.engine.batch import TokenBatch

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
    llm = open_llama(tiny_llama, n_ctx=512, logits_all=True, n_threads=1)

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


def test_a_branch_longer_than_a_batch_is_evaluated_in_pieces(
    tiny_llama: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_engine, "N_SEQUENCES", 4)  # so that the branches are given up, and evaluated again whole
    engine = LlamaEngine(Model(tiny_llama), n_ctx=2048, n_threads=1)
    engine.prompt(PROMPT)
    paths: list[tuple[int, list[TokenId]]] = [(ROOT, []) for _ in range(4)]
    rng = np.random.default_rng(5)
    for length in (200, 200, 100):
        for place, (parent, path) in enumerate(paths):
            token_ids = tokens(*rng.integers(0, 250, length).tolist())
            ((node, row),) = engine.evaluate([TokenRun(parent, token_ids)])
            paths[place] = (node, [*path, *token_ids])
            assert_close(row, reference([*PROMPT, *path, *token_ids])[-1])
    assert engine.usage.tokens > 4 * 500 + 4 * 200  # else nothing was evaluated again, and the test shows nothing
    engine.close()


def test_more_runs_than_one_batch_holds(engine: LlamaEngine, reference: Reference) -> None:
    """Batches were filled to 1,024 tokens in contexts of 256, which ended the process."""
    engine.prompt(PROMPT)
    rng = np.random.default_rng(6)
    runs = [TokenRun(ROOT, tokens(*rng.integers(0, 250, 40).tolist()), keep=False) for _ in range(30)]
    for run, (_, row) in zip(runs, engine.evaluate(runs), strict=True):
        assert_close(row, reference([*PROMPT, *run.token_ids])[-1])


@pytest.mark.parametrize("n_ctx", [256, 257, 300, 384, 511, 512, 1000])
def test_a_context_of_any_size_takes_a_prompt_that_fills_it(tmp_path: Path, reference: Reference, n_ctx: int) -> None:
    engine = LlamaEngine(Model(write_tiny_llama(tmp_path / "small.gguf", n_ctx=n_ctx)), n_ctx=n_ctx, n_threads=1)
    prompt = token_list((7 * i) % 250 for i in range(min(n_ctx, 512) - 8))
    assert_close(engine.prompt(prompt)[0], reference(prompt)[-1])
    ((_, row),) = engine.evaluate([TokenRun(ROOT, tokens(1, 2, 3))])
    assert_close(row, reference([*prompt, 1, 2, 3])[-1])
    engine.prompt(token_list((7 * i) % 250 for i in range(n_ctx - 1)))
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["F32", "F16", "Q8_0"])
def test_a_prompt_has_the_same_logits_however_it_came(tiny_llama: Path, tmp_path: Path, file_type: str) -> None:
    """To the last bit: whole, continued at any place, read back, after other prompts and runs, with other threads."""
    path = tmp_path / "model.gguf"
    quantize(tiny_llama, path, file_type, n_threads=1)
    engine, other = (LlamaEngine(Model(path), n_ctx=512, n_threads=n) for n in (1, 2))
    prompt = token_list(np.random.default_rng(8).integers(0, 250, 300).tolist())
    expected = engine.prompt(prompt)[0].copy()
    cells = engine.state()
    for cut in (1, 2, 3, 100, 255, 256, 257, 298, 299):
        engine.forget()
        engine.prompt(prompt[:cut])
        assert np.array_equal(engine.prompt(prompt)[0], expected), cut
    list(engine.evaluate([TokenRun(ROOT, tokens(1, 2, 3)), TokenRun(ROOT, tokens(4))]))
    engine.prompt([*prompt[:150], *tokens(9, 9, 9)])
    assert np.array_equal(engine.prompt(prompt)[0], expected)
    assert other.restore(prompt, cells)
    assert np.array_equal(other.prompt(prompt)[0], expected)
    other.forget()
    assert np.array_equal(other.prompt(prompt)[0], expected)
    for closed in (engine, other):
        closed.close()


@pytest.mark.parametrize("beside", [0, 1, 2, 7, 40])
def test_weights_in_float32_give_the_same_logits_in_any_company(tiny_llama: Path, beside: int) -> None:
    engine = LlamaEngine(Model(tiny_llama), n_ctx=1024, n_threads=1)
    engine.prompt(PROMPT)
    rng = np.random.default_rng(9)
    runs = [TokenRun(ROOT, tokens(*rng.integers(0, 250, rng.integers(1, 9)).tolist())) for _ in range(40)]
    alone = []
    for run in runs:
        engine.drop_runs()
        ((_, row),) = engine.evaluate([run])
        alone.append(row.copy())
    engine.drop_runs()
    for start in range(0, len(runs), beside + 1):
        together = runs[start : start + beside + 1]
        for row, (_, other) in zip(alone[start:], engine.evaluate(together), strict=False):
            # The KV cache holds half floats; with AVX-512 sums depend on the number of rows, in their last bits.
            np.testing.assert_allclose(other, row, rtol=0, atol=5e-3)
    engine.close()


@pytest.mark.parametrize("reason", ["deadline", "cancel", "no room"])
def test_what_llama_cpp_logs_of_an_interruption_is_no_error(
    engine: LlamaEngine, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    caplog.set_level(logging.DEBUG, "genrec_edge")
    if reason == "no room":
        engine.prompt(tokens(1) * 500)
        with pytest.raises(EngineError, match="no room"):
            list(engine.evaluate([TokenRun(ROOT, tokens(*range(100)))]))
    else:
        call = Call()
        with engine.during(call):
            call.end(CancelledError if reason == "cancel" else DeadlineError)
            assert engine._context.decode(_batch_of(engine, PROMPT)) == 2  # as if it ended while llama.cpp works
            with pytest.raises((CancelledError, DeadlineError)):
                engine.prompt(PROMPT)
    assert caplog.records
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def _batch_of(engine: LlamaEngine, token_ids: Sequence[TokenId]) -> TokenBatch:
    engine._batch.clear()
    engine._batch.add(token_ids, 0, 0, with_logits=True)
    return engine._batch


@pytest.mark.parametrize("moment", ["before", "decode", "remove", "copy_prefix"])
def test_an_exception_at_any_moment_leaves_an_engine_that_answers_right(
    engine: LlamaEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """As a signal raises one: after the call of llama.cpp, before what is known of the cache follows."""
    engine.prompt(PROMPT)

    def raising(*args: object, **options: object) -> object:
        if moment != "before":
            done(*args, **options)
        monkeypatch.undo()
        raise KeyboardInterrupt

    name = "decode" if moment == "before" else moment
    done = getattr(engine._context, name)
    monkeypatch.setattr(engine._context, name, raising)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - which of them comes upon it depends on the moment
        list(engine.evaluate([TokenRun(ROOT, tokens(1, 2)), TokenRun(ROOT, tokens(3))]))
        engine.prompt([*PROMPT[:3], *tokens(77, 78)])
    with pytest.raises(EngineError, match="no prompt"):
        list(engine.evaluate([TokenRun(ROOT, tokens(1))]))
    longer = [*PROMPT, *tokens(60)]
    assert_close(engine.prompt(longer)[0], reference(longer)[-1])
    ((_, row),) = engine.evaluate([TokenRun(ROOT, tokens(5, 6))])
    assert_close(row, reference([*longer, 5, 6])[-1])


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
    with pytest.raises(EngineError, match="no room for the search: the prompt has 250, a title or question 20") as e:
        list(engine.evaluate([TokenRun(ROOT, tokens(*range(20)))]))
    assert "a larger `n_ctx`" in e.value.hint
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
