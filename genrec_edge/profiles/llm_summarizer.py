"""Any GGUF as a writer of summaries: the texts of items go in, one line about who chose them comes out.

A model that was never tuned to write may write nothing, turn in circles, or copy what it was given. Such a line is
not taken; the catalog's facts stand in, and the summary says so.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np

from genrec_edge.catalog.titles import canonical, clean, with_year
from genrec_edge.coordinates import TokenId
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.context import PIECE, LlamaEngine, TokenRun
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.errors import ModelInvalidError
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.profiles.summaries import FactSummarizer

MAX_NEW_TOKENS = 60
_CTX = 2048
_MAX_VALUES = 4
"""Values of a list column told of an item: of the people of a film, those who stand first."""
_MAX_VALUE_CHARACTERS = 160
_MAX_ITEM_CHARACTERS = 320
_MIN_ITEM_CHARACTERS = 16
_MIN_DISTINCT = 0.5
"""Share of different words below which a line turns in circles."""
_RUN = 3
"""A summary has at least so many words, and is compared with what the model was given in runs of so many."""
_MAX_COPIED = 0.7
"""Share of the runs of three words that may stand in what the model was given."""
_WORD = re.compile(r"\w+")

_KNOWN = "One person likes "
_CHOSEN = "What this person chose, the latest last:"
_NOTES = "Notes on what one person likes, the latest last:"
_ASKED = "In one sentence: this person likes"


class ModelSummarizer:
    """Summaries written by a model, the likeliest token each time, at most 60 of them.

    Args:
        engine: of the model; its prompt is replaced. One caller at a time.
        kind: what the model is called in the summaries it writes.
        catalog: the items.
        facts: what stands in where the model cannot write.
    """

    def __init__(self, engine: LlamaEngine, kind: str, catalog: Catalog, facts: FactSummarizer) -> None:
        self.kind = kind
        self._engine = engine
        self._catalog = catalog
        self._facts = facts

    @classmethod
    def open(cls, model_file: ModelFile, catalog: Catalog, facts: FactSummarizer, *, n_threads: int) -> Self:
        """Load a model to write with; its name and the start of its hash are the kind of its summaries.

        Raises:
            ModelInvalidError: llama.cpp cannot load it, or its context is too small.
        """
        manifest = model_file.manifest
        name = model_file.path.stem if manifest is None else manifest.name
        sha256 = sha256_file(model_file.path) if manifest is None else manifest.sha256
        with ExitStack() as on_error:
            model = Model(model_file.path)
            on_error.callback(model.close)
            if model.n_ctx_train < PIECE:
                message = f"{model_file.path} has a context of {model.n_ctx_train} tokens, too small to summarise with"
                raise ModelInvalidError(message, hint=f"use a model with at least {PIECE}")
            engine = LlamaEngine(model, n_ctx=min(_CTX, model.n_ctx_train), n_threads=n_threads)
            on_error.pop_all()
        return cls(engine, f"{name}@{sha256[:12]}", catalog, facts)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """Return the summary; `Summarizer` says of what."""
        known = previous.text if previous is not None else ""
        text = self._written(known, _CHOSEN, item_texts(self._catalog, rows))
        return self._or_facts(text, self._facts.summarize(rows, previous))

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """Return the summary; `Summarizer` says of what. Of a single part nothing is written."""
        if len(parts) == 1:
            return parts[0]
        text = self._written("", _NOTES, [part.text for part in parts if part.text])
        return self._or_facts(text, self._facts.merge(parts))

    def _or_facts(self, text: str, counted: HistorySummary) -> HistorySummary:
        return HistorySummary(text, self.kind, counted.tastes) if text else counted

    def _written(self, known: str, heading: str, given: Sequence[str]) -> str:
        """Return what the model writes about texts, or "" where that is no summary, or they do not fit its context."""
        token_ids = self._prompt(f"{_KNOWN}{known}\n\n{heading}" if known else heading, given)
        if not given or token_ids is None:
            return ""
        text = clean(self._continued(token_ids))
        return text if is_summary(text, [*given, known]) else ""

    def _prompt(self, heading: str, given: Sequence[str]) -> list[TokenId] | None:
        """Return the prompt, every text cut alike until it fits; None where next to nothing would be left of them."""
        model, most = self._engine.model, _MAX_ITEM_CHARACTERS
        bos = [] if model.bos_id is None else [model.bos_id]
        while most >= _MIN_ITEM_CHARACTERS:
            lines = [f"- {text[:most]}" for text in given]
            token_ids = bos + model.tokenize("\n".join([heading, *lines, "", _ASKED]))
            if len(token_ids) + MAX_NEW_TOKENS < self._engine.n_ctx:
                return token_ids
            most //= 2
        return None

    def _continued(self, token_ids: Sequence[TokenId]) -> str:
        """Return the likeliest continuation up to the end of its line; without its last word where it has no end."""
        engine, model = self._engine, self._engine.model
        node, row = ROOT, engine.prompt(token_ids)[0]
        written: list[TokenId] = []
        for _ in range(MAX_NEW_TOKENS):
            token = TokenId(int(np.argmax(row)))
            if model.is_end_of_generation(token):
                return model.detokenize(written)
            written.append(token)
            line, end, _ = model.detokenize(written).lstrip().partition("\n")
            if end:
                return line
            ((node, view),) = engine.evaluate([TokenRun(node, (token,))])
            row = view.copy()
        return model.detokenize(written).rpartition(" ")[0]


def item_texts(catalog: Catalog, rows: Sequence[int]) -> list[str]:
    """Return items, by their rows, as a model reads them: "Title (year); column: value; ...", long values cut.

    Raises:
        KeyError: there is no such row.
    """
    lists = catalog.list_values(sorted(set(rows)), catalog.list_columns)
    texts = []
    for item in catalog.items(rows):
        title = canonical(item.title)
        told = [title if item.year is None else with_year(title, item.year)]
        for name in catalog.item_columns:
            values = lists.get((item.row, name), [])[:_MAX_VALUES]
            if name not in catalog.list_columns and item.columns[name] is not None:
                values = [str(item.columns[name])[:_MAX_VALUE_CHARACTERS]]
            if values:
                told.append(f"{name}: {clean(', '.join(values))}")
        texts.append("; ".join(told)[:_MAX_ITEM_CHARACTERS])
    return texts


def is_summary(text: str, given: Sequence[str]) -> bool:
    """Whether a line can pass for a summary of texts: some words, most of them different, and not just theirs.

    >>> is_summary("quiet dramas and old westerns", ["The Piano; genres: Drama", "Rio Bravo; genres: Western"])
    True
    >>> is_summary("the best, the best, the best, the best", [])
    False
    >>> is_summary("Rio Bravo (1959); genres: Western", ["Rio Bravo (1959); genres: Western, Action"])
    False
    """
    words = _words(text)
    if len(words) < _RUN or len(set(words)) < _MIN_DISTINCT * len(words):
        return False
    known = {run for other in given for run in _runs(_words(other))}
    runs = _runs(words)
    return sum(run in known for run in runs) <= _MAX_COPIED * len(runs)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]
