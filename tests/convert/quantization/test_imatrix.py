"""The importance matrix against transformers on the same weights, and the guards around what is read in place."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch
import transformers

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.quantization import imatrix as imatrix_module
from genrec_edge.convert.quantization.imatrix import importance_matrix
from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX, quantize_file
from genrec_edge.convert.verification.samples import draw_sequences
from genrec_edge.engine import ggml_tensor
from genrec_edge.engine.bindings import Model, library
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import EngineError, GenRecError, ModelInvalidError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow

PROMPTS = [[10, 20, 30, 40, 50], [200, 201, 7], list(range(60, 120)), [5]]
HF_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def weights_of(path: Path) -> dict[str, NDArray[np.float32]]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def hf_name(name: str) -> str:
    """Return what transformers calls a tensor of a GGUF."""
    if not name.startswith("blk."):
        return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]
    _, layer, part, _ = name.split(".")
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    return f"model.layers.{layer}.{(HF_NAMES | norms)[part]}.weight"


def as_transformers(name: str, weight: NDArray[np.float32]) -> torch.Tensor:
    """Undo the order of rows in which GGUF keeps the halves of each head of queries and keys."""
    n_heads = {"attn_q": 4, "attn_k": 2}.get(name.split(".")[-2])
    if n_heads:
        pairs = weight.reshape(n_heads, -1, 2, weight.shape[1])
        weight = pairs.swapaxes(1, 2).reshape(weight.shape)
    return torch.from_numpy(weight.copy())


@pytest.fixture(scope="session")
def reference(tiny_llama: Path) -> transformers.LlamaForCausalLM:
    """The tiny model in transformers, float32."""
    weights = weights_of(tiny_llama)
    config = transformers.LlamaConfig(
        vocab_size=len(weights["token_embd.weight"]),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config)
    state = {hf_name(name): as_transformers(name, weight) for name, weight in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    return model


def mean_squares(model: transformers.LlamaForCausalLM, prompts: list[list[int]]) -> dict[str, NDArray[np.float64]]:
    """Return by GGUF name what the hooks of torch see entering each linear layer."""
    rows: dict[str, list[NDArray[np.float32]]] = {}
    handles = []
    for layer, block in enumerate(model.model.layers):
        for ours, theirs in HF_NAMES.items():
            seen = rows.setdefault(f"blk.{layer}.{ours}.weight", [])
            hook = lambda _module, inputs, _seen=seen: _seen.append(inputs[0][0].numpy().copy())  # noqa: E731
            handles.append(block.get_submodule(theirs).register_forward_pre_hook(hook))
    seen = rows.setdefault("token_embd.weight", [])
    handles.append(model.lm_head.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0][0].numpy().copy())))
    with torch.no_grad():
        for ids in prompts:
            model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {name: np.square(np.concatenate(parts).astype(np.float64)).mean(axis=0) for name, parts in rows.items()}


def test_the_means_are_those_of_transformers(tiny_llama: Path, reference: transformers.LlamaForCausalLM) -> None:
    expected = mean_squares(reference, PROMPTS)
    found = importance_matrix(tiny_llama, PROMPTS, n_threads=1)
    assert found.keys() == expected.keys()
    assert len(found) == 2 * 7 + 1
    for name, values in found.items():
        assert values.dtype == np.float32
        # The cache of keys and values holds halves, so that everything after the first attention is a little off.
        precise = name.startswith("blk.0.attn_") and "output" not in name
        error = np.linalg.norm(values - expected[name]) / np.linalg.norm(expected[name])
        assert error < (1e-6 if precise else 1e-3), name
        np.testing.assert_allclose(values, expected[name], rtol=1e-2, err_msg=name)


def test_threads_and_the_order_of_sequences_do_not_matter(tiny_llama: Path) -> None:
    one = importance_matrix(tiny_llama, PROMPTS, n_threads=1)
    two = importance_matrix(tiny_llama, iter([tuple(ids) for ids in reversed(PROMPTS)]), n_threads=2)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3)


def test_listening_does_not_change_what_the_model_says(tiny_llama: Path) -> None:
    def logits(*, listen: bool) -> NDArray[np.float32]:
        heard: list[int] = []

        def hear(tensor: int, _ask: bool, _user: object) -> bool:
            heard.append(tensor)
            return True

        callback = library().ggml_backend_sched_eval_callback(hear)
        forward = FullLogitsModel(Model(tiny_llama), n_ctx=64, n_threads=1, on_tensor=callback if listen else None)
        try:
            result = forward.logits(PROMPTS[2])
        finally:
            forward.close()
        assert bool(heard) is listen
        return result

    np.testing.assert_allclose(logits(listen=True), logits(listen=False), rtol=0, atol=1e-4)


def test_prompts_of_the_catalog_make_low_bit_types_possible(tiny_llama: Path, films_path: Path, tmp_path: Path) -> None:
    model = Model(tiny_llama, vocab_only=True)
    with Catalog.open(films_path) as films:
        sequences = draw_sequences(model, films, 600, n_ctx=256, seed=3)
    model.close()
    reported: list[tuple[int, int]] = []
    values = importance_matrix(tiny_llama, sequences.token_ids, n_threads=1, on_progress=lambda *p: reported.append(p))
    n = len(sequences.token_ids)
    assert reported == [(i + 1, n) for i in range(n)]
    for file_type in sorted(NEEDS_IMATRIX):
        report = quantize_file(tiny_llama, tmp_path / "x.gguf", file_type, imatrix=values, n_threads=1)
        assert report.fallbacks  # rows of 32


@pytest.mark.parametrize("prompts", [[], [[]], [[1], [10**6]], [[1], [-1]]])
def test_sequences_that_cannot_be_evaluated_are_refused(tiny_llama: Path, prompts: list[list[int]]) -> None:
    with pytest.raises(UsageError):
        importance_matrix(tiny_llama, prompts, n_threads=1)


def test_a_failure_inside_a_callback_comes_out(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_address: int) -> NDArray[np.float32]:
        raise KeyboardInterrupt

    monkeypatch.setattr(imatrix_module, "rows_at", interrupt)
    with pytest.raises(KeyboardInterrupt):
        importance_matrix(tiny_llama, PROMPTS, n_threads=1)


def test_activations_that_are_no_numbers_are_an_error(tiny_llama: Path, tmp_path: Path) -> None:
    """Weights this large overflow float32 in the second product; they are numbers themselves."""
    weights = weights_of(tiny_llama)
    reader = gguf.GGUFReader(tiny_llama)
    raw = bytearray(tiny_llama.read_bytes())
    tensor = next(t for t in reader.tensors if t.name == "blk.0.ffn_up.weight")
    huge = np.full_like(weights[tensor.name], 1e38)
    raw[tensor.data_offset : tensor.data_offset + tensor.n_bytes] = huge.tobytes()
    (tmp_path / "huge.gguf").write_bytes(raw)
    with pytest.raises(ModelInvalidError, match=r"huge\.gguf computes for blk\.0\.ffn_down") as caught:
        importance_matrix(tmp_path / "huge.gguf", PROMPTS, n_threads=1)
    assert "\n" not in caught.value.message


@pytest.fixture
def fresh_layout() -> Iterator[Callable[[], int]]:
    """The check of the layout, which is otherwise done once a process."""
    ggml_tensor.matrix_product_op.cache_clear()
    yield ggml_tensor.matrix_product_op
    ggml_tensor.matrix_product_op.cache_clear()


@pytest.mark.parametrize("moved", ["ne", "nb", "op", "src", "data", "name"])
def test_another_layout_is_noticed_before_it_is_used(
    fresh_layout: Callable[[], int], monkeypatch: pytest.MonkeyPatch, tiny_llama: Path, moved: str
) -> None:
    """As if a newer llama.cpp had put eight bytes in front of a field."""
    fields = list(ggml_tensor.GgmlTensor._fields_)
    at = [name for name, _ in fields].index(moved)
    shifted = type("Shifted", (ctypes.Structure,), {"_fields_": [*fields[:at], ("new", ctypes.c_int64), *fields[at:]]})
    monkeypatch.setattr(ggml_tensor, "GgmlTensor", shifted)
    with pytest.raises(EngineError, match="unknown layout") as caught:
        importance_matrix(tiny_llama, PROMPTS, n_threads=1)
    assert caught.value.hint
    assert isinstance(caught.value, GenRecError)
