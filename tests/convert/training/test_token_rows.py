"""Trained rows of embedding and output matrix, against peft's own."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch
import transformers

from genrec_edge.convert.training.loss import TitleLoss
from genrec_edge.convert.training.model import load_trainable, write_adapter
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.convert.training.state import trained_weights
from tests.support.title_losses import BruteForce, collator, score_all

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tied", [True, False])
def test_trained_rows_of_the_embedding_are_what_peft_takes_them_for(
    tied: bool, tiny_base: Path, vocabulary: Model, trie: TitleTrie, tmp_path: Path
) -> None:
    """Losses beside brute force over peft's own model, loaded from what was written; gradients beside dense ones."""
    config = transformers.AutoConfig.from_pretrained(tiny_base, tie_word_embeddings=tied)
    torch.manual_seed(3)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    make = collator(trie, vocabulary)
    adapted = load_trainable(tmp_path / "base", recipe_of({"lora": {"r": 4}}, "test")).eval()
    objective = TitleLoss(adapted, "catalog", token_ids=sorted(make.token_ids))
    assert objective.rows is not None
    assert objective.rows.module_names == (("embed_tokens",) if tied else ("embed_tokens", "lm_head"))
    with torch.no_grad():
        for rows in objective.rows.parameters():
            rows.copy_((rows + 0.3 * torch.randn_like(rows)).half().float())  # as it will be written
    batch = make.collate(score_all(trie))
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", objective, trained_weights(objective), "tiny")
    theirs = loaded_by_peft(tmp_path / "base", tmp_path / "adapter")
    brute = BruteForce(theirs, vocabulary, trie)
    losses = objective(batch)
    losses.loss.backward()
    truth = torch.stack(
        [-torch.stack([log_probs[label] for log_probs, _, label in brute.steps(p)]).sum() for p in range(trie.n_items)]
    )
    truth.sum().backward()  # type: ignore[no-untyped-call]
    assert losses.hard_loss.tolist() == pytest.approx(truth.tolist(), abs=1e-3)
    dense = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None and "delta" in name}
    assert len(dense) == 2 - tied
    for name, gradient in dense.items():
        rows = objective.rows.get_parameter(next(n for n in objective.rows.module_names if n in name))
        torch.testing.assert_close(rows.grad, gradient, rtol=1e-3, atol=1e-4)
    objective.kind = "vocabulary"
    with torch.no_grad():
        spelled = objective(batch).hard_loss.tolist()
        full = [brute.logits(p).log_softmax(-1) for p in range(trie.n_items)]
    nats = [-float(rows[range(len(path)), path].sum()) for rows, path in zip(full, brute.paths, strict=True)]
    assert spelled == pytest.approx(nats, abs=1e-3)


def loaded_by_peft(base: Path, adapter: Path) -> Any:
    plain = transformers.LlamaForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)  # as in model.py
        return peft.PeftModel.from_pretrained(plain, str(adapter), is_trainable=True).eval()


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_are_not_trained_are_those_of_the_base(
    tied: bool, tiny_base: Path, vocabulary: Model, trie: TitleTrie, tmp_path: Path
) -> None:
    """Titles that no history has are chosen between with the base's own rows."""
    config = transformers.AutoConfig.from_pretrained(tiny_base, tie_word_embeddings=tied)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    adapted = load_trainable(tmp_path, recipe_of({"lora": {"r": 4}}, "test")).eval()
    known = sorted(collator(trie, vocabulary).token_ids)
    rows = TitleLoss(adapted, "catalog", token_ids=known[::2]).rows
    assert rows is not None
    weight = adapted.get_output_embeddings().weight
    with torch.no_grad():
        for trained in rows.parameters():
            trained.add_(1)
        found = rows.output_rows_of(torch.tensor([known[:6], known[6:12]]), weight)
    assert torch.equal(found.view(12, -1)[1::2], weight[known[1:12:2]])
    assert torch.equal(found.view(12, -1)[::2], weight[known[:12:2]] + 1)
