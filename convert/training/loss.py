"""The loss of a batch: how many nats the model needs for each title, under the score that the search will use.

  catalog     at each branching node of the trie, cross-entropy over the node's children; nothing at forced tokens
  residual    the same with logits tau * logit + lambda * log(prior mass below the child); tau and lambda are learned
  vocabulary  cross-entropy over the whole vocabulary at every token of the title and at its end (GenRec's loss)

Items whose titles are token for token the same count as one title; that the search shares its probability among them
has no gradient. With a teacher (log-probabilities of a counted prior over all items) the target of each node is
`(1 - distill) * what came + distill * the teacher's masses`: what counting knows of all titles is learned at once,
instead of from one title that happened to come. Source: Hinton et al. 2015, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from genrec_edge.convert.training.token_rows import TokenRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.convert.training.data.tensors import ChoiceGroup, SpelledTitles, TrainingBatch, VerdictTargets

Kind = Literal["catalog", "residual", "vocabulary"]
TAU, LAMBDA = 0.1, 1.0
"""Where the residual objective starts: next to the prior."""
WORD_WEIGHT, VERDICT_WEIGHT = 0.5, 3.0
"""Of a token of words and of a verdict, in the loss: a title has some six nats to learn, a verdict less than one."""
_LEAST_MASS = 1e-12


@dataclass(frozen=True, slots=True)
class Losses:
    """`hard`: the nats of each title that came, (n_titles,). `loss`: what is minimised, summed over the titles."""

    loss: Tensor
    hard: Tensor


class TitleLoss(nn.Module):
    """A causal language model and the loss it is tuned with; `forward` is all that a training step calls.

    Args:
        model: a LLaMA-family model of transformers, possibly with an adapter.
        kind: which loss.
        distill: weight of the teacher's distribution in the targets, 0..1.
        token_ids: tokens whose rows of embedding and output matrix are trained, too; learned words have no others.
    """

    def __init__(self, model: Any, kind: Kind, distill: float = 0.0, token_ids: Sequence[int] = ()) -> None:
        super().__init__()
        self.model = model
        self.rows = TokenRows(model, token_ids) if token_ids else None
        self.kind = kind
        self.distill = distill
        if kind == "residual":
            self.tau = nn.Parameter(torch.tensor(TAU))
            self.lambda_ = nn.Parameter(torch.tensor(LAMBDA))

    def forward(self, batch: TrainingBatch) -> Losses:
        """Return the losses of a batch, float32; the logits that a title is judged by are made in float32, too."""
        hidden = self._hidden(batch.input_ids)
        if self.kind == "vocabulary":
            return self._vocabulary(hidden, batch)
        hard = torch.zeros(batch.n_titles, device=hidden.device)
        soft = hard.clone()
        masses = _cumulative(batch.prior) if batch.n_titles and (self.kind == "residual" or self.distill) else None
        for group in batch.groups:
            rows, table = hidden[group.sequences, group.places].float(), self._output(group.tokens)
            logits = rows @ table.T if group.is_shared else (table @ rows[:, :, None])[:, :, 0]
            mass = None if masses is None else _mass(masses, group)
            if mass is not None and self.kind == "residual":
                logits = self.tau * logits + self.lambda_ * mass.log().float()
            if group.dead is not None:
                logits = logits.masked_fill(group.dead, -torch.inf)
            log_probs = torch.log_softmax(logits, -1)
            hard = hard.index_add(0, group.titles, -log_probs.gather(1, group.children[:, None])[:, 0])
            if mass is not None and self.distill:
                soft = soft.index_add(0, group.titles, _cross_entropy(mass, log_probs, group.dead))
        loss = (1 - self.distill) * hard.sum() + self.distill * soft.sum()
        return Losses(loss + self._words(hidden, batch.words) + self._verdicts(hidden, batch.verdicts), hard)

    def _words(self, hidden: Tensor, words: SpelledTitles | None) -> Tensor:
        """Return the loss of words: cross-entropy over the tokens that are trained, or else over the vocabulary.

        A token that is not trained is not learned.
        """
        if words is None:
            return hidden.new_zeros(())
        rows, targets = hidden[words.sequences, words.places].float(), words.tokens
        if self.rows is None:
            logits = rows @ self.model.get_output_embeddings().weight.float().T
        else:
            logits, targets = rows @ self.rows.all_output.T, self.rows.place[targets]
        return WORD_WEIGHT * nn.functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")

    def _verdicts(self, hidden: Tensor, verdicts: VerdictTargets | None) -> Tensor:
        """Return the loss of choices between two answers: cross-entropy over the two."""
        if verdicts is None:
            return hidden.new_zeros(())
        rows, table = hidden[verdicts.sequences, verdicts.places].float(), self._output(verdicts.tokens)
        margins = ((table[:, 0] - table[:, 1]) * rows).sum(-1)
        share = (1 - self.distill) * verdicts.came + self.distill * verdicts.taught
        nats = nn.functional.binary_cross_entropy_with_logits(margins, share, reduction="sum")
        return VERDICT_WEIGHT * nats

    def _hidden(self, input_ids: Tensor) -> Tensor:
        """Return the last hidden states, (n_sequences, length, width)."""
        if self.rows is None:
            given = {"input_ids": input_ids}
        else:
            given = {"inputs_embeds": self.rows.embedded(input_ids, self.model.get_input_embeddings().weight)}
        hidden: Tensor = _body(self.model)(**given, use_cache=False).last_hidden_state
        return hidden

    def _output(self, token_ids: Tensor) -> Tensor:
        """Return rows of the output matrix, (*token_ids.shape, width) float32."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight[token_ids].float() if self.rows is None else self.rows.output(token_ids, weight)

    def _vocabulary(self, hidden: Tensor, batch: TrainingBatch) -> Losses:
        spelled = batch.spelled
        if spelled is None:
            raise ValueError("this objective needs batches with titles")
        weight = self.model.get_output_embeddings().weight
        if self.rows is not None:
            weight = self.rows.whole_output(weight)
        logits = (hidden[spelled.sequences, spelled.places].to(weight.dtype) @ weight.T).float()
        nats = nn.functional.cross_entropy(logits, spelled.tokens, reduction="none")
        hard = nats.new_zeros(batch.n_titles).index_add(0, spelled.titles, nats)
        return Losses(hard.sum(), hard)


def _body(model: Any) -> Any:
    """Return the part of a causal model before its output matrix; adapters sit inside."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.model


def _cumulative(prior: Tensor | None) -> Tensor:
    """Return (n_titles, n_items + 1) float64: the prior's mass before each position."""
    if prior is None:
        raise ValueError("this objective needs batches with a prior")
    return nn.functional.pad(prior.double().exp().cumsum(-1), (1, 0))


def _mass(cumulative: Tensor, group: ChoiceGroup) -> Tensor:
    """Return the prior's mass below each child, (m, c) float64, at least a trace."""
    titles, ends, starts = group.titles[:, None], group.ends, group.starts
    mass = cumulative[titles, ends] - cumulative[titles, starts]
    return mass.clamp_min(_LEAST_MASS)


def _cross_entropy(mass: Tensor, log_probs: Tensor, dead: Tensor | None) -> Tensor:
    """Return the cross-entropy of the model's distribution over the children against the prior's, (m,)."""
    if dead is not None:
        mass, log_probs = mass.masked_fill(dead, 0.0), log_probs.masked_fill(dead, 0.0)
    return -((mass / mass.sum(-1, keepdim=True)).float() * log_probs).sum(-1)
