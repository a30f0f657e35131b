"""Trainable rows of the embedding and the output matrix, for some tokens only.

A catalog's titles use a few thousand of a vocabulary's tokens. What those tokens mean in titles is the cheapest thing
to learn, and small to ship. PEFT knows this as `trainable_token_indices`, and the rows are saved in its format. PEFT's
own layer copies the whole matrix in every forward pass; here only the trained rows are touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDING, OUTPUT = "embed_tokens", "lm_head"


class TokenRows(nn.Module):
    """Trainable float32 rows, initialised with those of the base.

    Its parameters are called like the modules of the base: `embed_tokens` and, unless the two are tied, `lm_head`.

    Args:
        model: a causal language model of transformers, possibly with an adapter.
        token_ids: the tokens, each of them once; other tokens keep the rows of the base.
    """

    row_of_token: Tensor
    """(n_vocab,) int64: the row of each token, -1 for those that are not trained."""

    def __init__(self, model: Any, token_ids: Sequence[int]) -> None:
        super().__init__()
        embedding = model.get_input_embeddings().weight.detach()
        output = model.get_output_embeddings().weight.detach()
        self.token_ids = tuple(token_ids)
        ids = torch.tensor(self.token_ids, device=embedding.device)
        self.embed_tokens = nn.Parameter(embedding[ids].float())
        if output.data_ptr() != embedding.data_ptr():  # otherwise the two are tied
            self.lm_head = nn.Parameter(output[ids].float())
        row_of_token = torch.full((embedding.shape[0],), -1, device=embedding.device)
        row_of_token[ids] = torch.arange(len(ids), device=embedding.device)
        self.register_buffer("row_of_token", row_of_token, persistent=False)

    @property
    def module_names(self) -> tuple[str, ...]:
        """The modules of the base with trained rows."""
        return tuple(name for name, _ in self.named_parameters())

    @property
    def output_rows(self) -> Tensor:
        """The trained rows of the output matrix, (n, width) float32."""
        return self.lm_head if hasattr(self, OUTPUT) else self.embed_tokens

    def embed(self, input_ids: Tensor, weight: Tensor) -> Tensor:
        """Return the embeddings of tokens, (*input_ids.shape, width), in the dtype of `weight`.

        `weight` is the base's embedding matrix.
        """
        rows = self.row_of_token[input_ids]
        trained = self.embed_tokens[rows.clamp_min(0)].to(weight.dtype)
        return torch.where((rows >= 0)[..., None], trained, weight[input_ids])

    def output_rows_of(self, token_ids: Tensor, weight: Tensor) -> Tensor:
        """Return the output rows of tokens, (*token_ids.shape, width) float32; `weight` is the base's output matrix."""
        rows = self.row_of_token[token_ids]
        return torch.where((rows >= 0)[..., None], self.output_rows[rows.clamp_min(0)], weight[token_ids].float())

    def output_matrix(self, weight: Tensor) -> Tensor:
        """Return the whole output matrix, (n_vocab, width); `weight` is the base's own."""
        ids = torch.tensor(self.token_ids, device=weight.device)
        return weight.index_copy(0, ids, self.output_rows.to(weight.dtype))
