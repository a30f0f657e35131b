"""The loss of a title beyond what its week explains, against brute force over transformers' full logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from genrec_edge.convert.training.data import batch_builder
from genrec_edge.convert.training.loss import TitleLoss
from tests.support.title_losses import BruteForce, collator, log_priors, next_title, prior_of, score_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.tensors import TrainingBatch
    from genrec_edge.convert.training.data.week_offsets import OffsetFunction
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

pytestmark = pytest.mark.slow


def rows_of(trie: TitleTrie) -> NDArray[np.float64]:
    """Return shares of the week for each target, other ones than the teacher's."""
    return log_priors(trie.n_items)[::-1]


def offsets_of(trie: TitleTrie) -> OffsetFunction:
    rows = rows_of(trie)

    def offsets(user: int, items: Sequence[int]) -> NDArray[np.float32]:
        assert list(items) == [user]  # `next_title` asks for the title whose number the user has
        return rows[user : user + 1].astype(np.float32)

    return offsets


def loss_and_gradient(objective: TitleLoss, batch: TrainingBatch) -> tuple[float, torch.Tensor]:
    objective.zero_grad()
    loss = objective(batch).loss
    loss.backward()
    gradients = [p.grad.flatten().clone() for p in objective.parameters() if p.grad is not None]
    objective.zero_grad()
    return loss.item(), torch.cat(gradients)


def test_the_loss_is_that_of_the_model_times_the_shares_of_the_week(
    model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    rows, brute = rows_of(trie), BruteForce(model, vocabulary, trie)
    with torch.no_grad():
        batch = collator(trie, vocabulary, offsets=offsets_of(trie)).collate(score_all(trie))
        found = TitleLoss(model, "catalog")(batch)
        plain = TitleLoss(model, "catalog")(collator(trie, vocabulary).collate(score_all(trie)))
        options = {"tau": 1.0, "lambda_": 1.0}
        truth = [brute.nats(position, prior=rows[position], **options) for position in range(trie.n_items)]
    assert found.hard_loss.tolist() == pytest.approx(truth, abs=1e-3)
    assert float(found.loss) == pytest.approx(sum(truth), rel=1e-4)
    assert found.hard_loss.tolist() != pytest.approx(plain.hard_loss.tolist(), abs=0.5)


def test_what_the_week_explains_wholly_is_no_surprise(model: Any, vocabulary: Model, trie: TitleTrie) -> None:
    with torch.no_grad():
        batch = collator(trie, vocabulary).collate([next_title(5)])
        (plain,) = TitleLoss(model, "catalog")(batch).hard_loss.tolist()
        certain = np.full(trie.n_items, -60.0)
        certain[5] = 0
        made = collator(trie, vocabulary, offsets=lambda _user, _items: certain[None].astype(np.float32))
        (explained,) = TitleLoss(model, "catalog")(made.collate([next_title(5)])).hard_loss.tolist()
    assert explained < 1e-3 < plain


@pytest.mark.parametrize("distill", [0.0, 0.6])
def test_a_teacher_teaches_the_model_itself_and_its_gradient_is_that_of_dense_cross_entropies(
    distill: float, model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    """The teacher's shares are of what the model says; the shares of the week are of the title that came."""
    teacher, week, brute = log_priors(trie.n_items), rows_of(trie), BruteForce(model, vocabulary, trie)
    examples = [next_title(position) for position in (0, 4, 8, 17, 18)]
    batch = collator(trie, vocabulary, prior_of(trie), offsets_of(trie)).collate(examples)
    found = loss_and_gradient(TitleLoss(model, "catalog", distill), batch)
    loss = torch.zeros(())
    for position in (0, 4, 8, 17, 18):
        for log_probs, shares, _ in brute.steps(position, prior=teacher[position]):
            loss = loss - distill * (shares.float() * log_probs).sum()
        for log_probs, _, label in brute.steps(position, prior=week[position], tau=1.0, lambda_=1.0):
            loss = loss - (1 - distill) * log_probs[label].float()
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    dense = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    assert found[0] == pytest.approx(loss.item(), rel=1e-4)
    torch.testing.assert_close(found[1], dense, rtol=1e-3, atol=1e-4)


def test_beyond_a_prior_the_label_stands_on_the_product_of_the_two(
    model: Any, vocabulary: Model, trie: TitleTrie
) -> None:
    """And the teacher, which is the prior, on the prior alone."""
    teacher, week, brute = log_priors(trie.n_items), rows_of(trie), BruteForce(model, vocabulary, trie)
    product = teacher + week
    product = product - np.logaddexp.reduce(product, axis=1, keepdims=True)
    batch = collator(trie, vocabulary, prior_of(trie), offsets_of(trie)).collate(score_all(trie))
    objective, weight = TitleLoss(model, "residual", 0.3), {"tau": 0.4, "lambda_": 0.9}
    with torch.no_grad():
        objective.tau.fill_(weight["tau"])
        objective.lambda_.fill_(weight["lambda_"])
        found = objective(batch)
        truth = [brute.nats(position, prior=product[position], **weight) for position in range(trie.n_items)]
        soft = 0.0
        for position in range(trie.n_items):
            for log_probs, shares, _ in brute.steps(position, prior=teacher[position], **weight):
                soft -= float((shares.float() * log_probs).sum())
    assert found.hard_loss.tolist() == pytest.approx(truth, abs=1e-3)
    assert float(found.loss) == pytest.approx(0.7 * sum(truth) + 0.3 * soft, rel=1e-4)


def test_wide_and_padded_nodes_give_the_same_loss_and_gradient(
    model: Any, vocabulary: Model, trie: TitleTrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a week holds next to nothing: a padded child would have as much."""
    certain = np.full((1, trie.n_items), -25, np.float32)
    certain[0, 0] = 0
    found = []
    for wide in (1, 10**6):
        monkeypatch.setattr(batch_builder, "_MAX_PADDED_WIDTH", wide)
        batch = collator(trie, vocabulary, offsets=lambda _user, _items: certain).collate(score_all(trie))
        assert {group.is_shared for group in batch.choices} == {wide == 1}
        found.append(loss_and_gradient(TitleLoss(model, "catalog"), batch))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert bool(found[0][1].isfinite().all())
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)
