"""Logits computed from the last hidden state against those that llama.cpp computes, for every type of matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.engine import ggml_tensor
from genrec_edge.engine.bindings import Model, quantize
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import LlamaEngine, TokenRun
from genrec_edge.engine.output_head import OutputHead, OutputMatrix
from genrec_edge.errors import EngineError
from genrec_edge.gguf.header import read_header
from genrec_edge.recommender import Recommender
from tests.support.coordinates import tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

PROMPT = tokens(10, 20, 30, 40, 50)


def rows_of(engine: LlamaEngine, runs: list[TokenRun]) -> list[NDArray[np.float32]]:
    engine.prompt(PROMPT)
    rows = [row.copy() for _, row in engine.evaluate(runs)]
    engine.close()
    return rows


def engine_of(path: Path, *, own_head: bool, n_threads: int = 1) -> LlamaEngine:
    rows = OutputMatrix.open(read_header(path), path) if own_head else None
    assert (rows is not None) == own_head
    return LlamaEngine(Model(path), n_ctx=1024, n_threads=n_threads, output_rows=rows)


def compare(path: Path, runs: list[TokenRun], n_threads: int = 1) -> None:
    """Compare the needed logits of runs with those that llama.cpp computes for the very same batches."""
    found, expected = (
        rows_of(engine_of(path, own_head=own_head, n_threads=n_threads), runs) for own_head in (True, False)
    )
    assert [len(row) for row in found] == [len(run.needed) for run in runs if run.needed is not None]
    for row, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(row, whole, rtol=0, atol=2e-4)


def random_runs(n: int, n_vocab: int, length: int, seed: int = 0) -> list[TokenRun]:
    rng = np.random.default_rng(seed)
    return [
        TokenRun(
            ROOT,
            tuple(rng.integers(0, n_vocab, length).tolist()),
            needed=rng.integers(0, n_vocab, rng.integers(1, 30)).astype(np.int32),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("file_type", ["F32", "F16", "Q8_0"])
def test_the_logits_are_those_of_llama_cpp(file_type: str, tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{file_type}.gguf"
    quantize(tiny_llama, path, file_type)
    (output,) = (tensor for tensor in read_header(path).tensors if tensor.name == "token_embd.weight")
    assert output.type == file_type
    compare(path, random_runs(20, 250, 2))


def test_calls_of_several_pieces_keep_their_order(tiny_llama: Path) -> None:
    compare(tiny_llama, random_runs(60, 250, 7))  # 420 tokens: llama.cpp evaluates 256 of them at a time


@pytest.mark.model
def test_the_logits_of_the_default_model(default_model: Path) -> None:
    compare(default_model, random_runs(16, 49_152, 1), n_threads=2)


def test_whoever_asks_for_all_logits_gets_them(tiny_llama: Path) -> None:
    needed = np.array([3, 1, 4], np.int32)
    runs = [TokenRun(ROOT, tokens(1), needed=needed), TokenRun(ROOT, tokens(2))]
    few, whole = rows_of(engine_of(tiny_llama, own_head=True), runs)
    expected, same = rows_of(engine_of(tiny_llama, own_head=False), runs)
    np.testing.assert_array_equal(few, expected)
    np.testing.assert_array_equal(whole, same)
    assert len(whole) == read_header(tiny_llama).tensors[0].shape[1]


@pytest.mark.parametrize(
    ("architecture", "tensors", "usable"),
    [
        pytest.param("llama", {}, True, id="tied"),
        pytest.param("llama", {"output.weight": np.ones((100, 8), np.float32)}, True, id="its own matrix"),
        pytest.param("llama", {"output.weight": np.ones((1, 100, 8), np.float32)}, True, id="a shape that ends in one"),
        pytest.param("llama", {"output.bias": np.ones(100, np.float32)}, False, id="a bias"),
        pytest.param("llama", {"token_embd.weight": np.ones((100, 8), np.float64)}, False, id="another type"),
        pytest.param("gemma2", {}, False, id="another architecture"),  # it squashes its logits
    ],
)
def test_what_is_not_just_a_product_is_left_to_llama_cpp(
    architecture: str,
    tensors: dict[str, NDArray[np.float32]],
    usable: bool,
    tmp_path: Path,
    tiny_gguf: Callable[..., Path],
) -> None:
    usual = {"token_embd.weight": np.zeros((100, 8), np.float32), "output_norm.weight": np.ones(8, np.float32)}
    path = tiny_gguf(tmp_path / "model.gguf", architecture=architecture, tensors=usual | tensors)
    rows = OutputMatrix.open(read_header(path), path)
    assert (rows is not None) == usable
    if rows is not None:  # the right matrix of the two
        (logits,) = rows.logits(np.ones((1, 8), np.float32), [np.array([0, 99], np.int32)])
        assert logits.tolist() == ([8.0, 8.0] if tensors else [0.0, 0.0])


def test_an_unknown_layout_of_tensors_is_left_to_llama_cpp(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_lib: object) -> int:
        raise ValueError("its size")

    ggml_tensor.matrix_product_op.cache_clear()
    monkeypatch.setattr(ggml_tensor, "_checked_op", unknown)
    runs = random_runs(3, 250, 1)
    found = rows_of(engine_of(tiny_llama, own_head=True), runs)
    ggml_tensor.matrix_product_op.cache_clear()
    monkeypatch.undo()
    for row, whole in zip(found, rows_of(engine_of(tiny_llama, own_head=False), runs), strict=True):
        np.testing.assert_array_equal(row, whole)


def test_what_llama_cpp_did_not_give_is_an_error() -> None:
    head = OutputHead(OutputMatrix(np.zeros((4, 8), np.float32)))
    head.begin(stop_before_logits=True)
    with pytest.raises(EngineError, match="returned 0 hidden states, expected 1"):
        head.logits([np.array([0], np.int32)])


@pytest.mark.model
def test_recommendations_of_the_default_model_are_the_same(
    default_model: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = ["Toy Story", "Alien", "Fargo", "The Piano"]
    with Recommender.open(default_model) as r:
        assert r.session.engine._head is not None
        found = r.recommend(history, k=20)
    monkeypatch.setattr(OutputMatrix, "open", lambda _header, _path: None)
    with Recommender.open(default_model) as r:
        expected = r.recommend(history, k=20)
    assert [item.item.id for item in found.items] == [item.item.id for item in expected.items]
    assert [item.logprob for item in found.items] == pytest.approx([item.logprob for item in expected.items], abs=1e-4)
