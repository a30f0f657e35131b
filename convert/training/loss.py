"""The loss of a batch: the nats of each target title, under the same score as the search uses.

  catalog     at each branching node of the trie, cross-entropy over the node's children; forced tokens cost nothing
  residual    the same with logits tau * logit + lambda * log(prior mass below the child); tau and lambda are learned.
              With an offset, what the title is explained beyond, the label's prior is the product of the two
  vocabulary  cross-entropy over the whole vocabulary at every token of the title and at its end (GenRec's loss)

Items whose titles have the same tokens count as one title; the search divides its probability among them, which has no
gradient. With a teacher (log-probabilities of a counted prior over all items) the target of each node is
`(1 - distill) * label + distill * the teacher's masses`: the model learns what was counted of all titles, not only the
one title that came. Source: Hinton et al. 2015, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from genrec_edge.convert.training.token_rows import TokenRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.convert.training.data.tensors import ChoiceGroup, TokenTargets, TrainingBatch, VerdictTargets

ObjectiveKind = Literal["catalog", "residual", "vocabulary"]
INITIAL_TAU, INITIAL_LAMBDA = 0.1, 1.0
"""The residual objective starts close to the prior."""
WORD_WEIGHT, VERDICT_WEIGHT = 0.5, 3.0
"""Weight of a target token of words, and of a verdict: a title has some six nats to learn, a verdict less than one."""
_MIN_MASS = 1e-12


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of a batch, float32.

    Attributes:
        loss: (), what is minimised, summed over all targets.
        hard_loss: (n_titles,), the nats of each target title, without the teacher.
    """

    loss: Tensor
    hard_loss: Tensor


class TitleLoss(nn.Module):
    """A causal language model with the loss it is trained with; `forward` is all that a training step calls.

    Args:
        model: a LLaMA-family model of transformers, possibly with an adapter.
        kind: which loss.
        distill: weight of the teacher's distribution in the targets, 0..1.
        token_ids: tokens whose rows of the embedding and the output matrix are trained, too. If given, target words
            are compared with these tokens alone.
        is_half: whether the model's own products are computed in bfloat16; the weights and all losses stay float32.
    """

    def __init__(
        self,
        model: Any,
        kind: ObjectiveKind,
        distill: float = 0.0,
        token_ids: Sequence[int] = (),
        *,
        is_half: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.rows = TokenRows(model, token_ids) if token_ids else None
        self.kind = kind
        self.distill = distill
        self.is_half = is_half
        if kind == "residual":
            self.tau = nn.Parameter(torch.tensor(INITIAL_TAU))
            self.lambda_ = nn.Parameter(torch.tensor(INITIAL_LAMBDA))

    def forward(self, batch: TrainingBatch) -> Losses:
        """Return the losses of a batch; logits of targets are computed in float32."""
        hidden = self._hidden_states(batch.input_ids)
        if self.kind == "vocabulary":
            return self._vocabulary_losses(hidden, batch)
        hard_loss, soft_loss = self._catalog_losses(hidden, batch)
        loss = (1 - self.distill) * hard_loss.sum() + self.distill * soft_loss.sum()
        loss = loss + self._word_loss(hidden, batch.word_tokens) + self._verdict_loss(hidden, batch.verdicts)
        return Losses(loss, hard_loss)

    def _hidden_states(self, input_ids: Tensor) -> Tensor:
        """Return the last hidden states, (n_sequences, length, width)."""
        if self.rows is None:
            inputs = {"input_ids": input_ids}
        else:
            inputs = {"inputs_embeds": self.rows.embed(input_ids, self.model.get_input_embeddings().weight)}
        with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=self.is_half):
            hidden: Tensor = _decoder_of(self.model)(**inputs, use_cache=False).last_hidden_state
        return hidden

    def _output_rows(self, token_ids: Sequence[Tensor]) -> list[Tensor]:
        """Return the output rows of several arrays of tokens, (*ids.shape, width) float32 each.

        They are taken at once: the gradient of each such step is as large as the matrix.
        """
        weight: Tensor = self.model.get_output_embeddings().weight
        flat = torch.cat([ids.reshape(-1) for ids in token_ids])
        rows = weight[flat].float() if self.rows is None else self.rows.output_rows_of(flat, weight)
        parts = torch.split(rows, [ids.numel() for ids in token_ids])
        return [part.view(*ids.shape, -1) for part, ids in zip(parts, token_ids, strict=True)]

    def _catalog_losses(self, hidden: Tensor, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the nats of each title against its labels, and against the teacher (zeros without), (n_titles,)."""
        hard_loss = torch.zeros(batch.n_titles, device=hidden.device)
        soft_loss = hard_loss.clone()
        if not batch.n_titles:
            return hard_loss, soft_loss
        is_residual = self.kind == "residual"
        teacher = _cumulative_mass(batch.prior) if is_residual or self.distill else None
        beyond = teacher if is_residual else None
        if batch.offset is not None:
            beyond = _cumulative_mass(_product(batch.prior, batch.offset) if is_residual else batch.offset)
        all_states, all_output = _states_of(hidden, batch.choices), self._output_rows([g.tokens for g in batch.choices])
        for group, states, output in zip(batch.choices, all_states, all_output, strict=True):
            logits = states @ output.T if group.is_shared else (output @ states[:, :, None])[:, :, 0]
            log_probs = self._log_probs(logits, beyond, group)
            hard_loss = hard_loss.index_add(0, group.titles, -log_probs.gather(1, group.labels[:, None])[:, 0])
            if teacher is not None and self.distill:
                mass = _mass_of_children(teacher, group)
                log_probs = self._log_probs(logits, teacher if is_residual else None, group)
                soft_loss = soft_loss.index_add(0, group.titles, _cross_entropy(mass, log_probs, group.padding))
        return hard_loss, soft_loss

    def _log_probs(self, logits: Tensor, cumulative: Tensor | None, group: ChoiceGroup) -> Tensor:
        """Return the log-probability of each child, (m, c), from its logits and the prior under them, if any."""
        if cumulative is not None:
            mass = _mass_of_children(cumulative, group).log().float()
            logits = self.tau * logits + self.lambda_ * mass if self.kind == "residual" else logits + mass
        if group.padding is not None:
            logits = logits.masked_fill(group.padding, -torch.inf)
        return torch.log_softmax(logits, -1)

    def _word_loss(self, hidden: Tensor, words: TokenTargets | None) -> Tensor:
        """Return the loss of target words: cross-entropy over the trained tokens if there are any, or the vocabulary.

        Targets that are not among the trained tokens are left out.
        """
        if words is None:
            return hidden.new_zeros(())
        states, labels = hidden[words.sequences, words.positions].float(), words.labels
        if self.rows is None:
            logits = states @ self.model.get_output_embeddings().weight.float().T
        else:
            logits, labels = states @ self.rows.output_rows.T, self.rows.row_of_token[labels]
        return WORD_WEIGHT * nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")

    def _verdict_loss(self, hidden: Tensor, verdicts: VerdictTargets | None) -> Tensor:
        """Return the loss of choices between two answers: cross-entropy over the two."""
        if verdicts is None:
            return hidden.new_zeros(())
        states, (output,) = hidden[verdicts.sequences, verdicts.positions].float(), self._output_rows([verdicts.tokens])
        margins = ((output[:, 0] - output[:, 1]) * states).sum(-1)
        targets = (1 - self.distill) * verdicts.labels + self.distill * verdicts.soft_labels
        nats = nn.functional.binary_cross_entropy_with_logits(margins, targets, reduction="sum")
        return VERDICT_WEIGHT * nats

    def _vocabulary_losses(self, hidden: Tensor, batch: TrainingBatch) -> Losses:
        targets = batch.title_tokens
        if targets is None:
            raise ValueError("the vocabulary objective needs batches with target titles")
        weight = self.model.get_output_embeddings().weight
        if self.rows is not None:
            weight = self.rows.output_matrix(weight)
        logits = (hidden[targets.sequences, targets.positions].to(weight.dtype) @ weight.T).float()
        nats = nn.functional.cross_entropy(logits, targets.labels, reduction="none")
        hard_loss = nats.new_zeros(batch.n_titles).index_add(0, targets.titles, nats)
        return Losses(hard_loss.sum(), hard_loss)


def _decoder_of(model: Any) -> Any:
    """Return a causal model without its output matrix; adapters are inside."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.model


def _states_of(hidden: Tensor, groups: Sequence[ChoiceGroup]) -> tuple[Tensor, ...]:
    """Return the hidden states of the choices of each group, (m, width) float32 each; at once, as the output rows."""
    sequences, positions = (torch.cat([getattr(g, name) for g in groups]) for name in ("sequences", "positions"))
    return torch.split(hidden[sequences, positions].float(), [len(group.sequences) for group in groups])


def _product(prior: Tensor | None, offset: Tensor) -> Tensor:
    """Return the logs of the product of two distributions, normalised, (n_titles, n_positions)."""
    if prior is None:
        raise ValueError("this objective needs batches with a prior")
    return torch.log_softmax(prior + offset, -1)


def _cumulative_mass(prior: Tensor | None) -> Tensor:
    """Return the prior's mass before each trie position, (n_titles, n_positions + 1) float64."""
    if prior is None:
        raise ValueError("this objective needs batches with a prior")
    return nn.functional.pad(prior.double().exp().cumsum(-1), (1, 0))


def _mass_of_children(cumulative: Tensor, group: ChoiceGroup) -> Tensor:
    """Return the prior's mass below each child, (m, c) float64, never quite zero."""
    titles, ends, starts = group.titles[:, None], group.ends, group.starts
    mass = cumulative[titles, ends] - cumulative[titles, starts]
    return mass.clamp_min(_MIN_MASS)


def _cross_entropy(mass: Tensor, log_probs: Tensor, padding: Tensor | None) -> Tensor:
    """Return the cross-entropy of the model's distribution over the children against the teacher's, (m,)."""
    if padding is not None:
        mass, log_probs = mass.masked_fill(padding, 0.0), log_probs.masked_fill(padding, 0.0)
    return -((mass / mass.sum(-1, keepdim=True)).float() * log_probs).sum(-1)
