"""A request's words and titles -> the token ids of its prompt, in the layout that the model was tuned with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.decoding import prompts
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId
    from genrec_edge.engine.llama_engine import LlamaEngine

_SEARCH_ROOM = 768
"""KV cells kept for the search tree; the median search on the 17,472 films of version 0.1 needs 300."""


class PromptBuilder:
    """Builds the prompts of one model.

    Args:
        engine: its tokenizer and the size of its context.
        layout: a key of `prompts.LAYOUTS`.
        max_titles: how many titles of a history the model has seen at once.
        title_tokens: from a catalog row to the token ids of its title.
    """

    def __init__(
        self, engine: LlamaEngine, layout: str, max_titles: int, title_tokens: Callable[[CatalogRow], list[TokenId]]
    ) -> None:
        self._model, self._n_ctx = engine.model, engine.n_ctx
        self._layout, self._max_titles, self._title_tokens = layout, max_titles, title_tokens
        self.instruction, self._tail = prompts.head_and_tail(prompts.LAYOUTS[layout], self._model)

    def build(
        self,
        rows: CatalogRows,
        before: Sequence[prompts.Part[CatalogRow]] = (),
        after: Sequence[prompts.Part[CatalogRow]] = (),
    ) -> tuple[list[TokenId], int]:
        """Return the prompt of a history of catalog rows, oldest first, and how many of the oldest were left out.

        What is said before and after the history is never cut; titles in it are named by their rows. A model that was
        tuned on windows of histories is given no more titles than it has seen at once: `prompts.n_titles_to_drop`.

        Raises:
            UsageError: it does not fit into the context, or this model's layout knows histories alone.
        """
        n_dropped = prompts.n_titles_to_drop(len(rows), self._max_titles)
        prompt, n_unfit = prompts.build_prompt(
            [*self.instruction, *self.encode(before)],
            [self._title_tokens(row) for row in rows[n_dropped:].tolist()],
            end_id=self._model.newline_id,
            max_tokens=self._n_ctx - min(_SEARCH_ROOM, self._n_ctx // 2),
            tail_ids=[*self.encode(after), *self._tail],
        )
        return prompt, n_dropped + n_unfit

    def encode(self, parts: Sequence[prompts.Part[CatalogRow]]) -> list[TokenId]:
        """Return the token ids of parts of a prompt, titles named by their rows.

        Raises:
            UsageError: this model's layout knows histories alone.
        """
        if parts and not prompts.LAYOUTS[self._layout].has_forms:
            message = f"prompts of the layout {self._layout!r}, which this model was tuned with, hold a history"
            raise UsageError(f"{message} and nothing else", hint="use another model, or leave the words out")
        return prompts.encode(parts, self._model.tokenize, self._title_tokens, self._model.newline_id)
