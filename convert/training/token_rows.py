"""The rows of embedding and output matrix that belong to some tokens, trained in the place of the base's own.

A catalog's titles use a few thousands of a vocabulary's tokens. What those tokens mean in titles is the cheapest thing
to learn, and small to ship: PEFT knows it as `trainable_token_indices`, in whose form the rows are saved. PEFT's own
layer copies the whole matrix in every forward pass; here only the rows that are trained are ever touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDING, OUTPUT = "embed_tokens", "lm_head"


class TokenRows(nn.Module):
    """Trainable rows, float32, that begin as those of the base.

    Args:
        model: a causal language model of transformers, possibly with an adapter.
        token_ids: which tokens, each of them once; others keep the rows of the base.
    """

    place: Tensor

    def __init__(self, model: Any, token_ids: Sequence[int]) -> None:
        super().__init__()
        embedding, output = (m.weight.detach() for m in (model.get_input_embeddings(), model.get_output_embeddings()))
        self.token_ids = tuple(token_ids)
        ids = torch.tensor(self.token_ids, device=embedding.device)
        self.embed_tokens = nn.Parameter(embedding[ids].float())
        if output.data_ptr() != embedding.data_ptr():  # else the two are one
            self.lm_head = nn.Parameter(output[ids].float())
        place = torch.full((embedding.shape[0],), -1, device=embedding.device)
        place[ids] = torch.arange(len(ids), device=embedding.device)
        self.register_buffer("place", place, persistent=False)

    @property
    def modules_changed(self) -> tuple[str, ...]:
        """The modules of the base that rows are replaced of."""
        return tuple(name for name, _ in self.named_parameters())

    def embedded(self, input_ids: Tensor, weight: Tensor) -> Tensor:
        """Return what stands in the place of the embedding's rows, (*input_ids.shape, width), in its type."""
        place = self.place[input_ids]
        return torch.where(
            (place >= 0)[..., None], self.embed_tokens[place.clamp_min(0)].to(weight.dtype), weight[input_ids]
        )

    def output(self, token_ids: Tensor, weight: Tensor) -> Tensor:
        """Return rows of the output matrix, (*token_ids.shape, width) float32; `weight` has those that stay."""
        place = self.place[token_ids]
        return torch.where((place >= 0)[..., None], self.all_output[place.clamp_min(0)], weight[token_ids].float())

    def whole_output(self, weight: Tensor) -> Tensor:
        """Return the output matrix with its rows replaced, (n_vocab, width); `weight` is the base's own."""
        ids = torch.tensor(self.token_ids, device=weight.device)
        return weight.index_copy(0, ids, self.all_output.to(weight.dtype))

    @property
    def all_output(self) -> Tensor:
        """All rows of the output matrix that are trained, (n, width) float32."""
        return self.lm_head if hasattr(self, OUTPUT) else self.embed_tokens
