"""Logits of whole sequences: equal to those of the high-level bindings, and independent of what came before."""

from __future__ import annotations

import ctypes
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.peer_llama import open_llama
from genrec_edge.engine.bindings import Model, library
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TEXT = "Alien\nThe Thing\nBrief Encounter\nAliens\n"


@pytest.fixture
def forward(tiny_llama: Path) -> Iterator[FullLogitsModel]:
    with closing(FullLogitsModel(Model(tiny_llama), n_ctx=64, n_threads=1)) as opened:
        yield opened


def expected_logits(path: Path, token_ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of the high-level class of llama-cpp-python."""
    with closing(open_llama(path, n_ctx=64, n_threads=1, logits_all=True)) as llama:
        llama.eval(token_ids)
        return np.array(llama.scores[: len(token_ids)])


def test_logits_are_those_of_the_high_level_bindings(forward: FullLogitsModel, tiny_llama: Path) -> None:
    token_ids = forward.model.tokenize(TEXT)
    logits = forward.logits(token_ids)
    assert logits.dtype == np.float32
    expected = expected_logits(tiny_llama, token_ids)
    assert expected.std() > 1  # not the logits of nothing
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_every_sequence_starts_from_an_empty_cache(forward: FullLogitsModel) -> None:
    a, b = forward.model.tokenize(TEXT), forward.model.tokenize("Something else altogether\n")
    alone = forward.logits(a)
    other = forward.logits(b)
    assert not np.array_equal(alone[: len(b)], other[: len(a)])
    np.testing.assert_array_equal(forward.logits(a), alone)


def test_a_position_sees_only_what_is_before_it(forward: FullLogitsModel) -> None:
    token_ids = forward.model.tokenize(TEXT)
    whole = forward.logits(token_ids)
    for n in (1, 7, len(token_ids) - 1):
        np.testing.assert_allclose(forward.logits(token_ids[:n]), whole[:n], atol=1e-4)


def test_returned_logits_are_a_copy(forward: FullLogitsModel) -> None:
    first = forward.logits([65, 66, 67])
    kept = first.copy()
    forward.logits([70, 71, 72])
    np.testing.assert_array_equal(first, kept)


def test_the_whole_context_can_be_used(forward: FullLogitsModel) -> None:
    assert forward.logits([65] * 64).shape == (64, forward.model.n_vocab)


@pytest.mark.parametrize("token_ids", [[], [65] * 65, [-1], [65, 100_000]])
def test_what_would_end_the_process_is_refused(forward: FullLogitsModel, token_ids: list[int]) -> None:
    is_short = 0 < len(token_ids) <= 64
    expected = "token ids of a sequence must be from 0 to 269" if is_short else f"1 to 64 tokens, got {len(token_ids)}"
    with pytest.raises(UsageError, match=expected):
        forward.logits(token_ids)
    assert forward.logits([65]).shape[0] == 1


def test_a_callback_sees_the_operations(tiny_llama: Path) -> None:
    lib = library()
    seen = 0

    def on_tensor(_tensor: int, ask: bool, _user: int) -> bool:
        nonlocal seen
        seen += 1
        return not ask

    native = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)(on_tensor)
    callback = ctypes.cast(native, lib.ggml_backend_sched_eval_callback)
    with closing(FullLogitsModel(Model(tiny_llama), n_ctx=64, n_threads=1, on_tensor=callback)) as forward:
        before = seen
        forward.logits([65, 66])
        assert seen > before + 20  # two layers


def test_closing_twice_is_allowed(tiny_llama: Path) -> None:
    forward = FullLogitsModel(Model(tiny_llama), n_ctx=64, n_threads=1)
    forward.close()
    forward.close()
