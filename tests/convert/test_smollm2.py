"""The real model through all of it: SmolLM2, a trained and a random LoRA, against peft, transformers and llama.cpp."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
import transformers

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.verification.logit_divergence import compare_logits
from genrec_edge.convert.verification.samples import draw_sequences
from genrec_edge.engine.bindings import Model, quantize
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.verification.logit_divergence import LogitAgreement

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")]


def test_dequantizing_equals_llama_cpp_and_the_round_trip_every_byte(smollm2: Path, tmp_path: Path) -> None:
    """GGUF -> GGUF, against llama.cpp's own dequantization; then GGUF -> Hugging Face -> GGUF."""
    path = write(read_gguf(smollm2), tmp_path / "f16.gguf")
    quantize(smollm2, tmp_path / "llama_cpp.gguf", "F16")
    assert tensors(path) == tensors(tmp_path / "llama_cpp.gguf")
    assert fingerprint(path) == fingerprint(smollm2)
    write_folder(read_gguf(path), tmp_path / "hf", "F16")
    back = write(read_folder(tmp_path / "hf"), tmp_path / "back.gguf")
    assert tensors(back) == tensors(path)


@pytest.fixture(scope="module")
def checkpoint_path(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2") / "hf"
    write_folder(read_gguf(smollm2), folder, "F32")
    return folder


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "random"])
def test_merged_and_converted_it_is_what_peft_and_transformers_say(
    trained: bool, checkpoint_path: Path, films_path: Path, tmp_path: Path
) -> None:
    base = read_folder(checkpoint_path)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint_path, dtype=torch.float32)
    model = with_lora(model, films_path, checkpoint_path, trained=trained)
    model.save_pretrained(tmp_path / "lora")
    ours = merge_adapters(base, [read_adapter(tmp_path / "lora", base)])
    theirs = model.merge_and_unload().eval()
    weights = theirs.state_dict()
    changed = 0
    for name, tensor in ours.tensors.items():
        found, before = tensor.read_all(), base.tensors[name].read_all()
        assert np.abs(found - weights[name].numpy()).max() <= 1e-6
        changed += not np.array_equal(found, before)
    assert changed == 30 * 7  # every linear layer of every block

    path = write(ours, tmp_path / "merged.gguf")
    agreement = agreement_of(path, theirs, films_path, 2000)
    assert agreement.top1 is not None
    assert agreement.top1 >= 0.995
    assert agreement.max_abs_diff is not None
    assert agreement.max_abs_diff <= 0.5  # of half floats in llama.cpp's products and cache: see the next lines
    # The same weights, in an engine that does not round: what is left is the order of sums.
    quantize(path, tmp_path / "f32.gguf", "F32")
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim == 2:
                parameter.copy_(parameter.half())
    agreement = agreement_of(tmp_path / "f32.gguf", theirs, films_path, 200, f32_cache=True)
    assert agreement.top1 == 1
    assert agreement.max_abs_diff is not None
    assert agreement.max_abs_diff <= 2e-3


def agreement_of(
    path: Path, model: Any, films_path: Path, n_positions: int, *, f32_cache: bool = False
) -> LogitAgreement:
    """Compare a GGUF with a model of transformers on prompts of real titles."""
    with Catalog.open(films_path) as catalog, closing(Model(path, vocab_only=True)) as vocabulary:
        drawn = draw_sequences(vocabulary, catalog, n_positions, 0)

    def expected(token_ids: Sequence[int]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = model(torch.tensor([token_ids])).logits[0].numpy()
        return logits

    with closing(FullLogitsModel(Model(path), n_ctx=256, n_threads=2, f32_cache=f32_cache)) as forward:
        found = compare_logits(expected, forward.logits, drawn.token_ids, start=drawn.start)
    assert found.n_positions >= n_positions
    return found


def with_lora(model: Any, films_path: Path, checkpoint_path: Path, *, trained: bool) -> Any:
    """Wrap a model with a LoRA on all linear layers, a few steps of training old or drawn at random."""
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", use_rslora=not trained)
    wrapped = peft.get_peft_model(model, lora)
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    if not trained:
        for parameter in parameters:
            torch.nn.init.normal_(parameter, std=0.01)
        return wrapped
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint_path)
    with Catalog.open(films_path) as catalog:
        text = "\n".join(item.title for item in catalog.items(range(1, 25)))
    token_ids = torch.tensor([tokenizer(text)["input_ids"]])
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    losses = []
    for _ in range(4):
        loss = wrapped(token_ids, labels=token_ids).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    return wrapped


def write(checkpoint: Any, path: Path) -> Path:
    with atomic_write(path) as file:
        write_gguf(checkpoint, file, {"general.name": "SmolLM2"})
    return path


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    header = read_header(path)
    data = path.read_bytes()
    return {t.name: (t.type, data[t.offset : t.offset + t.n_bytes]) for t in header.tensors}


def fingerprint(path: Path) -> str:
    return tokenizer_fingerprint(read_header(path), path)
