"""The loss of a batch: how many nats the model needs for each title, under the score that the search will use.

  catalog   at each branching node of the trie, cross-entropy over the node's children; nothing at forced tokens
  residual  the same with logits tau * logit + lambda * log(prior mass below the child); tau and lambda are learned
  vocabulary  cross-entropy over the whole vocabulary at every token of the title and at its end (GenRec's loss)

With a teacher (log-probabilities of a counted prior over all items) the target of each node is
`(1 - distill) * what came + distill * the teacher's masses`: what counting knows of all titles is learned at once instead
of from one title that happened to come. Source: Hinton et al. 2015, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from genrec_edge.convert.batches import Batch

Kind = Literal["catalog", "residual", "vocabulary"]
TAU, LAMBDA = 0.1, 1.0
"""Where the residual objective starts: next to the prior."""
_LEAST_MASS = 1e-12


@dataclass(frozen=True, slots=True)
class Losses:
    """`hard`: the nats of each title that came, (n_titles,). `loss`: what is minimised, summed over the titles."""

    loss: Tensor
    hard: Tensor


class TitleObjective(nn.Module):
    """A causal language model and the loss it is tuned with; `forward` is all that a training step calls.

    Args:
        model: a LLaMA-family model of transformers, possibly with an adapter.
        kind: which loss.
        distill: weight of the teacher's distribution in the targets, 0..1.
    """

    def __init__(self, model: Any, kind: Kind, distill: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.kind = kind
        self.distill = distill
        if kind == "residual":
            self.tau = nn.Parameter(torch.tensor(TAU))
            self.lambda_ = nn.Parameter(torch.tensor(LAMBDA))

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch."""
        hidden = _body(self.model)(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        if self.kind == "vocabulary":
            return self._vocabulary(hidden, batch)
        output = self.model.get_output_embeddings().weight
        hard = hidden.new_zeros(batch.n_titles)
        soft = hidden.new_zeros(batch.n_titles)
        masses = None if batch.prior is None else _cumulative(batch.prior)
        for group in batch.groups:
            rows = hidden[group.sequences, group.places]
            logits = rows @ output[group.tokens].T if group.is_shared else (rows[:, None] * output[group.tokens]).sum(-1)
            logits = logits.float()
            mass = None if masses is None else _mass(masses, group)
            if self.kind == "residual":
                assert mass is not None
                logits = self.tau * logits + self.lambda_ * mass.log().to(logits.dtype)
            if group.dead is not None:
                logits = logits.masked_fill(group.dead, -torch.inf)
            log_probs = torch.log_softmax(logits, -1)
            hard = hard.index_add(0, group.titles, -log_probs.gather(1, group.children[:, None])[:, 0])
            if self.distill:
                assert mass is not None
                target = (mass / mass.sum(-1, keepdim=True)).to(log_probs.dtype)
                gone = target == 0 if group.dead is None else group.dead
                soft = soft.index_add(0, group.titles, -(target * log_probs.masked_fill(gone, 0.0)).sum(-1))
        loss = (1 - self.distill) * hard.sum() + self.distill * soft.sum() if self.distill else hard.sum()
        return Losses(loss, hard)

    def _vocabulary(self, hidden: Tensor, batch: Batch) -> Losses:
        spelled = batch.spelled
        logits = self.model.get_output_embeddings()(hidden[spelled.sequences, spelled.places]).float()
        nats = nn.functional.cross_entropy(logits, spelled.tokens, reduction="none")
        hard = nats.new_zeros(batch.n_titles).index_add(0, spelled.titles, nats)
        return Losses(hard.sum(), hard)


def _body(model: Any) -> Any:
    """Return the part of a causal model before its output matrix; adapters sit inside."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.model


def _cumulative(prior: Tensor) -> Tensor:
    """Return (n_titles, n_items + 1) float64: the prior's mass before each position."""
    return nn.functional.pad(prior.double().exp().cumsum(-1), (1, 0))


def _mass(cumulative: Tensor, group: Any) -> Tensor:
    """Return the prior's mass below each child, at least a trace, float64."""
    rows = cumulative[group.titles]
    starts, ends = group.starts, group.ends
    if starts.dim() == 1:
        mass = rows[:, ends] - rows[:, starts]
    else:
        mass = rows.gather(1, ends) - rows.gather(1, starts)
    return mass.clamp_min(_LEAST_MASS)
