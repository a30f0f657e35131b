"""The losses against brute force over transformers' full logits, and against what the search returns."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.training.data import batch_builder
from genrec_edge.convert.training.data.sequences import (
    Example,
    PickPiece,
    TitlesPiece,
    VerdictPiece,
    WordsPiece,
    context_pieces,
    titles_example,
)
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.convert.training.loss import VERDICT_WEIGHT, WORD_WEIGHT, TitleLoss
from genrec_edge.convert.training.model import load_trainable, write_adapter
from genrec_edge.convert.training.recipe import Recipe
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.convert.training.state import trained_weights
from genrec_edge.coordinates import TriePosition
from genrec_edge.decoding import prompts
from genrec_edge.decoding.best_first import Budget, TrieSearch
from genrec_edge.decoding.child_prior import ChildPrior
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.llama_engine import LlamaEngine
from tests.support.coordinates import token_list
from tests.support.title_losses import (
    HISTORY,
    TITLES,
    BruteForce,
    collator,
    log_priors,
    next_title,
    prior_of,
    score_all,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.decoding.trie import TitleTrie

pytestmark = pytest.mark.slow


def test_the_loss_is_what_brute_force_finds_and_sums_to_one(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    brute = BruteForce(model, vocabulary, trie)
    with torch.no_grad():
        batch = collator(trie, vocabulary).collate(score_all(trie))
        assert any(group.padding is not None and bool(group.padding.any()) for group in batch.choices)
        losses = TitleLoss(model, "catalog")(batch)
        truth = [brute.nats(position) for position in range(trie.n_items)]
    assert losses.hard_loss.tolist() == pytest.approx(truth, abs=1e-4)
    assert float(losses.loss) == pytest.approx(sum(truth), rel=1e-5)
    one_of_each = dict(zip(brute.paths, losses.hard_loss.tolist(), strict=True))
    assert len(one_of_each) == len(TITLES) - 1  # two are spelled alike, and count as one
    assert sum(math.exp(-nats) for nats in one_of_each.values()) == pytest.approx(1, abs=1e-4)


def test_an_offset_is_given_to_the_target_and_kept_from_the_teacher(
    model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    """The target gets the model's probabilities times the masses below, normalised at each node, the teacher not."""
    brute, shares, teacher = BruteForce(model, vocabulary, trie), log_priors(trie.n_items), prior_of(trie)

    def offsets(user: int, items: Sequence[int]) -> NDArray[np.float32]:
        return np.repeat(shares[user : user + 1], len(items), 0).astype(np.float32)

    losses = []
    with torch.no_grad():
        for beyond in (offsets, None):
            batch = collator(trie, vocabulary, teacher, beyond).collate(score_all(trie))
            assert (batch.offset is None) is (beyond is None)
            losses.append(TitleLoss(model, "catalog", distill=0.25)(batch))
        truth = [brute.nats(p, prior=shares[p], lambda_=1.0) for p in range(trie.n_items)]
    found, plain = losses
    assert found.hard_loss.tolist() == pytest.approx(truth, abs=2e-3)
    moved = 0.75 * float((found.hard_loss - plain.hard_loss).sum())
    assert float(found.loss - plain.loss) == pytest.approx(moved, rel=1e-3)


def test_the_loss_of_a_title_does_not_depend_on_its_batch(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    """Every title a target, windows of different lengths in a batch, against one title at a time."""
    windows = [Window(0, (), (1, 2, 3, 4, 5)), Window(1, (), (6,)), Window(2, (), (7, 18, 0), first_target=1)]
    objective, make = TitleLoss(model, "catalog"), collator(trie, vocabulary)
    with torch.no_grad():
        together = objective(make.collate([titles_example(window) for window in windows])).hard_loss.tolist()
        alone = [
            float(objective(make.collate([titles_example(Window(0, (), w.items[: k + 1], first_target=k))])).hard_loss)
            for w in windows
            for k in range(w.first_target, len(w.items))
        ]
    assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("kind", ["catalog", "residual"])
def test_wide_and_padded_nodes_give_the_same_loss_and_gradient(
    kind: Any, model: Any, vocabulary: Model, trie: TitleTrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the prior holds next to nothing: a padded child would have as much."""

    def certain(user: int, history: NDArray[np.int64], start: int) -> NDArray[np.float32]:
        log_probs = np.full((1, trie.n_items), -25, np.float32)
        log_probs[0, 0] = 0
        return log_probs

    found = []
    for wide in (1, 10**6):
        monkeypatch.setattr(batch_builder, "_MAX_PADDED_WIDTH", wide)
        batch = collator(trie, vocabulary, certain).collate(score_all(trie))
        assert {group.is_shared for group in batch.choices} == {wide == 1}
        found.append(loss_and_gradient(TitleLoss(model, kind, distill=0.3), batch))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def loss_and_gradient(objective: TitleLoss, batch: TrainingBatch) -> tuple[float, torch.Tensor]:
    objective.zero_grad()
    loss = objective(batch).loss
    loss.backward()
    gradients = [p.grad.flatten().clone() for p in objective.parameters() if p.grad is not None]
    objective.zero_grad()
    return loss.item(), torch.cat(gradients)


@pytest.mark.parametrize("distill", [0.6, 1.0])
def test_the_loss_with_a_teacher_and_its_gradient_are_those_of_dense_cross_entropies(
    distill: float, model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    rows, brute = log_priors(trie.n_items), BruteForce(model, vocabulary, trie)
    objective = TitleLoss(model, "catalog", distill)
    examples = [next_title(position) for position in (0, 4, 8, 17, 18)]
    found = loss_and_gradient(objective, collator(trie, vocabulary, prior_of(trie)).collate(examples))
    loss = torch.zeros(())
    for example in examples:
        for log_probs, shares, label in brute.steps(example.user, prior=rows[example.user]):
            target = distill * shares.float()
            target[label] += 1 - distill
            loss = loss - (target * log_probs).sum()
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    dense = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    assert found[0] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(found[1], dense, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("tau", "lambda_"), [(0.0, 1.0), (0.3, 0.8)])
def test_the_residual_loss_is_what_brute_force_finds(
    tau: float, lambda_: float, model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    rows, brute = log_priors(trie.n_items), BruteForce(model, vocabulary, trie)
    objective = TitleLoss(model, "residual")
    with torch.no_grad():
        objective.tau.fill_(tau)
        objective.lambda_.fill_(lambda_)
        batch = collator(trie, vocabulary, prior_of(trie)).collate(score_all(trie))
        hard = objective(batch).hard_loss.tolist()
        options = {"tau": tau, "lambda_": lambda_}
        truth = [brute.nats(position, prior=rows[position], **options) for position in range(trie.n_items)]
    assert hard == pytest.approx(truth, abs=1e-3)
    if not tau:  # the prior itself, of all items that are spelled so
        shares = [
            np.exp(rows[position])[[path == brute.paths[position] for path in brute.paths]].sum()
            for position in range(trie.n_items)
        ]
        assert hard == pytest.approx((-np.log(shares)).tolist(), abs=1e-4)


@pytest.mark.parametrize("distill", [0.0, 0.7])
def test_verdicts_are_cross_entropies_of_two_answers(
    distill: float, model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    """Yes and no after a question, and one of two titles where they part, beside transformers' own logits."""
    row = seen(trie.n_items)
    make = collator(trie, vocabulary, lambda _user, history, start: np.repeat(row, len(history) - start, axis=0))
    given = TitlesPiece(HISTORY, is_target=False)
    alike = [
        (a, b) for a in range(20) for b in range(a) if trie.path(TriePosition(a))[0] == trie.path(TriePosition(b))[0]
    ]
    pair = next(
        (a, b)
        for a, b in alike
        if trie.path(TriePosition(a)) != trie.path(TriePosition(b)) and not {a, b} & set(HISTORY)
    )
    judged = 7
    picked = [
        Example(
            0,
            (),
            (given, *context_pieces(prompts.pairwise(*pair)), PickPiece(*pair, is_first)),
            positive=pair[1 - is_first],
        )
        for is_first in (True, False)
    ]
    verdict = Example(
        0,
        (),
        (given, *context_pieces(prompts.pointwise(judged)), VerdictPiece(judged, is_positive=True)),
        positive=judged,
    )
    objective = TitleLoss(model, "catalog", distill)
    shares = np.exp(row[0].astype(np.float64))
    for example in (verdict, *picked):
        batch = make.collate([example])
        ids = batch.input_ids[0].tolist()
        parts = example.pieces[-1]
        tail = prompts.pointwise(judged) if isinstance(parts, VerdictPiece) else prompts.pairwise(*pair)
        titles = [trie.path(TriePosition(position)) for position in HISTORY]
        head = vocabulary.tokenize(prompts.INSTRUCTION)
        tail_ids = prompts.encode(
            tail, vocabulary.tokenize, lambda item: trie.path(TriePosition(item)), vocabulary.newline_id
        )
        prompt, _ = prompts.build_prompt(head, titles, end_id=vocabulary.newline_id, max_tokens=999, tail_ids=tail_ids)
        assert ids[: len(prompt)] == prompt  # the words of the runtime, token for token
        if isinstance(parts, VerdictPiece):
            answers, at = [vocabulary.tokenize(text)[0] for text in (prompts.YES, prompts.NO)], len(prompt) - 1
            unseen = 1 - shares[list(HISTORY)].sum()
            p = shares[judged] / unseen
            soft_label, label = p / (p + 1 / (trie.n_items - len(HISTORY))), 1.0
        else:
            a, b = ([*trie.path(TriePosition(position)), vocabulary.newline_id] for position in pair)
            fork = next(i for i in range(99) if a[i] != b[i])
            assert fork
            answers, at = [a[fork], b[fork]], len(prompt) - 1 + fork
            assert isinstance(parts, PickPiece)
            soft_label, label = shares[pair[0]] / shares[list(pair)].sum(), float(parts.is_first)
        with torch.no_grad():
            logits = model(input_ids=batch.input_ids).logits[0, at, answers]
            found = objective(batch)
        share = (1 - distill) * label + distill * soft_label
        nats = -(torch.tensor([share, 1 - share]) * torch.log_softmax(logits, -1)).sum()
        assert float(found.loss) == pytest.approx(VERDICT_WEIGHT * float(nats), rel=1e-4)
        assert len(found.hard_loss) == 0


def test_words_are_learned_token_by_token(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    make = collator(trie, vocabulary)
    (line,) = prompts.describing()
    assert isinstance(line, prompts.PromptLine)
    batch = make.collate([Example(0, (), (TitlesPiece(HISTORY, is_target=False), WordsPiece(line, "Comedy, 1990s")))])
    words = [*vocabulary.tokenize(" Comedy, 1990s"), vocabulary.newline_id]
    assert batch.input_ids[0, -len(words) :].tolist() == words
    labels = torch.full_like(batch.input_ids, -100)
    labels[0, -len(words) :] = torch.tensor(words)
    with torch.no_grad():
        mean = transformers.LlamaForCausalLM.forward(model.get_base_model(), batch.input_ids, labels=labels).loss
        whole = float(TitleLoss(model, "catalog")(batch).loss)
        some = sorted({*words, *range(5, 40)})
        among = float(TitleLoss(model, "catalog", token_ids=some)(batch).loss)
        logits = model(input_ids=batch.input_ids).logits[0, -len(words) - 1 : -1][:, some]
    assert whole == pytest.approx(WORD_WEIGHT * float(mean) * len(words), rel=1e-5)
    picked = torch.log_softmax(logits, -1)[range(len(words)), [some.index(word) for word in words]]
    assert among == pytest.approx(-WORD_WEIGHT * float(picked.sum()), rel=1e-4)
    few = [word for word in some if word != words[2]]
    with torch.no_grad():
        fewer = float(TitleLoss(model, "catalog", token_ids=few)(batch).loss)
    kept = [i for i, word in enumerate(words) if word in few]  # a token that is not trained is not learned
    left = torch.log_softmax(logits[:, [some.index(word) for word in few]], -1)
    truth = -WORD_WEIGHT * sum(float(left[i, few.index(words[i])]) for i in kept)
    assert fewer == pytest.approx(truth, rel=1e-4)


def test_the_residual_objective_needs_a_prior(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    batch = collator(trie, vocabulary).collate([next_title(0)])
    with pytest.raises(ValueError, match="with a prior"):
        TitleLoss(model, "residual")(batch)


def test_the_vocabulary_loss_is_that_of_transformers(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    make, objective = collator(trie, vocabulary), TitleLoss(model, "vocabulary")
    for window in (Window(5, (), (*HISTORY, 5), 3), Window(0, (), (*HISTORY, 5, 16), first_target=2)):
        batch = make.collate([titles_example(window)])
        labels = torch.full_like(batch.input_ids, -100)
        n = sum(len(trie.path(TriePosition(position))) + 1 for position in window.items[window.first_target :])
        labels[0, -n:] = batch.input_ids[0, -n:]
        with torch.no_grad():
            mean = transformers.LlamaForCausalLM.forward(model.get_base_model(), batch.input_ids, labels=labels).loss
            losses = objective(batch)
        assert float(losses.loss) == pytest.approx(float(mean) * n, rel=1e-5)
        assert float(losses.hard_loss.sum()) == pytest.approx(float(losses.loss), rel=1e-6)


def test_a_base_in_bfloat16_has_losses_and_gradients_in_float32(
    tiny_base: Path, vocabulary: Model, trie: TitleTrie
) -> None:
    recipe = recipe_of({"lora": {"r": 4}, "base": {"dtype": "bfloat16", "gradient_checkpointing": True}}, "test")
    adapted, whole = load_trainable(tiny_base, recipe), load_trainable(tiny_base, Recipe())
    batch = collator(trie, vocabulary, prior_of(trie)).collate(score_all(trie))
    for kind in ("catalog", "residual", "vocabulary"):
        objective = TitleLoss(adapted, kind, distill=0.0 if kind == "vocabulary" else 0.5)
        losses = objective(batch)
        losses.loss.backward()
        exact = TitleLoss(whole, kind)(batch)
        assert losses.hard_loss.dtype == torch.float32
        assert losses.hard_loss.tolist() == pytest.approx(exact.hard_loss.tolist(), rel=0.1, abs=1.0)
    gradients = [p.grad for name, p in adapted.named_parameters() if "lora_B" in name]
    assert all(g is not None and g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)


def search(path: Path, trie: TitleTrie, prompt: Sequence[int], prior: ChildPrior | None = None) -> dict[int, float]:
    """Return the log-probability of every position, from the runtime's search over a real file."""
    engine = LlamaEngine(Model(path), n_ctx=1024, n_threads=1)
    with closing(engine):
        row, _ = engine.prompt(token_list(prompt))
        settings: dict[str, Any] = {"kind": "catalog", "bias": np.zeros(trie.n_items), "k": trie.n_items}
        found = TrieSearch(trie, engine, end_id=engine.model.newline_id, prior=prior, **settings)
        answer = found.exact(row, Budget(tokens=10**6))
    assert answer.exact
    return {f.position: f.logprob for f in answer.found}


def test_the_search_of_the_runtime_returns_what_was_trained(
    model: Any, tiny_base: Path, vocabulary: Model, trie: TitleTrie, tmp_path: Path
) -> None:
    """The adapter written, merged and put into a GGUF; the score of all titles, with and without a prior."""
    objective = TitleLoss(model, "residual")
    write_adapter(tmp_path, objective, trained_weights(objective), "tiny")
    base = read_folder(tiny_base)
    with (tmp_path / "model.gguf").open("wb") as file:
        write_gguf(merge_adapters(base, [read_adapter(tmp_path, base)]), file, {})
    brute = BruteForce(model, vocabulary, trie)
    same = [brute.paths.count(path) for path in brute.paths]
    make = collator(trie, vocabulary, lambda _user, _history, _start: log_priors(trie.n_items)[:1].astype(np.float32))
    with torch.no_grad():
        batch = make.collate(score_all(trie))
        alone = TitleLoss(model, "catalog")(batch).hard_loss.tolist()
        objective.tau.fill_(0.4)
        fused = objective(batch).hard_loss.tolist()
    # Weights and KV cells of llama.cpp are half floats: hundredths of a nat over long titles (see test_exact.py).
    found = search(tmp_path / "model.gguf", trie, brute.prompt)
    for position, nats in enumerate(alone):
        assert found[position] == pytest.approx(-nats - math.log(same[position]), abs=0.1)
    masses = np.exp(log_priors(trie.n_items)[0])
    found = search(tmp_path / "model.gguf", trie, brute.prompt, ChildPrior(masses, 0.4, 1.0))
    for position, nats in enumerate(fused):
        leaf = [math.exp(found[p]) for p in range(trie.n_items) if brute.paths[p] == brute.paths[position]]
        assert math.log(sum(leaf)) == pytest.approx(-nats, abs=0.1)


def test_products_in_half_precision_change_the_loss_little_and_the_weights_stay_float32(
    model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    batch = collator(trie, vocabulary).collate(score_all(trie))
    found = []
    for is_half in (False, True):
        objective = TitleLoss(model, "catalog", is_half=is_half)
        losses = objective(batch)
        losses.loss.backward()
        assert losses.hard_loss.dtype == torch.float32
        assert {p.grad.dtype for p in objective.parameters() if p.grad is not None} == {torch.float32}
        objective.zero_grad()
        found.append(losses.hard_loss.tolist())
    assert sum(found[0]) == pytest.approx(sum(found[1]), rel=0.05)
    assert found[0] != found[1]
